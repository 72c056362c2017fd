//! How many of the samples that a sender brought to a receiver count for the receiver, when senders may
//! choose whom they send to.
//!
//! The epoch's seed draws the order in which a sample prefers the miners of a stage; a sender follows it past
//! those that did not take the sample. A sender that passes samples on to friends instead gives them work that
//! was not drawn for them, and takes it from others. So a receiver is paid for what it would have been sent if
//! that sender had found the other receivers as its fellow senders found them, and no receiver of a sender is
//! paid for a larger part of that than the middle one of its receivers got. A sender that starves most of a
//! stage thus brings nobody anything: what its friends got is not counted either.
//!
//! Neither a minority of the senders decides, for rates are the others' lower median, nor a minority of the
//! receivers. What every receiver lacks alike costs none of them pay, which is shared within a stage.
//! [`crate::evidence`] calls it for validators, and the laboratory with its own deliveries.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::ids::{Hash, Sample, Stage, Uid};
use crate::pathway::preference;
use crate::position::{rank_of, sample_of};

/// One whole sample, or certainty.
const PPM: u64 = 1_000_000;
/// Samples that come to a receiver because others did not take them are drawn by few accidents, so half as
/// many again may come as are expected.
const FURTHER: (u64, u64) = (3, 2);
/// Receivers that are expected to get less than half a sample say nothing about their sender.
const TELLS: u64 = PPM / 2;
/// A starter's samples count up to the round of twice as many as stand, and so many more: a starter that leaves
/// out more than every second number chooses them, and a validator computes no more orders than that.
const ROUNDS_PER_SAMPLE: u32 = 2;
/// For a starter of few samples, of which the first few may be lost.
const FREE_ROUNDS: u32 = 8;

/// By what the samples of an epoch choose their miners.
#[derive(Clone, Debug, Default)]
pub struct Routing {
    /// The epoch's seed for pathways.
    pub seed: Hash,
    /// Miners of each stage in uid order with their pathway weights, as the epoch began.
    pub stages: Vec<Vec<(Uid, u32)>>,
}

impl Routing {
    /// Uids of each stage in the order given.
    #[must_use]
    pub fn uids(&self) -> Vec<Vec<Uid>> {
        self.stages.iter().map(|stage| stage.iter().map(|(uid, _)| *uid).collect()).collect()
    }

    /// The order in which a sample prefers the miners of a stage; empty for a stage that is not there.
    #[must_use]
    pub fn order(&self, sample: Sample, stage: Stage) -> Vec<Uid> {
        let members = self.stages.get(usize::from(stage.0)).map_or(&[][..], Vec::as_slice);
        preference(&self.seed, sample, stage, members)
    }
}

/// Orders that were drawn already: each costs a hash for every member of the stage.
#[derive(Debug)]
pub struct Orders<'a> {
    routing: &'a Routing,
    drawn: BTreeMap<(Stage, Sample), Vec<Uid>>,
}

impl<'a> Orders<'a> {
    /// None yet.
    #[must_use]
    pub fn new(routing: &'a Routing) -> Self {
        Self { routing, drawn: BTreeMap::new() }
    }

    /// The order of a sample in a stage.
    pub fn of(&mut self, sample: Sample, stage: Stage) -> &[Uid] {
        self.drawn.entry((stage, sample)).or_insert_with(|| self.routing.order(sample, stage))
    }
}

/// A sample that one miner brought to another, by both of their words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Delivery {
    /// Stage of the receiver, from 1 on.
    pub stage: Stage,
    /// Who sent it.
    pub from: Uid,
    /// The sample.
    pub sample: Sample,
    /// Who took it.
    pub to: Uid,
}

