//! A run at its largest, written straight into storage, for benchmarks to start from.
//!
//! Uid and incarnation of a member are its index: miners first, validators after them. Each has a coldkey
//! of its own, so that nothing that is read or written is shared.

use alloc::vec::Vec;
use iota_protocol::{
    consensus::bonds::{Bond, BOND_ONE},
    emission::{EmissionSplit, Terms},
    ids::{Epoch, Hash, Incarnation, RunId, Stage, Uid},
    params::PPM,
    phase::{Phase, Schedule},
    seat::Standing,
    vesting::Tranches,
    work::{
        scores_hash, Bitmap, Endpoint, Role, ScoreEntry, ScoreReveal, ShardStatus, Transcript, Transcripts,
        WorkCommit, MAX_ADDRESSES, MAX_ADDRESS_LEN,
    },
};
use polkadot_sdk::{
    frame_benchmarking::account as named,
    frame_support::{
        traits::{
            fungible::{Mutate, MutateHold},
            Get,
        },
        BoundedVec,
    },
    frame_system,
    sp_core::{crypto::KeyTypeId, sr25519},
    sp_io,
    sp_runtime::{traits::SaturatedConversion, AccountId32},
};

use crate::{
    pallet::*,
    rollback::Checkpoint,
    signers::Signer,
    transcripts::AuditWork,
    types::{
        key, Clock, Commit, Member, Merge, MinerRecord, Report, Row, Score, Snapshot, State, Support,
        ValidatorRecord, Vesting,
    },
};

pub use super::shape::params;

/// The current epoch: further on than any history reaches, so that something is pruned.
pub const EPOCH: Epoch = Epoch(100);
/// The epoch that is scored in it.
pub const SCORED: Epoch = Epoch(99);
/// The block in which it began.
const START: u32 = 1_000_000;
/// Miners of a full run, beside as many validators as score.
pub const MINERS: u32 = 192;
/// Validators of a full run.
pub const VALIDATORS: u32 = 64;
/// What every coldkey has; a multiple of all deposits and bonds of all runtimes.
const FUNDS: u128 = 1 << 60;
const KEYS: KeyTypeId = KeyTypeId(*b"wght");

pub fn coldkey(index: u32) -> AccountId32 {
    named("coldkey", index, 0)
}

pub fn hotkey(index: u32) -> AccountId32 {
    named("hotkey", index, 0)
}

/// A funded coldkey.
pub fn rich<T: Config>(index: u32) -> AccountId32 {
    let owner = coldkey(index);
    T::Currency::mint_into(&owner, FUNDS).expect("an account can take its funds");
    owner
}

/// A hotkey that can sign.
pub fn signer(name: &[u8]) -> sr25519::Public {
    sp_io::crypto::sr25519_generate(KEYS, Some(name.to_vec()))
}

pub fn sign(by: &sr25519::Public, payload: &Hash) -> [u8; 64] {
    sp_io::crypto::sr25519_sign(KEYS, by, &payload.0).expect("the key was just made").0
}

/// As many runs as may be, the last of them with so many stages.
pub fn run<T: Config>(stages: u32) -> RunId {
    ActiveRuns::<T>::kill();
    for _ in 1..T::MaxRuns::get() {
        let other = Pallet::<T>::do_create_own_run(params(stages)).expect("there is room");
        Controls::<T>::mutate(other, |control| control.share_ppm = 0);
    }
    let run = Pallet::<T>::do_create_own_run(params(stages)).expect("there is room");
    Controls::<T>::mutate(run, |control| control.share_ppm = PPM);
    run
}

/// Puts a run into the first block of a window of [`EPOCH`], which is now.
pub fn at<T: Config>(run: RunId, phase: Phase) -> Schedule {
    let params = Runs::<T>::get(run).expect("it was made");
    let clock = Clock {
        state: State::Running,
        epoch: EPOCH,
        start: START,
        seed: Some(Hash([8; 32])),
        stage0: MINERS,
        ..Clock::waiting()
    };
    let schedule = clock.schedule(&params);
    Clocks::<T>::insert(run, clock);
    block::<T>(schedule.window(phase).start);
    schedule
}

