//! A full run: who makes room, when, and what the newcomer gets.

use iota_protocol::{
    ids::{Epoch, RunId, Uid},
    params::RunParams,
    phase::Phase,
    work::{Role, ScoreEntry},
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, dispatch::GetDispatchInfo, traits::fungible::Inspect},
    frame_system,
    sp_runtime::TokenError,
};

use crate::{mock::*, pallet::*, seats::MAX_ARRIVALS, weights::WeightInfo};

type E = Error<Test>;

/// Six members that work and 250 that do not, all registered by block 2, in the first block of
/// epoch 1, when nobody is immune and nobody was paid.
fn with_full_run(epochs: u32, test: impl FnOnce()) {
    with_epoch(RunParams { epochs, ..params() }, || {
        fill_run();
        whole_epoch();
        assert_eq!(clock().epoch, Epoch(1));
        test();
    });
}

#[test]
fn a_full_run_of_the_immune_takes_nobody_and_charges_nothing() {
    with_epoch(params(), || {
        fill_run();
        assert_eq!(Iota::next_seat(RUN), None);
        assert_noop!(try_register(20, 20), E::RunFull);
        // The six registered in block 1 and are immune for 30 blocks, the others in block 2.
        run_to(30);
        assert_noop!(try_register(20, 20), E::RunFull);
        run_to(31);
        assert_eq!(Iota::next_seat(RUN), Some(Uid(0)));
        assert_ok!(try_register(20, 20));
    });
}

#[test]
fn only_who_comes_to_a_full_run_is_charged_for_the_search_of_a_seat() {
    let register = |index: u8| {
        let (owner, most) = (coldkey(index), u128::MAX);
        let proof = proof(&owner, index);
        let done = Iota::register(signed(owner), RUN, hotkey(index), Role::Miner, proof, most);
        done.unwrap().actual_weight.unwrap()
    };
    with_run(params(), || {
        // The seat of somebody who goes at once costs most.
        let all = <() as WeightInfo>::register_now();
        let free = <() as WeightInfo>::register();
        let search = <Test as frame_system::Config>::DbWeight::get().reads(256);
        assert_eq!(register(20), free.saturating_sub(search));
        assert_ne!(register(21), all);
        fill_run();
        run_to(31);
        assert_eq!(register(22), all);
    });
}

#[test]
fn who_takes_a_seat_before_the_start_is_charged_for_the_leaving() {
    with_run(params(), || {
        fill_run();
        run_to(31);
        let (owner, most) = (coldkey(22), u128::MAX);
        let proof = proof(&owner, 22);
        let call = Call::<Test>::register {
            run: RUN,
            hotkey: hotkey(22),
            role: Role::Miner,
            proof,
            max_price: most,
        };
        let charged = call.get_dispatch_info().call_weight;
        let done = Iota::register(signed(owner), RUN, hotkey(22), Role::Miner, proof, most).unwrap();
        assert_eq!(done.actual_weight, Some(<() as WeightInfo>::register_now()));
        assert!(charged.all_gte(done.actual_weight.unwrap()));
    });
}

#[test]
fn before_the_start_a_newcomer_is_seated_at_once() {
    with_run(params(), || {
        fill_run();
        run_to(31);
        let first = Members::<Test>::get(RUN, Uid(0)).unwrap();
        assert_ok!(try_register(20, 20));
        assert_eq!(uid(20), Uid(0));
        assert!(member(20).incarnation > first.incarnation);
        assert!(!UidOf::<Test>::contains_key(RUN, crate::types::account(&first.hotkey)));
        assert_eq!(Members::<Test>::iter_prefix(RUN).count(), 256);
    });
}

#[test]
fn a_newcomer_waits_for_close_and_who_makes_room_is_paid_for_its_epoch() {
    with_full_run(9, || {
        assert_eq!(Iota::next_seat(RUN), Some(Uid(0)), "nobody earned, it is among the first and the lowest");
        let (victim, providers) = (member(0), System::providers(&hotkey(20)));
        assert_ok!(try_register(20, 20));
        assert!(member(0).leaving);
        assert_eq!(Iota::next_seat(RUN), Some(Uid(1)));
        assert!(!UidOf::<Test>::contains_key(RUN, hotkey(20)), "no seat yet");
        assert_eq!(System::providers(&hotkey(20)), providers + 1);
        assert_noop!(try_register(20, 20), E::AlreadyRegistered);
        assert_noop!(try_register(21, 20), E::AlreadyRegistered);
        let (endpoint, signature) = endpoint(20);
        assert_noop!(Bare::serve(signed(hotkey(20)), RUN, endpoint, signature), E::NotMember);
        assert_noop!(Bare::leave(signed(hotkey(0)), RUN, Uid(0)), E::AlreadyLeaving);
        whole_epoch();
        assert_eq!(uid(20), Uid(0));
        assert!(!UidOf::<Test>::contains_key(RUN, hotkey(0)));
        assert!(member(20).incarnation > victim.incarnation);
        assert_eq!((member(20).stage, member(20).standing), (None, None));
        assert!(deposited(|event| matches!(event, Event::Seated { uid: Uid(0), .. })));
        // Epoch 0 was paid in the Close that unseated it; epoch 1 is paid in the next.
        let paid_once = owed(0);
        assert!(paid_once > 0);
        score_epoch(&[4, 5]);
        run_to_close();
        assert_eq!(owed(0), 2 * paid_once);
        assert_eq!(owed(20), 0);
    });
}

