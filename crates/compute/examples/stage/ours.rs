//! Our side: a stage trainer fed with codes, as a miner feeds it.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use iota_compute::codec;
use iota_compute::layout::StageLayout;
use iota_compute::outer::OuterState;
use iota_compute::plan;
use iota_compute::presets::run_params;
use iota_compute::{Device, SampleKey, StageInput, StageTrainer};
use iota_protocol::ids::{Attempt, Hash, Sample, Stage};
use iota_protocol::params::{DataParams, RunParams, PPM};
use serde_json::{json, Value};

use crate::operators::{self, Counts};
use crate::shapes::{Shape, STAGE};

/// Seconds of the three phases of a step: forward, backward, optimizer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step {
    /// By the clock.
    pub wall: [f64; 3],
    /// Of the processor, which other programs do not stretch.
    pub cpu: [f64; 3],
}

/// The trainer and what it is fed with.
pub struct Ours {
    run: RunParams,
    layout: StageLayout,
    trainer: StageTrainer,
    start: Vec<f32>,
    codes: Vec<u8>,
    gradient: Vec<u8>,
    sample: u32,
    resident_before: u64,
}

impl Ours {
    /// A stage at its initial weights; writes what the other side needs into `folder`.
    ///
    /// # Errors
    /// When the stage cannot be made or a file not be written.
    pub fn new(shape: &Shape, folder: &Path) -> Result<Self, Box<dyn Error>> {
        let run = shape.run()?;
        let layout = StageLayout::new(&run, STAGE)?;
        let state = OuterState::initial(&run, &layout);
        let start = state.weights.clone();
        write(&folder.join("weights"), &start[..layout.len()])?;
        let values = run.values_per_message() as usize;
        let coded = |name: &str, size: f32, seed: u64| -> Result<Vec<u8>, Box<dyn Error>> {
            let mut bytes = Vec::new();
            codec::encode(run.train.wire, &noise(values, size, seed), &mut bytes)?;
            let mut seen = Vec::new();
            codec::decode(run.train.wire, &bytes, values, &mut seen)?;
            write(&folder.join(name), &seen)?;
            Ok(bytes)
        };
        // Of the size that a trained stage sees: activations near one, gradients a thousandth.
        let (codes, gradient) = (coded("input", 1.0, 1)?, coded("gradient", 1e-3, 2)?);
        touch()?;
        let resident_before = memory("VmRSS")?;
        let trainer = StageTrainer::new(&run, STAGE, &state, Device::Cpu)?;
        drop(state);
        fs::write("/proc/self/clear_refs", "5")?;
        Ok(Self { run, layout, trainer, start, codes, gradient, sample: 0, resident_before })
    }

    /// Parameters of the stage.
    pub fn parameters(&self) -> usize {
        self.layout.len()
    }

    /// What the other side has to build, as JSON.
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub fn description(&self, folder: &Path) -> Result<Value, Box<dyn Error>> {
        let file =
            |name: &str| folder.join(name).to_str().map(str::to_owned).ok_or("a path that is not UTF-8");
        let (model, train) = (&self.run.model, &self.run.train);
        let part = |ppm: u32| f64::from(ppm) / f64::from(PPM);
        let stage = self.run.stage(STAGE).ok_or("no middle stage")?;
        let tensors: Vec<Value> = (self.layout.tensors().iter())
            .map(|t| json!({"name": t.name, "shape": t.shape, "offset": t.offset, "len": t.len, "decay": t.decay}))
            .collect();
        let layers: Vec<String> =
            (stage.first_layer..stage.first_layer + stage.layers).map(|l| format!("layers.{l}")).collect();
        let clip = (self.layout.len() as f64 / self.run.total_parameters() as f64).sqrt();
        Ok(json!({
            "weights": file("weights")?, "input": file("input")?, "gradient": file("gradient")?,
            "tensors": tensors, "layers": layers, "threads": 1, "clip": clip,
            "decoder": "boundary.0.decoder.weight", "encoder": "boundary.1.encoder.weight",
            "d_model": model.d_model, "n_heads": model.n_heads, "n_kv_heads": model.n_kv_heads,
            "bottleneck": model.bottleneck, "seq_len": model.seq_len, "rope_base": model.rope_base,
            "boundary_shape": [train.windows_per_sample, model.seq_len, model.bottleneck],
            "train": {
                "lr": part(train.lr_ppm), "beta1": part(train.beta1_ppm), "beta2": part(train.beta2_ppm),
                "weight_decay": part(train.weight_decay_ppm), "ramp": train.ramp_steps,
            },
        }))
    }

