//! What the pallet stores: bounded records, each with the conversion to the view that workers read.

use alloc::vec::Vec;
use codec::{Decode, Encode, MaxEncodedLen};
use iota_protocol::{
    consensus::bonds::Bond,
    emission::{EmissionSplit, Terms},
    ids::{AccountKey, Epoch, Hash, Incarnation, RunId, Stage, Uid},
    params::{RunParams, MAX_GROUP, MAX_MEMBERS},
    phase::Schedule,
    seat::Standing,
    vesting::Tranches,
    view::{
        ClockView, CommitView, EpochReportView, MemberView, MergeView, Payout, RunState, ScoreView,
        SnapshotEntry, SnapshotValidator, SnapshotView, VestingView,
    },
    work::{Bitmap, Endpoint, Role, ScoreEntry, ShardStatus, WorkCommit},
};
use polkadot_sdk::{
    frame_support::{traits::ConstU32, BoundedVec},
    sp_runtime::AccountId32,
};
use scale_info::TypeInfo;

/// Most validators permitted in one epoch: 64 rows of 256 scores are 16,384 cells, which consensus
/// solves within one block.
pub const MAX_VALIDATORS: u32 = 64;
/// Most shards of one merge: one for each unordered pair of `MAX_GROUP` committers.
pub const MAX_SHARDS: u32 = MAX_GROUP * (MAX_GROUP - 1) / 2;
/// Most payments of one epoch: each member at most once as it stood in the snapshot.
pub const MAX_PAYOUTS: u32 = MAX_MEMBERS + MAX_VALIDATORS;

/// One status for each shard of a stage's merge.
pub type Shards = BoundedVec<ShardStatus, ConstU32<MAX_SHARDS>>;
/// The payments of one epoch in uid order.
pub type Payouts = BoundedVec<Payment, ConstU32<MAX_PAYOUTS>>;

/// The account of a protocol key.
#[must_use]
pub fn account(key: &AccountKey) -> AccountId32 {
    AccountId32::new(key.0)
}

/// The protocol key of an account.
#[must_use]
pub fn key(account: &AccountId32) -> AccountKey {
    AccountKey(*account.as_ref())
}

/// Where a run stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub enum State {
    /// Waits for enough miners; epoch 0 has not started.
    Waiting,
    /// Epochs follow each other.
    Running,
    /// The settling epoch has closed.
    Ended,
    /// Between two epochs, until somebody resumes it.
    Paused,
}

/// The clock of a run.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Clock {
    /// Where the run stands.
    pub state: State,
    /// The current epoch.
    pub epoch: Epoch,
    /// Block at which it started.
    pub start: u32,
    /// Extensions of its `Train`.
    pub extensions: u8,
    /// Decides its pathways.
    pub train_seed: Hash,
    /// Its own seed, once the block that gives it is known.
    pub seed: Option<Hash>,
    /// Its first sample position.
    pub data_base: u64,
    /// Stage-0 miners assigned when it started: the stride of data positions.
    pub stage0: u32,
    /// Training tokens recorded by the end of the epoch before.
    pub tokens: u64,
    /// Minted by this run so far, smallest units.
    pub minted: u128,
}

impl Clock {
    /// The clock of a run that has not started.
    #[must_use]
    pub fn waiting() -> Self {
        Self {
            state: State::Waiting,
            epoch: Epoch(0),
            start: 0,
            extensions: 0,
            train_seed: Hash::ZERO,
            seed: None,
            data_base: 0,
            stage0: 0,
            tokens: 0,
            minted: 0,
        }
    }

    /// The schedule of the current epoch.
    #[must_use]
    pub fn schedule(&self, params: &RunParams) -> Schedule {
        Schedule::new(&params.phases, params.is_settling(self.epoch), self.start, self.extensions)
    }

    pub(crate) fn view(&self, run: RunId) -> ClockView {
        ClockView {
            run,
            state: match self.state {
                State::Waiting => RunState::Waiting,
                State::Running => RunState::Running,
                State::Ended => RunState::Ended,
                State::Paused => RunState::Paused,
            },
            epoch: self.epoch,
            start: self.start,
            extensions: self.extensions,
            train_seed: self.train_seed,
            seed: self.seed,
            data_base: self.data_base,
            tokens: self.tokens,
        }
    }
}

