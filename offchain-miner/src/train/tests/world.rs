//! Builders: an epoch's context at one stage, and a life that feeds it samples until they are done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use iota_compute::codec::encode;
use iota_compute::data::{self, Dataset};
use iota_compute::layout::StageLayout;
use iota_compute::outer::OuterState;
use iota_compute::presets::run_params;
use iota_network::{Network, NetworkConfig, PeerKey};
use iota_protocol::equivocation::Equivocation;
use iota_protocol::hash::Domain;
use iota_protocol::ids::{AccountKey, Attempt, Epoch, Hash, Incarnation, RunId, Sample, Stage, Uid};
use iota_protocol::params::RunParams;
use iota_protocol::receipt::{Direction, LogEvent};
use iota_protocol::view::MemberView;
use iota_protocol::wire::{codes_hash, Hop, HopHeader, TrainReply, WIRE_VERSION};
use iota_protocol::work::{Endpoint, Role};
use iota_service::keys::Hotkey;
use iota_worker::exchange::ExchangeError;
use iota_worker::identity::Identity;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::super::outbound::Answer;
use super::super::{EpochContext, Outgoing, TrainEpoch};
use crate::flight::Stand;
use crate::gauges::Gauges;
use crate::journal::{EpochJournal, Record};
use crate::meter::WireMeter;
use crate::store::Store;
use crate::trainer::Trainer;

/// Samples that a life trains.
pub const SAMPLES: u32 = 5;
/// The sample whose first hop downstream is lost, where there is a downstream.
const LOST: Sample = Sample(2);
const EPOCH: Epoch = Epoch(3);
const RUN: RunId = RunId(7);
const GENESIS: Hash = Hash([1; 32]);
/// Two miners at each of three stages.
const STAGES: [u16; 6] = [0, 0, 1, 1, 2, 2];

/// What survives the death of a process, and what does not change.
pub struct World {
    _text: TempDir,
    params: Arc<RunParams>,
    dataset: Arc<Dataset>,
    network: Network,
    proofs: mpsc::Sender<Equivocation>,
    /// What was found against neighbours.
    pub found: mpsc::Receiver<Equivocation>,
    pub stage: Stage,
    pub state: OuterState,
    /// The epoch that lives train.
    pub epoch: Epoch,
}

/// One process on one data folder.
pub struct Life {
    pub training: TrainEpoch,
    pub trainer: Trainer,
    /// Everything that was sent, in order.
    pub sent: Vec<(Uid, Hop)>,
    gradients: VecDeque<Hop>,
    fed: u32,
}

impl World {
    /// A nano run of three stages, seen from the first miner of `stage`.
    pub async fn new(stage: u16, samples_per_step: u16) -> Self {
        Self::with_samples(stage, samples_per_step, SAMPLES).await
    }

    /// The same with another number of samples in an epoch.
    pub async fn with_samples(stage: u16, samples_per_step: u16, samples: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text: String = (0..20_000).map(|n| format!("{} ", n * 7 % 1_013)).collect();
        std::fs::write(folder.path().join("text"), text).unwrap();
        let out = folder.path().join("data");
        data::prepare(&folder.path().join("text"), &out, 32, "made up", |_, _| {}).unwrap();
        let dataset = Arc::new(Dataset::open(&out, None).unwrap());
        let mut params = run_params("nano", 3, 1, 5, 2, dataset.data_params()).unwrap();
        params.train.max_samples = samples;
        params.train.samples_per_step = samples_per_step;
        let stage = Stage(stage);
        let state = OuterState::initial(&params, &StageLayout::new(&params, stage).unwrap());
        let (network, _inbound) =
            Network::start(NetworkConfig::new(PeerKey::from_seed([99; 32]), Vec::new())).await.unwrap();
        let (proofs, found) = mpsc::channel(crate::signed::PROOFS);
        let params = Arc::new(params);
        Self { _text: folder, params, dataset, network, proofs, found, stage, state, epoch: EPOCH }
    }

    pub(crate) fn context(&self, store: Arc<Store>) -> EpochContext {
        let members: Vec<MemberView> = (0u16..).zip(STAGES).map(|(uid, stage)| member(uid, stage)).collect();
        let me = members.iter().find(|member| member.stage == Some(self.stage)).unwrap().clone();
        EpochContext {
            run: RUN,
            params: Arc::clone(&self.params),
            epoch: self.epoch,
            stage: self.stage,
            identity: identity(me.uid),
            me,
            train_seed: Hash([5; 32]),
            data_base: 0,
            tokens: 0,
            members: Arc::new(members),
            network: self.network.clone(),
            store,
            dataset: Some(Arc::clone(&self.dataset)),
            fault: None,
            proofs: self.proofs.clone(),
            meter: WireMeter::default(),
            gauges: Gauges::default(),
            most_open: crate::memory::MOST_OPEN,
        }
    }

