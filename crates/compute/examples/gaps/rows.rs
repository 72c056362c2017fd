//! The rows that are compared: each is a way to train the same model on the same samples.

use std::error::Error;

use iota_compute::layout::StageLayout;
use iota_compute::presets::run_params;
use iota_protocol::ids::Stage;
use iota_protocol::params::{DataParams, RunParams, WireCodec};

/// The model that is trained.
pub const PRESET: &str = "tiny";
/// Stages of every row but the first.
const STAGES: u16 = 3;
/// Replicas of each stage in the row that merges.
pub const REPLICAS: u16 = 3;
/// Merges in the row that merges.
pub const MERGES: u32 = 5;

/// Uncut, one clip over the whole gradient.
pub const WHOLE: &str = "one-process";
/// The baseline: one process that clips each stage's gradient by itself.
pub const BASELINE: &str = "baseline";
/// The codec alone.
pub const CODEC: &str = "codec";
/// Bottleneck and codec.
pub const BOTTLENECK: &str = "bottleneck";
/// Local steps with two samples in flight, as the preset has it.
pub const STALE_2: &str = "in-flight-2";
/// Local steps with four samples in flight.
pub const STALE_4: &str = "in-flight-4";
/// Synchronous steps over as many samples as there are replicas.
pub const LARGE_STEP: &str = "three-per-step";
/// Replicas that merge.
pub const MERGED: &str = "merged";

/// One way to train.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Name on the command line and in the report.
    pub name: &'static str,
    /// What it is, for readers.
    pub what: &'static str,
    /// Stages.
    pub stages: u16,
    /// Whether boundaries are squeezed as the preset says.
    pub bottleneck: bool,
    /// Codec at boundaries.
    pub wire: WireCodec,
    /// Samples that each miner of the first stage has in flight; 1 is synchronous.
    pub in_flight: u8,
    /// Samples between two local steps.
    pub per_step: u16,
    /// Miners of each stage.
    pub replicas: u16,
    /// Merges over the whole run; 0 for none.
    pub merges: u32,
}

const ONE: Row = Row {
    name: WHOLE,
    what: "one process, one stage, fp32, one clip over the whole gradient",
    stages: 1,
    bottleneck: false,
    wire: WireCodec::F32,
    in_flight: 1,
    per_step: 1,
    replicas: 1,
    merges: 0,
};

const SQUEEZED: Row = Row {
    name: BOTTLENECK,
    what: "three stages, bottleneck d/8, int8 codes",
    stages: STAGES,
    bottleneck: true,
    wire: WireCodec::Int8,
    ..ONE
};

/// All rows, in the order in which they are measured.
pub const ROWS: [Row; 8] = [
    ONE,
    Row {
        name: BASELINE,
        what: "as one process, but each stage's gradient is clipped by itself (three stages, fp32, no bottleneck)",
        stages: STAGES,
        ..ONE
    },
    Row { name: CODEC, what: "three stages, no bottleneck, int8 codes", bottleneck: false, ..SQUEEZED },
    SQUEEZED,
    Row { name: STALE_2, what: "the same, two samples in flight", in_flight: 2, ..SQUEEZED },
    Row { name: STALE_4, what: "the same, four samples in flight", in_flight: 4, ..SQUEEZED },
    Row {
        name: LARGE_STEP,
        what: "no sample in flight beside another, one step for three samples (what three replicas that \
               exchange every gradient would do)",
        per_step: REPLICAS,
        ..SQUEEZED
    },
    Row {
        name: MERGED,
        what: "three replicas of each stage, two samples in flight each, five merges",
        in_flight: 2,
        replicas: REPLICAS,
        merges: MERGES,
        ..SQUEEZED
    },
];

/// The inner learning rate, where it is not the preset's.
#[derive(Clone, Copy, Default, Debug)]
pub struct Rate {
    /// Its peak in millionths.
    pub lr_ppm: Option<u32>,
    /// Steps over which it rises.
    pub ramp_steps: Option<u16>,
}

impl Row {
    /// Parameters of this row's run. Initial weights and data order follow from the seed alone, so
    /// all rows of a seed start alike and read alike.
    ///
    /// # Errors
    /// When the preset cannot be cut so.
    pub fn params(&self, seed: u64, rate: Rate, data: DataParams) -> Result<RunParams, Box<dyn Error>> {
        let mut run = run_params(PRESET, self.stages, seed, self.merges.max(1), self.replicas, data)?;
        run.train.wire = self.wire;
        run.train.in_flight = self.in_flight;
        run.train.samples_per_step = self.per_step;
        run.train.lr_ppm = rate.lr_ppm.unwrap_or(run.train.lr_ppm);
        run.train.ramp_steps = rate.ramp_steps.unwrap_or(run.train.ramp_steps);
        if !self.bottleneck {
            run.model.bottleneck = run.model.d_model;
            for stage in 0..run.n_stages() {
                let layout = StageLayout::new(&run, Stage(stage))?;
                run.stages[usize::from(stage)].parameters = layout.len() as u64;
            }
        }
        run.validate()?;
        Ok(run)
    }

    /// Parts of the run that end in a merge; one without merges.
    pub fn epochs(&self) -> u32 {
        self.merges.max(1)
    }
}
