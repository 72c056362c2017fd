//! The thread that owns libtorch: jobs go in, results come out, in the order in which they ran.
//!
//! Backward passes go first: they free memory and another member waits for them. After each one the
//! thread takes a local step if it is due. Where the device computes by itself, a job is launched before the
//! one before it is finished, so that decoding and sending do not keep the device waiting.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use codec::Encode;
use iota_compute::outer::OuterState;
use iota_compute::{ForwardOut, Launched, PassOut, PassTimes, SampleKey, StageInput, StageTrainer};
use iota_protocol::ids::{Attempt, Epoch, Hash, Sample, Stage, Version};
use iota_protocol::params::RunParams;
use iota_protocol::receipt::LogEvent;
use tokio::sync::{mpsc, oneshot};

use crate::store::Store;

/// Jobs and results in flight between the two sides. The number of open samples of a stage (16)
/// bounds both, with room for an abandoned batch.
const QUEUE: usize = 64;
/// Local steps between two kept trainer states. An audit replays at most so many steps on top of
/// one; each costs three buffers on disk.
const STEPS_PER_SNAPSHOT: u32 = 16;

/// What a forward pass reads.
#[derive(Clone, Debug)]
pub enum Input {
    /// Stage 0: tokens.
    Tokens(Vec<u32>),
    /// Later stages: code bytes.
    Codes(Vec<u8>),
}

/// Work for the trainer.
#[derive(Clone, Debug)]
pub enum Job {
    /// A forward pass; the last stage runs its backward pass at once.
    Forward {
        /// The sample.
        sample: Sample,
        /// Its attempt.
        attempt: Attempt,
        /// What it reads.
        input: Input,
        /// Last stage only.
        targets: Option<Vec<u32>>,
    },
    /// A backward pass.
    Backward {
        /// The sample.
        sample: Sample,
        /// Its attempt.
        attempt: Attempt,
        /// Code bytes of the incoming gradient.
        gradient: Vec<u8>,
    },
    /// Drop a forward pass.
    Abandon {
        /// The sample.
        sample: Sample,
        /// Its attempt.
        attempt: Attempt,
    },
}

/// What came of a job.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Activations for the next stage.
    Forward {
        /// Code bytes.
        codes: Vec<u8>,
        /// Weights that the pass ran with.
        version: Version,
    },
    /// The last stage's loss and the gradient for the stage before (empty when there is none).
    Loss {
        /// Mean nats per token.
        loss: f32,
        /// Code bytes.
        gradient: Vec<u8>,
        /// Weights that the pass ran with.
        version: Version,
        /// Hash of the top-k logits.
        logits: Hash,
    },
    /// The gradient for the stage before; none at stage 0.
    Backward {
        /// Code bytes.
        gradient: Option<Vec<u8>>,
        /// Weights that the pass ran with.
        version: Version,
    },
    /// Dropped.
    Abandoned,
    /// The pass could not run; the reason says why.
    Failed(String),
}

/// When a job ran, and what in it was not the model.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// When the thread began with it.
    pub began: Instant,
    /// When it was done, a local step included.
    pub ended: Instant,
    /// Between numbers and code bytes.
    pub codec: Duration,
    /// Hashes.
    pub hash: Duration,
    /// Keeping a trainer state.
    pub disk: Duration,
}

/// A finished job.
#[derive(Clone, Debug)]
pub struct Done {
    /// Its sample.
    pub sample: Sample,
    /// What came of it.
    pub outcome: Outcome,
    /// What it added to the event log, a local step included.
    pub events: Vec<LogEvent>,
    /// Where its time went.
    pub timing: Timing,
}

/// What an epoch starts with.
pub struct Begin {
    /// The run.
    pub params: Arc<RunParams>,
    /// The epoch.
    pub epoch: Epoch,
    /// The stage.
    pub stage: Stage,
    /// Merged weights.
    pub outer: OuterState,
    /// Training tokens recorded by the end of the epoch before.
    pub tokens: u64,
    /// Jobs in the order of the journal's event log, to be run again; empty for a fresh epoch.
    pub replay: Vec<Job>,
    /// The event log that the replay must reproduce, and may go beyond in its last job.
    pub log: Vec<LogEvent>,
}

