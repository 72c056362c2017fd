//! Which windows of the data set a sample reads.
//!
//! Positions count up without gaps from epoch to epoch; a keyed permutation maps each to a window,
//! so that a run reads a window twice only after it went through all of them. Two samples in a hundred
//! are an exception by intent: they repeat their neighbour's windows and leave their own unread.

use alloc::vec::Vec;

use crate::ids::{Hash, Sample};
use crate::params::RunParams;
use crate::seed::{derive, run_seed, Draw};

/// Rounds of the Feistel network; four already make a permutation, eight make neighbours unrelated
/// at any width that a data set can have.
const ROUNDS: usize = 8;

/// One sample in so many reads the text of the one before it: two in a hundred of the samples are run
/// twice, as a control of how much of a loss is the text's (design.md, section 9).
const REPEAT_EVERY: u32 = 50;

/// The sample whose windows this one reads again, on a pathway of its own; `None` for most.
///
/// Neighbouring samples belong to different stage-0 miners where there are two or more, and later
/// stages draw their preferences by sample, so the two share a miner of a stage of `n` in one case of
/// `n`.
#[must_use]
pub fn repeated(sample: Sample) -> Option<Sample> {
    let is_repeat = sample.0 % REPEAT_EVERY == REPEAT_EVERY.saturating_sub(1);
    is_repeat.then(|| Sample(sample.0.saturating_sub(1)))
}

/// The window at position `index`: a bijection over `0..windows` for each pass over the data, with
/// its own round keys in each pass. 0 when there are no windows.
#[must_use]
pub fn window(run_seed: &Hash, windows: u64, index: u64) -> u64 {
    let (Some(pass), Some(start)) = (index.checked_div(windows), index.checked_rem(windows)) else {
        return 0;
    };
    let permutation = Permutation::new(run_seed, windows, pass);
    // Cycle walking: the network permutes a domain of less than 4 times the size, so the cycle that
    // starts inside comes back inside, after fewer than 4 steps on average.
    let mut at = permutation.apply(start);
    while at >= windows {
        at = permutation.apply(at);
    }
    at
}

/// A balanced Feistel network over `2 * half_bits` bits.
struct Permutation {
    keys: [u64; ROUNDS],
    half_bits: u32,
}

impl Permutation {
    fn new(run_seed: &Hash, windows: u64, pass: u64) -> Self {
        let mut draw = Draw::new(&derive(run_seed, b"window", pass), b"rounds");
        let bits = u64::BITS.saturating_sub(windows.saturating_sub(1).leading_zeros());
        Self { keys: core::array::from_fn(|_| draw.next_u64()), half_bits: bits.div_ceil(2).max(1) }
    }

