//! Segments of an honest run, and what a machine makes of them.

use std::error::Error;

use codec::{Decode, Encode};
use iota_compute::data::Dataset;
use iota_compute::layout::StageLayout;
use iota_compute::outer::OuterState;
use iota_compute::{Device, ForwardOut, SampleKey, StageInput, StageTrainer, StepState};
use iota_protocol::ids::{Attempt, Sample, Stage};
use iota_protocol::params::RunParams;
use iota_protocol::position;

/// Everything that an auditor needs to replay one local step of one stage.
#[derive(Clone, Encode, Decode)]
pub struct Segment {
    /// The stage.
    pub stage: u16,
    /// The sample of the step.
    pub sample: u32,
    /// State before it.
    pub state: StepState,
    /// Input tokens; empty but for the first stage.
    pub tokens: Vec<u32>,
    /// Targets; empty but for the last stage.
    pub targets: Vec<u32>,
    /// Codes that came up; empty at the first stage.
    pub codes: Vec<u8>,
    /// Gradient that came down; empty at the last stage.
    pub gradient: Vec<u8>,
}

/// What came of a segment.
#[derive(Clone, Encode, Decode)]
pub struct Played {
    /// Codes sent up; empty at the last stage.
    pub forward: Vec<u8>,
    /// Gradient sent down; empty at the first stage.
    pub backward: Vec<u8>,
    /// Loss as bits of an f32; the last stage's.
    pub loss: Option<u32>,
    /// State after the step.
    pub state: StepState,
}

impl Played {
    /// The loss.
    pub fn loss(&self) -> Option<f64> {
        self.loss.map(|bits| f64::from(f32::from_bits(bits)))
    }
}

/// Runs one segment on this machine.
pub fn play(run: &RunParams, segment: &Segment) -> Result<Played, Box<dyn Error>> {
    let mut trainer = StageTrainer::resume(run, Stage(segment.stage), segment.state.clone(), Device::Cpu)?;
    let key = SampleKey { sample: Sample(segment.sample), attempt: Attempt(0) };
    let last = !segment.targets.is_empty();
    let input = match segment.stage {
        0 => StageInput::Tokens(&segment.tokens),
        _ => StageInput::Codes(&segment.codes),
    };
    let out = trainer.forward(key, input, last.then_some(segment.targets.as_slice()))?;
    let (forward, mut backward, loss) = match out {
        ForwardOut::Codes { bytes, .. } => (bytes, Vec::new(), None),
        ForwardOut::Loss { loss, grad, .. } => (Vec::new(), grad, Some(loss.to_bits())),
    };
    if !last {
        backward = trainer.backward(key, &segment.gradient)?.grad.unwrap_or_default();
    }
    trainer.step_if_due(0)?.ok_or("no step was due after a sample")?;
    Ok(Played { forward, backward, loss, state: trainer.snapshot()? })
}

/// Trains honestly, one sample at a time, and keeps the segments of the samples in `keep`.
pub fn record(run: &RunParams, data: &Dataset, keep: &[u32]) -> Result<Vec<Segment>, Box<dyn Error>> {
    let mut stages = Vec::new();
    for stage in 0..run.n_stages() {
        let outer = OuterState::initial(run, &StageLayout::new(run, Stage(stage))?);
        stages.push(StageTrainer::new(run, Stage(stage), &outer, Device::Cpu)?);
    }
    let mut kept = Vec::new();
    for sample in 0..=keep.iter().copied().max().unwrap_or(0) {
        let mut segments = keep.contains(&sample).then(Vec::new);
        train(run, data, &mut stages, sample, segments.as_mut())?;
        kept.extend(segments.unwrap_or_default());
    }
    Ok(kept)
}

fn train(
    run: &RunParams,
    data: &Dataset,
    stages: &mut [StageTrainer],
    sample: u32,
    mut keep: Option<&mut Vec<Segment>>,
) -> Result<(), Box<dyn Error>> {
    let key = SampleKey { sample: Sample(sample), attempt: Attempt(0) };
    let (inputs, targets) = tokens(run, data, Sample(sample))?;
    let last = stages.len() - 1;
    let mut codes = Vec::new();
    for (place, stage) in stages.iter_mut().enumerate() {
        if let Some(keep) = keep.as_mut() {
            keep.push(Segment {
                stage: u16::try_from(place)?,
                sample,
                state: stage.snapshot()?,
                tokens: if place == 0 { inputs.clone() } else { Vec::new() },
                targets: if place == last { targets.clone() } else { Vec::new() },
                codes: codes.clone(),
                gradient: Vec::new(),
            });
        }
        let input = if place == 0 { StageInput::Tokens(&inputs) } else { StageInput::Codes(&codes) };
        codes = match stage.forward(key, input, (place == last).then_some(targets.as_slice()))? {
            ForwardOut::Codes { bytes, .. } => bytes,
            ForwardOut::Loss { grad, .. } => grad,
        };
    }
    for place in (0..last).rev() {
        if let Some(segment) = keep.as_mut().and_then(|keep| keep.get_mut(place)) {
            segment.gradient.clone_from(&codes);
        }
        codes = stages[place].backward(key, &codes)?.grad.unwrap_or_default();
    }
    for stage in stages {
        stage.step_if_due(0)?.ok_or("no step was due after a sample")?;
    }
    Ok(())
}

fn tokens(run: &RunParams, data: &Dataset, sample: Sample) -> Result<(Vec<u32>, Vec<u32>), Box<dyn Error>> {
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    for index in position::sample_windows(run, 0, sample) {
        let window = data.train_window(index)?;
        inputs.extend_from_slice(&window[..window.len() - 1]);
        targets.extend_from_slice(&window[1..]);
    }
    Ok((inputs, targets))
}
