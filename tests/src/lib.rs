//! The devnet: a whole network on this machine, from real programs. `iota-devnet` runs it for
//! people, the end-to-end tests run it with faults, both read the same summary.

pub mod checks;
pub mod collect;
pub mod disk;
pub mod explorer;
pub mod genesis;
pub mod http;
pub mod links;
pub mod members;
pub mod nat;
pub mod network;
pub mod options;
pub mod outcome;
pub mod process;
pub mod progress;
pub mod relay;
pub mod run;
pub mod speed;
pub mod storm;
pub mod summary;