    /// A process starts on a data folder and reads its journal.
    pub async fn start(&self, folder: &TempDir) -> anyhow::Result<(Life, Vec<Record>)> {
        let store = Store::open(folder.path())?;
        let mut trainer = Trainer::start(1, Arc::clone(&store), std::time::Duration::ZERO)?;
        let (journal, records) = EpochJournal::open(&store, self.epoch)?;
        let mut training = TrainEpoch::new(self.context(store), journal);
        training.begin(&self.state, &records, &mut trainer).await?;
        let life = Life { training, trainer, sent: Vec::new(), gradients: VecDeque::new(), fed: 0 };
        Ok((life, records))
    }

    /// A data folder whose journal holds these records.
    pub fn folder_with(&self, records: &[Record]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = EpochJournal::open(&Store::open(folder.path()).unwrap(), self.epoch).unwrap();
        for record in records {
            journal.append(record).unwrap();
        }
        folder
    }

    /// A hop to this stage; its codes depend on sample and direction only, as a restarted sender's do.
    pub fn hop_in(&self, sample: Sample, attempt: Attempt, direction: Direction, from: Uid) -> Hop {
        let scale = if direction == Direction::Forward { 1.0 } else { 1e-3 };
        let mut state = sample.0 * 2 + u32::from(direction == Direction::Backward) + 1;
        let values: Vec<f32> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (f32::from((state >> 16) as u16) / 32_768.0 - 1.0) * scale
        })
        .take(self.params.values_per_message() as usize)
        .collect();
        let mut codes = Vec::new();
        encode(self.params.train.wire, &values, &mut codes).unwrap();
        let header = HopHeader {
            version: WIRE_VERSION,
            run: RUN,
            epoch: self.epoch,
            sample,
            attempt,
            stage: self.stage,
            direction,
            from,
            values: self.params.values_per_message(),
            codec: self.params.train.wire,
            codes_hash: codes_hash(&codes),
            parent: Hash::ZERO,
        };
        let signature = identity(from).sign(Domain::Message, self.epoch, &header.id());
        Hop { header, signature, codes }
    }

    /// Another body for the same hop, with a signature that holds.
    pub fn contradicting(&self, hop: &Hop) -> Hop {
        let other = self.hop_in(
            Sample(hop.header.sample.0 + 100),
            hop.header.attempt,
            hop.header.direction,
            hop.header.from,
        );
        let header = HopHeader { codes_hash: other.header.codes_hash, ..hop.header.clone() };
        let signature = identity(header.from).sign(Domain::Message, self.epoch, &header.id());
        Hop { header, signature, codes: other.codes }
    }

    /// A miner of the stage before this one.
    pub fn upstream(&self, which: u16) -> Uid {
        Uid((self.stage.0 - 1) * 2 + which)
    }
}

impl Life {
    /// Runs everything that is queued at the trainer.
    pub async fn run_jobs(&mut self) {
        loop {
            let finished = self.trainer.finish_queue().await.unwrap();
            if finished.is_empty() {
                return;
            }
            for done in finished {
                self.training.ran(done, &mut self.trainer).await.unwrap();
            }
        }
    }

    /// Takes what is to be sent and answers it: once with silence, else with an acknowledgement.
    /// Whatever goes downstream comes back as a gradient later.
    pub fn exchange(&mut self, world: &World) {
        while !self.training.outbox.is_empty() {
            for Outgoing { to, hop } in std::mem::take(&mut self.training.outbox) {
                let lost = hop.header.sample == LOST
                    && hop.header.attempt == Attempt(0)
                    && hop.header.direction == Direction::Forward;
                let reply = if lost {
                    Err(ExchangeError::NoEndpoint(to))
                } else {
                    Ok(TrainReply::Accepted { signature: [0; 64] })
                };
                if hop.header.direction == Direction::Forward && !lost {
                    let HopHeader { sample, attempt, .. } = hop.header;
                    self.gradients.push_back(world.hop_in(sample, attempt, Direction::Backward, to));
                }
                self.sent.push((to, hop.clone()));
                self.training.answered(Answer::Hop { to, header: hop.header, reply }).unwrap();
            }
        }
    }

