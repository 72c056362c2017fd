//! In which order a sample prefers the miners of a stage, and how their weights move.
//!
//! Weighted rendezvous hashing: each miner draws an exponential variable with its weight as rate,
//! and the smallest comes first. So a miner is first for a share of samples that is its share of
//! the stage's weight, and a miner that joins or leaves changes no order among the others.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::fixed::neg_log2_q32;
use crate::ids::{Hash, Sample, Stage, Uid};
use crate::seed::derive;

/// Weight of every miner of a stage in which nobody has been paid yet; large enough that moves of a
/// quarter are not lost to rounding.
pub const DEFAULT_WEIGHT: u32 = 1_000;
/// A weight moves by at most one part in so many per epoch, at least by 1.
const MOVE_DIVISOR: u32 = 4;

/// Miners of `stage` in the order in which `epoch_sample` prefers them, from `(uid, weight)`.
///
/// Sorted by `-log2(u) / weight`, compared by cross multiplication; ties by uid; weight 0 counts as
/// 1. `u` is 64 bits derived from the epoch's seed, the sample, the stage and the uid.
#[must_use]
pub fn preference(seed: &Hash, epoch_sample: Sample, stage: Stage, miners: &[(Uid, u32)]) -> Vec<Uid> {
    let mut keyed: Vec<Key> =
        miners.iter().map(|(uid, weight)| Key::new(seed, epoch_sample, stage, *uid, *weight)).collect();
    keyed.sort_unstable_by(Key::order);
    keyed.into_iter().map(|key| key.uid).collect()
}

struct Key {
    uid: Uid,
    log: u64,
    weight: u32,
}

impl Key {
    fn new(seed: &Hash, sample: Sample, stage: Stage, uid: Uid, weight: u32) -> Self {
        let index = (u64::from(sample.0) << 32) | (u64::from(stage.0) << 16) | u64::from(uid.0);
        let drawn = derive(seed, b"pathway", index);
        let u = drawn.0.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self { uid, log: neg_log2_q32(u), weight: weight.max(1) }
    }

    fn order(&self, other: &Self) -> Ordering {
        let own = u128::from(self.log).saturating_mul(u128::from(other.weight));
        let others = u128::from(other.log).saturating_mul(u128::from(self.weight));
        own.cmp(&others).then(self.uid.cmp(&other.uid))
    }
}

/// Weights of a stage's miners for the next epoch, in the order given.
///
/// Each member is `(uid, weight so far, work that it was just paid for)`; weight 0 marks a newcomer,
/// `None` a member whose pay is not decided, which keeps its weight. A weight moves towards the work
/// paid by at most a quarter. The result is at least half the lower median of the moved weights, and
/// newcomers start at that median; it is [`DEFAULT_WEIGHT`] while nobody has a weight.
#[must_use]
pub fn next_weights(members: &[(Uid, u32, Option<u32>)]) -> Vec<(Uid, u32)> {
    let mut moved: Vec<u32> = members
        .iter()
        .filter(|(_, old, _)| *old > 0)
        .map(|(_, old, paid)| moved_weight(*old, *paid))
        .collect();
    moved.sort_unstable();
    let middle = moved.len().saturating_sub(1) / 2;
    let median = moved.get(middle).copied().unwrap_or(DEFAULT_WEIGHT);
    let floor = (median / 2).max(1);
    members
        .iter()
        .map(|(uid, old, paid)| {
            let weight = if *old == 0 { median } else { moved_weight(*old, *paid) };
            (*uid, weight.max(floor))
        })
        .collect()
}

fn moved_weight(old: u32, paid: Option<u32>) -> u32 {
    let step = (old / MOVE_DIVISOR).max(1);
    paid.map_or(old, |paid| paid.clamp(old.saturating_sub(step), old.saturating_add(step)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn firsts(miners: &[(Uid, u32)], samples: u32) -> Vec<u32> {
        let mut counts = vec![0; miners.len()];
        for sample in 0..samples {
            let first = preference(&Hash([2; 32]), Sample(sample), Stage(1), miners)[0];
            counts[miners.iter().position(|(uid, _)| *uid == first).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn first_preferences_follow_the_weights() {
        let counts = firsts(&[(Uid(4), 1_000), (Uid(7), 2_000), (Uid(9), 1_000)], 20_000);
        // Expected 5,000 10,000 5,000; standard deviations 61, 71, 61.
        assert!((4_700..5_300).contains(&counts[0]), "{counts:?}");
        assert!((9_650..10_350).contains(&counts[1]), "{counts:?}");
        assert!((4_700..5_300).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn weight_zero_counts_as_one() {
        let all = |weight| preference(&Hash([8; 32]), Sample(3), Stage(0), &[(Uid(1), weight), (Uid(2), 1)]);
        assert_eq!(all(0), all(1));
    }

    #[test]
    fn worked_weights() {
        let next = next_weights(&[
            (Uid(1), 1_000, Some(2_000)),
            (Uid(2), 1_000, Some(0)),
            (Uid(3), 1_000, None),
            (Uid(4), 400, Some(390)),
            (Uid(5), 0, None),
        ]);
        // Moved: 1250, 750, 1000, 390; lower median 750, floor 375.
        let expected = [(1, 1_250), (2, 750), (3, 1_000), (4, 390), (5, 750)];
        assert_eq!(next, expected.map(|(uid, weight)| (Uid(uid), weight)));
    }

    #[test]
    fn a_stage_of_newcomers_starts_at_the_default() {
        let next = next_weights(&[(Uid(1), 0, None), (Uid(2), 0, Some(5))]);
        assert_eq!(next, [(Uid(1), 1_000), (Uid(2), 1_000)]);
        assert!(next_weights(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn others_keep_their_order_when_one_leaves(seed: [u8; 32], sample: u32, weights in prop::collection::vec(0u32..5_000, 2..20), gone: usize) {
            let miners: Vec<(Uid, u32)> = (0..=u16::MAX).map(Uid).zip(weights).collect();
            let gone = miners[gone % miners.len()].0;
            let fewer: Vec<_> = miners.iter().copied().filter(|(uid, _)| *uid != gone).collect();
            let mut all = preference(&Hash(seed), Sample(sample), Stage(2), &miners);
            all.retain(|uid| *uid != gone);
            prop_assert_eq!(all, preference(&Hash(seed), Sample(sample), Stage(2), &fewer));
        }

        #[test]
        fn order_of_input_does_not_matter(seed: [u8; 32], weights in prop::collection::vec(0u32..9, 1..20)) {
            let miners: Vec<(Uid, u32)> = (0..=u16::MAX).map(Uid).zip(weights).collect();
            let reversed: Vec<_> = miners.iter().rev().copied().collect();
            prop_assert_eq!(
                preference(&Hash(seed), Sample(1), Stage(0), &miners),
                preference(&Hash(seed), Sample(1), Stage(0), &reversed)
            );
        }

        #[test]
        fn weights_move_a_quarter_at_most_unless_the_floor_lifts_them(
            members in prop::collection::vec((0u32.., prop::option::of(0u32..)), 1..20),
        ) {
            let members: Vec<_> = (0..=u16::MAX).map(Uid).zip(members).map(|(uid, (old, paid))| (uid, old, paid)).collect();
            for ((_, old, _), (_, next)) in members.iter().zip(next_weights(&members)) {
                prop_assert!(next > 0);
                if *old > 0 {
                    prop_assert!(u64::from(next) >= u64::from(*old) - u64::from((old / 4).max(1)));
                }
            }
        }
    }
}
