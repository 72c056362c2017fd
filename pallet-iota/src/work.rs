//! The calls of a merge: commit, attest, blind, open, root.
//!
//! Each call has a `check_` that decides and changes nothing, used twice: to see whether the call
//! is free, and to do it.

use iota_protocol::{
    ids::{Epoch, Hash, RunId, Stage, Uid},
    params::{RunParams, MAX_GROUP},
    phase::Phase,
    shard::Shards as ShardMap,
    work::{blind_hash, Bitmap, Role, ShardHashes, ShardStatus, WorkCommit},
};
use polkadot_sdk::{
    frame_support::{ensure, pallet_prelude::DispatchResult},
    sp_runtime::AccountId32,
};

use crate::{
    pallet::{Config, Error, Event, Merges, Pallet, Shards},
    types::{Clock, Commit, Member, Merge, State},
};

/// A miner whose turn it is.
pub struct Turn {
    params: RunParams,
    clock: Clock,
    uid: Uid,
    member: Member,
    stage: Stage,
    merge: Merge,
}

/// A committer whose turn it is, with its position among the stage's commits.
pub struct Owner {
    turn: Turn,
    position: usize,
    commit: Commit,
}

/// Chunks of a stage's parameters: leaves of an entry's Merkle tree.
pub(crate) fn chunks(params: &RunParams, stage: Stage) -> u32 {
    let parameters = params.stage(stage).map_or(0, |stage| stage.parameters);
    let chunk = u64::from(params.merge.chunk.max(1));
    u32::try_from(parameters.div_ceil(chunk)).unwrap_or(u32::MAX)
}

impl<T: Config> Pallet<T> {
    fn turn(who: &AccountId32, run: RunId, epoch: Epoch, phase: Phase) -> Result<Turn, Error<T>> {
        let (params, clock) = Self::run_of(run)?;
        ensure!(clock.state == State::Running, Error::<T>::NotRunning);
        ensure!(clock.epoch == epoch, Error::<T>::WrongEpoch);
        ensure!(clock.schedule(&params).phase_at(Self::now()) == phase, Error::<T>::WrongPhase);
        let (uid, member) = Self::member_of(run, who)?;
        ensure!(member.role == Role::Miner, Error::<T>::NotMiner);
        let stage = member.stage.ok_or(Error::<T>::NotAssigned)?;
        let merge = Merges::<T>::get((run, epoch, stage)).unwrap_or_default();
        Ok(Turn { params, clock, uid, member, stage, merge })
    }

    fn owner(who: &AccountId32, run: RunId, epoch: Epoch, phase: Phase) -> Result<Owner, Error<T>> {
        let turn = Self::turn(who, run, epoch, phase)?;
        let (position, commit) =
            turn.merge.find(turn.uid, turn.member.incarnation).ok_or(Error::<T>::NotCommitted)?;
        let commit = commit.clone();
        Ok(Owner { turn, position, commit })
    }

    /// Stores an owner's changed commit.
    fn put_commit(run: RunId, epoch: Epoch, owner: Owner) {
        let Owner { turn, position, commit } = owner;
        let mut merge = turn.merge;
        if let Some(slot) = merge.commits.get_mut(position) {
            *slot = commit;
        }
        Merges::<T>::insert((run, epoch, turn.stage), merge);
    }

    pub(crate) fn check_commit_work(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        work: &WorkCommit,
    ) -> Result<Turn, Error<T>> {
        let turn = Self::turn(who, run, epoch, Phase::Commit)?;
        let most = turn.params.train.max_samples;
        let in_bounds = if turn.stage == Stage(0) {
            // A stage-0 miner finishes only what it started.
            work.started <= most && work.samples <= work.started
        } else {
            // Later stages see the samples of every stage-0 miner, at most `MAX_GROUP` of them.
            work.started == 0 && work.samples <= most.saturating_mul(MAX_GROUP)
        };
        ensure!(in_bounds, Error::<T>::BadCounts);
        let committed = turn.merge.find(turn.uid, turn.member.incarnation).is_some();
        ensure!(!committed, Error::<T>::AlreadyCommitted);
        ensure!(!turn.merge.commits.is_full(), Error::<T>::StageFull);
        Ok(turn)
    }

    pub(crate) fn do_commit_work(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        work: WorkCommit,
    ) -> DispatchResult {
        let Turn { uid, member, stage, mut merge, .. } = Self::check_commit_work(who, run, epoch, &work)?;
        let incarnation = member.incarnation;
        let commit = Commit {
            uid,
            incarnation,
            coldkey: member.coldkey,
            work: work.clone(),
            attested: None,
            blind: None,
            opened: false,
            root: None,
        };
        let at = merge.commits.partition_point(|other| other.uid < uid);
        merge.commits.try_insert(at, commit).map_err(|_| Error::<T>::StageFull)?;
        Merges::<T>::insert((run, epoch, stage), merge);
        Self::deposit_event(Event::WorkCommitted { run, epoch, stage, uid, incarnation, work });
        Ok(())
    }