/// Samples that count for each receiver; never more than were delivered to it. Receivers of stage 0 have no
/// sender and are not listed.
#[must_use]
pub fn counted(deliveries: &BTreeSet<Delivery>, orders: &mut Orders) -> BTreeMap<Uid, u32> {
    let n_stages = u16::try_from(orders.routing.stages.len()).unwrap_or(u16::MAX);
    let mut all: BTreeMap<Uid, u32> = deliveries.iter().map(|delivery| (delivery.to, 0)).collect();
    for stage in (1..n_stages).map(Stage) {
        let of_stage = deliveries.iter().filter(|delivery| delivery.stage == stage);
        all.extend(count(&sent(of_stage, stage, orders)));
    }
    all
}

/// One sample of a sender: in which order it was to go, and who took it; nobody, where a number was left out.
#[derive(Clone, Debug)]
struct Sent {
    order: Vec<Uid>,
    took: Vec<Uid>,
}

/// What each sender of a stage sent.
fn sent<'a>(
    deliveries: impl Iterator<Item = &'a Delivery>,
    stage: Stage,
    orders: &mut Orders,
) -> BTreeMap<Uid, Vec<Sent>> {
    let mut taken: BTreeMap<Uid, BTreeMap<Sample, Vec<Uid>>> = BTreeMap::new();
    for delivery in deliveries {
        taken.entry(delivery.from).or_default().entry(delivery.sample).or_default().push(delivery.to);
    }
    if stage.0 == 1 {
        let n0 = orders.routing.stages.first().map_or(0, Vec::len);
        let n0 = u32::try_from(n0).unwrap_or(u32::MAX).max(1);
        taken.values_mut().for_each(|samples| fill(samples, n0));
    }
    let one = |(sample, took), orders: &mut Orders| Sent { order: orders.of(sample, stage).to_vec(), took };
    taken
        .into_iter()
        .map(|(from, samples)| (from, samples.into_iter().map(|sample| one(sample, orders)).collect()))
        .collect()
}

/// Adds the numbers that a starter left out, which it might have chosen by who comes first, and takes away
/// those beyond the round up to which it may count.
fn fill(samples: &mut BTreeMap<Sample, Vec<Uid>>, n0: u32) {
    let Some((last, _)) = samples.last_key_value() else { return };
    let round = |sample: &Sample| sample.0.checked_div(n0).unwrap_or(0);
    let (rank, last) = (rank_of(*last, n0), round(last));
    let standing = u32::try_from(samples.len()).unwrap_or(u32::MAX);
    let end = standing.saturating_mul(ROUNDS_PER_SAMPLE).saturating_add(FREE_ROUNDS);
    samples.retain(|sample, _| round(sample) < end);
    for sample in (0..=last).take_while(|round| *round < end).filter_map(|round| sample_of(round, rank, n0)) {
        samples.entry(sample).or_default();
    }
}

/// Offers of a sender to a target, and how many of them the target did not take.
type Offers = BTreeMap<(Uid, Uid), (u32, u32)>;

/// What one receiver was to get from a sender, and what it got, in millionths of a sample.
#[derive(Clone, Copy, Default, Debug)]
struct Share {
    /// Expected of the samples that it was first for.
    first: u64,
    /// Expected of those that came to it because others did not take them.
    further: u64,
    /// Delivered.
    got: u64,
}

impl Share {
    fn expected(self) -> u64 {
        self.first.saturating_add(self.further)
    }

    /// What counts of it, if `middle` is what the middle receiver of that sender was to get and got.
    fn counts(self, middle: Option<Self>) -> u64 {
        let Some(middle) = middle else { return self.got };
        let further = self.further.saturating_mul(FURTHER.0).checked_div(FURTHER.1).unwrap_or(0);
        let room = u128::from(self.first.saturating_add(further)).saturating_mul(middle.got.into());
        let most = room.checked_div(middle.expected().into()).unwrap_or(0);
        self.got.min(u64::try_from(most).unwrap_or(u64::MAX))
    }

    /// By the part of its expectation that it got.
    fn order(&self, other: &Self) -> Ordering {
        let own = u128::from(self.got).saturating_mul(other.expected().into());
        own.cmp(&u128::from(other.got).saturating_mul(self.expected().into()))
    }
}

