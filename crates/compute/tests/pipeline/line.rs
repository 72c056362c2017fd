//! A line of stages in one process, one replica each, and text to train it on.

use iota_compute::layout::StageLayout;
use iota_compute::outer::OuterState;
use iota_compute::presets::run_params;
use iota_compute::{init_runtime, Device, ForwardOut, SampleKey, StageInput, StageTrainer};
use iota_protocol::ids::{Attempt, Hash, Sample, Stage};
use iota_protocol::params::{DataParams, RunParams, WireCodec};

pub fn nano(stages: u16) -> RunParams {
    let data = DataParams { manifest_root: Hash([1; 32]), train_windows: 1_000, heldout_windows: 10 };
    run_params("nano", stages, 42, 3, 1, data).unwrap()
}

/// The same run without bottleneck and with raw values at boundaries.
pub fn exact(mut run: RunParams) -> RunParams {
    run.train.wire = WireCodec::F32;
    run.model.bottleneck = run.model.d_model;
    for stage in 0..run.stages.len() {
        let layout = StageLayout::new(&run, Stage(u16::try_from(stage).unwrap())).unwrap();
        run.stages[stage].parameters = layout.len() as u64;
    }
    run.validate().unwrap();
    run
}

pub fn initial(run: &RunParams) -> Vec<OuterState> {
    let layout = |stage| StageLayout::new(run, Stage(stage)).unwrap();
    (0..run.n_stages()).map(|stage| OuterState::initial(run, &layout(stage))).collect()
}

pub fn key(sample: u32) -> SampleKey {
    SampleKey { sample: Sample(sample), attempt: Attempt(0) }
}

/// Sentences in which a letter depends on the ones before it.
pub fn sentences() -> Vec<u8> {
    let words = [
        "the miner",
        "a stage",
        "one sample",
        "learns",
        "merges",
        "waits for",
        "sends",
        "its gradient",
        "the loss",
    ];
    let mut state = 1u32;
    let mut text = Vec::new();
    while text.len() < 20_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(words[(state >> 16) as usize % words.len()].as_bytes());
        text.push(b' ');
    }
    text
}

/// Entropy of single letters, in nats.
pub fn unigram_entropy(text: &[u8]) -> f64 {
    let count = |letter: u8| text.iter().filter(|other| **other == letter).count() as f64 / text.len() as f64;
    (0..=255).map(count).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum()
}

/// Inputs and targets of one sample that start at these places of the text.
pub fn shifted_sample(run: &RunParams, inputs: usize, targets: usize) -> (Vec<u32>, Vec<u32>) {
    let (text, len) = (sentences(), run.tokens_per_sample() as usize);
    let part = |start: usize| text[start..start + len].iter().map(|byte| u32::from(*byte)).collect();
    (part(inputs), part(targets))
}

/// Inputs and targets of training sample `index`.
pub fn sample(run: &RunParams, text: &[u8], index: usize) -> (Vec<u32>, Vec<u32>) {
    let len = run.model.seq_len as usize;
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    for window in 0..usize::from(run.train.windows_per_sample) {
        let place =
            (index * usize::from(run.train.windows_per_sample) + window) * 811 % (text.len() - len - 1);
        inputs.extend(text[place..place + len].iter().map(|byte| u32::from(*byte)));
        targets.extend(text[place + 1..=place + len].iter().map(|byte| u32::from(*byte)));
    }
    (inputs, targets)
}

pub struct Line {
    pub run: RunParams,
    pub stages: Vec<StageTrainer>,
}

impl Line {
    pub fn new(run: &RunParams) -> Self {
        Self::from_states(run, &initial(run))
    }

    pub fn from_states(run: &RunParams, states: &[OuterState]) -> Self {
        init_runtime(1);
        let trainer = |(stage, state)| StageTrainer::new(run, Stage(stage), state, Device::Cpu).unwrap();
        Self { run: run.clone(), stages: (0..).zip(states).map(trainer).collect() }
    }

    /// Forward through all stages; the loss and, with several stages, the gradient of the boundary.
    pub fn forward(&mut self, index: u32, inputs: &[u32], targets: &[u32]) -> (f32, Vec<u8>) {
        let last = self.stages.len() - 1;
        let mut codes = Vec::new();
        for (place, stage) in self.stages.iter_mut().enumerate() {
            let input = if place == 0 { StageInput::Tokens(inputs) } else { StageInput::Codes(&codes) };
            match stage.forward(key(index), input, (place == last).then_some(targets)).unwrap() {
                ForwardOut::Codes { bytes, .. } => codes = bytes,
                ForwardOut::Loss { loss, grad, .. } => return (loss, grad),
            }
        }
        unreachable!("the last stage returns a loss")
    }

    pub fn backward(&mut self, index: u32, mut grad: Vec<u8>) {
        let last = self.stages.len() - 1;
        for stage in self.stages[..last].iter_mut().rev() {
            grad = stage.backward(key(index), &grad).unwrap().grad.unwrap_or_default();
        }
        assert!(grad.is_empty(), "nothing leaves the first stage");
    }

    pub fn run_sample(&mut self, index: u32, inputs: &[u32], targets: &[u32]) -> f32 {
        let (loss, grad) = self.forward(index, inputs, targets);
        self.backward(index, grad);
        loss
    }

    /// Losses of so many samples, a step after each.
    pub fn train(&mut self, samples: usize, text: &[u8]) -> Vec<f32> {
        let mut losses = Vec::new();
        for index in 0..samples {
            let (inputs, targets) = sample(&self.run, text, index);
            losses.push(self.run_sample(u32::try_from(index).unwrap(), &inputs, &targets));
            for stage in &mut self.stages {
                stage.step_if_due(0).unwrap().unwrap();
            }
        }
        losses
    }
}
