//! What a new version of the pallet does to the storage of an older one.
//!
//! Version 2 knows which runs ended, so that their state can go; version 1 kept it for ever. Requests for
//! evidence have another form, so that those that stand are forgotten: who still misses it asks again.
//! Version 3 knows the states that a run can go back to; those of its last epochs follow from the merges
//! that version 2 kept. Version 4 knows the keys that members gave up; those given up before are lost.
//!
//! The first version of the chain stored other members under version 1. A run that holds such members cannot be
//! carried over: it is paused, an event and the log say so, and what it stored stays as it is.

use alloc::vec::Vec;
#[cfg(feature = "try-runtime")]
use codec::{Decode, Encode};
use iota_protocol::{
    ids::{Epoch, RunId, Stage},
    params::{RunParams, MAX_MEMBERS},
    work::counted_tokens,
};
use polkadot_sdk::{
    frame_support::{
        migrations::VersionedMigration,
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
    types::{Clock, State},
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

/// Members of a run, and how many of them this version cannot read.
fn members_of<T: Config>(run: RunId) -> (u32, u32) {
    let all = count(Members::<T>::iter_key_prefix(run).count());
    let read = count(Members::<T>::iter_prefix_values(run).count());
    (all, all.saturating_sub(read))
}

/// Runs that hold members which this version cannot read, with how many.
fn unreadable<T: Config>() -> Vec<(RunId, u32)> {
    let all = (0..NextRun::<T>::get().0).map(RunId);
    all.map(|run| (run, members_of::<T>(run).1)).filter(|(_, members)| *members > 0).collect()
}

/// Stops runs whose members cannot be read; the weight of looking.
fn pause_unreadable<T: Config>() -> Weight {
    let unreadable = unreadable::<T>();
    for (run, members) in &unreadable {
        log::error!(
            "run {}: {members} members are stored in a form that storage version 2 cannot read; the run is \
             paused and its storage left as it is; end it, or resume it after a migration of its members",
            run.0
        );
        Clocks::<T>::mutate(*run, |clock| {
            if let Some(clock) = clock.as_mut().filter(|clock| clock.state != State::Ended) {
                clock.state = State::Paused;
                Pallet::<T>::deposit_event(Event::RunPaused { run: *run, epoch: clock.epoch });
            }
        });
    }
    let runs = NextRun::<T>::get().0;
    let members = (0..runs).map(|run| u64::from(members_of::<T>(RunId(run)).0)).fold(0, u64::saturating_add);
    // Key and value of each member of each run, and the ends of both lists.
    let reads = members.saturating_add(u64::from(runs)).saturating_mul(2);
    T::DbWeight::get().reads_writes(reads, u64::from(count(unreadable.len())))
}

impl<T: Config> UncheckedOnRuntimeUpgrade for EnqueueEnded<T> {
    fn on_runtime_upgrade() -> Weight {
        let looked = pause_unreadable::<T>();
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
        let readable = unreadable::<T>().is_empty();
        polkadot_sdk::frame_support::ensure!(readable, "a run holds members of the chain's first version");
        Ok(ended_runs::<T>().encode())
    }

    #[cfg(feature = "try-runtime")]
    fn post_upgrade(expected: Vec<u8>) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
        use crate::pallet::EndedRuns;
        let expected: Vec<RunId> =
            Decode::decode(&mut expected.as_slice()).map_err(|_| "what pre_upgrade wrote does not decode")?;
        let mut queued: Vec<RunId> = EndedRuns::<T>::iter_values().map(|ended| ended.run).collect();
        queued.sort_unstable();
        polkadot_sdk::frame_support::ensure!(queued == expected, "the queue is not the runs that ended");
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
