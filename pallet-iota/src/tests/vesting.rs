//! Vesting pay, the hold of newcomers, forfeits.

use iota_protocol::{
    emission::INITIAL_PER_EPOCH,
    ids::{Epoch, Incarnation, RunId, Uid},
    params::RunParams,
    phase::Schedule,
    work::Role,
};
use polkadot_sdk::{
    frame_support::{
        assert_noop, assert_ok,
        traits::{
            fungible::{Inspect, InspectHold},
            Hooks,
        },
    },
    sp_runtime::TokenError,
};

use crate::{mock::*, pallet::*};

type E = Error<Test>;

/// Pay of one of two equal miners of one of two equal stages.
const PAY: u128 = INITIAL_PER_EPOCH / 8;

/// Right after epoch 0 was paid, in the first block of epoch 2.
fn with_paid_epoch(epochs: u32, test: impl FnOnce()) {
    with_epoch(RunParams { epochs, ..params() }, || {
        whole_epoch();
        whole_epoch();
        assert_eq!(clock().epoch, Epoch(2));
        test();
    });
}

fn release(index: u8) -> polkadot_sdk::sp_runtime::DispatchResult {
    Bare::release(signed(coldkey(30)), RUN, member(index).incarnation)
}

fn entry_held(index: u8) -> u128 {
    Balances::balance_on_hold(&HoldReason::Entry.into(), &coldkey(index))
}

#[test]
fn pay_vests_in_equal_parts_from_the_epoch_after() {
    with_paid_epoch(9, || {
        assert_eq!(owed(0), PAY);
        assert_eq!(claimable(0), 0, "nothing is claimable before it is released");
        assert_noop!(Bare::claim(signed(coldkey(0)), coldkey(0)), E::NothingOwed);
        for part in 1..=u128::from(VEST) {
            assert_ok!(release(0));
            assert_eq!(claimable(0), PAY * part / 4);
            assert_noop!(release(0), E::NothingVested);
            idle_epoch();
        }
        assert_eq!(claimable(0), PAY);
        assert!(!Vestings::<Test>::contains_key(RUN, member(0).incarnation), "nothing is kept of it");
        assert_ok!(Bare::claim(signed(coldkey(30)), coldkey(0)));
        assert_eq!(owed(0), 0);
    });
}

#[test]
fn the_next_pay_makes_claimable_what_has_vested() {
    with_paid_epoch(9, || {
        whole_epoch();
        // Paid in epoch 1: a quarter vested in epoch 2. Paid again in epoch 2, all of it vests later.
        assert_eq!(claimable(0), PAY / 4);
        assert_eq!(owed(0), 2 * PAY);
        assert_ok!(release(0));
        assert_eq!(claimable(0), 3 * PAY / 4, "two quarters of the first and one of the second");
    });
}

#[test]
fn pay_of_a_void_epoch_that_is_settled_with_the_next_vests_from_then_on() {
    with_epoch(RunParams { epochs: 12, ..params() }, || {
        whole_epoch();
        // Nobody scores epoch 0 in epoch 1; what is revealed about epoch 1 settles both in epoch 2.
        merge_epoch(&[0, 1, 2, 3]);
        assert!(Iota::report_view(RUN, Epoch(0)).unwrap().void);
        assert_eq!(owed(0), 0);
        run_to(System::block_number() + 1);
        whole_epoch();
        let scored_by = |epoch| Iota::report_view(RUN, Epoch(epoch)).unwrap().terms.scored_by;
        assert_eq!((scored_by(0), scored_by(1)), (Epoch(1), Epoch(1)));
        assert_eq!((owed(0), claimable(0)), (2 * PAY, 0), "paid for both, and nothing is free at once");
        for part in 1..=u128::from(VEST) {
            assert_ok!(release(0));
            assert_eq!(claimable(0), 2 * PAY * part / 4);
            idle_epoch();
        }
        assert!(!Vestings::<Test>::contains_key(RUN, member(0).incarnation));
    });
}

#[test]
fn validators_have_a_bond_and_are_paid_at_once() {
    with_paid_epoch(9, || {
        // Of the validators' two fifths a tenth is for transcripts, and none was opened.
        assert_eq!(claimable(4), INITIAL_PER_EPOCH * 36 / 100 / 2);
        assert_noop!(release(4), E::NothingVested);
    });
}

#[test]
fn after_the_end_pay_goes_on_vesting() {
    with_epoch(params(), || {
        (0..2).for_each(|_| whole_epoch());
        score_epoch(&[4, 5]);
        run_to_close();
        assert_eq!(clock().state, crate::types::State::Ended);
        let length = Schedule::new(&params().phases, false, 0, 0).next_start();
        // One quarter of the first pay vested in the settling epoch, whose pay then moved it on.
        let before = claimable(0);
        assert_eq!(before, PAY / 4);
        run_to(clock().start + length - 1);
        assert_noop!(release(0), E::NothingVested);
        run_to(clock().start + length);
        assert_ok!(release(0));
        assert!(claimable(0) > before);
        run_to(clock().start + VEST * length);
        assert_ok!(release(0));
        assert_eq!(claimable(0), 2 * PAY);
    });
}

