//! Runs, registration, bonds, endpoints, leaving.

use iota_protocol::{
    ids::{Incarnation, RunId, Uid},
    work::Role,
};
use polkadot_sdk::{
    frame_support::{
        assert_noop, assert_ok,
        traits::fungible::{Inspect, InspectHold},
    },
    sp_core::Pair,
    sp_runtime::{DispatchError, TokenError},
};

use crate::{mock::*, pallet::*, types::key};

type E = Error<Test>;

#[test]
fn a_run_is_made_by_the_admin_alone_and_from_sound_parameters() {
    with_run(params(), || {
        assert_noop!(Bare::create_run(signed(coldkey(0)), params()), DispatchError::BadOrigin);
        let mut unsound = params();
        unsound.stages.get_mut(0).unwrap().share_ppm += 1;
        assert_noop!(Bare::create_run(RuntimeOrigin::root(), unsound), E::InvalidParams);
        assert_ok!(Bare::create_run(RuntimeOrigin::root(), params()));
        assert_eq!(Iota::run_view(RunId(1)), Some(params()));
        assert_noop!(Bare::create_run(RuntimeOrigin::root(), params()), E::TooManyRuns);
    });
}

#[test]
fn registration_burns_the_price_and_gives_dense_uids() {
    with_run(params(), || {
        let before = Balances::total_issuance();
        assert_eq!(register(0, Role::Miner), Uid(0));
        assert_eq!(register(1, Role::Validator), Uid(1));
        let second = 1_260;
        assert_eq!(Balances::total_issuance(), before - PRICE - second);
        assert_eq!(Balances::balance(&coldkey(0)), RICH - PRICE);
        assert_eq!(Balances::balance(&coldkey(1)), RICH - second);
        assert_eq!(Burned::<Test>::get(RUN), PRICE + second);
        assert_eq!(member(1).incarnation, Incarnation(1));
        assert_eq!(System::providers(&hotkey(0)), 1);
    });
}

#[test]
fn the_price_rises_with_each_registration_and_halves_with_time() {
    with_run(params(), || {
        let at = |block| {
            run_to(block);
            Iota::price_now()
        };
        for expected in [1_000, 1_260, 1_588, 2_001] {
            assert_eq!(Iota::price_now(), expected);
            let index = u8::try_from(Iota::members_view(RUN).len()).unwrap();
            register(index, Role::Miner);
        }
        assert_eq!(at(1), 2_522);
        // Quoted in block 1: half of it after a half-life of 100, and never below the least.
        assert_eq!(at(100), 1_269, "2522 * 2^(-99/100) = 1269.7");
        assert_eq!(at(101), 1_261);
        assert_eq!(at(150), 1_000);
        let (cold, most) = (coldkey(9), Iota::price_now());
        let call =
            |most| Bare::register(signed(cold.clone()), RUN, hotkey(9), Role::Miner, proof(&cold, 9), most);
        register(8, Role::Miner);
        // Somebody else was faster: refused without a charge.
        assert_noop!(call(most), E::PriceTooHigh);
        assert_ok!(call(Iota::price_now()));
        assert_eq!(Balances::balance(&cold), RICH - 1_260);
    });
}

#[test]
fn the_price_never_passes_its_maximum() {
    with_run(params(), || {
        for index in 0..12 {
            register(index, Role::Miner);
        }
        assert_eq!(Iota::price_now(), RegistrationPricing::get().max);
        register(12, Role::Miner);
        assert_eq!(Iota::price_now(), RegistrationPricing::get().max);
    });
}

#[test]
fn registration_is_refused_for_a_reason() {
    with_run(params(), || {
        let (cold, hot) = (coldkey(0), hotkey(0));
        let good = proof(&cold, 0);
        let call = |run, who: u8, hot, proof, most| {
            Bare::register(signed(coldkey(who)), run, hot, Role::Miner, proof, most)
        };
        assert_noop!(call(RunId(9), 0, hot.clone(), good, PRICE), E::UnknownRun);
        assert_noop!(call(RUN, 0, hot.clone(), good, PRICE - 1), E::PriceTooHigh);
        // Another coldkey cannot use the consent that the hotkey gave to the first.
        assert_noop!(call(RUN, 1, hot.clone(), good, PRICE), E::BadProof);
        assert_noop!(call(RUN, 0, hotkey(1), good, PRICE), E::BadProof);
        register(0, Role::Miner);
        assert_noop!(call(RUN, 0, hot, good, PRICE), E::AlreadyRegistered);
        // Coldkey 200 has nothing.
        let poor = proof(&coldkey(200), 50);
        assert_noop!(call(RUN, 200, hotkey(50), poor, RICH), TokenError::FundsUnavailable);
    });
}

