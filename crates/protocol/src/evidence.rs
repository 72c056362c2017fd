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
use crate::routes::{counted, Delivery, Orders, Routing};

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
    /// Samples of each miner that stand, both ways, and count for it ([`crate::routes`]), less its skips
    /// beyond the limit.
    pub verified: BTreeMap<Uid, u32>,
    /// Samples of each miner that stand but do not count, because their senders did not follow the order
    /// that was drawn. Miners without any are not listed.
    pub uncounted: BTreeMap<Uid, u32>,
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

    /// The receipt of a pass that both sides stand by.
    fn pass(&self, uid: Uid, direction: Direction, sample: Sample) -> Option<&'a Receipt> {
        let own = self.receipts(uid, direction, sample);
        own.iter().find(|r| self.input_stands(uid, r) && self.output_stands(r)).copied()
    }

    /// Samples of a miner that stand both ways, with their forward receipts.
    fn standing(&self, miner: &MinerReceipts) -> Vec<&'a Receipt> {
        let samples: BTreeSet<Sample> = miner.receipts.iter().map(|receipt| receipt.sample).collect();
        // A single stage has no backward message; its forward pass is the whole sample.
        let back =
            |sample: Sample| self.last.0 == 0 || self.pass(miner.uid, Direction::Backward, sample).is_some();
        let both = |sample| self.pass(miner.uid, Direction::Forward, sample).filter(|_| back(sample));
        samples.into_iter().filter_map(both).collect()
    }

    /// Forward receipts of a miner for samples that there may be.
    fn sent(&self, miner: &'a MinerReceipts) -> impl Iterator<Item = &'a Receipt> + use<'_, 'a> {
        let forward = miner.receipts.iter().filter(|r| r.direction == Direction::Forward);
        forward.filter(|r| self.receipts(miner.uid, Direction::Forward, r.sample).contains(r))
    }

    /// What a miner sent to members that have nothing on chain to say.
    fn sent_to_silent(&self, miner: &'a MinerReceipts) -> impl Iterator<Item = Delivery> + use<'_, 'a> {
        let next = miner.stage.0.checked_add(1).filter(|_| miner.stage < self.last);
        self.sent(miner).filter_map(move |receipt| {
            let stage = next.filter(|stage| self.is_silent(receipt.to, Some(*stage)))?;
            let Receipt { sample, to, .. } = *receipt;
            Some(Delivery { stage: Stage(stage), from: miner.uid, sample, to })
        })
    }

    /// Losses that a miner of the last stage reported for samples whose way there stands.
    fn losses(&self, miner: &'a MinerReceipts) -> impl Iterator<Item = ReportedLoss> + use<'_, 'a> {
        self.sent(miner).filter(|receipt| receipt.stage == self.last).filter_map(|receipt| {
            let loss_micro = receipt.loss_micro.filter(|_| self.input_stands(miner.uid, receipt))?;
            Some(ReportedLoss { sample: receipt.sample, reporter: miner.uid, loss_micro })
        })
    }
}

/// Reads an epoch's receipts. `routing` names the miners of each stage as the epoch began and by what samples
/// chose among them; samples numbered beyond `max_samples` for each stage-0 miner are ignored.
#[must_use]
pub fn read(miners: &[MinerReceipts], routing: &Routing, max_samples: u32) -> Pathways {
    let stages = routing.uids();
    let index = Index::new(miners, &stages, max_samples);
    let mut pathways = Pathways::default();
    let mut reported = BTreeSet::new();
    let mut deliveries = BTreeSet::new();
    for miner in miners {
        let standing = index.standing(miner);
        pathways.verified.insert(miner.uid, u32::try_from(standing.len()).unwrap_or(u32::MAX));
        let delivered =
            |r: &Receipt| Delivery { stage: miner.stage, from: r.from, sample: r.sample, to: miner.uid };
        deliveries.extend(standing.into_iter().filter(|_| miner.stage.0 > 0).map(delivered));
        deliveries.extend(index.sent_to_silent(miner));
        pathways.losses.extend(index.losses(miner).filter(|loss| reported.insert(loss.sample)));
    }
    pathways.losses.sort_by_key(|loss| loss.sample);
    let mut orders = Orders::new(routing);
    pathways.offers = offers(miners, &index, &mut orders);
    pathways.excess = excess_skips(&pathways.offers);
    pathways.count(&counted(&deliveries, &mut orders));
    pathways
}

