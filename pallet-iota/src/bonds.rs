//! Bonds of validators: what they put up, how they take it back, and how a permit is lost.
//!
//! A bond is a hold on the coldkey. What is unbonded stops counting at the next snapshot and stays on
//! hold for `UnbondDelay` blocks, longer than an epoch can be scored and contested; unbonding more of
//! the same member starts its delay anew. A validator that leaves, or whose seat is given away,
//! unbonds everything.
//!
//! A permitted validator that lets `MaxMissedReveals` scored epochs in a row pass without a reveal
//! loses its permit: its stake no longer counts for the quorum, so that the epochs that a dead
//! majority of stake can void are as many as that and not all. It keeps seat and bond, and asks for
//! the permit again with [`resume`](crate::Pallet::resume) from its hotkey, which only a live
//! validator does; the next miss takes it again, and a reveal clears the count. The price is that
//! whoever keeps the larger stake from revealing for that long scores alone until it resumes.

use iota_protocol::{
    ids::{Incarnation, RunId, Uid},
    view::{ScoreView, SnapshotView},
    work::Role,
};
use polkadot_sdk::{
    frame_support::{
        ensure,
        pallet_prelude::DispatchResult,
        traits::{fungible::MutateHold, tokens::Precision, Get},
    },
    sp_runtime::AccountId32,
};

use crate::{
    pallet::{Clocks, Config, Error, Event, HoldReason, Members, Pallet, Unbondings},
    types::{account, key, Member, State, Unbonding},
};

impl<T: Config> Pallet<T> {
    /// The validator of that uid, if `coldkey` owns it.
    fn own_validator(run: RunId, uid: Uid, coldkey: &AccountId32) -> Result<Member, Error<T>> {
        let member = Members::<T>::get(run, uid).ok_or(Error::<T>::NotMember)?;
        ensure!(member.coldkey == key(coldkey), Error::<T>::NotOwner);
        ensure!(member.role == Role::Validator, Error::<T>::NotValidator);
        Ok(member)
    }

    pub(crate) fn do_bond(run: RunId, uid: Uid, coldkey: &AccountId32, amount: u128) -> DispatchResult {
        let clock = Clocks::<T>::get(run).ok_or(Error::<T>::UnknownRun)?;
        // Nothing is earned after the end, and the bond would only be locked up.
        ensure!(clock.state != State::Ended, Error::<T>::NotRunning);
        let mut member = Self::own_validator(run, uid, coldkey)?;
        let total = member.bond.saturating_add(amount);
        ensure!(total >= T::MinValidatorBond::get(), Error::<T>::BondTooLow);
        T::Currency::hold(&HoldReason::Bond.into(), coldkey, amount)?;
        member.bond = total;
        Members::<T>::insert(run, uid, member);
        Self::deposit_event(Event::Bonded { run, uid, amount, total });
        Ok(())
    }

    pub(crate) fn do_unbond(run: RunId, uid: Uid, coldkey: &AccountId32, amount: u128) -> DispatchResult {
        ensure!(Clocks::<T>::contains_key(run), Error::<T>::UnknownRun);
        let mut member = Self::own_validator(run, uid, coldkey)?;
        let left = member.bond.checked_sub(amount).ok_or(Error::<T>::BadAmount)?;
        ensure!(amount > 0, Error::<T>::BadAmount);
        ensure!(left == 0 || left >= T::MinValidatorBond::get(), Error::<T>::BondTooLow);
        member.bond = left;
        Self::start_unbonding(run, uid, &member, amount);
        Members::<T>::insert(run, uid, member);
        Ok(())
    }

    /// Starts the delay of an amount that is on hold and no longer in a bond.
    pub(crate) fn start_unbonding(run: RunId, uid: Uid, member: &Member, amount: u128) {
        let (incarnation, coldkey) = (member.incarnation, account(&member.coldkey));
        let free_at = Self::now().saturating_add(T::UnbondDelay::get());
        let before = Unbondings::<T>::get((run, incarnation), &coldkey).map_or(0, |before| before.amount);
        let total = before.saturating_add(amount);
        Unbondings::<T>::insert((run, incarnation), coldkey, Unbonding { amount: total, free_at });
        Self::deposit_event(Event::Unbonding { run, uid, incarnation, amount: total, free_at });
    }

    pub(crate) fn do_withdraw(run: RunId, incarnation: Incarnation, coldkey: AccountId32) -> DispatchResult {
        let unbonding = Unbondings::<T>::get((run, incarnation), &coldkey).ok_or(Error::<T>::NotUnbonding)?;
        ensure!(Self::now() >= unbonding.free_at, Error::<T>::StillBonded);
        let amount = unbonding.amount;
        T::Currency::release(&HoldReason::Bond.into(), &coldkey, amount, Precision::Exact)?;
        Unbondings::<T>::remove((run, incarnation), &coldkey);
        Self::deposit_event(Event::Withdrawn { run, incarnation, coldkey, amount });
        Ok(())
    }

    /// Whether a validator may be permitted as far as its reveals go.
    pub(crate) fn reveals_enough(member: &Member) -> bool {
        member.missed_reveals < T::MaxMissedReveals::get()
    }

    /// Counts reveals and misses of those that were permitted in the epoch just scored.
    pub(crate) fn count_reveals(run: RunId, snapshot: &SnapshotView, scores: &[ScoreView]) {
        for validator in &snapshot.validators {
            let (uid, incarnation) = (validator.uid, validator.incarnation);
            let Some(mut member) = Members::<T>::get(run, uid) else { continue };
            if member.incarnation != incarnation {
                continue;
            }
            let own = |score: &ScoreView| score.uid == uid && score.incarnation == incarnation;
            let revealed = scores.iter().any(|score| own(score) && score.entries.is_some());
            let missed = if revealed { 0 } else { member.missed_reveals.saturating_add(1) };
            if missed == T::MaxMissedReveals::get() && Self::reveals_enough(&member) {
                Self::deposit_event(Event::PermitLost { run, uid, incarnation });
            }
            if missed != member.missed_reveals {
                member.missed_reveals = missed;
                Members::<T>::insert(run, uid, member);
            }
        }
    }

    pub(crate) fn check_resume(run: RunId, hotkey: &AccountId32) -> Result<(Uid, Member), Error<T>> {
        let clock = Clocks::<T>::get(run).ok_or(Error::<T>::UnknownRun)?;
        ensure!(clock.state == State::Running, Error::<T>::NotRunning);
        let (uid, member) = Self::member_of(run, hotkey)?;
        ensure!(member.role == Role::Validator, Error::<T>::NotValidator);
        ensure!(!Self::reveals_enough(&member), Error::<T>::HasPermit);
        Ok((uid, member))
    }

    pub(crate) fn do_resume(run: RunId, hotkey: &AccountId32) -> DispatchResult {
        let (uid, mut member) = Self::check_resume(run, hotkey)?;
        member.missed_reveals = T::MaxMissedReveals::get().saturating_sub(1);
        let incarnation = member.incarnation;
        Members::<T>::insert(run, uid, member);
        Self::deposit_event(Event::PermitRegained { run, uid, incarnation });
        Ok(())
    }
}
