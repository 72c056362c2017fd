//! Seeds and unbiased draws from them: the only randomness that rules use.
//!
//! Callers give a label, so that two rules that draw from one seed never draw the same numbers.

use alloc::vec::Vec;

use crate::hash::{hash_of, Domain};
use crate::ids::Hash;
use crate::params::RunParams;

/// A seed for one purpose (`label`) and one index, from another seed.
#[must_use]
pub fn derive(seed: &Hash, label: &[u8], index: u64) -> Hash {
    hash_of(Domain::Seed, &(seed, label, index))
}

/// The seed of a run's data order and initial weights.
#[must_use]
pub fn run_seed(params: &RunParams) -> Hash {
    hash_of(Domain::Seed, &(b"run", params.seed))
}

/// Which of `count` items a validator audits, from the epoch's seed and the secret whose hash it
/// committed before the seed was known; 0 when there is nothing to choose from.
#[must_use]
pub fn audit_choice(seed: &Hash, secret: &[u8; 32], count: u64) -> u64 {
    let own = hash_of(Domain::Audit, &(seed, secret));
    Draw::new(&own, b"choice").below(count)
}

/// So many of the candidates that a validator audits, in the order in which they are chosen, without
/// repetition; all of them if there are fewer. The first is that of [`audit_choice`].
#[must_use]
pub fn audit_choices<T: Clone>(seed: &Hash, secret: &[u8; 32], candidates: &[T], count: u32) -> Vec<T> {
    let mut left = candidates.to_vec();
    let mut chosen = Vec::new();
    for _ in 0..count {
        let choice = audit_choice(seed, secret, u64::try_from(left.len()).unwrap_or(0));
        match usize::try_from(choice).ok().filter(|at| *at < left.len()) {
            Some(at) => chosen.push(left.remove(at)),
            None => break,
        }
    }
    chosen
}

/// An endless sequence of numbers from a seed and a label.
///
/// Block `i` of the sequence is `derive(derive(seed, label, 0), "draw", i)`, read as four
/// little-endian numbers.
#[derive(Clone, Debug)]
pub struct Draw {
    key: Hash,
    next_block: u64,
    ready: Vec<u64>,
}

impl Draw {
    /// Starts the sequence of `label`.
    #[must_use]
    pub fn new(seed: &Hash, label: &[u8]) -> Self {
        Self { key: derive(seed, label, 0), next_block: 0, ready: Vec::new() }
    }

    /// The next number, uniform over all of `u64`.
    pub fn next_u64(&mut self) -> u64 {
        loop {
            if let Some(number) = self.ready.pop() {
                return number;
            }
            self.refill();
        }
    }

    fn refill(&mut self) {
        let block = derive(&self.key, b"draw", self.next_block);
        self.next_block = self.next_block.wrapping_add(1);
        let words = block.0.as_chunks::<8>().0;
        self.ready.extend(words.iter().rev().map(|word| u64::from_le_bytes(*word)));
    }

    /// A number below `n`, unbiased by rejection; 0 for `n = 0`.
    pub fn below(&mut self, n: u64) -> u64 {
        // 2^64 mod n numbers at the top are rejected; fewer than half of all, so this ends.
        let Some(excess) = u64::MAX.checked_rem(n).and_then(|rest| rest.wrapping_add(1).checked_rem(n))
        else {
            return 0;
        };
        let last = u64::MAX.saturating_sub(excess);
        loop {
            let number = self.next_u64();
            if number <= last {
                return number.checked_rem(n).unwrap_or(0);
            }
        }
    }

    /// An index below `len`; `None` for `len = 0`.
    pub fn index(&mut self, len: usize) -> Option<usize> {
        let len = u64::try_from(len).ok().filter(|len| *len > 0)?;
        usize::try_from(self.below(len)).ok()
    }

    /// Shuffles uniformly (Fisher-Yates from the end).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            if let Some(other) = self.index(end.saturating_add(1)) {
                items.swap(end, other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Uid;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn chosen_miners_are_different_and_the_first_is_the_single_choice() {
        let candidates: Vec<Uid> = (10..20).map(Uid).collect();
        for salt in 0..50u8 {
            let (seed, secret) = (Hash([salt; 32]), [salt; 32]);
            let chosen = audit_choices(&seed, &secret, &candidates, 4);
            let first = usize::try_from(audit_choice(&seed, &secret, 10)).unwrap();
            assert_eq!(chosen.first(), candidates.get(first));
            let mut sorted = chosen.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), 4, "{chosen:?}");
            assert_eq!(audit_choices(&seed, &secret, &candidates, 99).len(), 10);
        }
        assert!(audit_choices::<Uid>(&Hash::ZERO, &[0; 32], &[], 3).is_empty());
    }

    #[test]
    fn a_draw_reads_the_little_endian_words_of_its_blocks_in_order() {
        let seed = Hash([7; 32]);
        let mut draw = Draw::new(&seed, b"test");
        let key = derive(&seed, b"test", 0);
        for block in 0..3u64 {
            let bytes = derive(&key, b"draw", block).0;
            for word in bytes.chunks(8) {
                assert_eq!(draw.next_u64(), u64::from_le_bytes(word.try_into().unwrap()));
            }
        }
    }

    #[test]
    fn labels_and_indices_separate() {
        let seed = Hash([1; 32]);
        let all =
            [derive(&seed, b"a", 0), derive(&seed, b"a", 1), derive(&seed, b"b", 0), derive(&seed, b"", 0)];
        for (i, left) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|right| right != left));
        }
    }

    #[test]
    fn below_covers_its_range_evenly() {
        let mut draw = Draw::new(&Hash([3; 32]), b"even");
        let mut counts = vec![0u32; 5];
        for _ in 0..50_000 {
            counts[usize::try_from(draw.below(5)).unwrap()] += 1;
        }
        // Standard deviation is 89; five of them.
        assert!(counts.iter().all(|count| (9_550..10_450).contains(count)), "{counts:?}");
    }

    #[test]
    fn below_nothing_is_zero() {
        assert_eq!(Draw::new(&Hash::ZERO, b"x").below(0), 0);
        assert_eq!(audit_choice(&Hash::ZERO, &[0; 32], 0), 0);
    }

    #[test]
    fn audit_choice_depends_on_the_secret() {
        let seed = Hash([9; 32]);
        let choices: Vec<u64> = (0..32u8).map(|secret| audit_choice(&seed, &[secret; 32], 1_000)).collect();
        assert!(choices.iter().any(|choice| *choice != choices[0]));
        assert!(choices.iter().all(|choice| *choice < 1_000));
    }

    proptest! {
        #[test]
        fn numbers_stay_below(seed: [u8; 32], n in 1u64..) {
            let mut draw = Draw::new(&Hash(seed), b"bound");
            for _ in 0..20 {
                prop_assert!(draw.below(n) < n);
            }
        }

        #[test]
        fn a_shuffle_keeps_the_items(seed: [u8; 32], len in 0usize..100) {
            let mut items: Vec<usize> = (0..len).collect();
            Draw::new(&Hash(seed), b"shuffle").shuffle(&mut items);
            items.sort_unstable();
            prop_assert_eq!(items, (0..len).collect::<Vec<_>>());
        }
    }
}
