//! The clock, from waiting to the end of a run.

use iota_protocol::{
    ids::{Epoch, Hash, Stage},
    params::RunParams,
    phase::Phase,
    view::RunState,
    work::{Role, WorkCommit},
};
use polkadot_sdk::frame_support::{
    assert_ok,
    traits::{fungible::Mutate, Hooks},
    weights::constants::WEIGHT_REF_TIME_PER_SECOND,
};

use crate::{assignment::MAX_MISSED, mock::*, pallet::*, types::State};

fn epochs(epochs: u32) -> RunParams {
    RunParams { epochs, ..params() }
}

/// The miners that hold a stage.
fn holders(stage: u16) -> Vec<u8> {
    (0..4).filter(|index| member(*index).stage == Some(Stage(stage))).collect()
}

fn next_block() {
    run_to(System::block_number() + 1);
}

#[test]
fn a_run_waits_until_enough_miners_can_be_reached() {
    with_run(params(), || {
        (0..3).for_each(|index| join(index, Role::Miner));
        join(4, Role::Validator);
        let uid = register(3, Role::Miner);
        run_to(20);
        assert_eq!(clock().state, State::Waiting, "a validator and a silent miner do not count");
        assert_eq!(member(3).stage, None);
        serve(3);
        next_block();
        assert_eq!((clock().state, clock().start, clock().epoch), (State::Running, 21, Epoch(0)));
        assert_eq!((holders(0).len(), holders(1).len()), (2, 2));
        assert_eq!(clock().stage0, 2);
        assert!(deposited(|e| matches!(e, Event::Assigned { uid: u, epoch: Epoch(0), .. } if *u == uid)));
        assert_eq!(Iota::clock_view(RUN).unwrap().state, RunState::Running);
    });
}

#[test]
fn a_run_of_two_epochs_pays_both_and_ends() {
    with_epoch(params(), || {
        merge_epoch(&[0, 1, 2, 3]);
        assert!(Reports::<Test>::get((RUN, Epoch(0))).is_none(), "an epoch is paid one epoch later");
        score_epoch(&[4, 5]);
        merge_epoch(&[0, 1, 2, 3]);
        let report = Iota::report_view(RUN, Epoch(0)).unwrap();
        assert!(!report.void && report.payouts.len() == 6);
        score_epoch(&[4, 5]);
        run_to_close();
        assert_eq!(clock().state, State::Ended);
        assert!(Iota::report_view(RUN, Epoch(1)).unwrap().split.minted > 0);
        assert!(deposited(|event| matches!(event, Event::RunEnded { run: RUN })));
        let end = clock();
        run_to(System::block_number() + 50);
        assert_eq!(clock(), end, "nothing moves after the end");
    });
}

#[test]
fn the_seed_is_the_hash_of_the_block_two_after_commit() {
    with_epoch(params(), || {
        run_to_phase(Phase::Commit);
        (0..4).for_each(commit);
        let seed_block = schedule().seed_block();
        run_to(seed_block);
        assert_eq!(clock().seed, None);
        run_to(seed_block + 1);
        let expected = Hash(System::block_hash(seed_block).0);
        assert_eq!(clock().seed, Some(expected));
        run_to_close();
        assert_eq!((clock().train_seed, clock().seed), (expected, None));
    });
}

#[test]
fn train_goes_on_while_a_stage_has_no_commit_up_to_a_bound() {
    with_epoch(params(), || {
        let (one, other) = (holders(0), holders(1));
        run_to_phase(Phase::Commit);
        one.iter().for_each(|index| commit(*index));
        let first_end = schedule().window(Phase::Commit).end;
        run_to(first_end);
        assert_eq!(clock().extensions, 1);
        assert_eq!(schedule().phase_at(first_end), Phase::Train);
        run_to_phase(Phase::Commit);
        other.iter().for_each(|index| commit(*index));
        run_to_phase(Phase::Attest);
        assert_eq!(clock().extensions, 1, "every stage has commits now");
        run_to_close();
        let snapshot = Iota::snapshot_view(RUN, Epoch(0)).unwrap();
        assert_eq!(snapshot.miners.len(), 4, "commits from before the extension stay");
        assert_eq!((clock().epoch, clock().extensions), (Epoch(1), 0));
    });
}

#[test]
fn an_epoch_without_any_commit_closes_after_its_extensions() {
    with_epoch(params(), || {
        run_to_close();
        assert_eq!(clock().epoch, Epoch(1));
        assert!(Iota::snapshot_view(RUN, Epoch(0)).unwrap().miners.is_empty());
        assert_eq!((clock().tokens, clock().data_base), (0, 0));
    });
}

