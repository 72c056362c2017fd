//! What an epoch mints and who gets it, to the last unit (design.md, section 10).
//!
//! The pallet pays by `settle` and the explorer recomputes by it. Every division rounds down and
//! every remainder has an owner: the largest remainders within an apportionment, the treasury for
//! everything that nobody earned.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::consensus::bonds::{bonds_root, dividends, renew, Bond, BondRow, Holder};
use crate::consensus::{scaled_stakes, solve, Miner, Outcome, Row};
use crate::fixed::{mul_div, mul_div_rem};
use crate::hash::Domain;
use crate::ids::{Epoch, Hash, Incarnation, Stage, Uid};
use crate::merkle::{self, leaf, prove_range, RangeProof};
use crate::params::{RunParams, MAX_MEMBERS, PPM};
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

/// Part of the validators' share that pays opened audit transcripts, in millionths: a tenth, so that
/// an audit done is worth something to the smallest validator and dividends stay what counts.
pub const AUDITS_PPM: u32 = 100_000;
/// Transcripts that one validator is paid for in one epoch: its seeded choice, and the miner with the
/// worst significant effect.
pub const MAX_TRANSCRIPTS: u32 = 2;

/// What besides snapshot, rows and bonds decides a settlement. Kept in the report, so that a stranger
/// needs nothing else.
#[derive(
    Clone,
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
pub struct Terms {
    /// Minted by the chain before this settlement, smallest units.
    pub minted_before: u128,
    /// The run's share of the chain's emission, in millionths.
    pub share_ppm: u32,
    /// The epoch whose rows scored this one: itself, or the next after it was void.
    pub scored_by: Epoch,
    /// Miners that a verdict or a proof of equivocation stops from being paid, in uid order. What
    /// they would have earned goes to the treasury, so that nobody gains by accusing.
    pub gated: BoundedVec<(Uid, Incarnation), ConstU32<MAX_MEMBERS>>,
    /// Validators that opened audit transcripts, in uid order, and how many.
    pub transcripts: BoundedVec<(Uid, u32), ConstU32<MAX_MEMBERS>>,
}

impl Terms {
    /// The whole emission, nobody gated, no transcripts.
    #[must_use]
    pub fn plain(scored_by: Epoch, minted_before: u128) -> Self {
        Self {
            minted_before,
            share_ppm: PPM,
            scored_by,
            gated: BoundedVec::default(),
            transcripts: BoundedVec::default(),
        }
    }

    fn is_gated(&self, uid: Uid, incarnation: Incarnation) -> bool {
        self.gated.contains(&(uid, incarnation))
    }
}

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
    /// Bonds after this epoch, in the order of the snapshot's validators; those before it if it is void.
    pub bonds: Vec<BondRow>,
}

impl Settlement {
    /// Hash over the bonds after this epoch.
    #[must_use]
    pub fn bonds_root(&self) -> Hash {
        bonds_root(&self.bonds)
    }
}

/// What a void epoch is scored from, once, together with the next: its own miners, the next epoch's
/// validators.
#[must_use]
pub fn carried(void: &SnapshotView, next: &SnapshotView) -> SnapshotView {
    SnapshotView { miners: void.miners.clone(), validators: next.validators.clone() }
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

/// Settles one epoch from its snapshot, the revealed scores, the bonds until now and the terms.
///
/// Void unless validators with more than half of the snapshot's stake revealed. Otherwise each
/// stage's share of the miners' part goes to its miners by incentive. Of the validators' part a fixed
/// share pays opened transcripts and the rest is dividends of those who revealed, in proportion to
/// their bonds times what the bonded miners earn. Who did not reveal weighs against every
/// miner: the clip is taken over the stake of the whole snapshot, and what it leaves without support
/// goes to the treasury.
///
/// Bonds stand for validators of the snapshot only: who lost its permit loses its bonds.
#[must_use]
pub fn settle(
    params: &RunParams,
    snapshot: &SnapshotView,
    scores: &[ScoreView],
    bonds: &[BondRow],
    terms: &Terms,
) -> Settlement {
    let reveals = reveals(snapshot, scores);
    if !has_quorum(&reveals) {
        return Settlement { void: true, bonds: bonds.to_vec(), ..Settlement::default() };
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
    let held = renew(&miners, &holders(&reveals, &outcome, bonds));
    let minted = run_emission(terms);
    let part = |ppm: u32| mul_div(minted, u128::from(ppm), u128::from(PPM)).unwrap_or(0);
    let to_miners = pay_miners(params, snapshot, &outcome, terms, part(SHARES.miners_ppm));
    let weights = dividends(&held, &earnings(params, &miners, &outcome, terms));
    let to_validators = pay_validators(&reveals, &weights, terms, part(SHARES.validators_ppm));
    let bonds = reveals.iter().zip(held).map(|((own, _), bonds)| BondRow {
        uid: own.uid,
        incarnation: own.incarnation,
        bonds,
    });
    Settlement { bonds: bonds.collect(), ..conclude(minted, to_miners, to_validators) }
}

/// The run's share of what the chain's schedule gives, rounded down; the rest is not minted.
fn run_emission(terms: &Terms) -> u128 {
    let whole = epoch_emission(terms.minted_before);
    mul_div(whole, u128::from(terms.share_ppm.min(PPM)), u128::from(PPM)).unwrap_or(0)
}

fn holders<'a>(reveals: &[Reveal<'_>], outcome: &'a Outcome, bonds: &'a [BondRow]) -> Vec<Holder<'a>> {
    let before = |own: &SnapshotValidator| -> &'a [Bond] {
        let found = bonds.iter().find(|row| row.uid == own.uid && row.incarnation == own.incarnation);
        found.map_or(&[], |row| row.bonds.as_slice())
    };
    reveals
        .iter()
        .zip(&outcome.clipped)
        .map(|((own, _), clipped)| Holder { uid: own.uid, stake: own.stake, clipped, before: before(own) })
        .collect()
}

