//! What a minority of stake can and cannot do: a Monte-Carlo check that also prints the curve of
//! `docs/results/consensus.md`.
//!
//! `cargo test -p iota-protocol cabal -- --nocapture`

use std::println;

use proptest::prelude::*;

use super::bonds::{dividends, renew, Bond, Holder};
use super::*;
use crate::emission::SHARES;
use crate::ids::Hash;
use crate::seed::Draw;

/// Stake per mille, so that shares are exact.
const STAKE: u128 = 1_000;
const VALIDATORS: u16 = 10;
const MINERS: u16 = 20;
/// Epochs until bonds have settled: 0.9^80 is two parts in ten thousand.
const EPOCHS: usize = 80;

/// A cabal of `stake` per mille and of `miners` of the twenty miners.
#[derive(Clone, Copy)]
struct Cabal {
    stake: u128,
    miners: u16,
}

/// What the cabal gets in the last epoch, as parts of one: of the miners' pay, of dividends.
struct Gain {
    miners: f64,
    validators: f64,
}

impl Gain {
    /// Of everything paid to miners and validators.
    fn total(&self) -> f64 {
        let (miners, validators) = (f64::from(SHARES.miners_ppm), f64::from(SHARES.validators_ppm));
        (self.miners * miners + self.validators * validators) / (miners + validators)
    }
}

/// Honest rows: every miner's worth with noise of up to `noise` per mille for each validator.
fn honest_row(worth: &[u16], noise: u64, draw: &mut Draw) -> Vec<ScoreEntry> {
    let blurred = |score: u16| {
        let factor = 1_000 - noise + draw.below(2 * noise + 1);
        u16::try_from(u64::from(score) * factor / 1_000).unwrap()
    };
    row_of(worth.iter().copied().map(blurred))
}

fn row_of(scores: impl Iterator<Item = u16>) -> Vec<ScoreEntry> {
    let entry = |(uid, score)| ScoreEntry { uid: Uid(uid), incarnation: Incarnation(1), score };
    (0u16..).zip(scores).map(entry).collect()
}

/// Runs `EPOCHS` epochs. The first three validators are the cabal's; if it lies they give everything to
/// the cabal's miners, which are the first `cabal.miners`.
fn play(cabal: Cabal, lies: bool, noise: u64, seed: u8) -> Gain {
    let mut draw = Draw::new(&Hash([seed; 32]), b"cabal");
    let worth: Vec<u16> = (0..MINERS).map(|_| 10_000).collect();
    let miners: Vec<Miner> = (0..MINERS)
        .map(|uid| Miner { uid: Uid(uid), incarnation: Incarnation(1), stage: Stage(0) })
        .collect();
    let stake_of = |validator: u16| {
        if validator < 3 {
            cabal.stake * 7
        } else {
            (STAKE - cabal.stake) * 3
        }
    };
    let mut bonds: Vec<Vec<Bond>> = vec![Vec::new(); usize::from(VALIDATORS)];
    let mut gain = Gain { miners: 0.0, validators: 0.0 };
    for _ in 0..EPOCHS {
        let rows: Vec<Vec<ScoreEntry>> = (0..VALIDATORS)
            .map(|validator| match validator < 3 && lies {
                true => row_of((0..MINERS).map(|miner| if miner < cabal.miners { u16::MAX } else { 0 })),
                false => honest_row(&worth, noise, &mut draw),
            })
            .collect();
        let table: Vec<Row<'_>> = (100u16..)
            .zip(rows.iter().enumerate())
            .map(|(uid, (at, entries))| Row {
                uid: Uid(uid),
                stake: stake_of(u16::try_from(at).unwrap()),
                entries,
            })
            .collect();
        let outcome = solve(1, &miners, &table);
        let holders: Vec<Holder<'_>> = table
            .iter()
            .zip(outcome.clipped.iter().zip(&bonds))
            .map(|(row, (clipped, before))| Holder { uid: row.uid, stake: row.stake, clipped, before })
            .collect();
        bonds = renew(&miners, &holders);
        gain = gain_of(cabal, &outcome, &bonds);
    }
    gain
}

fn gain_of(cabal: Cabal, outcome: &Outcome, bonds: &[Vec<Bond>]) -> Gain {
    let earnings: BTreeMap<Uid, u128> =
        (0u16..).zip(&outcome.incentives).map(|(uid, own)| (Uid(uid), u128::from(*own))).collect();
    let paid = dividends(bonds, &earnings);
    let part = |own: u128, all: u128| own as f64 / all as f64;
    let own: u64 = outcome.incentives.iter().take(usize::from(cabal.miners)).sum();
    Gain {
        miners: part(own.into(), outcome.incentives.iter().map(|share| u128::from(*share)).sum()),
        validators: part(paid.iter().take(3).sum(), paid.iter().sum()),
    }
}

const STAKES: [u128; 6] = [100, 200, 300, 400, 450, 490];

#[test]
fn a_cabals_miners_get_no_more_than_clipping_leaves_them() {
    println!("| stake | miners | honest | lying | bound |\n| --- | --- | --- | --- | --- |");
    for stake in STAKES {
        for miners in [2u16, 5, 8, 10] {
            let (s, c) = (stake as f64 / 1e3, f64::from(miners) / f64::from(MINERS));
            let bound = c / (c + (1.0 - s) * (1.0 - c));
            let cabal = Cabal { stake, miners };
            let (honest, lying) = (play(cabal, false, 0, 1), play(cabal, true, 0, 1));
            println!("| {s:.2} | {c:.2} | {:.3} | {:.3} | {bound:.3} |", honest.miners, lying.miners);
            assert!((honest.miners - c).abs() < 1e-6, "{}", honest.miners);
            assert!((lying.miners - bound).abs() < 1e-6, "stake {s}, miners {c}: {}", lying.miners);
        }
    }
}

