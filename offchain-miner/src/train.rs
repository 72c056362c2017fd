//! One epoch's `Train` and `Commit`: samples come in, pass through this stage, go out, come back.
//!
//! One task owns all of it. Everything that another member will rely on is journalled and synced
//! before it is acknowledged or sent (group commit: one sync for all that was ready at once).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use codec::Encode;
use iota_compute::data::Dataset;
use iota_network::{Inbound, Network, Reply};
use iota_protocol::hash::Domain;
use iota_protocol::ids::{Attempt, Epoch, Hash, RunId, Sample, Stage, Uid, Version};
use iota_protocol::params::RunParams;
use iota_protocol::phase::{Phase, Schedule};
use iota_protocol::receipt::{Direction, LogEvent, Receipt, SkipCause};
use iota_protocol::view::MemberView;
use iota_protocol::wire::{self, codes_hash, Hop, HopHeader, TrainReply, TrainRequest, WIRE_VERSION};
use iota_protocol::{pathway, position};
use iota_worker::exchange::{self, ExchangeError};
use iota_worker::identity::Identity;
use iota_worker::segment::sample_tokens;
use iota_worker::session::{RunSnapshot, Session, FINALITY_LAG_BLOCKS};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::fault::Fault;
use crate::flight::{Flight, Patience, Stand};
use crate::journal::{EpochJournal, Record};
use crate::store::Store;
use crate::meter::WireMeter;
use crate::trainer::{Done, Input, Job, Outcome, Trainer};

/// How often silence, retries and the clock are looked at.
const TICK: Duration = Duration::from_millis(100);
/// Wait before a hop that nobody took is offered again.
const RETRY: Duration = Duration::from_millis(300);
/// Quiet time after which a stage believes that no more samples of this epoch will come.
const QUIET: Duration = Duration::from_millis(1_200);
/// Open samples at one stage beyond which it answers `Busy`: each holds one autograd graph, so this
/// bounds memory; two in flight from each of eight upstream miners fit.
const MAX_OPEN: usize = 16;
/// Events handled between two syncs of the journal.
const BATCH: usize = 32;
/// Wait for the answer to one hop; the receiver answers after its own disk sync.
const HOP_TIMEOUT: Duration = Duration::from_secs(4);

/// What stays the same for a whole epoch.
#[derive(Clone)]
pub struct EpochContext {
    /// The run.
    pub run: RunId,
    /// Its parameters.
    pub params: Arc<RunParams>,
    /// The epoch.
    pub epoch: Epoch,
    /// Our stage.
    pub stage: Stage,
    /// Ourselves.
    pub me: MemberView,
    /// Seed that decides pathways.
    pub train_seed: Hash,
    /// First sample position of the epoch.
    pub data_base: u64,
    /// Training tokens recorded by the end of the epoch before.
    pub tokens: u64,
    /// Members as of the epoch's start, for ranks and pathway weights.
    pub members: Arc<Vec<MemberView>>,
    /// Off-chain identity.
    pub identity: Identity,
    /// Peers.
    pub network: Network,
    /// What we keep for others.
    pub store: Arc<Store>,
    /// Tokens, where the stage reads them.
    pub dataset: Option<Arc<Dataset>>,
    /// Misbehaviour, if any.
    pub fault: Option<Fault>,
    /// Bytes sent at each boundary.
    pub meter: WireMeter,
}

impl EpochContext {
    fn stage_uids(&self, stage: Stage) -> Vec<(Uid, u32)> {
        self.members.iter().filter(|m| m.stage == Some(stage)).map(|m| (m.uid, m.weight)).collect()
    }

    /// Rank among the stage-0 miners in uid order, and how many there are.
    fn stage0_rank(&self) -> Option<(u32, u32)> {
        let first = self.stage_uids(Stage(0));
        let rank = first.iter().position(|(uid, _)| *uid == self.me.uid)?;
        Some((u32::try_from(rank).ok()?, u32::try_from(first.len()).ok()?))
    }

    fn is_first(&self) -> bool {
        self.stage.0 == 0
    }

    fn is_last(&self) -> bool {
        self.stage == self.params.last_stage()
    }

    /// Windows of a sample: `(inputs, targets)`, each `windows × seq_len` tokens.
    ///
    /// # Errors
    /// When the stage has no data set or a position lies outside of it.
    pub fn tokens_of(&self, sample: Sample) -> anyhow::Result<(Vec<u32>, Vec<u32>)> {
        let dataset = self.dataset.as_ref().context("this stage reads tokens, but no data set is open")?;
        sample_tokens(dataset, &self.params, self.data_base, sample)
    }
}

/// What an epoch's training leaves behind.
pub struct Trained {
    /// Receipts in the order in which they were made.
    pub receipts: Vec<Receipt>,
    /// The event log.
    pub log: Vec<LogEvent>,
    /// Samples whose backward pass ran here.
    pub samples: u32,
    /// Samples started here (stage 0).
    pub started: u32,
    /// Mean loss over the samples of a last stage.
    pub mean_loss: Option<f64>,
    /// The journal, still open.
    pub journal: EpochJournal,
}

