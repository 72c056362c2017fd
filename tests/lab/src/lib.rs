//! The adversary laboratory: what attribution, audits, merging and scores do against named cheats.
//!
//! Everything runs on the real rules of `iota-protocol`; what surrounds them (miners, links, texts,
//! a model of a few numbers) is simulated from printed seeds. `rows` lists what is measured, `runner`
//! runs it and writes `docs/results/trust.md`. No chain, no processes, no tensors: those are tested
//! elsewhere.

pub mod attacks;
pub mod audits;
pub mod bench;
pub mod calibration;
pub mod merging;
pub mod noise;
pub mod odds;
pub mod outcome;
pub mod page;
pub mod plot;
pub mod real;
pub mod routing;
pub mod rows;
pub mod runner;
pub mod scale;
pub mod steering;
pub mod toy;
pub mod toymerge;
pub mod world;

/// Counts what the process holds, so that memory is stated in bytes and not guessed.
#[global_allocator]
pub static BYTES: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
