//! What a new version of the pallet does to the storage of an older one.
//!
//! Version 2 knows which runs ended, so that their state can go; version 1 kept it for ever. Requests for
//! evidence have another form, so that those that stand are forgotten: who still misses it asks again.
//! Version 3 knows the states that a run can go back to; those of its last epochs follow from the merges
//! that version 2 kept. Version 4 knows the keys that members gave up; those given up before are lost.
//!
//! The first version of the chain stored other members under version 1. They are carried over, so that their
//! bonds come back; their run ends, wherever it stood, because its work is of another protocol.

#[cfg(feature = "try-runtime")]
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use codec::{Decode, DecodeAll, Encode};
use iota_protocol::{
    ids::{AccountKey, Epoch, Incarnation, RunId, Stage, Uid},
    params::{RunParams, MAX_MEMBERS},
    work::{counted_tokens, Role},
};
use polkadot_sdk::{
    frame_support::{
        migrations::VersionedMigration,
        storage::unhashed,
        traits::{Get, UncheckedOnRuntimeUpgrade},
        weights::Weight,
        BoundedVec,
    },
    frame_system,
};

use crate::{
    epoch::stages,
    pallet::{
        ActiveRuns, Checkpoints, Clocks, Config, Event, EvidenceRequests, Members, Merges, NextRun, Pallet,
        Runs,
    },
    rollback::{Checkpoint, CHECKPOINT_EPOCHS},
    types::{Clock, Member, State},
    verdicts::VERDICT_EPOCHS,
    weights::count,
};

/// From version 1 to 2, once.
pub type V1ToV2<T> =
    VersionedMigration<1, 2, EnqueueEnded<T>, Pallet<T>, <T as frame_system::Config>::DbWeight>;

/// Puts every run that ended into the queue, as if it had ended now, and forgets requests for evidence.
pub struct EnqueueEnded<T>(core::marker::PhantomData<T>);

fn ended_runs<T: Config>() -> Vec<RunId> {
    let all = (0..NextRun::<T>::get().0).map(RunId);
    all.filter(|run| Clocks::<T>::get(run).is_some_and(|clock| clock.state == State::Ended)).collect()
}

/// A member as the first version of the chain stored it: without standing, missed reveals and changes of keys.
#[derive(Encode, Decode)]
pub struct FirstMember {
    /// As in [`Member`], all of them.
    pub incarnation: Incarnation,
    /// Signs work.
    pub hotkey: AccountKey,
    /// Owns and receives.
    pub coldkey: AccountKey,
    /// Miner or validator.
    pub role: Role,
    /// The stage of a miner.
    pub stage: Option<Stage>,
    /// The epoch in which it first held a stage.
    pub since: Option<Epoch>,
    /// Its part of its stage's pay.
    pub weight: u32,
    /// On hold on its coldkey, smallest units.
    pub bond: u128,
    /// Block of registration.
    pub registered_at: u32,
    /// The epoch of its last `serve`.
    pub served_in: Option<Epoch>,
    /// Block from which it could be reached without a break.
    pub reachable_since: u32,
    /// Epochs in a row without a commit.
    pub missed: u8,
    /// It asked to leave.
    pub leaving: bool,
}

impl From<FirstMember> for Member {
    fn from(first: FirstMember) -> Self {
        Self {
            incarnation: first.incarnation,
            hotkey: first.hotkey,
            coldkey: first.coldkey,
            role: first.role,
            stage: first.stage,
            since: first.since,
            weight: first.weight,
            bond: first.bond,
            registered_at: first.registered_at,
            served_in: first.served_in,
            reachable_since: first.reachable_since,
            missed: first.missed,
            leaving: first.leaving,
            standing: None,
            missed_reveals: 0,
            swapped_at: None,
        }
    }
}

/// How many members a run has, and those of them that this version cannot read.
fn unread_of<T: Config>(run: RunId) -> (u32, Vec<Uid>) {
    let all: Vec<Uid> = Members::<T>::iter_key_prefix(run).collect();
    let unread = all.iter().copied().filter(|uid| Members::<T>::get(run, uid).is_none()).collect();
    (count(all.len()), unread)
}

/// Brings members of a run into the form of this version; how many were in neither form and stay as they are.
fn carry_members<T: Config>(run: RunId, unread: &[Uid]) -> u32 {
    let mut lost = 0u32;
    for uid in unread {
        let bytes = unhashed::get_raw(&Members::<T>::hashed_key_for(run, uid)).unwrap_or_default();
        match FirstMember::decode_all(&mut bytes.as_slice()) {
            Ok(first) => Members::<T>::insert(run, uid, Member::from(first)),
            Err(_) => lost = lost.saturating_add(1),
        }
    }
    lost
}

