//! One epoch's `Train` and `Commit`: samples come in, pass through this stage, go out, come back.
//!
//! One task owns all of it. Everything that another member will rely on is journalled and synced
//! before it is acknowledged or sent (group commit: one sync for all that was ready at once).

mod clock;
mod inbound;
mod outbound;
mod passes;
mod receipts;
mod restore;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use codec::Encode;
use iota_compute::data::Dataset;
use iota_network::{Inbound, Network, Reply};
use iota_protocol::equivocation::Equivocation;
use iota_protocol::ids::{Epoch, Hash, RunId, Sample, Stage, Uid};
use iota_protocol::params::RunParams;
use iota_protocol::position;
use iota_protocol::receipt::{Direction, LogEvent, Receipt};
use iota_protocol::view::MemberView;
use iota_protocol::wire::{codes_len, Hop, TrainReply};
use iota_worker::identity::Identity;
use iota_worker::segment::sample_tokens;
use iota_worker::session::{pathway_weight, Views};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::outbound::Answer;
use crate::fault::Fault;
use crate::flight::{Flight, Patience};
use crate::gauges::Gauges;
use crate::journal::{EpochJournal, Record};
use crate::leave::Leaving;
use crate::ledger::{Ledger, Part};
use crate::meter::WireMeter;
use crate::serve::Past;
use crate::signed::Signed;
use crate::store::Store;
use crate::trainer::Trainer;

pub use self::receipts::loss_micro;

/// How often silence, retries and the clock are looked at.
const TICK: Duration = Duration::from_millis(100);
/// Events handled between two syncs of the journal.
const BATCH: usize = 32;

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
    /// Where proofs against neighbours go.
    pub proofs: mpsc::Sender<Equivocation>,
    /// Bytes sent at each boundary.
    pub meter: WireMeter,
    /// What the operator sees.
    pub gauges: Gauges,
    /// Samples that may be open here at once.
    pub most_open: usize,
}

impl EpochContext {
    fn stage_uids(&self, stage: Stage) -> Vec<(Uid, u32)> {
        self.members.iter().filter(|m| m.stage == Some(stage)).map(|m| (m.uid, pathway_weight(m))).collect()
    }

    /// Rank among the stage-0 miners in uid order, and how many there are.
    fn stage0_rank(&self) -> Option<(u32, u32)> {
        let first = self.stage_uids(Stage(0));
        let rank = first.iter().position(|(uid, _)| *uid == self.me.uid)?;
        Some((u32::try_from(rank).ok()?, u32::try_from(first.len()).ok()?))
    }

    /// Whether a sample's number belongs to this stage-0 miner.
    fn starts(&self, uid: Uid, sample: Sample) -> bool {
        let first = self.stage_uids(Stage(0));
        let n0 = u32::try_from(first.len()).unwrap_or(u32::MAX);
        let rank = usize::try_from(position::rank_of(sample, n0)).unwrap_or(usize::MAX);
        first.get(rank).is_some_and(|(starter, _)| *starter == uid)
    }

    /// What answers about this epoch depend on later.
    #[must_use]
    pub fn past(&self) -> Past {
        Past {
            epoch: self.epoch,
            stage: self.stage,
            tokens: self.tokens,
            data_base: self.data_base,
            params: (*self.params).clone(),
        }
    }

    fn is_first(&self) -> bool {
        self.stage.0 == 0
    }

    fn is_last(&self) -> bool {
        self.stage == self.params.last_stage()
    }