pub fn block<T: Config>(number: u32) {
    frame_system::Pallet::<T>::set_block_number(number.saturated_into());
}

pub fn block_of_reveals<T: Config>(run: RunId) {
    let schedule = at::<T>(run, Phase::Train);
    block::<T>(schedule.score_reveal().start);
}

pub fn ids(index: u32) -> (Uid, Incarnation) {
    (Uid(index as u16), Incarnation(index))
}

/// A member that has everything that a member may have, but for its stage.
pub fn member(index: u32, role: Role) -> Member {
    Member {
        incarnation: Incarnation(index),
        hotkey: key(&hotkey(index)),
        coldkey: key(&coldkey(index)),
        role,
        stage: None,
        since: None,
        weight: 1_000,
        bond: 0,
        registered_at: 1,
        served_in: Some(EPOCH),
        reachable_since: 1,
        missed: 1,
        leaving: false,
        standing: Some(Standing { average: 1_000, epoch: SCORED }),
        missed_reveals: 1,
        swapped_at: None,
    }
}

pub fn seat<T: Config>(run: RunId, index: u32, member: Member) {
    let owner = rich::<T>(index);
    let (uid, incarnation) = ids(index);
    if member.bond > 0 {
        T::Currency::hold(&HoldReason::Bond.into(), &owner, member.bond).expect("it is rich");
    }
    frame_system::Pallet::<T>::inc_providers(&hotkey(index));
    UidOf::<T>::insert(run, hotkey(index), uid);
    Endpoints::<T>::insert(run, uid, endpoint(MAX_ADDRESSES));
    Rewards::<T>::insert(&owner, 1_000);
    if member.role == Role::Miner {
        Vestings::<T>::insert(run, incarnation, vesting::<T>(&owner));
    }
    Members::<T>::insert(run, uid, member);
}

/// Pay of the last epochs, and the hold of a newcomer, which is not on hold.
fn vesting<T: Config>(owner: &AccountId32) -> Vesting {
    let mut tranches = Tranches::default();
    let over = T::VestEpochs::get();
    for ago in (1..=over).rev() {
        let _ = tranches.pay(Epoch(EPOCH.0 - ago), 1_000_000, over);
    }
    Vesting { tranches, entry_until: Some(Epoch(EPOCH.0 + over)), ..Vesting::new(key(owner)) }
}

/// Miners dealt over the first `stages` stages, and validators with a bond.
pub fn members<T: Config>(run: RunId, miners: u32, stages: u32, validators: u32) {
    for index in 0..miners {
        let stage = Some(Stage((index % stages) as u16));
        seat::<T>(run, index, Member { stage, since: Some(Epoch(0)), ..member(index, Role::Miner) });
    }
    let bond = 2 * T::MinValidatorBond::get() + T::AccusationDeposit::get();
    for index in miners..miners + validators {
        seat::<T>(run, index, Member { bond, ..member(index, Role::Validator) });
    }
    NextUid::<T>::insert(run, (miners + validators) as u16);
    NextIncarnation::<T>::insert(run, Incarnation(miners + validators));
}

/// A full run in a window of [`EPOCH`]: 64 stages, its miners in the first three.
pub fn full<T: Config>(phase: Phase) -> RunId {
    let run = run::<T>(64);
    members::<T>(run, MINERS, 3, VALIDATORS);
    at::<T>(run, phase);
    run
}

pub fn endpoint(addresses: u32) -> Endpoint {
    let address: BoundedVec<u8, _> = BoundedVec::truncate_from(alloc::vec![7; MAX_ADDRESS_LEN as usize]);
    let addresses = (0..addresses).map(|_| address.clone()).collect::<Vec<_>>();
    Endpoint { peer: [1; 32], addresses: BoundedVec::truncate_from(addresses) }
}

