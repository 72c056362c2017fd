//! A stage's epoch without a chain and without peers: what arrives is made up, what is sent is
//! answered at once. The trainer, the journal and the disk are real.

mod arrivals;
mod leaving;
mod regenerate;
mod restart;
pub(crate) mod world;
