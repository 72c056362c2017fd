//! Roots that validators attest over the committers', and going back to the states of an earlier epoch.

use iota_protocol::{
    ids::{Epoch, Hash, Stage},
    params::RunParams,
    phase::Phase,
    work::Role,
};
use polkadot_sdk::{
    frame_support::{
        assert_noop, assert_ok,
        dispatch::DispatchResult,
        traits::{OnRuntimeUpgrade, StorageVersion},
    },
    frame_system,
};

use crate::{
    migrations::V2ToV3,
    mock::*,
    pallet::*,
    rollback::{Ballot, Checkpoint, CHECKPOINT_EPOCHS},
    types::State,
};

type E = Error<Test>;

/// What the committers report in `merge_epoch`.
const REPORTED: Hash = Hash([5; 32]);
const RIGHT: Hash = Hash([8; 32]);

/// Runs `test` in the first block of epoch 1 of six, with three validators of equal stake.
fn with_judges(test: impl FnOnce()) {
    with_run(RunParams { epochs: 6, ..params() }, || {
        (0..4).for_each(|index| join(index, Role::Miner));
        (4..7).for_each(|index| join(index, Role::Validator));
        run_to(System::block_number() + 1);
        merge_epoch(&[0, 1, 2, 3]);
        run_to(System::block_number() + 1);
        assert_eq!(clock().epoch, Epoch(1));
        test();
    });
}

fn attest_root(by: u8, stage: u16, root: Hash) -> DispatchResult {
    Bare::attest_root(signed(hotkey(by)), RUN, clock().epoch, Stage(stage), root)
}

fn vote(by: u8, to: u32) -> DispatchResult {
    Bare::vote_rollback(signed(hotkey(by)), RUN, clock().epoch, Epoch(to))
}

fn canonical(epoch: u32, stage: u16) -> Option<Hash> {
    Merges::<Test>::get((RUN, Epoch(epoch), Stage(stage))).and_then(|merge| merge.canonical_root)
}

fn checkpoint(epoch: u32) -> Option<Checkpoint> {
    Checkpoints::<Test>::get((RUN, Epoch(epoch)))
}

/// The current epoch, whose miners report `reported`; `inside` runs in the last window.
fn epoch_with(reported: u8, inside: impl FnOnce()) {
    run_to_phase(Phase::Commit);
    (0..4).for_each(commit);
    run_to_phase(Phase::Root);
    (0..4).for_each(|index| root(index, reported));
    inside();
    run_to_close();
}

#[test]
fn two_thirds_of_the_stake_overrule_what_all_committers_report() {
    with_judges(|| {
        epoch_with(9, || {
            assert_ok!(attest_root(4, 0, RIGHT));
            assert_ok!(attest_root(5, 1, RIGHT));
            assert_eq!(RootVotes::<Test>::get(RUN, Stage(0)).unwrap().decided, None, "one third");
            assert_ok!(attest_root(6, 0, RIGHT));
            assert_eq!(RootVotes::<Test>::get(RUN, Stage(0)).unwrap().decided, Some(RIGHT));
        });
        assert_eq!(canonical(1, 0), Some(RIGHT));
        assert_eq!(canonical(1, 1), Some(Hash([9; 32])), "one third overrules nobody");
        assert_eq!(checkpoint(1).unwrap().roots.to_vec(), [RIGHT, Hash([9; 32])]);
        assert_eq!(RootVotes::<Test>::iter().count(), 0, "votes go with their epoch");
        let fixed = |event: &Event<Test>| {
            *event == Event::RootFixed { run: RUN, epoch: Epoch(1), stage: Stage(0), root: Some(RIGHT) }
        };
        assert!(deposited(fixed));
    });
}

#[test]
fn validators_who_name_different_roots_leave_the_majoritys() {
    with_judges(|| {
        epoch_with(9, || {
            (4..7).for_each(|by| {
                assert_ok!(attest_root(by, 0, Hash([by; 32])));
            });
        });
        assert_eq!(canonical(1, 0), Some(Hash([9; 32])));
    });
}

#[test]
fn a_quorum_gives_a_stage_a_root_whose_committers_had_no_majority() {
    with_judges(|| {
        run_to_phase(Phase::Commit);
        (0..4).for_each(commit);
        run_to_phase(Phase::Root);
        (4..6).for_each(|by| {
            assert_ok!(attest_root(by, 0, RIGHT));
        });
        run_to_close();
        assert_eq!((canonical(1, 0), canonical(1, 1)), (Some(RIGHT), None));
        // The other stage stays as it was.
        assert_eq!(checkpoint(1).unwrap().roots.to_vec(), [RIGHT, REPORTED]);
    });
}