pub fn work(started: u32) -> WorkCommit {
    let root = Hash([2; 32]);
    WorkCommit { entry_root: root, log_root: root, receipts_root: root, samples: started, started }
}

fn commit(index: u32) -> Commit {
    let (uid, incarnation) = ids(index);
    Commit {
        uid,
        incarnation,
        coldkey: key(&coldkey(index)),
        work: work(9),
        attested: None,
        blind: None,
        opened: false,
        root: None,
    }
}

/// Commits of all miners that `miners` deals to a stage, with everything that follows a commit.
pub fn merge<T: Config>(run: RunId, epoch: Epoch, stage: u32, stages: u32, miners: u32) -> Merge {
    let whole = |index| Commit {
        attested: Some(Bitmap(u64::MAX)),
        blind: Some(Hash([3; 32])),
        opened: true,
        root: Some(Hash([4; 32])),
        ..commit(index)
    };
    let commits: Vec<_> = (0..miners).filter(|index| index % stages == stage).map(whole).collect();
    let merge = Merge { commits: BoundedVec::truncate_from(commits), ..Merge::default() };
    Merges::<T>::insert((run, epoch, Stage(stage as u16)), &merge);
    merge
}

/// The merge of stage 0 with `n` commits, of which the first miner's is changed.
pub fn merge_of<T: Config>(run: RunId, n: u32, change: impl FnOnce(&mut Commit)) {
    let mut merge = merge::<T>(run, EPOCH, 0, 3, 3 * n);
    if let Some(first) = merge.commits.get_mut(0) {
        change(first);
    }
    Merges::<T>::insert((run, EPOCH, Stage(0)), merge);
}

pub fn snapshot<T: Config>(run: RunId, epoch: Epoch, miners: u32, stages: u32, validators: u32) {
    let miner = |index: u32| MinerRecord {
        uid: Uid(index as u16),
        incarnation: Incarnation(index),
        stage: Stage((index % stages) as u16),
        coldkey: key(&coldkey(index)),
        samples: 9,
    };
    let validator = |index: u32| ValidatorRecord {
        uid: Uid(index as u16),
        incarnation: Incarnation(index),
        hotkey: key(&hotkey(index)),
        coldkey: key(&coldkey(index)),
        // Not all the same, so that medians have to be searched.
        stake: T::MinValidatorBond::get() + u128::from(index),
    };
    let snapshot = Snapshot {
        miners: BoundedVec::truncate_from((0..miners).map(miner).collect()),
        validators: BoundedVec::truncate_from((miners..miners + validators).map(validator).collect()),
    };
    Snapshots::<T>::insert((run, epoch), snapshot);
}

/// What validator `index` reveals about the first miners; no two rows are the same.
pub fn reveal(index: u32, miners: u32) -> ScoreReveal {
    let entry = |miner: u32| ScoreEntry {
        uid: Uid(miner as u16),
        incarnation: Incarnation(miner),
        score: (40_000 + (miner * 37 + index * 101) % 20_000) as u16,
    };
    let entries = BoundedVec::truncate_from((0..miners).map(entry).collect());
    ScoreReveal { entries, salt: [5; 32], report_root: Hash([6; 32]) }
}

/// The commit of validator `index` to that row, opened or not.
pub fn score<T: Config>(run: RunId, epoch: Epoch, index: u32, miners: u32, opened: bool) {
    let reveal = reveal(index, miners);
    let (uid, incarnation) = ids(index);
    let author = key(&hotkey(index));
    let commit = scores_hash(&Pallet::<T>::genesis_hash(), run, &author, incarnation, epoch, &reveal);
    let row = opened.then_some(Row { entries: reveal.entries, report_root: reveal.report_root });
    Scores::<T>::insert((run, epoch), uid, Score { incarnation, commit, row });
}

pub fn transcripts(count: u32) -> Transcripts {
    let one = |index: u32| Transcript {
        uid: Uid(index as u16),
        incarnation: Incarnation(index),
        segment: 1,
        root: Hash([7; 32]),
        agrees: true,
    };
    BoundedVec::truncate_from((0..count).map(one).collect())
}

