//! Evidence that a quorum asked for, held and lapsed pay; audit transcripts.

use iota_protocol::{
    ids::{Epoch, Hash, Incarnation, RunId, Uid},
    params::RunParams,
    phase::Phase,
    work::{transcripts_hash, Transcript, Transcripts},
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok, dispatch::DispatchResult};

use crate::{
    mock::*,
    pallet::*,
    types::{key, State},
};

type E = Error<Test>;

const SCORED: Epoch = Epoch(0);

/// Runs `test` in the first block of epoch 1, with two validators of equal stake.
fn with_audit(epochs: u32, test: impl FnOnce()) {
    with_epoch(RunParams { epochs, ..params() }, || {
        merge_epoch(&[0, 1, 2, 3]);
        run_to(System::block_number() + 1);
        test();
    });
}

fn ask(by: u8, miner: u8) -> DispatchResult {
    let incarnation = member(miner).incarnation;
    Bare::request_evidence(signed(hotkey(by)), RUN, SCORED, uid(miner), incarnation, Hash([by; 32]))
}

fn answer(miner: u8) -> DispatchResult {
    Bare::answer_evidence(signed(hotkey(miner)), RUN, SCORED, Hash([7; 32]))
}

/// Scores the epoch and closes the current one.
fn settle_scored() {
    score_epoch(&[4, 5]);
    merge_epoch(&[0, 1, 2, 3]);
    run_to(System::block_number() + 1);
}

fn held() -> Vec<(Uid, u128)> {
    Iota::held_view(RUN, SCORED).iter().map(|payout| (payout.uid, payout.amount)).collect()
}

#[test]
fn unanswered_evidence_holds_the_pay_and_a_second_failure_lets_it_lapse() {
    with_audit(4, || {
        assert_ok!(ask(4, 0));
        assert_ok!(ask(5, 0));
        settle_scored();
        let amount = owed(1);
        assert!(amount > 0);
        assert_eq!((owed(0), held(), TotalHeld::<Test>::get()), (0, vec![(uid(0), amount)], amount));
        assert_ok!(ask(4, 0));
        assert_ok!(ask(5, 0));
        let treasury = Balances::free_balance(Iota::treasury());
        run_to_close();
        assert_eq!((owed(0), held(), TotalHeld::<Test>::get()), (0, vec![], 0));
        assert_eq!(Balances::free_balance(Iota::treasury()), treasury + amount);
        assert!(deposited(|event| matches!(event, Event::PayLapsed { epoch: SCORED, .. })));
    });
}

#[test]
fn held_pay_that_nobody_asks_about_again_is_credited_late_and_vests_from_then_on() {
    with_audit(12, || {
        assert_ok!(ask(4, 0));
        assert_ok!(ask(5, 0));
        settle_scored();
        assert_eq!(owed(0), 0);
        run_to_close();
        let (pay, release) = (owed(1), |index: u8| {
            assert_ok!(Bare::release(signed(coldkey(30)), RUN, member(index).incarnation));
            claimable(index)
        });
        assert_eq!(
            (owed(0), claimable(0)),
            (pay, 0),
            "credited with the second `Close`, and not free at once"
        );
        assert_eq!((release(0), release(1)), (pay / 4, pay / 2), "one epoch behind who was not asked");
        for part in 2..=4 {
            run_to_close();
            assert_eq!(release(0), pay * part / 4);
        }
    });
}

#[test]
fn an_answer_keeps_the_pay() {
    with_audit(3, || {
        assert_ok!(ask(4, 0));
        assert_noop!(answer(1), E::NoRequest);
        assert_ok!(ask(5, 0));
        assert_ok!(answer(0));
        assert_noop!(answer(0), E::AlreadyAnswered);
        settle_scored();
        assert_eq!((owed(0), held()), (owed(1), vec![]));
    });
}

#[test]
fn an_answer_that_is_a_lie_does_not_keep_the_pay() {
    with_audit(4, || {
        assert_ok!(ask(4, 0));
        assert_ok!(ask(5, 0));
        assert_ok!(answer(0));
        // Nothing is served; both say so again, after `Train` too.
        assert_ok!(ask(4, 0));
        score_epoch(&[4, 5]);
        run_to_phase(Phase::Attest);
        assert_ok!(ask(5, 0));
        assert_noop!(ask(5, 0), E::AlreadyAsked);
        assert_noop!(answer(0), E::AlreadyAnswered);
        settle_scored_late();
        assert_eq!((owed(0), held()), (0, vec![(uid(0), owed(1))]));
        // The same once more.
        assert_ok!(ask(4, 0));
        assert_ok!(ask(5, 0));
        assert_ok!(answer(0));
        assert_ok!(ask(4, 0));
        assert_ok!(ask(5, 0));
        run_to_close();
        assert_eq!((owed(0), held()), (0, vec![]));
        assert!(deposited(|event| matches!(event, Event::PayLapsed { epoch: SCORED, .. })));
    });
}

