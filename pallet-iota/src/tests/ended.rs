//! Runs that ended: how long their state stays, in which steps it goes, what is left.

use iota_protocol::{
    ids::{Incarnation, RunId},
    params::RunParams,
    work::Role,
};
use polkadot_sdk::frame_support::{
    assert_ok,
    traits::{fungible::InspectHold, Hooks},
    weights::Weight,
};

use crate::{ended::MEMBERS_A_STEP, mock::*, pallet::*, types::State, weights::WeightInfo};

/// Runs `test` in the block in which the run, of two paid epochs, ended.
fn at_the_end(test: impl FnOnce()) {
    with_epoch(params(), || {
        while clock().state == State::Running {
            if clock().epoch.0 > 0 {
                score_epoch(&[4, 5]);
            }
            if clock().epoch.0 < params().epochs {
                merge_epoch(&[0, 1, 2, 3]);
            } else {
                run_to_close();
            }
        }
        test();
    });
}

/// Keys of storage items that hold something of a run, by the name of the item.
fn items() -> std::collections::BTreeSet<String> {
    let all = Iota::storage_metadata().entries.into_iter();
    let held = all.filter(|entry| {
        let hash = |name: &[u8]| polkadot_sdk::sp_io::hashing::twox_128(name);
        let prefix = [hash(b"Iota"), hash(entry.name.as_bytes())].concat();
        polkadot_sdk::sp_io::storage::next_key(&prefix).is_some_and(|key| key.starts_with(&prefix))
    });
    held.map(|entry| entry.name.to_string()).collect()
}

#[test]
fn nothing_of_a_run_goes_before_its_time() {
    at_the_end(|| {
        let (end, before) = (System::block_number(), items());
        run_to(end + RETENTION - 1);
        assert_eq!(items(), before);
        assert_eq!(Iota::members_of(RUN).len(), 6);
        run_to(end + RETENTION);
        assert!(Iota::members_of(RUN).is_empty(), "six fit into the first step");
        assert!(MEMBERS_A_STEP >= 6 && Reports::<Test>::iter().next().is_some());
    });
}

#[test]
fn what_is_left_of_a_run_is_what_its_members_are_owed() {
    at_the_end(|| {
        let (end, owed_0) = (System::block_number(), owed(0));
        assert!(owed_0 > 0);
        run_to(end + RETENTION + 20);
        assert!(deposited(|event| matches!(event, Event::RunDropped { run: RUN })));
        let kept = [
            "ActiveRuns",
            "Clocks",
            "EndedQueue",
            "NextIncarnation",
            "NextRun",
            "RegistrationPrice",
            "Rewards",
            "Runs",
            "TotalMinted",
            "TotalOwed",
            "Unbondings",
            "Vestings",
        ];
        let left = items();
        let unknown: Vec<_> = left.iter().filter(|name| !kept.contains(&name.as_str())).collect();
        assert!(unknown.iter().all(|name| name.as_str() == "TotalHeld"), "left over: {unknown:?}");
        assert_eq!(owed(0), owed_0);
        run_to(System::block_number() + 400);
        assert_ok!(Bare::release(signed(coldkey(9)), RUN, Incarnation(0)));
        assert_ok!(Bare::claim(signed(coldkey(9)), coldkey(0)));
        assert_eq!(owed(0), 0);
    });
}

#[test]
fn bonds_come_back_although_nobody_asked() {
    at_the_end(|| {
        let (bond, incarnation) = (member(4).bond, member(4).incarnation);
        run_to(System::block_number() + RETENTION + UNBOND_DELAY);
        assert_ok!(Bare::withdraw(signed(coldkey(9)), RUN, incarnation, coldkey(4)));
        assert!(bond > 0);
        assert_eq!(Balances::balance_on_hold(&HoldReason::Bond.into(), &coldkey(4)), 0);
    });
}

#[test]
fn runs_go_in_the_order_in_which_they_ended_and_an_empty_one_too() {
    with_run(RunParams { epochs: 9, ..params() }, || {
        let other = RunId(1);
        register(0, Role::Miner);
        assert_ok!(Bare::sponsor_run(signed(coldkey(20)), params()));
        assert_ok!(Bare::end_run(RuntimeOrigin::root(), other));
        assert_ok!(Bare::end_run(RuntimeOrigin::root(), RUN));
        let end = System::block_number();
        assert_eq!(
            (EndedRuns::<Test>::get(0).unwrap().run, EndedRuns::<Test>::get(1).unwrap().run),
            (other, RUN)
        );
        let mut dropped = Vec::new();
        while dropped.len() < 2 {
            assert!(System::block_number() < end + RETENTION + 20, "{dropped:?}");
            System::reset_events();
            run_to(System::block_number() + 1);
            dropped.extend(System::events().into_iter().filter_map(|record| match record.event {
                RuntimeEvent::Iota(Event::RunDropped { run }) => Some(run),
                _ => None,
            }));
        }
        assert_eq!(dropped, [other, RUN]);
        assert_eq!(EndedQueue::<Test>::get(), (2, 2));
    });
}

#[test]
fn a_block_without_room_drops_nothing_and_no_step_takes_more_than_it_says() {
    at_the_end(|| {
        let due = System::block_number() + RETENTION;
        let least = <()>::ended_look().saturating_add(<()>::ended_step());
        let short = Weight::from_parts(least.ref_time() - 1, u64::MAX);
        let before = storage_digest();
        assert_eq!(Iota::on_idle(due, short), Weight::zero());
        assert_eq!(storage_digest(), before);
        assert_eq!(Iota::on_idle(due - 1, Weight::MAX), <()>::ended_look());
        assert_eq!(storage_digest(), before, "it is not due");
        assert_eq!(Iota::on_idle(due, least), least);
        assert_ne!(storage_digest(), before);
    });
}