/// Ends a run whose work this version cannot continue, wherever it stands: it is queued with the others that
/// ended. Its members leave when they like, or with its state, and their bonds unbond.
fn end_first<T: Config>(run: RunId) {
    let Some(mut clock) = Clocks::<T>::get(run).filter(|clock| clock.state != State::Ended) else { return };
    clock.state = State::Ended;
    Clocks::<T>::insert(run, clock);
    ActiveRuns::<T>::mutate(|active| active.retain(|other| *other != run));
    Pallet::<T>::release_run(run);
    Pallet::<T>::deposit_event(Event::RunEnded { run });
}

/// Carries over members of the chain's first version, and ends their runs: what such a run trains and merges in
/// is of another protocol. The weight of looking and writing.
fn end_runs_of_first_version<T: Config>() -> Weight {
    // The ends of both lists.
    let (mut reads, mut writes) = (u64::from(NextRun::<T>::get().0).saturating_mul(2), 0u64);
    for run in (0..NextRun::<T>::get().0).map(RunId) {
        let (members, unread) = unread_of::<T>(run);
        let carried = u64::from(count(unread.len()));
        reads = reads.saturating_add(u64::from(members).saturating_mul(2)).saturating_add(carried);
        if unread.is_empty() {
            continue;
        }
        let lost = carry_members::<T>(run, &unread);
        log::warn!(
            "run {}: {carried} members are of the chain's first version, whose work this version cannot \
             continue; the run ends, and its members may leave and withdraw their bonds",
            run.0
        );
        if lost > 0 {
            log::error!(
                "run {}: {lost} members are stored in no known form and stay as they are; their bonds stay on \
                 hold until a later version reads them",
                run.0
            );
        }
        end_first::<T>(run);
        // Clock, list of active runs, control, what is pending, and the hold of a deposit.
        (reads, writes) = (reads.saturating_add(6), writes.saturating_add(carried).saturating_add(6));
    }
    T::DbWeight::get().reads_writes(reads, writes)
}

impl<T: Config> UncheckedOnRuntimeUpgrade for EnqueueEnded<T> {
    fn on_runtime_upgrade() -> Weight {
        let looked = end_runs_of_first_version::<T>();
        let ended = ended_runs::<T>();
        ended.iter().for_each(|run| Pallet::<T>::enqueue_ended(*run, Pallet::<T>::now()));
        // All that can stand: about each member of each run, for as many epochs as are judged.
        let most = MAX_MEMBERS.saturating_mul(VERDICT_EPOCHS).saturating_mul(T::MaxRuns::get());
        let dropped = EvidenceRequests::<T>::clear(most, None);
        let (all, ended) = (u64::from(NextRun::<T>::get().0), u64::try_from(ended.len()).unwrap_or(u64::MAX));
        // The clock of each run; of those that ended once more, the queue and the entry; the requests.
        let (loops, unique) = (u64::from(dropped.loops), u64::from(dropped.unique));
        let reads = all.saturating_add(ended.saturating_mul(2)).saturating_add(loops).saturating_add(2);
        let writes = ended.saturating_mul(2).saturating_add(unique);
        looked.saturating_add(T::DbWeight::get().reads_writes(reads, writes))
    }

    #[cfg(feature = "try-runtime")]
    fn pre_upgrade() -> Result<Vec<u8>, polkadot_sdk::sp_runtime::TryRuntimeError> {
        let all = (0..NextRun::<T>::get().0).map(RunId);
        let first = all.filter(|run| !unread_of::<T>(*run).1.is_empty());
        let expected: BTreeSet<RunId> = first.chain(ended_runs::<T>()).collect();
        Ok(expected.into_iter().collect::<Vec<_>>().encode())
    }

    #[cfg(feature = "try-runtime")]
    fn post_upgrade(expected: Vec<u8>) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
        use crate::pallet::EndedRuns;
        let expected: Vec<RunId> =
            Decode::decode(&mut expected.as_slice()).map_err(|_| "what pre_upgrade wrote does not decode")?;
        let mut queued: Vec<RunId> = EndedRuns::<T>::iter_values().map(|ended| ended.run).collect();
        queued.sort_unstable();
        polkadot_sdk::frame_support::ensure!(queued == expected, "the queue is not the runs that ended");
        let unread = queued.iter().any(|run| !unread_of::<T>(*run).1.is_empty());
        polkadot_sdk::frame_support::ensure!(!unread, "a member is stored in no known form");
        Ok(())
    }
}

/// From version 2 to 3, once.
pub type V2ToV3<T> =
    VersionedMigration<2, 3, RecordCheckpoints<T>, Pallet<T>, <T as frame_system::Config>::DbWeight>;

