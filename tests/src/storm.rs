//! A storm of faults over a devnet: planned from a seed, carried out while it runs.

mod act;
pub mod plan;
pub mod trial;

pub use act::{Log, Storm};
