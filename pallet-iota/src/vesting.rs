//! What a member has to lose: pay that has not vested, and the hold that a newcomer starts with.
//!
//! A miner's pay vests in equal parts over the `VestEpochs` epochs after it was credited, so that in
//! the long run half of that many epochs' pay can be forfeited. A miner that joins a run which pays
//! already puts as much on hold on its coldkey, by the mean pay of the last epoch that paid; the hold
//! is free `VestEpochs` epochs after the first pay, when vesting pay has taken its place, or after
//! the leaving. Miners of a run that has paid nobody start without: there is no pay to go by.
//!
//! Records move forward when somebody pays into them or asks ([`Pallet::do_release`]), not when an
//! epoch closes. After a run's end epochs go on in their nominal length, so that everything vests.

use iota_protocol::{
    emission::SHARES,
    ids::{Epoch, Incarnation, RunId, Uid},
    params::PPM,
    phase::Schedule,
    vesting::{deters, entry_hold, MAX_VEST},
    view::{OwedView, Payout},
    work::Role,
};
use polkadot_sdk::{
    frame_support::{
        defensive, ensure,
        pallet_prelude::DispatchResult,
        storage::with_storage_layer,
        traits::{
            fungible::{Mutate, MutateHold},
            tokens::{Fortitude, Precision, Preservation, Restriction},
            Get,
        },
    },
    sp_runtime::{AccountId32, DispatchError},
};

use crate::{
    pallet::{Config, Error, Event, HoldReason, MeanPay, Pallet, Rewards, TotalOwed, Vestings},
    types::{account, key, State, Vesting},
    verdicts::VERDICT_EPOCHS,
};

impl<T: Config> Pallet<T> {
    /// The epoch by which vesting goes: the current one, and after the end as if epochs went on.
    pub(crate) fn vesting_epoch(run: RunId) -> Epoch {
        let Ok((params, clock)) = Self::run_of(run) else { return Epoch(0) };
        if clock.state != State::Ended {
            return clock.epoch;
        }
        let length = Schedule::new(&params.phases, false, 0, 0).next_start();
        let since = Self::now().saturating_sub(clock.start).checked_div(length).unwrap_or(0);
        Epoch(clock.epoch.0.saturating_add(since))
    }

    /// Credits a miner in epoch `now`; what has vested of earlier pay becomes claimable.
    pub(crate) fn pay_vesting(run: RunId, now: Epoch, payout: &Payout) {
        let over = T::VestEpochs::get();
        let record = Vestings::<T>::get(run, payout.incarnation);
        let mut record = record.unwrap_or_else(|| Vesting::new(payout.coldkey));
        let vested = record.tranches.pay(now, payout.amount, over);
        record.entry_until = record.entry_until.or(Some(Epoch(now.0.saturating_add(over))));
        Self::make_claimable(&account(&record.coldkey), vested);
        Vestings::<T>::insert(run, payout.incarnation, record);
    }

    /// What a newcomer of that role puts on hold, smallest units. Validators have a bond to lose.
    pub(crate) fn entry_of(run: RunId, role: Role) -> u128 {
        match role {
            Role::Miner => entry_hold(MeanPay::<T>::get(run), T::VestEpochs::get()),
            Role::Validator => 0,
        }
    }

    /// Puts a newcomer's hold on its coldkey.
    pub(crate) fn hold_entry(
        run: RunId,
        incarnation: Incarnation,
        coldkey: &AccountId32,
        amount: u128,
    ) -> DispatchResult {
        if amount > 0 {
            T::Currency::hold(&HoldReason::Entry.into(), coldkey, amount)?;
            let record = Vesting { entry: amount, ..Vesting::new(key(coldkey)) };
            Vestings::<T>::insert(run, incarnation, record);
        }
        Ok(())
    }

    /// From now on the hold of a member that left counts down, unless it does already.
    pub(crate) fn count_down_entry(run: RunId, incarnation: Incarnation) {
        let Some(mut record) = Vestings::<T>::get(run, incarnation) else { return };
        if record.entry_until.is_none() {
            let until = Self::vesting_epoch(run).0.saturating_add(T::VestEpochs::get());
            record.entry_until = Some(Epoch(until));
            Vestings::<T>::insert(run, incarnation, record);
        }
    }