/// Everybody commits in the current epoch, so that `Train` does not go on after `Commit`.
fn commit_all() {
    run_to_phase(Phase::Commit);
    (0..4).for_each(commit);
}

#[test]
fn an_answer_leaves_three_windows_to_contradict_it() {
    with_audit(3, || {
        assert_ok!(ask(4, 0));
        commit_all();
        run_to_phase(Phase::Blind);
        assert_noop!(answer(0), E::WrongPhase);
        assert_noop!(ask(5, 0), E::WrongPhase);
    });
    with_audit(3, || {
        assert_ok!(ask(4, 0));
        commit_all();
        run_to_phase(Phase::Attest);
        assert_ok!(answer(0));
        run_to_phase(Phase::Root);
        assert_ok!(ask(5, 0));
        let request = Iota::court_view(RUN, SCORED).requests[0].clone();
        assert_eq!((request.askers, request.quorum), (vec![uid(5)], false), "who asked before is forgotten");
        assert_eq!((request.wanted, request.answer), (Hash([4; 32]), Some(Hash([7; 32]))));
    });
}

#[test]
fn half_of_the_stake_is_no_quorum() {
    with_audit(3, || {
        assert_ok!(ask(4, 0));
        settle_scored();
        assert_eq!((owed(0), held()), (owed(1), vec![]));
    });
}

#[test]
fn held_pay_is_paid_if_nobody_asks_again_or_the_second_answer_comes() {
    for answered in [false, true] {
        with_audit(4, || {
            assert_ok!(ask(4, 0));
            assert_ok!(ask(5, 0));
            settle_scored();
            let amount = owed(1);
            if answered {
                assert_noop!(answer(0), E::NoRequest);
                assert_ok!(ask(4, 0));
                assert_ok!(ask(5, 0));
                run_to_phase(Phase::Attest);
                assert_ok!(answer(0));
            }
            run_to_close();
            assert_eq!((owed(0), held(), TotalHeld::<Test>::get()), (amount, vec![], 0));
        });
    }
}

#[test]
fn a_gate_that_comes_after_the_pay_was_held_lets_it_lapse() {
    with_audit(4, || {
        assert_ok!(ask(4, 0));
        assert_ok!(ask(5, 0));
        settle_scored();
        Iota::gate(RUN, SCORED, uid(0), member(0).incarnation);
        run_to_close();
        assert_eq!((owed(0), held(), TotalHeld::<Test>::get()), (0, vec![], 0));
    });
}

/// Holds the pay of a run's only epoch, and runs `test` in the first block of its second settling epoch.
fn with_last_pay_held(test: impl FnOnce(u128)) {
    with_audit(1, || {
        assert_ok!(ask(4, 0));
        assert_ok!(ask(5, 0));
        score_epoch(&[4, 5]);
        run_to_close();
        let amount = owed(1);
        assert!(amount > 0);
        assert_eq!((owed(0), held(), TotalHeld::<Test>::get()), (0, vec![(uid(0), amount)], amount));
        assert_eq!((clock().epoch, clock().state), (Epoch(2), State::Running));
        run_to(clock().start);
        test(amount);
    });
}

/// The run is over, and nothing of the judging is left.
fn ended() {
    assert_eq!((clock().epoch, clock().state), (Epoch(2), State::Ended));
    assert_eq!(EvidenceRequests::<Test>::iter().count() + Accusations::<Test>::iter().count(), 0);
    assert_eq!((held(), TotalHeld::<Test>::get()), (vec![], 0));
}

#[test]
fn refusing_evidence_of_the_last_epoch_does_not_pay() {
    with_last_pay_held(|amount| {
        assert_ok!(ask(4, 0));
        assert_ok!(ask(5, 0));
        let treasury = Balances::free_balance(Iota::treasury());
        run_to_close();
        assert_eq!((owed(0), Balances::free_balance(Iota::treasury())), (0, treasury + amount));
        ended();
    });
}

