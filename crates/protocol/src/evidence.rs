//! From receipts to pathways: which passes stand, which losses were reported, and who was skipped.
//!
//! Every validator reads the same receipts and must find the same, and whoever checks a report reads
//! them again. Fetching receipts and checking them against their roots is the caller's.
//!
//! A pass stands when both sides say the same: the sender's receipt names the receiver and the hash
//! of what it sent, the receiver's receipt names the hash of what it took. Where the neighbour has
//! nothing on chain (it died), what it would have said is not held against the one that did.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::ids::{Sample, Stage, Uid};
use crate::position::rank_of;
use crate::receipt::{Direction, Receipt, SkipCause};

/// Receipts of one miner, verified against its committed root.
#[derive(Clone, Debug)]
pub struct MinerReceipts {
    /// The miner.
    pub uid: Uid,
    /// Its stage.
    pub stage: Stage,
    /// Its receipts.
    pub receipts: Vec<Receipt>,
}

/// A loss that a last-stage miner reported for a sample whose way there stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportedLoss {
    /// The sample.
    pub sample: Sample,
    /// Who reported it.
    pub reporter: Uid,
    /// Millionths of a nat per token.
    pub loss_micro: u32,
}

/// What an epoch's receipts amount to.
#[derive(Clone, Debug, Default)]
pub struct Pathways {
    /// Samples of each miner that stand, both ways, less its skips beyond the limit.
    pub verified: BTreeMap<Uid, u32>,
    /// Skips beyond the limit, by sender: see [`excess_skips`].
    pub excess: BTreeMap<Uid, u32>,
    /// Losses, by sample.
    pub losses: Vec<ReportedLoss>,
    /// How often each sender offered samples to each target, by `(sender, target)`: forward passes
    /// that the target took or for which it was skipped, and skips without its signature.
    pub offers: BTreeMap<(Uid, Uid), (u32, u32)>,
}

type Key = (Uid, Direction, Sample);

struct Index<'a> {
    by_key: BTreeMap<Key, Vec<&'a Receipt>>,
    committed: BTreeSet<Uid>,
    stages: &'a [Vec<Uid>],
    last: Stage,
}

impl<'a> Index<'a> {
    fn new(miners: &'a [MinerReceipts], stages: &'a [Vec<Uid>], max_samples: u32) -> Self {
        let last = Stage(u16::try_from(stages.len().saturating_sub(1)).unwrap_or(u16::MAX));
        let first = stages.first().map(Vec::as_slice).unwrap_or_default();
        let n0 = u32::try_from(first.len()).unwrap_or(u32::MAX).max(1);
        let mut by_key: BTreeMap<Key, Vec<&Receipt>> = BTreeMap::new();
        for miner in miners {
            let ours = miner.receipts.iter().filter(|receipt| receipt.stage == miner.stage);
            for receipt in ours.filter(|receipt| receipt.sample.0 < max_samples.saturating_mul(n0)) {
                // At stage 0 a sample's number says whose it is.
                let rank = usize::try_from(rank_of(receipt.sample, n0)).unwrap_or(usize::MAX);
                if miner.stage.0 == 0 && first.get(rank) != Some(&miner.uid) {
                    continue;
                }
                by_key.entry((miner.uid, receipt.direction, receipt.sample)).or_default().push(receipt);
            }
        }
        Self { by_key, committed: miners.iter().map(|miner| miner.uid).collect(), stages, last }
    }

    /// Whether a neighbour is a miner of that stage that has nothing on chain to say.
    fn is_silent(&self, uid: Uid, stage: Option<u16>) -> bool {
        let members = stage.and_then(|stage| self.stages.get(usize::from(stage)));
        members.is_some_and(|members| members.contains(&uid)) && !self.committed.contains(&uid)
    }

    fn receipts(&self, uid: Uid, direction: Direction, sample: Sample) -> &[&'a Receipt] {
        self.by_key.get(&(uid, direction, sample)).map_or(&[], Vec::as_slice)
    }

