//! Money: what a scored epoch mints, who is owed it, who took it.
//!
//! Pay of validators is claimable as soon as it is credited, pay of miners when it has vested.

use iota_protocol::{
    emission::{payouts_root, settle, Settlement, Terms},
    ids::{AccountKey, Epoch, RunId},
    params::RunParams,
    seat::Standing,
    view::{Payout, SnapshotView},
};
use polkadot_sdk::{
    frame_support::{
        defensive, ensure,
        pallet_prelude::DispatchResult,
        traits::{
            fungible::{Balanced, Inspect, Mutate},
            tokens::{imbalance::Imbalance, Preservation},
            Get,
        },
        BoundedVec,
    },
    sp_runtime::{traits::AccountIdConversion, AccountId32},
};

use crate::{
    pallet::{
        Burned, Config, Error, Event, MeanPay, Members, Pallet, Payouts, Reports, Rewards, TotalMinted,
        TotalOwed,
    },
    types::{account, key, Clock, Payment, Report},
};

impl<T: Config> Pallet<T> {
    /// The account that holds rewards until they are claimed.
    pub fn pot() -> AccountId32 {
        T::PotId::get().into_account_truncating()
    }

    /// The account that takes remainders and unattributed shares.
    pub fn treasury() -> AccountId32 {
        T::TreasuryId::get().into_account_truncating()
    }

    /// Mints the existential deposit to pot and treasury, so that both can take any amount.
    pub(crate) fn fund_own_accounts() {
        for own in [Self::pot(), Self::treasury()] {
            let funded = T::Currency::mint_into(&own, T::Currency::minimum_balance());
            assert!(funded.is_ok(), "genesis: cannot fund {own:?}: {funded:?}");
        }
    }

    /// Settles a scored epoch: mints once, credits, keeps the report.
    pub(crate) fn settle_epoch(
        run: RunId,
        params: &RunParams,
        clock: &mut Clock,
        epoch: Epoch,
        snapshot: &SnapshotView,
        terms: Terms,
    ) -> Settlement {
        let scores = Self::scores_view(run, terms.scored_by);
        if terms.scored_by == epoch {
            Self::count_reveals(run, snapshot, &scores);
        }
        let supports = Self::supports_view(run);
        let mut settlement = settle(params, snapshot, &scores, &supports, &terms);
        // A void epoch that is scored again keeps what its first report counted.
        let counted = Reports::<T>::get((run, epoch)).map_or(0, |report| report.split.burned);
        settlement.split.burned = Burned::<T>::take(run).saturating_add(counted);
        if !settlement.void && Self::mint(&settlement) {
            clock.minted = clock.minted.saturating_add(settlement.split.minted);
            let rest = if terms.scored_by == epoch {
                Self::hold_pay(run, epoch, &settlement.payouts)
            } else {
                settlement.payouts.clone()
            };
            Self::credit(run, epoch, clock.epoch, snapshot, &rest);
            Self::keep_mean_pay(run, snapshot, &settlement);
        }
        Self::keep_supports(run, &settlement.bonds);
        Self::keep_report(run, epoch, &settlement, terms);
        settlement
    }

    /// Issues a settlement's emission into pot and treasury; false if they cannot take it, which
    /// funding them at genesis rules out.
    fn mint(settlement: &Settlement) -> bool {
        let split = &settlement.split;
        let (to_treasury, to_pot) = T::Currency::issue(split.minted).split(split.treasury);
        let paid = T::Currency::resolve(&Self::pot(), to_pot).is_ok();
        if !paid {
            defensive!("the pot cannot take an epoch's emission");
            return false;
        }
        if T::Currency::resolve(&Self::treasury(), to_treasury).is_err() {
            defensive!("the treasury cannot take its share");
        }
        TotalMinted::<T>::mutate(|minted| *minted = minted.saturating_add(split.minted));
        true
    }