#[test]
fn a_root_is_attested_once_in_its_window_by_a_permitted_validator() {
    with_judges(|| {
        assert_noop!(attest_root(4, 0, RIGHT), E::WrongPhase);
        join(7, Role::Validator);
        run_to_phase(Phase::Commit);
        (0..4).for_each(commit);
        run_to_phase(Phase::Root);
        let call =
            |who: u8, epoch| Bare::attest_root(signed(hotkey(who)), RUN, Epoch(epoch), Stage(0), RIGHT);
        assert_noop!(call(4, 0), E::WrongEpoch);
        assert_noop!(call(30, 1), E::NotMember);
        assert_noop!(call(0, 1), E::NotValidator);
        assert_noop!(call(7, 1), E::NotValidator);
        assert_noop!(attest_root(4, 2, RIGHT), E::UnknownStage);
        let other = iota_protocol::ids::RunId(9);
        assert_noop!(Bare::attest_root(signed(hotkey(4)), other, Epoch(1), Stage(0), RIGHT), E::UnknownRun);
        assert_ok!(call(4, 1));
        assert_noop!(attest_root(4, 0, REPORTED), E::AlreadyVoted);
        run_to_close();
        assert_noop!(call(4, 1), E::WrongEpoch);
    });
}

#[test]
fn in_the_first_epoch_nobody_has_a_permit_yet() {
    with_epoch(params(), || {
        run_to_phase(Phase::Root);
        assert_noop!(attest_root(4, 0, RIGHT), E::WrongEpoch);
        assert_noop!(vote(4, 0), E::WrongEpoch);
    });
}

#[test]
fn the_last_two_epochs_states_are_kept_with_their_tokens() {
    with_judges(|| {
        let per_epoch = clock().tokens;
        assert!(per_epoch > 0);
        let roots = vec![REPORTED; 2].try_into().unwrap();
        assert_eq!(checkpoint(0), Some(Checkpoint { tokens: per_epoch, roots }));
        for epoch in 1..4u32 {
            score_epoch(&[4, 5, 6]);
            merge_epoch(&[0, 1, 2, 3]);
            let kept: Vec<u32> = (0..6).filter(|epoch| checkpoint(*epoch).is_some()).collect();
            let oldest = (epoch + 1).saturating_sub(CHECKPOINT_EPOCHS);
            assert_eq!(kept, (oldest..=epoch).collect::<Vec<_>>());
            assert_eq!(checkpoint(epoch).unwrap().tokens, per_epoch * u64::from(epoch + 1));
        }
    });
}

#[test]
fn a_quorum_takes_all_stages_back_to_the_same_epochs_states_and_tokens() {
    with_judges(|| {
        let (tokens, paid) = (clock().tokens, owed(0));
        epoch_with(9, || ());
        run_to(System::block_number() + 1);
        let base = clock().data_base;
        assert_ok!(vote(4, 0));
        score_epoch(&[4, 5, 6]);
        epoch_with(11, || {
            assert_ok!(vote(5, 0));
            // Decided is decided.
            assert_noop!(vote(6, 1), E::AlreadyDecided);
        });
        assert_eq!(clock().epoch, Epoch(3));
        assert_eq!((canonical(2, 0), canonical(2, 1)), (Some(REPORTED), Some(REPORTED)));
        assert_eq!(clock().tokens, tokens, "those after epoch 0");
        assert!(clock().data_base > base, "no sample is drawn twice");
        assert_eq!(checkpoint(2), Some(Checkpoint { tokens, roots: vec![REPORTED; 2].try_into().unwrap() }));
        assert_eq!(Rollbacks::<Test>::get(RUN), None, "votes go with their epoch");
        assert!(deposited(|event| {
            *event == Event::RolledBack { run: RUN, epoch: Epoch(2), to: Epoch(0), tokens }
        }));
        // Work that was left behind is paid.
        score_epoch(&[4, 5, 6]);
        run_to_close();
        assert!(owed(0) > paid);
    });
}

#[test]
fn stages_without_a_commit_go_back_too() {
    with_judges(|| {
        epoch_with(9, || ());
        run_to(System::block_number() + 1);
        (4..6).for_each(|by| {
            assert_ok!(vote(by, 0));
        });
        let before = clock().epoch;
        while clock().epoch == before {
            run_to(System::block_number() + 1);
        }
        assert_eq!((canonical(2, 0), canonical(2, 1)), (Some(REPORTED), Some(REPORTED)));
    });
}

#[test]
fn less_than_two_thirds_change_nothing_and_votes_do_not_outlast_their_epoch() {
    with_judges(|| {
        assert_ok!(vote(4, 0));
        epoch_with(9, || ());
        assert_eq!(canonical(1, 0), Some(Hash([9; 32])));
        run_to(System::block_number() + 1);
        assert_ok!(vote(5, 0));
        assert_eq!(Rollbacks::<Test>::get(RUN).unwrap().decided, None, "one vote of this epoch");
    });
}

#[test]
fn the_admin_takes_a_run_back_alone_and_over_votes() {
    with_judges(|| {
        epoch_with(9, || ());
        run_to(System::block_number() + 1);
        (4..6).for_each(|by| {
            assert_ok!(vote(by, 1));
        });
        assert_ok!(Bare::roll_back(RuntimeOrigin::root(), RUN, Epoch(0)));
        epoch_with(11, || ());
        assert_eq!(canonical(2, 0), Some(REPORTED));
    });
}

