//! What the chain answers to workers, explorer and tests through `IotaApi`, as SCALE types shared
//! by both sides.

use alloc::vec::Vec;
use codec::{Decode, Encode};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::emission::{EmissionSplit, Terms};
use crate::ids::{AccountKey, Epoch, Hash, Incarnation, RunId, Stage, Uid};
use crate::params::RunParams;
use crate::phase::Schedule;
use crate::work::{Bitmap, Endpoint, Role, ScoreEntry, ShardStatus, WorkCommit};

/// Version of the runtime API; workers refuse another.
pub const API_VERSION: u32 = 3;

/// Where a run stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub enum RunState {
    /// Waits for enough miners; epoch 0 has not started.
    Waiting,
    /// Epochs follow each other.
    Running,
    /// The settling epoch has closed.
    Ended,
    /// Between two epochs, until somebody resumes it.
    Paused,
}

/// The clock of a run at one block.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct ClockView {
    /// The run.
    pub run: RunId,
    /// Where it stands.
    pub state: RunState,
    /// The current epoch.
    pub epoch: Epoch,
    /// Block at which the current epoch started.
    pub start: u32,
    /// Extensions of `Train` in the current epoch.
    pub extensions: u8,
    /// Seed of the epoch before; decides the pathways of the current one.
    pub train_seed: Hash,
    /// Seed of the current epoch, once its block is known.
    pub seed: Option<Hash>,
    /// First sample position of the current epoch.
    pub data_base: u64,
    /// Training tokens recorded by the end of the epoch before.
    pub tokens: u64,
}

impl ClockView {
    /// The schedule of the current epoch.
    #[must_use]
    pub fn schedule(&self, params: &RunParams) -> Schedule {
        Schedule::new(&params.phases, params.is_settling(self.epoch), self.start, self.extensions)
    }
}

/// A registered member of a run.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo)]
pub struct MemberView {
    /// Index within the run.
    pub uid: Uid,
    /// Registration count.
    pub incarnation: Incarnation,
    /// Signs work.
    pub hotkey: AccountKey,
    /// Owns and receives.
    pub coldkey: AccountKey,
    /// Miner or validator.
    pub role: Role,
    /// The stage that a miner holds in the current epoch; `None` until its first assignment.
    pub stage: Option<Stage>,
    /// Where it can be reached, once it has called `serve`.
    pub endpoint: Option<Endpoint>,
    /// Its part of its stage's pay, moving slowly; decides how many samples prefer it.
    pub weight: u32,
    /// Bond of a validator in the smallest unit; 0 for miners.
    pub bond: u128,
    /// Block of registration.
    pub registered_at: u32,
}

/// One miner's commit in a stage's merge.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct CommitView {
    /// Who committed.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
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

/// The merge of one stage in one epoch.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct MergeView {
    /// Commits in uid order; positions in bitmaps refer to this order.
    pub commits: Vec<CommitView>,
    /// The entries that are merged, fixed at the end of `Merge.attest`.
    pub entry_set: Option<Bitmap>,
    /// One status for each shard, by shard index; empty before `Merge.open`.
    pub shards: Vec<ShardStatus>,
    /// The root reported by more than half of the committers, once there is one.
    pub canonical_root: Option<Hash>,
}

/// One shard of a merge and who owned it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct AgreementCell {
    /// The shard.
    pub shard: u16,
    /// One owner.
    pub low: Uid,
    /// The other; the same where a stage had one committer.
    pub high: Uid,
    /// What they opened.
    pub status: ShardStatus,
}

impl AgreementCell {
    /// Whether two owners contradict each other, or one stands alone: what has to be recomputed.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        matches!(self.status, ShardStatus::Single(_) | ShardStatus::Differs(..))
    }

    /// The hash that an owner opened, as far as the chain shows it. `opened` says who opened anything: where
    /// both owners did and one of them left this shard out, a lone hash may be either's and is nobody's.
    #[must_use]
    pub fn opened_by(&self, uid: Uid, opened: impl Fn(Uid) -> bool) -> Option<Hash> {
        if uid != self.low && uid != self.high {
            return None;
        }
        let other = if uid == self.low { self.high } else { self.low };
        match self.status {
            ShardStatus::Missing => None,
            ShardStatus::Agreed(hash) => Some(hash),
            ShardStatus::Differs(low, high) => Some(if uid == self.low { low } else { high }),
            ShardStatus::Single(hash) => {
                let alone = other == uid || !opened(other);
                (opened(uid) && alone).then_some(hash)
            }
        }
    }
}

