//! The parts of the pallet that FRAME wants in one module, a file each.

pub(crate) mod calls;
pub(crate) mod config;
pub(crate) mod errors;
pub(crate) mod events;
pub(crate) mod genesis;
pub(crate) mod storage;
