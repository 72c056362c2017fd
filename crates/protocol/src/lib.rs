//! The rules that every part of IOTA must agree on, as pure functions and messages.
//!
//! Called by the pallet, the miner, the validator, the explorer and the tests alike. No IO, no
//! clock, no randomness, no hash maps; integers only, except in [`clasp`], which never runs on
//! chain and uses f64 with `+ - * / sqrt` in a fixed order.
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

extern crate alloc;

pub mod assignment;
pub mod audit;
pub mod case;
#[cfg(feature = "std")]
pub mod clasp;
pub mod consensus;
pub mod court;
pub mod deterrence;
pub mod duty;
pub mod emission;
pub mod equivocation;
pub mod evidence;
pub mod fixed;
#[cfg(test)]
mod golden;
pub mod hash;
pub mod ids;
pub mod merge;
pub mod merkle;
pub mod packed;
pub mod params;
pub mod pathway;
pub mod phase;
pub mod position;
pub mod price;
pub mod reach;
pub mod receipt;
#[cfg(feature = "std")]
pub mod report;
pub mod routes;
#[cfg(test)]
mod sample_params;
pub mod score;
pub mod seat;
pub mod seed;
pub mod shard;
pub mod verdict;
pub mod vesting;
pub mod view;
pub mod wide;
pub mod wire;
pub mod work;
