//! Bonds from epoch to epoch, permits, and void epochs that the next one's rows score.

use iota_protocol::{
    emission::{carried, settle},
    ids::{Epoch, Uid},
    params::RunParams,
    work::{Role, ScoreEntry, ScoreReveal},
};
use polkadot_sdk::frame_support::assert_ok;

use crate::{mock::*, pallet::*};

fn epochs(epochs: u32) -> RunParams {
    RunParams { epochs, ..params() }
}

fn part_of(validator: u8, miner: Uid) -> u32 {
    let support = Supports::<Test>::get(RUN, uid(validator)).unwrap();
    support.bonds.iter().find(|bond| bond.uid == miner).map_or(0, |bond| bond.part)
}

/// Commits and reveals for the epoch before the current one, each validator its own row.
fn score_each(rows: &[(u8, ScoreReveal)]) {
    let epoch = clock().epoch.previous().unwrap();
    run_to(schedule().score_commit().start);
    rows.iter().for_each(|(index, reveal)| commit_scores(*index, epoch, reveal));
    run_to(schedule().score_reveal().start);
    for (index, reveal) in rows {
        assert_ok!(Bare::reveal_scores(signed(hotkey(*index)), RUN, epoch, uid(*index), reveal.clone()));
    }
}

/// A row without one miner.
fn without(epoch: Epoch, miner: Uid) -> ScoreReveal {
    let mut reveal = reveal_of(epoch, 100);
    reveal.entries.retain(|entry| entry.uid != miner);
    reveal
}

#[test]
fn bonds_and_dividends_go_to_who_supported_first() {
    with_epoch(epochs(4), || {
        let miner = uid(0);
        merge_epoch(&[0, 1, 2, 3]);
        score_each(&[(4, reveal_of(Epoch(0), 100)), (5, without(Epoch(0), miner))]);
        merge_epoch(&[0, 1, 2, 3]);
        // Both stakes are equal, and half of the stake is enough to support.
        assert_eq!((part_of(4, miner), part_of(5, miner)), (1 << 31, 0));
        assert!(owed(4) > owed(5));
        score_epoch(&[4, 5]);
        merge_epoch(&[0, 1, 2, 3]);
        // A tenth of the way towards the half that each supports now.
        let late = part_of(5, miner);
        assert!(late.abs_diff(107_374_182) <= 1, "{late}");
        assert_eq!(part_of(4, miner) + late, 1 << 31);
    });
}

#[test]
fn a_stranger_carries_bonds_along_and_derives_every_epoch() {
    with_epoch(epochs(3), || {
        let mut bonds = Vec::new();
        merge_epoch(&[0, 1, 2, 3]);
        for epoch in (0..3).map(Epoch) {
            score_each(&[(4, reveal_of(epoch, 100)), (5, without(epoch, uid(0)))]);
            let run = Iota::run_view(RUN).unwrap();
            let snapshot = Iota::snapshot_view(RUN, epoch).unwrap();
            let scores = Iota::scores_view(RUN, epoch);
            if epoch == Epoch(2) {
                run_to_close();
            } else {
                merge_epoch(&[0, 1, 2, 3]);
            }
            let report = Iota::report_view(RUN, epoch).unwrap();
            let derived = settle(&run, &snapshot, &scores, &bonds, &report.terms);
            assert_eq!((derived.void, &derived.payouts), (false, &report.payouts), "{epoch}");
            assert_eq!(derived.bonds_root(), report.bonds_root, "{epoch}");
            bonds = derived.bonds;
        }
    });
}

#[test]
fn permits_are_those_of_the_epoch_that_is_scored() {
    with_epoch(epochs(4), || {
        merge_epoch(&[0, 1, 2, 3]);
        // More stake than both others, but after the permits of epoch 0 were fixed.
        join(7, Role::Validator);
        assert_ok!(Bare::bond(signed(coldkey(7)), RUN, uid(7), 10 * MIN_BOND));
        score_epoch(&[4, 5]);
        merge_epoch(&[0, 1, 2, 3]);
        assert!(!Iota::report_view(RUN, Epoch(0)).unwrap().void);
        score_epoch(&[4, 5]);
        merge_epoch(&[0, 1, 2, 3]);
        assert!(Iota::report_view(RUN, Epoch(1)).unwrap().void, "now its stake counts, and is silent");
    });
}

#[test]
fn a_void_epoch_is_settled_once_with_the_next() {
    with_epoch(epochs(4), || {
        let left = uid(0);
        assert_ok!(Bare::leave(signed(hotkey(0)), RUN, left));
        merge_epoch(&[0, 1, 2, 3]);
        let old = Iota::snapshot_view(RUN, Epoch(0)).unwrap();
        merge_epoch(&[1, 2, 3]);
        let void = Iota::report_view(RUN, Epoch(0)).unwrap();
        assert!(void.void && void.terms.scored_by == Epoch(0));
        // The row names the miner that left with the void epoch too.
        let mut entries = reveal_of(Epoch(1), 100).entries.to_vec();
        let gone = old.miners.iter().find(|miner| miner.uid == left).unwrap();
        entries.push(ScoreEntry { uid: left, incarnation: gone.incarnation, score: 100 });
        entries.sort_by_key(|entry| entry.uid);
        let reveal = ScoreReveal { entries: entries.try_into().unwrap(), ..reveal_of(Epoch(1), 100) };
        score_epoch_with(&[4, 5], &reveal);
        let (scores, next) = (Iota::scores_view(RUN, Epoch(1)), Iota::snapshot_view(RUN, Epoch(1)).unwrap());
        merge_epoch(&[1, 2, 3]);
        let (first, second) =
            (Iota::report_view(RUN, Epoch(0)).unwrap(), Iota::report_view(RUN, Epoch(1)).unwrap());
        assert_eq!((first.void, first.terms.scored_by), (false, Epoch(1)));
        assert_eq!(second.terms.minted_before, first.split.minted, "the older epoch is paid first");
        assert!(owed(0) > 0, "who left with the void epoch is paid for it");
        assert_eq!(first.split.burned, void.split.burned, "what the void report counted stays counted");
        let run = Iota::run_view(RUN).unwrap();
        let derived = settle(&run, &carried(&old, &next), &scores, &[], &first.terms);
        assert_eq!(derived.payouts, first.payouts);
        let derived = settle(&run, &next, &scores, &derived.bonds, &second.terms);
        assert_eq!(derived.payouts, second.payouts);
    });
}

#[test]
fn an_epoch_that_was_void_twice_is_given_up() {
    with_epoch(epochs(6), || {
        for _ in 0..3 {
            merge_epoch(&[0, 1, 2, 3]);
        }
        let of = |epoch| Iota::report_view(RUN, Epoch(epoch)).unwrap();
        assert_eq!((of(0).void, of(0).terms.scored_by), (true, Epoch(1)));
        // Both validators lost their permits by silence, and ask for them again.
        for index in [4, 5] {
            assert_ok!(Bare::resume(signed(hotkey(index)), RUN));
        }
        merge_epoch(&[0, 1, 2, 3]);
        score_epoch(&[4, 5]);
        merge_epoch(&[0, 1, 2, 3]);
        assert_eq!((of(1).void, of(1).terms.scored_by), (true, Epoch(2)), "once is enough");
        assert_eq!((of(2).void, of(2).terms.scored_by), (false, Epoch(3)));
        assert!(!of(3).void);
    });
}
