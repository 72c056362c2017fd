//! Replay of a part of a miner's event log from a state at a local step.
//!
//! Two callers: a validator that audits a segment, and a miner that regenerates a state from the
//! start of its epoch. Both go through the log event by event, give each the input that was
//! recorded, and compare what comes back. On one machine with one thread count the result is the
//! same bits; elsewhere the returned codes and weights are there to be compared with tolerances.
//!
//! A segment that starts in mid-epoch has forward passes outstanding. Give the state with the older
//! weights ([`StepState::previous`]), and first those earlier `Forward` events whose `Backward` or
//! `Abandon` lies in the segment; each runs on the weights of its version.

use std::collections::BTreeMap;

use iota_protocol::ids::{Stage, Version};
use iota_protocol::params::RunParams;
use iota_protocol::receipt::LogEvent;
use tch::Device;

use crate::stage::StageTrainer;
use crate::stage_error::StageError;
use crate::stage_io::{ForwardOut, StageInput};
use crate::state::{SampleKey, StepState};

/// Why an event could not be replayed. A log that cannot have happened is told apart from a
/// difference in values, which is no error but shows in what [`Replayer::apply`] returns.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The stage refused the input.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The input given is not of the event's kind.
    #[error("event {index} of the segment needs {expected} as its input; fetch what the miner recorded")]
    Input {
        /// Position within the segment.
        index: usize,
        /// What it needs.
        expected: &'static str,
    },
    /// The log names a version that the order of its own events rules out.
    #[error("event {index} of the segment names version {got} where version {expected} is next")]
    Version {
        /// Position within the segment.
        index: usize,
        /// Version that the order of events asks for.
        expected: Version,
        /// Version in the log.
        got: Version,
    },
    /// A backward pass or an abandonment without a forward pass.
    #[error("event {index} of the segment: no forward pass of {key} waits")]
    Unmatched {
        /// Position within the segment.
        index: usize,
        /// The pass.
        key: SampleKey,
    },
    /// A step where a miner that follows the rules takes none.
    #[error("event {index} of the segment steps with {samples} samples summed and {older} passes on older weights")]
    StepNotDue {
        /// Position within the segment.
        index: usize,
        /// Samples summed.
        samples: u32,
        /// Passes that wait on older weights.
        older: usize,
    },
}

/// What a miner recorded as the input of an event.
#[derive(Clone, Copy, Debug)]
pub enum EventInput<'a> {
    /// Steps, abandonments, and backward passes of the last stage.
    Nothing,
    /// Forward passes; targets at the last stage only.
    Forward {
        /// Tokens or code bytes.
        input: StageInput<'a>,
        /// Tokens to predict.
        targets: Option<&'a [u32]>,
    },
    /// Backward passes: code bytes of the gradient.
    Gradient(&'a [u8]),
}

/// What this machine got for an event. Equal events mean equal bits.
#[derive(Clone, PartialEq, Debug)]
pub struct Replayed {
    /// The event as this machine would have logged it.
    pub event: LogEvent,
    /// Code bytes that left the stage; empty where none do.
    pub codes: Vec<u8>,
    /// Last stage, forward.
    pub loss: Option<f32>,
    /// Last stage, forward: hash of the top logits.
    pub logits_hash: Option<iota_protocol::ids::Hash>,
}

impl Replayed {
    fn of(event: LogEvent, codes: Vec<u8>) -> Self {
        Self { event, codes, loss: None, logits_hash: None }
    }
}

/// Replays events in the order of a log.
pub struct Replayer {
    trainer: StageTrainer,
    /// Verified tokens at the end of the epoch before, which the learning rate follows.
    tokens: u64,
    next: usize,
    /// Last stage: backward passes done with their forward pass, until the log names them.
    done: BTreeMap<SampleKey, Replayed>,
}

impl Replayer {
    /// Starts at a state; the caller has checked [`crate::state_root`] against the log.
    ///
    /// # Errors
    /// [`ReplayError::Stage`] if the state is not of this stage.
    pub fn new(
        run: &RunParams,
        stage: Stage,
        state: StepState,
        tokens: u64,
        device: Device,
    ) -> Result<Self, ReplayError> {
        let trainer = StageTrainer::resume(run, stage, state, device)?;
        Ok(Self { trainer, tokens, next: 0, done: BTreeMap::new() })
    }