    pub(crate) fn do_release(run: RunId, incarnation: Incarnation) -> DispatchResult {
        let now = Self::vesting_epoch(run);
        let mut record = Vestings::<T>::get(run, incarnation).ok_or(Error::<T>::NothingVested)?;
        let vested = record.tranches.take_vested(now);
        let over = record.entry_until.is_some_and(|until| now >= until);
        let entry = if over { core::mem::take(&mut record.entry) } else { 0 };
        ensure!(vested > 0 || entry > 0, Error::<T>::NothingVested);
        let coldkey = account(&record.coldkey);
        if entry > 0 {
            T::Currency::release(&HoldReason::Entry.into(), &coldkey, entry, Precision::Exact)?;
        }
        Self::make_claimable(&coldkey, vested);
        if record.tranches.is_empty() && record.entry == 0 {
            Vestings::<T>::remove(run, incarnation);
        } else {
            Vestings::<T>::insert(run, incarnation, record);
        }
        Self::deposit_event(Event::Released { run, incarnation, coldkey, vested, entry });
        Ok(())
    }

    /// Takes everything that has not vested from a member that was found guilty, and the hold that it
    /// started with, to the treasury; what had vested becomes claimable. Returns what was taken,
    /// smallest units; 0 if there was nothing. Safe to call twice, and after the member left.
    pub fn forfeit(run: RunId, uid: Uid, incarnation: Incarnation) -> u128 {
        let Some(record) = Vestings::<T>::get(run, incarnation) else { return 0 };
        with_storage_layer(|| Self::take_forfeit(run, uid, incarnation, record)).unwrap_or_else(|error| {
            defensive!("the treasury cannot take a forfeit", error);
            0
        })
    }

    fn take_forfeit(
        run: RunId,
        uid: Uid,
        incarnation: Incarnation,
        mut record: Vesting,
    ) -> Result<u128, DispatchError> {
        let coldkey = account(&record.coldkey);
        let vested = record.tranches.take_vested(Self::vesting_epoch(run));
        let (unvested, entry) = (record.tranches.total(), record.entry);
        if unvested > 0 {
            T::Currency::transfer(&Self::pot(), &Self::treasury(), unvested, Preservation::Preserve)?;
            TotalOwed::<T>::mutate(|owed| *owed = owed.saturating_sub(unvested));
        }
        if entry > 0 {
            let (reason, treasury) = (HoldReason::Entry.into(), Self::treasury());
            let (exact, free, force) = (Precision::Exact, Restriction::Free, Fortitude::Force);
            T::Currency::transfer_on_hold(&reason, &coldkey, &treasury, entry, exact, free, force)?;
        }
        Self::make_claimable(&coldkey, vested);
        Vestings::<T>::remove(run, incarnation);
        Self::deposit_event(Event::Forfeited { run, uid, incarnation, coldkey, unvested, entry });
        Ok(unvested.saturating_add(entry))
    }

    /// What an account is owed, now and later. Reads every record of the chain: for views only.
    pub fn owed_view(owner: &AccountId32) -> OwedView {
        let records = Vestings::<T>::iter().filter(|(_, _, record)| record.coldkey == key(owner));
        let view = |(run, incarnation, record): (RunId, Incarnation, Vesting)| {
            record.view(run, incarnation, Self::vesting_epoch(run))
        };
        let mut members: alloc::vec::Vec<_> = records.map(view).collect();
        members.sort_unstable_by_key(|member| (member.run, member.incarnation));
        OwedView { claimable: Rewards::<T>::get(owner), members }
    }

    /// Relations between the constants of price and vesting.
    pub(crate) fn check_money_constants() {
        let pricing = T::RegistrationPricing::get();
        assert!(pricing.is_sound(), "prices: 0 < min <= max <= 2^55, a half-life, a factor of at least one");
        let first = T::InitialRegistrationPrice::get();
        assert!(pricing.min <= first && first <= pricing.max, "the price at genesis is out of bounds");
        let over = T::VestEpochs::get();
        assert!((1..=MAX_VEST).contains(&over), "pay vests over 1 to 64 epochs");
        assert!(
            over > VERDICT_EPOCHS,
            "who leaves must have something to lose for as long as it can be judged"
        );
        assert!(T::UnbondDelay::get() > 0, "a bond that is free at once deters nobody");
        assert!(T::MaxMissedReveals::get() > 0, "a validator that misses nothing must keep its permit");
        let shares = [SHARES.miners_ppm, SHARES.validators_ppm, SHARES.treasury_ppm];
        let whole = shares.iter().fold(0u32, |sum, share| sum.saturating_add(*share));
        assert!(whole == PPM, "the shares of miners, validators and treasury must be the whole emission");
        assert!(deters(T::MinAuditRate::get(), over), "q_min * (1 + VestEpochs / 2) must be above 1");
    }
}
