//! Changes of a member's keys: its hotkey at an epoch's edge, its coldkey after a delay.
//!
//! **Hotkey.** The coldkey names another hotkey, which consents as in a registration. Uid,
//! incarnation, stage, standing, pay and commits stay. While a run is going the change waits for the
//! next `Close`, so that one key signs all of an epoch; the endpoint goes with the old key, because
//! its peer consented to that one, and the new one serves again, free of charge. The next change has
//! to wait `SwapCooldown` blocks.
//!
//! **Coldkey.** The owner announces an account; after `ColdkeyDelay` blocks that account, and nobody
//! else, takes the member over, with its bond, the hold that it started with and all pay that has not
//! been released. Until then the owner may cancel, or announce another, which starts the delay anew.
//! What was released or is unbonding stays with the former owner. Nobody can be made an owner against
//! its will, and nobody but the owner can start, change or stop it.

use iota_protocol::{
    ids::{RunId, Uid},
    work::Role,
};
use polkadot_sdk::{
    frame_support::{
        ensure,
        pallet_prelude::{ConstU32, DispatchResult},
        storage::with_storage_layer,
        traits::{
            fungible::MutateHold,
            tokens::{Fortitude, Precision, Restriction},
            Get,
        },
    },
    frame_system,
    sp_runtime::AccountId32,
};

use crate::{
    pallet::{
        Clocks, Config, Endpoints, Error, Event, Handovers, HoldReason, Members, Pallet, Swaps, UidOf,
        Vestings,
    },
    types::{account, key, Handover, Member, State, Swap},
    weights::{count, Meter, WeightInfo},
};

/// Most changes of hotkeys in one epoch: a quarter of a run, so that `Close` stays bounded.
pub const MAX_SWAPS: u32 = 64;
/// The bound as a type.
pub type SwapBound = ConstU32<MAX_SWAPS>;

impl<T: Config> Pallet<T> {
    /// The member of that uid, if `coldkey` owns it.
    fn own_member(run: RunId, uid: Uid, coldkey: &AccountId32) -> Result<Member, Error<T>> {
        let member = Members::<T>::get(run, uid).ok_or(Error::<T>::NotMember)?;
        ensure!(member.coldkey == key(coldkey), Error::<T>::NotOwner);
        Ok(member)
    }

    /// Whether a hotkey has a seat in a run, waits for one, or is about to take a member's.
    pub(crate) fn is_taken(run: RunId, hotkey: &AccountId32) -> bool {
        UidOf::<T>::contains_key(run, hotkey)
            || Self::is_arriving(run, hotkey)
            || Swaps::<T>::get(run).iter().any(|swap| swap.hotkey == key(hotkey))
    }

    pub(crate) fn do_swap_hotkey(
        run: RunId,
        uid: Uid,
        coldkey: &AccountId32,
        hotkey: AccountId32,
        proof: &[u8; 64],
    ) -> DispatchResult {
        let clock = Clocks::<T>::get(run).ok_or(Error::<T>::UnknownRun)?;
        ensure!(clock.state != State::Ended, Error::<T>::NotRunning);
        let mut member = Self::own_member(run, uid, coldkey)?;
        ensure!(!member.leaving, Error::<T>::AlreadyLeaving);
        ensure!(!Self::is_taken(run, &hotkey), Error::<T>::AlreadyRegistered);
        let cool = |at: u32| Self::now() >= at.saturating_add(T::SwapCooldown::get());
        ensure!(member.swapped_at.is_none_or(cool), Error::<T>::SwapTooSoon);
        ensure!(Self::hotkey_consents(run, coldkey, &hotkey, proof), Error::<T>::BadProof);
        let swap = Swap { uid, incarnation: member.incarnation, hotkey: key(&hotkey) };
        member.swapped_at = Some(Self::now());
        if clock.state == State::Waiting {
            Members::<T>::insert(run, uid, member);
            Self::apply_swap(run, &swap);
            return Ok(());
        }
        Swaps::<T>::try_mutate(run, |swaps| swaps.try_push(swap)).map_err(|_| Error::<T>::TooManySwaps)?;
        // Kept while it waits, so that the new key can send calls in the epoch's first block.
        frame_system::Pallet::<T>::inc_providers(&hotkey);
        let incarnation = member.incarnation;
        Members::<T>::insert(run, uid, member);
        Self::deposit_event(Event::SwapScheduled { run, uid, incarnation, hotkey });
        Ok(())
    }