    pub(crate) fn check_attest(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        entries: Bitmap,
    ) -> Result<Owner, Error<T>> {
        let owner = Self::owner(who, run, epoch, Phase::Attest)?;
        let all = (0..owner.turn.merge.commits.len()).fold(Bitmap::default(), Bitmap::with);
        let named = entries.0 & !all.0 == 0;
        ensure!(named && entries.contains(owner.position), Error::<T>::BadBitmap);
        ensure!(owner.commit.attested.is_none(), Error::<T>::AlreadyAttested);
        Ok(owner)
    }

    pub(crate) fn do_attest(who: &AccountId32, run: RunId, epoch: Epoch, entries: Bitmap) -> DispatchResult {
        let mut owner = Self::check_attest(who, run, epoch, entries)?;
        owner.commit.attested = Some(entries);
        let (stage, uid) = (owner.turn.stage, owner.turn.uid);
        Self::put_commit(run, epoch, owner);
        Self::deposit_event(Event::Attested { run, epoch, stage, uid, entries });
        Ok(())
    }

    pub(crate) fn check_blind_merge(who: &AccountId32, run: RunId, epoch: Epoch) -> Result<Owner, Error<T>> {
        let owner = Self::owner(who, run, epoch, Phase::Blind)?;
        ensure!(owner.commit.blind.is_none(), Error::<T>::AlreadyBlinded);
        Ok(owner)
    }

    pub(crate) fn do_blind_merge(who: &AccountId32, run: RunId, epoch: Epoch, hash: Hash) -> DispatchResult {
        let mut owner = Self::check_blind_merge(who, run, epoch)?;
        owner.commit.blind = Some(hash);
        let (stage, uid) = (owner.turn.stage, owner.turn.uid);
        Self::put_commit(run, epoch, owner);
        Self::deposit_event(Event::MergeBlinded { run, epoch, stage, uid, hash });
        Ok(())
    }

    pub(crate) fn check_open_merge(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        salt: &[u8; 32],
        hashes: &ShardHashes,
    ) -> Result<(Owner, ShardMap), Error<T>> {
        let owner = Self::owner(who, run, epoch, Phase::Open)?;
        let blind = owner.commit.blind.ok_or(Error::<T>::NotBlinded)?;
        ensure!(!owner.commit.opened, Error::<T>::AlreadyOpened);
        let Turn { uid, member, .. } = &owner.turn;
        let found = blind_hash(*uid, member.incarnation, epoch, salt, hashes);
        ensure!(found == blind, Error::<T>::BlindMismatch);
        let map = Self::holds_exactly(&owner, hashes).ok_or(Error::<T>::WrongShards)?;
        Ok((owner, map))
    }

    /// The shards, if the hashes name those of this owner, all of them, in ascending order.
    fn holds_exactly(owner: &Owner, hashes: &ShardHashes) -> Option<ShardMap> {
        let Turn { params, clock, stage, merge, .. } = &owner.turn;
        let map = ShardMap::new(&clock.seed?, *stage, merge.commits.len(), chunks(params, *stage))?;
        let mut owned = map.owned_by(owner.position);
        owned.sort_unstable();
        owned.into_iter().eq(hashes.iter().map(|(shard, _)| *shard)).then_some(map)
    }

    pub(crate) fn do_open_merge(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        salt: &[u8; 32],
        hashes: &ShardHashes,
    ) -> DispatchResult {
        let (mut owner, map) = Self::check_open_merge(who, run, epoch, salt, hashes)?;
        owner.commit.opened = true;
        let (stage, uid) = (owner.turn.stage, owner.turn.uid);
        let mut statuses = Shards::<T>::get((run, epoch, stage));
        let (mut shards, mut differing) = (0u32, 0u32);
        for (shard, hash) in hashes {
            let (Some(status), Some(hash)) = (statuses.get_mut(usize::from(*shard)), hash) else { continue };
            // Positions are in uid order.
            let lower = map.owners(*shard).is_some_and(|(low, _)| low == owner.position);
            *status = status.with(*hash, lower);
            shards = shards.saturating_add(1);
            if matches!(status, ShardStatus::Differs(..)) {
                differing = differing.saturating_add(1);
            }
        }
        Shards::<T>::insert((run, epoch, stage), statuses);
        Self::put_commit(run, epoch, owner);
        Self::deposit_event(Event::MergeOpened { run, epoch, stage, uid, shards, differing });
        Ok(())
    }

    pub(crate) fn check_commit_root(who: &AccountId32, run: RunId, epoch: Epoch) -> Result<Owner, Error<T>> {
        let owner = Self::owner(who, run, epoch, Phase::Root)?;
        ensure!(owner.commit.root.is_none(), Error::<T>::AlreadyRooted);
        Ok(owner)
    }

    pub(crate) fn do_commit_root(who: &AccountId32, run: RunId, epoch: Epoch, root: Hash) -> DispatchResult {
        let mut owner = Self::check_commit_root(who, run, epoch)?;
        owner.commit.root = Some(root);
        let (stage, uid) = (owner.turn.stage, owner.turn.uid);
        Self::put_commit(run, epoch, owner);
        Self::deposit_event(Event::RootCommitted { run, epoch, stage, uid, root });
        Ok(())
    }
}