/// Records the states after the last epochs of each run that goes on, where every stage has a root.
pub struct RecordCheckpoints<T>(core::marker::PhantomData<T>);

/// States after epochs.
type States = Vec<(Epoch, Checkpoint)>;

/// The epochs whose states a run can go back to, newest first.
fn last_epochs(clock: &Clock) -> impl Iterator<Item = Epoch> + '_ {
    (1..=CHECKPOINT_EPOCHS).filter_map(|ago| clock.epoch.0.checked_sub(ago).map(Epoch))
}

/// Tokens that an epoch added: those of the first stage.
fn tokens_of<T: Config>(run: RunId, params: &RunParams, epoch: Epoch) -> u64 {
    let merge = Merges::<T>::get((run, epoch, Stage(0))).unwrap_or_default();
    let samples: Vec<u32> = merge.commits.iter().map(|commit| commit.work.samples).collect();
    counted_tokens(&samples, params.tokens_per_sample())
}

/// What a run's merges say about the states after its last epochs. An epoch in which a stage has no root of
/// its own is left out: the one before it, whose root stands, may have been forgotten.
fn checkpoints<T: Config>(run: RunId, params: &RunParams, clock: &Clock) -> States {
    let (mut found, mut tokens) = (Vec::new(), clock.tokens);
    for epoch in last_epochs(clock) {
        let root = |stage| Merges::<T>::get((run, epoch, stage)).and_then(|merge| merge.canonical_root);
        if let Some(roots) = stages(params).map(root).collect::<Option<Vec<_>>>() {
            // Fits: a run has at most so many stages.
            found.push((epoch, Checkpoint { tokens, roots: BoundedVec::truncate_from(roots) }));
        }
        tokens = tokens.saturating_sub(tokens_of::<T>(run, params, epoch));
    }
    found
}

/// Runs that go on, with what is to be recorded of each.
fn recorded<T: Config>() -> Vec<(RunId, u32, States)> {
    let of = |run: RunId| {
        let (params, clock) = (Runs::<T>::get(run)?, Clocks::<T>::get(run)?);
        let stages = count(params.stages.len());
        Some((run, stages, checkpoints::<T>(run, &params, &clock)))
    };
    ActiveRuns::<T>::get().into_iter().filter_map(of).collect()
}

impl<T: Config> UncheckedOnRuntimeUpgrade for RecordCheckpoints<T> {
    fn on_runtime_upgrade() -> Weight {
        let (mut reads, mut writes) = (1u64, 0u64);
        for (run, stages, found) in recorded::<T>() {
            // Parameters and clock; of each epoch the merges of all stages, and once more the first.
            let merges = u64::from(CHECKPOINT_EPOCHS).saturating_mul(u64::from(stages).saturating_add(1));
            reads = reads.saturating_add(merges).saturating_add(2);
            writes = writes.saturating_add(u64::from(count(found.len())));
            for (epoch, checkpoint) in found {
                Checkpoints::<T>::insert((run, epoch), checkpoint);
            }
        }
        T::DbWeight::get().reads_writes(reads, writes)
    }

    #[cfg(feature = "try-runtime")]
    fn pre_upgrade() -> Result<Vec<u8>, polkadot_sdk::sp_runtime::TryRuntimeError> {
        Ok(recorded::<T>().encode())
    }

    #[cfg(feature = "try-runtime")]
    fn post_upgrade(expected: Vec<u8>) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
        let expected: Vec<(RunId, u32, States)> =
            Decode::decode(&mut expected.as_slice()).map_err(|_| "what pre_upgrade wrote does not decode")?;
        let stored = |run: RunId, own: &(Epoch, Checkpoint)| {
            Checkpoints::<T>::get((run, own.0)).is_some_and(|stored| stored == own.1)
        };
        let whole = expected.iter().all(|(run, _, all)| all.iter().all(|own| stored(*run, own)));
        polkadot_sdk::frame_support::ensure!(whole, "a checkpoint is not what the merges say");
        Ok(())
    }
}

/// From version 3 to 4, once.
pub type V3ToV4<T> =
    VersionedMigration<3, 4, KeepFromNowOn<T>, Pallet<T>, <T as frame_system::Config>::DbWeight>;

/// Changes nothing: which keys members had before they changed them stands nowhere, so that proofs about the two
/// epochs before the upgrade are still decided by today's keys.
pub struct KeepFromNowOn<T>(core::marker::PhantomData<T>);

impl<T: Config> UncheckedOnRuntimeUpgrade for KeepFromNowOn<T> {
    fn on_runtime_upgrade() -> Weight {
        Weight::zero()
    }
}