    /// Code bytes that arrived or left in this epoch.
    fn kept_codes(&self, hash: &Hash) -> anyhow::Result<Vec<u8>> {
        let found = self.store.codes(self.epoch, hash);
        found
            .map(|codes| Arc::try_unwrap(codes).unwrap_or_else(|shared| shared.to_vec()))
            .with_context(|| format!("journal of epoch {} lacks codes {hash}", self.epoch))
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
#[derive(Clone, Debug)]
struct Outgoing {
    to: Uid,
    hop: Hop,
}

/// An answer that leaves once the journal is synced.
struct Acknowledgement {
    reply: Reply,
    message: TrainReply,
    /// Stage boundary that its bytes count for.
    boundary: u16,
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
    acks: Vec<Acknowledgement>,
    outbox: Vec<Outgoing>,
    /// After a restart: journalled hops whose acknowledgement is not in the journal.
    unacknowledged: BTreeMap<(Sample, Direction), Outgoing>,
    retries: Vec<(Instant, Sample)>,
    signed: Signed,
    ledger: Ledger,
    last_activity: Instant,
    dirty: bool,
    /// No new samples: this miner leaves.
    leaving: bool,
    /// Open samples that nobody took while it leaves.
    let_go: BTreeSet<Sample>,
}

impl TrainEpoch {
    /// An epoch of which nothing is known yet; `begin` follows.
    #[must_use]
    pub fn new(ctx: EpochContext, journal: EpochJournal) -> Self {
        let ledger = Ledger::new(ctx.gauges.sample_times());
        let (params, train) = (&ctx.params, &ctx.params.train);
        let message = codes_len(train.wire, params.values_per_message());
        let patience = Patience::for_messages(message, train.in_flight);
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
            patience,
            acks: Vec::new(),
            outbox: Vec::new(),
            unacknowledged: BTreeMap::new(),
            retries: Vec::new(),
            signed: Signed::default(),
            ledger,
            last_activity: Instant::now(),
            dirty: false,
            leaving: false,
            let_go: BTreeSet::new(),
        }
    }

    /// Trains until this stage has nothing left to do in the epoch, or must commit. Asked to leave, it finishes
    /// what is open, as long as there is time.
    ///
    /// # Errors
    /// When the disk or the trainer fails or the views end. A bad message or a dead peer is not an error.
    pub async fn run(
        mut self,
        views: &mut Views,
        inbox: &mut mpsc::Receiver<Inbound>,
        trainer: &mut Trainer,
        mut leave: Leaving,
    ) -> anyhow::Result<Trained> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut view = views.current().await?;
        let mut sends: JoinSet<Answer> = JoinSet::new();
        self.resume(trainer).await?;
        loop {
            self.flush(&mut sends)?;
            if view.epoch() != self.ctx.epoch
                || self.should_commit(&view)
                || self.has_left(&leave, sends.len())
            {
                break;
            }
            tokio::select! {
                biased;
                () = leave.asked() => self.wind_down()?,
                next = views.next() => view = next?,
                Some(done) = trainer.done() => self.ran(done, trainer).await?,
                Some(answer) = sends.join_next() => self.answered(answer.context("a send task failed")?)?,
                Some(inbound) = inbox.recv() => self.received(inbound, trainer).await?,
                _ = tick.tick() => self.ticked(&mut sends)?,
            }
            self.drain(inbox, trainer).await?;
            // At once, not at the next tick: the stage would be idle until then.
            if !self.leaving {
                self.start_samples(&view, trainer).await?;
            }
        }
        self.abandon_open(trainer).await?;
        self.flush(&mut sends)?;
        Ok(self.into_trained())
    }

    /// Handles whatever is ready, so that one sync of the journal serves all of it.
    async fn drain(
        &mut self,
        inbox: &mut mpsc::Receiver<Inbound>,
        trainer: &mut Trainer,
    ) -> anyhow::Result<()> {
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
        let began = Instant::now();
        if self.dirty {
            tokio::task::block_in_place(|| self.journal.sync())?;
            self.dirty = false;
        }
        let synced = Instant::now();
        for Acknowledgement { reply, message, boundary } in self.acks.drain(..) {
            let bytes = message.encode();
            self.ctx.meter.add(boundary, bytes.len());
            // An error means that the sender no longer waits; it will ask or send again.
            drop(reply.send(bytes));
        }
        for outgoing in std::mem::take(&mut self.outbox) {
            let (sample, direction) = (outgoing.hop.header.sample, outgoing.hop.header.direction);
            self.ledger.synced(sample, began, synced);
            self.send(outgoing, sends);
            match direction {
                Direction::Forward => self.ledger.run(sample, Part::Away),
                Direction::Backward => self.ledger.close(sample),
            }
        }
        Ok(())
    }

    fn record(&mut self, record: &Record) -> anyhow::Result<()> {
        let began = Instant::now();
        self.dirty = true;
        self.journal.append(record)?;
        if let Some(sample) = record.sample() {
            self.ledger.spend(sample, Part::Disk, began);
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
}