/// A registered member of a run.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Member {
    /// Registration count of its uid's present holder.
    pub incarnation: Incarnation,
    /// Signs work.
    pub hotkey: AccountKey,
    /// Owns and receives.
    pub coldkey: AccountKey,
    /// Miner or validator.
    pub role: Role,
    /// The stage that a miner holds.
    pub stage: Option<Stage>,
    /// The epoch in which it first held a stage.
    pub since: Option<Epoch>,
    /// Its part of its stage's pay, moving slowly; `DEFAULT_WEIGHT` is the mean. 0 until its first
    /// assignment.
    pub weight: u32,
    /// Held on its coldkey, smallest units.
    pub bond: u128,
    /// Block in which it took its seat: that of its registration, unless the run was full.
    pub registered_at: u32,
    /// The epoch of its last `serve`; `None` while nobody can reach it.
    pub served_in: Option<Epoch>,
    /// Block from which it could be reached without a break; 0 before the first `serve`.
    pub reachable_since: u32,
    /// Epochs in a row in which it held a stage and did not commit.
    pub missed: u8,
    /// It asked to leave; it does so at the next `Close`.
    pub leaving: bool,
    /// What it was paid for an epoch, on average; `None` before its first pay.
    pub standing: Option<Standing>,
    /// Scored epochs in a row in which it was permitted and did not reveal.
    pub missed_reveals: u8,
    /// Block in which it last asked for another hotkey.
    pub swapped_at: Option<u32>,
}

impl Member {
    pub(crate) fn view(&self, uid: Uid, endpoint: Option<Endpoint>) -> MemberView {
        MemberView {
            uid,
            incarnation: self.incarnation,
            hotkey: self.hotkey,
            coldkey: self.coldkey,
            role: self.role,
            stage: self.stage,
            endpoint,
            weight: self.weight,
            bond: self.bond,
            registered_at: self.registered_at,
        }
    }
}

/// One miner's commit and what it did with it in the windows after.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Commit {
    /// Who committed.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Who is paid, also after it left.
    pub coldkey: AccountKey,
    /// What it committed.
    pub work: WorkCommit,
    /// Whose entries it attested to hold.
    pub attested: Option<Bitmap>,
    /// Its blinded hash.
    pub blind: Option<Hash>,
    /// Whether it opened its hashes.
    pub opened: bool,
    /// The root that it reported.
    pub root: Option<Hash>,
}

impl Commit {
    fn view(&self) -> CommitView {
        CommitView {
            uid: self.uid,
            incarnation: self.incarnation,
            work: self.work.clone(),
            attested: self.attested,
            blind: self.blind,
            opened: self.opened,
            root: self.root,
        }
    }
}

/// The merge of one stage in one epoch, but for its shards.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Merge {
    /// Commits in uid order; positions in bitmaps refer to this order.
    pub commits: BoundedVec<Commit, ConstU32<MAX_GROUP>>,
    /// The entries that are merged, fixed at the end of `Merge.attest`.
    pub entry_set: Option<Bitmap>,
    /// The root reported by more than half of the committers.
    pub canonical_root: Option<Hash>,
}

impl Merge {
    pub(crate) fn view(&self, shards: &Shards) -> MergeView {
        MergeView {
            commits: self.commits.iter().map(Commit::view).collect(),
            entry_set: self.entry_set,
            shards: shards.to_vec(),
            canonical_root: self.canonical_root,
        }
    }

    /// Position and commit of one member.
    pub(crate) fn find(&self, uid: Uid, incarnation: Incarnation) -> Option<(usize, &Commit)> {
        self.commits.iter().enumerate().find(|(_, c)| c.uid == uid && c.incarnation == incarnation)
    }
}

/// A miner as it stood when its epoch closed.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct MinerRecord {
    /// The miner.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its stage.
    pub stage: Stage,
    /// Who is paid.
    pub coldkey: AccountKey,
    /// Samples that it committed.
    pub samples: u32,
}

/// A permitted validator as it stood when the epoch closed.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct ValidatorRecord {
    /// The validator.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Signs scores.
    pub hotkey: AccountKey,
    /// Who is paid.
    pub coldkey: AccountKey,
    /// Its bond, which is its stake in consensus.
    pub stake: u128,
}

/// Everyone who may be paid for an epoch, in uid order.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Snapshot {
    /// Miners that committed.
    pub miners: BoundedVec<MinerRecord, ConstU32<MAX_MEMBERS>>,
    /// Validators with a permit.
    pub validators: BoundedVec<ValidatorRecord, ConstU32<MAX_VALIDATORS>>,
}

impl Snapshot {
    pub(crate) fn view(&self) -> SnapshotView {
        let miner = |m: &MinerRecord| SnapshotEntry {
            uid: m.uid,
            incarnation: m.incarnation,
            stage: m.stage,
            coldkey: m.coldkey,
            samples: m.samples,
        };
        let validator = |v: &ValidatorRecord| SnapshotValidator {
            uid: v.uid,
            incarnation: v.incarnation,
            hotkey: v.hotkey,
            coldkey: v.coldkey,
            stake: v.stake,
        };
        SnapshotView {
            miners: self.miners.iter().map(miner).collect(),
            validators: self.validators.iter().map(validator).collect(),
        }
    }
}