/// What each miner earns, as a weight for dividends: its incentive times its stage's share; nothing
/// if it is gated.
fn earnings(params: &RunParams, miners: &[Miner], outcome: &Outcome, terms: &Terms) -> BTreeMap<Uid, u128> {
    let share = |miner: &Miner| params.stage(miner.stage).map_or(0, |stage| u128::from(stage.share_ppm));
    miners
        .iter()
        .zip(&outcome.incentives)
        .filter(|(miner, _)| !terms.is_gated(miner.uid, miner.incarnation))
        .map(|(miner, incentive)| (miner.uid, u128::from(*incentive).saturating_mul(share(miner))))
        .collect()
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

/// What a gated miner would have earned is paid to nobody here, and so goes to the treasury.
fn pay_miners(
    params: &RunParams,
    snapshot: &SnapshotView,
    outcome: &Outcome,
    terms: &Terms,
    total: u128,
) -> Vec<Payout> {
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
    payouts.retain(|payout| !terms.is_gated(payout.uid, payout.incarnation));
    payouts
}

/// Dividends of those who revealed, and what the transcripts that they opened pay.
///
/// A transcript is worth the audits' part over all that could have been opened, so that nobody gains
/// by the idleness of others; what is left goes to the treasury.
fn pay_validators(reveals: &[Reveal<'_>], weights: &[u128], terms: &Terms, total: u128) -> Vec<Payout> {
    let audits = mul_div(total, u128::from(AUDITS_PPM), u128::from(PPM)).unwrap_or(0);
    let most = u128::try_from(reveals.len()).unwrap_or(u128::MAX).saturating_mul(u128::from(MAX_TRANSCRIPTS));
    let each = audits.checked_div(most).unwrap_or(0);
    let active: Vec<u128> = reveals
        .iter()
        .zip(weights)
        .map(|((_, row), weight)| if row.is_some() { *weight } else { 0 })
        .collect();
    let pay = |((validator, row), dividend): (&Reveal<'_>, u128)| {
        let opened = terms.transcripts.iter().find(|(uid, _)| *uid == validator.uid && row.is_some());
        let opened = opened.map_or(0, |(_, count)| u128::from((*count).min(MAX_TRANSCRIPTS)));
        Payout {
            uid: validator.uid,
            incarnation: validator.incarnation,
            coldkey: validator.coldkey,
            amount: dividend.saturating_add(opened.saturating_mul(each)),
        }
    };
    reveals.iter().zip(apportion(total.saturating_sub(audits), &active)).map(pay).collect()
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
    Settlement { void: false, split, payouts, bonds: Vec::new() }
}

/// Merkle root over a payout table in uid order; `Hash::ZERO` for an empty one. The root stands in the
/// epoch's report, which is a storage value of the chain, so that one payment can be proven to
/// whoever has a header: `prove_payout`, then a read proof of the report.
#[must_use]
pub fn payouts_root(payouts: &[Payout]) -> Hash {
    merkle::root(&payout_leaves(payouts))
}

/// Proof that the payment at `position` of a table stands under its root; `None` beyond the end.
#[must_use]
pub fn prove_payout(payouts: &[Payout], position: usize) -> Option<RangeProof> {
    prove_range(&payout_leaves(payouts), position, 1)
}

/// Whether `payout` is the one at `position` of a table of `total` payments under `root`.
#[must_use]
pub fn verify_payout(
    root: &Hash,
    total: usize,
    position: usize,
    payout: &Payout,
    proof: &RangeProof,
) -> bool {
    proof.verify(root, total, position, &payout_leaves(core::slice::from_ref(payout)))
}

fn payout_leaves(payouts: &[Payout]) -> Vec<Hash> {
    payouts.iter().map(|payout| leaf(&(Domain::Payouts.tag(), payout).encode())).collect()
}
