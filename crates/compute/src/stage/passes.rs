//! A stage's passes, each in two halves: what the device is given, and what the host makes of what comes back.
//!
//! [`StageTrainer::forward`] and [`StageTrainer::backward`] run both halves. Where the device computes while
//! the host does something else, a caller launches a pass before it finishes the one before: the device then
//! computes one pass while the host encodes, hashes and sends what the last one gave, and decodes and uploads
//! what the next one reads. Passes are finished in the order in which they were launched, which is that of the
//! event log, and no step is taken between the halves of one: what is computed is the same in either case.

use std::collections::VecDeque;
use std::time::Instant;

use iota_protocol::hash::{hash, Domain};
use iota_protocol::ids::{Hash, Version};
use iota_protocol::receipt::LogEvent;
use tch::{TchError, Tensor};

use crate::codec;
use crate::gradients::gradients;
use crate::host;
use crate::loss::{mean_nats, top_hash, LastPass};
use crate::optimizer::fits;
use crate::reader::decoded;
use crate::stage::{Graph, StageTrainer};
use crate::stage_error::StageError;
use crate::stage_io::{BackwardOut, ForwardOut, PassOut, StageInput};
use crate::staging::{Download, Scalar};
use crate::state::SampleKey;

/// A pass that the device was given. Hand it to [`StageTrainer::finish`].
#[must_use = "no step is taken and no later pass can be finished before this one"]
pub struct Launched {
    turn: u64,
    pass: Pass,
}

enum Pass {
    Forward(Result<Forward, StageError>),
    Backward(Result<Backward, StageError>),
}

struct Forward {
    key: SampleKey,
    version: Version,
    input_hash: Hash,
    then: Then,
}

/// What follows a forward pass.
enum Then {
    /// Its output leaves, and the graph waits for the gradient.
    Waits {
        graph: Graph,
        output: Download,
        /// Token ids that end the message to the next stage.
        ids: Vec<u8>,
    },
    /// The last stage's backward pass, which the device was given as well.
    Ends { logs: Scalar, top: Vec<[Download; 2]>, gradient: Gradient },
}

struct Backward {
    key: SampleKey,
    version: Version,
    input_hash: Hash,
    gradient: Result<Gradient, StageError>,
}

/// What a backward pass gives.
struct Gradient {
    /// By the stage's input; none at the first stage.
    by_input: Option<Download>,
    /// Largest magnitude of all that was to be summed.
    largest: Scalar,
}

/// Passes that were launched and not finished, in order.
#[derive(Default)]
pub(super) struct Turns {
    finished: u64,
    underway: VecDeque<SampleKey>,
}

impl Turns {
    pub(super) fn contains(&self, key: SampleKey) -> bool {
        self.underway.contains(&key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.underway.is_empty()
    }

    /// Gives up all of them: none can be finished any more.
    pub(super) fn clear(&mut self) {
        self.finished += self.underway.len() as u64;
        self.underway.clear();
    }

    fn push(&mut self, key: SampleKey) -> u64 {
        self.underway.push_back(key);
        self.finished + self.underway.len() as u64 - 1
    }

    /// Whether it is this turn's; it is over then.
    fn pop(&mut self, turn: u64) -> bool {
        let due = turn == self.finished && !self.underway.is_empty();
        if due {
            self.underway.pop_front();
            self.finished += 1;
        }
        due
    }
}

impl StageTrainer {
    /// Runs a forward pass on the current weights. The last stage needs `targets`, `B·T` tokens, and
    /// runs its backward pass at once.
    ///
    /// # Errors
    /// [`StageError`]; nothing is logged or kept then, and training can go on.
    pub fn forward(
        &mut self,
        key: SampleKey,
        input: StageInput<'_>,
        targets: Option<&[u32]>,
    ) -> Result<ForwardOut, StageError> {
        self.forward_at(key, self.version, input, targets)
    }

    /// As [`Self::forward`], on one of the versions that are alive.
    pub(crate) fn forward_at(
        &mut self,
        key: SampleKey,
        version: Version,
        input: StageInput<'_>,
        targets: Option<&[u32]>,
    ) -> Result<ForwardOut, StageError> {
        self.check_turns(key)?;
        let forward = self.give_forward(key, version, input, targets)?;
        self.end_forward(forward)
    }

    /// Runs the backward pass of a forward pass that waits, on the weights that it ran with.
    ///
    /// # Errors
    /// [`StageError::Unknown`] and [`StageError::Gradient`] change nothing. After any other error the
    /// sample is given up, which the log says, and training can go on.
    pub fn backward(&mut self, key: SampleKey, grad: &[u8]) -> Result<BackwardOut, StageError> {
        self.check_turns(key)?;
        let backward = self.give_backward(key, grad)?;
        self.end_backward(backward)
    }

    /// The first half of [`Self::forward`].
    pub fn launch_forward(
        &mut self,
        key: SampleKey,
        input: StageInput<'_>,
        targets: Option<&[u32]>,
    ) -> Launched {
        let pass = Pass::Forward(self.give_forward(key, self.version, input, targets));
        Launched { turn: self.turns.push(key), pass }
    }

