//! The validator: audits miners by replay, estimates contributions, submits scores.
//!
//! `run` is the whole program. Each epoch of training is scored while the next one trains: receipts
//! are gathered and read (`gather`, `iota_protocol::evidence`), one segment of each chosen miner is replayed (`audit`),
//! contributions are estimated (`iota_protocol::clasp`), the report is published, and the row is
//! committed and then revealed (`scores`), as are the audits done (`transcripts`). What an audit found is
//! kept (`docket`) and carried to the chain by a task of its own (`court`).

pub mod audit;
pub mod cli;
pub mod config;
pub mod court;
pub mod difficulty;
pub mod docket;
pub mod evaluate;
pub mod examine;
pub mod exhibits;
pub mod gather;
pub mod gauges;
pub mod lines;
pub mod retention;
pub mod run;
pub mod scores;
pub mod starts;
pub mod transcripts;
pub mod verdicts;
pub mod witness;
