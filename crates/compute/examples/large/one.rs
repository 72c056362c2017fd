//! One stage, run for a few steps.

use std::error::Error;
use std::fs;
use std::time::Instant;

use iota_compute::codec;
use iota_compute::layout::StageLayout;
use iota_compute::outer::OuterState;
use iota_compute::plan;
use iota_compute::presets::run_params;
use iota_compute::{Device, ForwardOut, SampleKey, StageInput, StageTrainer};
use iota_protocol::ids::{Attempt, Hash, Sample, Stage};
use iota_protocol::params::{DataParams, RunParams};
use serde::{Deserialize, Serialize};

/// What a stage took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Index of the stage.
    pub stage: u16,
    /// Transformer layers.
    pub layers: u16,
    /// Trained parameters.
    pub parameters: u64,
    /// Tokens of a sample.
    pub tokens: u32,
    /// Samples of a step.
    pub samples: u32,
    /// Multiply-adds of a forward pass for one token, as the layout counts them.
    pub products: u64,
    /// Most memory beyond what the program held before, in bytes: in forward passes, in backward passes, in
    /// local steps. The last stage runs both passes as one, which counts as forward.
    pub peaks: [u64; 3],
    /// Bytes that the plan predicts with one sample at a time: state and passes.
    pub predicted: [u64; 2],
    /// Seconds of each sample, both passes.
    pub passes: Vec<f64>,
    /// Seconds of each local step, the root of masters and moments included.
    pub optimizer: Vec<f64>,
    /// Norm of the mean gradient at each step.
    pub norms: Vec<f64>,
    /// Losses in nats per token; the last stage's alone.
    pub losses: Vec<f64>,
}

/// What the stage is fed with.
struct Fed {
    tokens: Vec<u32>,
    codes: Vec<u8>,
    gradient: Vec<u8>,
}

/// Runs a stage for `steps` local steps after one of warm-up, one sample at a time.
///
/// # Errors
/// When there is no such stage, or the trainer refuses.
pub fn run(
    preset: &str,
    stages: u16,
    stage: u16,
    steps: u32,
    device: Device,
) -> Result<Measured, Box<dyn Error>> {
    let data = DataParams { manifest_root: Hash::ZERO, train_windows: 1, heldout_windows: 1 };
    let params = run_params(preset, stages, 0, 1, 1, data)?;
    let own = params.stage(Stage(stage)).ok_or_else(|| format!("no stage {stage} among {stages}"))?;
    let fed = fed(&params)?;
    let before = memory("VmRSS")?;
    let layout = StageLayout::new(&params, Stage(stage))?;
    let state = OuterState::initial(&params, &layout);
    let mut trainer = StageTrainer::new(&params, Stage(stage), &state, device)?;
    drop(state);
    // Making the initial state is not part of training; its memory is free again.
    forget_peak()?;
    let plan = plan::memory(&params, Stage(stage), 1);
    let mut measured = Measured {
        stage,
        layers: own.layers,
        parameters: own.parameters,
        tokens: params.tokens_per_sample(),
        samples: u32::from(params.train.samples_per_step),
        products: iota_compute::presets::stage_flops(&params, Stage(stage)),
        peaks: [0; 3],
        predicted: [plan.state, plan.passes()],
        passes: Vec::new(),
        optimizer: Vec::new(),
        norms: Vec::new(),
        losses: Vec::new(),
    };
    let mut sample = 0;
    for _ in 0..=steps {
        step(&mut trainer, &params, &fed, &mut sample, &mut measured)?;
    }
    measured.peaks = measured.peaks.map(|peak| peak.saturating_sub(before));
    // The first step warmed up.
    measured.passes.drain(..measured.samples as usize);
    measured.optimizer.remove(0);
    Ok(measured)
}

/// The samples of one step, and the step.
fn step(
    trainer: &mut StageTrainer,
    params: &RunParams,
    fed: &Fed,
    sample: &mut u32,
    measured: &mut Measured,
) -> Result<(), Box<dyn Error>> {
    for _ in 0..measured.samples {
        let key = SampleKey { sample: Sample(*sample), attempt: Attempt(0) };
        let begun = Instant::now();
        let last = Stage(measured.stage) == params.last_stage();
        let input =
            if measured.stage == 0 { StageInput::Tokens(&fed.tokens) } else { StageInput::Codes(&fed.codes) };
        let out = trainer.forward(key, input, last.then_some(&fed.tokens))?;
        measured.saw_peak(0)?;
        match out {
            ForwardOut::Loss { loss, .. } => measured.losses.push(loss.into()),
            ForwardOut::Codes { .. } => drop(trainer.backward(key, &fed.gradient)?),
        }
        measured.saw_peak(1)?;
        measured.passes.push(begun.elapsed().as_secs_f64());
        eprintln!("  sample {sample}: {:.1} s", begun.elapsed().as_secs_f64());
        *sample += 1;
    }
    let begun = Instant::now();
    let out = trainer.step_if_due(0)?.ok_or("no step was due")?;
    measured.optimizer.push(begun.elapsed().as_secs_f64());
    measured.saw_peak(2)?;
    measured.norms.push(out.grad_norm);
    Ok(())
}

impl Measured {
    /// Most memory of all, in bytes.
    pub fn peak(&self) -> u64 {
        self.peaks.into_iter().max().unwrap_or(0)
    }

    /// Takes down the peak of a phase that has just ended.
    fn saw_peak(&mut self, phase: usize) -> Result<(), Box<dyn Error>> {
        self.peaks[phase] = self.peaks[phase].max(memory("VmHWM")?);
        forget_peak()
    }
}

/// Tokens, and codes of noise: activations near one, gradients a thousandth.
fn fed(params: &RunParams) -> Result<Fed, Box<dyn Error>> {
    let values = params.values_per_message() as usize;
    let coded = |size: f32, seed: u64| -> Result<Vec<u8>, Box<dyn Error>> {
        let mut bytes = Vec::new();
        let noise: Vec<f32> = numbers(seed).map(|part| size * (2.0 * part - 1.0)).take(values).collect();
        codec::encode(params.train.wire, &noise, &mut bytes)?;
        Ok(bytes)
    };
    let vocabulary = params.model.vocab as f32;
    let tokens = numbers(3).map(|part| (part * vocabulary) as u32);
    Ok(Fed {
        tokens: tokens.take(params.tokens_per_sample() as usize).collect(),
        codes: coded(1.0, 1)?,
        gradient: coded(1e-3, 2)?,
    })
}

/// Numbers in `[0, 1)`, the same on every run.
fn numbers(seed: u64) -> impl Iterator<Item = f32> {
    let next = |state: &u64| {
        Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
    };
    std::iter::successors(Some(seed), next).skip(1).map(|state| (state >> 40) as f32 / (1u64 << 24) as f32)
}

/// Lets the system count the peak anew.
fn forget_peak() -> Result<(), Box<dyn Error>> {
    Ok(fs::write("/proc/self/clear_refs", "5")?)
}

/// A field of this process's status, in bytes.
fn memory(field: &str) -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line =
        text.lines().find(|line| line.starts_with(field)).ok_or("no such field in /proc/self/status")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("an empty field in /proc/self/status")?.parse()?;
    Ok(kib * 1024)
}