    /// What a restarted process finds on the network: upstream offers again what it was not paid
    /// back for, downstream returns what it was given.
    pub async fn resume(&mut self, world: &World) {
        self.training.resume(&mut self.trainer).await.unwrap();
        for flight in self.training.flights.values() {
            if let Stand::Awaiting(to) = flight.stand {
                let hop = world.hop_in(flight.sample, flight.attempt, Direction::Backward, to);
                self.gradients.push_back(hop);
            }
        }
    }

    /// One round: jobs, messages, new samples, one gradient. Returns whether anything is left to do.
    pub async fn round(&mut self, world: &World) -> bool {
        self.run_jobs().await;
        self.exchange(world);
        let before = self.training.open();
        if world.stage.0 == 0 {
            self.training.fill(&mut self.trainer).await.unwrap();
        } else if before < usize::from(world.params.train.in_flight)
            && self.fed < world.params.train.max_samples
        {
            let hop = world.hop_in(Sample(self.fed), Attempt(0), Direction::Forward, world.upstream(0));
            self.fed += 1;
            let reply = self.training.forward_arrived(hop, &mut self.trainer).await.unwrap();
            assert!(matches!(reply, TrainReply::Accepted { .. } | TrainReply::Refused));
            return true;
        }
        if let Some(hop) = self.gradients.pop_front() {
            self.training.gradient_arrived(hop, &mut self.trainer).await.unwrap();
            return true;
        }
        self.training.open() > 0 || !self.training.outbox.is_empty()
    }

    /// Rounds until every sample is done.
    pub async fn finish(&mut self, world: &World) {
        // A sample takes four rounds at most; a life that needs ten times as many is stuck.
        for _ in 0..world.params.train.max_samples * 40 {
            if !self.round(world).await {
                return;
            }
        }
        panic!("stuck with {} samples open at stage {}", self.training.open(), world.stage);
    }

    /// Passes of each sample and direction in the event log.
    pub fn passes(&self) -> BTreeMap<(Sample, Direction), usize> {
        let mut counts = BTreeMap::new();
        for event in &self.training.log {
            let key = match event {
                LogEvent::Forward { sample, .. } => (*sample, Direction::Forward),
                LogEvent::Backward { sample, .. } => (*sample, Direction::Backward),
                _ => continue,
            };
            *counts.entry(key).or_default() += 1;
        }
        counts
    }

    /// Checks that every sample passed once each way, with receipts that name its log events.
    pub fn assert_whole(&self, when: &str) {
        let passes = self.passes();
        assert_eq!(passes.len(), SAMPLES as usize * 2, "{when}: {passes:?}");
        assert!(passes.values().all(|count| *count == 1), "{when}: a pass ran twice: {passes:?}");
        assert_eq!(self.training.samples, SAMPLES, "{when}");
        let mut keys = BTreeSet::new();
        for receipt in &self.training.receipts {
            let key = (receipt.sample, receipt.direction, receipt.attempt);
            assert!(keys.insert(key), "{when}: two receipts for {key:?}");
            let event = self.training.log.get(receipt.sequence as usize);
            let Some(LogEvent::Forward { input, output, .. } | LogEvent::Backward { input, output, .. }) =
                event
            else {
                panic!("{when}: receipt names event {event:?}");
            };
            assert_eq!((&receipt.input, &receipt.output), (input, output), "{when}");
        }
        let covered: BTreeSet<_> = keys.iter().map(|(sample, direction, _)| (*sample, *direction)).collect();
        assert_eq!(covered.len(), passes.len(), "{when}: a pass has no receipt");
    }
}

fn member(uid: u16, stage: u16) -> MemberView {
    let peer = peer_of(Uid(uid));
    MemberView {
        uid: Uid(uid),
        incarnation: Incarnation(u32::from(uid)),
        hotkey: identity(Uid(uid)).public(),
        coldkey: AccountKey([0; 32]),
        role: Role::Miner,
        stage: Some(Stage(stage)),
        endpoint: Some(Endpoint { peer, addresses: Default::default() }),
        weight: 1_000,
        bond: 0,
        registered_at: 0,
    }
}

/// The peer under which a member is published.
pub fn peer_of(uid: Uid) -> [u8; 32] {
    PeerKey::from_seed([uid.0 as u8 + 1; 32]).public()
}

fn identity(uid: Uid) -> Identity {
    Identity::new(Hotkey::from_seed([uid.0 as u8 + 1; 32]), GENESIS, RUN)
}
