//! What an epoch mints and who gets it, to the last unit (design.md, section 10).
//!
//! The pallet pays by `settle` and the explorer recomputes by it. Every division rounds down and
//! every remainder has an owner: the largest remainders within an apportionment, the treasury for
//! everything that nobody earned.

use alloc::vec;
use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::consensus::{scaled_stakes, solve, Miner, Outcome, Row};
use crate::fixed::{mul_div, mul_div_rem};
use crate::hash::{hash_of, Domain};
use crate::ids::{Hash, Stage};
use crate::params::{RunParams, PPM};
use crate::view::{Payout, ScoreView, SnapshotValidator, SnapshotView};
use crate::work::ScoreEntry;

#[cfg(test)]
mod tests;

/// Smallest units of one token: 9 decimals.
pub const UNIT: u128 = 1_000_000_000;
/// No more than this is ever minted: 21 million tokens.
pub const MAX_SUPPLY: u128 = 21_000_000 * UNIT;
/// Minted per epoch before the first halving: half the supply then lasts 105,000 epochs, four years
/// of epochs of twenty minutes.
pub const INITIAL_PER_EPOCH: u128 = 100 * UNIT;

/// How an epoch's emission is split, in millionths; the three sum to `PPM`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shares {
    /// To miners.
    pub miners_ppm: u32,
    /// To validators.
    pub validators_ppm: u32,
    /// To the treasury.
    pub treasury_ppm: u32,
}

/// Half to miners, who carry the training. Validators replay a part of that work, wait and hold a
/// bond: two fifths. A tenth to the treasury, which pays for what nobody is scored for.
pub const SHARES: Shares = Shares { miners_ppm: 500_000, validators_ppm: 400_000, treasury_ppm: 100_000 };

/// Where an epoch's emission went. `minted = miners + validators + treasury`, exactly.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct EmissionSplit {
    /// Minted for this epoch.
    pub minted: u128,
    /// Registration prices and fees burned since the report before; filled in by the pallet.
    pub burned: u128,
    /// Paid to miners.
    pub miners: u128,
    /// Paid to validators.
    pub validators: u128,
    /// To the treasury: its share, shares of stages without a scored miner, remainders.
    pub treasury: u128,
}

/// The result of settling one epoch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settlement {
    /// Too little stake revealed: nothing is minted, and the snapshot is scored with the next.
    pub void: bool,
    /// What was minted and where it went; `burned` is 0 here.
    pub split: EmissionSplit,
    /// Payments above 0 in uid order.
    pub payouts: Vec<Payout>,
}

/// What the epoch mints when the run minted `minted_before` until now.
///
/// Halves at the k-th threshold `MAX_SUPPLY - (MAX_SUPPLY >> k)`. What is minted counts, not what is
/// in circulation, so burning cannot move a halving. Never passes `MAX_SUPPLY`.
#[must_use]
pub fn epoch_emission(minted_before: u128) -> u128 {
    let left = MAX_SUPPLY.saturating_sub(minted_before);
    // `minted_before >= MAX_SUPPLY - (MAX_SUPPLY >> k)` for as many k as have passed.
    let halvings = (1..u128::BITS).take_while(|k| left <= MAX_SUPPLY.wrapping_shr(*k)).count();
    let shift = u32::try_from(halvings).unwrap_or(u32::MAX);
    INITIAL_PER_EPOCH.checked_shr(shift).unwrap_or(0).min(left)
}

/// Splits `total` in proportion to `weights` with largest remainders, ties to the lower index.
///
/// The parts sum to exactly `total`; all are 0 when all weights are.
#[must_use]
pub fn apportion(total: u128, weights: &[u128]) -> Vec<u128> {
    let weights = summable(weights);
    let sum = weights.iter().fold(0u128, |sum, weight| sum.saturating_add(*weight));
    if sum == 0 {
        return vec![0; weights.len()];
    }
    let parts: Vec<(u128, u128)> =
        weights.iter().map(|weight| mul_div_rem(total, *weight, sum).unwrap_or((0, 0))).collect();
    let mut shares: Vec<u128> = parts.iter().map(|(share, _)| *share).collect();
    let given = shares.iter().fold(0u128, |sum, share| sum.saturating_add(*share));
    let left = usize::try_from(total.saturating_sub(given)).unwrap_or(usize::MAX);
    let mut order: Vec<(u128, usize)> =
        parts.iter().enumerate().map(|(index, (_, rest))| (*rest, index)).collect();
    order.sort_unstable_by(|(rest, index), (other, at)| other.cmp(rest).then(index.cmp(at)));
    for (_, index) in order.into_iter().take(left) {
        if let Some(share) = shares.get_mut(index) {
            *share = share.saturating_add(1);
        }
    }
    shares
}

/// Weights shifted right by one common amount so that their sum fits 128 bits.
fn summable(weights: &[u128]) -> Vec<u128> {
    let fits = weights.iter().try_fold(0u128, |sum, weight| sum.checked_add(*weight)).is_some();
    let bits = usize::BITS.saturating_sub(weights.len().leading_zeros());
    weights.iter().map(|weight| if fits { *weight } else { weight.wrapping_shr(bits) }).collect()
}