impl Pathways {
    /// Brings what stands down to what counts.
    fn count(&mut self, counted: &BTreeMap<Uid, u32>) {
        for (uid, verified) in &mut self.verified {
            // Who is first in a stage of its own is sent nothing, and nobody's friend.
            let counts = counted.get(uid).copied().unwrap_or(*verified).min(*verified);
            let not = verified.saturating_sub(counts);
            if not > 0 {
                self.uncounted.insert(*uid, not);
            }
            *verified = counts.saturating_sub(self.excess.get(uid).copied().unwrap_or(0));
        }
    }
}

/// Skips without a signature that a sender may always have: one in so many offers, and one more, so that a
/// single lost message never counts (design.md, section 5).
const SKIPS_DIVISOR: u32 = 20;

/// What a sender skipped beyond the usual.
#[derive(Clone, Copy, Default)]
struct Beyond {
    /// Offers to all targets that others have too.
    offered: u32,
    /// Skips beyond twice the rate of the others, over all targets.
    usual: u32,
    /// Skips beyond that and beyond what is free for each target.
    free: u32,
}

impl Beyond {
    fn excess(self) -> u32 {
        self.free.max(self.usual.saturating_sub(free(self.offered)))
    }
}

fn free(offered: u32) -> u32 {
    offered.div_ceil(SKIPS_DIVISOR).saturating_add(1)
}

/// Skips of each sender, over all targets, that are not paid: those beyond a twentieth of its offers to the
/// target and beyond twice the rate of the other senders to it, or, where that is more, all those beyond twice
/// the rate of the others less a twentieth of all its offers: a few skips of each of many targets are many.
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
    let mut sums: BTreeMap<Uid, Beyond> = BTreeMap::new();
    for senders in targets.values() {
        for (sender, offered, skipped) in senders {
            let Some(usual) = usual_skips(*sender, *offered, senders) else { continue };
            let sum = sums.entry(*sender).or_default();
            sum.offered = sum.offered.saturating_add(*offered);
            sum.usual = sum.usual.saturating_add(skipped.saturating_sub(usual));
            sum.free = sum.free.saturating_add(skipped.saturating_sub(usual.max(free(*offered))));
        }
    }
    sums.into_iter().map(|(uid, sum)| (uid, sum.excess())).filter(|(_, excess)| *excess > 0).collect()
}

/// Skips of so many offers at twice the rate of the others' lower median; `None` where there are no others.
fn usual_skips(sender: Uid, offered: u32, senders: &[(Uid, u32, u32)]) -> Option<u32> {
    let others = senders.iter().filter(|(other, offered, _)| *other != sender && *offered > 0);
    let mut others: Vec<(u32, u32)> = others.map(|(_, offered, skipped)| (*offered, *skipped)).collect();
    others.sort_by(|(all, lost), (of, gone)| {
        let (left, right) = (
            u64::from(*lost).saturating_mul(u64::from(*of)),
            u64::from(*gone).saturating_mul(u64::from(*all)),
        );
        left.cmp(&right).then(all.cmp(of))
    });
    let (all, lost) = others.get(others.len().saturating_sub(1) / 2)?;
    let usual = u64::from(offered).saturating_mul(u64::from(*lost)).saturating_mul(2);
    Some(u32::try_from(usual.div_ceil(u64::from(*all).max(1))).unwrap_or(u32::MAX))
}

/// Counts offers from what the senders' own receipts say: one to the miner that took the sample, and one to
/// each that comes before it in the order drawn. Those were skipped, with their signature where the receipt
/// says so.
fn offers(miners: &[MinerReceipts], index: &Index, orders: &mut Orders) -> BTreeMap<(Uid, Uid), (u32, u32)> {
    let mut offers: BTreeMap<(Uid, Uid), (u32, u32)> = BTreeMap::new();
    for miner in miners.iter().filter(|miner| miner.stage < index.last) {
        let Some(next) = miner.stage.0.checked_add(1).map(Stage) else { continue };
        for receipt in index.sent(miner) {
            let order = orders.of(receipt.sample, next);
            let Some(place) = order.iter().position(|uid| *uid == receipt.to) else { continue };
            for (at, target) in order.iter().take(place.saturating_add(1)).enumerate() {
                let (offered, skipped) = offers.entry((miner.uid, *target)).or_default();
                *offered = offered.saturating_add(1);
                let unsigned = at < place && !has_signed(receipt, *target);
                *skipped = skipped.saturating_add(u32::from(unsigned));
            }
        }
    }
    offers
}