/// A message that leaves once the journal is synced.
struct Outgoing {
    to: Uid,
    hop: Hop,
}

/// What came of a message or a probe.
enum Answer {
    Hop { to: Uid, header: HopHeader, reply: Result<TrainReply, ExchangeError> },
    Probe { to: Uid, sample: Sample, reply: Result<TrainReply, ExchangeError> },
}

/// State of one epoch's training. Owned by one task.
pub struct TrainEpoch {
    ctx: EpochContext,
    journal: EpochJournal,
    flights: BTreeMap<Sample, Flight>,
    receipts: Vec<Receipt>,
    log: Vec<LogEvent>,
    next_start: u32,
    samples: u32,
    loss_sum: f64,
    loss_count: u32,
    patience: Patience,
    acks: Vec<(Reply, TrainReply, u16)>,
    outbox: Vec<Outgoing>,
    retries: Vec<(Instant, Sample)>,
    last_activity: Instant,
    dirty: bool,
}

impl TrainEpoch {
    /// A fresh epoch, or one rebuilt from its journal (`restore` follows then).
    #[must_use]
    pub fn new(ctx: EpochContext, journal: EpochJournal) -> Self {
        Self {
            ctx,
            journal,
            flights: BTreeMap::new(),
            receipts: Vec::new(),
            log: Vec::new(),
            next_start: 0,
            samples: 0,
            loss_sum: 0.0,
            loss_count: 0,
            patience: Patience::default(),
            acks: Vec::new(),
            outbox: Vec::new(),
            retries: Vec::new(),
            last_activity: Instant::now(),
            dirty: false,
        }
    }

