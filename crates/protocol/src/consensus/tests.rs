//! Consensus vectors (a) to (j) of the reference, and a floating-point model beside it.

use super::*;
use proptest::prelude::*;

const HALF: u64 = ONE_Q32 / 2;
const QUARTER: u64 = ONE_Q32 / 4;

/// Miners of one stage with uids from 0.
fn miners(count: u16) -> Vec<Miner> {
    (0..count).map(|uid| Miner { uid: Uid(uid), incarnation: Incarnation(7), stage: Stage(0) }).collect()
}

fn entries(scores: &[u16]) -> Vec<ScoreEntry> {
    (0u16..)
        .zip(scores)
        .map(|(uid, score)| ScoreEntry { uid: Uid(uid), incarnation: Incarnation(7), score: *score })
        .collect()
}

/// Solves for one stage; rows are (stake, scores by uid).
fn solved(count: u16, rows: &[(u128, &[u16])]) -> Outcome {
    let lists: Vec<Vec<ScoreEntry>> = rows.iter().map(|(_, scores)| entries(scores)).collect();
    let rows: Vec<Row<'_>> = (100u16..)
        .zip(rows.iter().zip(&lists))
        .map(|(uid, ((stake, _), entries))| Row { uid: Uid(uid), stake: *stake, entries })
        .collect();
    solve(1, &miners(count), &rows)
}

#[test]
fn a_one_validator_decides() {
    let outcome = solved(3, &[(5, &[2, 1, 1])]);
    assert_eq!(outcome.incentives, [HALF, QUARTER, QUARTER]);
    assert_eq!(outcome.consensus, [HALF, QUARTER, QUARTER]);
    assert_eq!(outcome.trust, [ONE_Q32]);
}

#[test]
fn b_a_cabal_gets_no_more_than_the_majority_says() {
    // 60 of 100 rate the cabal's miner a quarter, the cabal rates it everything.
    let outcome = solved(3, &[(30, &[3, 3, 2]), (30, &[3, 3, 2]), (40, &[0, 0, 1])]);
    assert_eq!(outcome.consensus[2], QUARTER);
    // Ranks: 60 * 3/8, 60 * 3/8, 100 * 2/8; shares 22.5, 22.5, 25 of 70.
    let expected = u64::try_from(u128::from(ONE_Q32) * 25 / 70).unwrap();
    assert!(outcome.incentives[2].abs_diff(expected) <= 1);
    assert_eq!(outcome.incentives.iter().sum::<u64>(), ONE_Q32);
    assert!(outcome.incentives[2] < ONE_Q32 * 2 / 5, "less than its stake would carry unclipped");
}

#[test]
fn c_weight_above_consensus_costs_trust() {
    let outcome = solved(2, &[(40, &[1, 1]), (40, &[1, 1]), (20, &[3, 1])]);
    assert_eq!(outcome.trust, [ONE_Q32, ONE_Q32, HALF + QUARTER]);
}

#[test]
fn d_another_incarnation_is_dropped() {
    let mut list = entries(&[1, 1]);
    list[1].incarnation = Incarnation(6);
    let outcome = solve(1, &miners(2), &[Row { uid: Uid(100), stake: 1, entries: &list }]);
    assert_eq!(outcome.incentives, [ONE_Q32, 0]);
}

#[test]
fn e_a_validator_that_says_nothing_weighs_against() {
    let silent = solved(2, &[(40, &[1, 1]), (60, &[])]);
    assert_eq!((silent.incentives, silent.trust), (vec![0, 0], vec![0, 0]));
    let without_stake = solved(2, &[(40, &[1, 1]), (0, &[])]);
    assert_eq!(without_stake.incentives, [HALF, HALF]);
}

#[test]
fn f_no_rows_and_no_weights_give_nothing() {
    let nothing = Outcome { incentives: vec![0, 0], consensus: vec![0, 0], ..Outcome::default() };
    assert_eq!(solved(2, &[]), nothing);
    assert_eq!(solved(2, &[(9, &[0, 0])]).incentives, [0, 0]);
    assert_eq!(solve(0, &[], &[]), Outcome::default());
}