#[test]
fn a_newcomer_to_a_paying_run_puts_the_equivalent_on_hold() {
    with_paid_epoch(12, || {
        assert_eq!(MeanPay::<Test>::get(RUN), PAY);
        assert_eq!(entry_held(0), 0, "nobody had been paid when the first came");
        let (owner, poor) = (coldkey(6), coldkey(7));
        let call = |owner: &polkadot_sdk::sp_runtime::AccountId32, index| {
            let role = Role::Miner;
            Bare::register(signed(owner.clone()), RUN, hotkey(index), role, proof(owner, index), RICH)
        };
        assert_noop!(call(&poor, 7), TokenError::FundsUnavailable);
        enrich(6);
        assert_ok!(call(&owner, 6));
        assert_eq!(entry_held(6), 2 * PAY, "half of four epochs' pay");
        let newcomer = member(6).incarnation;
        let release = || Bare::release(signed(coldkey(30)), RUN, newcomer);
        assert_noop!(release(), E::NothingVested);
        assert_noop!(Bare::release(signed(coldkey(30)), RUN, Incarnation(99)), E::NothingVested);
        assert_noop!(Bare::release(signed(coldkey(30)), RunId(9), newcomer), E::NothingVested);
        // It leaves unpaid with epoch 2: the hold is over when pay of that epoch would have vested.
        assert_ok!(Bare::leave(signed(hotkey(6)), RUN, uid(6)));
        for _ in 0..VEST {
            assert_noop!(release(), E::NothingVested);
            idle_epoch();
        }
        assert_eq!(clock().epoch, Epoch(2 + VEST));
        assert_ok!(release());
        assert_eq!(entry_held(6), 0);
        assert!(Vestings::<Test>::iter_prefix(RUN).all(|(incarnation, _)| incarnation != newcomer));
    });
}

#[test]
fn the_hold_of_a_newcomer_is_over_when_its_first_pay_has_vested() {
    with_paid_epoch(20, || {
        enrich(6);
        join(6, Role::Miner);
        assert_eq!(entry_held(6), 2 * PAY);
        // Epoch 2 assigns it; it works in epoch 3, which is scored and paid in epoch 4.
        whole_epoch();
        let stage = member(6).stage;
        assert!(stage.is_some());
        score_epoch(&[4, 5]);
        merge_epoch(&[0, 1, 2, 3, 6]);
        assert_noop!(release(6), E::NothingVested);
        whole_epoch();
        let (first_pay, until) = (owed(6), Epoch(4 + VEST));
        assert!(first_pay > 0);
        while clock().epoch < until {
            assert_ok!(release(6));
            assert_eq!(entry_held(6), 2 * PAY);
            idle_epoch();
        }
        assert_ok!(release(6));
        assert_eq!((entry_held(6), claimable(6)), (0, first_pay));
    });
}

#[test]
fn a_forfeit_takes_what_has_not_vested_to_the_treasury() {
    with_paid_epoch(9, || {
        idle_epoch();
        let (uid, incarnation) = (uid(0), member(0).incarnation);
        let (issuance, treasury) = (Balances::total_issuance(), Balances::balance(&Iota::treasury()));
        let taken = Iota::forfeit(RUN, uid, incarnation);
        assert_eq!(taken, PAY / 2, "two of four parts had vested");
        assert_eq!(claimable(0), PAY / 2);
        assert_eq!(Balances::balance(&Iota::treasury()), treasury + taken);
        assert_eq!(Balances::total_issuance(), issuance);
        assert!(deposited(
            |event| matches!(event, Event::Forfeited { unvested, entry: 0, .. } if *unvested == taken)
        ));
        assert_eq!(Iota::forfeit(RUN, uid, incarnation), 0, "taken once");
        assert_eq!(Iota::forfeit(RunId(9), uid, incarnation), 0);
        assert_eq!(owed(1), PAY, "others lose nothing");
        Iota::check_invariants().unwrap();
        assert_ok!(Bare::claim(signed(coldkey(0)), coldkey(0)));
    });
}

#[test]
fn a_forfeit_takes_the_hold_of_a_newcomer_even_after_it_left() {
    with_paid_epoch(9, || {
        enrich(6);
        join(6, Role::Miner);
        let (uid, incarnation) = (uid(6), member(6).incarnation);
        assert_ok!(Bare::leave(signed(hotkey(6)), RUN, uid));
        idle_epoch();
        let (issuance, treasury) = (Balances::total_issuance(), Balances::balance(&Iota::treasury()));
        assert_eq!(Iota::forfeit(RUN, uid, incarnation), 2 * PAY);
        assert_eq!(entry_held(6), 0);
        assert_eq!(Balances::balance(&Iota::treasury()), treasury + 2 * PAY);
        assert_eq!(Balances::total_issuance(), issuance);
    });
}

#[test]
fn a_forfeit_of_who_has_nothing_to_lose_changes_nothing() {
    with_epoch(params(), || {
        let before = storage_digest();
        assert_eq!(Iota::forfeit(RUN, Uid(0), Incarnation(0)), 0);
        assert_eq!(storage_digest(), before);
    });
}

#[test]
fn row_15_money_is_whole_under_a_tiny_and_a_huge_existential_deposit() {
    for deposit in [1, RICH / 2] {
        with_deposit(deposit, RunParams { epochs: 12, ..params() }, || {
            start_epoch_0();
            (0..4).for_each(|_| whole_epoch());
            let issuance = Balances::total_issuance();
            assert!(Iota::forfeit(RUN, uid(0), member(0).incarnation) > 0);
            (0..VEST).for_each(|_| idle_epoch());
            for index in 1..4 {
                assert_ok!(release(index));
            }
            for index in 0..6 {
                assert_ok!(Bare::claim(signed(coldkey(30)), coldkey(index)));
            }
            assert_eq!(TotalOwed::<Test>::get(), 0);
            assert_eq!(Balances::balance(&Iota::pot()), deposit);
            assert_eq!(Balances::total_issuance(), issuance);
        });
    }
}

#[test]
fn the_constants_of_the_mock_deter() {
    with_run(params(), Iota::integrity_test);
}