enum Command {
    Begin(Box<Begin>, oneshot::Sender<anyhow::Result<Vec<Done>>>),
    Job(Job),
    Weights(oneshot::Sender<anyhow::Result<Vec<f32>>>),
}

/// The handle on the thread.
pub struct Trainer {
    commands: mpsc::Sender<Command>,
    results: mpsc::Receiver<Done>,
    outstanding: usize,
}

const GONE: &str = "the trainer thread has ended; see the log above for the reason";

impl Trainer {
    /// Starts the thread. A pass takes at least `pace`, which is nothing but in tests.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(threads: u32, store: Arc<Store>, pace: Duration) -> anyhow::Result<Self> {
        let (commands, inbox) = mpsc::channel(QUEUE);
        let (sender, results) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("trainer".into())
            .spawn(move || Worker::new(threads, store, sender, pace).run(inbox))
            .context("starting the trainer thread")?;
        Ok(Self { commands, results, outstanding: 0 })
    }

    /// Starts an epoch; a replay's results come back at once and are not queued. Their events may go
    /// beyond the log given, where its last pass had more to log than the journal kept.
    ///
    /// # Errors
    /// When the state is not of this stage or the replay does not reproduce the log.
    pub async fn begin(&mut self, begin: Begin) -> anyhow::Result<Vec<Done>> {
        let (reply, mut answer) = oneshot::channel();
        self.commands
            .send(Command::Begin(Box::new(begin), reply))
            .await
            .map_err(|_| anyhow::anyhow!(GONE))?;
        // Results of an epoch that ended in an error may still be on their way; they belong to no one.
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer,
                Some(_) = self.results.recv() => {}
            }
        };
        while self.results.try_recv().is_ok() {}
        self.outstanding = 0;
        answer.context(GONE)?
    }

    /// Queues a job.
    ///
    /// # Errors
    /// When the thread has ended.
    pub async fn send(&mut self, job: Job) -> anyhow::Result<()> {
        self.outstanding = self.outstanding.saturating_add(1);
        self.commands.send(Command::Job(job)).await.map_err(|_| anyhow::anyhow!(GONE))
    }

    /// The next finished job. Cancel safe.
    pub async fn done(&mut self) -> Option<Done> {
        let done = self.results.recv().await;
        self.outstanding = self.outstanding.saturating_sub(1);
        done
    }

    /// A finished job, if there is one.
    pub fn try_done(&mut self) -> Option<Done> {
        let done = self.results.try_recv().ok()?;
        self.outstanding = self.outstanding.saturating_sub(1);
        Some(done)
    }

    /// Waits for everything that is queued.
    ///
    /// # Errors
    /// When the thread has ended.
    pub async fn finish_queue(&mut self) -> anyhow::Result<Vec<Done>> {
        let mut all = Vec::new();
        while self.outstanding > 0 {
            all.push(self.done().await.context(GONE)?);
        }
        Ok(all)
    }

    /// The local weights.
    ///
    /// # Errors
    /// When no epoch has begun or the thread has ended.
    pub async fn weights(&mut self) -> anyhow::Result<Vec<f32>> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Weights(reply)).await.map_err(|_| anyhow::anyhow!(GONE))?;
        answer.await.context(GONE)?
    }
}

struct Worker {
    device: iota_compute::Device,
    store: Arc<Store>,
    results: mpsc::Sender<Done>,
    stage: Option<StageTrainer>,
    /// The job whose second half is still to be done.
    underway: Option<Underway>,
    /// What the stage was made with; a run changes them between epochs.
    params: Option<Arc<RunParams>>,
    epoch: Epoch,
    tokens: u64,
    pace: Duration,
}

/// A job of which the device has what it needs.
struct Underway {
    key: SampleKey,
    began: Instant,
    /// What its first half took beside the model.
    times: PassTimes,
    work: Work,
}

