//! Bonds: what validators earn for having supported miners early (reference/onchain.md, section 2,
//! steps 9 to 12, the form called Yuma 2).
//!
//! A bond is a validator's part of one miner. Each settled epoch moves it by a tenth towards the
//! validator's part of the stake-weighted support that the miner has now, and a validator's dividend
//! is the sum over miners of its part times what the miner earns. Bonds name incarnations: of a miner
//! that left, or of a uid that somebody else holds now, nothing is carried on.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::consensus::{scaled_stakes, Miner};
use crate::emission::apportion;
use crate::hash::{hash_of, Domain};
use crate::ids::{Hash, Incarnation, Uid};
use crate::params::PPM;

#[cfg(test)]
mod tests;

/// The whole of one miner: the sum of its bonds over validators. A power of two, and one whole fits
/// the 32 bits that a bond is stored in.
pub const BOND_ONE: u32 = 1 << 31;
/// How far a bond moves in one settled epoch, in millionths: a tenth, the reference's default. A
/// validator that copies rows one epoch late lags by the same tenth.
pub const BONDS_ALPHA_PPM: u32 = 100_000;

/// A validator's part of one miner.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct Bond {
    /// The miner.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Parts of `BOND_ONE`, above 0.
    pub part: u32,
}

/// All bonds of one validator.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct BondRow {
    /// The validator.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Strictly ascending by uid.
    pub bonds: Vec<Bond>,
}

/// A validator whose bonds are renewed.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// The validator.
    pub uid: Uid,
    /// Its stake in the smallest unit.
    pub stake: u128,
    /// Its clipped weights per miner, Q32 (`Outcome::clipped`).
    pub clipped: &'a [u64],
    /// Its bonds until now; empty for one that had no permit.
    pub before: &'a [Bond],
}

/// The bonds of each holder after one more settled epoch, in the order given; each list ascends by
/// uid. Bonds of one miner sum to exactly `BOND_ONE`, or to 0 if nobody supports it or ever did.
///
/// # Complexity
/// Miners times holders, times the logarithm of holders.
#[must_use]
pub fn renew(miners: &[Miner], holders: &[Holder<'_>]) -> Vec<Vec<Bond>> {
    let stakes = scaled_stakes(holders.iter().map(|holder| holder.stake));
    let mut by_uid: Vec<(usize, &Miner)> = miners.iter().enumerate().collect();
    by_uid.sort_unstable_by_key(|(_, miner)| miner.uid);
    // In uid order, so that ties between remainders do not depend on the order of the input.
    let mut order: Vec<usize> = (0..holders.len()).collect();
    order.sort_unstable_by_key(|at| holders.get(*at).map(|holder| holder.uid));
    let known: Vec<BTreeMap<Uid, (Incarnation, u32)>> = holders.iter().map(|own| index(own.before)).collect();
    let mut renewed: Vec<Vec<Bond>> = vec![Vec::new(); holders.len()];
    for (at, miner) in by_uid {
        let cells: Vec<Cell> = order
            .iter()
            .filter_map(|row| {
                let holder = holders.get(*row)?;
                let weight = holder.clipped.get(at).copied().unwrap_or(0);
                let support = stakes.get(*row)?.saturating_mul(u128::from(weight));
                Some(Cell { support, before: part_of(known.get(*row)?, miner) })
            })
            .collect();
        for (row, part) in order.iter().zip(mixed(&cells)) {
            if let (Some(list), true) = (renewed.get_mut(*row), part > 0) {
                list.push(Bond { uid: miner.uid, incarnation: miner.incarnation, part });
            }
        }
    }
    renewed
}

/// One validator and one miner.
struct Cell {
    support: u128,
    before: u32,
}

fn index(bonds: &[Bond]) -> BTreeMap<Uid, (Incarnation, u32)> {
    let mut known = BTreeMap::new();
    for bond in bonds {
        known.entry(bond.uid).or_insert((bond.incarnation, bond.part));
    }
    known
}

fn part_of(known: &BTreeMap<Uid, (Incarnation, u32)>, miner: &Miner) -> u32 {
    known.get(&miner.uid).filter(|(own, _)| *own == miner.incarnation).map_or(0, |(_, part)| *part)
}

/// A column after the moving average: both sides are normalised first, and so is the result. Where
/// one side is empty the other stands alone.
fn mixed(cells: &[Cell]) -> Vec<u32> {
    let one = u128::from(BOND_ONE);
    let now = apportion(one, &cells.iter().map(|cell| cell.support).collect::<Vec<_>>());
    let before = apportion(one, &cells.iter().map(|cell| u128::from(cell.before)).collect::<Vec<_>>());
    let (alpha, rest) = (u128::from(BONDS_ALPHA_PPM), u128::from(PPM.saturating_sub(BONDS_ALPHA_PPM)));
    let sums: Vec<u128> = now
        .iter()
        .zip(&before)
        .map(|(now, before)| now.saturating_mul(alpha).saturating_add(before.saturating_mul(rest)))
        .collect();
    apportion(one, &sums).into_iter().map(|part| u32::try_from(part).unwrap_or(BOND_ONE)).collect()
}

/// What each row of bonds earns, as a weight: the sum over miners of the part times the earning,
/// which is the miner's incentive (Q32) times its stage's share in millionths.
#[must_use]
pub fn dividends(rows: &[Vec<Bond>], earnings: &BTreeMap<Uid, u128>) -> Vec<u128> {
    let earned =
        |bond: &Bond| earnings.get(&bond.uid).copied().unwrap_or(0).saturating_mul(u128::from(bond.part));
    rows.iter().map(|row| row.iter().fold(0u128, |sum, bond| sum.saturating_add(earned(bond)))).collect()
}

/// Hash over all bonds in uid order of the validators.
#[must_use]
pub fn bonds_root(rows: &[BondRow]) -> Hash {
    hash_of(Domain::Bonds, &rows)
}