/// A row of scores that matched its commit.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Row {
    /// Strictly ascending by uid.
    pub entries: BoundedVec<ScoreEntry, ConstU32<MAX_MEMBERS>>,
    /// Root of the published report.
    pub report_root: Hash,
}

/// What a validator holds of the miners that it supported (`iota_protocol::consensus::bonds`).
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Support {
    /// The validator's incarnation.
    pub incarnation: Incarnation,
    /// Strictly ascending by uid.
    pub bonds: BoundedVec<Bond, ConstU32<MAX_MEMBERS>>,
}

/// A validator's commit and reveal for one epoch.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Score {
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its commit.
    pub commit: Hash,
    /// What it revealed.
    pub row: Option<Row>,
}

impl Score {
    pub(crate) fn view(&self, uid: Uid) -> ScoreView {
        ScoreView {
            uid,
            incarnation: self.incarnation,
            commit: self.commit,
            entries: self.row.as_ref().map(|row| row.entries.to_vec()),
            report_root: self.row.as_ref().map(|row| row.report_root),
        }
    }
}

/// A newcomer, and the seat that it takes.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Arrival {
    /// Its seat.
    pub uid: Uid,
    /// Its registration count.
    pub incarnation: Incarnation,
    /// Signs work.
    pub hotkey: AccountKey,
    /// Owns and receives.
    pub coldkey: AccountKey,
    /// Miner or validator.
    pub role: Role,
}

/// A change of a hotkey that waits for the next `Close`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Swap {
    /// The member.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its hotkey from the next epoch on.
    pub hotkey: AccountKey,
}

/// A change of a coldkey that was announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Handover {
    /// Who may take the member over.
    pub to: AccountKey,
    /// From this block on.
    pub ready_at: u32,
}

/// What was unbonded and is still on hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Unbonding {
    /// Smallest units.
    pub amount: u128,
    /// Block from which it can be withdrawn.
    pub free_at: u32,
}

/// What a member has to lose: pay that has not vested, and the hold that it started with.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Vesting {
    /// Who owns both: the member's coldkey.
    pub coldkey: AccountKey,
    /// Pay that lies in the pot.
    pub tranches: Tranches,
    /// On hold on the coldkey, smallest units.
    pub entry: u128,
    /// The epoch from which `entry` is free; `None` until the first pay or the leaving.
    pub entry_until: Option<Epoch>,
}

impl Vesting {
    /// Nothing to lose yet.
    #[must_use]
    pub fn new(coldkey: AccountKey) -> Self {
        Self { coldkey, tranches: Tranches::default(), entry: 0, entry_until: None }
    }

    pub(crate) fn view(&self, run: RunId, incarnation: Incarnation, now: Epoch) -> VestingView {
        let vested = self.tranches.vested(now);
        VestingView {
            run,
            incarnation,
            vested,
            unvested: self.tranches.total().saturating_sub(vested),
            entry: self.entry,
            entry_until: self.entry_until,
        }
    }
}

/// One payment of one epoch.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Payment {
    /// Who earned it.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Who may claim it.
    pub coldkey: AccountKey,
    /// Smallest units.
    pub amount: u128,
}

impl Payment {
    pub(crate) fn new(payout: &Payout) -> Self {
        Self {
            uid: payout.uid,
            incarnation: payout.incarnation,
            coldkey: payout.coldkey,
            amount: payout.amount,
        }
    }

    pub(crate) fn view(&self) -> Payout {
        Payout { uid: self.uid, incarnation: self.incarnation, coldkey: self.coldkey, amount: self.amount }
    }
}

/// What a stranger needs to re-derive an epoch's emission, but for the payout table.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Report {
    /// Block of the `Close` that paid it.
    pub block: u32,
    /// Too little stake revealed: nothing was minted.
    pub void: bool,
    /// What besides snapshot, rows and bonds decided it.
    pub terms: Terms,
    /// What was minted and where it went.
    pub split: EmissionSplit,
    /// Hash over the payout table.
    pub payouts_root: Hash,
    /// Hash over the run's bonds after it.
    pub bonds_root: Hash,
}

impl Report {
    pub(crate) fn view(&self, epoch: Epoch, payouts: &Payouts) -> EpochReportView {
        EpochReportView {
            epoch,
            block: self.block,
            void: self.void,
            terms: self.terms.clone(),
            split: self.split,
            payouts_root: self.payouts_root,
            bonds_root: self.bonds_root,
            payouts: payouts.iter().map(Payment::view).collect::<Vec<_>>(),
        }
    }
}
