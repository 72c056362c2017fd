//! Unbonding, withdrawal, leaving validators, permits lost and regained.

use iota_protocol::{
    ids::{Epoch, Incarnation, RunId, Uid},
    params::RunParams,
    work::Role,
};
use polkadot_sdk::frame_support::{
    assert_noop, assert_ok,
    dispatch::CheckIfFeeless,
    traits::fungible::{Inspect, InspectHold},
};

use crate::{mock::*, pallet::*};

type E = Error<Test>;

fn long() -> RunParams {
    RunParams { epochs: 12, ..params() }
}

fn held(index: u8) -> u128 {
    Balances::balance_on_hold(&HoldReason::Bond.into(), &coldkey(index))
}

fn unbond(index: u8, amount: u128) -> polkadot_sdk::sp_runtime::DispatchResult {
    Bare::unbond(signed(coldkey(index)), RUN, uid(index), amount)
}

fn permitted(epoch: u32) -> Vec<Uid> {
    let snapshot = Snapshots::<Test>::get((RUN, Epoch(epoch))).unwrap();
    snapshot.validators.iter().map(|validator| validator.uid).collect()
}

/// Miners work through the epoch; these validators score the one before. Whether that one was void.
fn epoch_scored_by(validators: &[u8]) -> bool {
    score_epoch(validators);
    merge_epoch(&[0, 1, 2, 3]);
    Iota::report_view(RUN, Epoch(clock().epoch.0 - 2)).unwrap().void
}

#[test]
fn unbonding_is_refused_for_a_reason() {
    with_epoch(long(), || {
        let owner = || signed(coldkey(4));
        assert_noop!(Bare::unbond(owner(), RunId(9), uid(4), 1), E::UnknownRun);
        assert_noop!(Bare::unbond(owner(), RUN, Uid(99), 1), E::NotMember);
        assert_noop!(Bare::unbond(owner(), RUN, uid(5), 1), E::NotOwner);
        assert_noop!(Bare::unbond(signed(hotkey(4)), RUN, uid(4), 1), E::NotOwner);
        assert_noop!(Bare::unbond(signed(coldkey(0)), RUN, uid(0), 1), E::NotValidator);
        assert_noop!(unbond(4, 0), E::BadAmount);
        assert_noop!(unbond(4, MIN_BOND + 1), E::BadAmount);
        assert_noop!(unbond(4, 1), E::BondTooLow);
        assert_noop!(unbond(4, MIN_BOND - 1), E::BondTooLow);
        assert_ok!(Bare::bond(owner(), RUN, uid(4), 7));
        assert_ok!(unbond(4, 7));
        assert_ok!(unbond(4, MIN_BOND));
        assert_eq!((member(4).bond, held(4)), (0, MIN_BOND + 7));
    });
}

#[test]
fn what_was_unbonded_is_withdrawn_after_the_delay_by_anyone_for_its_owner() {
    with_epoch(long(), || {
        let (owner, incarnation) = (coldkey(4), member(4).incarnation);
        let withdraw = |run, of| Bare::withdraw(signed(coldkey(30)), run, incarnation, of);
        assert_noop!(withdraw(RUN, owner.clone()), E::NotUnbonding);
        let free = Balances::balance(&owner);
        assert_ok!(unbond(4, MIN_BOND));
        let delay = UNBOND_DELAY;
        let free_at = System::block_number() + delay;
        assert_noop!(withdraw(RunId(9), owner.clone()), E::NotUnbonding);
        assert_noop!(withdraw(RUN, coldkey(5)), E::NotUnbonding);
        run_to(free_at - 1);
        assert_noop!(withdraw(RUN, owner.clone()), E::StillBonded);
        run_to(free_at);
        assert_ok!(withdraw(RUN, owner.clone()));
        assert_eq!((held(4), Balances::balance(&owner)), (0, free + MIN_BOND));
        assert_noop!(withdraw(RUN, owner), E::NotUnbonding);
    });
}

#[test]
fn unbonding_more_starts_the_delay_anew() {
    with_epoch(long(), || {
        let (owner, incarnation) = (coldkey(4), member(4).incarnation);
        assert_ok!(Bare::bond(signed(owner.clone()), RUN, uid(4), 10));
        assert_ok!(unbond(4, 3));
        run_to(System::block_number() + 15);
        assert_ok!(unbond(4, 7));
        run_to(System::block_number() + 19);
        let withdraw = || Bare::withdraw(signed(owner.clone()), RUN, incarnation, owner.clone());
        assert_noop!(withdraw(), E::StillBonded);
        run_to(System::block_number() + 1);
        assert_ok!(withdraw());
        assert_eq!(held(4), MIN_BOND);
    });
}

#[test]
fn unbonded_stake_counts_in_no_later_snapshot() {
    with_epoch(long(), || {
        assert_ok!(unbond(4, MIN_BOND));
        whole_epoch_of_miners();
        assert_eq!(permitted(0), [uid(5)]);
    });
}

fn whole_epoch_of_miners() {
    merge_epoch(&[0, 1, 2, 3]);
}

