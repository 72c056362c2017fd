//! Consensus and bonds again in exact fractions, written from the definition, and how far the
//! integers may be from it.
//!
//! The integers round in four places: a weight is cut to Q32, a share to Q32 by largest remainders, a
//! bond to parts of 2^31 twice. So a consensus weight is below the exact one by less than one unit of
//! 2^-32; shares and bonds are within the bounds stated at each test.

use num_rational::BigRational;
use proptest::prelude::*;

use super::bonds::{renew, Bond, Holder, BOND_ONE};
use super::*;

/// Rows of (stake, scores by uid), one stage.
type Table = Vec<(u128, Vec<u16>)>;

fn whole(value: u128) -> BigRational {
    BigRational::from_integer(value.into())
}

fn zero() -> BigRational {
    whole(0)
}

fn sum(values: impl Iterator<Item = BigRational>) -> BigRational {
    values.fold(zero(), |sum, value| sum + value)
}

fn parts(values: &[BigRational]) -> Vec<BigRational> {
    let total = sum(values.iter().cloned());
    values.iter().map(|value| if total == zero() { zero() } else { value / &total }).collect()
}

struct Exact {
    consensus: Vec<BigRational>,
    clipped: Vec<Vec<BigRational>>,
    incentives: Vec<BigRational>,
}

fn exact(rows: &Table, miners: usize) -> Exact {
    let weights: Vec<Vec<BigRational>> = rows
        .iter()
        .map(|(_, scores)| parts(&scores.iter().map(|score| whole((*score).into())).collect::<Vec<_>>()))
        .collect();
    let total: u128 = rows.iter().map(|(stake, _)| stake).sum();
    let consensus: Vec<BigRational> = (0..miners)
        .map(|miner| {
            let supported = |least: &BigRational| -> bool {
                let behind = rows.iter().zip(&weights).filter(|(_, row)| row[miner] >= *least);
                total > 0 && behind.map(|((stake, _), _)| stake).sum::<u128>() * 2 >= total
            };
            let best = weights.iter().map(|row| row[miner].clone()).filter(supported).max();
            best.unwrap_or_else(zero)
        })
        .collect();
    let clipped: Vec<Vec<BigRational>> = weights
        .iter()
        .map(|row| row.iter().zip(&consensus).map(|(own, limit)| own.min(limit).clone()).collect())
        .collect();
    let rank =
        |miner: usize| sum(rows.iter().zip(&clipped).map(|((stake, _), row)| whole(*stake) * &row[miner]));
    let ranks: Vec<BigRational> = (0..miners).map(rank).collect();
    Exact { consensus, clipped, incentives: parts(&ranks) }
}

/// One step of the moving average for one miner.
fn exact_bonds(rows: &Table, exact: &Exact, miner: usize, before: &[u32]) -> Vec<BigRational> {
    let support: Vec<BigRational> =
        rows.iter().zip(&exact.clipped).map(|((stake, _), row)| whole(*stake) * &row[miner]).collect();
    let before: Vec<BigRational> = before.iter().map(|part| whole((*part).into())).collect();
    let alpha = whole(1) / whole(10);
    let mixed: Vec<BigRational> = parts(&support)
        .into_iter()
        .zip(parts(&before))
        .map(|(now, before)| &alpha * now + (whole(1) - &alpha) * before)
        .collect();
    parts(&mixed)
}

fn table() -> impl Strategy<Value = (Table, Vec<Vec<u32>>)> {
    // Zeros and extremes among them, so that in some tables clipping leaves next to nothing.
    let score = prop_oneof![Just(0u16), Just(1), Just(u16::MAX), 0u16..=u16::MAX];
    let row = (1u128..1_000_000_000_000, prop::collection::vec(score, 6));
    let bonds = prop::collection::vec(0u32..=BOND_ONE, 6);
    prop::collection::vec((row, bonds), 1..8).prop_map(|rows| rows.into_iter().unzip())
}

fn integers(rows: &Table) -> (Vec<Miner>, Outcome) {
    let miners: Vec<Miner> =
        (0..6).map(|uid| Miner { uid: Uid(uid), incarnation: Incarnation(7), stage: Stage(0) }).collect();
    let lists: Vec<Vec<ScoreEntry>> = rows
        .iter()
        .map(|(_, scores)| {
            let entry = |(uid, score): (u16, &u16)| ScoreEntry {
                uid: Uid(uid),
                incarnation: Incarnation(7),
                score: *score,
            };
            (0u16..).zip(scores).map(entry).collect()
        })
        .collect();
    let own: Vec<Row<'_>> = (100u16..)
        .zip(rows.iter().zip(&lists))
        .map(|(uid, ((stake, _), entries))| Row { uid: Uid(uid), stake: *stake, entries })
        .collect();
    let outcome = solve(1, &miners, &own);
    (miners, outcome)
}

