//! What a new version of the pallet does to the storage of an older one.
//!
//! Version 2 knows which runs ended, so that their state can go; version 1 kept it for ever. Requests for
//! evidence have another form, so that those that stand are forgotten: who still misses it asks again.

use alloc::vec::Vec;
#[cfg(feature = "try-runtime")]
use codec::{Decode, Encode};
use iota_protocol::{ids::RunId, params::MAX_MEMBERS};
use polkadot_sdk::{
    frame_support::{
        migrations::VersionedMigration,
        traits::{Get, UncheckedOnRuntimeUpgrade},
        weights::Weight,
    },
    frame_system,
};

use crate::{
    pallet::{Clocks, Config, EvidenceRequests, NextRun, Pallet},
    types::State,
    verdicts::VERDICT_EPOCHS,
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

impl<T: Config> UncheckedOnRuntimeUpgrade for EnqueueEnded<T> {
    fn on_runtime_upgrade() -> Weight {
        let ended = ended_runs::<T>();
        ended.iter().for_each(|run| Pallet::<T>::enqueue_ended(*run, Pallet::<T>::now()));
        // All that can stand: about each member of each run, for as many epochs as are judged.
        let most = MAX_MEMBERS.saturating_mul(VERDICT_EPOCHS).saturating_mul(T::MaxRuns::get());
        let dropped = EvidenceRequests::<T>::clear(most, None);
        let (all, ended) = (u64::from(NextRun::<T>::get().0), u64::try_from(ended.len()).unwrap_or(u64::MAX));
        // The clock of each run; of those that ended once more, the queue and the entry; the requests.
        let (loops, unique) = (u64::from(dropped.loops), u64::from(dropped.unique));
        let reads = all.saturating_add(ended.saturating_mul(2)).saturating_add(loops).saturating_add(2);
        T::DbWeight::get().reads_writes(reads, ended.saturating_mul(2).saturating_add(unique))
    }

    #[cfg(feature = "try-runtime")]
    fn pre_upgrade() -> Result<Vec<u8>, polkadot_sdk::sp_runtime::TryRuntimeError> {
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
