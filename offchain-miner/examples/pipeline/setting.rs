//! The model that all sides train, and how much of it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use iota_compute::data::{self, Dataset};
use iota_compute::presets::{run_params, with_boundary};
use iota_protocol::params::{DataParams, RunParams, WireCodec};

/// Width, hidden width, heads: four times the arithmetic of `tiny`, so that a pass is longer than what goes
/// with it, as in any model worth a network.
const WIDTHS: (u32, u32, u16) = (256, 688, 8);
/// Samples of a local step, and microbatches of one of PyTorch's.
pub const SAMPLES_PER_STEP: u16 = 8;
/// Local steps before the clock starts.
pub const WARM_UP: u32 = 2;
/// Local steps that are timed.
pub const TIMED: u32 = 8;

/// Samples up to the end of so many steps.
pub fn samples(steps: u32) -> u32 {
    steps * u32::from(SAMPLES_PER_STEP)
}

/// A run of so many stages: whole boundaries in int8.
///
/// # Errors
/// When the model cannot be cut so.
pub fn run(stages: u16, data: DataParams) -> anyhow::Result<RunParams> {
    let mut run = run_params("tiny", stages, 0, 2, 1, data)?;
    (run.model.d_model, run.model.d_ff, run.model.n_heads) = WIDTHS;
    run.model.n_kv_heads = run.model.n_heads;
    run.train.samples_per_step = SAMPLES_PER_STEP;
    // Enough that no stage is idle while a sample is elsewhere.
    run.train.in_flight = u8::try_from(stages * 2)?;
    run.train.max_samples = samples(WARM_UP + TIMED);
    let width = run.model.d_model;
    Ok(with_boundary(&run, width, WireCodec::Int8)?)
}

/// Makes the data set that all read. Numbers are as good as words here: nobody looks at the loss.
///
/// # Errors
/// When the disk is full.
pub fn prepare(folder: &Path) -> anyhow::Result<()> {
    let text: String = (0..80_000u32).map(|n| format!("{} ", n * 7 % 10_007)).collect();
    std::fs::write(folder.join("text"), text)?;
    data::prepare(&folder.join("text"), &data_in(folder), 128, "made up", |_, _| {})?;
    Ok(())
}

/// The data set in a measurement's folder.
///
/// # Errors
/// When it is not there.
pub fn dataset(folder: &Path) -> anyhow::Result<Dataset> {
    Dataset::open(&data_in(folder), None).context("opening the made-up data set")
}

fn data_in(folder: &Path) -> PathBuf {
    folder.join("data")
}