enum Work {
    Pass(Launched),
    /// Only what is logged before it comes first.
    Abandon,
    /// There is no stage to work with.
    Nothing,
}

impl Worker {
    fn new(threads: u32, store: Arc<Store>, results: mpsc::Sender<Done>, pace: Duration) -> Self {
        let device = iota_compute::init_runtime(threads);
        let (stage, underway, params) = (None, None, None);
        Self { device, store, results, stage, underway, params, epoch: Epoch(0), tokens: 0, pace }
    }

    fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let (mut first, mut later) = (VecDeque::new(), VecDeque::new());
        loop {
            while let Ok(command) = inbox.try_recv() {
                self.take(command, &mut first, &mut later);
            }
            let next = first.pop_front().or_else(|| later.pop_front());
            let done = match next {
                Some(job) => self.paced(job),
                None => self.finish().into_iter().collect(),
            };
            for done in done {
                if self.results.blocking_send(done).is_err() {
                    return;
                }
            }
            if first.is_empty() && later.is_empty() && self.underway.is_none() {
                match inbox.blocking_recv() {
                    Some(command) => self.take(command, &mut first, &mut later),
                    None => return,
                }
            }
        }
    }

    fn take(&mut self, command: Command, first: &mut VecDeque<Job>, later: &mut VecDeque<Job>) {
        match command {
            Command::Job(job @ Job::Forward { .. }) => later.push_back(job),
            Command::Job(job) => first.push_back(job),
            Command::Begin(begin, reply) => {
                first.clear();
                later.clear();
                self.underway = None;
                drop(reply.send(self.begin(*begin)));
            }
            Command::Weights(reply) => {
                let weights =
                    self.stage.as_ref().context("no epoch has begun").and_then(|s| Ok(s.weights()?));
                drop(reply.send(weights));
            }
        }
    }

    fn begin(&mut self, begin: Begin) -> anyhow::Result<Vec<Done>> {
        (self.epoch, self.tokens) = (begin.epoch, begin.tokens);
        let same = self.params.as_ref() == Some(&begin.params);
        self.params = Some(Arc::clone(&begin.params));
        match self.stage.as_mut().filter(|stage| same && stage.stage() == begin.stage) {
            Some(stage) => stage.begin_epoch(&begin.outer)?,
            None => {
                self.stage = Some(StageTrainer::new(&begin.params, begin.stage, &begin.outer, self.device)?)
            }
        }
        self.keep_snapshot();
        let mut done: Vec<Done> = begin.replay.into_iter().flat_map(|job| self.advance(job)).collect();
        done.extend(self.finish());
        let log = self.stage.as_ref().map(|stage| stage.log().to_vec()).unwrap_or_default();
        if !log.starts_with(&begin.log) {
            anyhow::bail!(
                "epoch {}: the replayed log ({} events) differs from the journal's ({} events)",
                begin.epoch,
                log.len(),
                begin.log.len()
            );
        }
        Ok(done)
    }

    /// As [`Self::advance`], in no less time than the pace.
    fn paced(&mut self, job: Job) -> Vec<Done> {
        let began = Instant::now();
        let is_pass = !matches!(job, Job::Abandon { .. });
        let done = self.advance(job);
        if is_pass {
            std::thread::sleep(self.pace.saturating_sub(began.elapsed()));
        }
        done
    }

    /// Launches a job and finishes what was launched before it. A job that completes a step is finished at once,
    /// so that the next one runs on the new weights; and so is every job where the device is the host itself.
    fn advance(&mut self, job: Job) -> Vec<Done> {
        let launched = self.launch(job);
        let mut done: Vec<Done> = self.finish().into_iter().collect();
        let waits = self.stage.as_ref().is_some_and(|stage| match &launched.work {
            Work::Pass(pass) => stage.is_asynchronous() && !stage.completes_step(pass),
            Work::Abandon | Work::Nothing => false,
        });
        self.underway = Some(launched);
        if !waits {
            done.extend(self.finish());
        }
        done
    }

    /// The first half of a job.
    fn launch(&mut self, job: Job) -> Underway {
        let (sample, attempt) = match &job {
            Job::Forward { sample, attempt, .. }
            | Job::Backward { sample, attempt, .. }
            | Job::Abandon { sample, attempt } => (*sample, *attempt),
        };
        let (key, began) = (SampleKey { sample, attempt }, Instant::now());
        let Some(stage) = self.stage.as_mut() else {
            return Underway { key, began, times: PassTimes::default(), work: Work::Nothing };
        };
        let work = launch(stage, key, job);
        Underway { key, began, times: stage.take_times(), work }
    }

    /// The second half of the job that is under way, if there is one, and the local step that may follow.
    fn finish(&mut self) -> Option<Done> {
        let Underway { key, began, times, work } = self.underway.take()?;
        let nothing = Duration::ZERO;
        let mut timing = Timing { began, ended: began, codec: times.codec, hash: times.hash, disk: nothing };
        let Some(stage) = self.stage.as_mut() else {
            let outcome = Outcome::Failed("no epoch has begun".into());
            return Some(Done { sample: key.sample, outcome, events: Vec::new(), timing });
        };
        let logged = stage.log().len();
        let outcome = finish(stage, key, work);
        let stepped = match stage.step_if_due(self.tokens) {
            Ok(step) => step.is_some(),
            Err(error) => {
                tracing::error!(epoch = %self.epoch, %error, "local step failed; trying again after the next pass");
                false
            }
        };
        let events = stage.log().get(logged..).unwrap_or_default().to_vec();
        let PassTimes { codec, hash } = stage.take_times();
        (timing.codec, timing.hash) = (timing.codec + codec, timing.hash + hash);
        if stepped {
            let begun = Instant::now();
            self.keep_snapshot();
            timing.disk = begun.elapsed();
        }
        timing.ended = Instant::now();
        Some(Done { sample: key.sample, outcome, events, timing })
    }

    /// Keeps the trainer's state now and then, so that an audit need not start at the epoch's start.
    fn keep_snapshot(&self) {
        let Some(stage) = self.stage.as_ref() else { return };
        let version = stage.version().0;
        if version % STEPS_PER_SNAPSHOT != 0 {
            return;
        }
        let kept = stage
            .snapshot()
            .map_err(anyhow::Error::from)
            .and_then(|state| self.store.put_step(self.epoch, version, &state.encode()));
        if let Err(error) = kept {
            tracing::warn!(epoch = %self.epoch, version, %error, "trainer state not kept; audits will replay from an earlier one");
        }
    }
}