    /// Credits what was minted for an epoch: to miners as pay that vests from epoch `now` on.
    pub(crate) fn credit(run: RunId, epoch: Epoch, now: Epoch, snapshot: &SnapshotView, payouts: &[Payout]) {
        let mut sum = 0u128;
        for payout in payouts {
            let (uid, incarnation, amount) = (payout.uid, payout.incarnation, payout.amount);
            let coldkey = account(&payout.coldkey);
            if is_miner(snapshot, payout) {
                Self::pay_vesting(run, now, payout);
            } else {
                Self::make_claimable(&coldkey, amount);
            }
            Self::raise_standing(run, epoch, payout);
            sum = sum.saturating_add(amount);
            Self::deposit_event(Event::Rewarded { run, epoch, uid, incarnation, coldkey, amount });
        }
        TotalOwed::<T>::mutate(|owed| *owed = owed.saturating_add(sum));
    }

    fn keep_mean_pay(run: RunId, snapshot: &SnapshotView, settlement: &Settlement) {
        let miners = settlement.payouts.iter().filter(|payout| is_miner(snapshot, payout)).count();
        let miners = u128::try_from(miners).unwrap_or(u128::MAX);
        if let Some(mean) = settlement.split.miners.checked_div(miners) {
            MeanPay::<T>::insert(run, mean);
        }
    }

    /// Adds to what an account may claim. Its caller accounts for `TotalOwed`.
    pub(crate) fn make_claimable(coldkey: &AccountId32, amount: u128) {
        if amount > 0 {
            Rewards::<T>::mutate(coldkey, |owed| *owed = owed.saturating_add(amount));
        }
    }

    /// Whoever holds the uid now has earned this only if it is who was paid.
    fn raise_standing(run: RunId, epoch: Epoch, payout: &Payout) {
        let Some(mut member) = Members::<T>::get(run, payout.uid) else { return };
        if member.incarnation == payout.incarnation {
            member.standing = Some(Standing::paid(member.standing, epoch, payout.amount));
            Members::<T>::insert(run, payout.uid, member);
        }
    }

    fn keep_report(run: RunId, epoch: Epoch, settlement: &Settlement, terms: Terms) {
        let root = payouts_root(&settlement.payouts);
        let split = settlement.split;
        let report = Report {
            block: Self::now(),
            void: settlement.void,
            terms,
            split,
            payouts_root: root,
            bonds_root: settlement.bonds_root(),
        };
        let payments = settlement.payouts.iter().map(Payment::new).collect();
        Reports::<T>::insert((run, epoch), report);
        Payouts::<T>::insert((run, epoch), BoundedVec::truncate_from(payments));
        Self::deposit_event(Event::EpochSettled {
            run,
            epoch,
            void: settlement.void,
            minted: split.minted,
            miners: split.miners,
            validators: split.validators,
            treasury: split.treasury,
            burned: split.burned,
            payouts_root: root,
        });
    }

    pub(crate) fn do_claim(account: AccountId32) -> DispatchResult {
        let amount = Rewards::<T>::get(&account);
        ensure!(amount > 0, Error::<T>::NothingOwed);
        T::Currency::transfer(&Self::pot(), &account, amount, Preservation::Preserve)?;
        Rewards::<T>::remove(&account);
        TotalOwed::<T>::mutate(|owed| *owed = owed.saturating_sub(amount));
        Self::deposit_event(Event::Claimed { account, amount });
        Ok(())
    }

    /// What an account may claim.
    pub fn owed_to(account: &AccountKey) -> u128 {
        Rewards::<T>::get(crate::types::account(account))
    }

    /// The pot as a protocol key.
    pub fn pot_key() -> AccountKey {
        key(&Self::pot())
    }
}

fn is_miner(snapshot: &SnapshotView, payout: &Payout) -> bool {
    snapshot.miners.iter().any(|m| m.uid == payout.uid && m.incarnation == payout.incarnation)
}