#[test]
fn g_equals_share_to_the_last_unit() {
    let outcome = solved(3, &[(1, &[9, 9, 9]), (1, &[4, 4, 4])]);
    assert_eq!(outcome.incentives, [1_431_655_766, 1_431_655_765, 1_431_655_765]);
}

#[test]
fn exactly_half_of_the_stake_is_enough() {
    let outcome = solved(2, &[(50, &[3, 1]), (50, &[1, 1])]);
    assert_eq!(outcome.consensus, [HALF + QUARTER, HALF]);
    assert_eq!(solved(2, &[(49, &[3, 1]), (51, &[1, 1])]).consensus, [HALF, HALF]);
}

#[test]
fn stages_are_apart() {
    let mut all = miners(4);
    all[2].stage = Stage(1);
    all[3].stage = Stage(5);
    let list = entries(&[1, 3, 60_000, 9]);
    let outcome = solve(3, &all, &[Row { uid: Uid(100), stake: 1, entries: &list }]);
    assert_eq!(outcome.incentives, [QUARTER, HALF + QUARTER, ONE_Q32, 0]);
    // Two of three stages are covered.
    assert_eq!(outcome.trust, [ONE_Q32 * 2 / 3]);
}

#[test]
fn stakes_of_any_size_do_not_overflow() {
    let outcome = solved(2, &[(u128::MAX, &[1, 1]), (u128::MAX, &[1, 1]), (1, &[1, 0])]);
    assert_eq!(outcome.incentives, [HALF, HALF]);
    let huge = solved(2, &[(3 << 100, &[3, 1]), (2 << 100, &[1, 1])]);
    assert_eq!(huge, solved(2, &[(3, &[3, 1]), (2, &[1, 1])]));
}

/// The same rule in floating point, by the definition.
fn model(rows: &[(u128, Vec<u16>)], count: usize) -> Vec<f64> {
    let weight = |scores: &[u16], at: usize| {
        let sum: f64 = scores.iter().map(|score| f64::from(*score)).sum();
        if sum > 0.0 {
            f64::from(scores[at]) / sum
        } else {
            0.0
        }
    };
    let total: u128 = rows.iter().map(|(stake, _)| stake).sum();
    let rank = |at: usize| {
        let support = |least: f64| -> u128 {
            rows.iter().filter(|(_, scores)| weight(scores, at) >= least).map(|(stake, _)| stake).sum()
        };
        let threshold = rows
            .iter()
            .map(|(_, scores)| weight(scores, at))
            .filter(|least| support(*least) * 2 >= total)
            .fold(0.0, f64::max);
        rows.iter().map(|(stake, scores)| *stake as f64 * weight(scores, at).min(threshold)).sum::<f64>()
    };
    let ranks: Vec<f64> = (0..count).map(rank).collect();
    let sum: f64 = ranks.iter().sum();
    ranks.iter().map(|rank| if sum > 0.0 { rank / sum } else { 0.0 }).collect()
}

fn table() -> impl Strategy<Value = Vec<(u128, Vec<u16>)>> {
    prop::collection::vec((1u128..1_000_000, prop::collection::vec(0u16..500, 6)), 1..8)
}

fn as_slices(rows: &[(u128, Vec<u16>)]) -> Vec<(u128, &[u16])> {
    rows.iter().map(|(stake, scores)| (*stake, scores.as_slice())).collect()
}