#[test]
fn tokens_and_data_positions_count_what_stage_0_committed() {
    with_epoch(params(), || {
        merge_epoch(&[0, 1, 2, 3]);
        // Two stage-0 miners of 9 samples of 2 windows of 8 tokens; ten started by two ranks.
        assert_eq!(clock().tokens, 2 * 9 * 2 * 8);
        assert_eq!(clock().data_base, 10 * 2);
    });
}

#[test]
fn a_stage_0_miner_cannot_inflate_the_tokens_beyond_twice_the_median() {
    with_epoch(params(), || {
        let liar = holders(0)[1];
        run_to_phase(Phase::Commit);
        for index in 0..4 {
            let claim = if index == liar {
                WorkCommit { samples: 1_000, started: 1_000, ..work(index) }
            } else {
                work(index)
            };
            assert_ok!(Bare::commit_work(signed(hotkey(index)), RUN, clock().epoch, claim));
        }
        run_to_close();
        // Nine samples by one, counted in full; twice nine by the other; two windows of eight tokens.
        assert_eq!(clock().tokens, (9 + 18) * 2 * 8);
    });
}

#[test]
fn an_epoch_without_a_quorum_is_void_and_mints_nothing() {
    with_epoch(params(), || {
        merge_epoch(&[0, 1, 2, 3]);
        // Half of the stake is not more than half.
        score_epoch(&[4]);
        let before = Iota::issuance();
        merge_epoch(&[0, 1, 2, 3]);
        let report = Iota::report_view(RUN, Epoch(0)).unwrap();
        assert!(report.void && report.payouts.is_empty());
        assert_eq!(report.split.minted, 0);
        assert_eq!(Iota::issuance(), before);
        assert_eq!(TotalOwed::<Test>::get(), 0);
    });
}

#[test]
fn newcomers_are_assigned_at_close_if_they_came_before_the_seed() {
    with_epoch(params(), || {
        join(6, Role::Miner);
        register(8, Role::Miner);
        run_to_phase(Phase::Commit);
        (0..4).for_each(commit);
        run_to(schedule().seed_block());
        join(7, Role::Miner);
        serve(8);
        // A second endpoint does not make a newcomer of who could be reached before.
        serve(6);
        run_to_close();
        assert!(member(6).stage.is_some());
        assert_eq!(member(7).stage, None, "it knew the seed");
        assert_eq!(member(8).stage, None, "it knew the seed when it could first be reached");
        assert_eq!(member(6).weight, member(0).weight, "a newcomer starts at the median");
        (0..4).for_each(|index| assert_eq!(member(index).since, Some(Epoch(0))));
        assert_eq!(member(6).since, Some(Epoch(1)));
    });
}

#[test]
fn a_miner_that_misses_too_many_commits_loses_its_stage_until_it_serves_again() {
    with_epoch(epochs(6), || {
        let gone = holders(0).first().copied().unwrap();
        let present: Vec<u8> = (0..4).filter(|index| *index != gone).collect();
        for missed in 1..=MAX_MISSED {
            assert!(member(gone).stage.is_some(), "after {} missed", missed - 1);
            merge_epoch(&present);
        }
        assert_eq!(member(gone).stage, None);
        assert_eq!(Iota::members_view(RUN).iter().filter(|m| m.endpoint.is_none()).count(), 1);
        merge_epoch(&present);
        assert_eq!(member(gone).stage, None, "nobody can reach it");
        serve(gone);
        merge_epoch(&present);
        assert!(member(gone).stage.is_some());
    });
}

#[test]
fn a_stage_whose_miners_are_gone_is_refilled_from_the_fullest() {
    with_epoch(epochs(6), || {
        let alive = holders(1);
        for _ in 0..MAX_MISSED {
            run_to_phase(Phase::Commit);
            alive.iter().for_each(|index| commit(*index));
            run_to_close();
        }
        let stages: Vec<_> = alive.iter().map(|index| member(*index).stage).collect();
        assert!(stages.contains(&Some(Stage(0))) && stages.contains(&Some(Stage(1))), "{stages:?}");
    });
}

#[test]
fn a_weight_moves_by_a_quarter_towards_the_pay() {
    with_epoch(epochs(4), || {
        let before = member(0).weight;
        let (well, badly) = (holders(0)[0], holders(0)[1]);
        merge_epoch(&[0, 1, 2, 3]);
        assert_eq!(member(well).weight, before, "nothing is paid yet");
        // Scores of 9 to 1 are 1,800 and 200 of the default weight; both are beyond a quarter.
        let mut reveal = reveal_of(Epoch(0), 900);
        reveal.entries.iter_mut().filter(|entry| entry.uid == uid(badly)).for_each(|entry| entry.score = 100);
        score_epoch_with(&[4, 5], &reveal);
        merge_epoch(&[0, 1, 2, 3]);
        assert_eq!(member(well).weight, before + before / 4);
        assert_eq!(member(badly).weight, before - before / 4);
        holders(1).iter().for_each(|index| assert_eq!(member(*index).weight, before, "paid alike"));
    });
}