#[test]
fn lying_costs_a_cabal_more_than_it_brings_while_its_miners_are_few() {
    println!("| stake | miners | honest total | lying total | change |\n| --- | --- | --- | --- | --- |");
    for stake in STAKES {
        for miners in [2u16, 5, 8, 10, 14] {
            let (s, c) = (stake as f64 / 1e3, f64::from(miners) / f64::from(MINERS));
            let cabal = Cabal { stake, miners };
            let (honest, lying) = (play(cabal, false, 0, 1).total(), play(cabal, true, 0, 1).total());
            let change = lying / honest - 1.0;
            println!("| {s:.2} | {c:.2} | {honest:.3} | {lying:.3} | {:+.1} % |", change * 100.0);
            let edge = f64::from(SHARES.validators_ppm) / f64::from(SHARES.miners_ppm) * (1.0 - s);
            if (c - edge).abs() > 0.01 {
                assert_eq!(lying > honest, c > edge, "stake {s}, miners {c}: {honest} {lying}");
            }
        }
    }
}

#[test]
fn noise_among_the_honest_gives_a_cabal_little() {
    println!("| stake | noise | lying / bound, mean of 20 | worst of 20 |\n| --- | --- | --- | --- |");
    for stake in STAKES {
        for noise in [20u64, 100] {
            let cabal = Cabal { stake, miners: 5 };
            let (s, c) = (stake as f64 / 1e3, 0.25);
            let bound = c / (c + (1.0 - s) * (1.0 - c));
            let ratios: Vec<f64> =
                (0..20).map(|seed| play(cabal, true, noise, seed).miners / bound).collect();
            let worst = ratios.iter().copied().fold(0.0, f64::max);
            let mean = ratios.iter().sum::<f64>() / 20.0;
            println!("| {s:.2} | {:.0} % | {mean:.3} | {worst:.3} |", noise as f64 / 10.0);
            // No honest row is above its own by more than the noise, twice over by normalisation.
            let most = 1.0 + 2.5 * noise as f64 / 1e3;
            assert!(worst <= most, "stake {s}, noise {noise}: {worst}");
        }
    }
}

/// A validator's stake and its scores of six miners.
type Told = (u64, Vec<u16>);

fn told() -> impl Strategy<Value = Vec<Told>> {
    let score = prop_oneof![Just(0u16), Just(u16::MAX), 0u16..=u16::MAX];
    prop::collection::vec((1u64..1_000_000, prop::collection::vec(score, 6)), 1..6)
}

/// A row's part of each miner.
fn parts_of(row: &[u16]) -> Vec<f64> {
    let sum = row.iter().map(|score| f64::from(*score)).sum::<f64>();
    row.iter().map(|score| if sum > 0.0 { f64::from(*score) / sum } else { 0.0 }).collect()
}

proptest! {
    /// Any rows of a minority, against any rows and stakes of the honest. A miner's consensus lies between the
    /// least and the greatest that an honest row gives it, because neither side has half of the stake without the
    /// other. So a cabal's miners have ranks of C at most, the sum of their greatest honest parts, and the others of
    /// (1 - s) D at least, the sum of their least: the share is C / (C + (1 - s) D) at most. Where the honest agree
    /// C is c and D is 1 - c, and this is the curve.
    #[test]
    fn no_rows_of_a_minority_get_more_than_the_curve(mut honest in told(), cabal in told(), own in 1usize..6) {
        let stake = |side: &[Told]| side.iter().map(|(stake, _)| u128::from(*stake)).sum::<u128>();
        let lacking = (stake(&cabal) + 1).saturating_sub(stake(&honest));
        honest[0].0 += u64::try_from(lacking).unwrap();
        let table: Vec<&Told> = honest.iter().chain(&cabal).collect();
        let entries: Vec<Vec<ScoreEntry>> = table.iter().map(|(_, row)| row_of(row.iter().copied())).collect();
        let rows: Vec<Row<'_>> = (100u16..)
            .zip(table.iter().zip(&entries))
            .map(|(uid, ((stake, _), entries))| Row { uid: Uid(uid), stake: u128::from(*stake), entries })
            .collect();
        let miners: Vec<Miner> =
            (0..6).map(|uid| Miner { uid: Uid(uid), incarnation: Incarnation(1), stage: Stage(0) }).collect();
        let outcome = solve(1, &miners, &rows);

        let honest_parts: Vec<Vec<f64>> = honest.iter().map(|(_, row)| parts_of(row)).collect();
        let of = |miner: usize| honest_parts.iter().map(move |row| row[miner]);
        let greatest: f64 = (0..own).map(|miner| of(miner).fold(0.0, f64::max)).sum();
        let least: f64 = (own..6).map(|miner| of(miner).fold(1.0, f64::min)).sum();
        let all = stake(&honest) + stake(&cabal);
        let s = stake(&cabal) as f64 / all as f64;
        let bound = if greatest > 0.0 { greatest / (greatest + (1.0 - s) * least) } else { 0.0 };
        let clipped = rows.iter().zip(&outcome.clipped);
        let survived: f64 = clipped.map(|(row, own)| row.stake as f64 * own.iter().sum::<u64>() as f64).sum();
        let share = outcome.incentives.iter().take(own).sum::<u64>() as f64 / ONE_Q32 as f64;
        // What integers round, by the bound of `reference`, for each of the cabal's miners.
        let rounding = if survived > 0.0 { 6.0 * 8.0 * all as f64 / survived } else { 0.0 };
        prop_assert!(share <= bound + rounding + 1e-9, "share {share}, bound {bound}, stake {s}, rounding {rounding}");
    }
}