    /// Trains until this stage has nothing left to do in the epoch, or must commit.
    ///
    /// # Errors
    /// When the disk, the trainer or the session fails. A bad message or a dead peer is not an error.
    pub async fn run(
        mut self,
        session: &mut Session,
        inbox: &mut mpsc::Receiver<Inbound>,
        trainer: &mut Trainer,
    ) -> anyhow::Result<Trained> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut view = session.current().await?;
        let mut sends: JoinSet<Answer> = JoinSet::new();
        self.resume(trainer).await?;
        loop {
            self.flush(&mut sends)?;
            if view.epoch() != self.ctx.epoch || self.should_commit(&view) {
                break;
            }
            tokio::select! {
                biased;
                next = session.next() => view = next?,
                Some(done) = trainer.done() => self.ran(done, trainer).await?,
                Some(answer) = sends.join_next() => self.answered(answer.context("a send task failed")?, trainer).await?,
                Some(inbound) = inbox.recv() => self.received(inbound, trainer).await?,
                _ = tick.tick() => self.ticked(&view, &mut sends, trainer).await?,
            }
            self.drain(inbox, trainer).await?;
        }
        self.abandon_open(trainer).await?;
        self.flush(&mut sends)?;
        Ok(self.into_trained())
    }

    /// Handles whatever is ready, so that one sync of the journal serves all of it.
    async fn drain(&mut self, inbox: &mut mpsc::Receiver<Inbound>, trainer: &mut Trainer) -> anyhow::Result<()> {
        for _ in 0..BATCH {
            if let Some(done) = trainer.try_done() {
                self.ran(done, trainer).await?;
            } else if let Ok(inbound) = inbox.try_recv() {
                self.received(inbound, trainer).await?;
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Syncs the journal, then acknowledges and sends what waited for it.
    fn flush(&mut self, sends: &mut JoinSet<Answer>) -> anyhow::Result<()> {
        if self.dirty {
            tokio::task::block_in_place(|| self.journal.sync())?;
            self.dirty = false;
        }
        for (reply, message, boundary) in self.acks.drain(..) {
            let bytes = message.encode();
            self.ctx.meter.add(boundary, bytes.len());
            drop(reply.send(bytes));
        }
        for Outgoing { to, hop } in self.outbox.drain(..) {
            let Some(member) = self.ctx.members.iter().find(|m| m.uid == to).cloned() else { continue };
            let network = self.ctx.network.clone();
            let request = TrainRequest::Hop(hop.clone());
            self.ctx.meter.add(self.ctx.stage.0.min(hop.header.stage.0), request.encoded_size());
            sends.spawn(async move {
                let header = hop.header;
                let reply = exchange::train(&network, &member, &request, HOP_TIMEOUT).await;
                Answer::Hop { to, header, reply }
            });
        }
        Ok(())
    }

    fn record(&mut self, record: &Record) -> anyhow::Result<()> {
        self.dirty = true;
        self.journal.append(record)
    }

    // --- messages in ---------------------------------------------------------------------------

    async fn received(&mut self, inbound: Inbound, trainer: &mut Trainer) -> anyhow::Result<()> {
        let limit = wire::train_limit(&self.ctx.params);
        match wire::decode::<TrainRequest>(&inbound.bytes, limit) {
            Ok(TrainRequest::Probe { run, epoch, sample }) => {
                let known = run == self.ctx.run && epoch == self.ctx.epoch && self.probed(sample)?;
                drop(inbound.reply.send(if known { TrainReply::Working } else { TrainReply::Unknown }.encode()));
                Ok(())
            }
            Ok(TrainRequest::Hop(hop)) => self.received_hop(hop, inbound, trainer).await,
            Err(error) => {
                tracing::warn!(%error, "malformed message");
                self.ctx.network.penalise(inbound.peer).await;
                Ok(())
            }
        }
    }

    /// A neighbour asks about a sample. One that is finished here is sent again.
    fn probed(&mut self, sample: Sample) -> anyhow::Result<bool> {
        let Some(flight) = self.flights.get(&sample) else { return Ok(false) };
        match flight.stand {
            Stand::Abandoned => Ok(false),
            Stand::Done => self.return_gradient(sample).map(|()| true),
            _ => Ok(true),
        }
    }

    async fn received_hop(&mut self, hop: Hop, inbound: Inbound, trainer: &mut Trainer) -> anyhow::Result<()> {
        if let Err(refusal) = self.check(&hop, &inbound) {
            if matches!(refusal, Refusal::Bad(_)) {
                self.ctx.network.penalise(inbound.peer).await;
            }
            tracing::debug!(?refusal, sample = %hop.header.sample, from = %hop.header.from, "hop refused");
            let answer = if matches!(refusal, Refusal::Later) { TrainReply::Busy } else { TrainReply::Refused };
            drop(inbound.reply.send(answer.encode()));
            return Ok(());
        }
        self.last_activity = Instant::now();
        let boundary = match hop.header.direction {
            Direction::Forward => self.ctx.stage.0.saturating_sub(1),
            Direction::Backward => self.ctx.stage.0,
        };
        let answer = match hop.header.direction {
            Direction::Forward => self.forward_arrived(hop, trainer).await?,
            Direction::Backward => self.gradient_arrived(hop, trainer).await?,
        };
        self.acks.push((inbound.reply, answer, boundary));
        Ok(())
    }

    fn check(&self, hop: &Hop, inbound: &Inbound) -> Result<(), Refusal> {
        let header = &hop.header;
        if header.run != self.ctx.run || header.stage != self.ctx.stage || header.epoch < self.ctx.epoch {
            return Err(Refusal::NotOurs);
        }
        if header.epoch > self.ctx.epoch {
            return Err(Refusal::Later);
        }
        hop.check(&self.ctx.params).map_err(|error| Refusal::Bad(error.to_string()))?;
        let neighbour = match header.direction {
            Direction::Forward => self.ctx.stage.0.checked_sub(1).map(Stage),
            Direction::Backward => self.ctx.stage.0.checked_add(1).map(Stage),
        };
        let sender = self.ctx.members.iter().find(|m| m.uid == header.from && m.stage.is_some() && m.stage == neighbour);
        let sender = sender.ok_or(Refusal::NotOurs)?;
        let sender_peer = sender.endpoint.as_ref().map(|endpoint| endpoint.peer);
        if sender_peer != Some(inbound.peer) {
            return Err(Refusal::Bad(format!("uid {} is published under another peer", header.from)));
        }
        let genuine =
            self.ctx.identity.verify(&sender.hotkey, Domain::Message, header.epoch, &header.id(), &hop.signature);
        if genuine { Ok(()) } else { Err(Refusal::Bad("wrong signature".into())) }
    }

    fn accept(&self, header: &HopHeader) -> TrainReply {
        let id = header.id();
        TrainReply::Accepted { signature: self.ctx.identity.sign(Domain::Message, self.ctx.epoch, &id) }
    }

    async fn forward_arrived(&mut self, hop: Hop, trainer: &mut Trainer) -> anyhow::Result<TrainReply> {
        let header = hop.header.clone();
        if let Some(flight) = self.flights.get_mut(&header.sample) {
            if flight.stand == Stand::Abandoned {
                return Ok(TrainReply::Refused);
            }
            let record = Record::Rebound { sample: header.sample, attempt: header.attempt, upstream: header.from, parent: header.id() };
            flight.attempt = flight.attempt.max(header.attempt);
            flight.upstream = Some(header.from);
            flight.parent = header.id();
            let done = flight.stand == Stand::Done;
            self.record(&record)?;
            if done {
                self.return_gradient(header.sample)?;
            }
            return Ok(self.accept(&header));
        }
        if self.flights.values().filter(|flight| flight.is_open()).count() >= MAX_OPEN {
            return Ok(TrainReply::Busy);
        }
        self.record(&Record::Arrived(hop.clone()))?;
        let answer = self.accept(&header);
        self.begin_forward(hop, trainer).await?;
        Ok(answer)
    }

    async fn begin_forward(&mut self, hop: Hop, trainer: &mut Trainer) -> anyhow::Result<()> {
        let header = hop.header;
        let flight =
            Flight::arrived(header.sample, header.attempt, Some(header.from), header_id(&header), header.codes_hash, Instant::now());
        self.flights.insert(header.sample, flight);
        self.ctx.store.put_codes(self.ctx.epoch, header.codes_hash, hop.codes.clone());
        let targets = if self.ctx.is_last() { Some(self.ctx.tokens_of(header.sample)?.1) } else { None };
        trainer.send(Job::Forward { sample: header.sample, attempt: header.attempt, input: Input::Codes(hop.codes), targets }).await
    }

    async fn gradient_arrived(&mut self, hop: Hop, trainer: &mut Trainer) -> anyhow::Result<TrainReply> {
        let header = hop.header.clone();
        let Some(flight) = self.flights.get_mut(&header.sample) else { return Ok(TrainReply::Refused) };
        match flight.stand {
            Stand::Abandoned | Stand::Forwarding => return Ok(TrainReply::Refused),
            Stand::Done | Stand::Backwarding => return Ok(self.accept(&header)),
            Stand::Sending | Stand::Awaiting(_) => {}
        }
        let took = flight.heard.max(flight.since).elapsed();
        self.patience.served(took);
        self.record(&Record::Arrived(hop.clone()))?;
        let answer = self.accept(&header);
        self.begin_backward(hop, trainer).await?;
        Ok(answer)
    }

    async fn begin_backward(&mut self, hop: Hop, trainer: &mut Trainer) -> anyhow::Result<()> {
        let header = hop.header;
        let Some(flight) = self.flights.get_mut(&header.sample) else { return Ok(()) };
        flight.stand = Stand::Backwarding;
        flight.gradient_in = header.codes_hash;
        let (sample, attempt) = (flight.sample, flight.key);
        self.ctx.store.put_codes(self.ctx.epoch, header.codes_hash, hop.codes.clone());
        trainer.send(Job::Backward { sample, attempt, gradient: hop.codes }).await
    }

    // --- the trainer ---------------------------------------------------------------------------

    async fn ran(&mut self, done: Done, trainer: &mut Trainer) -> anyhow::Result<()> {
        let mut done = done;
        if let Some(fault) = self.ctx.fault {
            self.misbehave(fault, &mut done);
        }
        let first = u32::try_from(self.log.len()).unwrap_or(u32::MAX);
        for event in &done.events {
            self.log.push(*event);
            self.record(&Record::Ran(*event))?;
        }
        self.settle(done, first, trainer).await
    }

    /// Applies one trainer result; shared by live training and the rebuild from the journal.
    async fn settle(&mut self, done: Done, sequence: u32, trainer: &mut Trainer) -> anyhow::Result<()> {
        let Some(flight) = self.flights.get_mut(&done.sample) else { return Ok(()) };
        match done.outcome {
            Outcome::Forward { codes, .. } => {
                self.ctx.store.put_codes(self.ctx.epoch, codes_hash(&codes), codes.clone());
                flight.output = Some(codes);
                flight.stand = Stand::Sending;
                self.offer(done.sample)
            }
            Outcome::Loss { loss, gradient, version, logits } => {
                flight.stand = Stand::Done;
                self.samples = self.samples.saturating_add(1);
                self.loss_sum += f64::from(loss);
                self.loss_count = self.loss_count.saturating_add(1);
                self.forward_receipt_of_last(done.sample, loss, version, logits, sequence)?;
                self.keep_gradient(done.sample, gradient)
            }
            Outcome::Backward { gradient, version } => {
                flight.stand = Stand::Done;
                self.samples = self.samples.saturating_add(1);
                match gradient {
                    Some(gradient) => self.keep_gradient(done.sample, gradient),
                    None => self.backward_receipt_of_first(done.sample, version, sequence),
                }
            }
            Outcome::Abandoned => Ok(()),
            Outcome::Failed(reason) => {
                tracing::warn!(sample = %done.sample, reason, "pass failed; the sample is given up here");
                let (sample, attempt) = (flight.sample, flight.key);
                flight.stand = Stand::Abandoned;
                trainer.send(Job::Abandon { sample, attempt }).await
            }
        }
    }

    fn misbehave(&self, fault: Fault, done: &mut Done) {
        match fault {
            Fault::GarbageActivations => {
                if let Outcome::Forward { codes, .. } = &mut done.outcome {
                    *codes = Fault::garbage(codes.len(), done.sample.0);
                    let forged = codes_hash(codes);
                    for event in &mut done.events {
                        if let LogEvent::Forward { output, .. } = event {
                            *output = forged;
                        }
                    }
                }
            }
        }
    }

    fn keep_gradient(&mut self, sample: Sample, gradient: Vec<u8>) -> anyhow::Result<()> {
        if let Some(flight) = self.flights.get_mut(&sample) {
            if !gradient.is_empty() {
                self.ctx.store.put_codes(self.ctx.epoch, codes_hash(&gradient), gradient.clone());
                flight.gradient_out = Some(gradient);
            }
        }
        self.return_gradient(sample)
    }

    // --- messages out --------------------------------------------------------------------------

    /// Offers a sample's output to the next miner in its order.
    fn offer(&mut self, sample: Sample) -> anyhow::Result<()> {
        let Some(next) = self.ctx.stage.0.checked_add(1).map(Stage) else { return Ok(()) };
        let order = self.order(sample, next);
        let Some(flight) = self.flights.get(&sample) else { return Ok(()) };
        let (Some(to), Some(codes)) = (flight.candidate(&order), flight.output.clone()) else {
            self.retries.push((Instant::now() + RETRY, sample));
            return Ok(());
        };
        let attempt = flight.attempt;
        let parent = flight.parent;
        self.post(to, sample, attempt, next, Direction::Forward, parent, codes)
    }

    fn order(&self, sample: Sample, stage: Stage) -> Vec<Uid> {
        pathway::preference(&self.ctx.train_seed, sample, stage, &self.ctx.stage_uids(stage))
    }

    /// Sends a finished sample's gradient to whoever sent the sample last.
    fn return_gradient(&mut self, sample: Sample) -> anyhow::Result<()> {
        let Some(flight) = self.flights.get(&sample) else { return Ok(()) };
        let (Some(to), Some(codes)) = (flight.upstream, flight.gradient_out.clone()) else { return Ok(()) };
        let Some(previous) = self.ctx.stage.0.checked_sub(1).map(Stage) else { return Ok(()) };
        let (attempt, parent) = (flight.attempt, flight.parent);
        self.post(to, sample, attempt, previous, Direction::Backward, parent, codes)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one message header")]
    fn post(
        &mut self,
        to: Uid,
        sample: Sample,
        attempt: Attempt,
        stage: Stage,
        direction: Direction,
        parent: Hash,
        codes: Vec<u8>,
    ) -> anyhow::Result<()> {
        let header = HopHeader {
            version: WIRE_VERSION,
            run: self.ctx.run,
            epoch: self.ctx.epoch,
            sample,
            attempt,
            stage,
            direction,
            from: self.ctx.me.uid,
            values: self.ctx.params.values_per_message(),
            codec: self.ctx.params.train.wire,
            codes_hash: codes_hash(&codes),
            parent,
        };
        let signature = self.ctx.identity.sign(Domain::Message, self.ctx.epoch, &header.id());
        let hop = Hop { header, signature, codes };
        self.record(&Record::Sent { to, hop: hop.clone() })?;
        self.outbox.push(Outgoing { to, hop });
        Ok(())
    }

    async fn answered(&mut self, answer: Answer, _trainer: &mut Trainer) -> anyhow::Result<()> {
        match answer {
            Answer::Hop { to, header, reply } => match header.direction {
                Direction::Forward => self.forward_answered(to, &header, reply),
                Direction::Backward => self.backward_answered(to, &header, reply),
            },
            Answer::Probe { to, sample, reply } => self.probe_answered(to, sample, reply),
        }
    }

    fn forward_answered(&mut self, to: Uid, header: &HopHeader, reply: Result<TrainReply, ExchangeError>) -> anyhow::Result<()> {
        let order = self.order(header.sample, header.stage);
        let Some(flight) = self.flights.get_mut(&header.sample) else { return Ok(()) };
        if flight.stand != Stand::Sending {
            // The gradient overtook the acknowledgement, or the sample was given up.
            return if matches!(reply, Ok(TrainReply::Accepted { .. })) { self.forward_receipt(header, to) } else { Ok(()) };
        }
        let cause = match reply {
            Ok(TrainReply::Accepted { .. }) => {
                flight.stand = Stand::Awaiting(to);
                flight.heard = Instant::now();
                return self.forward_receipt(header, to);
            }
            Ok(TrainReply::Busy) => SkipCause::Busy,
            Ok(_) => SkipCause::Refused,
            Err(error) => {
                tracing::debug!(%to, sample = %header.sample, %error, "hop not delivered");
                flight.attempt = flight.attempt.next();
                SkipCause::Unreachable
            }
        };
        flight.skip(to, cause, &order);
        if flight.skips.is_empty() {
            self.retries.push((Instant::now() + RETRY, header.sample));
            return Ok(());
        }
        self.offer(header.sample)
    }

    fn backward_answered(&mut self, to: Uid, header: &HopHeader, reply: Result<TrainReply, ExchangeError>) -> anyhow::Result<()> {
        match reply {
            Ok(TrainReply::Accepted { .. }) => self.backward_receipt(header, to),
            Ok(TrainReply::Refused) => Ok(()),
            _ => {
                self.retries.push((Instant::now() + RETRY, header.sample));
                Ok(())
            }
        }
    }

    fn probe_answered(&mut self, to: Uid, sample: Sample, reply: Result<TrainReply, ExchangeError>) -> anyhow::Result<()> {
        let Some(next) = self.ctx.stage.0.checked_add(1).map(Stage) else { return Ok(()) };
        let order = self.order(sample, next);
        let Some(flight) = self.flights.get_mut(&sample) else { return Ok(()) };
        flight.probing = false;
        if flight.stand != Stand::Awaiting(to) {
            return Ok(());
        }
        if matches!(reply, Ok(TrainReply::Working)) {
            flight.heard = Instant::now();
            return Ok(());
        }
        tracing::info!(%sample, %to, "downstream lost the sample; starting again at the next in its order");
        flight.attempt = flight.attempt.next();
        flight.stand = Stand::Sending;
        flight.skip(to, SkipCause::Unreachable, &order);
        self.offer(sample)
    }

    // --- time ----------------------------------------------------------------------------------

    async fn ticked(&mut self, view: &RunSnapshot, sends: &mut JoinSet<Answer>, trainer: &mut Trainer) -> anyhow::Result<()> {
        self.retry()?;
        self.probe_silent(sends);
        self.start_samples(view, trainer).await
    }

    fn retry(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let due: Vec<Sample> = self.retries.iter().filter(|(at, _)| *at <= now).map(|(_, sample)| *sample).collect();
        self.retries.retain(|(at, _)| *at > now);
        for sample in due {
            match self.flights.get(&sample).map(|flight| &flight.stand) {
                Some(Stand::Sending) => self.offer(sample)?,
                Some(Stand::Done) => self.return_gradient(sample)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Asks after samples that downstream has been silent about. The question goes out at half of
    /// the patience and may take the other half, so that a re-route starts within the whole of it.
    fn probe_silent(&mut self, sends: &mut JoinSet<Answer>) {
        let half = self.patience.limit() / 2;
        for flight in self.flights.values_mut() {
            let Stand::Awaiting(to) = flight.stand else { continue };
            if flight.probing || flight.heard.elapsed() < half {
                continue;
            }
            let Some(member) = self.ctx.members.iter().find(|m| m.uid == to) else { continue };
            flight.probing = true;
            let member = member.clone();
            let network = self.ctx.network.clone();
            let (run, epoch, sample) = (self.ctx.run, self.ctx.epoch, flight.sample);
            sends.spawn(async move {
                let reply = exchange::train(&network, &member, &TrainRequest::Probe { run, epoch, sample }, half).await;
                Answer::Probe { to, sample, reply }
            });
        }
    }

    async fn start_samples(&mut self, view: &RunSnapshot, trainer: &mut Trainer) -> anyhow::Result<()> {
        if !self.ctx.is_first() || !may_start(&view.schedule, view.head.number) {
            return Ok(());
        }
        let Some((rank, n0)) = self.ctx.stage0_rank() else { return Ok(()) };
        while self.open() < usize::from(self.ctx.params.train.in_flight) && self.next_start < self.ctx.params.train.max_samples {
            let Some(sample) = position::sample_of(self.next_start, rank, n0) else { break };
            self.next_start = self.next_start.saturating_add(1);
            self.record(&Record::Started(sample))?;
            self.start(sample, trainer).await?;
        }
        Ok(())
    }

    async fn start(&mut self, sample: Sample, trainer: &mut Trainer) -> anyhow::Result<()> {
        let (inputs, targets) = self.ctx.tokens_of(sample)?;
        let flight = Flight::arrived(sample, Attempt(0), None, Hash::ZERO, Hash::ZERO, Instant::now());
        self.flights.insert(sample, flight);
        self.last_activity = Instant::now();
        let targets = self.ctx.is_last().then_some(targets);
        trainer.send(Job::Forward { sample, attempt: Attempt(0), input: Input::Tokens(inputs), targets }).await
    }

    fn open(&self) -> usize {
        self.flights.values().filter(|flight| flight.is_open()).count()
    }

    /// In `Commit`, once nothing is open and nothing has come for a while, or when the window is
    /// about to close.
    fn should_commit(&self, view: &RunSnapshot) -> bool {
        match view.phase() {
            Phase::Train => false,
            Phase::Commit => {
                let quiet = self.open() == 0 && self.last_activity.elapsed() > QUIET;
                quiet || view.head.number >= commit_cutoff(&view.schedule, &self.ctx.params)
            }
            _ => true,
        }
    }

    async fn abandon_open(&mut self, trainer: &mut Trainer) -> anyhow::Result<()> {
        let open: Vec<(Sample, Attempt)> =
            self.flights.values().filter(|flight| flight.is_open()).map(|flight| (flight.sample, flight.key)).collect();
        if !open.is_empty() {
            tracing::info!(samples = open.len(), "the window closes; samples still in flight are given up");
        }
        for (sample, attempt) in open {
            trainer.send(Job::Abandon { sample, attempt }).await?;
        }
        for done in trainer.finish_queue().await? {
            self.ran(done, trainer).await?;
        }
        Ok(())
    }

    fn into_trained(self) -> Trained {
        let mean_loss = (self.loss_count > 0).then(|| self.loss_sum / f64::from(self.loss_count));
        Trained {
            receipts: self.receipts,
            log: self.log,
            samples: self.samples,
            started: self.next_start,
            mean_loss,
            journal: self.journal,
        }
    }

    // --- receipts ------------------------------------------------------------------------------

    fn leave(&mut self, receipt: Receipt) -> anyhow::Result<()> {
        self.record(&Record::Receipt(receipt.clone()))?;
        self.receipts.push(receipt);
        Ok(())
    }

    /// The event of a pass and its position in the log.
    fn event_of(&self, sample: Sample, direction: Direction) -> Option<(u32, LogEvent)> {
        let found = self.log.iter().enumerate().rev().find(|(_, event)| match event {
            LogEvent::Forward { sample: s, .. } => direction == Direction::Forward && *s == sample,
            LogEvent::Backward { sample: s, .. } => direction == Direction::Backward && *s == sample,
            _ => false,
        })?;
        Some((u32::try_from(found.0).ok()?, *found.1))
    }

    fn receipt(&self, sample: Sample, direction: Direction, to: Uid) -> Option<Receipt> {
        let flight = self.flights.get(&sample)?;
        let (sequence, event) = self.event_of(sample, direction)?;
        let (version, input, output) = match event {
            LogEvent::Forward { version, input, output, .. } | LogEvent::Backward { version, input, output, .. } => {
                (version, input, output)
            }
            _ => return None,
        };
        let me = self.ctx.me.uid;
        let from = match direction {
            Direction::Forward => flight.upstream.unwrap_or(me),
            Direction::Backward if self.ctx.is_last() => me,
            Direction::Backward => match flight.stand {
                Stand::Awaiting(downstream) => downstream,
                _ => self.receipts.iter().rev().find(|r| r.sample == sample && r.direction == Direction::Forward).map_or(me, |r| r.to),
            },
        };
        let skips = flight.skips.clone().try_into().unwrap_or_default();
        Some(Receipt {
            sample,
            attempt: flight.attempt,
            stage: self.ctx.stage,
            direction,
            from,
            to,
            input,
            output,
            version,
            sequence,
            skips,
            loss_micro: None,
            logits: Hash::ZERO,
        })
    }

    fn forward_receipt(&mut self, header: &HopHeader, to: Uid) -> anyhow::Result<()> {
        match self.receipt(header.sample, Direction::Forward, to) {
            Some(receipt) => self.leave(Receipt { attempt: header.attempt, ..receipt }),
            None => Ok(()),
        }
    }

    fn backward_receipt(&mut self, header: &HopHeader, to: Uid) -> anyhow::Result<()> {
        match self.receipt(header.sample, Direction::Backward, to) {
            Some(receipt) => self.leave(Receipt { attempt: header.attempt, ..receipt }),
            None => Ok(()),
        }
    }

    fn backward_receipt_of_first(&mut self, sample: Sample, version: Version, _sequence: u32) -> anyhow::Result<()> {
        match self.receipt(sample, Direction::Backward, self.ctx.me.uid) {
            Some(receipt) => self.leave(Receipt { version, ..receipt }),
            None => Ok(()),
        }
    }

    fn forward_receipt_of_last(&mut self, sample: Sample, loss: f32, version: Version, logits: Hash, _sequence: u32) -> anyhow::Result<()> {
        let loss_micro = Some(loss_micro(loss));
        match self.receipt(sample, Direction::Forward, self.ctx.me.uid) {
            Some(receipt) => self.leave(Receipt { version, loss_micro, logits, ..receipt }),
            None => Ok(()),
        }
    }

    // --- restart -------------------------------------------------------------------------------

    /// Takes over what the journal of this epoch holds. The trainer has already replayed its log.
    pub fn restore(&mut self, records: &[Record]) {
        for record in records {
            match record {
                Record::Started(sample) => {
                    self.next_start = self.next_start.saturating_add(1);
                    self.flights.insert(*sample, Flight::arrived(*sample, Attempt(0), None, Hash::ZERO, Hash::ZERO, Instant::now()));
                }
                Record::Arrived(hop) => self.restore_arrival(hop),
                Record::Ran(event) => self.restore_event(*event),
                Record::Sent { to, hop } => self.restore_sent(*to, hop),
                Record::Receipt(receipt) => self.restore_receipt(receipt),
                Record::Rebound { sample, attempt, upstream, parent } => {
                    if let Some(flight) = self.flights.get_mut(sample) {
                        flight.attempt = *attempt;
                        flight.upstream = Some(*upstream);
                        flight.parent = *parent;
                    }
                }
                Record::Commit(_) | Record::Blind { .. } => {}
            }
        }
    }

    fn restore_arrival(&mut self, hop: &Hop) {
        let header = &hop.header;
        self.ctx.store.put_codes(self.ctx.epoch, header.codes_hash, hop.codes.clone());
        match header.direction {
            Direction::Forward => {
                let flight = Flight::arrived(
                    header.sample,
                    header.attempt,
                    Some(header.from),
                    header.id(),
                    header.codes_hash,
                    Instant::now(),
                );
                self.flights.insert(header.sample, flight);
            }
            Direction::Backward => {
                if let Some(flight) = self.flights.get_mut(&header.sample) {
                    flight.stand = Stand::Backwarding;
                    flight.gradient_in = header.codes_hash;
                }
            }
        }
    }

    fn restore_event(&mut self, event: LogEvent) {
        self.log.push(event);
        match event {
            LogEvent::Forward { sample, .. } => {
                if let Some(flight) = self.flights.get_mut(&sample) {
                    flight.stand = Stand::Sending;
                }
            }
            LogEvent::Backward { sample, .. } => {
                self.samples = self.samples.saturating_add(1);
                if let Some(flight) = self.flights.get_mut(&sample) {
                    flight.stand = Stand::Done;
                }
            }
            LogEvent::Abandon { sample, .. } => {
                if let Some(flight) = self.flights.get_mut(&sample) {
                    flight.stand = Stand::Abandoned;
                }
            }
            LogEvent::Step { .. } => {}
        }
    }

    fn restore_sent(&mut self, to: Uid, hop: &Hop) {
        let header = &hop.header;
        self.ctx.store.put_codes(self.ctx.epoch, header.codes_hash, hop.codes.clone());
        let Some(flight) = self.flights.get_mut(&header.sample) else { return };
        flight.attempt = flight.attempt.max(header.attempt);
        match header.direction {
            Direction::Forward => {
                flight.output = Some(hop.codes.clone());
                if flight.stand == Stand::Sending {
                    flight.stand = Stand::Awaiting(to);
                }
            }
            Direction::Backward => flight.gradient_out = Some(hop.codes.clone()),
        }
    }

    fn restore_receipt(&mut self, receipt: &Receipt) {
        if let Some(loss) = receipt.loss_micro {
            self.loss_sum += f64::from(loss) / 1e6;
            self.loss_count = self.loss_count.saturating_add(1);
        }
        self.receipts.push(receipt.clone());
    }

    /// Takes back the bytes that a replayed pass put out, which the dead process may not have sent.
    pub fn keep_replayed(&mut self, done: &Done) {
        let (Outcome::Forward { codes, .. } | Outcome::Loss { gradient: codes, .. }) = &done.outcome else {
            if let Outcome::Backward { gradient: Some(gradient), .. } = &done.outcome {
                self.keep_returned(done.sample, gradient);
            }
            return;
        };
        self.ctx.store.put_codes(self.ctx.epoch, codes_hash(codes), codes.clone());
        if matches!(done.outcome, Outcome::Loss { .. }) {
            self.keep_returned(done.sample, codes);
        }
    }

    fn keep_returned(&mut self, sample: Sample, gradient: &[u8]) {
        if gradient.is_empty() {
            return;
        }
        self.ctx.store.put_codes(self.ctx.epoch, codes_hash(gradient), gradient.to_vec());
        if let Some(flight) = self.flights.get_mut(&sample) {
            flight.gradient_out = Some(gradient.to_vec());
        }
    }

    /// Queues again what was queued or ready when the process died.
    async fn resume(&mut self, trainer: &mut Trainer) -> anyhow::Result<()> {
        let samples: Vec<Sample> = self.flights.keys().copied().collect();
        for sample in samples {
            let Some(flight) = self.flights.get(&sample).cloned() else { continue };
            match flight.stand {
                Stand::Forwarding if flight.upstream.is_none() => self.start(sample, trainer).await?,
                Stand::Forwarding => {
                    let Some(codes) = self.ctx.store.codes(self.ctx.epoch, &flight.input) else { continue };
                    let targets = if self.ctx.is_last() { Some(self.ctx.tokens_of(sample)?.1) } else { None };
                    let input = Input::Codes(codes.to_vec());
                    trainer.send(Job::Forward { sample, attempt: flight.key, input, targets }).await?;
                }
                Stand::Backwarding => {
                    let Some(codes) = self.ctx.store.codes(self.ctx.epoch, &flight.gradient_in) else { continue };
                    trainer.send(Job::Backward { sample, attempt: flight.key, gradient: codes.to_vec() }).await?;
                }
                Stand::Sending => self.resume_output(sample)?,
                Stand::Done => self.return_gradient(sample)?,
                Stand::Awaiting(_) | Stand::Abandoned => {}
            }
        }
        Ok(())
    }

    /// The pass had run but its output was not on disk: the replay has just computed it again.
    fn resume_output(&mut self, sample: Sample) -> anyhow::Result<()> {
        let output = self.event_of(sample, Direction::Forward).and_then(|(_, event)| match event {
            LogEvent::Forward { output, .. } => self.ctx.store.codes(self.ctx.epoch, &output),
            _ => None,
        });
        if let (Some(flight), Some(codes)) = (self.flights.get_mut(&sample), output) {
            flight.output = Some(codes.to_vec());
        }
        self.offer(sample)
    }
}

fn header_id(header: &HopHeader) -> Hash {
    header.id()
}

/// Why a hop is not taken.
#[derive(Debug)]
enum Refusal {
    /// Another run, stage or a past epoch.
    NotOurs,
    /// We have not reached that epoch yet.
    Later,
    /// The sender broke the protocol.
    Bad(#[expect(dead_code, reason = "read by Debug in the log line")] String),
}

/// New samples start while at least two blocks of `Train` remain: what starts later cannot finish.
fn may_start(schedule: &Schedule, head: u32) -> bool {
    head.saturating_add(FINALITY_LAG_BLOCKS).saturating_add(2) < schedule.window(Phase::Train).end
}

/// Finalized head at which a miner stops waiting for samples in flight: the commit must still be
/// signed, pooled and included before the window closes.
fn commit_cutoff(schedule: &Schedule, params: &RunParams) -> u32 {
    schedule
        .window(Phase::Commit)
        .end
        .saturating_sub(params.phases.margin)
        .saturating_sub(FINALITY_LAG_BLOCKS)
        .saturating_sub(2)
}

/// A loss in nats as the integer that receipts carry; losses above 4,000 nats saturate.
#[must_use]
pub fn loss_micro(loss: f32) -> u32 {
    let scaled = (f64::from(loss) * 1e6).round();
    if scaled.is_finite() { scaled.clamp(0.0, f64::from(u32::MAX)) as u32 } else { u32::MAX }
}