    fn apply(&self, value: u64) -> u64 {
        let mask = 1u64.wrapping_shl(self.half_bits).wrapping_sub(1);
        let (mut left, mut right) = (value.wrapping_shr(self.half_bits) & mask, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left.wrapping_shl(self.half_bits) | right
    }
}

/// Two rounds of xor-shift and multiply by odd constants (the 64-bit golden ratio and the square
/// root of 3): every input bit reaches every output bit.
fn mix(value: u64) -> u64 {
    let once = (value ^ (value >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let twice = (once ^ (once >> 29)).wrapping_mul(0xbb67_ae85_84ca_a73b);
    twice ^ (twice >> 32)
}

/// Windows that a sample reads, in order: positions `(data_base + sample) * B + j`, with the number of
/// the sample that it repeats, if it repeats one.
#[must_use]
pub fn sample_windows(params: &RunParams, data_base: u64, sample: Sample) -> Vec<u64> {
    let seed = run_seed(params);
    let batch = u64::from(params.train.windows_per_sample);
    let sample = repeated(sample).unwrap_or(sample);
    let first = data_base.saturating_add(u64::from(sample.0)).saturating_mul(batch);
    (0..batch).map(|j| window(&seed, params.data.train_windows, first.saturating_add(j))).collect()
}

/// The `s`-th sample of the stage-0 miner of `rank` among `n0`; `None` if there is no such rank or
/// number.
#[must_use]
pub fn sample_of(s: u32, rank: u32, n0: u32) -> Option<Sample> {
    if rank >= n0 {
        return None;
    }
    s.checked_mul(n0)?.checked_add(rank).map(Sample)
}

/// The rank of the stage-0 miner that starts a sample; 0 when there are no such miners.
#[must_use]
pub fn rank_of(sample: Sample, n0: u32) -> u32 {
    sample.0.checked_rem(n0).unwrap_or(0)
}

/// First position of the epoch after one in which the `n0` stage-0 miners started so many samples
/// each: the largest count decides, so that no position is read twice.
#[must_use]
pub fn next_base(data_base: u64, n0: u32, started: &[u32]) -> u64 {
    let most = u64::from(started.iter().copied().max().unwrap_or(0));
    data_base.saturating_add(most.saturating_mul(u64::from(n0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn samples_interleave_the_stage_0_miners() {
        assert_eq!(sample_of(0, 2, 3), Some(Sample(2)));
        assert_eq!(sample_of(5, 1, 3), Some(Sample(16)));
        assert_eq!(rank_of(Sample(16), 3), 1);
        assert_eq!(sample_of(0, 3, 3), None);
        assert_eq!(sample_of(u32::MAX, 0, 2), None);
        assert_eq!(rank_of(Sample(9), 0), 0);
    }

    #[test]
    fn two_samples_in_a_hundred_read_what_their_neighbour_reads() {
        let params = crate::sample_params::params_with_shares(&[500_000, 500_000]);
        let repeats: Vec<u32> = (0..100).filter(|sample| repeated(Sample(*sample)).is_some()).collect();
        assert_eq!(repeats, [49, 99]);
        let windows = |sample| sample_windows(&params, 1_000, Sample(sample));
        assert_eq!(windows(49), windows(48));
        assert_ne!(windows(50), windows(49));
        assert_ne!(rank_of(Sample(49), 3), rank_of(Sample(48), 3));
    }

    #[test]
    fn base_moves_past_the_farthest_miner() {
        assert_eq!(next_base(100, 3, &[4, 7, 0]), 121);
        assert_eq!(next_base(100, 3, &[]), 100);
        assert_eq!(next_base(u64::MAX, 3, &[1]), u64::MAX);
    }

    #[test]
    fn passes_are_permuted_differently() {
        let seed = Hash([5; 32]);
        let pass = |from: u64| (from..from + 100).map(|i| window(&seed, 100, i)).collect::<Vec<_>>();
        assert_ne!(pass(0), pass(100));
        assert_ne!(pass(0), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn neighbours_are_spread_over_the_data() {
        let windows = 100_000u64;
        let far = (0..1_000u64)
            .filter(|i| {
                let (a, b) = (window(&Hash::ZERO, windows, *i), window(&Hash::ZERO, windows, i + 1));
                a.abs_diff(b) > windows / 10
            })
            .count();
        // Two uniform draws are farther apart than a tenth with probability 0.81.
        assert!((760..860).contains(&far), "{far}");
    }

    #[test]
    fn extreme_sizes_stay_in_range() {
        assert_eq!(window(&Hash::ZERO, 0, 7), 0);
        assert_eq!(window(&Hash::ZERO, 1, 7), 0);
        assert!(window(&Hash::ZERO, u64::MAX, u64::MAX) < u64::MAX);
    }

    proptest! {
        #[test]
        fn each_pass_reads_every_window_once(seed: [u8; 32], windows in 1u64..300, pass in 0u64..5) {
            let mut seen = vec![false; usize::try_from(windows).unwrap()];
            for index in pass * windows..(pass + 1) * windows {
                let at = usize::try_from(window(&Hash(seed), windows, index)).unwrap();
                prop_assert!(!seen[at]);
                seen[at] = true;
            }
        }

        #[test]
        fn rank_and_number_come_back(s in 0u32..1_000_000, n0 in 1u32..1_000, r: u32) {
            let rank = r % n0;
            let sample = sample_of(s, rank, n0).unwrap();
            prop_assert_eq!((rank_of(sample, n0), sample.0 / n0), (rank, s));
        }
    }
}