#[test]
fn a_bond_is_held_on_the_coldkey_of_a_validator() {
    with_run(params(), || {
        register(0, Role::Miner);
        let uid = register(1, Role::Validator);
        let owner = coldkey(1);
        let bond = |who: u8, uid, amount| Bare::bond(signed(coldkey(who)), RUN, uid, amount);
        assert_noop!(Bare::bond(signed(owner.clone()), RunId(9), uid, MIN_BOND), E::UnknownRun);
        assert_noop!(bond(1, Uid(9), MIN_BOND), E::NotMember);
        assert_noop!(bond(0, uid, MIN_BOND), E::NotOwner);
        assert_noop!(bond(0, Uid(0), MIN_BOND), E::NotValidator);
        assert_noop!(bond(1, uid, MIN_BOND - 1), E::BondTooLow);
        assert_noop!(bond(1, uid, RICH), TokenError::FundsUnavailable);
        assert_ok!(bond(1, uid, MIN_BOND));
        assert_ok!(bond(1, uid, 1));
        assert_eq!(member(1).bond, MIN_BOND + 1);
        assert_eq!(Balances::balance_on_hold(&HoldReason::Bond.into(), &owner), MIN_BOND + 1);
    });
}

#[test]
fn an_endpoint_is_published_only_with_the_peers_signature() {
    with_run(params(), || {
        let (endpoint, signature) = endpoint(0);
        let serve = |run, index: u8, endpoint, signature| {
            Bare::serve(signed(hotkey(index)), run, endpoint, signature)
        };
        assert_noop!(serve(RUN, 0, endpoint.clone(), signature), E::NotMember);
        register(0, Role::Miner);
        register(1, Role::Miner);
        assert_noop!(serve(RunId(9), 0, endpoint.clone(), signature), E::UnknownRun);
        // The peer consented to hotkey 0, not to hotkey 1.
        assert_noop!(serve(RUN, 1, endpoint.clone(), signature), E::BadProof);
        let mut empty = endpoint.clone();
        empty.addresses = Default::default();
        assert_noop!(serve(RUN, 0, empty, signature), E::NoAddress);
        assert_ok!(serve(RUN, 0, endpoint.clone(), signature));
        let views = Iota::members_view(RUN);
        assert_eq!(views.iter().map(|v| v.uid).collect::<Vec<_>>(), vec![Uid(0), Uid(1)]);
        assert_eq!(views.first().unwrap().endpoint, Some(endpoint));
        assert_eq!(views.last().unwrap().endpoint, None);
    });
}

#[test]
fn a_uid_is_used_again_and_an_incarnation_is_not() {
    with_run(params(), || {
        register(0, Role::Miner);
        register(1, Role::Miner);
        assert_ok!(Bare::leave(signed(hotkey(0)), RUN, Uid(0)));
        assert_eq!(System::providers(&hotkey(0)), 0);
        assert_eq!(register(2, Role::Miner), Uid(0));
        assert_eq!(member(2).incarnation, Incarnation(2));
        assert_eq!(register(0, Role::Miner), Uid(2));
    });
}

#[test]
fn leaving_is_refused_for_a_reason_and_takes_effect_at_close() {
    with_epoch(params(), || {
        let leave = |who, uid| Bare::leave(signed(who), RUN, uid);
        assert_noop!(Bare::leave(signed(hotkey(0)), RunId(9), Uid(0)), E::UnknownRun);
        assert_noop!(leave(hotkey(0), Uid(99)), E::NotMember);
        assert_noop!(leave(hotkey(1), uid(0)), E::NotOwner);
        assert_ok!(leave(coldkey(0), uid(0)));
        assert_noop!(leave(coldkey(0), uid(0)), E::AlreadyLeaving);
        merge_epoch(&[0, 1, 2, 3]);
        assert!(!UidOf::<Test>::contains_key(RUN, hotkey(0)));
        let paid_to = Snapshots::<Test>::get((RUN, iota_protocol::ids::Epoch(0))).unwrap();
        assert!(paid_to.miners.iter().any(|m| m.coldkey == key(&coldkey(0))), "its last epoch is still paid");
    });
}

#[test]
fn nobody_joins_a_run_that_has_ended() {
    with_epoch(params(), || {
        merge_epoch(&[0, 1, 2, 3]);
        merge_epoch(&[0, 1, 2, 3]);
        run_to_close();
        let owner = coldkey(9);
        let late = Bare::register(signed(owner.clone()), RUN, hotkey(9), Role::Miner, proof(&owner, 9), RICH);
        assert_eq!(late, Err(E::NotRunning.into()));
        assert_eq!(ActiveRuns::<Test>::get().len(), 0);
        assert_noop!(Bare::bond(signed(coldkey(4)), RUN, uid(4), MIN_BOND), E::NotRunning);
    });
}

#[test]
fn who_asked_to_leave_in_the_settling_epoch_can_go_after_the_end() {
    with_epoch(params(), || {
        merge_epoch(&[0, 1, 2, 3]);
        merge_epoch(&[0, 1, 2, 3]);
        assert_ok!(Bare::leave(signed(hotkey(0)), RUN, uid(0)));
        assert_noop!(Bare::leave(signed(hotkey(0)), RUN, uid(0)), E::AlreadyLeaving);
        run_to_close();
        assert!(member(0).leaving, "the settling epoch retires nobody");
        assert_ok!(Bare::leave(signed(hotkey(0)), RUN, uid(0)));
        assert!(!UidOf::<Test>::contains_key(RUN, hotkey(0)));
    });
}

#[test]
fn keys_of_the_mock_are_distinct() {
    assert_ne!(hotkey_pair(0).public(), hotkey_pair(1).public());
    assert_ne!(hotkey(0), coldkey(0));
}
