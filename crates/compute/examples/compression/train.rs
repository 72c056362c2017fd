//! Trains one row in one process: three stages, one sample at a time, so that no weights move between
//! the passes of a sample and the boundary alone makes the difference.

use std::error::Error;

use codec::Encode;
use iota_compute::data::Dataset;
use iota_compute::evaluate::heldout_loss;
use iota_compute::layout::StageLayout;
use iota_compute::outer::OuterState;
use iota_compute::{Device, ForwardOut, SampleKey, StageInput, StageTrainer};
use iota_protocol::ids::{Attempt, Epoch, Hash, RunId, Sample, Stage, Uid};
use iota_protocol::params::RunParams;
use iota_protocol::position;
use iota_protocol::receipt::Direction;
use iota_protocol::wire::{Hop, HopHeader, TrainReply, TrainRequest, WIRE_VERSION};
use serde::{Deserialize, Serialize};

/// Held-out windows of an evaluation; evenly spread over the held-out part.
const WINDOWS: usize = 128;
/// Evaluations on the way; the last ones also make the result.
const EVALUATIONS: u32 = 12;
/// Evaluations at the end whose mean is the result: one alone scatters by some percent.
const LAST: usize = 4;
/// Samples between those.
const LAST_STEP: u32 = 4;

/// What one row gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Mean held-out loss of the last evaluations.
    pub heldout: f64,
    /// Held-out loss after so many samples.
    pub curve: Vec<(u32, f64)>,
    /// Bytes of one sample over one boundary, up and down, with headers and acknowledgements.
    pub bytes: (u64, u64),
    /// Seconds that each stage computes for one sample, forward, backward and step: the median sample.
    pub seconds: Vec<f64>,
}

/// The stages and what they took.
struct Line<'a> {
    run: &'a RunParams,
    data: &'a Dataset,
    stages: Vec<StageTrainer>,
    seconds: Vec<Vec<f64>>,
    bytes: (u64, u64),
}

/// Trains `samples` samples.
///
/// # Errors
/// When a stage fails.
pub fn train(run: &RunParams, samples: u32, data: &Dataset) -> Result<Outcome, Box<dyn Error>> {
    let windows = data.heldout_windows(WINDOWS);
    let mut line = Line::new(run, data)?;
    let mut curve = Vec::new();
    for done in 1..=samples {
        line.sample(Sample(done - 1))?;
        let left = samples - done;
        let last = left.is_multiple_of(LAST_STEP) && left < LAST_STEP * LAST as u32;
        if last || done.is_multiple_of((samples / EVALUATIONS).max(1)) {
            curve.push((done, f64::from(heldout_loss(run, &line.weights()?, &windows)?)));
        }
    }
    let ends: Vec<f64> = curve.iter().rev().take(LAST).map(|(_, loss)| *loss).collect();
    let heldout = ends.iter().sum::<f64>() / ends.len().max(1) as f64;
    let seconds = line.seconds.into_iter().map(median).collect();
    Ok(Outcome { heldout, curve, bytes: line.bytes, seconds })
}

impl<'a> Line<'a> {
    fn new(run: &'a RunParams, data: &'a Dataset) -> Result<Self, Box<dyn Error>> {
        let stage = |stage: u16| -> Result<StageTrainer, Box<dyn Error>> {
            let outer = OuterState::initial(run, &StageLayout::new(run, Stage(stage))?);
            Ok(StageTrainer::new(run, Stage(stage), &outer, Device::Cpu)?)
        };
        let stages: Result<Vec<_>, _> = (0..run.n_stages()).map(stage).collect();
        let seconds = vec![Vec::new(); run.stages.len()];
        Ok(Self { run, data, stages: stages?, seconds, bytes: (0, 0) })
    }

    /// One sample up, down, and a step of every stage.
    fn sample(&mut self, sample: Sample) -> Result<(), Box<dyn Error>> {
        let key = SampleKey { sample, attempt: Attempt(0) };
        let (inputs, targets) = self.tokens(sample)?;
        let last = self.stages.len() - 1;
        let mut spent = vec![0.0; self.stages.len()];
        let mut codes = Vec::new();
        for (place, stage) in self.stages.iter_mut().enumerate() {
            let start = processor_seconds()?;
            let input = if place == 0 { StageInput::Tokens(&inputs) } else { StageInput::Codes(&codes) };
            let out = stage.forward(key, input, (place == last).then_some(targets.as_slice()))?;
            spent[place] += processor_seconds()? - start;
            codes = match out {
                ForwardOut::Codes { bytes, .. } => {
                    self.bytes.0 = message_bytes(self.run, Direction::Forward, &bytes);
                    bytes
                }
                ForwardOut::Loss { grad, .. } => grad,
            };
        }
        for place in (0..last).rev() {
            self.bytes.1 = message_bytes(self.run, Direction::Backward, &codes);
            let start = processor_seconds()?;
            codes = self.stages[place].backward(key, &codes)?.grad.unwrap_or_default();
            spent[place] += processor_seconds()? - start;
        }
        for (place, stage) in self.stages.iter_mut().enumerate() {
            let start = processor_seconds()?;
            stage.step_if_due(0)?.ok_or("no step was due after a sample")?;
            spent[place] += processor_seconds()? - start;
        }
        self.seconds.iter_mut().zip(spent).for_each(|(all, one)| all.push(one));
        Ok(())
    }

    fn tokens(&self, sample: Sample) -> Result<(Vec<u32>, Vec<u32>), Box<dyn Error>> {
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for index in position::sample_windows(self.run, 0, sample) {
            let window = self.data.train_window(index)?;
            inputs.extend_from_slice(&window[..window.len() - 1]);
            targets.extend_from_slice(&window[1..]);
        }
        Ok((inputs, targets))
    }

    fn weights(&self) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
        self.stages.iter().map(|stage| Ok(stage.weights()?)).collect()
    }
}

/// Bytes of the whole message and its acknowledgement, as miners encode them.
fn message_bytes(run: &RunParams, direction: Direction, codes: &[u8]) -> u64 {
    let header = HopHeader {
        version: WIRE_VERSION,
        run: RunId(0),
        epoch: Epoch(0),
        // Such as the middle of a run has: small numbers take fewer bytes.
        sample: Sample(300),
        attempt: Attempt(0),
        stage: Stage(1),
        direction,
        from: Uid(0),
        values: run.values_per_message(),
        codec: run.train.wire,
        codes_hash: Hash::ZERO,
        parent: Hash([1; 32]),
    };
    let message = TrainRequest::Hop(Hop { header, signature: [0; 64], codes: codes.to_vec() }.into());
    (message.encoded_size() + TrainReply::Accepted { signature: [0; 64] }.encoded_size()) as u64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Processor time of this process so far: with one thread the time on an idle machine, whatever else
/// runs.
fn processor_seconds() -> Result<f64, Box<dyn Error>> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the call to write to.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    if rc != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}