    /// The first half of [`Self::backward`].
    pub fn launch_backward(&mut self, key: SampleKey, grad: &[u8]) -> Launched {
        let pass = Pass::Backward(self.give_backward(key, grad));
        Launched { turn: self.turns.push(key), pass }
    }

    /// The second half of a pass, with what either half has to say. Passes are finished in the order in which
    /// they were launched.
    ///
    /// # Errors
    /// As [`Self::forward`] and [`Self::backward`]; [`StageError::OutOfTurn`] for any pass but the first that
    /// was launched since the epoch began and is not finished.
    pub fn finish(&mut self, launched: Launched) -> Result<PassOut, StageError> {
        if !self.turns.pop(launched.turn) {
            return Err(StageError::OutOfTurn { stage: self.stage });
        }
        match launched.pass {
            Pass::Forward(forward) => Ok(PassOut::Forward(self.end_forward(forward?)?)),
            Pass::Backward(backward) => Ok(PassOut::Backward(self.end_backward(backward?)?)),
        }
    }

    /// Whether a step may be due once this pass is finished: finish it before anything else is launched, so
    /// that what comes after runs on the new weights. Ask once those launched before it are finished.
    #[must_use]
    pub fn completes_step(&self, launched: &Launched) -> bool {
        let sums = match &launched.pass {
            Pass::Forward(forward) => matches!(forward, Ok(Forward { then: Then::Ends { .. }, .. })),
            Pass::Backward(_) => true,
        };
        sums && self.pending + 1 >= u32::from(self.run.train.samples_per_step)
    }

    /// Whether the device computes while the host does something else. Where it does not, a pass is over when
    /// it has been launched, and finishing it late only keeps what it gave waiting.
    #[must_use]
    pub fn is_asynchronous(&self) -> bool {
        self.staging.is_asynchronous()
    }

    /// Both halves at once are for a stage that has nothing under way.
    fn check_turns(&self, key: SampleKey) -> Result<(), StageError> {
        match self.turns.is_empty() {
            true => Ok(()),
            false => Err(StageError::Underway { key, stage: self.stage }),
        }
    }

    fn give_forward(
        &mut self,
        key: SampleKey,
        version: Version,
        input: StageInput<'_>,
        targets: Option<&[u32]>,
    ) -> Result<Forward, StageError> {
        self.check_room(key)?;
        let begun = Instant::now();
        let input_hash = input.hash();
        let hashed = Instant::now();
        let mut sample = self.reader.read(key, input)?;
        self.times.hash += hashed - begun;
        self.times.codec += hashed.elapsed();
        let output = self.model.headless(self.leaves(key, version)?, sample.model_input())?;
        let ids = std::mem::take(&mut sample.ids);
        let graph = Graph { version, input: sample.into_leaf(), output };
        let then = match (self.model.is_last(), targets) {
            (true, Some(targets)) => self.give_last(key, graph, targets)?,
            (false, None) => Then::Waits { output: self.staging.download(&graph.output)?, graph, ids },
            (last, _) => return Err(StageError::Targets { key, stage: self.stage, last }),
        };
        Ok(Forward { key, version, input_hash, then })
    }

    fn give_last(&mut self, key: SampleKey, graph: Graph, targets: &[u32]) -> Result<Then, StageError> {
        self.reader.check_tokens(key, targets)?;
        let targets =
            self.staging.upload_tokens(targets, i64::from(self.run.model.seq_len))?.f_flatten(0, -1)?;
        let leaves = self.leaves(key, graph.version)?;
        let LastPass { logs, stream_grad, head_grad, top } =
            self.model.last_pass(leaves, &graph.output, &targets)?;
        let sum = self.staging.ask(&logs)?;
        // Where the sum is not known yet, what it belongs to is summed only if it is finite.
        let beside = match sum.known() {
            Some(sum) if !sum.is_finite() => return Err(self.not_finite(key, "loss")),
            Some(_) => None,
            None => Some(&logs),
        };
        let gradient = self.give_gradient(key, graph, &stream_grad, Some(head_grad), beside)?;
        let both = |[values, places]: &[Tensor; 2]| {
            Ok([self.staging.download(values)?, self.staging.download(places)?])
        };
        let top = top.iter().map(both).collect::<Result<_, TchError>>()?;
        Ok(Then::Ends { logs: sum, top, gradient })
    }

    fn give_backward(&mut self, key: SampleKey, grad: &[u8]) -> Result<Backward, StageError> {
        let begun = Instant::now();
        let unknown = || StageError::Unknown { key, stage: self.stage };
        let output = &self.graphs.get(&key).ok_or_else(unknown)?.output;
        let g = decoded(self.run.train.wire, grad, output.numel(), &self.staging)?
            .map_err(|error| StageError::Gradient { key, error })?
            .f_view_(output.size())?;
        let graph = self.graphs.remove(&key).ok_or_else(unknown)?;
        self.times.codec += begun.elapsed();
        let input_hash = self.hash(grad);
        let version = graph.version;
        Ok(Backward { key, version, input_hash, gradient: self.give_gradient(key, graph, &g, None, None) })
    }

