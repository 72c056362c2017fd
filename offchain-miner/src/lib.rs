//! The miner: trains one stage of a run and merges what the replicas of that stage learned.
//!
//! `run` is the whole program; `main` parses flags and calls it. One task owns an epoch's samples
//! (`train`), one thread owns libtorch (`trainer`), one task answers fetch requests (`serve`);
//! they share only the `store`. `observe` follows the chain for the operator, `view` draws what it and
//! the others told `gauges`. Two small tasks speak to the chain beside it: `answers` says that evidence is
//! served which validators ask for, `signed` reports neighbours that sign two bodies for one hop.

pub mod answers;
pub mod cli;
pub mod commit;
pub mod config;
pub mod doctor;
pub mod enrol;
pub mod explain;
pub mod export;
pub mod fault;
pub mod flight;
pub mod gauges;
pub mod join;
pub mod journal;
mod judged;
pub mod leave;
pub mod ledger;
pub mod limits;
pub mod memory;
pub mod merge;
pub mod meter;
pub mod money;
pub mod observe;
pub mod ownership;
pub mod plan;
pub mod recall;
pub mod retention;
pub mod root;
pub mod run;
pub mod runs;
pub mod serve;
pub mod signed;
pub mod store;
pub mod train;
pub mod trainer;
pub mod view;
