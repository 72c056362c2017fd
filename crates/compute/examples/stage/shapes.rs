//! The stages that are timed: the middle one of three, which has both boundaries.

use iota_compute::layout::StageLayout;
use iota_compute::presets::run_params;
use iota_protocol::ids::{Hash, Stage};
use iota_protocol::params::{DataParams, RunParams};

/// A stage to time.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Name on the command line and in the report.
    pub name: &'static str,
    /// What it is, for readers.
    pub what: &'static str,
    preset: &'static str,
    /// Width, hidden width of SwiGLU, heads; the preset's where absent.
    widths: Option<(u32, u32, u16)>,
    /// Windows and tokens per window; the preset's where absent.
    tokens: Option<(u16, u32)>,
}

/// All shapes.
pub const SHAPES: [Shape; 4] = [
    Shape {
        name: "tiny",
        what: "preset `tiny`: d 128, 2 layers, 4 x 128 tokens",
        preset: "tiny",
        widths: None,
        tokens: None,
    },
    Shape {
        name: "d256",
        what: "d 256, 2 layers, 4 x 128 tokens",
        preset: "tiny",
        widths: Some((256, 688, 8)),
        tokens: None,
    },
    Shape {
        name: "d512",
        what: "d 512, 2 layers, 4 x 256 tokens",
        preset: "tiny",
        widths: Some((512, 1376, 8)),
        tokens: Some((4, 256)),
    },
    Shape {
        name: "1.5b",
        what: "preset `1.5b` in three stages: d 2048, 6 layers, on 1 x 128 tokens",
        preset: "1.5b",
        widths: None,
        tokens: Some((1, 128)),
    },
];

/// The stage that is timed.
pub const STAGE: Stage = Stage(1);

impl Shape {
    /// Parameters of a run with this stage in its middle.
    ///
    /// # Errors
    /// When the preset cannot be cut so.
    pub fn run(&self) -> Result<RunParams, Box<dyn std::error::Error>> {
        let data = DataParams { manifest_root: Hash::ZERO, train_windows: 1, heldout_windows: 1 };
        let mut run = run_params(self.preset, 3, 0, 1, 1, data)?;
        if let Some((d_model, d_ff, heads)) = self.widths {
            run.model.bottleneck = d_model * run.model.bottleneck / run.model.d_model;
            (run.model.d_model, run.model.d_ff) = (d_model, d_ff);
            (run.model.n_heads, run.model.n_kv_heads) = (heads, heads);
        }
        if let Some((windows, tokens)) = self.tokens {
            (run.train.windows_per_sample, run.model.seq_len) = (windows, tokens);
        }
        run.train.samples_per_step = 1;
        for stage in 0..run.n_stages() {
            let parameters = StageLayout::new(&run, Stage(stage))?.len() as u64;
            run.stages[usize::from(stage)].parameters = parameters;
        }
        run.validate()?;
        Ok(run)
    }
}
