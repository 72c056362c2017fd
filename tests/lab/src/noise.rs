//! Seeded noise of the simulated world. Rules draw from `iota_protocol::seed`; this is everything
//! that rules do not decide: losses, links, faults.

use iota_protocol::ids::Hash;
use iota_protocol::seed::derive;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, StandardNormal};

/// A stream of numbers that is the same on every machine and for ever (ChaCha8 is value-stable).
pub struct Noise(ChaCha8Rng);

impl Noise {
    /// The stream of one purpose in one seeded run.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self(ChaCha8Rng::from_seed(derive(&Hash::ZERO, purpose.as_bytes(), seed).0))
    }

    /// A normal variable.
    pub fn normal(&mut self, mean: f64, spread: f64) -> f64 {
        Normal::new(mean, spread.abs()).map_or(mean, |normal| normal.sample(&mut self.0))
    }

    /// A standard normal variable.
    pub fn standard(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.0.random::<f64>() < probability
    }

    /// A number below `n`; 0 for 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 {
            0
        } else {
            self.0.random_range(0..n)
        }
    }

    /// A number in `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        self.0.random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_and_seeds_give_streams_of_their_own() {
        let first = |seed, purpose| Noise::new(seed, purpose).uniform().to_bits();
        assert_eq!(first(1, "a"), first(1, "a"));
        assert_ne!(first(1, "a"), first(2, "a"));
        assert_ne!(first(1, "a"), first(1, "b"));
    }

    #[test]
    fn the_normal_has_its_mean_and_spread() {
        let mut noise = Noise::new(3, "normal");
        let values: Vec<f64> = (0..20_000).map(|_| noise.normal(4.5, 0.2)).collect();
        let mean = values.iter().sum::<f64>() / 20_000.0;
        let spread = (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / 20_000.0).sqrt();
        assert!((mean - 4.5).abs() < 0.006 && (spread - 0.2).abs() < 0.004, "{mean} {spread}");
    }
}