    /// Makes the changes of hotkeys that wait, before the epoch's snapshot is taken.
    pub(crate) fn apply_swaps(run: RunId, meter: &mut Meter) {
        let swaps = Swaps::<T>::take(run);
        meter.add(T::WeightInfo::close_swaps(count(swaps.len())));
        for swap in &swaps {
            Self::apply_swap(run, swap);
            let _ = frame_system::Pallet::<T>::dec_providers(&account(&swap.hotkey));
        }
    }

    /// Does nothing if the member left.
    fn apply_swap(run: RunId, swap: &Swap) {
        let (uid, incarnation) = (swap.uid, swap.incarnation);
        let Some(mut member) = Members::<T>::get(run, uid).filter(|m| m.incarnation == incarnation) else {
            return;
        };
        Self::keep_signer(run, uid, &member);
        let (old, new) = (account(&member.hotkey), account(&swap.hotkey));
        UidOf::<T>::remove(run, &old);
        UidOf::<T>::insert(run, &new, uid);
        frame_system::Pallet::<T>::inc_providers(&new);
        // Refused while something else still needs the account; then the reference stays, harmless.
        let _ = frame_system::Pallet::<T>::dec_providers(&old);
        Endpoints::<T>::remove(run, uid);
        member.hotkey = swap.hotkey;
        member.served_in = None;
        Members::<T>::insert(run, uid, member);
        Self::deposit_event(Event::HotkeySwapped { run, uid, incarnation, old, new });
    }

    pub(crate) fn do_announce_coldkey(
        run: RunId,
        uid: Uid,
        coldkey: &AccountId32,
        to: AccountId32,
    ) -> DispatchResult {
        ensure!(Clocks::<T>::contains_key(run), Error::<T>::UnknownRun);
        let member = Self::own_member(run, uid, coldkey)?;
        ensure!(to != *coldkey, Error::<T>::SameColdkey);
        let ready_at = Self::now().saturating_add(T::ColdkeyDelay::get());
        Handovers::<T>::insert(run, uid, Handover { to: key(&to), ready_at });
        let incarnation = member.incarnation;
        Self::deposit_event(Event::ColdkeyAnnounced { run, uid, incarnation, to, ready_at });
        Ok(())
    }

    pub(crate) fn do_cancel_coldkey(run: RunId, uid: Uid, coldkey: &AccountId32) -> DispatchResult {
        ensure!(Clocks::<T>::contains_key(run), Error::<T>::UnknownRun);
        let member = Self::own_member(run, uid, coldkey)?;
        ensure!(Handovers::<T>::contains_key(run, uid), Error::<T>::NotAnnounced);
        Handovers::<T>::remove(run, uid);
        Self::deposit_event(Event::ColdkeyCanceled { run, uid, incarnation: member.incarnation });
        Ok(())
    }

    pub(crate) fn do_take_over(run: RunId, uid: Uid, who: &AccountId32) -> DispatchResult {
        ensure!(Clocks::<T>::contains_key(run), Error::<T>::UnknownRun);
        let member = Members::<T>::get(run, uid).ok_or(Error::<T>::NotMember)?;
        let handover = Handovers::<T>::get(run, uid).ok_or(Error::<T>::NotAnnounced)?;
        ensure!(handover.to == key(who), Error::<T>::NotOwner);
        ensure!(Self::now() >= handover.ready_at, Error::<T>::TooEarly);
        with_storage_layer(|| Self::hand_over(run, uid, member, who))
    }

    fn hand_over(run: RunId, uid: Uid, mut member: Member, to: &AccountId32) -> DispatchResult {
        let from = account(&member.coldkey);
        let incarnation = member.incarnation;
        if member.role == Role::Validator {
            Self::move_hold(HoldReason::Bond, &from, to, member.bond)?;
        }
        if let Some(mut record) = Vestings::<T>::get(run, incarnation) {
            Self::move_hold(HoldReason::Entry, &from, to, record.entry)?;
            record.coldkey = key(to);
            Vestings::<T>::insert(run, incarnation, record);
        }
        member.coldkey = key(to);
        Members::<T>::insert(run, uid, member);
        Handovers::<T>::remove(run, uid);
        Self::deposit_event(Event::ColdkeyChanged { run, uid, incarnation, from, to: to.clone() });
        Ok(())
    }

    fn move_hold(reason: HoldReason, from: &AccountId32, to: &AccountId32, amount: u128) -> DispatchResult {
        if amount > 0 {
            let (exact, held, polite) = (Precision::Exact, Restriction::OnHold, Fortitude::Polite);
            T::Currency::transfer_on_hold(&reason.into(), from, to, amount, exact, held, polite)?;
        }
        Ok(())
    }
}
