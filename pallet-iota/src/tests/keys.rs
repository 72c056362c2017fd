//! Changes of hotkeys and of coldkeys.

use iota_protocol::{
    hash::register_payload,
    ids::{RunId, Uid},
    params::RunParams,
    work::Role,
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, traits::fungible::InspectHold},
    sp_core::Pair,
    sp_runtime::DispatchResult,
};

use crate::{
    keys::MAX_SWAPS,
    mock::*,
    pallet::*,
    types::{key, Swap},
};

type E = Error<Test>;

fn long() -> RunParams {
    RunParams { epochs: 12, ..params() }
}

/// The coldkey of `owner` gives the member of that index the hotkey of index `new`.
fn swap(owner: u8, index: u8, new: u8) -> DispatchResult {
    let proof = proof(&coldkey(owner), new);
    Bare::swap_hotkey(signed(coldkey(owner)), RUN, uid(index), hotkey(new), proof)
}

fn held(reason: HoldReason, index: u8) -> u128 {
    Balances::balance_on_hold(&reason.into(), &coldkey(index))
}

#[test]
fn a_hotkey_changes_at_close_and_everything_else_stays() {
    with_epoch(long(), || {
        let (before, at) = (member(0), uid(0));
        assert_ok!(swap(0, 0, 20));
        assert_eq!(uid(0), at, "the old key works through the epoch");
        assert!(!UidOf::<Test>::contains_key(RUN, hotkey(20)));
        whole_epoch();
        assert!(!UidOf::<Test>::contains_key(RUN, hotkey(0)));
        assert_eq!(uid(20), at);
        let after = member(20);
        assert_eq!(
            (after.incarnation, after.stage, after.coldkey),
            (before.incarnation, before.stage, before.coldkey)
        );
        assert_eq!((after.served_in, Endpoints::<Test>::get(RUN, at)), (None, None), "the old peer is gone");
        assert_eq!((System::providers(&hotkey(0)), System::providers(&hotkey(20))), (0, 1));
        serve(20);
        score_epoch(&[4, 5]);
        merge_epoch(&[20, 1, 2, 3]);
        assert!(owed(0) > 0, "epoch 0, worked under the old key, is paid");
        score_epoch(&[4, 5]);
        run_to_close();
        assert_eq!(member(20).standing.unwrap().epoch.0, 1);
    });
}

#[test]
fn a_validator_scores_under_its_new_key_without_a_miss() {
    with_epoch(long(), || {
        assert_ok!(swap(4, 4, 20));
        merge_epoch(&[0, 1, 2, 3]);
        score_epoch(&[20, 5]);
        run_to_close();
        assert_eq!(member(20).missed_reveals, 0);
        assert!(claimable(4) > 0);
    });
}

#[test]
fn before_the_start_a_hotkey_changes_at_once() {
    with_run(long(), || {
        join(0, Role::Miner);
        assert_ok!(swap(0, 0, 20));
        assert_eq!(uid(20), Uid(0));
        assert!(!UidOf::<Test>::contains_key(RUN, hotkey(0)));
        assert_eq!((System::providers(&hotkey(0)), System::providers(&hotkey(20))), (0, 1));
    });
}