/// Which pairs of a stage's committers agreed in one epoch: a cell for each unordered pair.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct AgreementView {
    /// Committers in uid order.
    pub members: Vec<(Uid, Incarnation)>,
    /// One cell for each shard, by shard index.
    pub cells: Vec<AgreementCell>,
}

/// A miner as it stood when its epoch closed; consensus and payout use only this.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct SnapshotEntry {
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
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct SnapshotValidator {
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

/// Everyone who may be paid for an epoch.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct SnapshotView {
    /// Miners in uid order.
    pub miners: Vec<SnapshotEntry>,
    /// Validators in uid order.
    pub validators: Vec<SnapshotValidator>,
}

/// A validator's commit and reveal for one epoch.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct ScoreView {
    /// The validator.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its commit.
    pub commit: Hash,
    /// The revealed row, strictly ascending by uid.
    pub entries: Option<Vec<ScoreEntry>>,
    /// Root of its report.
    pub report_root: Option<Hash>,
}

/// One payment of one epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct Payout {
    /// Who earned it.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Who may claim it.
    pub coldkey: AccountKey,
    /// Smallest units.
    pub amount: u128,
}

/// Pay of one member that has not been made claimable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct VestingView {
    /// The run in which it was earned.
    pub run: RunId,
    /// Who earned it.
    pub incarnation: Incarnation,
    /// Vested: `release` makes it claimable, as does the member's next pay. Smallest units.
    pub vested: u128,
    /// Not vested: lost if the member is found guilty. Smallest units.
    pub unvested: u128,
    /// On hold on the coldkey since the registration, smallest units.
    pub entry: u128,
    /// The epoch from which `entry` may be released; `None` until the first pay or the leaving.
    pub entry_until: Option<Epoch>,
}

/// What an account is owed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct OwedView {
    /// What `claim` pays now, smallest units.
    pub claimable: u128,
    /// What its members earned beside that, by run and incarnation.
    pub members: Vec<VestingView>,
}

/// What a stranger needs to re-derive an epoch's emission.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct EpochReportView {
    /// The epoch that was scored.
    pub epoch: Epoch,
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
    /// Hash over the run's bonds after it; bonds start empty, so that a replay from epoch 0 has them.
    pub bonds_root: Hash,
    /// Members who were paid.
    pub payouts: Vec<Payout>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cell(low: u16, high: u16, status: ShardStatus) -> AgreementCell {
        AgreementCell { shard: 0, low: Uid(low), high: Uid(high), status }
    }

    #[test]
    fn who_opened_what_by_hand() {
        let (a, b) = (Hash([1; 32]), Hash([2; 32]));
        let both = |_: Uid| true;
        let differs = cell(3, 5, ShardStatus::Differs(a, b));
        assert_eq!((differs.opened_by(Uid(3), both), differs.opened_by(Uid(5), both)), (Some(a), Some(b)));
        assert_eq!(differs.opened_by(Uid(4), both), None, "no owner");
        let single = cell(3, 5, ShardStatus::Single(a));
        assert_eq!(single.opened_by(Uid(5), |uid| uid == Uid(5)), Some(a), "the other opened nothing at all");
        assert_eq!(single.opened_by(Uid(3), |uid| uid == Uid(5)), None);
        assert_eq!(single.opened_by(Uid(5), both), None, "either of them left it out");
        assert_eq!(cell(3, 3, ShardStatus::Single(a)).opened_by(Uid(3), both), Some(a), "a lone committer");
        assert!(single.is_doubtful() && differs.is_doubtful());
        assert!(!cell(3, 5, ShardStatus::Agreed(a)).is_doubtful());
    }

    proptest! {
        #[test]
        fn nobody_is_named_for_a_hash_that_may_be_the_others(
            low in 0u16..4, high in 0u16..4, opened: [bool; 4], uid in 0u16..4, kind in 0u8..4,
        ) {
            let (a, b) = (Hash([1; 32]), Hash([2; 32]));
            let status = [ShardStatus::Missing, ShardStatus::Single(a), ShardStatus::Agreed(a), ShardStatus::Differs(a, b)];
            let cell = cell(low.min(high), low.max(high), status[usize::from(kind)]);
            let named = |uid: u16| cell.opened_by(Uid(uid), |own| opened[usize::from(own.0)]);
            let owners = [low, high];
            prop_assert!(owners.contains(&uid) || named(uid).is_none());
            // Of a lone hash at most one owner is the author.
            if kind == 1 && low != high {
                prop_assert!(named(low).is_none() || named(high).is_none());
            }
        }
    }
}
