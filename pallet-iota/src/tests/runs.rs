//! More than one run: shares of the emission, parameters at an epoch's edge, pause, end; agreement.

use iota_protocol::{
    emission::INITIAL_PER_EPOCH,
    ids::{Epoch, Hash, RunId, Stage},
    params::{RunParams, PPM},
    phase::Phase,
    work::ShardStatus,
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, traits::fungible::InspectHold},
    sp_runtime::DispatchError,
};

use crate::{mock::*, pallet::*, types::State};

type E = Error<Test>;

const OTHER: RunId = RunId(1);

fn epochs(epochs: u32) -> RunParams {
    RunParams { epochs, ..params() }
}

fn on_hold(index: u8) -> u128 {
    Balances::balance_on_hold(&HoldReason::Run.into(), &coldkey(index))
}

#[test]
fn anyone_may_make_a_run_behind_a_deposit_and_it_has_no_share() {
    with_run(params(), || {
        assert_ok!(Bare::sponsor_run(signed(coldkey(20)), params()));
        assert_eq!((on_hold(20), Controls::<Test>::get(OTHER).share_ppm), (RUN_DEPOSIT, 0));
        assert_eq!(Controls::<Test>::get(RUN).share_ppm, PPM, "the first run has what was left");
        assert_noop!(Bare::sponsor_run(signed(coldkey(20)), params()), E::TooManyRuns);
        assert_ok!(Bare::end_run(signed(coldkey(20)), OTHER));
        assert_eq!((on_hold(20), ActiveRuns::<Test>::get().to_vec()), (0, vec![RUN]));
        assert_noop!(Bare::end_run(RuntimeOrigin::root(), OTHER), E::NotRunning);
        assert_ok!(Bare::sponsor_run(signed(coldkey(20)), params()));
        assert_eq!(ActiveRuns::<Test>::get().to_vec(), vec![RUN, RunId(2)], "ids are not used again");
        let broken = RunParams { epochs: 0, ..params() };
        assert_noop!(Bare::sponsor_run(signed(coldkey(20)), broken), E::InvalidParams);
    });
}

#[test]
fn who_cannot_pay_the_deposit_makes_no_run() {
    with_run(params(), || {
        let before = storage_digest();
        assert!(Bare::sponsor_run(signed(hotkey(30)), params()).is_err());
        assert_eq!(storage_digest(), before);
    });
}

#[test]
fn shares_sum_to_at_most_the_emission_and_change_at_close() {
    with_epoch(epochs(4), || {
        assert_ok!(Bare::sponsor_run(signed(coldkey(20)), params()));
        let share = |run, ppm| Bare::set_run_share(RuntimeOrigin::root(), run, ppm);
        assert_noop!(share(OTHER, 1), E::ShareTaken);
        assert_noop!(share(RunId(9), 1), E::UnknownRun);
        assert_noop!(Bare::set_run_share(signed(coldkey(20)), OTHER, 1), DispatchError::BadOrigin);
        assert_ok!(share(RUN, 250_000));
        assert_noop!(share(OTHER, 750_000), E::ShareTaken);
        merge_epoch(&[0, 1, 2, 3]);
        assert_ok!(share(OTHER, 750_000));
        assert_eq!(Controls::<Test>::get(OTHER).share_ppm, 750_000, "it waits, and so has no edge");
        score_epoch(&[4, 5]);
        merge_epoch(&[0, 1, 2, 3]);
        let report = Iota::report_view(RUN, Epoch(0)).unwrap();
        assert_eq!((report.terms.share_ppm, report.split.minted), (250_000, INITIAL_PER_EPOCH / 4));
    });
}

#[test]
fn row_13_row_32_parameters_change_at_the_edge_of_an_epoch_and_not_in_its_freeze_window() {
    with_epoch(epochs(4), || {
        let mut next = epochs(4);
        next.train.lr_ppm = 77;
        let send = |next: &RunParams| Bare::schedule_params(RuntimeOrigin::root(), RUN, next.clone());
        let other = RunParams { seed: 9, ..next.clone() };
        assert_noop!(send(&other), E::InvalidParams);
        assert_noop!(send(&RunParams { epochs: 0, ..next.clone() }), E::InvalidParams);
        assert_noop!(Bare::schedule_params(signed(coldkey(0)), RUN, next.clone()), E::NotOwner);
        run_to(schedule().window(Phase::Attest).start - 1);
        assert_ok!(send(&next));
        assert_eq!(Iota::run_view(RUN).unwrap().train.lr_ppm, 1_000, "not before the edge");
        // Nobody commits: `Train` goes on, and the window is open again.
        run_to(schedule().window(Phase::Attest).start);
        assert_eq!(clock().extensions, 1);
        run_to_phase(Phase::Attest);
        assert_noop!(send(&next), E::Frozen);
        run_to(schedule().close() - 1);
        assert_noop!(send(&next), E::Frozen);
        run_to_close();
        assert_eq!(Iota::run_view(RUN).unwrap().train.lr_ppm, 77);
        assert!(Pending::<Test>::get(RUN).is_none());
        run_to(System::block_number() + 1);
        assert_noop!(send(&RunParams { epochs: 1, ..next.clone() }), E::InvalidParams);
        assert_ok!(send(&RunParams { epochs: 2, ..next }));
    });
}

