//! What validators may say about the state of the model: the root of a stage after a merge, and the way back
//! to an earlier state of all stages (design.md, section 8).
//!
//! An ordinary epoch leaves the root that more than half of a stage's committers reported. Validators that had
//! a permit in the epoch before may recompute it from the agreed shards and attest what they find while `Root`
//! is open; where two thirds of their stake name one root, it is canonical at `Close` whatever the committers
//! reported. Members fetch it from whoever has it, as a minority always does; nobody who reported it need be
//! among the majority.
//!
//! After `Close` members have gone on from what was canonical then, so that a wrong state is left only by
//! going back: with two thirds of the stake, or by the admin origin, the next `Close` gives every stage the
//! root that it had after an earlier epoch, and the run the tokens that it had counted by then. Data goes
//! on where it was: no sample is drawn twice. Who worked is paid all the same. It never happens by itself.
//!
//! A [`Checkpoint`] is what can be gone back to. As many are kept as miners keep states: those of the
//! last [`CHECKPOINT_EPOCHS`] epochs. An older one could be named but not be had.

use codec::{Decode, Encode, MaxEncodedLen};
use iota_protocol::{
    ids::{Epoch, Hash, RunId, Stage, Uid},
    params::{RunParams, MAX_STAGES},
    phase::Phase,
    verdict::agreed,
};
use polkadot_sdk::{
    frame_support::{ensure, pallet_prelude::DispatchResult, traits::ConstU32, BoundedVec},
    sp_runtime::AccountId32,
};
use scale_info::TypeInfo;

use crate::{
    epoch::stages,
    pallet::{Checkpoints, Config, Error, Event, Merges, Pallet, Rollbacks, RootVotes, Snapshots},
    types::{Clock, Snapshot, State, MAX_VALIDATORS},
};

/// Epochs whose states can be gone back to. A miner that enters an epoch keeps the states with which it and
/// the two before it began, which are those after the last three epochs; the last of them, the epoch that
/// closes, is what is left behind.
pub const CHECKPOINT_EPOCHS: u32 = 2;

/// The state of all stages after an epoch.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Checkpoint {
    /// Training tokens recorded by then.
    pub tokens: u64,
    /// Root of weights and outer momentum of each stage, in stage order.
    pub roots: BoundedVec<Hash, ConstU32<MAX_STAGES>>,
}

/// What validators name, and what two thirds of their stake have named.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Ballot<V> {
    /// Votes by validator, each once.
    pub votes: BoundedVec<(Uid, V), ConstU32<MAX_VALIDATORS>>,
    /// What counts at `Close`; `None` while nothing has two thirds.
    pub decided: Option<V>,
}

impl<V> Default for Ballot<V> {
    fn default() -> Self {
        Self { votes: BoundedVec::default(), decided: None }
    }
}

impl<V: Copy + PartialEq> Ballot<V> {
    fn has(&self, voter: Uid) -> bool {
        self.votes.iter().any(|(own, _)| *own == voter)
    }

    /// Adds a vote and counts.
    fn add<T: Config>(&mut self, snapshot: &Snapshot, voter: Uid, value: V) -> Result<(), Error<T>> {
        // Fits: one vote for each permitted validator.
        self.votes.try_push((voter, value)).map_err(|_| Error::<T>::AlreadyVoted)?;
        self.decided = self.count(snapshot);
        Ok(())
    }

    /// What two thirds of the stake of a snapshot's validators name.
    pub(crate) fn count(&self, snapshot: &Snapshot) -> Option<V> {
        let vote = |uid: Uid| self.votes.iter().find(|(own, _)| *own == uid).map(|(_, value)| *value);
        let votes: alloc::vec::Vec<_> =
            snapshot.validators.iter().map(|own| (own.stake, vote(own.uid))).collect();
        agreed(&votes)
    }
}

impl<T: Config> Pallet<T> {
    /// A run in an epoch that trains and is not closing.
    fn trains(run: RunId) -> Result<(RunParams, Clock), Error<T>> {
        let (params, clock) = Self::run_of(run)?;
        ensure!(clock.state == State::Running, Error::<T>::NotRunning);
        Self::ensure_not_closing(run)?;
        ensure!(!params.is_settling(clock.epoch), Error::<T>::WrongPhase);
        Ok((params, clock))
    }

    /// The sender as a validator that had a permit in the epoch before the current one, `epoch`.
    fn voter(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
    ) -> Result<(RunParams, Clock, Snapshot, Uid), Error<T>> {
        let (params, clock) = Self::trains(run)?;
        ensure!(clock.epoch == epoch, Error::<T>::WrongEpoch);
        let before = epoch.previous().ok_or(Error::<T>::WrongEpoch)?;
        let snapshot = Snapshots::<T>::get((run, before)).ok_or(Error::<T>::WrongEpoch)?;
        let (uid, _) = Self::judge(who, run, &snapshot)?;
        Ok((params, clock, snapshot, uid))
    }

