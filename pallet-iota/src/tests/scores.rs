//! Commit and reveal of scores.

use iota_protocol::{
    ids::{Epoch, Hash, RunId, Uid},
    params::RunParams,
    work::{Role, ScoreEntry, ScoreReveal},
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};

use crate::{mock::*, pallet::*};

type E = Error<Test>;

const SCORED: Epoch = Epoch(0);

/// Runs `test` in the first block of epoch 1.
fn with_scored_epoch(test: impl FnOnce()) {
    with_epoch(params(), || {
        merge_epoch(&[0, 1, 2, 3]);
        run_to(System::block_number() + 1);
        test();
    });
}

fn commit_hash(index: u8, hash: u8) -> polkadot_sdk::frame_support::dispatch::DispatchResult {
    Bare::commit_scores(signed(hotkey(index)), RUN, SCORED, Hash([hash; 32]))
}

fn reveal_row(author: Uid, reveal: &ScoreReveal) -> polkadot_sdk::frame_support::dispatch::DispatchResult {
    Bare::reveal_scores(signed(coldkey(9)), RUN, SCORED, author, reveal.clone())
}

#[test]
fn scores_are_committed_by_permitted_validators_in_their_window() {
    with_scored_epoch(|| {
        let call =
            |index: u8, run, epoch| Bare::commit_scores(signed(hotkey(index)), run, epoch, Hash([1; 32]));
        assert_noop!(call(4, RunId(9), SCORED), E::UnknownRun);
        assert_noop!(call(4, RUN, Epoch(1)), E::WrongEpoch);
        assert_noop!(call(30, RUN, SCORED), E::NotMember);
        assert_noop!(call(0, RUN, SCORED), E::NotValidator);
        // Bonded too late: it had no permit when the epoch closed.
        join(7, Role::Validator);
        assert_noop!(call(7, RUN, SCORED), E::NotValidator);
        assert_ok!(call(4, RUN, SCORED));
        assert_noop!(commit_hash(4, 2), E::AlreadyCommitted);
        run_to(schedule().score_commit().end);
        assert_noop!(call(5, RUN, SCORED), E::CommitTooLate);
    });
}

#[test]
fn the_first_epoch_has_nothing_to_score() {
    with_epoch(params(), || {
        assert_noop!(commit_hash(4, 1), E::WrongEpoch);
    });
}

#[test]
fn a_reveal_must_match_its_commit_and_may_be_sent_by_anyone() {
    with_scored_epoch(|| {
        let reveal = reveal_of(SCORED, 100);
        let author = uid(4);
        commit_scores(4, SCORED, &reveal);
        assert_noop!(reveal_row(author, &reveal), E::RevealTooEarly);
        run_to(schedule().score_reveal().start);
        assert_noop!(reveal_row(uid(5), &reveal), E::NoCommit);
        let other_salt = ScoreReveal { salt: [5; 32], ..reveal.clone() };
        assert_noop!(reveal_row(author, &other_salt), E::HashMismatch);
        assert_noop!(reveal_row(author, &reveal_of(SCORED, 101)), E::HashMismatch);
        assert_ok!(reveal_row(author, &reveal));
        assert_noop!(reveal_row(author, &reveal), E::AlreadyRevealed);
        let view = Iota::scores_view(RUN, SCORED);
        assert_eq!(view.first().unwrap().entries.as_ref().unwrap().len(), 4);
    });
}

#[test]
fn row_12_a_copied_commit_cannot_be_revealed() {
    with_scored_epoch(|| {
        let reveal = reveal_of(SCORED, 100);
        commit_scores(4, SCORED, &reveal);
        let copied = score_hash(4, SCORED, &reveal);
        assert_ok!(Bare::commit_scores(signed(hotkey(5)), RUN, SCORED, copied));
        run_to(schedule().score_reveal().start);
        assert_ok!(reveal_row(uid(4), &reveal));
        assert_noop!(reveal_row(uid(5), &reveal), E::CopiedCommit);
        // The copy is recognised before its original is revealed, too, and a row of one's own is no copy.
        assert_noop!(reveal_row(uid(5), &reveal_of(SCORED, 101)), E::CopiedCommit);
    });
}

