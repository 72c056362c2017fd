//! A stage in training: forward and backward passes, local steps, the event log.
//!
//! Owned by one dedicated thread. Every pass keeps one weight version from its forward to its
//! backward: a forward keeps its autograd graph on the version that it ran with, a local step makes
//! a second flat buffer, and a further step waits while a graph of an older version is outstanding.
//! So at most two versions are alive. Shapes: `B` windows, `T` tokens, `b` boundary channels.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use iota_protocol::ids::{Hash, Stage, Version};
use iota_protocol::params::RunParams;
use iota_protocol::receipt::LogEvent;
use tch::{Device, Tensor};

use crate::device_optimizer::DeviceOptimizer;
use crate::layout::StageLayout;
use crate::model::StageModel;
use crate::optimizer::{clip_norm, learning_rate, HostOptimizer, Masters, Older, Optimizer, StepPlan};
use crate::outer::OuterState;
use crate::pass_times::PassTimes;
use crate::reader::InputReader;
use crate::runtime::adopt_thread;
use crate::stage_error::StageError;
use crate::stage_io::StepOut;
use crate::staging::Staging;
use crate::state::{buffer_root, SampleKey, StateError, StepState};
use crate::versions::WeightVersions;

mod passes;

pub use passes::Launched;

use passes::Turns;

/// Most forward passes that wait for their gradient. A guard of memory behind the miner's own
/// bound, which is far below: `in_flight` per stage-0 miner, 64 miners of a stage at most.
const MAX_GRAPHS: usize = 256;
/// Most events of one epoch: two passes and a step for 2^20 samples, the most of `max_samples`.
const MAX_EVENTS: usize = 3 << 20;

/// A forward pass that waits for its gradient.
struct Graph {
    version: Version,
    /// Boundary values with gradient; none at the first stage.
    input: Option<Tensor>,
    /// Boundary values, or what the last stage's head reads.
    output: Tensor,
}

/// One stage of a run in training.
pub struct StageTrainer {
    run: RunParams,
    stage: Stage,
    layout: StageLayout,
    model: StageModel,
    staging: Arc<Staging>,
    reader: InputReader,
    optimizer: Box<dyn Optimizer>,
    versions: WeightVersions,
    graphs: BTreeMap<SampleKey, Graph>,
    turns: Turns,
    version: Version,
    adam_steps: u32,
    pending: u32,
    weights_root: Hash,
    previous_root: Hash,
    log: Vec<LogEvent>,
    times: PassTimes,
}

impl StageTrainer {
    /// A stage at the start of an epoch: local weights are the merged ones, moments are zero.
    ///
    /// # Errors
    /// [`StageError::Layout`] and [`StageError::State`] if the stage or the state are not of this run.
    pub fn new(
        run: &RunParams,
        stage: Stage,
        outer: &OuterState,
        device: Device,
    ) -> Result<Self, StageError> {
        Self::resume(run, stage, StepState::start_of_epoch(outer), device)
    }

    /// A stage at a state after some local step.
    ///
    /// # Errors
    /// As [`Self::new`]; also [`StageError::State`] if gradients were summed since that step.
    pub fn resume(
        run: &RunParams,
        stage: Stage,
        state: StepState,
        device: Device,
    ) -> Result<Self, StageError> {
        adopt_thread();
        let layout = StageLayout::new(run, stage)?;
        let model = StageModel::new(run, &layout, device)?;
        let staging = Arc::new(Staging::new(device)?);
        let reader = InputReader::new(run, stage, &staging);
        let optimizer = Box::new(HostOptimizer::new(&layout, Masters::default())?);
        let mut trainer = Self {
            run: run.clone(),
            stage,
            layout,
            model,
            staging,
            reader,
            optimizer,
            versions: WeightVersions::default(),
            graphs: BTreeMap::new(),
            turns: Turns::default(),
            version: Version(0),
            adam_steps: 0,
            pending: 0,
            weights_root: Hash::ZERO,
            previous_root: Hash::ZERO,
            log: Vec::new(),
            times: PassTimes::default(),
        };
        trainer.load(state)?;
        Ok(trainer)
    }

