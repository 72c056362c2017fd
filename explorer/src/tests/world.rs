//! A chain of about 150 blocks: eight members register, three epochs of two stages train, are scored,
//! and are paid by the protocol's own `settle`. One member's endpoint carries a script.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use codec::{Compact, Encode};
use iota_chain::{
    account_key, entry_key, item_key, AccountFunds, Block, ChainError, ChainEvent, Content, Funds, Head,
    Owed, ScoreSalt, Vesting,
};
use iota_protocol::clasp::{mean_z, MinerEffect, Observation};
use iota_protocol::consensus::bonds::BondRow;
use iota_protocol::court::{AccusationView, Accused, CourtView, RequestView};
use iota_protocol::emission::{carried, payouts_root, settle, Terms, UNIT};
use iota_protocol::ids::{AccountKey, Epoch, Hash, Incarnation, RunId, Sample, Stage, Uid};
use iota_protocol::params::*;
use iota_protocol::phase::Phase;
use iota_protocol::report::*;
use iota_protocol::view::*;
use iota_protocol::work::*;
use serde_json::{json, Value as Json};

use super::trie::Trie;
use super::votes;
use crate::audit::finality::voters_key;
use crate::audit::proof::{blake2_256, StoredPayment, StoredReport};
use crate::source::{Read, Source, POT};

/// The one run.
pub const RUN: RunId = RunId(0);
/// What a hostile member publishes as its address.
pub const SCRIPT: &str = "/dns4/<script>window.pwned=1</script>\"'>&amp;";
const MINERS: u16 = 6;
const MEMBERS: u16 = 8;
/// The member whose owner burns a token in the block of its registration, and another in each epoch that
/// follows the first.
const GENEROUS: u16 = 2;
/// The epoch in which somebody is found guilty, who that is, and of which segment.
const JUDGED: Epoch = Epoch(1);
const GUILTY: Uid = Uid(4);
const SEGMENT: u32 = 3;
const SAMPLES: u32 = 120;
/// Milliseconds since 1970 of block 0: 1 January 2026.
const START_MS: u64 = 1_767_225_600_000;

pub fn params() -> RunParams {
    let stage =
        |first_layer, share_ppm| StageParams { first_layer, layers: 1, parameters: 400_000, share_ppm };
    RunParams {
        preset: b"tiny".to_vec().try_into().unwrap(),
        seed: 1,
        model: ModelParams {
            d_model: 128,
            n_layers: 2,
            n_heads: 4,
            n_kv_heads: 2,
            d_ff: 344,
            vocab: 256,
            seq_len: 128,
            bottleneck: 16,
            rope_base: 10_000,
            zero_boundary: false,
        },
        stages: vec![stage(0, 600_000), stage(1, 400_000)].try_into().unwrap(),
        train: TrainParams {
            windows_per_sample: 4,
            samples_per_step: 1,
            in_flight: 4,
            lr_ppm: 3_000,
            beta1_ppm: 900_000,
            beta2_ppm: 950_000,
            weight_decay_ppm: 50_000,
            ramp_steps: 10,
            lr_decay_after_tokens: 10_000_000,
            keep_moments: false,
            wire: WireCodec::Int8,
            max_samples: 1_000,
        },
        merge: MergeParams {
            chunk: 1_024,
            exponent_min: -30,
            outer_lr_ppm: 700_000,
            momentum_start_ppm: 500_000,
            momentum_end_ppm: 900_000,
            momentum_ramp: 20,
        },
        phases: PhaseParams {
            train: 12,
            commit: 5,
            attest: 8,
            blind: 5,
            open: 5,
            root: 5,
            score_commit: 5,
            score_reveal: 5,
            margin: 1,
            max_extensions: 3,
        },
        data: DataParams { manifest_root: Hash([3; 32]), train_windows: 1_000, heldout_windows: 10 },
        start_replicas: 3,
        epochs: 3,
    }
}