#[test]
fn who_was_paid_keeps_its_seat_before_who_was_not() {
    with_full_run(9, || {
        whole_epoch();
        assert_eq!(Iota::next_seat(RUN), Some(Uid(6)), "the first of those that never worked");
        let standing = |index| member(index).standing.unwrap().average;
        assert!(standing(0) > 0 && standing(4) > standing(0));
        enrich(20);
        assert_ok!(try_register(20, 20));
        assert!(!member(0).leaving);
    });
}

#[test]
fn who_leaves_anyway_makes_room_first() {
    with_full_run(9, || {
        assert_ok!(Bare::leave(signed(hotkey(3)), RUN, uid(3)));
        assert_eq!(Iota::next_seat(RUN), Some(Uid(3)));
        assert_ok!(try_register(20, 20));
        assert_eq!(Iota::next_seat(RUN), Some(Uid(0)));
        whole_epoch();
        assert_eq!(uid(20), Uid(3));
        assert_eq!(uid(0), Uid(0));
    });
}

#[test]
fn row_11_a_sniper_inherits_nothing_in_any_phase() {
    for phase in [Phase::Train, Phase::Commit, Phase::Attest, Phase::Blind, Phase::Open, Phase::Root] {
        with_full_run(9, || {
            run_to_phase(phase);
            assert_eq!(Iota::next_seat(RUN), Some(Uid(0)), "{phase:?}");
            assert_ok!(try_register(20, 20));
            let sniper = NextIncarnation::<Test>::get(RUN).0 - 1;
            run_to_close();
            assert_eq!((uid(20), member(20).incarnation.0), (Uid(0), sniper), "{phase:?}");
            // It can neither score nor be scored for the epoch in which it came.
            let epoch = Epoch(1);
            run_to(schedule().score_commit().start);
            let mut reveal = reveal_of(epoch, 65_535);
            let entry = ScoreEntry { uid: Uid(0), incarnation: member(20).incarnation, score: 65_535 };
            reveal.entries = vec![entry].try_into().unwrap();
            commit_scores(4, epoch, &reveal);
            run_to(schedule().score_reveal().start);
            let sent = Bare::reveal_scores(signed(hotkey(20)), RUN, epoch, uid(4), reveal);
            assert_eq!(sent, Err(E::UnknownMiner.into()), "{phase:?}");
            run_to_close();
            assert_eq!(owed(20), 0, "{phase:?}");
            assert!(Endpoints::<Test>::get(RUN, Uid(0)).is_none(), "{phase:?}");
        });
    }
}

#[test]
fn no_more_come_in_one_epoch_than_may() {
    with_full_run(9, || {
        enrich(38);
        let arrivals = u8::try_from(MAX_ARRIVALS).unwrap();
        for index in 0..arrivals {
            assert_ok!(try_register(38, 100 + index));
        }
        assert_noop!(try_register(38, 200), E::RunFull);
        run_to_close();
        assert_eq!(Members::<Test>::iter_prefix(RUN).count(), 256);
        for index in 0..arrivals {
            assert_eq!(uid(100 + index), Uid(index.into()));
        }
        // Those that were unseated had the lowest uids; the seated are immune.
        assert_eq!(Iota::next_seat(RUN), Some(Uid(arrivals.into())));
        assert_ok!(try_register(38, 200));
    });
}

#[test]
fn nobody_comes_to_a_full_run_that_only_settles() {
    with_full_run(1, || {
        assert!(Iota::next_seat(RUN).is_some());
        assert_noop!(try_register(20, 20), E::RunFull);
    });
}

#[test]
fn who_cannot_pay_unseats_nobody() {
    with_full_run(9, || {
        let before = storage_digest();
        let poor = try_register(200, 20);
        assert_eq!(poor, Err(TokenError::FundsUnavailable.into()));
        assert_eq!(storage_digest(), before);
        assert_eq!(Balances::balance(&coldkey(200)), 0);
    });
}

#[test]
fn the_view_of_an_unknown_run_names_nobody() {
    with_run(params(), || {
        assert_eq!(Iota::next_seat(RunId(9)), None);
        register(0, Role::Miner);
        assert_eq!(Iota::next_seat(RUN), None, "immune");
    });
}

/// Everything stored.
fn everything() -> std::collections::BTreeMap<Vec<u8>, Vec<u8>> {
    let (mut all, mut key) = (std::collections::BTreeMap::new(), Vec::new());
    while let Some(next) = polkadot_sdk::sp_io::storage::next_key(&key) {
        all.insert(next.clone(), polkadot_sdk::sp_io::storage::get(&next).unwrap().to_vec());
        key = next;
    }
    all
}

/// How many values a newcomer's registration makes, changes or removes.
fn written(index: u8) -> usize {
    let before = everything();
    assert_ok!(try_register(index, index));
    let after = everything();
    let changed = after.iter().filter(|(key, value)| before.get(*key) != Some(*value)).count();
    changed + before.keys().filter(|key| !after.contains_key(*key)).count()
}

#[test]
fn a_replacement_writes_no_more_the_more_members_there_are() {
    with_epoch(RunParams { epochs: 9, ..params() }, || {
        let free = [written(20), written(21)];
        fill_run();
        run_to(31);
        let replaced = [written(22), written(23)];
        // The first registration in a block also moves the price. The seat of somebody else is one more value; the
        // newcomer's own wait in one list.
        assert!(free[1] <= free[0] && free[0] <= 12, "{free:?}");
        assert!(replaced.iter().all(|written| *written <= free[0] + 1), "{free:?} {replaced:?}");
    });
}