    fn input_stands(&self, uid: Uid, receipt: &Receipt) -> bool {
        let (reads_data, from_stage) = match receipt.direction {
            Direction::Forward => (receipt.stage.0 == 0, receipt.stage.0.checked_sub(1)),
            Direction::Backward => (receipt.stage == self.last, receipt.stage.0.checked_add(1)),
        };
        let said = || {
            let theirs = self.receipts(receipt.from, receipt.direction, receipt.sample);
            theirs.iter().any(|r| r.to == uid && r.output == receipt.input)
        };
        reads_data || self.is_silent(receipt.from, from_stage) || said()
    }

    fn output_stands(&self, receipt: &Receipt) -> bool {
        let (ends_here, to_stage) = match receipt.direction {
            Direction::Forward => (receipt.stage == self.last, receipt.stage.0.checked_add(1)),
            Direction::Backward => (receipt.stage.0 == 0, receipt.stage.0.checked_sub(1)),
        };
        let taken = || {
            let theirs = self.receipts(receipt.to, receipt.direction, receipt.sample);
            theirs.iter().any(|r| r.input == receipt.output)
        };
        ends_here || self.is_silent(receipt.to, to_stage) || taken()
    }

    fn passes(&self, uid: Uid, direction: Direction, sample: Sample) -> bool {
        self.receipts(uid, direction, sample)
            .iter()
            .any(|r| self.input_stands(uid, r) && self.output_stands(r))
    }
}

/// Reads an epoch's receipts. `stages` names the miners of each stage in uid order, as the epoch
/// began; samples numbered beyond `max_samples` for each stage-0 miner are ignored.
#[must_use]
pub fn read(miners: &[MinerReceipts], stages: &[Vec<Uid>], max_samples: u32) -> Pathways {
    let index = Index::new(miners, stages, max_samples);
    let last = index.last;
    let mut pathways = Pathways::default();
    let mut reported = BTreeSet::new();
    for miner in miners {
        let samples: BTreeSet<Sample> = miner.receipts.iter().map(|receipt| receipt.sample).collect();
        // A single stage has no backward message; its forward pass is the whole sample.
        let both = |sample: Sample| {
            let forward = index.passes(miner.uid, Direction::Forward, sample);
            forward && (last.0 == 0 || index.passes(miner.uid, Direction::Backward, sample))
        };
        let standing = samples.iter().filter(|sample| both(**sample)).count();
        pathways.verified.insert(miner.uid, u32::try_from(standing).unwrap_or(u32::MAX));
        for receipt in miner.receipts.iter().filter(|r| r.stage == last && r.direction == Direction::Forward)
        {
            let Some(loss_micro) = receipt.loss_micro else { continue };
            let known = index.receipts(miner.uid, Direction::Forward, receipt.sample).contains(&receipt);
            if known && index.input_stands(miner.uid, receipt) && reported.insert(receipt.sample) {
                pathways.losses.push(ReportedLoss {
                    sample: receipt.sample,
                    reporter: miner.uid,
                    loss_micro,
                });
            }
        }
    }
    pathways.losses.sort_by_key(|loss| loss.sample);
    pathways.offers = offers(miners, last);
    pathways.excess = excess_skips(&pathways.offers);
    for (uid, excess) in &pathways.excess {
        if let Some(verified) = pathways.verified.get_mut(uid) {
            *verified = verified.saturating_sub(*excess);
        }
    }
    pathways
}

/// Skips without a signature that a sender may always have to one target: one in so many offers, and
/// one more, so that a single lost message never counts (design.md, section 5).
const SKIPS_DIVISOR: u32 = 20;