#[test]
fn a_leaving_validator_is_in_no_snapshot_and_its_bond_unbonds() {
    with_epoch(long(), || {
        let (uid4, incarnation) = (uid(4), member(4).incarnation);
        assert_ok!(Bare::leave(signed(hotkey(4)), RUN, uid4));
        assert_noop!(Bare::leave(signed(coldkey(4)), RUN, uid4), E::AlreadyLeaving);
        whole_epoch_of_miners();
        assert!(!UidOf::<Test>::contains_key(RUN, hotkey(4)));
        assert_eq!(permitted(0), [uid(5)]);
        assert_eq!(held(4), MIN_BOND);
        run_to(System::block_number() + 20);
        assert_ok!(Bare::withdraw(signed(coldkey(4)), RUN, incarnation, coldkey(4)));
        assert_eq!(held(4), 0);
    });
}

#[test]
fn bonds_come_back_after_the_end_of_a_run() {
    with_epoch(params(), || {
        (0..2).for_each(|_| whole_epoch());
        run_to_close();
        let incarnation = member(4).incarnation;
        assert_ok!(Bare::leave(signed(coldkey(4)), RUN, uid(4)));
        assert_ok!(unbond(5, MIN_BOND));
        run_to(System::block_number() + 20);
        assert_ok!(Bare::withdraw(signed(coldkey(4)), RUN, incarnation, coldkey(4)));
        assert_ok!(Bare::withdraw(signed(coldkey(5)), RUN, member(5).incarnation, coldkey(5)));
        assert_eq!((held(4), held(5)), (0, 0));
    });
}

#[test]
fn a_dead_half_of_the_stake_voids_as_many_epochs_as_it_may_miss_and_no_more() {
    with_epoch(long(), || {
        whole_epoch_of_miners();
        assert!(epoch_scored_by(&[4]), "half is not more than half");
        assert_eq!(member(5).missed_reveals, 1);
        assert!(epoch_scored_by(&[4]), "the second miss");
        assert!(deposited(|event| matches!(event, Event::PermitLost { uid: Uid(5), .. })));
        assert_eq!(permitted(1), [uid(4), uid(5)]);
        assert_eq!(permitted(2), [uid(4)]);
        assert!(!epoch_scored_by(&[4]), "the dead no longer count");
        assert_eq!(member(5).missed_reveals, 2, "who is not permitted misses nothing");
    });
}

#[test]
fn a_permit_comes_back_on_probation_and_a_reveal_clears_it() {
    with_epoch(long(), || {
        whole_epoch_of_miners();
        epoch_scored_by(&[4]);
        epoch_scored_by(&[4]);
        assert_ok!(Bare::resume(signed(hotkey(5)), RUN));
        assert_noop!(Bare::resume(signed(hotkey(5)), RUN), E::HasPermit);
        epoch_scored_by(&[4]);
        assert_eq!(permitted(3), [uid(4), uid(5)]);
        epoch_scored_by(&[4]);
        assert_eq!(permitted(4), [uid(4)], "one miss on probation");
        assert_ok!(Bare::resume(signed(hotkey(5)), RUN));
        epoch_scored_by(&[4]);
        assert!(!epoch_scored_by(&[4, 5]));
        assert_eq!(member(5).missed_reveals, 0);
        assert_eq!(permitted(6), [uid(4), uid(5)]);
    });
}

#[test]
fn resuming_is_refused_for_a_reason_and_free_when_it_is_not() {
    with_run(long(), || {
        join(4, Role::Validator);
        assert_noop!(Bare::resume(signed(hotkey(4)), RUN), E::NotRunning);
    });
    with_epoch(long(), || {
        assert_noop!(Bare::resume(signed(hotkey(4)), RunId(9)), E::UnknownRun);
        assert_noop!(Bare::resume(signed(hotkey(9)), RUN), E::NotMember);
        assert_noop!(Bare::resume(signed(hotkey(0)), RUN), E::NotValidator);
        assert_noop!(Bare::resume(signed(hotkey(4)), RUN), E::HasPermit);
        let call = RuntimeCall::Iota(Call::resume { run: RUN });
        assert!(!call.is_feeless(&signed(hotkey(4))));
        Members::<Test>::mutate(RUN, uid(4), |member| member.as_mut().unwrap().missed_reveals = 2);
        assert!(call.is_feeless(&signed(hotkey(4))));
        assert!(!call.is_feeless(&signed(coldkey(4))));
    });
}

#[test]
fn row_15_bonds_are_whole_under_a_tiny_and_a_huge_existential_deposit() {
    for deposit in [1, RICH / 2] {
        with_deposit(deposit, long(), || {
            start_epoch_0();
            let issuance = Balances::total_issuance();
            // All but the deposit and the least that a hold leaves.
            let most = Balances::balance(&coldkey(4)) - deposit;
            assert_ok!(Bare::bond(signed(coldkey(4)), RUN, uid(4), most));
            assert_ok!(unbond(4, most + MIN_BOND));
            run_to(System::block_number() + 20);
            assert_ok!(Bare::withdraw(signed(coldkey(9)), RUN, member(4).incarnation, coldkey(4)));
            assert_eq!(held(4), 0);
            assert_eq!(Balances::total_issuance(), issuance);
        });
    }
}

#[test]
fn a_record_that_nobody_has_is_not_withdrawn() {
    with_run(params(), || {
        let withdraw = || Bare::withdraw(signed(coldkey(0)), RUN, Incarnation(7), coldkey(0));
        assert_noop!(withdraw(), E::NotUnbonding);
    });
}
