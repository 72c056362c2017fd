//! Stages and their replicas in one process, in steps of one pass each.
//!
//! In every tick each miner runs one pass: a backward pass if a gradient waits, else a forward pass
//! if a sample waits. What a pass gives reaches the next miner in the next tick, and a miner takes a
//! local step as soon as one is due. So weights move between the passes of a sample exactly as they
//! do when each stage is a program of its own and all are equally fast, and a run repeats bit for bit.

use std::collections::VecDeque;
use std::error::Error;

use iota_compute::data::Dataset;
use iota_compute::entry::{decode_merged, encode_entry};
use iota_compute::layout::StageLayout;
use iota_compute::outer::OuterState;
use iota_compute::{Device, ForwardOut, SampleKey, StageInput, StageTrainer};
use iota_protocol::ids::{Attempt, Hash, Sample, Stage, Uid};
use iota_protocol::merge::{merge_shard, EntryShard};
use iota_protocol::params::RunParams;
use iota_protocol::{pathway, position, seed};

/// Codes on their way to a miner: activations going up, gradients coming down.
struct Message {
    sample: Sample,
    codes: Vec<u8>,
    up: bool,
}

/// One replica of one stage.
struct Miner {
    trainer: StageTrainer,
    activations: VecDeque<(Sample, Vec<u8>)>,
    gradients: VecDeque<(Sample, Vec<u8>)>,
    /// Samples whose gradients it summed in this epoch.
    samples: u32,
}

/// What the miners of the first stage still have to do.
struct Source {
    waiting: VecDeque<Sample>,
    open: usize,
}

/// Where the samples of one epoch come from and go.
struct Plan {
    base: u64,
    seed: Hash,
}

/// All miners of a run.
pub struct Network<'a> {
    run: RunParams,
    data: &'a Dataset,
    outer: Vec<OuterState>,
    miners: Vec<Vec<Miner>>,
    samples: u32,
    /// Loss of each sample in the order in which they ended.
    pub losses: Vec<f32>,
    /// Local steps that the first stage took between the two passes of a sample, summed.
    stale_steps: u64,
}

impl<'a> Network<'a> {
    /// All miners at the initial weights.
    ///
    /// # Errors
    /// When the run's stages cannot be made.
    pub fn new(run: &RunParams, replicas: u16, data: &'a Dataset) -> Result<Self, Box<dyn Error>> {
        let (mut outer, mut miners) = (Vec::new(), Vec::new());
        for number in 0..run.n_stages() {
            let stage = Stage(number);
            let state = OuterState::initial(run, &StageLayout::new(run, stage)?);
            let replica = |_| {
                let trainer = StageTrainer::new(run, stage, &state, Device::Cpu)?;
                Ok(Miner { trainer, activations: VecDeque::new(), gradients: VecDeque::new(), samples: 0 })
            };
            miners.push((0..replicas).map(replica).collect::<Result<Vec<_>, Box<dyn Error>>>()?);
            outer.push(state);
        }
        Ok(Self { run: run.clone(), data, outer, miners, samples: 0, losses: Vec::new(), stale_steps: 0 })
    }

    /// Trains the next `count` samples of the run and lets those in flight end. `observe` sees the
    /// network each time that a sample's loss is known.
    ///
    /// # Errors
    /// When a pass fails, or `observe` does.
    pub fn train(
        &mut self,
        count: u32,
        mut observe: impl FnMut(&Self) -> Result<(), Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let plan = Plan {
            base: u64::from(self.samples),
            seed: seed::derive(&seed::run_seed(&self.run), b"gaps", u64::from(self.samples)),
        };
        let replicas = self.replicas();
        let rank = |sample: &Sample| position::rank_of(*sample, replicas);
        let mut sources: Vec<Source> = (0..replicas)
            .map(|own| (0..count).map(Sample).filter(|sample| rank(sample) == own).collect())
            .map(|waiting| Source { waiting, open: 0 })
            .collect();
        let end = self.losses.len() + count as usize;
        while self.losses.len() < end || sources.iter().any(|source| source.open > 0) {
            let before = self.losses.len();
            self.tick(&plan, &mut sources)?;
            if self.losses.len() > before {
                observe(self)?;
            }
        }
        self.samples += count;
        Ok(())
    }