fn count(sent: &BTreeMap<Uid, Vec<Sent>>) -> BTreeMap<Uid, u32> {
    let offers = offers(sent);
    let mut credits: BTreeMap<Uid, u64> = BTreeMap::new();
    for (sender, samples) in sent {
        let shares = shares(*sender, samples, &offers);
        // What a stage's only sender found, nobody else can tell.
        let middle = if sent.len() > 1 { middle(&shares) } else { None };
        for (uid, share) in shares.iter().filter(|(_, share)| share.got > 0) {
            let credit = credits.entry(*uid).or_default();
            *credit = credit.saturating_add(share.counts(middle));
        }
    }
    credits
        .into_iter()
        .map(|(uid, ppm)| (uid, u32::try_from(ppm.div_ceil(PPM)).unwrap_or(u32::MAX)))
        .collect()
}

/// The upper median of those that were to get anything worth naming, so that more than half of them lack
/// what the others lack; `None` where there are none.
fn middle(shares: &BTreeMap<Uid, Share>) -> Option<Share> {
    let mut telling: Vec<Share> =
        shares.values().copied().filter(|share| share.expected() >= TELLS).collect();
    telling.sort_by(Share::order);
    telling.get(telling.len() / 2).copied()
}

fn offers(sent: &BTreeMap<Uid, Vec<Sent>>) -> Offers {
    let mut offers = Offers::new();
    for (sender, samples) in sent {
        for sample in samples.iter().filter(|sample| !sample.took.is_empty()) {
            let last = sample.order.iter().rposition(|uid| sample.took.contains(uid));
            for uid in sample.order.iter().take(last.map_or(0, |last| last.saturating_add(1))) {
                let (offered, skipped) = offers.entry((*uid, *sender)).or_default();
                *offered = offered.saturating_add(1);
                *skipped = skipped.saturating_add(u32::from(!sample.took.contains(uid)));
            }
        }
    }
    offers
}

/// The part of a sender's offers to a target, in millionths, that the target may be taken not to have accepted:
/// its own, but no more than the lower median of the other senders'. 0 where none of them offered it anything.
fn rate(target: Uid, sender: Uid, offers: &Offers) -> u64 {
    let (mut own, mut others) = (0, Vec::new());
    for ((_, from), (offered, skipped)) in offers.range((target, Uid(0))..=(target, Uid(u16::MAX))) {
        let rate = u64::from(*skipped).saturating_mul(PPM).checked_div((*offered).into());
        match rate {
            Some(rate) if *from == sender => own = rate,
            Some(rate) => others.push(rate),
            None => {}
        }
    }
    others.sort_unstable();
    let middle = others.get(others.len().saturating_sub(1) / 2).copied().unwrap_or(0);
    own.min(middle)
}

/// What each receiver was to get from a sender that skips no target more than the others do, and what it got.
fn shares(sender: Uid, samples: &[Sent], offers: &Offers) -> BTreeMap<Uid, Share> {
    let mut rates: BTreeMap<Uid, u64> = BTreeMap::new();
    let mut shares: BTreeMap<Uid, Share> = BTreeMap::new();
    for sample in samples {
        // The probability that a sample gets past all before.
        let mut left = PPM;
        for (place, uid) in sample.order.iter().enumerate() {
            let rate = *rates.entry(*uid).or_insert_with(|| rate(*uid, sender, offers));
            let passes = part(left, rate);
            let share = shares.entry(*uid).or_default();
            let expected = if place == 0 { &mut share.first } else { &mut share.further };
            *expected = expected.saturating_add(left.saturating_sub(passes));
            left = passes;
            if left == 0 {
                break;
            }
        }
        for uid in &sample.took {
            let share = shares.entry(*uid).or_default();
            share.got = share.got.saturating_add(PPM);
        }
    }
    shares
}

/// `of * ppm / 1,000,000`, rounded down.
fn part(of: u64, ppm: u64) -> u64 {
    of.saturating_mul(ppm).checked_div(PPM).unwrap_or(0)
}

#[cfg(test)]
mod tests;
