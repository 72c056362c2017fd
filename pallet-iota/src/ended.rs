//! What becomes of a run that ended: its state goes, in bounded steps, once nobody needs it.
//!
//! For `EndedRetention` blocks everything stays, so that the last epoch can be read, audited and indexed.
//! Then each block with weight to spare does one step, oldest run first: members leave, a few at a time,
//! and their bonds unbond; epoch by epoch goes what was kept of each; the rest goes with the last step.
//! Parameters, clock and the count of incarnations stay: what members still have to release vests by them.
//! Vesting pay, rewards and what unbonds stay until their owners take them.

use codec::{Decode, Encode, MaxEncodedLen};
use iota_protocol::{
    ids::{Epoch, RunId, Stage, Uid},
    params::MAX_STAGES,
};
use polkadot_sdk::frame_support::{traits::Get, weights::Weight};
use scale_info::TypeInfo;

use crate::{
    pallet::{
        Burned, Checkpoints, Clocks, Config, EndedQueue, EndedRuns, Event, FreeUids, Gated, MeanPay, Members,
        Merges, NextUid, Pallet, Payouts, Reports, Scores, Seeds, Shards, Snapshots, Supports,
    },
    types::{Member, MAX_VALIDATORS},
    weights::WeightInfo,
};

/// Members that leave in one step: about as many writes as an epoch's step has.
pub const MEMBERS_A_STEP: u32 = 32;

/// An ended run in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Ended {
    /// The run.
    pub run: RunId,
    /// Block from which on its state may go.
    pub due: u32,
    /// The oldest epoch of which something may be left.
    pub next: Epoch,
}

impl<T: Config> Pallet<T> {
    /// Puts a run that ended in block `now` at the end of the queue.
    pub(crate) fn enqueue_ended(run: RunId, now: u32) {
        let last = Clocks::<T>::get(run).map_or(Epoch(0), |clock| clock.epoch);
        // One more than the history: that of the last `Close` was not dropped by a later one.
        let kept = T::EpochHistory::get().saturating_add(1);
        let ended = Ended {
            run,
            due: now.saturating_add(T::EndedRetention::get()),
            next: Epoch(last.0.saturating_sub(kept)),
        };
        EndedQueue::<T>::mutate(|(_, after)| {
            EndedRuns::<T>::insert(*after, ended);
            *after = after.saturating_add(1);
        });
    }

    /// One step on the run that ended first, if it is due and `spare` allows; the weight of it.
    pub(crate) fn drop_ended(now: u32, spare: Weight) -> Weight {
        let (look, step) = (T::WeightInfo::ended_look(), T::WeightInfo::ended_step());
        if !spare.all_gte(look.saturating_add(step)) {
            return Weight::zero();
        }
        let (first, _) = EndedQueue::<T>::get();
        let Some(ended) = EndedRuns::<T>::get(first).filter(|ended| now >= ended.due) else { return look };
        Self::drop_step(first, ended);
        look.saturating_add(step)
    }

    pub(crate) fn drop_step(at: u32, ended: Ended) {
        let run = ended.run;
        let some = usize::try_from(MEMBERS_A_STEP).unwrap_or(usize::MAX);
        let members: alloc::vec::Vec<(Uid, Member)> = Members::<T>::iter_prefix(run).take(some).collect();
        let last = Clocks::<T>::get(run).map_or(Epoch(0), |clock| clock.epoch);
        if !members.is_empty() {
            members.iter().for_each(|(uid, member)| Self::remove_member(run, *uid, member));
        } else if ended.next <= last {
            Self::drop_epoch(run, ended.next);
            EndedRuns::<T>::insert(at, Ended { next: ended.next.next(), ..ended });
        } else {
            Self::drop_rest(run);
            EndedRuns::<T>::remove(at);
            EndedQueue::<T>::mutate(|(first, _)| *first = first.saturating_add(1));
            Self::deposit_event(Event::RunDropped { run });
        }
    }

    fn drop_epoch(run: RunId, epoch: Epoch) {
        for stage in (0..=u16::MAX).zip(0..MAX_STAGES).map(|(stage, _)| Stage(stage)) {
            Merges::<T>::remove((run, epoch, stage));
            Shards::<T>::remove((run, epoch, stage));
        }
        Reports::<T>::remove((run, epoch));
        Payouts::<T>::remove((run, epoch));
        Snapshots::<T>::remove((run, epoch));
        Seeds::<T>::remove((run, epoch));
        Gated::<T>::remove((run, epoch));
        Checkpoints::<T>::remove((run, epoch));
        Self::drop_transcripts(run, epoch);
        // All fit one pass: no more validators have a permit.
        let _ = Scores::<T>::clear_prefix((run, epoch), MAX_VALIDATORS, None);
    }

    fn drop_rest(run: RunId) {
        let _ = Supports::<T>::clear_prefix(run, MAX_VALIDATORS, None);
        FreeUids::<T>::remove(run);
        NextUid::<T>::remove(run);
        MeanPay::<T>::remove(run);
        Burned::<T>::remove(run);
    }
}
