//! What every long-running program of ours needs, and nothing of what it does.
//!
//! Called by the miner, the validator and the explorer. Uses none of our other crates, no chain and no
//! network protocol: keys are bytes here, and records are bytes.
//!
//! | module | owns |
//! | --- | --- |
//! | [`config`] | one configuration from defaults, file, environment and flags, and where each value came from |
//! | [`keys`] | sr25519 hotkeys and coldkeys in files |
//! | [`ss58`] | the text form of public keys |
//! | [`telemetry`] | the log |
//! | [`tasks`] | supervised tasks and shutdown |
//! | [`ending`] | the end of a process, which waits for nobody |
//! | [`backoff`] | waiting between attempts |
//! | [`journal`] | records that survive a crash, files that are never half written |
//! | [`metrics`] | numbers and facts on a local port |
//! | [`quantity`] | sizes and rates as people write them |
//! | [`retention`] | when files of past epochs go |
//! | [`priority`] | being a good neighbour on a shared machine |

pub mod backoff;
pub mod config;
pub mod ending;
pub mod heap;
pub mod journal;
pub mod keys;
pub mod metrics;
pub mod priority;
pub mod quantity;
pub mod retention;
pub mod ss58;
pub mod stderr;
pub mod tasks;
pub mod telemetry;