#[test]
fn a_change_of_hotkey_is_refused_for_a_reason() {
    with_epoch(params(), || {
        let good = proof(&coldkey(0), 20);
        let call = |who: u8, run, uid, new: u8, proof| {
            Bare::swap_hotkey(signed(coldkey(who)), run, uid, hotkey(new), proof)
        };
        assert_noop!(call(0, RunId(9), uid(0), 20, good), E::UnknownRun);
        assert_noop!(call(0, RUN, Uid(99), 20, good), E::NotMember);
        assert_noop!(call(1, RUN, uid(0), 20, good), E::NotOwner);
        assert_noop!(call(0, RUN, uid(0), 1, good), E::AlreadyRegistered);
        assert_noop!(call(0, RUN, uid(0), 21, good), E::BadProof);
        // The key consented to another coldkey, or for another run.
        assert_noop!(call(0, RUN, uid(0), 20, proof(&coldkey(1), 20)), E::BadProof);
        let other = register_payload(&Iota::genesis_hash(), RunId(1), &key(&coldkey(0)), &key(&hotkey(20)));
        assert_noop!(call(0, RUN, uid(0), 20, hotkey_pair(20).sign(&other.0).0), E::BadProof);
        assert_ok!(call(0, RUN, uid(0), 20, good));
        // Promised: nobody else gets it, by registration or by a change.
        assert_noop!(try_register(0, 20), E::AlreadyRegistered);
        assert_noop!(swap(1, 1, 20), E::AlreadyRegistered);
        assert_noop!(swap(0, 0, 21), E::SwapTooSoon);
        assert_ok!(Bare::leave(signed(coldkey(2)), RUN, uid(2)));
        assert_noop!(swap(2, 2, 22), E::AlreadyLeaving);
        (0..2).for_each(|_| run_to_close());
        run_to_close();
        assert_noop!(swap(1, 1, 21), E::NotRunning);
    });
}

#[test]
fn hotkeys_change_again_after_the_cooldown_to_the_block() {
    with_epoch(long(), || {
        let cooldown = SWAP_COOLDOWN;
        let at = System::block_number();
        assert_ok!(swap(0, 0, 20));
        run_to(at + cooldown - 1);
        assert_noop!(swap(0, 20, 21), E::SwapTooSoon);
        run_to(at + cooldown);
        assert_ok!(swap(0, 20, 21));
    });
}

#[test]
fn no_more_hotkeys_change_in_an_epoch_than_may() {
    with_epoch(long(), || {
        // Of members that left; Close passes over them.
        let gone = |index: u32| Swap {
            uid: Uid(99),
            incarnation: iota_protocol::ids::Incarnation(99),
            hotkey: iota_protocol::ids::AccountKey([u8::try_from(index).unwrap(); 32]),
        };
        let swaps: Vec<_> = (0..MAX_SWAPS).map(gone).collect();
        // As do_swap_hotkey does for each.
        for swap in &swaps {
            System::inc_providers(&crate::types::account(&swap.hotkey));
        }
        Swaps::<Test>::insert(RUN, bounded(swaps));
        assert_noop!(swap(0, 0, 20), E::TooManySwaps);
        run_to_close();
        assert_ok!(swap(0, 0, 20));
    });
}

fn bounded(swaps: Vec<Swap>) -> polkadot_sdk::frame_support::BoundedVec<Swap, crate::keys::SwapBound> {
    swaps.try_into().unwrap()
}

#[test]
fn a_coldkey_changes_after_announcement_delay_and_acceptance() {
    with_epoch(long(), || {
        (0..2).for_each(|_| whole_epoch());
        let (run, at, delay) = (RUN, uid(4), COLDKEY_DELAY);
        let announce =
            |who: u8, uid, to: u8| Bare::announce_coldkey(signed(coldkey(who)), run, uid, coldkey(to));
        let take = |who: u8, uid| Bare::take_over(signed(coldkey(who)), run, uid);
        let cancel = |who: u8, uid| Bare::cancel_coldkey(signed(coldkey(who)), run, uid);
        assert_noop!(Bare::announce_coldkey(signed(coldkey(4)), RunId(9), at, coldkey(20)), E::UnknownRun);
        assert_noop!(Bare::cancel_coldkey(signed(coldkey(4)), RunId(9), at), E::UnknownRun);
        assert_noop!(Bare::take_over(signed(coldkey(4)), RunId(9), at), E::UnknownRun);
        assert_noop!(announce(4, Uid(99), 20), E::NotMember);
        assert_noop!(cancel(4, Uid(99)), E::NotMember);
        assert_noop!(take(4, Uid(99)), E::NotMember);
        assert_noop!(announce(5, at, 20), E::NotOwner);
        assert_noop!(announce(4, at, 4), E::SameColdkey);
        assert_noop!(cancel(4, at), E::NotAnnounced);
        assert_noop!(take(20, at), E::NotAnnounced);
        assert_ok!(announce(4, at, 21));
        run_to(System::block_number() + 10);
        assert_ok!(announce(4, at, 20));
        let ready = System::block_number() + delay;
        run_to(ready - 1);
        assert_noop!(take(20, at), E::TooEarly);
        assert_noop!(take(21, at), E::NotOwner);
        assert_noop!(cancel(20, at), E::NotOwner);
        run_to(ready);
        assert_ok!(take(20, at));
        assert_eq!(member(4).coldkey, key(&coldkey(20)));
        assert_eq!((held(HoldReason::Bond, 4), held(HoldReason::Bond, 20)), (0, MIN_BOND));
        assert!(claimable(4) > 0, "what was claimable stays with the former owner");
        assert_noop!(take(20, at), E::NotAnnounced);
        assert_noop!(Bare::unbond(signed(coldkey(4)), run, at, MIN_BOND), E::NotOwner);
        assert_ok!(Bare::unbond(signed(coldkey(20)), run, at, MIN_BOND));
    });
}