    /// The local weights of each stage; for runs of one replica.
    ///
    /// # Errors
    /// When they cannot be copied from the device.
    pub fn local_weights(&self) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
        let first = |replicas: &Vec<Miner>| Ok(replicas[0].trainer.weights()?);
        self.miners.iter().map(first).collect()
    }

    /// Merges the replicas of each stage, as one shard, with the rule of the network, and starts
    /// them again from the result. Returns the merged weights.
    ///
    /// # Errors
    /// When an entry cannot be encoded or merged.
    pub fn merge(&mut self) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
        let rule = self.run.merge.clone();
        let tokens = u64::from(self.samples) * u64::from(self.run.tokens_per_sample());
        for (outer, replicas) in self.outer.iter_mut().zip(&mut self.miners) {
            let mut entries = Vec::new();
            for miner in replicas.iter_mut() {
                miner.trainer.step_rest(outer.tokens)?;
                let entry = encode_entry(&outer.weights, &miner.trainer.weights()?, &rule)?;
                let bytes: Vec<u8> = (0..entry.chunks()).flat_map(|chunk| entry.chunk_bytes(chunk)).collect();
                entries.push((std::mem::take(&mut miner.samples), bytes));
            }
            let shards: Vec<_> =
                entries.iter().map(|(samples, bytes)| EntryShard { samples: *samples, bytes }).collect();
            let merged = merge_shard(&rule, &shards).map_err(|error| format!("merging: {error:?}"))?;
            let mut values = Vec::new();
            decode_merged(&merged, &rule, &mut values)?;
            outer.apply(0..values.len(), &values, &rule)?;
            outer.finish(tokens);
            for miner in replicas.iter_mut() {
                miner.trainer.begin_epoch(outer)?;
            }
        }
        Ok(self.outer.iter().map(|outer| outer.weights.clone()).collect())
    }

    /// Local steps that the first stage took between the two passes of a sample, on average.
    pub fn staleness(&self) -> f64 {
        self.stale_steps as f64 / self.losses.len().max(1) as f64
    }

    fn replicas(&self) -> u32 {
        self.miners.first().map_or(0, |replicas| replicas.len() as u32)
    }

    fn tick(&mut self, plan: &Plan, sources: &mut [Source]) -> Result<(), Box<dyn Error>> {
        let mut sent = Vec::new();
        for stage in 0..self.miners.len() {
            for replica in 0..self.miners[stage].len() {
                let message = self.pass(plan, stage, replica, sources)?;
                sent.extend(message.map(|message| (stage, message)));
            }
        }
        for (stage, message) in sent {
            self.deliver(plan, stage, message);
        }
        Ok(())
    }

    /// One pass of one miner, if anything waits, and the local step after it.
    fn pass(
        &mut self,
        plan: &Plan,
        stage: usize,
        replica: usize,
        sources: &mut [Source],
    ) -> Result<Option<Message>, Box<dyn Error>> {
        let message = if let Some((sample, codes)) = self.miners[stage][replica].gradients.pop_front() {
            let miner = &mut self.miners[stage][replica];
            let back = miner.trainer.backward(key(sample), &codes)?;
            miner.samples += 1;
            if stage == 0 {
                sources[replica].open -= 1;
                self.stale_steps += u64::from(miner.trainer.version().0 - back.version.0);
            }
            back.grad.map(|codes| Message { sample, codes, up: false })
        } else if stage == 0 {
            let source = &mut sources[replica];
            let room = source.open < usize::from(self.run.train.in_flight);
            let Some(sample) = source.waiting.front().copied().filter(|_| room) else { return Ok(None) };
            source.waiting.pop_front();
            // A single stage has ended the sample with its forward pass.
            source.open += usize::from(self.miners.len() > 1);
            self.forward(plan, (stage, replica), sample, None)?
        } else if let Some((sample, codes)) = self.miners[stage][replica].activations.pop_front() {
            self.forward(plan, (stage, replica), sample, Some(codes))?
        } else {
            return Ok(None);
        };
        self.miners[stage][replica].trainer.step_if_due(self.outer[stage].tokens)?;
        Ok(message)
    }

    fn forward(
        &mut self,
        plan: &Plan,
        (stage, replica): (usize, usize),
        sample: Sample,
        codes: Option<Vec<u8>>,
    ) -> Result<Option<Message>, Box<dyn Error>> {
        let last = stage + 1 == self.miners.len();
        let (inputs, targets) = self.tokens(plan, sample)?;
        let input = codes.as_deref().map_or(StageInput::Tokens(&inputs), StageInput::Codes);
        let miner = &mut self.miners[stage][replica];
        match miner.trainer.forward(key(sample), input, last.then_some(targets.as_slice()))? {
            ForwardOut::Codes { bytes, .. } => Ok(Some(Message { sample, codes: bytes, up: true })),
            ForwardOut::Loss { loss, grad, .. } => {
                miner.samples += 1;
                self.losses.push(loss);
                Ok((stage > 0).then_some(Message { sample, codes: grad, up: false }))
            }
        }
    }

    /// Input tokens and targets of a sample.
    fn tokens(&self, plan: &Plan, sample: Sample) -> Result<(Vec<u32>, Vec<u32>), Box<dyn Error>> {
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for index in position::sample_windows(&self.run, plan.base, sample) {
            let window = self.data.train_window(index)?;
            inputs.extend_from_slice(&window[..window.len() - 1]);
            targets.extend_from_slice(&window[1..]);
        }
        Ok((inputs, targets))
    }

    fn deliver(&mut self, plan: &Plan, from: usize, message: Message) {
        let to = if message.up { from + 1 } else { from - 1 };
        let replica = self.holder(plan, to, message.sample);
        let miner = &mut self.miners[to][replica];
        let queue = if message.up { &mut miner.activations } else { &mut miner.gradients };
        queue.push_back((message.sample, message.codes));
    }

    /// Which replica of a stage a sample passes, by the network's own preference order.
    fn holder(&self, plan: &Plan, stage: usize, sample: Sample) -> usize {
        if stage == 0 {
            return position::rank_of(sample, self.replicas()) as usize;
        }
        let number = u16::try_from(stage).unwrap_or(u16::MAX);
        let members: Vec<_> =
            (0u16..).zip(&self.miners[stage]).map(|(uid, _)| (Uid(uid), pathway::DEFAULT_WEIGHT)).collect();
        let order = pathway::preference(&plan.seed, sample, Stage(number), &members);
        order.first().map_or(0, |uid| usize::from(uid.0))
    }
}

fn key(sample: Sample) -> SampleKey {
    SampleKey { sample, attempt: Attempt(0) }
}
