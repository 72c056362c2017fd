//! Yuma consensus in integers: what validators' rows of scores become (design.md, section 9;
//! reference/onchain.md, section 2).
//!
//! Each row is normalised within each stage, clipped at the stake-weighted quantile, and the ranks
//! are normalised within each stage. Clipping comes first, so that what a minority says beyond the
//! majority is gone before shares are formed. What a validator earns is in [`bonds`]: a moving
//! average of who supported which miner, as in Yuma 2 (steps 9 to 12 of the reference). Left out
//! are liquid alpha and Yuma 3, which are options there, and every float.
//!
//! Two rules differ from the reference. The quantile is taken over the stake of all permitted
//! validators, not only of those that revealed, so that nobody gains weight by another's silence.
//! And when nothing was scored nobody is paid by stake alone: the treasury is.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::emission::apportion;
use crate::ids::{Incarnation, Stage, Uid};
use crate::work::ScoreEntry;

pub mod bonds;

#[cfg(test)]
mod cabal;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

/// One in Q32: the sum of a stage's incentives.
pub const ONE_Q32: u64 = 1 << 32;
/// Stake that must stand behind a weight is at least one part in `KAPPA_DIVISOR` of the stake of all
/// rows, empty ones included: half, so that no minority of stake can raise a miner.
pub const KAPPA_DIVISOR: u128 = 2;
/// Stakes are shifted right until the largest has at most so many bits; a sum of 2^15 of them times
/// a Q32 weight then fits 128 bits.
const STAKE_BITS: u32 = 80;

/// A validator's row; empty for one that did not reveal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row<'a> {
    /// The validator.
    pub uid: Uid,
    /// Its stake in the smallest unit.
    pub stake: u128,
    /// Its scores. Of several entries for one miner the first counts.
    pub entries: &'a [ScoreEntry],
}

/// A miner that can be scored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Miner {
    /// The miner.
    pub uid: Uid,
    /// Its incarnation; entries for another are dropped.
    pub incarnation: Incarnation,
    /// Its stage.
    pub stage: Stage,
}

/// What consensus decides. All numbers are Q32.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// For each miner, in the order given: its share of its stage. Shares sum to exactly 2^32 in a
    /// stage with a scored miner and are 0 in any other.
    pub incentives: Vec<u64>,
    /// For each row, in the order given: the part of its weights that survived clipping, averaged
    /// over the stages.
    pub trust: Vec<u64>,
    /// For each miner: the largest weight that at least half of the stake of all rows supports.
    pub consensus: Vec<u64>,
    /// For each row, for each miner: the weight that survived clipping. Bonds are made from it.
    pub clipped: Vec<Vec<u64>>,
}

/// Stakes shifted right by one common amount so that sums and products of a solve fit.
#[must_use]
pub fn scaled_stakes(stakes: impl Iterator<Item = u128> + Clone) -> Vec<u128> {
    let bits =
        stakes.clone().map(|stake| u128::BITS.saturating_sub(stake.leading_zeros())).max().unwrap_or(0);
    let shift = bits.saturating_sub(STAKE_BITS);
    stakes.map(|stake| stake.wrapping_shr(shift)).collect()
}