/// Skips of each sender, over all targets, that are not paid: those beyond a twentieth of its offers to
/// the target and beyond twice the rate of the other senders to it.
///
/// The rate of the others is that of their lower median, so that neither a target that was away nor a
/// minority that skips together counts against or for anybody. A target with one sender is left out.
/// Rounding favours the sender. Senders without excess are not listed.
#[must_use]
pub fn excess_skips(offers: &BTreeMap<(Uid, Uid), (u32, u32)>) -> BTreeMap<Uid, u32> {
    let mut targets: BTreeMap<Uid, Vec<(Uid, u32, u32)>> = BTreeMap::new();
    for ((sender, target), (offered, skipped)) in offers {
        targets.entry(*target).or_default().push((*sender, *offered, *skipped));
    }
    let mut excess: BTreeMap<Uid, u32> = BTreeMap::new();
    for senders in targets.values() {
        for (sender, offered, skipped) in senders {
            let mut others: Vec<(u32, u32)> = senders
                .iter()
                .filter(|(other, offered, _)| other != sender && *offered > 0)
                .map(|(_, offered, skipped)| (*offered, *skipped))
                .collect();
            others.sort_by(|(all, lost), (of, gone)| {
                let (left, right) = (
                    u64::from(*lost).saturating_mul(u64::from(*of)),
                    u64::from(*gone).saturating_mul(u64::from(*all)),
                );
                left.cmp(&right).then(all.cmp(of))
            });
            let Some((all, lost)) = others.get(others.len().saturating_sub(1) / 2) else { continue };
            let usual = u64::from(*offered).saturating_mul(u64::from(*lost)).saturating_mul(2);
            let usual = u32::try_from(usual.div_ceil(u64::from(*all).max(1))).unwrap_or(u32::MAX);
            let allowed = offered.div_ceil(SKIPS_DIVISOR).saturating_add(1).max(usual);
            let beyond = skipped.saturating_sub(allowed);
            if beyond > 0 {
                let sum = excess.entry(*sender).or_default();
                *sum = sum.saturating_add(beyond);
            }
        }
    }
    excess
}

