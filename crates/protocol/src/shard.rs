//! Butterfly All-Reduce: which two committers of a stage own which part of its parameters.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use crate::ids::{Hash, Stage};
use crate::params::MAX_GROUP;
use crate::seed::{derive, Draw};

/// The shards of one stage in one epoch: one for each unordered pair of its committers.
///
/// Committers are named by their position in uid order. Which pair gets which range of chunks is
/// shuffled by the epoch's seed, which is not known when entries are committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shards {
    pairs: Vec<(usize, usize)>,
    chunks: u32,
}

impl Shards {
    /// Shards of `chunks` chunks among 1 to 64 committers; `None` for any other number of them.
    #[must_use]
    pub fn new(seed: &Hash, stage: Stage, committers: usize, chunks: u32) -> Option<Self> {
        let most = usize::try_from(MAX_GROUP).ok()?;
        if committers == 0 || committers > most {
            return None;
        }
        if committers == 1 {
            return Some(Self { pairs: vec![(0, 0)], chunks });
        }
        let mut pairs: Vec<(usize, usize)> = (0..committers)
            .flat_map(|low| (low.saturating_add(1)..committers).map(move |high| (low, high)))
            .collect();
        Draw::new(&derive(seed, b"shard", u64::from(stage.0)), b"pairs").shuffle(&mut pairs);
        Some(Self { pairs, chunks })
    }

    /// Number of shards: N(N-1)/2 for N committers, 1 for one.
    #[must_use]
    pub fn count(&self) -> u16 {
        u16::try_from(self.pairs.len()).unwrap_or(u16::MAX)
    }

    /// Whether each shard has two owners.
    #[must_use]
    pub fn is_replicated(&self) -> bool {
        self.pairs.iter().all(|(low, high)| low != high)
    }

    /// Positions of a shard's owners, lower first; equal when there is one committer.
    #[must_use]
    pub fn owners(&self, shard: u16) -> Option<(usize, usize)> {
        self.pairs.get(usize::from(shard)).copied()
    }

    /// Chunks of a shard; shards differ by at most one chunk, and some are empty when there are
    /// fewer chunks than shards. Empty for a shard that does not exist.
    #[must_use]
    pub fn chunks(&self, shard: u16) -> Range<u32> {
        if shard >= self.count() {
            return 0..0;
        }
        self.bound(shard)..self.bound(shard.saturating_add(1))
    }

    /// First chunk of a shard: `floor(shard * chunks / count)`.
    fn bound(&self, shard: u16) -> u32 {
        let product = u64::from(shard).saturating_mul(u64::from(self.chunks));
        let bound = product.checked_div(u64::from(self.count())).unwrap_or(0);
        u32::try_from(bound).unwrap_or(u32::MAX)
    }

    /// Shards of the committer at `position`, ascending.
    #[must_use]
    pub fn owned_by(&self, position: usize) -> Vec<u16> {
        (0..=u16::MAX)
            .zip(&self.pairs)
            .filter(|(_, (low, high))| *low == position || *high == position)
            .map(|(shard, _)| shard)
            .collect()
    }

    /// The other owner of a shard; `None` if `position` does not own it or owns it alone.
    #[must_use]
    pub fn partner(&self, shard: u16, position: usize) -> Option<usize> {
        match self.owners(shard)? {
            (low, high) if low == high => None,
            (low, high) if low == position => Some(high),
            (low, high) if high == position => Some(low),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    #[test]
    fn one_committer_owns_one_unreplicated_shard() {
        let shards = Shards::new(&Hash::ZERO, Stage(0), 1, 10).unwrap();
        assert_eq!((shards.count(), shards.owners(0), shards.chunks(0)), (1, Some((0, 0)), 0..10));
        assert_eq!((shards.partner(0, 0), shards.is_replicated()), (None, false));
        assert_eq!(shards.owned_by(0), [0]);
    }

    #[test]
    fn four_committers_share_six_shards() {
        let shards = Shards::new(&Hash([4; 32]), Stage(1), 4, 20).unwrap();
        assert_eq!(shards.count(), 6);
        let lengths: Vec<usize> = (0..6).map(|shard| shards.chunks(shard).len()).collect();
        assert_eq!(lengths, [3, 3, 4, 3, 3, 4]);
        assert_eq!(shards.owners(6), None);
        assert_eq!(shards.chunks(6), 0..0);
    }

    #[test]
    fn only_1_to_64_committers_merge() {
        assert_eq!(Shards::new(&Hash::ZERO, Stage(0), 0, 10), None);
        assert_eq!(Shards::new(&Hash::ZERO, Stage(0), 65, 10), None);
        assert_eq!(Shards::new(&Hash::ZERO, Stage(0), 64, 10).unwrap().count(), 2_016);
    }

    #[test]
    fn seed_and_stage_shuffle_the_pairs() {
        let pairs = |seed: u8, stage| Shards::new(&Hash([seed; 32]), Stage(stage), 8, 100).unwrap();
        assert_ne!(pairs(1, 0), pairs(2, 0));
        assert_ne!(pairs(1, 0), pairs(1, 1));
    }

    proptest! {
        #[test]
        fn every_pair_owns_one_shard_and_every_chunk_is_in_one(seed: [u8; 32], n in 2usize..=64, chunks in 0u32..5_000) {
            let shards = Shards::new(&Hash(seed), Stage(3), n, chunks).unwrap();
            let pairs: BTreeSet<_> = (0..shards.count()).map(|shard| shards.owners(shard).unwrap()).collect();
            prop_assert_eq!(pairs.len(), n * (n - 1) / 2);
            prop_assert!(pairs.iter().all(|(low, high)| low < high && *high < n));
            let mut next = 0;
            for shard in 0..shards.count() {
                prop_assert_eq!(shards.chunks(shard).start, next);
                next = shards.chunks(shard).end;
            }
            prop_assert_eq!(next, chunks);
            for position in 0..n {
                let owned = shards.owned_by(position);
                prop_assert_eq!(owned.len(), n - 1);
                for shard in owned {
                    let partner = shards.partner(shard, position).unwrap();
                    prop_assert_eq!(shards.partner(shard, partner), Some(position));
                }
            }
        }
    }
}