/// Solves consensus over rows.
///
/// Rows are those of every permitted validator: a row without entries for a stage counts with
/// weight 0 there, so that silence supports nobody and does not shrink the stake that is needed. Miners of a stage of `n_stages` or
/// more earn nothing. A row without stake earns trust but moves nothing.
///
/// # Complexity
/// Miners times rows, times the logarithm of rows.
#[must_use]
pub fn solve(n_stages: u16, miners: &[Miner], rows: &[Row<'_>]) -> Outcome {
    let stakes = scaled_stakes(rows.iter().map(|row| row.stake));
    let weights: Vec<Vec<u64>> = rows.iter().map(|row| normalised(n_stages, miners, row.entries)).collect();
    let columns: Vec<Column> = (0..miners.len())
        .map(|miner| Column::new(&stakes, weights.iter().map(|row| at(row, miner))))
        .collect();
    let consensus: Vec<u64> = columns.iter().map(|column| column.threshold).collect();
    let clipped: Vec<Vec<u64>> = weights.iter().map(|row| clip(row, &consensus)).collect();
    let trust = clipped.iter().map(|row| trust_of(n_stages, row)).collect();
    Outcome { incentives: incentives(n_stages, miners, &columns), trust, consensus, clipped }
}

fn clip(row: &[u64], consensus: &[u64]) -> Vec<u64> {
    row.iter().zip(consensus).map(|(weight, limit)| (*weight).min(*limit)).collect()
}

fn at(row: &[u64], miner: usize) -> u64 {
    row.get(miner).copied().unwrap_or(0)
}

/// A row's weights per miner: Q32, rounded down, at most 2^32 in each stage.
fn normalised(n_stages: u16, miners: &[Miner], entries: &[ScoreEntry]) -> Vec<u64> {
    let mut scores = BTreeMap::new();
    for entry in entries {
        scores.entry(entry.uid).or_insert((entry.incarnation, entry.score));
    }
    let score_of = |miner: &Miner| match scores.get(&miner.uid) {
        Some((incarnation, score)) if *incarnation == miner.incarnation => u64::from(*score),
        _ => 0,
    };
    let mut sums = vec![0u64; usize::from(n_stages)];
    for miner in miners {
        if let Some(sum) = sums.get_mut(usize::from(miner.stage.0)) {
            *sum = sum.saturating_add(score_of(miner));
        }
    }
    let weight = |miner: &Miner| {
        let sum = sums.get(usize::from(miner.stage.0)).copied().unwrap_or(0);
        score_of(miner).wrapping_shl(32).checked_div(sum).unwrap_or(0)
    };
    miners.iter().map(weight).collect()
}

/// What all rows say about one miner.
struct Column {
    threshold: u64,
    rank: u128,
}

impl Column {
    fn new(stakes: &[u128], weights: impl Iterator<Item = u64>) -> Self {
        let mut votes: Vec<(u64, u128)> = weights.zip(stakes.iter().copied()).collect();
        votes.sort_unstable_by(|left, right| right.cmp(left));
        let total = votes.iter().fold(0u128, |sum, (_, stake)| sum.saturating_add(*stake));
        let mut support = 0u128;
        let found = votes.iter().find(|(_, stake)| {
            support = support.saturating_add(*stake);
            total > 0 && support.saturating_mul(KAPPA_DIVISOR) >= total
        });
        let threshold = found.map_or(0, |(weight, _)| *weight);
        let rank = votes.iter().fold(0u128, |sum, (weight, stake)| {
            sum.saturating_add(stake.saturating_mul(u128::from((*weight).min(threshold))))
        });
        Self { threshold, rank }
    }
}

fn trust_of(n_stages: u16, clipped: &[u64]) -> u64 {
    let kept = clipped.iter().fold(0u64, |sum, weight| sum.saturating_add(*weight));
    kept.checked_div(u64::from(n_stages)).unwrap_or(0)
}

/// Ranks to shares that sum to exactly 2^32 in each stage that has any.
fn incentives(n_stages: u16, miners: &[Miner], columns: &[Column]) -> Vec<u64> {
    let mut shares = vec![0u64; miners.len()];
    for stage in (0..n_stages).map(Stage) {
        let mut members: Vec<(Uid, usize, u128)> = miners
            .iter()
            .zip(columns)
            .enumerate()
            .filter(|(_, (miner, _))| miner.stage == stage)
            .map(|(index, (miner, column))| (miner.uid, index, column.rank))
            .collect();
        // By uid, so that ties between remainders do not depend on the order of the input.
        members.sort_unstable();
        let ranks: Vec<u128> = members.iter().map(|(_, _, rank)| *rank).collect();
        for ((_, index, _), share) in members.iter().zip(apportion(u128::from(ONE_Q32), &ranks)) {
            if let Some(slot) = shares.get_mut(*index) {
                *slot = u64::try_from(share).unwrap_or(ONE_Q32);
            }
        }
    }
    shares
}
