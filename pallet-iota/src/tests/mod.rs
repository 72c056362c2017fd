//! Tests by topic; all of them drive a chain through `mock`.

mod bonds;
mod calls;
mod epochs;
mod evidence;
mod feeless;
mod fuzz;
mod keys;
mod membership;
mod merge;
mod money;
mod pitfalls;
mod runs;
mod scores;
mod seats;
mod supports;
mod verdicts;
mod vesting;