#[test]
fn held_pay_of_the_last_epoch_is_paid_if_nobody_asks_again_or_an_answer_comes() {
    for answered in [false, true] {
        with_last_pay_held(|amount| {
            if answered {
                assert_ok!(ask(4, 0));
                assert_ok!(ask(5, 0));
                run_to(schedule().evidence_answered_until() - 1);
                assert_ok!(answer(0));
            }
            run_to_close();
            assert_eq!(owed(0), amount);
            ended();
        });
    }
}

#[test]
fn an_answer_at_the_end_of_a_settling_epoch_comes_too_late_to_lie() {
    with_last_pay_held(|_| {
        assert_ok!(ask(4, 0));
        run_to(schedule().evidence_asked_until());
        assert_noop!(ask(5, 0), E::WrongPhase);
        run_to(schedule().evidence_answered_until());
        assert_noop!(answer(0), E::WrongPhase);
    });
    with_last_pay_held(|_| {
        assert_ok!(ask(4, 0));
        assert_ok!(ask(5, 0));
        assert_ok!(answer(0));
        run_to(schedule().close() - 1);
        assert_ok!(ask(4, 0));
        assert_ok!(ask(5, 0));
        run_to_close();
        assert_eq!(owed(0), 0);
        ended();
    });
}

#[test]
fn a_second_settling_epoch_scores_nothing_and_mints_nothing() {
    with_last_pay_held(|_| {
        let (minted, before) = (TotalMinted::<Test>::get(), member(4).missed_reveals);
        let refused = || Bare::commit_scores(signed(hotkey(4)), RUN, Epoch(1), Hash::ZERO);
        assert_noop!(refused(), E::NotValidator);
        run_to_close();
        assert_eq!((TotalMinted::<Test>::get(), member(4).missed_reveals), (minted, before));
        assert!(Iota::report_view(RUN, Epoch(1)).is_none());
    });
}

#[test]
fn a_run_settles_longer_for_an_open_accusation_and_only_once() {
    with_audit(1, || {
        score_epoch(&[4, 5]);
        assert_ok!(Bare::bond(signed(coldkey(4)), RUN, uid(4), DEPOSIT));
        let (uid, incarnation) = (uid(0), member(0).incarnation);
        assert_ok!(Bare::accuse(signed(hotkey(4)), RUN, SCORED, uid, incarnation, 0, Hash([7; 32])));
        run_to_close();
        assert_eq!((clock().epoch, clock().state), (Epoch(2), State::Running));
        run_to(clock().start);
        let paid = owed(0);
        assert!(paid > 0, "nothing held its pay");
        assert_ok!(Bare::vote(signed(hotkey(5)), RUN, SCORED, uid, 0, true));
        assert_eq!(owed(0), paid / u128::from(VEST), "what vested in the epoch between stays");
        run_to_close();
        ended();
    });
    with_audit(1, || {
        score_epoch(&[4, 5]);
        run_to_close();
        assert_eq!((clock().epoch, clock().state), (Epoch(1), State::Ended), "nothing is open");
    });
}

#[test]
fn requests_are_refused_with_their_own_errors() {
    with_audit(4, || {
        let incarnation = member(0).incarnation;
        let by = |index: u8, run, epoch, uid, incarnation| {
            Bare::request_evidence(signed(hotkey(index)), run, epoch, uid, incarnation, Hash::ZERO)
        };
        assert_noop!(by(4, RunId(9), SCORED, uid(0), incarnation), E::UnknownRun);
        assert_noop!(by(4, RUN, Epoch(1), uid(0), incarnation), E::WrongEpoch);
        assert_noop!(by(30, RUN, SCORED, uid(0), incarnation), E::NotMember);
        assert_noop!(by(1, RUN, SCORED, uid(0), incarnation), E::NotValidator);
        assert_noop!(by(4, RUN, SCORED, Uid(200), incarnation), E::UnknownMiner);
        assert_noop!(by(4, RUN, SCORED, uid(0), Incarnation(99)), E::UnknownMiner);
        assert_ok!(ask(4, 0));
        assert_noop!(ask(4, 0), E::AlreadyAsked);
        assert_noop!(Bare::answer_evidence(signed(hotkey(0)), RUN, Epoch(1), Hash::ZERO), E::WrongEpoch);
        assert_noop!(Bare::answer_evidence(signed(hotkey(30)), RUN, SCORED, Hash::ZERO), E::NotMember);
        run_to_phase(Phase::Commit);
        assert_noop!(ask(5, 0), E::WrongPhase);
        settle_scored_late();
        assert_noop!(ask(4, 0), E::NothingHeld);
    });
}