/// The chain's state after one block.
#[derive(Clone)]
struct State {
    clock: ClockView,
    issuance: u128,
    minted: u128,
    bonds: Vec<BondRow>,
    owed: u128,
    members: Vec<MemberView>,
    merges: BTreeMap<(Epoch, Stage), MergeView>,
    snapshots: BTreeMap<Epoch, SnapshotView>,
    scores: BTreeMap<Epoch, Vec<ScoreView>>,
    reports: BTreeMap<Epoch, EpochReportView>,
}

struct Built {
    block: Block,
    state: State,
    nodes: Vec<Vec<u8>>,
    votes: Option<Vec<u8>>,
}

/// The chain, and how it misbehaves.
pub struct World {
    pub params: RunParams,
    blocks: Vec<Built>,
    /// What validators publish.
    pub published: BTreeMap<(Epoch, Uid), Report>,
    /// The node has no state of blocks below this one.
    pub kept_from: u32,
    /// Reads until one fails; `u32::MAX` for never.
    pub fails_after: AtomicU32,
    /// The epoch whose scores nobody reveals: it is void, and scored with the next.
    silent: Option<Epoch>,
}

fn hash_of(parts: &impl Encode) -> Hash {
    Hash(blake2_256(&parts.encode()))
}

impl World {
    pub fn new() -> Self {
        Self::built(None)
    }

    /// The same with an epoch that is void at first.
    pub fn with_void(epoch: Epoch) -> Self {
        Self::built(Some(epoch))
    }

    fn built(silent: Option<Epoch>) -> Self {
        let params = params();
        let mut world = Self {
            params: params.clone(),
            blocks: Vec::new(),
            published: BTreeMap::new(),
            kept_from: 0,
            fails_after: AtomicU32::new(u32::MAX),
            silent,
        };
        let clock = ClockView {
            run: RUN,
            state: RunState::Waiting,
            epoch: Epoch(0),
            start: 0,
            extensions: 0,
            train_seed: Hash::ZERO,
            seed: None,
            data_base: 0,
            tokens: 0,
        };
        let mut state = State {
            clock,
            issuance: 10_000 * UNIT,
            minted: 0,
            bonds: Vec::new(),
            owed: 0,
            members: Vec::new(),
            merges: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            scores: BTreeMap::new(),
            reports: BTreeMap::new(),
        };
        let mut after = 0;
        for number in 0.. {
            let mut events = Vec::new();
            if number > 0 {
                world.advance(&mut state, number, &mut events);
            }
            world.seal(number, &state, events);
            after += u32::from(state.clock.state == RunState::Ended);
            if after > 2 {
                return world;
            }
        }
        world
    }

    pub fn last(&self) -> u32 {
        u32::try_from(self.blocks.len()).unwrap() - 1
    }

    /// The block that paid an epoch.
    pub fn paid_at(&self, epoch: Epoch) -> u32 {
        self.blocks.last().unwrap().state.reports[&epoch].block
    }