/// Settles one epoch from its snapshot and the revealed scores.
///
/// Void unless validators with more than half of the snapshot's stake revealed. Otherwise each
/// stage's share of the miners' part goes to its miners by incentive, and the validators' part to
/// those who revealed, in proportion to stake times trust. Who did not reveal weighs against every
/// miner: the clip is taken over the stake of the whole snapshot, and what it leaves without support
/// goes to the treasury.
#[must_use]
pub fn settle(
    params: &RunParams,
    snapshot: &SnapshotView,
    scores: &[ScoreView],
    minted_before: u128,
) -> Settlement {
    let reveals = reveals(snapshot, scores);
    if !has_quorum(&reveals) {
        return Settlement { void: true, ..Settlement::default() };
    }
    let rows: Vec<Row<'_>> = reveals
        .iter()
        .map(|(validator, row)| Row {
            uid: validator.uid,
            stake: validator.stake,
            entries: row.unwrap_or_default(),
        })
        .collect();
    let miners: Vec<Miner> = snapshot
        .miners
        .iter()
        .map(|miner| Miner { uid: miner.uid, incarnation: miner.incarnation, stage: miner.stage })
        .collect();
    let outcome = solve(params.n_stages(), &miners, &rows);
    let minted = epoch_emission(minted_before);
    let part = |ppm: u32| mul_div(minted, u128::from(ppm), u128::from(PPM)).unwrap_or(0);
    let to_miners = pay_miners(params, snapshot, &outcome, part(SHARES.miners_ppm));
    let to_validators = pay_validators(&reveals, &outcome, part(SHARES.validators_ppm));
    conclude(minted, to_miners, to_validators)
}

/// A validator of the snapshot and its row, `None` if it did not reveal.
type Reveal<'a> = (&'a SnapshotValidator, Option<&'a [ScoreEntry]>);

/// All validators of the snapshot, in its order.
fn reveals<'a>(snapshot: &'a SnapshotView, scores: &'a [ScoreView]) -> Vec<Reveal<'a>> {
    let row_of = |validator: &SnapshotValidator| {
        let mut own = scores
            .iter()
            .filter(|view| view.uid == validator.uid && view.incarnation == validator.incarnation);
        own.find_map(|view| view.entries.as_deref())
    };
    snapshot.validators.iter().map(|validator| (validator, row_of(validator))).collect()
}

fn has_quorum(reveals: &[Reveal<'_>]) -> bool {
    // Scaled with the same shift, so that sums of any stakes fit.
    let stakes = scaled_stakes(reveals.iter().map(|(validator, _)| validator.stake));
    let total = stakes.iter().fold(0u128, |sum, stake| sum.saturating_add(*stake));
    let revealed = reveals
        .iter()
        .zip(&stakes)
        .filter(|((_, row), _)| row.is_some())
        .fold(0u128, |sum, (_, stake)| sum.saturating_add(*stake));
    revealed.saturating_mul(2) > total
}

fn pay_miners(params: &RunParams, snapshot: &SnapshotView, outcome: &Outcome, total: u128) -> Vec<Payout> {
    let shares: Vec<u128> = params.stages.iter().map(|stage| u128::from(stage.share_ppm)).collect();
    let mut payouts = Vec::new();
    for (stage, amount) in (0..=u16::MAX).map(Stage).zip(apportion(total, &shares)) {
        let (members, incentives): (Vec<_>, Vec<_>) = snapshot
            .miners
            .iter()
            .zip(&outcome.incentives)
            .filter(|(miner, _)| miner.stage == stage)
            .map(|(miner, incentive)| (miner, u128::from(*incentive)))
            .unzip();
        payouts.extend(members.into_iter().zip(apportion(amount, &incentives)).map(|(miner, amount)| {
            Payout { uid: miner.uid, incarnation: miner.incarnation, coldkey: miner.coldkey, amount }
        }));
    }
    payouts
}

/// Who did not reveal has no trust, hence no pay.
fn pay_validators(reveals: &[Reveal<'_>], outcome: &Outcome, total: u128) -> Vec<Payout> {
    let stakes = scaled_stakes(reveals.iter().map(|(validator, _)| validator.stake));
    let weights: Vec<u128> = stakes
        .iter()
        .zip(&outcome.trust)
        .map(|(stake, trust)| stake.saturating_mul(u128::from(*trust)))
        .collect();
    let pay = |((validator, _), amount): (&Reveal<'_>, u128)| Payout {
        uid: validator.uid,
        incarnation: validator.incarnation,
        coldkey: validator.coldkey,
        amount,
    };
    reveals.iter().zip(apportion(total, &weights)).map(pay).collect()
}

fn conclude(minted: u128, miners: Vec<Payout>, validators: Vec<Payout>) -> Settlement {
    let sum =
        |payouts: &[Payout]| payouts.iter().fold(0u128, |sum, payout| sum.saturating_add(payout.amount));
    let (to_miners, to_validators) = (sum(&miners), sum(&validators));
    let treasury = minted.saturating_sub(to_miners).saturating_sub(to_validators);
    let mut payouts = miners;
    payouts.extend(validators);
    payouts.retain(|payout| payout.amount > 0);
    payouts.sort_unstable_by_key(|payout| payout.uid);
    let split = EmissionSplit { minted, burned: 0, miners: to_miners, validators: to_validators, treasury };
    Settlement { void: false, split, payouts }
}

/// Hash over a payout table in uid order.
#[must_use]
pub fn payouts_root(payouts: &[Payout]) -> Hash {
    hash_of(Domain::Payouts, &payouts)
}
