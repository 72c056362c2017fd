//! How hard a sample's text is by itself: its mean bigram code length, in integers, so that two
//! validators get the same covariate bit for bit.

use iota_compute::data::Dataset;
use iota_protocol::fixed::{mul_div, neg_log2_q32};

/// Training windows that the counts are taken from: 0.5 MB of text at 128 tokens each is plenty for
/// 65,536 pairs and is counted in milliseconds.
const COUNTED_WINDOWS: u64 = 4_096;
/// Byte values.
const SYMBOLS: usize = 256;

/// Pair counts of a data set's beginning.
pub struct Bigrams {
    pairs: Vec<u32>,
    singles: Vec<u32>,
}

impl Bigrams {
    /// Counts pairs in the first training windows.
    ///
    /// # Errors
    /// When the data set cannot be read.
    pub fn count(dataset: &Dataset) -> anyhow::Result<Self> {
        let mut bigrams = Self { pairs: vec![0; SYMBOLS * SYMBOLS], singles: vec![0; SYMBOLS] };
        let windows = dataset.data_params().train_windows.min(COUNTED_WINDOWS);
        for window in 0..windows {
            bigrams.add(&dataset.train_window(window)?);
        }
        Ok(bigrams)
    }

    fn add(&mut self, tokens: &[u32]) {
        for (a, b) in tokens.iter().zip(tokens.iter().skip(1)) {
            if let Some(count) = self.pairs.get_mut(pair(*a, *b)) {
                *count = count.saturating_add(1);
            }
            if let Some(count) = usize::try_from(*a).ok().and_then(|a| self.singles.get_mut(a)) {
                *count = count.saturating_add(1);
            }
        }
    }

    /// Mean bits of each target given its input, with one count added to each pair.
    #[must_use]
    pub fn mean_bits(&self, inputs: &[u32], targets: &[u32]) -> f64 {
        let total: u128 = inputs.iter().zip(targets).map(|(a, b)| u128::from(self.bits_q32(*a, *b))).sum();
        let count = u128::try_from(inputs.len().min(targets.len())).unwrap_or(1).max(1);
        // Q32 to f64: exact, since a mean of bits below 2^21 in Q32 has at most 53 significant bits.
        (total / count) as f64 / 4_294_967_296.0
    }

    fn bits_q32(&self, a: u32, b: u32) -> u64 {
        let count = |found: Option<&u32>| u128::from(found.copied().unwrap_or(0));
        let seen = count(self.pairs.get(pair(a, b))) + 1;
        let of = count(usize::try_from(a).ok().and_then(|a| self.singles.get(a))) + SYMBOLS as u128;
        let fraction = mul_div(seen, 1 << 64, of).unwrap_or(1);
        neg_log2_q32(u64::try_from(fraction).unwrap_or(u64::MAX))
    }
}

fn pair(a: u32, b: u32) -> usize {
    usize::try_from(a)
        .unwrap_or(SYMBOLS)
        .saturating_mul(SYMBOLS)
        .saturating_add(usize::try_from(b).unwrap_or(SYMBOLS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_that_was_seen_often_is_easier_than_one_that_never_was() {
        let mut bigrams = Bigrams { pairs: vec![0; SYMBOLS * SYMBOLS], singles: vec![0; SYMBOLS] };
        bigrams.add(&[1, 2, 1, 2, 1, 2, 1, 2]);
        assert!(bigrams.mean_bits(&[1], &[2]) < bigrams.mean_bits(&[1], &[3]));
        // 4 pairs (1, 2) among 4 ones: (4 + 1) / (4 + 256) = 1/52, 5.70 bits.
        assert!((bigrams.mean_bits(&[1], &[2]) - 5.700_439_7).abs() < 1e-6);
    }
}