/// The distance in units of one part in `one`.
fn ulps(own: u64, one: u64, exact: &BigRational) -> BigRational {
    let distance = whole(own.into()) - exact * whole(one.into());
    if distance < zero() {
        -distance
    } else {
        distance
    }
}

proptest! {
    #[test]
    fn consensus_weights_are_below_the_exact_ones_by_less_than_one_unit((rows, _) in table()) {
        let (_, outcome) = integers(&rows);
        for (own, exact) in outcome.consensus.iter().zip(exact(&rows, 6).consensus) {
            prop_assert!(whole((*own).into()) <= &exact * whole(ONE_Q32.into()));
            prop_assert!(ulps(*own, ONE_Q32, &exact) < whole(1));
        }
    }

    /// In units of 2^-32, with T all stake: clipped weights are cut, so that a rank R is low by some a < T and the
    /// sum S of six ranks by some b < 6T. |(R - a) / (S - b) - R / S| is at most max(R b, a S) / (S (S - b)), and so
    /// below 6T / (S - 6T). With s the part of all weight that survives clipping, S being s T 2^32, a share errs by
    /// at most 6 / (s - 6 * 2^-32) units, and by one more for the apportionment. By hand: 7 units where nothing is
    /// clipped away, 37 where a sixth survives. Where s is not above 6 * 2^-32 integers say nothing.
    #[test]
    fn shares_are_as_near_as_what_survives_clipping_allows((rows, _) in table()) {
        let (_, outcome) = integers(&rows);
        let exact = exact(&rows, 6);
        let total: u128 = rows.iter().map(|(stake, _)| stake).sum();
        let survived = sum(rows.iter().zip(&exact.clipped).map(|((stake, _), row)| whole(*stake) * sum(row.iter().cloned())));
        let left = survived.clone() / whole(total) - whole(6) / whole(ONE_Q32.into());
        for (own, exact) in outcome.incentives.iter().zip(&exact.incentives) {
            let error = ulps(*own, ONE_Q32, exact);
            if survived == zero() {
                prop_assert_eq!(*own, 0);
            } else if left > zero() {
                prop_assert!(error <= whole(6) / &left + whole(1), "{own} {exact}, {left} left");
            }
        }
    }

    /// A part errs by the rounding of the old parts, of the new parts and of the mixture, each below one
    /// unit of 2^-31, and by clipped weights that are low: with s the column's mean weight, new parts by at most
    /// 1 / (2 s) units more, as for shares, of which a tenth counts, twice with the last normalisation: 4 + 1 / (10 s)
    /// units in all, s being taken less one unit of 2^-32. By hand: 4.1 units where all stake gives a miner
    /// everything, 10.4 where the mean is a sixty-fourth.
    #[test]
    fn bonds_are_as_near_as_the_support_of_their_miner_allows((rows, bonds) in table()) {
        let (miners, outcome) = integers(&rows);
        let exact = exact(&rows, 6);
        let total: u128 = rows.iter().map(|(stake, _)| stake).sum();
        let before: Vec<Vec<Bond>> = bonds
            .iter()
            .map(|row| (0u16..).zip(row).map(|(uid, part)| Bond { uid: Uid(uid), incarnation: Incarnation(7), part: *part }).collect())
            .collect();
        let holders: Vec<Holder<'_>> = (100u16..)
            .zip(rows.iter().zip(&outcome.clipped).zip(&before))
            .map(|(uid, (((stake, _), clipped), before))| Holder { uid: Uid(uid), stake: *stake, clipped, before })
            .collect();
        let renewed = renew(&miners, &holders);
        for miner in 0..6usize {
            let support = sum(rows.iter().zip(&exact.clipped).map(|((stake, _), row)| whole(*stake) * &row[miner]));
            let old: Vec<u32> = bonds.iter().map(|row| row[miner]).collect();
            let mean = support / whole(total) - whole(1) / whole(ONE_Q32.into());
            let most = if mean > zero() { whole(4) + whole(1) / (whole(10) * mean) } else { whole(BOND_ONE.into()) };
            for (row, exact) in renewed.iter().zip(exact_bonds(&rows, &exact, miner, &old)) {
                let own = row.iter().find(|bond| usize::from(bond.uid.0) == miner).map_or(0, |bond| bond.part);
                prop_assert!(ulps(own.into(), BOND_ONE.into(), &exact) <= most, "{own} {exact} {most}");
            }
        }
    }
}