    fn advance(&mut self, state: &mut State, number: u32, events: &mut Vec<(&'static str, Json)>) {
        match state.clock.state {
            RunState::Waiting if number <= u32::from(MEMBERS) => register(state, number, events),
            RunState::Waiting => {
                state.clock.state = RunState::Running;
                self.start_epoch(state, number, Epoch(0), events);
            }
            RunState::Running => self.run_epoch(state, number, events),
            RunState::Ended | RunState::Paused => {}
        }
    }

    fn start_epoch(
        &self,
        state: &mut State,
        number: u32,
        epoch: Epoch,
        events: &mut Vec<(&'static str, Json)>,
    ) {
        let clock = &mut state.clock;
        clock.epoch = epoch;
        clock.start = number + 1;
        clock.train_seed = clock.seed.take().unwrap_or(Hash([7; 32]));
        events.push((
            "EpochStarted",
            json!({ "run": "0", "epoch": epoch.to_string(), "start": clock.start.to_string() }),
        ));
        if epoch == Epoch(0) {
            for member in state.members.iter_mut().filter(|m| m.role == Role::Miner) {
                member.stage = Some(Stage(member.uid.0 / 3));
            }
        }
    }

    fn run_epoch(&mut self, state: &mut State, number: u32, events: &mut Vec<(&'static str, Json)>) {
        let epoch = state.clock.epoch;
        let schedule = state.clock.schedule(&self.params);
        if let Some(scored) = epoch.previous() {
            if number == schedule.score_commit().start + 1 {
                self.commit_scores(state, scored, events);
                let owner = state.members[usize::from(GENEROUS)].coldkey;
                burn(state, &owner, events);
            }
            if number == schedule.score_commit().start + 2 && scored == JUDGED {
                rule(events);
            }
            if number == schedule.score_reveal().start + 1 && self.silent != Some(scored) {
                self.reveal_scores(state, scored, events);
            }
        }
        let second = |phase| !schedule.window(phase).is_empty() && number == schedule.window(phase).start + 1;
        for phase in [Phase::Commit, Phase::Attest, Phase::Blind, Phase::Open, Phase::Root] {
            if second(phase) {
                for stage in [Stage(0), Stage(1)] {
                    merge_step(state, epoch, stage, phase, events);
                }
            }
        }
        if !self.params.is_settling(epoch) && number == schedule.seed_block() + 1 {
            let seed = hash_of(&("seed", epoch));
            state.clock.seed = Some(seed);
            events.push((
                "SeedFixed",
                json!({ "run": "0", "epoch": epoch.to_string(), "seed": seed.to_string() }),
            ));
        }
        if number == schedule.close() {
            self.close(state, number, epoch, events);
        }
    }

    fn close(
        &mut self,
        state: &mut State,
        number: u32,
        epoch: Epoch,
        events: &mut Vec<(&'static str, Json)>,
    ) {
        if let Some(scored) = epoch.previous() {
            if let Some(void) = scored.previous().filter(|before| state.reports[before].void) {
                self.pay(state, number, void, scored, events);
            }
            self.pay(state, number, scored, scored, events);
        }
        if self.params.is_settling(epoch) {
            state.clock.state = RunState::Ended;
            events.push(("RunEnded", json!({ "run": "0" })));
            return;
        }
        let mut snapshot = SnapshotView::default();
        for member in &state.members {
            match member.stage {
                Some(stage) => snapshot.miners.push(SnapshotEntry {
                    uid: member.uid,
                    incarnation: member.incarnation,
                    stage,
                    coldkey: member.coldkey,
                    samples: 40,
                }),
                None => snapshot.validators.push(SnapshotValidator {
                    uid: member.uid,
                    incarnation: member.incarnation,
                    hotkey: member.hotkey,
                    coldkey: member.coldkey,
                    stake: member.bond,
                }),
            }
        }
        state.snapshots.insert(epoch, snapshot);
        state.clock.tokens += u64::from(SAMPLES) * u64::from(self.params.tokens_per_sample());
        self.start_epoch(state, number, epoch.next(), events);
    }

    fn pay(
        &mut self,
        state: &mut State,
        number: u32,
        epoch: Epoch,
        by: Epoch,
        events: &mut Vec<(&'static str, Json)>,
    ) {
        let mut terms = Terms::plain(by, state.minted);
        if epoch == JUDGED {
            terms.gated.try_push((GUILTY, Incarnation(GUILTY.0.into()))).unwrap();
        }
        if epoch == JUDGED && by == JUDGED {
            terms.transcripts.try_push((Uid(MINERS), 2)).unwrap();
        }
        let (own, judges) = (&state.snapshots[&epoch], &state.snapshots[&by]);
        let snapshot = if by == epoch { own.clone() } else { carried(own, judges) };
        let paid = settle(&self.params, &snapshot, &state.scores[&by], &state.bonds, &terms);
        let report = EpochReportView {
            epoch,
            block: number,
            void: paid.void,
            terms,
            split: paid.split,
            bonds_root: paid.bonds_root(),
            payouts_root: payouts_root(&paid.payouts),
            payouts: paid.payouts,
        };
        state.bonds = paid.bonds;
        state.minted += paid.split.minted;
        state.issuance += paid.split.minted;
        events.push(("Balances.Issued", json!({ "amount": paid.split.minted.to_string() })));
        state.owed += paid.split.miners + paid.split.validators;
        for payout in &report.payouts {
            events.push((
                "Rewarded",
                json!({
                    "run": "0", "epoch": epoch.to_string(), "uid": payout.uid.to_string(),
                    "incarnation": payout.incarnation.to_string(), "coldkey": payout.coldkey.to_string(),
                    "amount": payout.amount.to_string(),
                }),
            ));
        }
        events.push((
            "EpochSettled",
            json!({
                "run": "0", "epoch": epoch.to_string(), "void": report.void,
                "minted": paid.split.minted.to_string(), "burned": "0",
            }),
        ));
        state.reports.insert(epoch, report);
    }

    /// In epoch 1 the second validator, which has less than half of the stake, misses its commit.
    fn commit_scores(&mut self, state: &mut State, epoch: Epoch, events: &mut Vec<(&'static str, Json)>) {
        for uid in (MINERS..MEMBERS).map(Uid).filter(|uid| epoch != Epoch(1) || uid.0 == MINERS) {
            let incarnation = Incarnation(uid.0.into());
            let (genesis, author) = (self.genesis(), state.members[usize::from(uid.0)].hotkey);
            let report = validator_report(epoch, uid);
            let reveal = ScoreReveal {
                entries: report.row().try_into().unwrap(),
                salt: salt(epoch, uid).0,
                report_root: report.root(),
            };
            let commit = scores_hash(&genesis, RUN, &author, incarnation, epoch, &reveal);
            state.scores.entry(epoch).or_default().push(ScoreView {
                uid,
                incarnation,
                commit,
                entries: None,
                report_root: None,
            });
            events.push(("ScoresCommitted", json!({ "run": "0", "epoch": epoch.to_string(), "uid": uid.to_string(), "hash": commit.to_string() })));
        }
    }

    fn reveal_scores(&mut self, state: &mut State, epoch: Epoch, events: &mut Vec<(&'static str, Json)>) {
        for row in state.scores.get_mut(&epoch).into_iter().flatten() {
            let report = validator_report(epoch, row.uid);
            row.entries = Some(report.row());
            row.report_root = Some(report.root());
            events.push((
                "ScoresRevealed",
                json!({
                    "run": "0", "epoch": epoch.to_string(), "uid": row.uid.to_string(),
                    "entries": "6", "report_root": report.root().to_string(),
                }),
            ));
            self.published.insert((epoch, row.uid), report);
        }
    }

    fn seal(&mut self, number: u32, state: &State, events: Vec<(&'static str, Json)>) {
        let entries = vec![
            (b"some other key of the state".to_vec(), vec![1, 2, 3]),
            (voters_key(), votes::voters(votes::set_at(number)).encode()),
        ];
        let mut entries = [entries, sums(number, state)].concat();
        for (epoch, report) in &state.reports {
            let stored = StoredReport {
                block: report.block,
                void: report.void,
                terms: report.terms.clone(),
                bonds_root: report.bonds_root,
                split: report.split,
                payouts_root: report.payouts_root,
            };
            let payments: Vec<StoredPayment> = report
                .payouts
                .iter()
                .map(|p| StoredPayment {
                    uid: p.uid,
                    incarnation: p.incarnation,
                    coldkey: p.coldkey,
                    amount: p.amount,
                })
                .collect();
            entries.push((entry_key("Iota", "Reports", &(RUN, epoch)), stored.encode()));
            entries.push((entry_key("Iota", "Payouts", &(RUN, epoch)), payments.encode()));
        }
        let Trie { root, nodes } = Trie::build(entries);
        let parent = self.blocks.last().map_or(Hash::ZERO, |built| built.block.head.hash);
        let header = (parent, Compact(number), root, Hash([8; 32]), votes::digest(number)).encode();
        let head = Head { number, hash: Hash(blake2_256(&header)) };
        let events = (0u32..).zip(events).map(|(index, (name, fields))| ChainEvent {
            index,
            extrinsic: (name == "ScoresRevealed").then_some(REVEALS),
            pallet: name.split_once('.').map_or("Iota", |(pallet, _)| pallet).into(),
            name: name.split_once('.').map_or(name, |(_, name)| name).into(),
            fields,
        });
        let content = Content {
            timestamp_ms: if number == 0 { 0 } else { START_MS + u64::from(number) * 1_000 },
            events: events.collect(),
            salts: Vec::new(),
        };
        let content = with_salts(content);
        let votes = votes::are_kept(number).then(|| votes::justification(head, votes::set_at(number)));
        let block = Block { head, parent, state_root: Hash(root), header, content: Some(content) };
        self.blocks.push(Built { block, state: state.clone(), nodes, votes });
    }

    fn gone(what: &str) -> ChainError {
        ChainError::Request { what: what.into(), reason: "State already discarded".into() }
    }

    /// One read: it may fail on purpose.
    fn read(&self, at: Head) -> Read<&Built> {
        let left = self.fails_after.load(Ordering::SeqCst);
        if left != u32::MAX {
            self.fails_after.store(left.saturating_sub(1), Ordering::SeqCst);
        }
        if left == 0 {
            return Err(ChainError::Request { what: "a read".into(), reason: "connection reset".into() });
        }
        if at.number < self.kept_from {
            return Err(Self::gone("a read"));
        }
        self.blocks.get(at.number as usize).ok_or_else(|| Self::gone("a block that is not there"))
    }
}

/// What a validator salts its commit with.
fn salt(epoch: Epoch, uid: Uid) -> Hash {
    hash_of(&("salt", epoch, uid))
}

/// One extrinsic reveals everybody's scores, and in vain those of the first validator with another salt.
const REVEALS: u32 = 1;

fn with_salts(mut content: Content) -> Content {
    for event in content.events.iter().filter(|event| event.name == "ScoresRevealed") {
        let number = |name| crate::look::number(&event.fields, name).unwrap();
        let (epoch, author) = (Epoch(number("epoch")), Uid(u16::try_from(number("uid")).unwrap()));
        let of = |extrinsic, salt| ScoreSalt { extrinsic, run: RUN, epoch, author, salt };
        if author == Uid(MINERS) {
            content.salts.push(of(REVEALS, hash_of(&"in vain")));
        }
        content.salts.push(of(REVEALS, salt(epoch, author)));
        content.salts.push(of(REVEALS + 1, hash_of(&"failed by itself")));
    }
    content
}

fn funds(state: &State) -> Funds {
    let claimable = state.owed / 3;
    let records = Some(Owed { claimable, vesting: state.owed - claimable });
    let (balances, owed) = (Some(state.issuance), state.owed);
    Funds { accounts: 12, balances, pot: state.owed + 1_000, owed, records, waiting: 900 }
}

/// The sums and claims that proofs show, as the chain stores them.
fn sums(number: u32, state: &State) -> Vec<(Vec<u8>, Vec<u8>)> {
    let funds = funds(state);
    let mut entries = vec![
        (item_key("Balances", "TotalIssuance"), state.issuance.encode()),
        (item_key("Iota", "TotalOwed"), funds.owed.encode()),
        (item_key("Iota", "TotalHeld"), funds.waiting.encode()),
        // Nonce and counts, free, reserved, frozen, flags.
        (account_key("System", "Account", &POT), ([0u32; 4], funds.pot, 0u128, 0u128, 0u128).encode()),
    ];
    let owners: BTreeSet<AccountKey> = state.members.iter().map(|member| member.coldkey).collect();
    let owed = u128::from(number).encode();
    entries.extend(owners.iter().map(|own| (account_key("Iota", "Rewards", own), owed.clone())));
    entries
}

fn register(state: &mut State, number: u32, events: &mut Vec<(&'static str, Json)>) {
    let uid = u16::try_from(number - 1).unwrap();
    let role = if uid < MINERS { Role::Miner } else { Role::Validator };
    let address = if uid == 1 { SCRIPT.to_owned() } else { format!("/ip4/127.0.0.1/tcp/{}", 4_000 + uid) };
    let addresses = vec![address.into_bytes().try_into().unwrap()];
    let member = MemberView {
        uid: Uid(uid),
        incarnation: Incarnation(uid.into()),
        hotkey: AccountKey(blake2_256(&("hot", uid).encode())),
        // The first two miners belong to one owner.
        coldkey: AccountKey(blake2_256(&("cold", uid.max(1)).encode())),
        role,
        stage: None,
        endpoint: Some(Endpoint { peer: [uid as u8; 32], addresses: addresses.try_into().unwrap() }),
        weight: 1_000_000,
        bond: if role == Role::Validator { u128::from(14 - uid) * 200 * UNIT } else { 0 },
        registered_at: number,
    };
    burn(state, &member.coldkey, events);
    events.push(("Registered", json!({
        "run": "0", "uid": uid.to_string(), "incarnation": uid.to_string(), "hotkey": member.hotkey.to_string(),
        "coldkey": member.coldkey.to_string(), "role": format!("{role:?}"), "price": UNIT.to_string(),
    })));
    if uid == GENEROUS {
        burn(state, &member.coldkey, events);
    }
    state.members.push(member);
}

/// Both validators find the guilty miner guilty, somebody proves that it signed twice, and the first
/// validator opens two transcripts.
fn rule(events: &mut Vec<(&'static str, Json)>) {
    let of = |more: Json| {
        let mut fields = json!({ "run": "0", "epoch": JUDGED.to_string() });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    };
    for voter in MINERS..MEMBERS {
        let vote = json!({
            "uid": GUILTY.to_string(), "segment": SEGMENT.to_string(), "voter": voter.to_string(), "guilty": true,
        });
        events.push(("Voted", of(vote)));
    }
    let uid = GUILTY.to_string();
    events.push(("Equivocated", of(json!({ "uid": uid, "incarnation": uid }))));
    let transcripts = json!([hash_of(&"first").to_string(), hash_of(&"second").to_string()]);
    events.push(("TranscriptsOpened", of(json!({ "uid": MINERS.to_string(), "transcripts": transcripts }))));
}

/// Destroys one token of an account.
fn burn(state: &mut State, who: &AccountKey, events: &mut Vec<(&'static str, Json)>) {
    state.issuance -= UNIT;
    events.push(("Balances.Burned", json!({ "who": who.to_string(), "amount": UNIT.to_string() })));
}

/// One window of the merge of a stage. In epoch 1 the owners of a shard of stage 1 differ.
fn merge_step(
    state: &mut State,
    epoch: Epoch,
    stage: Stage,
    phase: Phase,
    events: &mut Vec<(&'static str, Json)>,
) {
    let uids: Vec<Uid> = (stage.0 * 3..stage.0 * 3 + 3).map(Uid).collect();
    let merge = state.merges.entry((epoch, stage)).or_default();
    let root = hash_of(&("root", epoch, stage));
    let shard = |index: u16| hash_of(&("shard", epoch, stage, index));
    match phase {
        Phase::Commit => {
            for uid in &uids {
                let work = WorkCommit {
                    entry_root: root,
                    log_root: root,
                    receipts_root: root,
                    samples: 40,
                    started: if stage.0 == 0 { 40 } else { 0 },
                };
                events.push(("WorkCommitted", json!({ "run": "0", "epoch": epoch.to_string(), "stage": stage.to_string(), "uid": uid.to_string(), "incarnation": uid.to_string() })));
                merge.commits.push(CommitView {
                    uid: *uid,
                    incarnation: Incarnation(uid.0.into()),
                    work,
                    attested: None,
                    blind: None,
                    opened: false,
                    root: None,
                });
            }
        }
        Phase::Attest => {
            merge.commits.iter_mut().for_each(|commit| commit.attested = Some(Bitmap(0b111)));
            merge.entry_set = Some(Bitmap(0b111));
        }
        Phase::Blind => merge.commits.iter_mut().for_each(|commit| commit.blind = Some(shard(9))),
        Phase::Open => {
            merge.commits.iter_mut().for_each(|commit| commit.opened = true);
            let odd = match (epoch.0, stage.0) {
                (1, 1) => ShardStatus::Differs(shard(2), shard(3)),
                (2, 0) => ShardStatus::Single(shard(2)),
                _ => ShardStatus::Agreed(shard(2)),
            };
            merge.shards = vec![ShardStatus::Agreed(shard(0)), ShardStatus::Agreed(shard(1)), odd];
        }
        _ => {
            merge.commits.iter_mut().for_each(|commit| commit.root = Some(root));
            merge.canonical_root = Some(root);
        }
    }
}

fn judged() -> CourtView {
    let (guilty, silent) = (GUILTY, Uid(5));
    let accusation = AccusationView {
        uid: guilty,
        incarnation: Incarnation(4),
        segment: SEGMENT,
        accuser: Uid(6),
        accuser_incarnation: Incarnation(6),
        evidence: Hash([9; 32]),
        deposit: 10 * UNIT,
        votes: vec![(Uid(6), true), (Uid(7), true)],
        verdict: Some(true),
    };
    let of_shard = AccusationView {
        segment: Accused::Shard(3).number(),
        votes: vec![(Uid(6), true)],
        verdict: None,
        ..accusation.clone()
    };
    let request = RequestView {
        uid: silent,
        incarnation: Incarnation(5),
        again: true,
        wanted: Hash([8; 32]),
        askers: vec![Uid(6), Uid(7)],
        quorum: true,
        answer: None,
    };
    let held =
        Payout { uid: silent, incarnation: Incarnation(5), coldkey: AccountKey([5; 32]), amount: 7 * UNIT };
    CourtView {
        accusations: vec![accusation, of_shard],
        gated: vec![(guilty, Incarnation(4))],
        requests: vec![request],
        held: vec![held],
        audits: Vec::new(),
    }
}

/// What both validators find: miner 4 does harm in epoch 1.
pub fn validator_report(epoch: Epoch, uid: Uid) -> Report {
    let stages = stages();
    let observations = (0..SAMPLES).map(|sample| {
        let first = Uid(u16::try_from(sample % 3).unwrap());
        let second = Uid(3 + u16::try_from(sample / 3 % 3).unwrap());
        let harm = if epoch == Epoch(1) && second == Uid(4) { 700_000 } else { 0 };
        let base = 2_900_000 - 450_000 * epoch.0.min(3) - sample * 1_500;
        ObservationLine {
            sample: Sample(sample),
            preference: vec![first, second],
            reporter: Uid(3 + u16::try_from(sample % 3).unwrap()),
            loss_micro: base + harm + (sample * 7_919) % 90_000,
            difficulty_bits: f64::from(sample % 7).to_bits(),
            time_bin: u16::try_from(sample / 12).unwrap(),
        }
    });
    let mut report = Report {
        version: REPORT_VERSION,
        run: RUN,
        epoch,
        miners: Vec::new(),
        absent: Vec::new(),
        control: None,
        skips: Vec::new(),
        observations: observations.collect(),
        audits: vec![AuditLine {
            uid: Uid(epoch.0 as u16),
            from_version: 3,
            verdict: Verdict::Sound,
            events: 12,
        }],
        secret: hash_of(&("opened", epoch, uid)),
        next_secret: hash_of(&("secret", epoch, uid)),
        heldout_micro: Some(3_100_000 - 400_000 * epoch.0),
    };
    let effects = report.effects(&stages);
    let seen: Vec<Observation> = report.observations.iter().map(Into::into).collect();
    let means = mean_z(&stages, &seen);
    let line = |effect: &MinerEffect| {
        let z = means.iter().find(|mean| mean.uid == effect.uid).map_or(0.0, |mean| mean.z);
        MinerLine::new(Incarnation(effect.uid.0.into()), 40, 40, effect, z)
    };
    report.miners = effects.iter().map(line).collect();
    report
}

pub fn stages() -> Vec<Vec<Uid>> {
    vec![(0..3).map(Uid).collect(), (3..6).map(Uid).collect()]
}

impl Source for World {
    fn genesis(&self) -> Hash {
        self.blocks[0].block.head.hash
    }

    async fn block(&self, number: u32) -> Read<Block> {
        let at = Head { number: number.max(self.kept_from), hash: Hash::ZERO };
        self.read(at)?;
        let mut block = self.blocks[number as usize].block.clone();
        if number < self.kept_from {
            block.content = None;
        }
        Ok(block)
    }

    async fn run(&self, at: Head, run: RunId) -> Read<Option<RunParams>> {
        self.read(at)?;
        Ok((run == RUN).then(|| self.params.clone()))
    }

    async fn clock(&self, at: Head, run: RunId) -> Read<Option<ClockView>> {
        Ok((run == RUN).then_some(self.read(at)?.state.clock.clone()))
    }

    async fn members(&self, at: Head, _: RunId) -> Read<Vec<MemberView>> {
        Ok(self.read(at)?.state.members.clone())
    }

    async fn merge(&self, at: Head, _: RunId, epoch: Epoch, stage: Stage) -> Read<Option<MergeView>> {
        Ok(self.read(at)?.state.merges.get(&(epoch, stage)).cloned())
    }

    async fn snapshot(&self, at: Head, _: RunId, epoch: Epoch) -> Read<Option<SnapshotView>> {
        Ok(self.read(at)?.state.snapshots.get(&epoch).cloned())
    }

    async fn scores(&self, at: Head, _: RunId, epoch: Epoch) -> Read<Vec<ScoreView>> {
        Ok(self.read(at)?.state.scores.get(&epoch).cloned().unwrap_or_default())
    }

    async fn report(&self, at: Head, _: RunId, epoch: Epoch) -> Read<Option<EpochReportView>> {
        Ok(self.read(at)?.state.reports.get(&epoch).cloned())
    }

    /// In epoch 1 miner 4 is accused and found guilty; miner 5 is asked for evidence twice and loses its pay.
    async fn court(&self, at: Head, _: RunId, epoch: Epoch) -> Read<CourtView> {
        let clock = &self.read(at)?.state.clock;
        Ok(if epoch == JUDGED && clock.epoch == JUDGED.next() { judged() } else { CourtView::default() })
    }

    /// Everybody who was paid has as much to come in each of the next two epochs.
    async fn vestings(&self, at: Head, _: RunId) -> Read<Vec<Vesting>> {
        let state = &self.read(at)?.state;
        let now = state.clock.epoch;
        let of = |payout: &Payout| Vesting {
            incarnation: payout.incarnation,
            coldkey: payout.coldkey,
            parts: vec![(now, 2 * UNIT), (now.next(), 3 * UNIT)],
            entry: UNIT,
            entry_until: Some(Epoch(9)),
        };
        Ok(state
            .reports
            .values()
            .next_back()
            .into_iter()
            .flat_map(|report| &report.payouts)
            .map(of)
            .collect())
    }

    async fn accounts(&self, at: Head, accounts: &[AccountKey]) -> Read<Vec<AccountFunds>> {
        let number = u128::from(self.read(at)?.block.head.number);
        let of = |own: &AccountKey| AccountFunds {
            account: *own,
            free: 10 * UNIT + number,
            held: 3 * UNIT,
            claimable: number,
        };
        Ok(accounts.iter().map(of).collect())
    }

    async fn issuance(&self, at: Head) -> Read<u128> {
        Ok(self.read(at)?.state.issuance)
    }

    async fn funds(&self, at: Head) -> Read<Funds> {
        let state = &self.read(at)?.state;
        Ok(funds(state))
    }

    async fn justification(&self, at: Head) -> Read<Option<Vec<u8>>> {
        Ok(self.read(at)?.votes.clone())
    }

    async fn proof(&self, at: Head, _: Vec<Vec<u8>>) -> Read<Vec<Vec<u8>>> {
        Ok(self.read(at)?.nodes.clone())
    }
}
