//! The rows that are compared: one model under every boundary.

use std::error::Error;

use iota_compute::presets::{run_params, with_boundary};
use iota_protocol::params::{DataParams, RunParams, WireCodec};

/// Stages of every row.
pub const STAGES: u16 = 3;

/// One boundary.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Name on the command line and in the report.
    pub name: &'static str,
    /// What it is, for readers.
    pub what: &'static str,
    /// Width of the stream over channels that cross.
    pub narrower: u32,
    /// How they are coded.
    pub wire: WireCodec,
    /// Ratio to the bf16 stream by the codes' bits alone.
    pub nominal: u32,
}

/// The row that all others are held against.
pub const BASELINE: &str = "bf16-1x";

const fn row(name: &'static str, what: &'static str, narrower: u32, wire: WireCodec, nominal: u32) -> Row {
    Row { name, what, narrower, wire, nominal }
}

/// All rows, in the order in which they are measured.
pub const ROWS: [Row; 10] = [
    row(BASELINE, "the whole stream as bf16", 1, WireCodec::Bf16, 1),
    row("bottleneck-16x", "bottleneck d/8, int8", 8, WireCodec::Int8, 16),
    row("subspace-16x", "shared subspace d/8, int8", 8, WireCodec::SubspaceInt8, 16),
    row("bottleneck-64x", "bottleneck d/16, int4", 16, WireCodec::Int4, 64),
    row("subspace-64x", "shared subspace d/16, int4", 16, WireCodec::SubspaceInt4, 64),
    row("bottleneck-128x", "bottleneck d/32, int4", 32, WireCodec::Int4, 128),
    row("subspace-128x", "shared subspace d/32, int4", 32, WireCodec::SubspaceInt4, 128),
    row("bottleneck-32x", "bottleneck d/16, int8", 16, WireCodec::Int8, 32),
    row("int8-2x", "the whole stream as int8", 1, WireCodec::Int8, 2),
    row("int4-4x", "the whole stream as int4", 1, WireCodec::Int4, 4),
];

impl Row {
    /// Seeds of this row, when those at 1x and 64x have so many: the spread there stands for the others.
    pub fn seeds(&self, most: u64) -> u64 {
        if matches!(self.nominal, 1 | 64) {
            most
        } else {
            most.min(1)
        }
    }

    /// Parameters of this row's run at a width of the stream.
    ///
    /// # Errors
    /// When the width does not go with the row.
    pub fn params(&self, d_model: u32, seed: u64, data: DataParams) -> Result<RunParams, Box<dyn Error>> {
        let mut run = run_params("tiny", STAGES, seed, 1, 1, data)?;
        // The preset's proportions: eight thirds of hidden width, heads of 32.
        run.model.d_ff = run.model.d_ff * d_model / run.model.d_model;
        run.model.n_heads = u16::try_from(d_model / 32)?;
        run.model.n_kv_heads = run.model.n_heads;
        run.model.d_model = d_model;
        Ok(with_boundary(&run, d_model / self.narrower, self.wire)?)
    }
}