/// Whether the target is said to have refused by itself.
fn has_signed(receipt: &Receipt, target: Uid) -> bool {
    receipt.skips.iter().any(|skip| skip.uid == target && skip.cause != SkipCause::Unreachable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Attempt, Hash, Version};
    use crate::receipt::Skip;
    use alloc::vec;
    use proptest::prelude::*;

    const MAX_SAMPLES: u32 = 100;

    /// Miners of each stage, of equal weight.
    fn routing(stages: &[&[u16]]) -> Routing {
        let stage = |uids: &&[u16]| uids.iter().map(|uid| (Uid(*uid), 1_000)).collect();
        Routing { seed: Hash([9; 32]), stages: stages.iter().map(stage).collect() }
    }

    fn pair() -> Routing {
        routing(&[&[0], &[1]])
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
        let pathways = read(&honest(), &pair(), MAX_SAMPLES);
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
        let pathways = read(&miners, &pair(), MAX_SAMPLES);
        assert_eq!(pathways.verified, BTreeMap::from([(Uid(0), 0), (Uid(1), 0)]));
        assert!(pathways.losses.is_empty());
    }

    #[test]
    fn a_forward_pass_without_its_backward_pass_does_not_count() {
        let mut miners = honest();
        miners[0].receipts.pop();
        assert_eq!(read(&miners, &pair(), MAX_SAMPLES).verified, BTreeMap::from([(Uid(0), 0), (Uid(1), 0)]));
    }

    #[test]
    fn a_dead_neighbour_is_not_held_against_the_living() {
        let mut miners = honest();
        miners.pop();
        assert_eq!(read(&miners, &pair(), MAX_SAMPLES).verified, BTreeMap::from([(Uid(0), 1)]));
    }

    #[test]
    fn receipts_of_another_stage_are_ignored() {
        let mut miners = honest();
        for receipt in &mut miners[1].receipts {
            receipt.stage = Stage(0);
        }
        assert_eq!(read(&miners, &pair(), MAX_SAMPLES).verified.get(&Uid(1)), Some(&0));
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
        let pathways = read(&miners, &pair(), MAX_SAMPLES);
        assert_eq!(pathways.verified.get(&Uid(1)), Some(&0));
        assert!(pathways.losses.is_empty(), "and its loss is not read");
    }

    #[test]
    fn samples_beyond_the_runs_bound_or_of_another_starter_count_for_nothing() {
        assert_eq!(read(&honest(), &pair(), 7).verified, BTreeMap::from([(Uid(0), 0), (Uid(1), 0)]));
        let two_starters = routing(&[&[9, 0], &[1]]);
        let mut miners = honest();
        for receipt in miners.iter_mut().flat_map(|miner| &mut miner.receipts) {
            receipt.sample = Sample(6);
        }
        assert_eq!(read(&miners, &two_starters, MAX_SAMPLES).verified.get(&Uid(0)), Some(&0), "6 is uid 9's");
    }

    /// A sample that prefers the miners of stage 1 in that order.
    fn sample_that_prefers(routing: &Routing, order: &[u16]) -> Sample {
        let order: Vec<Uid> = order.iter().copied().map(Uid).collect();
        (0..MAX_SAMPLES).map(Sample).find(|sample| routing.order(*sample, Stage(1)) == order).unwrap()
    }

    #[test]
    fn who_comes_before_was_skipped_by_its_signature_or_without() {
        let routing = routing(&[&[0], &[1, 5, 6, 8]]);
        let sample = sample_that_prefers(&routing, &[5, 6, 8, 1]);
        let skip = |uid, cause| Skip { uid: Uid(uid), cause };
        let skips = vec![skip(5, SkipCause::Unreachable), skip(6, SkipCause::Busy)];
        let mut miners = honest();
        miners.iter_mut().flat_map(|miner| &mut miner.receipts).for_each(|receipt| receipt.sample = sample);
        miners[0].receipts[0].skips = skips.try_into().unwrap();
        let offers = read(&miners, &routing, MAX_SAMPLES).offers;
        // 8 is passed over in silence, which is no better than a lost message.
        let expected = [((0, 1), (1, 0)), ((0, 5), (1, 1)), ((0, 6), (1, 0)), ((0, 8), (1, 1))];
        assert_eq!(offers, expected.map(|((s, t), counts)| ((Uid(s), Uid(t)), counts)).into());
    }

    fn counts(of: &[(u16, u16, u32, u32)]) -> BTreeMap<(Uid, Uid), (u32, u32)> {
        of.iter()
            .map(|(sender, target, offered, skipped)| ((Uid(*sender), Uid(*target)), (*offered, *skipped)))
            .collect()
    }

    #[test]
    fn worked_excess() {
        // Of 100 offers 5 + 1 skips are free: 40 less 6, 50 less 6. The median of the others skipped 2 of 100.
        let seen = counts(&[(0, 9, 100, 40), (1, 9, 100, 2), (2, 9, 100, 50), (3, 9, 100, 1)]);
        assert_eq!(excess_skips(&seen), [(Uid(0), 34), (Uid(2), 44)].into());
        // A target that was away for a third of the epoch: twice a third is free.
        let away = counts(&[(0, 9, 90, 40), (1, 9, 90, 30), (2, 9, 90, 25)]);
        assert_eq!(excess_skips(&away), BTreeMap::new());
        // Dead for all; a target of one sender; a single lost message of two.
        let rest = counts(&[(0, 8, 50, 50), (1, 8, 50, 50), (0, 7, 50, 50), (0, 6, 2, 1), (1, 6, 2, 0)]);
        assert_eq!(excess_skips(&rest), BTreeMap::new());
        // All of four offers to each of nine targets: two of four are free, but not eighteen of 36. 36 - 2 - 1.
        let shuns = (10..19).flat_map(|target| [(0, target, 4, 4), (1, target, 4, 0)]);
        assert_eq!(excess_skips(&counts(&shuns.collect::<Vec<_>>())), [(Uid(0), 33)].into());
    }

    /// Samples that sender and receiver have both receipts of: `(sample, sender, receiver)`.
    fn passes(uids: &[(u16, u16)], sent: &[(u32, u16, u16)]) -> Vec<MinerReceipts> {
        let empty = |(uid, stage): &(u16, u16)| MinerReceipts {
            uid: Uid(*uid),
            stage: Stage(*stage),
            receipts: Vec::new(),
        };
        let mut miners: Vec<MinerReceipts> = uids.iter().map(empty).collect();
        for (sample, from, to) in sent {
            let hash = |receipt: Receipt| Receipt { sample: Sample(*sample), ..receipt };
            for miner in &mut miners {
                if miner.uid.0 == *from {
                    miner.receipts.push(hash(receipt(0, Direction::Forward, *from, *to, 1, 2)));
                    miner.receipts.push(hash(receipt(0, Direction::Backward, *to, *from, 3, 0)));
                } else if miner.uid.0 == *to {
                    miner.receipts.push(hash(receipt(1, Direction::Forward, *from, *to, 2, 0)));
                    miner.receipts.push(hash(receipt(1, Direction::Backward, *to, *from, 0, 3)));
                }
            }
        }
        miners
    }

    #[test]
    fn a_friend_is_not_paid_for_what_its_friend_kept_from_others_nor_is_the_friend() {
        let routing = routing(&[&[0, 1, 2], &[3, 4, 5]]);
        let first = |sample| routing.order(Sample(sample), Stage(1))[0].0;
        // 0 sends everything to 3; the others follow the order.
        let route = |sample: u32| match sample % 3 {
            0 => (sample, 0, 3),
            sender => (sample, u16::try_from(sender).unwrap(), first(sample)),
        };
        let sent: Vec<_> = (0..90).map(route).collect();
        let uids = [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 1)];
        let found = read(&passes(&uids, &sent), &routing, MAX_SAMPLES);
        let drawn = |uid: u16| (0..90).filter(|s| s % 3 > 0 && first(*s) == uid).count() as u32;
        // Two of three receivers got nothing from 0, so nothing of it counts for anybody.
        for uid in [3, 4, 5] {
            assert_eq!(found.verified[&Uid(uid)], drawn(uid), "{uid}");
        }
        assert_eq!(found.uncounted, [(Uid(3), 30)].into());
        let kept_from_others = (0..90u32).filter(|s| s % 3 == 0 && first(*s) != 3).count() as u32;
        assert!(found.excess[&Uid(0)] > kept_from_others / 2, "{:?} of {kept_from_others}", found.excess);
        assert_eq!(found.verified[&Uid(0)], 30 - found.excess[&Uid(0)]);
        assert_eq!((found.verified[&Uid(1)], found.verified[&Uid(2)]), (30, 30));
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
            let stages = routing(&[&[0, 1], &[2, 3]]);
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