proptest! {
    #[test]
    fn agrees_with_the_floating_point_model(rows in table()) {
        let outcome = solved(6, &as_slices(&rows));
        for (own, expected) in outcome.incentives.iter().zip(model(&rows, 6)) {
            prop_assert!((*own as f64 / ONE_Q32 as f64 - expected).abs() < 1e-7, "{own} {expected}");
        }
        let sum: u64 = outcome.incentives.iter().sum();
        prop_assert!(sum == ONE_Q32 || sum == 0);
        prop_assert!(outcome.trust.iter().all(|trust| *trust <= ONE_Q32));
    }

    #[test]
    fn h_order_does_not_matter(rows in table(), by in 0usize..6) {
        let lists: Vec<Vec<ScoreEntry>> = rows.iter().map(|(_, scores)| entries(scores)).collect();
        let mut all: Vec<Row<'_>> =
            (100u16..).zip(rows.iter().zip(&lists)).map(|(uid, ((stake, _), entries))| Row { uid: Uid(uid), stake: *stake, entries }).collect();
        let mut members = miners(6);
        let before = solve(1, &members, &all);
        members.rotate_left(by);
        let turn = by % all.len();
        all.rotate_left(turn);
        let mut after = solve(1, &members, &all);
        after.incentives.rotate_right(by);
        after.consensus.rotate_right(by);
        after.trust.rotate_right(turn);
        after.clipped.rotate_right(turn);
        after.clipped.iter_mut().for_each(|row| row.rotate_right(by));
        prop_assert_eq!(before, after);
    }

    #[test]
    fn i_the_scale_of_a_row_does_not_matter(rows in table(), by in 2u16..100) {
        let scaled: Vec<(u128, Vec<u16>)> =
            rows.iter().map(|(stake, scores)| (*stake, scores.iter().map(|score| score * by).collect())).collect();
        prop_assert_eq!(solved(6, &as_slices(&rows)), solved(6, &as_slices(&scaled)));
    }

    #[test]
    fn j_the_scale_of_stakes_does_not_matter(rows in table(), by in 2u128..1 << 59) {
        let scaled: Vec<(u128, Vec<u16>)> = rows.iter().map(|(stake, scores)| (stake * by, scores.clone())).collect();
        prop_assert_eq!(solved(6, &as_slices(&rows)), solved(6, &as_slices(&scaled)));
    }

    #[test]
    fn a_minority_cannot_raise_a_miner(rows in table(), lie in prop::collection::vec(0u16..=u16::MAX, 6)) {
        // The liar has one unit of stake less than all others together.
        let honest = as_slices(&rows);
        let stake: u128 = rows.iter().map(|(stake, _)| stake).sum::<u128>() - 1;
        let mut all = honest.clone();
        all.push((stake, &lie));
        let highest = |at: usize| (0..rows.len()).map(|row| solved(6, &honest[row..=row]).consensus[at]).max().unwrap();
        for (at, threshold) in solved(6, &all).consensus.iter().enumerate() {
            prop_assert!(*threshold <= highest(at));
        }
    }

    #[test]
    fn a_higher_score_never_lowers_a_miners_share(rows in table(), who in 0usize..8, at in 0usize..6, more in 1u16..500) {
        let mut raised = rows.clone();
        let row = who % rows.len();
        raised[row].1[at] += more;
        let (before, after) = (solved(6, &as_slices(&rows)), solved(6, &as_slices(&raised)));
        // Its own consensus weight never falls, nor does any other's rise.
        for miner in 0..6 {
            let (old, new) = (before.consensus[miner], after.consensus[miner]);
            let as_told = if miner == at { new >= old } else { new <= old };
            prop_assert!(as_told, "miner {}: {} then {}", miner, old, new);
        }
        // Shares of the whole are apportioned: a unit may move by rounding.
        prop_assert!(after.incentives[at] + 1 >= before.incentives[at]);
    }

    #[test]
    fn clipped_weights_never_pass_row_or_consensus(rows in table()) {
        let outcome = solved(6, &as_slices(&rows));
        for (row, clipped) in rows.iter().zip(&outcome.clipped) {
            let alone = solved(6, &[(1, row.1.as_slice())]);
            let expected: Vec<u64> =
                alone.consensus.iter().zip(&outcome.consensus).map(|(own, limit)| *own.min(limit)).collect();
            prop_assert_eq!(clipped, &expected);
        }
    }
}