    /// Starts an epoch from merged weights: version 0, empty log; forward passes that wait are
    /// dropped. Moments start from zero unless the run keeps them.
    ///
    /// # Errors
    /// [`StageError::State`] if the state is not of this stage; nothing has changed then.
    pub fn begin_epoch(&mut self, outer: &OuterState) -> Result<(), StageError> {
        let mut state = StepState::start_of_epoch(outer);
        if self.run.train.keep_moments {
            let masters = self.optimizer.masters()?;
            (state.first, state.second) = (masters.first, masters.second);
            state.adam_steps = self.adam_steps;
        }
        self.load(state)
    }

    /// Gives up a forward pass whose gradient will not come. Does nothing if there is none, or if it is not
    /// finished.
    pub fn abandon(&mut self, key: SampleKey) {
        if self.graphs.remove(&key).is_some() {
            self.log.push(LogEvent::Abandon { sample: key.sample, attempt: key.attempt });
        }
    }

    /// Takes a local step if enough samples are summed, no pass waits on older weights and none is launched
    /// and not finished.
    /// `tokens` is the run's verified total at the end of the epoch before.
    ///
    /// # Errors
    /// [`StageError::Torch`] if libtorch fails, for instance out of memory.
    pub fn step_if_due(&mut self, tokens: u64) -> Result<Option<StepOut>, StageError> {
        let due = self.pending >= u32::from(self.run.train.samples_per_step);
        if due {
            self.step_rest(tokens)
        } else {
            Ok(None)
        }
    }

    /// Takes a local step with the samples summed so far, however few, at the end of an epoch.
    ///
    /// # Errors
    /// As [`Self::step_if_due`].
    pub fn step_rest(&mut self, tokens: u64) -> Result<Option<StepOut>, StageError> {
        let older = self.graphs.values().any(|graph| graph.version < self.version);
        if self.pending == 0 || older || !self.turns.is_empty() {
            Ok(None)
        } else {
            self.step(tokens).map(Some)
        }
    }

    /// The step itself; the caller has checked that it is due.
    pub(crate) fn step(&mut self, tokens: u64) -> Result<StepOut, StageError> {
        let lr = learning_rate(&self.run.train, tokens, self.version.0);
        let clip = clip_norm(&self.run, &self.layout);
        let plan = StepPlan::new(&self.run, clip, lr, self.adam_steps + 1, self.pending);
        let older = if self.graphs.is_empty() { Older::Unused } else { Older::InUse };
        let grad_norm = self.optimizer.step(&plan, older)?;
        let samples = std::mem::take(&mut self.pending);
        self.adam_steps += 1;
        self.version = Version(self.version.0 + 1);
        self.publish_weights()?;
        let begun = Instant::now();
        let roots = self.optimizer.roots()?;
        self.times.hash += begun.elapsed();
        self.previous_root = std::mem::replace(&mut self.weights_root, roots.weights);
        let state_root = roots.state_root(self.version, self.adam_steps, self.previous_root);
        self.log.push(LogEvent::Step { version: self.version, state_root });
        Ok(StepOut { version: self.version, samples, lr, grad_norm, state_root })
    }

    /// The stage.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Where each tensor lies in the flat buffers.
    #[must_use]
    pub fn layout(&self) -> &StageLayout {
        &self.layout
    }

    /// Local steps since the merge.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Samples whose gradients were summed since the last step.
    #[must_use]
    pub fn backwards_since_step(&self) -> u32 {
        self.pending
    }

