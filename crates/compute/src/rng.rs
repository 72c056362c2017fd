//! Random numbers that are the same on every machine: initial weights and sampling of text.
//!
//! SplitMix64 with integer-only shaping; libtorch's generator differs between versions and devices.

/// A stream of pseudo-random numbers; not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: u64,
}

/// Uniforms that are summed to one normal: their variance is then exactly one.
const SUMMANDS: u64 = 12;

impl Rng {
    /// A stream that is fixed by its seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1), 53 bits.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Mean 0, variance 1, within ±6: the sum of twelve uniforms, added as integers and so exact.
    pub(crate) fn normal(&mut self) -> f64 {
        let mut sum = 0u64;
        for _ in 0..SUMMANDS / 2 {
            let bits = self.next();
            sum += (bits >> 32) + (bits & 0xffff_ffff);
        }
        (sum as f64 - (SUMMANDS << 31) as f64) / (1u64 << 32) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_has_mean_zero_and_variance_one() {
        let mut rng = Rng::new(7);
        let draws: Vec<f64> = (0..200_000).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        // Standard errors are 0.0022 and 0.0030.
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.015, "{mean} {variance}");
    }

    #[test]
    fn stream_is_the_published_splitmix() {
        let mut rng = Rng::new(0);
        assert_eq!([rng.next(), rng.next()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }
}