#[test]
fn samples_that_a_miner_claims_do_not_raise_its_weight() {
    with_epoch(epochs(4), || {
        let before = member(0).weight;
        let liar = holders(0)[0];
        run_to_phase(Phase::Commit);
        for index in 0..4 {
            let most = if index == liar { 1_000 } else { 9 };
            let claim =
                WorkCommit { samples: most, started: work(index).started.min(1) * most, ..work(index) };
            assert_ok!(Bare::commit_work(signed(hotkey(index)), RUN, clock().epoch, claim));
        }
        run_to_close();
        score_epoch(&[4, 5]);
        run_to_close();
        assert!(owed(liar) > 0);
        (0..4).for_each(|index| assert_eq!(member(index).weight, before));
    });
}

#[test]
fn row_11_a_uid_reused_before_pay_day_does_not_inherit() {
    with_epoch(epochs(4), || {
        let old = uid(0);
        assert_ok!(Bare::leave(signed(hotkey(0)), RUN, old));
        merge_epoch(&[0, 1, 2, 3]);
        assert_eq!(register(9, Role::Miner), old);
        score_epoch(&[4, 5]);
        run_to_close();
        assert!(owed(0) > 0, "who did the work is paid after it left");
        assert_eq!(owed(9), 0, "who took the uid is not");
    });
}

#[test]
fn what_is_older_than_the_history_is_dropped() {
    with_epoch(epochs(8), || {
        for _ in 0..7 {
            merge_epoch(&[0, 1, 2, 3]);
            score_epoch(&[4, 5]);
        }
        // Epoch 7 runs; the last close was that of epoch 6 and dropped epoch 3 and report 2.
        assert_eq!(clock().epoch, Epoch(7));
        let kept = |epoch: u32| Iota::merge_view(RUN, Epoch(epoch), Stage(0)).is_some();
        assert_eq!((kept(3), kept(4)), (false, true));
        assert_eq!(Scores::<Test>::iter_prefix((RUN, Epoch(3))).count(), 0);
        let reported = |epoch: u32| Iota::report_view(RUN, Epoch(epoch)).is_some();
        assert_eq!((reported(2), reported(3)), (false, true));
    });
}

#[test]
fn only_validators_with_enough_bond_are_permitted() {
    with_epoch(params(), || {
        register(7, Role::Validator);
        merge_epoch(&[0, 1, 2, 3]);
        let snapshot = Iota::snapshot_view(RUN, Epoch(0)).unwrap();
        let uids: Vec<_> = snapshot.validators.iter().map(|validator| validator.uid).collect();
        assert_eq!(uids, vec![uid(4), uid(5)]);
    });
}

#[test]
fn row_04_a_full_close_weighs_more_than_a_quiet_block_and_no_more_than_its_share() {
    // Stages full of miners, as many left over, and as many validators as are permitted.
    let crowded = RunParams { start_replicas: 64, epochs: 4, ..params() };
    with_run(crowded, || {
        for index in 0..=255 {
            assert_ok!(Balances::mint_into(&coldkey(index), RICH));
        }
        (0..192).for_each(|index| join(index, Role::Miner));
        (192..=255).for_each(|index| join(index, Role::Validator));
        run_to(System::block_number() + 1);
        let quiet = Iota::on_initialize(System::block_number() + 1).ref_time();
        run_to_phase(Phase::Commit);
        let assigned: Vec<u8> = (0..192).filter(|index| member(*index).stage.is_some()).collect();
        assert_eq!(assigned.len(), 128);
        assigned.iter().for_each(|index| commit(*index));
        run_to_close();
        score_epoch(&(192..=255).collect::<Vec<u8>>());
        run_to_phase(Phase::Commit);
        assigned.iter().for_each(|index| commit(*index));
        run_to(schedule().close() - 1);
        let close = Iota::on_initialize(schedule().close()).ref_time();
        assert_eq!(Iota::report_view(RUN, Epoch(0)).unwrap().payouts.len(), 192);
        assert!(close > quiet * 10, "close weighs {close}, a quiet block {quiet}");
        // A block of the mock has a second; the runtime's own weights are held in its `worst_case`.
        assert!(close <= WEIGHT_REF_TIME_PER_SECOND / 4, "close weighs {close}");
    });
}

#[test]
fn constants_of_the_mock_hold_together() {
    with_run(params(), Iota::integrity_test);
}