fn launch(stage: &mut StageTrainer, key: SampleKey, job: Job) -> Work {
    match job {
        Job::Forward { input, targets, .. } => {
            let input = match &input {
                Input::Tokens(tokens) => StageInput::Tokens(tokens),
                Input::Codes(codes) => StageInput::Codes(codes),
            };
            Work::Pass(stage.launch_forward(key, input, targets.as_deref()))
        }
        Job::Backward { gradient, .. } => Work::Pass(stage.launch_backward(key, &gradient)),
        Job::Abandon { .. } => Work::Abandon,
    }
}

fn finish(stage: &mut StageTrainer, key: SampleKey, work: Work) -> Outcome {
    let out = match work {
        Work::Pass(launched) => stage.finish(launched),
        Work::Abandon => {
            stage.abandon(key);
            return Outcome::Abandoned;
        }
        Work::Nothing => return Outcome::Failed("no epoch has begun".into()),
    };
    match out {
        Ok(PassOut::Forward(ForwardOut::Codes { bytes, version })) => {
            Outcome::Forward { codes: bytes, version }
        }
        Ok(PassOut::Forward(ForwardOut::Loss { loss, version, grad, logits_hash })) => {
            Outcome::Loss { loss, gradient: grad, version, logits: logits_hash }
        }
        Ok(PassOut::Backward(out)) => Outcome::Backward { gradient: out.grad, version: out.version },
        Err(error) => Outcome::Failed(error.to_string()),
    }
}
