//! Tests by topic; all of them drive a chain through `mock`.

mod calls;
mod epochs;
mod feeless;
mod membership;
mod merge;
mod money;
mod scores;
mod vesting;