    pub(crate) fn check_attest_root(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        stage: Stage,
    ) -> Result<(Snapshot, Uid, Ballot<Hash>), Error<T>> {
        let (params, clock, snapshot, uid) = Self::voter(who, run, epoch)?;
        ensure!(clock.schedule(&params).phase_at(Self::now()) == Phase::Root, Error::<T>::WrongPhase);
        ensure!(params.stage(stage).is_some(), Error::<T>::UnknownStage);
        let ballot = RootVotes::<T>::get(run, stage).unwrap_or_default();
        ensure!(!ballot.has(uid), Error::<T>::AlreadyVoted);
        Ok((snapshot, uid, ballot))
    }

    pub(crate) fn do_attest_root(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        stage: Stage,
        root: Hash,
    ) -> DispatchResult {
        let (snapshot, uid, mut ballot) = Self::check_attest_root(who, run, epoch, stage)?;
        ballot.add::<T>(&snapshot, uid, root)?;
        let decided = ballot.decided.is_some();
        RootVotes::<T>::insert(run, stage, ballot);
        Self::deposit_event(Event::RootAttested { run, epoch, stage, uid, root, decided });
        Ok(())
    }

    pub(crate) fn check_vote_rollback(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        to: Epoch,
    ) -> Result<(Snapshot, Uid, Ballot<Epoch>), Error<T>> {
        let (_, _, snapshot, uid) = Self::voter(who, run, epoch)?;
        ensure!(Checkpoints::<T>::contains_key((run, to)), Error::<T>::NoCheckpoint);
        let ballot = Rollbacks::<T>::get(run).unwrap_or_default();
        ensure!(ballot.decided.is_none(), Error::<T>::AlreadyDecided);
        ensure!(!ballot.has(uid), Error::<T>::AlreadyVoted);
        Ok((snapshot, uid, ballot))
    }

    pub(crate) fn do_vote_rollback(who: &AccountId32, run: RunId, epoch: Epoch, to: Epoch) -> DispatchResult {
        let (snapshot, uid, mut ballot) = Self::check_vote_rollback(who, run, epoch, to)?;
        ballot.add::<T>(&snapshot, uid, to)?;
        let decided = ballot.decided.is_some();
        Rollbacks::<T>::insert(run, ballot);
        Self::deposit_event(Event::RollbackVoted { run, epoch, uid, to, decided });
        Ok(())
    }

    /// The admin origin's decision, which stands over votes.
    pub(crate) fn do_roll_back(run: RunId, to: Epoch) -> DispatchResult {
        let (_, clock) = Self::trains(run)?;
        ensure!(Checkpoints::<T>::contains_key((run, to)), Error::<T>::NoCheckpoint);
        let mut ballot = Rollbacks::<T>::get(run).unwrap_or_default();
        ballot.decided = Some(to);
        Rollbacks::<T>::insert(run, ballot);
        Self::deposit_event(Event::RollbackOrdered { run, epoch: clock.epoch, to });
        Ok(())
    }

    /// The state that the closing epoch goes back to, if that was decided; the votes are forgotten.
    pub(crate) fn take_rollback(run: RunId) -> Option<(Epoch, Checkpoint)> {
        let to = Rollbacks::<T>::take(run)?.decided?;
        Some((to, Checkpoints::<T>::get((run, to))?))
    }

    /// The root that a quorum attested for a stage of the closing epoch; the votes are forgotten.
    pub(crate) fn take_attested(run: RunId, stage: Stage) -> Option<Hash> {
        RootVotes::<T>::take(run, stage)?.decided
    }

    /// Gives every stage the root that it had after `to`, and the run its tokens.
    pub(crate) fn go_back(run: RunId, clock: &mut Clock, to: Epoch, checkpoint: &Checkpoint) {
        clock.tokens = checkpoint.tokens;
        let (epoch, tokens) = (clock.epoch, clock.tokens);
        Self::deposit_event(Event::RolledBack { run, epoch, to, tokens });
    }

    /// Keeps the state after the closing epoch, if every stage has one: canonical now, or unchanged since
    /// the epoch before. Drops the oldest.
    pub(crate) fn keep_checkpoint(run: RunId, params: &RunParams, clock: &Clock) {
        let epoch = clock.epoch;
        let before = epoch.previous().and_then(|before| Checkpoints::<T>::get((run, before)));
        let root = |stage: Stage| {
            let own = Merges::<T>::get((run, epoch, stage)).and_then(|merge| merge.canonical_root);
            own.or_else(|| before.as_ref()?.roots.get(usize::from(stage.0)).copied())
        };
        let roots: Option<alloc::vec::Vec<Hash>> = stages(params).map(root).collect();
        if let Some(roots) = roots {
            // Fits: a run has at most so many stages.
            let roots = BoundedVec::truncate_from(roots);
            Checkpoints::<T>::insert((run, epoch), Checkpoint { tokens: clock.tokens, roots });
        }
        if let Some(old) = epoch.0.checked_sub(CHECKPOINT_EPOCHS).map(Epoch) {
            Checkpoints::<T>::remove((run, old));
        }
    }
}
