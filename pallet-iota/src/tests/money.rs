//! Emission, rewards, claims.

use iota_protocol::{
    emission::{epoch_emission, settle, INITIAL_PER_EPOCH, MAX_SUPPLY},
    ids::{AccountKey, Epoch},
    params::RunParams,
    phase::Phase,
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, traits::fungible::Inspect},
    sp_runtime::TokenError,
};

use crate::{mock::*, pallet::*, types::account};

type E = Error<Test>;

/// Runs `test` right after epoch 0 was paid.
fn with_paid_epoch(test: impl FnOnce()) {
    with_epoch(RunParams { epochs: 9, ..params() }, || {
        merge_epoch(&[0, 1, 2, 3]);
        score_epoch(&[4, 5]);
        run_to_close();
        test();
    });
}

#[test]
fn row_17_an_epoch_mints_once_and_every_unit_has_an_owner() {
    let mut before = 0;
    with_epoch(RunParams { epochs: 4, ..params() }, || {
        merge_epoch(&[0, 1, 2, 3]);
        score_epoch(&[4, 5]);
        before = Iota::issuance();
        run_to_close();
        let split = Iota::report_view(RUN, Epoch(0)).unwrap().split;
        assert_eq!(split.minted, INITIAL_PER_EPOCH);
        assert_eq!(Iota::issuance(), before + split.minted);
        assert_eq!(TotalMinted::<Test>::get(), split.minted);
        assert_eq!(TotalOwed::<Test>::get(), split.miners + split.validators);
        assert_eq!(Balances::balance(&Iota::treasury()), ED + split.treasury);
        assert_eq!(Balances::balance(&Iota::pot()), ED + split.miners + split.validators);
        // 1000 * 1.26^k for six registrations in one block, rounded up each time.
        assert_eq!(split.burned, 1_000 + 1_260 + 1_588 + 2_001 + 2_522 + 3_178);
        // Equal scores and stakes: equal pay on either side.
        (1..4).for_each(|index| assert_eq!(owed(index), owed(0)));
        assert_eq!(owed(4), owed(5));
    });
}

#[test]
fn a_stranger_derives_the_same_payouts() {
    with_paid_epoch(|| {
        let report = Iota::report_view(RUN, Epoch(0)).unwrap();
        let snapshot = Iota::snapshot_view(RUN, Epoch(0)).unwrap();
        let scores = Iota::scores_view(RUN, Epoch(0));
        let run = Iota::run_view(RUN).unwrap();
        let derived = settle(&run, &snapshot, &scores, &[], &report.terms);
        assert_eq!(derived.payouts, report.payouts);
        assert_eq!(derived.bonds_root(), report.bonds_root);
        assert_eq!(derived.bonds, Iota::supports_view(RUN));
        assert_eq!(derived.split.minted, report.split.minted);
    });
}

#[test]
fn anyone_may_claim_for_an_account_once() {
    with_paid_epoch(|| {
        let amount = claimable(4);
        assert!(amount > 0);
        assert_eq!(Iota::owed_to(&crate::types::key(&coldkey(4))), amount);
        let before = Balances::balance(&coldkey(4));
        assert_ok!(Bare::claim(signed(coldkey(9)), coldkey(4)));
        assert_eq!(Balances::balance(&coldkey(4)), before + amount);
        assert_noop!(Bare::claim(signed(coldkey(9)), coldkey(4)), E::NothingOwed);
        assert_noop!(Bare::claim(signed(coldkey(9)), coldkey(9)), E::NothingOwed);
    });
}

#[test]
fn the_pot_pays_everybody_and_keeps_its_deposit() {
    with_paid_epoch(|| {
        (0..VEST).for_each(|_| idle_epoch());
        for index in 0..4 {
            assert_ok!(Bare::release(signed(coldkey(9)), RUN, member(index).incarnation));
        }
        for index in 0..6 {
            assert_ok!(Bare::claim(signed(coldkey(9)), coldkey(index)));
        }
        assert_eq!(TotalOwed::<Test>::get(), 0);
        assert_eq!(Balances::balance(&Iota::pot()), ED);
    });
}

#[test]
fn a_reward_below_the_existential_deposit_waits() {
    with_paid_epoch(|| {
        let nobody = account(&AccountKey([77; 32]));
        Rewards::<Test>::insert(&nobody, ED - 1);
        TotalOwed::<Test>::mutate(|owed| *owed += ED - 1);
        // The pot can pay it: others' rewards are there.
        assert_noop!(Bare::claim(signed(coldkey(9)), nobody.clone()), TokenError::BelowMinimum);
        assert_eq!(Rewards::<Test>::get(&nobody), ED - 1);
        Rewards::<Test>::remove(&nobody);
        TotalOwed::<Test>::mutate(|owed| *owed -= ED - 1);
    });
}

#[test]
fn the_last_unit_of_the_supply_is_minted_and_no_more() {
    with_epoch(RunParams { epochs: 4, ..params() }, || {
        let left = 5;
        let mut clock = clock();
        clock.minted = MAX_SUPPLY - left;
        Clocks::<Test>::insert(RUN, clock);
        TotalMinted::<Test>::put(MAX_SUPPLY - left);
        assert!(epoch_emission(MAX_SUPPLY - left) <= left);
        merge_epoch(&[0, 1, 2, 3]);
        score_epoch(&[4, 5]);
        run_to_close();
        assert!(TotalMinted::<Test>::get() <= MAX_SUPPLY);
        let report = Iota::report_view(RUN, Epoch(0)).unwrap();
        assert!(!report.void && report.split.minted <= left);
    });
}

#[test]
fn the_treasury_takes_the_share_of_a_stage_that_nobody_scored() {
    with_epoch(RunParams { epochs: 4, ..params() }, || {
        let first: Vec<u8> =
            (0..4).filter(|i| member(*i).stage == Some(iota_protocol::ids::Stage(0))).collect();
        run_to_phase(Phase::Commit);
        first.iter().for_each(|index| commit(*index));
        run_to_close();
        score_epoch(&[4, 5]);
        run_to_close();
        let split = Iota::report_view(RUN, Epoch(0)).unwrap().split;
        assert!(!Iota::report_view(RUN, Epoch(0)).unwrap().void);
        // Half of the miners' half, beside the treasury's own tenth.
        assert_eq!(split.miners, INITIAL_PER_EPOCH / 4);
        assert!(split.treasury >= INITIAL_PER_EPOCH / 4 + INITIAL_PER_EPOCH / 10);
    });
}