#[test]
fn a_canceled_change_is_never_made() {
    with_epoch(long(), || {
        let at = uid(0);
        assert_ok!(Bare::announce_coldkey(signed(coldkey(0)), RUN, at, coldkey(20)));
        assert_ok!(Bare::cancel_coldkey(signed(coldkey(0)), RUN, at));
        run_to(System::block_number() + 40);
        assert_noop!(Bare::take_over(signed(coldkey(20)), RUN, at), E::NotAnnounced);
    });
}

#[test]
fn an_announcement_ends_with_its_member() {
    with_epoch(long(), || {
        let at = uid(0);
        assert_ok!(Bare::announce_coldkey(signed(coldkey(0)), RUN, at, coldkey(20)));
        assert_ok!(Bare::leave(signed(coldkey(0)), RUN, at));
        run_to_close();
        assert_ok!(try_register(9, 9));
        assert_eq!(uid(9), at);
        assert_noop!(Bare::take_over(signed(coldkey(20)), RUN, at), E::NotAnnounced);
    });
}

#[test]
fn row_15_vesting_pay_and_the_hold_of_a_newcomer_go_with_the_member() {
    for deposit in [1, RICH / 2] {
        with_deposit(deposit, long(), || {
            start_epoch_0();
            (0..2).for_each(|_| whole_epoch());
            enrich(6);
            join(6, Role::Miner);
            let entry = held(HoldReason::Entry, 6);
            assert!(entry > 0);
            let issuance = Balances::total_issuance();
            for index in [0, 6] {
                assert_ok!(Bare::announce_coldkey(signed(coldkey(index)), RUN, uid(index), coldkey(20)));
            }
            run_to(System::block_number() + 40);
            let pay = owed(0);
            for index in [0, 6] {
                assert_ok!(Bare::take_over(signed(coldkey(20)), RUN, uid(index)));
            }
            assert_eq!((held(HoldReason::Entry, 6), held(HoldReason::Entry, 20)), (0, entry));
            assert_eq!((owed(0), owed(20)), (0, pay));
            assert_eq!(Balances::total_issuance(), issuance);
        });
    }
}

#[test]
fn what_is_unbonding_stays_with_the_former_owner() {
    with_epoch(long(), || {
        let (at, incarnation) = (uid(4), member(4).incarnation);
        assert_ok!(Bare::bond(signed(coldkey(4)), RUN, at, 50));
        assert_ok!(Bare::announce_coldkey(signed(coldkey(4)), RUN, at, coldkey(20)));
        run_to(System::block_number() + 39);
        assert_ok!(Bare::unbond(signed(coldkey(4)), RUN, at, 50));
        run_to(System::block_number() + 1);
        assert_ok!(Bare::take_over(signed(coldkey(20)), RUN, at));
        assert_ok!(Bare::unbond(signed(coldkey(20)), RUN, at, MIN_BOND));
        run_to(System::block_number() + 20);
        for (index, amount) in [(4, 50), (20, MIN_BOND)] {
            assert_eq!(held(HoldReason::Bond, index), amount);
            assert_ok!(Bare::withdraw(signed(coldkey(9)), RUN, incarnation, coldkey(index)));
            assert_eq!(held(HoldReason::Bond, index), 0);
        }
    });
}
