//! Which key signed for a uid in an epoch that can still be judged.
//!
//! A proof of equivocation names run, epoch and uid, and holds if the key under which that uid worked in that
//! epoch signed both headers. Today's key is another one after a change, and nobody's after a leaving: whoever
//! signed twice would only have to give its key up at the next `Close`. So a key that is given up is kept
//! under the last epoch in which it may have signed, and goes with that epoch's gates, which is when the last proof
//! about it has become too old. Only what changes is kept: at one `Close` at most `MAX_SWAPS` and
//! `MAX_LEAVING` keys are given up, between two epochs at most those of all members.

use codec::{Decode, Encode, MaxEncodedLen};
use iota_protocol::{
    ids::{AccountKey, Epoch, Incarnation, RunId, Uid},
    params::MAX_MEMBERS,
};
use polkadot_sdk::frame_support::{traits::ConstU32, BoundedVec};
use scale_info::TypeInfo;

use crate::{
    pallet::{Clocks, Config, FormerSigners, Members, Pallet},
    types::{Member, State},
};

/// Keys that were given up after one epoch, ascending by uid, each uid once.
pub type Signers = BoundedVec<Signer, ConstU32<MAX_MEMBERS>>;

/// Who signed for a uid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Signer {
    /// The uid.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its hotkey then.
    pub hotkey: AccountKey,
}

impl Signer {
    fn of(uid: Uid, member: &Member) -> Self {
        Self { uid, incarnation: member.incarnation, hotkey: member.hotkey }
    }
}

impl<T: Config> Pallet<T> {
    /// Who signed for `uid` in `epoch`, at most [`VERDICT_EPOCHS`](crate::verdicts::VERDICT_EPOCHS) before
    /// the current one: the first that gave its key up since, otherwise today's member.
    pub(crate) fn signer_of(run: RunId, epoch: Epoch, current: Epoch, uid: Uid) -> Option<Signer> {
        let former = (epoch.0..=current.0).find_map(|at| {
            let signers = FormerSigners::<T>::get((run, Epoch(at)));
            let found = signers.binary_search_by_key(&uid, |own| own.uid).ok();
            found.and_then(|at| signers.get(at).copied())
        });
        former.or_else(|| Members::<T>::get(run, uid).map(|member| Signer::of(uid, &member)))
    }

    /// Keeps the key that a member gives up now, by a change or by leaving. Whoever did both at one `Close`
    /// signed with the first. Before a run starts nobody has signed, and after its end nothing is judged.
    pub(crate) fn keep_signer(run: RunId, uid: Uid, member: &Member) {
        let Some(clock) = Clocks::<T>::get(run) else { return };
        let last = match clock.state {
            State::Running => Some(clock.epoch),
            // The clock shows the next epoch, which has not begun.
            State::Paused => clock.epoch.previous(),
            State::Waiting | State::Ended => None,
        };
        let Some(epoch) = last else { return };
        FormerSigners::<T>::mutate((run, epoch), |signers| {
            if let Err(at) = signers.binary_search_by_key(&uid, |own| own.uid) {
                // Fits: each uid once, and no more exist than there is room for.
                let _ = signers.try_insert(at, Signer::of(uid, member));
            }
        });
    }
}