#[test]
fn only_recorded_epochs_can_be_gone_back_to() {
    with_judges(|| {
        assert_noop!(vote(4, 1), E::NoCheckpoint);
        assert_noop!(Bare::roll_back(RuntimeOrigin::root(), RUN, Epoch(1)), E::NoCheckpoint);
        assert_noop!(vote(0, 0), E::NotValidator);
        assert_noop!(Bare::vote_rollback(signed(hotkey(4)), RUN, Epoch(0), Epoch(0)), E::WrongEpoch);
        assert_ok!(vote(4, 0));
        assert_noop!(vote(4, 0), E::AlreadyVoted);
        for _ in 1..3 {
            score_epoch(&[4, 5, 6]);
            epoch_with(9, || ());
        }
        run_to(System::block_number() + 1);
        assert_eq!(clock().epoch, Epoch(3));
        assert_noop!(vote(4, 0), E::NoCheckpoint);
        assert_ok!(vote(4, 1));
    });
}

#[test]
fn nothing_goes_back_while_a_run_waits_settles_or_has_ended() {
    with_run(params(), || {
        assert_noop!(Bare::roll_back(RuntimeOrigin::root(), RUN, Epoch(0)), E::NotRunning);
    });
    with_epoch(params(), || {
        (0..2).for_each(|_| whole_epoch());
        run_to(System::block_number() + 1);
        assert_noop!(Bare::roll_back(RuntimeOrigin::root(), RUN, Epoch(1)), E::WrongPhase);
        assert_noop!(vote(4, 1), E::WrongPhase);
        run_to_close();
        assert_eq!(clock().state, State::Ended);
        assert_noop!(Bare::roll_back(RuntimeOrigin::root(), RUN, Epoch(1)), E::NotRunning);
        run_to(System::block_number() + RETENTION + 20);
        assert_eq!(Checkpoints::<Test>::iter().count(), 0, "they go with the run");
    });
}

#[test]
fn a_ballot_counts_the_stake_of_the_snapshot_and_of_nobody_else() {
    with_judges(|| {
        let snapshot = Snapshots::<Test>::get((RUN, Epoch(0))).unwrap();
        let votes = vec![(uid(4), 1u8), (iota_protocol::ids::Uid(200), 1)].try_into().unwrap();
        let ballot = Ballot { votes, decided: None };
        assert_eq!(ballot.count(&snapshot), None);
        let votes = vec![(uid(4), 1u8), (uid(6), 1)].try_into().unwrap();
        assert_eq!(Ballot { votes, decided: None }.count(&snapshot), Some(1));
    });
}

/// All checkpoints, in the order of their epochs.
fn recorded() -> Vec<(Epoch, Checkpoint)> {
    let mut all: Vec<_> = Checkpoints::<Test>::iter().map(|((_, epoch), own)| (epoch, own)).collect();
    all.sort_by_key(|(epoch, _)| *epoch);
    all
}

/// As version 2 left a chain: what it did not store is gone.
fn as_version_2() {
    let _ = Checkpoints::<Test>::clear(u32::MAX, None);
    StorageVersion::new(2).put::<Iota>();
}

#[test]
fn the_migration_records_what_each_close_would_have_recorded() {
    with_judges(|| {
        for reported in [9, 11] {
            score_epoch(&[4, 5, 6]);
            epoch_with(reported, || ());
        }
        run_to(System::block_number() + 1);
        let before = recorded();
        assert_eq!(before.iter().map(|(epoch, _)| epoch.0).collect::<Vec<_>>(), [1, 2]);
        as_version_2();
        let weight = V2ToV3::<Test>::on_runtime_upgrade();
        assert_eq!(recorded(), before);
        assert_eq!(StorageVersion::get::<Iota>(), 3);
        // The active runs; of the run parameters and clock; of each epoch two stages and one of them again.
        let db = <Test as frame_system::Config>::DbWeight::get();
        let work = db.reads_writes(1 + 2 + 2 * 3, 2);
        assert!(weight.all_gte(work) && work.saturating_mul(2).all_gte(weight), "{weight:?} for {work:?}");
        let once = storage_digest();
        V2ToV3::<Test>::on_runtime_upgrade();
        assert_eq!(storage_digest(), once, "a second time changes nothing");
        // And it can be gone back to.
        assert_ok!(Bare::roll_back(RuntimeOrigin::root(), RUN, Epoch(1)));
    });
}

#[test]
fn the_migration_leaves_out_an_epoch_in_which_a_stage_has_no_root() {
    with_judges(|| {
        score_epoch(&[4, 5, 6]);
        run_to_phase(Phase::Commit);
        (0..4).for_each(commit);
        run_to_close();
        run_to(System::block_number() + 1);
        assert_eq!(recorded().len(), 2, "`Close` knows that the state did not change");
        as_version_2();
        V2ToV3::<Test>::on_runtime_upgrade();
        assert_eq!(recorded().iter().map(|(epoch, _)| epoch.0).collect::<Vec<_>>(), [0]);
    });
}
