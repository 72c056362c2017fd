//! The normal tail without libm, and false-discovery control.

/// `1 / sqrt(2 pi)`.
const DENSITY_AT_0: f64 = 0.398_942_280_401_432_7;
/// From here on the continued fraction converges faster than the series.
const FRACTION_FROM: f64 = 2.5;
/// Terms that bring the series below 1e-16 at `FRACTION_FROM`.
const SERIES_TERMS: u32 = 60;
/// Terms that bring the fraction's relative error below 1e-12 at `FRACTION_FROM`.
const FRACTION_TERMS: u32 = 160;

/// `exp(-x)` for `x >= 0`: halved until small, Taylor series, squared back.
fn exp_neg(x: f64) -> f64 {
    // exp(-745) is the smallest positive f64.
    if !(0.0..745.0).contains(&x) {
        return 0.0;
    }
    let (mut small, mut squarings) = (x, 0u32);
    while small > 0.5 {
        small *= 0.5;
        squarings = squarings.saturating_add(1);
    }
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..=20u32 {
        term *= -small / f64::from(k);
        sum += term;
    }
    (0..squarings).fold(sum, |value, _| value * value)
}

/// Probability that a standard normal variable is farther from 0 than `z`; 1 for NaN.
pub(super) fn two_sided_tail(z: f64) -> f64 {
    let z = z.abs();
    if z.is_nan() {
        return 1.0;
    }
    let density = DENSITY_AT_0 * exp_neg(z * z / 2.0);
    if z >= FRACTION_FROM {
        // Mills ratio: 1 / (z + 1 / (z + 2 / (z + 3 / ...))).
        let fraction = (1..=FRACTION_TERMS).rev().fold(z, |below, k| z + f64::from(k) / below);
        return 2.0 * density / fraction;
    }
    // Integral from 0 to z over the density at z: z + z^3/3 + z^5/15 + ...
    let (mut term, mut sum) = (z, z);
    for k in 1..=SERIES_TERMS {
        term *= z * z / f64::from(k.saturating_mul(2).saturating_add(1));
        sum += term;
    }
    (1.0 - 2.0 * density * sum).max(0.0)
}

/// Benjamini-Hochberg: which of these tail probabilities are discoveries at this rate.
pub(super) fn discoveries(tails: &[f64], rate: f64) -> Vec<bool> {
    let mut sorted = tails.to_vec();
    sorted.sort_by(f64::total_cmp);
    let tests = super::count(tails.len());
    let mut limit = None;
    for (rank, tail) in (1..=u32::MAX).zip(&sorted) {
        if *tail <= rate * f64::from(rank) / tests {
            limit = Some(*tail);
        }
    }
    tails.iter().map(|tail| limit.is_some_and(|limit| *tail <= limit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_agrees_with_tables() {
        for (z, expected) in [
            (0.0, 1.0),
            (0.5, 0.617_075_077_451_973_8),
            (1.0, 0.317_310_507_862_914_15),
            (1.959_963_984_540_054, 0.05),
            (2.5, 0.012_419_330_651_552_318),
            (3.5, 4.652_581_580_710_501_4e-4),
            (6.0, 1.973_175_290_075_403e-9),
            (20.0, 5.507_248_237_212_467e-89),
        ] {
            let tail = two_sided_tail(z);
            assert!((tail - expected).abs() <= expected * 1e-9, "{z}: {tail} {expected}");
            assert_eq!(tail, two_sided_tail(-z));
        }
        assert_eq!(two_sided_tail(f64::NAN), 1.0);
        assert_eq!(two_sided_tail(f64::INFINITY), 0.0);
    }

    #[test]
    fn tail_falls_across_the_seam() {
        let mut last = 1.0;
        for step in 1..800u32 {
            let tail = two_sided_tail(f64::from(step) / 100.0);
            assert!(tail < last, "{step}");
            last = tail;
        }
    }

    #[test]
    fn worked_discoveries() {
        // Limits are 0.01, 0.02, 0.03, 0.04, 0.05: the third passes and takes the second with it.
        let tails = [0.5, 0.025, 0.005, 0.028, 0.9];
        assert_eq!(discoveries(&tails, 0.05), [false, true, true, true, false]);
        assert_eq!(discoveries(&[0.02, 0.5], 0.02), [false, false]);
        assert!(discoveries(&[], 0.05).is_empty());
    }
}