    /// Forward passes that wait for their gradient, with the weights that they ran with.
    pub fn outstanding(&self) -> impl Iterator<Item = (SampleKey, Version)> + '_ {
        self.graphs.iter().map(|(key, graph)| (*key, graph.version))
    }

    /// What passes and steps spent beside the model since the last call.
    pub fn take_times(&mut self) -> PassTimes {
        std::mem::take(&mut self.times)
    }

    /// Everything that happened since the start of the epoch, in order.
    #[must_use]
    pub fn log(&self) -> &[LogEvent] {
        &self.log
    }

    /// The local weights, padded length.
    ///
    /// # Errors
    /// [`StageError::Torch`] if they cannot be copied from the device.
    pub fn weights(&self) -> Result<Vec<f32>, StageError> {
        Ok(self.optimizer.masters()?.weights)
    }

    /// Sum of the gradients since the last step, by tensor, for diagnosis.
    ///
    /// # Errors
    /// [`StageError::Torch`] if they cannot be copied from the device.
    pub fn gradients(&self) -> Result<Vec<(String, Vec<f32>)>, StageError> {
        let sum = self.optimizer.gradient_sum()?;
        Ok(self.layout.tensors().iter().map(|spec| (spec.name.clone(), sum[spec.range()].to_vec())).collect())
    }

    /// Masters and moments as of the last step, with the older weights if passes wait on them. Call
    /// it right after a step or at the start of an epoch: a replay starts from nothing else.
    ///
    /// # Errors
    /// [`StageError::Torch`] if they cannot be copied from the device.
    pub fn snapshot(&self) -> Result<StepState, StageError> {
        let masters = self.optimizer.masters()?;
        let padding = &masters.weights[self.layout.len()..];
        let previous = self.versions.before(self.version, self.layout.len(), padding)?;
        Ok(StepState {
            version: self.version,
            adam_steps: self.adam_steps,
            weights: masters.weights,
            first: masters.first,
            second: masters.second,
            previous_root: self.previous_root,
            previous,
            pending: self.pending,
        })
    }

    fn load(&mut self, state: StepState) -> Result<(), StageError> {
        state.check(&self.layout)?;
        if state.pending > 0 {
            let (version, pending) = (state.version, state.pending);
            return Err(StateError::Pending { version, pending }.into());
        }
        let device = self.model.device();
        let masters = Masters { weights: state.weights, first: state.first, second: state.second };
        self.weights_root = buffer_root(&masters.weights);
        self.previous_root = state.previous_root;
        self.optimizer = if device.is_cuda() {
            Box::new(DeviceOptimizer::new(&self.layout, &masters, &self.staging)?)
        } else {
            Box::new(HostOptimizer::new(&self.layout, masters)?)
        };
        (self.version, self.adam_steps, self.pending) = (state.version, state.adam_steps, 0);
        self.graphs.clear();
        self.turns.clear();
        self.versions = WeightVersions::default();
        self.log.clear();
        if let (Some(weights), Some(before)) = (state.previous, state.version.0.checked_sub(1)) {
            let flat = Tensor::f_from_slice(&weights[..self.layout.len()])?.f_to_device(device)?;
            self.versions.push(Version(before), flat, &self.model)?;
        }
        Ok(self.versions.push(self.version, self.optimizer.weights_tensor(), &self.model)?)
    }

    /// Makes the masters the current weights; older ones live on while passes wait on them.
    fn publish_weights(&mut self) -> Result<(), StageError> {
        let flat = self.optimizer.weights_tensor();
        let graphs = &self.graphs;
        self.versions.publish(self.version, flat, &self.model)?;
        let current = self.version;
        self.versions
            .retain(|version| version == current || graphs.values().any(|graph| graph.version == version));
        Ok(())
    }

    fn leaves(&self, key: SampleKey, version: Version) -> Result<&[Tensor], StageError> {
        self.versions.leaves(version).ok_or(StageError::Version { key, version, current: self.version })
    }

    fn check_room(&self, key: SampleKey) -> Result<(), StageError> {
        if self.graphs.contains_key(&key) || self.turns.contains(key) {
            return Err(StageError::Duplicate { key, stage: self.stage });
        }
        if self.graphs.len() >= MAX_GRAPHS || self.log.len() >= MAX_EVENTS {
            return Err(StageError::Full { key, waiting: self.graphs.len(), events: self.log.len() });
        }
        Ok(())
    }
}