    /// Runs the next event.
    ///
    /// # Errors
    /// [`ReplayError`]; the replay cannot go on after one.
    pub fn apply(&mut self, event: &LogEvent, input: EventInput<'_>) -> Result<Replayed, ReplayError> {
        let index = self.next;
        self.next += 1;
        match *event {
            LogEvent::Forward { sample, attempt, version, .. } => {
                self.forward(index, SampleKey { sample, attempt }, version, input)
            }
            LogEvent::Backward { sample, attempt, version, .. } => {
                self.backward(index, SampleKey { sample, attempt }, version, input)
            }
            LogEvent::Abandon { sample, attempt } => {
                let key = SampleKey { sample, attempt };
                self.waiting(index, key)?;
                self.trainer.abandon(key);
                Ok(Replayed::of(*event, Vec::new()))
            }
            LogEvent::Step { version, .. } => self.step(index, version),
        }
    }

    /// The state as of the last step, for regenerating snapshots.
    ///
    /// # Errors
    /// [`ReplayError::Stage`] if it cannot be copied from the device.
    pub fn snapshot(&self) -> Result<StepState, ReplayError> {
        Ok(self.trainer.snapshot()?)
    }

    fn forward(
        &mut self,
        index: usize,
        key: SampleKey,
        version: Version,
        input: EventInput<'_>,
    ) -> Result<Replayed, ReplayError> {
        let EventInput::Forward { input, targets } = input else {
            return Err(ReplayError::Input { index, expected: "tokens or activations" });
        };
        match self.trainer.forward_at(key, version, input, targets)? {
            ForwardOut::Codes { bytes, .. } => Ok(Replayed::of(self.logged(1, index)?, bytes)),
            ForwardOut::Loss { loss, grad, logits_hash, .. } => {
                let backward = Replayed::of(self.logged(1, index)?, grad);
                self.done.insert(key, backward);
                let forward = Replayed::of(self.logged(2, index)?, Vec::new());
                Ok(Replayed { loss: Some(loss), logits_hash: Some(logits_hash), ..forward })
            }
        }
    }

    fn backward(
        &mut self,
        index: usize,
        key: SampleKey,
        version: Version,
        input: EventInput<'_>,
    ) -> Result<Replayed, ReplayError> {
        if let Some(replayed) = self.done.remove(&key) {
            return Ok(replayed);
        }
        let expected = self.waiting(index, key)?;
        if version != expected {
            return Err(ReplayError::Version { index, expected, got: version });
        }
        let EventInput::Gradient(grad) = input else {
            return Err(ReplayError::Input { index, expected: "a gradient" });
        };
        let out = self.trainer.backward(key, grad)?;
        Ok(Replayed::of(self.logged(1, index)?, out.grad.unwrap_or_default()))
    }

    fn step(&mut self, index: usize, version: Version) -> Result<Replayed, ReplayError> {
        let current = self.trainer.version();
        let expected = Version(current.0 + 1);
        if version != expected {
            return Err(ReplayError::Version { index, expected, got: version });
        }
        let samples = self.trainer.backwards_since_step();
        let older = self.trainer.outstanding().filter(|(_, version)| *version < current).count();
        if samples == 0 || older > 0 {
            return Err(ReplayError::StepNotDue { index, samples, older });
        }
        self.trainer.step(self.tokens)?;
        Ok(Replayed::of(self.logged(1, index)?, Vec::new()))
    }

    /// Version of a forward pass that waits.
    fn waiting(&self, index: usize, key: SampleKey) -> Result<Version, ReplayError> {
        let found = self.trainer.outstanding().find(|(waiting, _)| *waiting == key);
        found.map(|(_, version)| version).ok_or(ReplayError::Unmatched { index, key })
    }

    /// The event that the trainer logged `back` events ago.
    fn logged(&self, back: usize, index: usize) -> Result<LogEvent, ReplayError> {
        let log = self.trainer.log();
        let event = log.len().checked_sub(back).and_then(|place| log.get(place));
        event.copied().ok_or(ReplayError::Input { index, expected: "an event that leaves a trace" })
    }
}