/// Rows, transcripts and bonds of validators over `miners`.
pub fn scored<T: Config>(run: RunId, epoch: Epoch, miners: u32, validators: u32) {
    for index in miners..miners + validators {
        let (uid, incarnation) = ids(index);
        score::<T>(run, epoch, index, miners, true);
        let work = AuditWork { incarnation, commit: Hash([8; 32]), opened: Some(transcripts(2)) };
        AuditWorks::<T>::insert((run, epoch), uid, work);
        let bond = |miner: u32| Bond {
            uid: Uid(miner as u16),
            incarnation: Incarnation(miner),
            part: BOND_ONE / validators,
        };
        let bonds = BoundedVec::truncate_from((0..miners).map(bond).collect());
        Supports::<T>::insert(run, uid, Support { incarnation, bonds });
    }
}

/// A report; `void` ones wait for the next epoch's rows.
pub fn report<T: Config>(run: RunId, epoch: Epoch, void: bool) {
    let report = Report {
        block: 1,
        void,
        terms: Terms {
            minted_before: 0,
            share_ppm: PPM,
            scored_by: epoch,
            gated: BoundedVec::default(),
            transcripts: BoundedVec::default(),
        },
        split: EmissionSplit::default(),
        payouts_root: Hash::ZERO,
        bonds_root: Hash::ZERO,
    };
    Reports::<T>::insert((run, epoch), report);
    Payouts::<T>::insert((run, epoch), BoundedVec::default());
}

/// A run in the block of its `Close`: everything that an ordinary one reads, writes and prunes.
pub fn closing<T: Config>(miners: u32, stages: u32, validators: u32) -> (RunId, u32) {
    let run = run::<T>(stages);
    ActiveRuns::<T>::put(BoundedVec::truncate_from(alloc::vec![run]));
    members::<T>(run, miners, stages, validators);
    let close = at::<T>(run, Phase::Close).close();
    snapshot::<T>(run, SCORED, miners, stages, validators);
    scored::<T>(run, SCORED, miners, validators);
    let forgotten = Epoch(EPOCH.0 - T::HistoryDepth::get());
    snapshot::<T>(run, forgotten, miners, stages, validators);
    scored::<T>(run, forgotten, miners, validators);
    Seeds::<T>::insert((run, forgotten), Hash::ZERO);
    for stage in 0..stages {
        merge::<T>(run, EPOCH, stage, stages, miners);
        merge::<T>(run, forgotten, stage, stages, miners);
        shards::<T>(run, forgotten, stage, miners / stages);
    }
    report::<T>(run, Epoch(EPOCH.0 - T::EpochHistory::get()), false);
    (run, close)
}

/// The state of so many stages after an epoch.
pub fn checkpoint<T: Config>(run: RunId, epoch: Epoch, stages: u32) {
    let roots = alloc::vec![Hash([4; 32]); stages as usize];
    let checkpoint = Checkpoint { tokens: 1_000, roots: BoundedVec::truncate_from(roots) };
    Checkpoints::<T>::insert((run, epoch), checkpoint);
}

/// Keys that members of these uids gave up after an epoch.
pub fn former<T: Config>(run: RunId, epoch: Epoch, uids: core::ops::Range<u32>) {
    let signer = |index: u32| Signer {
        uid: Uid(index as u16),
        incarnation: Incarnation(index),
        hotkey: key(&hotkey(index)),
    };
    FormerSigners::<T>::insert((run, epoch), BoundedVec::truncate_from(uids.map(signer).collect()));
}

/// Statuses of the shards of `n` committers, each opened by one owner.
pub fn shards<T: Config>(run: RunId, epoch: Epoch, stage: u32, n: u32) {
    let pairs = (n * n.saturating_sub(1) / 2) as usize;
    let statuses = alloc::vec![ShardStatus::Single(Hash([9; 32])); pairs];
    Shards::<T>::insert((run, epoch, Stage(stage as u16)), BoundedVec::truncate_from(statuses));
}
