//! Tests by topic; all of them drive a chain through `mock`.

mod bonds;
mod calls;
mod close;
mod ended;
mod epochs;
mod evidence;
mod feeless;
mod fuzz;
mod keys;
mod membership;
mod merge;
mod money;
mod origins;
mod pitfalls;
mod rollback;
mod rows;
mod runs;
mod scores;
mod seats;
mod signers;
mod supports;
mod two_runs;
mod verdicts;
mod vesting;