#[test]
fn row_13_the_reveal_window_opens_and_closes_at_its_blocks() {
    with_scored_epoch(|| {
        let reveal = reveal_of(SCORED, 100);
        commit_scores(4, SCORED, &reveal);
        let window = schedule().score_reveal();
        assert_eq!(window.start, schedule().score_commit().end, "the two windows are disjoint");
        run_to(window.start - 1);
        assert_noop!(reveal_row(uid(4), &reveal), E::RevealTooEarly);
        assert_ok!(commit_hash(5, 1));
        run_to(window.end - 1);
        assert_ok!(reveal_row(uid(4), &reveal));
        run_to(window.end);
        assert_noop!(reveal_row(uid(5), &reveal), E::RevealTooLate);
    });
}

#[test]
fn row_10_a_reveal_is_not_replayed_in_its_epoch_or_in_another() {
    with_epoch(RunParams { epochs: 4, ..params() }, || {
        merge_epoch(&[0, 1, 2, 3]);
        run_to(System::block_number() + 1);
        let reveal = reveal_of(SCORED, 100);
        commit_scores(4, SCORED, &reveal);
        run_to(schedule().score_reveal().start);
        assert_ok!(reveal_row(uid(4), &reveal));
        assert_noop!(reveal_row(uid(4), &reveal), E::AlreadyRevealed);
        merge_epoch(&[0, 1, 2, 3]);
        run_to(System::block_number() + 1);
        assert_noop!(reveal_row(uid(4), &reveal), E::WrongEpoch);
        // The same row and hash in the next epoch: the hash is bound to the epoch that it was made for.
        let replayed = score_hash(4, SCORED, &reveal);
        assert_ok!(Bare::commit_scores(signed(hotkey(4)), RUN, Epoch(1), replayed));
        run_to(schedule().score_reveal().start);
        let sent = || Bare::reveal_scores(signed(coldkey(9)), RUN, Epoch(1), uid(4), reveal.clone());
        assert_noop!(sent(), E::HashMismatch);
    });
}

#[test]
fn a_late_reveal_is_refused_and_its_author_inactive() {
    with_scored_epoch(|| {
        let reveal = reveal_of(SCORED, 100);
        commit_scores(4, SCORED, &reveal);
        run_to(schedule().score_reveal().end);
        assert_noop!(reveal_row(uid(4), &reveal), E::RevealTooLate);
        assert_eq!(Iota::scores_view(RUN, SCORED).first().unwrap().entries, None);
    });
}

#[test]
fn a_row_ascends_and_names_miners_of_the_epoch() {
    with_scored_epoch(|| {
        let good = reveal_of(SCORED, 100);
        let with = |change: &dyn Fn(&mut Vec<ScoreEntry>)| {
            let mut entries = good.entries.to_vec();
            change(&mut entries);
            ScoreReveal { entries: entries.try_into().unwrap(), ..good.clone() }
        };
        let twice = with(&|entries| entries.insert(0, *entries.first().unwrap()));
        let foreign = with(&|entries| entries.last_mut().unwrap().uid = Uid(200));
        commit_scores(4, SCORED, &twice);
        commit_scores(5, SCORED, &foreign);
        run_to(schedule().score_reveal().start);
        assert_noop!(reveal_row(uid(4), &twice), E::Unsorted);
        assert_noop!(reveal_row(uid(5), &foreign), E::UnknownMiner);
    });
}

#[test]
fn a_row_cannot_score_a_later_holder_of_the_uid() {
    with_scored_epoch(|| {
        let mut entries = reveal_of(SCORED, 100).entries.to_vec();
        entries.first_mut().unwrap().incarnation.0 += 100;
        let reveal =
            ScoreReveal { entries: entries.try_into().unwrap(), salt: [0; 32], report_root: Hash::ZERO };
        commit_scores(4, SCORED, &reveal);
        run_to(schedule().score_reveal().start);
        assert_noop!(reveal_row(uid(4), &reveal), E::UnknownMiner);
    });
}

#[test]
fn a_commit_of_zeros_is_a_commit_that_nothing_opens() {
    with_scored_epoch(|| {
        assert_ok!(commit_hash(4, 0));
        // The next blocks check the invariants.
        run_to(schedule().score_reveal().start);
        assert_noop!(reveal_row(uid(4), &reveal_of(SCORED, 100)), E::HashMismatch);
    });
}
