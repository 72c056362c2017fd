//! Tests by topic; all of them drive a chain through `mock`.

mod bonds;
mod calls;
mod epochs;
mod feeless;
mod fuzz;
mod keys;
mod membership;
mod merge;
mod money;
mod pitfalls;
mod scores;
mod seats;
mod vesting;
