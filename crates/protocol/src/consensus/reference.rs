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
    let row = (1u128..1_000_000_000_000, prop::collection::vec(0u16..=u16::MAX, 6));
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

    /// Each rank is low by less than the row's stake times 2^-32, so that the ranks together are low by
    /// less than (miners * stake) units. Where at least a sixth of all weight survives clipping, a share
    /// errs by at most 6 * (1 + 6) + 1 units: numerator, denominator, apportionment.
    #[test]
    fn shares_are_within_43_units_of_the_exact_ones((rows, _) in table()) {
        let (_, outcome) = integers(&rows);
        let exact = exact(&rows, 6);
        let total: u128 = rows.iter().map(|(stake, _)| stake).sum();
        let survived = sum(rows.iter().zip(&exact.clipped).map(|((stake, _), row)| whole(*stake) * sum(row.iter().cloned())));
        prop_assume!(survived * whole(6) >= whole(total));
        for (own, exact) in outcome.incentives.iter().zip(&exact.incentives) {
            prop_assert!(ulps(*own, ONE_Q32, exact) <= whole(43), "{own} {exact}");
        }
    }

    /// A part errs by the rounding of the old parts, of the new parts and of the mixture, each below one
    /// unit of 2^-31, and by clipped weights that are low: by less than 2^-32 over the column's mean
    /// weight, held above a sixty-fourth here, so 0.1 * 32 * 2 units more.
    #[test]
    fn bonds_are_within_10_units_of_the_exact_ones((rows, bonds) in table()) {
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
            if support * whole(64) < whole(total) {
                continue;
            }
            for (row, exact) in renewed.iter().zip(exact_bonds(&rows, &exact, miner, &old)) {
                let own = row.iter().find(|bond| usize::from(bond.uid.0) == miner).map_or(0, |bond| bond.part);
                prop_assert!(ulps(own.into(), BOND_ONE.into(), &exact) <= whole(10), "{own} {exact}");
            }
        }
    }
}