/// Counts offers from what the senders' own receipts say.
fn offers(miners: &[MinerReceipts], last: Stage) -> BTreeMap<(Uid, Uid), (u32, u32)> {
    let mut offers: BTreeMap<(Uid, Uid), (u32, u32)> = BTreeMap::new();
    for miner in miners.iter().filter(|miner| miner.stage != last) {
        for receipt in miner.receipts.iter().filter(|receipt| receipt.direction == Direction::Forward) {
            let taken = offers.entry((miner.uid, receipt.to)).or_default();
            taken.0 = taken.0.saturating_add(1);
            for skip in &receipt.skips {
                let counts = offers.entry((miner.uid, skip.uid)).or_default();
                counts.0 = counts.0.saturating_add(1);
                counts.1 = counts.1.saturating_add(u32::from(skip.cause == SkipCause::Unreachable));
            }
        }
    }
    offers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Attempt, Hash, Version};
    use crate::receipt::Skip;
    use alloc::vec;
    use proptest::prelude::*;

    const MAX_SAMPLES: u32 = 100;

    fn stages() -> Vec<Vec<Uid>> {
        vec![vec![Uid(0)], vec![Uid(1)]]
    }

    fn receipt(stage: u16, direction: Direction, from: u16, to: u16, input: u8, output: u8) -> Receipt {
        Receipt {
            sample: Sample(7),
            attempt: Attempt(0),
            stage: Stage(stage),
            direction,
            from: Uid(from),
            to: Uid(to),
            input: Hash([input; 32]),
            output: Hash([output; 32]),
            version: Version(0),
            sequence: 0,
            skips: Default::default(),
            loss_micro: (stage == 1 && direction == Direction::Forward).then_some(5_000_000),
            logits: Hash::ZERO,
        }
    }

    /// Two stages, one miner each: 0 sends 0x11 forward, 1 sends 0x22 back.
    fn honest() -> Vec<MinerReceipts> {
        vec![
            MinerReceipts {
                uid: Uid(0),
                stage: Stage(0),
                receipts: vec![
                    receipt(0, Direction::Forward, 0, 1, 0x01, 0x11),
                    receipt(0, Direction::Backward, 1, 0, 0x22, 0x00),
                ],
            },
            MinerReceipts {
                uid: Uid(1),
                stage: Stage(1),
                receipts: vec![
                    receipt(1, Direction::Forward, 0, 1, 0x11, 0x00),
                    receipt(1, Direction::Backward, 1, 0, 0x00, 0x22),
                ],
            },
        ]
    }

    #[test]
    fn an_honest_sample_counts_for_both_and_its_loss_is_read() {
        let pathways = read(&honest(), &stages(), MAX_SAMPLES);
        assert_eq!(pathways.verified, BTreeMap::from([(Uid(0), 1), (Uid(1), 1)]));
        assert_eq!(
            pathways.losses,
            [ReportedLoss { sample: Sample(7), reporter: Uid(1), loss_micro: 5_000_000 }]
        );
    }

    #[test]
    fn a_hash_that_the_receiver_did_not_take_counts_for_neither() {
        let mut miners = honest();
        miners[0].receipts[0].output = Hash([0x99; 32]);
        let pathways = read(&miners, &stages(), MAX_SAMPLES);
        assert_eq!(pathways.verified, BTreeMap::from([(Uid(0), 0), (Uid(1), 0)]));
        assert!(pathways.losses.is_empty());
    }

    #[test]
    fn a_forward_pass_without_its_backward_pass_does_not_count() {
        let mut miners = honest();
        miners[0].receipts.pop();
        assert_eq!(
            read(&miners, &stages(), MAX_SAMPLES).verified,
            BTreeMap::from([(Uid(0), 0), (Uid(1), 0)])
        );
    }

    #[test]
    fn a_dead_neighbour_is_not_held_against_the_living() {
        let mut miners = honest();
        miners.pop();
        assert_eq!(read(&miners, &stages(), MAX_SAMPLES).verified, BTreeMap::from([(Uid(0), 1)]));
    }

    #[test]
    fn receipts_of_another_stage_are_ignored() {
        let mut miners = honest();
        for receipt in &mut miners[1].receipts {
            receipt.stage = Stage(0);
        }
        assert_eq!(read(&miners, &stages(), MAX_SAMPLES).verified.get(&Uid(1)), Some(&0));
    }

    #[test]
    fn work_with_partners_that_do_not_exist_counts_for_nothing() {
        // The last stage's miner invents an upstream that nobody knows.
        let mut miners = honest();
        for receipt in &mut miners[1].receipts {
            (receipt.from, receipt.to) = match receipt.direction {
                Direction::Forward => (Uid(60_000), receipt.to),
                Direction::Backward => (receipt.from, Uid(60_000)),
            };
        }
        let pathways = read(&miners, &stages(), MAX_SAMPLES);
        assert_eq!(pathways.verified.get(&Uid(1)), Some(&0));
        assert!(pathways.losses.is_empty(), "and its loss is not read");
    }

    #[test]
    fn samples_beyond_the_runs_bound_or_of_another_starter_count_for_nothing() {
        assert_eq!(read(&honest(), &stages(), 7).verified, BTreeMap::from([(Uid(0), 0), (Uid(1), 0)]));
        let two_starters = vec![vec![Uid(9), Uid(0)], vec![Uid(1)]];
        let mut miners = honest();
        for receipt in miners.iter_mut().flat_map(|miner| &mut miner.receipts) {
            receipt.sample = Sample(6);
        }
        assert_eq!(read(&miners, &two_starters, MAX_SAMPLES).verified.get(&Uid(0)), Some(&0), "6 is uid 9's");
    }

    #[test]
    fn skips_are_counted_for_sender_and_target() {
        let mut miners = honest();
        let skip = |uid, cause| Skip { uid: Uid(uid), cause };
        let skips = vec![skip(5, SkipCause::Unreachable), skip(6, SkipCause::Busy)];
        miners[0].receipts[0].skips = skips.try_into().unwrap();
        let offers = read(&miners, &stages(), MAX_SAMPLES).offers;
        let expected = [((0, 1), (1, 0)), ((0, 5), (1, 1)), ((0, 6), (1, 0))];
        assert_eq!(offers, expected.map(|((s, t), counts)| ((Uid(s), Uid(t)), counts)).into());
    }

    fn counts(of: &[(u16, u16, u32, u32)]) -> BTreeMap<(Uid, Uid), (u32, u32)> {
        of.iter()
            .map(|(sender, target, offered, skipped)| ((Uid(*sender), Uid(*target)), (*offered, *skipped)))
            .collect()
    }

    #[test]
    fn worked_excess() {
        // Of 100 offers 5 + 1 skips are free: 40 less 6. The median of the others skipped 2 of 100.
        let seen = counts(&[(0, 9, 100, 40), (1, 9, 100, 2), (2, 9, 100, 50), (3, 9, 100, 1)]);
        assert_eq!(excess_skips(&seen), [(Uid(0), 34), (Uid(2), 44)].into());
        // A target that was away for a third of the epoch: twice a third is free.
        let away = counts(&[(0, 9, 90, 40), (1, 9, 90, 30), (2, 9, 90, 25)]);
        assert_eq!(excess_skips(&away), BTreeMap::new());
        // Dead for all; a target of one sender; a single lost message of two.
        let rest = counts(&[(0, 8, 50, 50), (1, 8, 50, 50), (0, 7, 50, 50), (0, 6, 2, 1), (1, 6, 2, 0)]);
        assert_eq!(excess_skips(&rest), BTreeMap::new());
    }

    #[test]
    fn skips_beyond_the_limit_are_not_paid() {
        // Two senders of 30 samples each; the first skips one of two receivers always.
        let stages = vec![vec![Uid(0), Uid(1)], vec![Uid(2), Uid(3)]];
        let mut miners: Vec<MinerReceipts> = (0..4)
            .map(|uid| MinerReceipts { uid: Uid(uid), stage: Stage(uid / 2), receipts: Vec::new() })
            .collect();
        for sample in 0..60u32 {
            let sender = u16::try_from(sample % 2).unwrap();
            let prefers = if sample % 4 < 2 { 2 } else { 3 };
            let to = if sender == 0 { 3 } else { prefers };
            let hash = |receipt: Receipt| Receipt { sample: Sample(sample), ..receipt };
            let mut out = hash(receipt(0, Direction::Forward, sender, to, 1, 2));
            if to != prefers {
                out.skips =
                    vec![Skip { uid: Uid(prefers), cause: SkipCause::Unreachable }].try_into().unwrap();
            }
            let back = hash(receipt(0, Direction::Backward, to, sender, 3, 0));
            miners[usize::from(sender)].receipts.extend([out, back]);
            let there = hash(receipt(1, Direction::Forward, sender, to, 2, 0));
            let away = hash(receipt(1, Direction::Backward, to, sender, 0, 3));
            miners[usize::from(to)].receipts.extend([there, away]);
        }
        let found = read(&miners, &stages, MAX_SAMPLES);
        // 15 offers to uid 2, all skipped; 1 + 1 are free.
        assert_eq!(found.excess, [(Uid(0), 13)].into());
        let verified: Vec<u32> = found.verified.values().copied().collect();
        assert_eq!(verified, [17, 30, 15, 45]);
    }

    proptest! {
        #[test]
        fn no_sender_loses_more_than_it_skipped_and_equals_lose_nothing(
            seen in prop::collection::btree_map((0u16..5, 5u16..8), (0u32..200, 0u32..200), 0..15),
            all in 1u32..500, lost in 0u32..500, senders in 2u16..6,
        ) {
            let offers: Vec<(u16, u16, u32, u32)> =
                seen.iter().map(|((s, t), (o, k))| (*s, *t, *o, *k.min(o))).collect();
            let excess = excess_skips(&counts(&offers));
            for (uid, beyond) in excess {
                let skipped: u32 = offers.iter().filter(|(s, ..)| Uid(*s) == uid).map(|(_, _, _, k)| *k).sum();
                prop_assert!(beyond < skipped);
            }
            let equal: Vec<_> = (0..senders).map(|sender| (sender, 9, all, lost.min(all))).collect();
            prop_assert_eq!(excess_skips(&counts(&equal)), BTreeMap::new());
        }

        #[test]
        fn nobody_is_credited_beyond_its_own_receipts_in_any_order(
            seen in prop::collection::vec((0u16..4, any::<bool>(), 0u16..4, 0u16..4, 0u8..3, 0u8..3), 0..40),
        ) {
            let stages = vec![vec![Uid(0), Uid(1)], vec![Uid(2), Uid(3)]];
            let mut miners: Vec<MinerReceipts> = (0..4)
                .map(|uid| MinerReceipts { uid: Uid(uid), stage: Stage(uid / 2), receipts: Vec::new() })
                .collect();
            for (uid, forward, from, to, input, output) in &seen {
                let direction = if *forward { Direction::Forward } else { Direction::Backward };
                miners[usize::from(*uid)].receipts.push(receipt(uid / 2, direction, *from, *to, *input, *output));
            }
            let there = read(&miners, &stages, MAX_SAMPLES);
            for miner in &miners {
                prop_assert!(there.verified[&miner.uid] <= u32::from(!miner.receipts.is_empty()));
            }
            miners.reverse();
            prop_assert_eq!(&read(&miners, &stages, MAX_SAMPLES).verified, &there.verified);
        }
    }
}