/// Closes the current epoch from `Commit` on; nobody scored, so it is void.
fn settle_scored_late() {
    merge_epoch(&[0, 1, 2, 3]);
    run_to(System::block_number() + 1);
}

fn transcripts(miners: &[u8]) -> Transcripts {
    let of = |index: &u8| Transcript {
        uid: uid(*index),
        incarnation: member(*index).incarnation,
        segment: 3,
        root: Hash([*index; 32]),
        agrees: true,
    };
    let mut list: Vec<_> = miners.iter().map(of).collect();
    list.sort_by_key(|own| own.uid);
    list.try_into().unwrap()
}

fn commit_audits(by: u8, list: &Transcripts) -> DispatchResult {
    let author = key(&hotkey(by));
    let hash = transcripts_hash(&Iota::genesis_hash(), RUN, &author, SCORED, &[by; 32], list);
    Bare::commit_transcripts(signed(hotkey(by)), RUN, SCORED, hash)
}

fn open_audits(by: u8, list: &Transcripts) -> DispatchResult {
    Bare::submit_transcripts(signed(hotkey(by)), RUN, SCORED, [by; 32], list.clone())
}

#[test]
fn opened_transcripts_are_paid() {
    with_audit(3, || {
        let list = transcripts(&[0, 1]);
        assert_ok!(commit_audits(4, &list));
        score_epoch(&[4, 5]);
        assert_ok!(open_audits(4, &list));
        merge_epoch(&[0, 1, 2, 3]);
        let report = Iota::report_view(RUN, SCORED).unwrap();
        assert_eq!(report.terms.transcripts, vec![(uid(4), 2)]);
        // A tenth of the validators' two fifths, over four transcripts that could have been opened.
        assert_eq!(owed(4) - owed(5), report.split.minted / 25 / 4 * 2);
    });
}

#[test]
fn transcripts_are_refused_with_their_own_errors() {
    with_audit(3, || {
        let list = transcripts(&[0]);
        let hash = Hash::ZERO;
        let commit = |by: u8, epoch| Bare::commit_transcripts(signed(hotkey(by)), RUN, epoch, hash);
        assert_noop!(commit(4, Epoch(1)), E::WrongEpoch);
        assert_noop!(commit(30, SCORED), E::NotMember);
        assert_noop!(commit(0, SCORED), E::NotValidator);
        assert_ok!(commit_audits(4, &list));
        assert_noop!(commit(4, SCORED), E::AlreadyCommitted);
        assert_noop!(open_audits(4, &list), E::RevealTooEarly);
        run_to(schedule().score_reveal().start);
        assert_noop!(commit(5, SCORED), E::CommitTooLate);
        assert_noop!(open_audits(5, &list), E::NoCommit);
        assert_noop!(open_audits(4, &transcripts(&[1])), E::HashMismatch);
        assert_ok!(open_audits(4, &list));
        assert_noop!(open_audits(4, &list), E::AlreadyRevealed);
        run_to(schedule().score_reveal().end);
        assert_noop!(open_audits(4, &list), E::RevealTooLate);
    });
}

#[test]
fn transcripts_ascend_and_name_miners_of_the_epoch() {
    let refused = |list: fn() -> Transcripts, error: E| {
        with_audit(3, || {
            let list = list();
            assert_ok!(commit_audits(4, &list));
            run_to(schedule().score_reveal().start);
            assert_noop!(open_audits(4, &list), error);
        });
    };
    refused(Transcripts::default, E::NoTranscript);
    refused(|| vec![transcripts(&[0])[0]; 2].try_into().unwrap(), E::Unsorted);
    refused(
        || vec![Transcript { uid: Uid(200), ..transcripts(&[0])[0] }].try_into().unwrap(),
        E::UnknownMiner,
    );
}

#[test]
fn row_12_a_copied_transcript_commit_cannot_be_opened() {
    with_audit(3, || {
        let list = transcripts(&[0]);
        let hash = transcripts_hash(&Iota::genesis_hash(), RUN, &key(&hotkey(4)), SCORED, &[4; 32], &list);
        assert_ok!(commit_audits(4, &list));
        assert_ok!(Bare::commit_transcripts(signed(hotkey(5)), RUN, SCORED, hash));
        run_to(schedule().score_reveal().start);
        let copied = || Bare::submit_transcripts(signed(hotkey(5)), RUN, SCORED, [4; 32], list.clone());
        assert_noop!(copied(), E::HashMismatch);
    });
}
