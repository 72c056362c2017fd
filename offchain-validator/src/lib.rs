//! The validator: audits miners by replay, estimates contributions, submits scores.
//!
//! `run` is the whole program. Each epoch of training is scored while the next one trains: receipts
//! are gathered and read (`gather`, `iota_protocol::evidence`), one segment of each chosen miner is replayed (`audit`),
//! contributions are estimated (`iota_protocol::clasp`), the report is published, and the row is
//! committed and then revealed (`scores`).

pub mod audit;
pub mod cli;
pub mod config;
pub mod difficulty;
pub mod evaluate;
pub mod gather;
pub mod run;
pub mod scores;
pub mod witness;