#[test]
fn longer_windows_take_effect_in_the_next_epoch() {
    with_epoch(epochs(4), || {
        let mut next = epochs(4);
        next.phases.train += 6;
        assert_ok!(Bare::schedule_params(RuntimeOrigin::root(), RUN, next));
        let before = schedule().window(Phase::Train).count();
        run_to_close();
        assert_eq!(schedule().window(Phase::Train).count(), before + 6);
    });
}

#[test]
fn a_run_pauses_between_two_epochs_and_goes_on() {
    with_epoch(epochs(4), || {
        let root = RuntimeOrigin::root;
        assert_noop!(Bare::resume_run(root(), RUN), E::NotPaused);
        assert_noop!(Bare::pause_run(signed(coldkey(0)), RUN), E::NotOwner);
        assert_ok!(Bare::pause_run(root(), RUN));
        merge_epoch(&[0, 1, 2, 3]);
        assert_eq!((clock().state, clock().epoch), (State::Paused, Epoch(1)));
        let paused = clock();
        run_to(System::block_number() + 40);
        assert_eq!(clock(), paused, "nothing moves");
        let call = || Bare::commit_scores(signed(hotkey(4)), RUN, Epoch(0), Hash::ZERO);
        assert_noop!(call(), E::NotRunning);
        assert_noop!(Bare::pause_run(root(), RUN), E::NotRunning);
        assert_ok!(Bare::resume_run(root(), RUN));
        assert_eq!(clock().start, System::block_number() + 1);
        score_epoch(&[4, 5]);
        merge_epoch(&[0, 1, 2, 3]);
        assert!(Iota::report_view(RUN, Epoch(0)).unwrap().split.minted > 0, "what was before is settled");
    });
}

#[test]
fn a_pause_can_be_taken_back() {
    with_epoch(epochs(4), || {
        assert_ok!(Bare::pause_run(RuntimeOrigin::root(), RUN));
        assert_ok!(Bare::resume_run(RuntimeOrigin::root(), RUN));
        merge_epoch(&[0, 1, 2, 3]);
        assert_eq!(clock().state, State::Running);
    });
}

#[test]
fn a_run_that_is_told_to_end_settles_its_last_epoch() {
    for paused in [false, true] {
        with_epoch(epochs(9), || {
            let end = || Bare::end_run(RuntimeOrigin::root(), RUN);
            assert_noop!(Bare::end_run(signed(coldkey(0)), RUN), E::NotOwner);
            if paused {
                assert_ok!(Bare::pause_run(RuntimeOrigin::root(), RUN));
                merge_epoch(&[0, 1, 2, 3]);
                assert_ok!(end());
            } else {
                assert_ok!(end());
                merge_epoch(&[0, 1, 2, 3]);
            }
            run_to(System::block_number() + 1);
            assert_noop!(end(), E::Frozen);
            score_epoch(&[4, 5]);
            run_to_close();
            assert_eq!(clock().state, State::Ended);
            assert!(Iota::report_view(RUN, Epoch(0)).unwrap().split.minted > 0);
            assert!(!Controls::<Test>::contains_key(RUN), "its share is free");
        });
    }
}

#[test]
fn an_owner_controls_its_run_and_no_other() {
    with_run(params(), || {
        assert_ok!(Bare::sponsor_run(signed(coldkey(20)), params()));
        assert_noop!(Bare::end_run(signed(coldkey(20)), RUN), E::NotOwner);
        assert_noop!(Bare::pause_run(signed(coldkey(20)), OTHER), E::NotRunning);
        let mut next = params();
        next.train.lr_ppm = 5;
        assert_ok!(Bare::schedule_params(signed(coldkey(20)), OTHER, next));
        assert_eq!(Iota::run_view(OTHER).unwrap().train.lr_ppm, 5, "it waits, and so has no edge");
    });
}

#[test]
fn the_agreement_matrix_names_the_owners_of_each_shard() {
    with_epoch(epochs(6), || {
        let pair: Vec<u8> = (0..4).filter(|index| member(*index).stage == Some(Stage(0))).collect();
        assert_eq!(Iota::agreement_view(RUN, Epoch(0), Stage(0)), None);
        run_to_phase(Phase::Commit);
        (0..4).for_each(commit);
        run_to_phase(Phase::Attest);
        (0..4).for_each(attest);
        run_to_phase(Phase::Blind);
        (0..4u8).for_each(|index| blind(index, &shard_hashes(index, index)));
        run_to_phase(Phase::Open);
        (0..4u8).for_each(|index| open(index, shard_hashes(index, index)));
        let view = Iota::agreement_view(RUN, Epoch(0), Stage(0)).unwrap();
        let mut uids: Vec<_> = pair.iter().map(|index| uid(*index)).collect();
        uids.sort();
        assert_eq!(view.members.iter().map(|(uid, _)| *uid).collect::<Vec<_>>(), uids);
        let [cell] = view.cells[..] else { panic!("two committers share one shard: {view:?}") };
        assert_eq!((cell.shard, vec![cell.low, cell.high]), (0, uids));
        assert!(matches!(cell.status, ShardStatus::Differs(..)));
        // Readable for the history that is kept, and gone after it.
        (0..3).for_each(|_| run_to_close());
        assert!(Iota::agreement_view(RUN, Epoch(0), Stage(0)).is_some());
        run_to_close();
        assert_eq!(Iota::agreement_view(RUN, Epoch(0), Stage(0)), None);
        assert!(Seeds::<Test>::get((RUN, Epoch(0))).is_none());
    });
}