    /// One sample forward and back and a local step.
    ///
    /// # Errors
    /// When the trainer refuses.
    pub fn step(&mut self) -> Result<Step, Box<dyn Error>> {
        let mut step = Step::default();
        for phase in 0..3 {
            let (wall, cpu) = (Instant::now(), processor_seconds()?);
            self.phase(phase)?;
            step.wall[phase] = wall.elapsed().as_secs_f64();
            step.cpu[phase] = processor_seconds()? - cpu;
        }
        Ok(step)
    }

    fn phase(&mut self, phase: usize) -> Result<(), Box<dyn Error>> {
        let key = SampleKey { sample: Sample(self.sample), attempt: Attempt(0) };
        match phase {
            0 => drop(self.trainer.forward(key, StageInput::Codes(&self.codes), None)?),
            1 => drop(self.trainer.backward(key, &self.gradient)?),
            _ => {
                self.trainer.step_if_due(0)?.ok_or("no step was due")?;
                self.sample += 1;
            }
        }
        Ok(())
    }

    /// Most memory that training took, beyond what the program held before.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn peak_bytes(&self) -> Result<u64, Box<dyn Error>> {
        Ok(memory("VmHWM")?.saturating_sub(self.resident_before))
    }

    /// The same as `iota_compute::plan` predicts it for one sample at a time.
    pub fn predicted_bytes(&self) -> u64 {
        let plan = plan::memory(&self.run, STAGE, 1);
        plan.state + plan.passes()
    }

    /// Operators of one forward and one backward pass.
    ///
    /// # Errors
    /// When the counter cannot be loaded or the trainer refuses.
    pub fn operators(&mut self, library: &Path) -> Result<Counts, Box<dyn Error>> {
        let counts = operators::count(library, || {
            self.phase(0)?;
            self.phase(1)
        })?;
        self.phase(2)?;
        Ok(counts)
    }

    /// Relative difference (L2) of the other side's weight changes from ours.
    ///
    /// # Errors
    /// When the weights cannot be had or are of another length.
    pub fn difference(&self, theirs: &[f32]) -> Result<f64, Box<dyn Error>> {
        let ours = self.trainer.weights()?;
        if theirs.len() != self.layout.len() {
            return Err(format!("{} weights, expected {}", theirs.len(), self.layout.len()).into());
        }
        let (mut difference, mut change) = (0.0, 0.0);
        for ((ours, theirs), start) in ours.iter().zip(theirs).zip(&self.start) {
            difference += f64::from(ours - theirs).powi(2);
            change += f64::from(ours - start).powi(2);
        }
        Ok((difference / change).sqrt())
    }
}

/// Loads what every training loads, so that the code's own pages do not count as its memory.
fn touch() -> Result<(), Box<dyn Error>> {
    let data = DataParams { manifest_root: Hash::ZERO, train_windows: 1, heldout_windows: 1 };
    let run = run_params("nano", 1, 0, 1, 1, data)?;
    let state = OuterState::initial(&run, &StageLayout::new(&run, Stage(0))?);
    let mut trainer = StageTrainer::new(&run, Stage(0), &state, Device::Cpu)?;
    let tokens = vec![0; run.tokens_per_sample() as usize];
    let key = SampleKey { sample: Sample(0), attempt: Attempt(0) };
    trainer.forward(key, StageInput::Tokens(&tokens), Some(&tokens))?;
    trainer.step_if_due(0)?;
    Ok(())
}

/// Noise that is the same on every run, uniform within `size`.
fn noise(values: usize, size: f32, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..values).map(|_| size * (2.0 * next() - 1.0)).collect()
}

fn write(path: &Path, values: &[f32]) -> std::io::Result<()> {
    fs::write(path, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
}

/// A field of this process's status, in bytes.
fn memory(field: &str) -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line =
        text.lines().find(|line| line.starts_with(field)).ok_or("no such field in /proc/self/status")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("an empty field in /proc/self/status")?.parse()?;
    Ok(kib * 1024)
}

/// Processor time of this process so far.
fn processor_seconds() -> Result<f64, Box<dyn Error>> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the call to write to.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    if rc != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}