    /// Backward pass from the gradient `g` of the output: sums the parameters' gradients, the head's as it is
    /// given, if they and what is `beside` them are finite.
    fn give_gradient(
        &mut self,
        key: SampleKey,
        graph: Graph,
        g: &Tensor,
        head_grad: Option<Tensor>,
        beside: Option<&Tensor>,
    ) -> Result<Gradient, StageError> {
        let Graph { version, input, output } = graph;
        let head = self.model.head();
        let leaves = self.leaves(key, version)?.iter().enumerate();
        let mut wanted: Vec<&Tensor> =
            leaves.filter(|(place, _)| Some(*place) != head).map(|(_, leaf)| leaf).collect();
        wanted.extend(&input);
        let mut grads = gradients(&output, g, &wanted)?;
        drop(output);
        let input_grad = input.and_then(|_| grads.pop());
        let by_input = input_grad.as_ref().map(|grad| self.staging.download(grad)).transpose()?;
        if let (Some(place), Some(grad)) = (head, head_grad) {
            grads.insert(place, grad);
        }
        let beside: Vec<&Tensor> = input_grad.iter().chain(beside).collect();
        let largest = self.optimizer.accumulate(grads, &beside)?;
        Ok(Gradient { by_input, largest })
    }

    fn end_forward(&mut self, forward: Forward) -> Result<ForwardOut, StageError> {
        let Forward { key, version, input_hash, then } = forward;
        match then {
            Then::Waits { graph, output, ids } => {
                let mut bytes = self.encode(key, output)?;
                bytes.extend_from_slice(&ids);
                let output = self.hash(&bytes);
                self.log_forward(key, version, input_hash, output);
                self.graphs.insert(key, graph);
                Ok(ForwardOut::Codes { bytes, version })
            }
            Then::Ends { logs, top, gradient } => {
                let loss = mean_nats(logs.wait()?, self.run.tokens_per_sample() as usize);
                if !loss.is_finite() {
                    return Err(self.not_finite(key, "loss"));
                }
                let here = |[values, places]: [Download; 2]| Ok([values.wait()?, places.wait()?]);
                let top = top.into_iter().map(here).collect::<Result<Vec<_>, TchError>>()?;
                let logits_hash = top_hash(&top)?;
                let grad = self.end_gradient(key, gradient)?;
                self.log_forward(key, version, input_hash, Hash::ZERO);
                let output = grad.as_ref().map_or(Hash::ZERO, |codes| self.hash(codes));
                self.log_backward(key, version, Hash::ZERO, output);
                Ok(ForwardOut::Loss { loss, version, grad: grad.unwrap_or_default(), logits_hash })
            }
        }
    }

    fn end_backward(&mut self, backward: Backward) -> Result<BackwardOut, StageError> {
        let Backward { key, version, input_hash, gradient } = backward;
        match gradient.and_then(|gradient| self.end_gradient(key, gradient)) {
            Ok(grad) => {
                let output = grad.as_ref().map_or(Hash::ZERO, |codes| self.hash(codes));
                self.log_backward(key, version, input_hash, output);
                Ok(BackwardOut { grad, version })
            }
            Err(error) => {
                self.log.push(LogEvent::Abandon { sample: key.sample, attempt: key.attempt });
                Err(error)
            }
        }
    }

    /// The gradient by the stage's input as codes. Whatever is small enough to be summed has codes.
    fn end_gradient(&mut self, key: SampleKey, gradient: Gradient) -> Result<Option<Vec<u8>>, StageError> {
        if !fits(gradient.largest.wait()?) {
            return Err(self.not_finite(key, "gradient"));
        }
        self.pending += 1;
        gradient.by_input.map(|values| self.encode(key, values)).transpose()
    }

    fn not_finite(&self, key: SampleKey, what: &'static str) -> StageError {
        StageError::NotFinite { key, stage: self.stage, what }
    }

    fn hash(&mut self, codes: &[u8]) -> Hash {
        let begun = Instant::now();
        let hash = hash(Domain::Codes, codes);
        self.times.hash += begun.elapsed();
        hash
    }

    fn encode(&mut self, key: SampleKey, values: Download) -> Result<Vec<u8>, StageError> {
        let values = values.wait()?;
        let begun = Instant::now();
        let mut bytes = Vec::new();
        let values = host::local(&values)?;
        codec::encode(self.run.train.wire, host::values(&values)?, &mut bytes)
            .map_err(|_| self.not_finite(key, "boundary value"))?;
        self.times.codec += begun.elapsed();
        Ok(bytes)
    }

    fn log_forward(&mut self, key: SampleKey, version: Version, input: Hash, output: Hash) {
        let SampleKey { sample, attempt } = key;
        self.log.push(LogEvent::Forward { sample, attempt, version, input, output });
    }

    fn log_backward(&mut self, key: SampleKey, version: Version, input: Hash, output: Hash) {
        let SampleKey { sample, attempt } = key;
        self.log.push(LogEvent::Backward { sample, attempt, version, input, output });
    }
}
