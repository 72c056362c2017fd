//! What a registration costs at a block: the price decays continuously, halving every `half_life`
//! blocks, and each registration raises it by one factor.
//!
//! The pallet stores a price and the block at which it held, and computes the rest when somebody
//! asks; no hook touches it. Everything is integer: `2^(-d / h)` is the product of those constants
//! `2^(-1/2^k)` whose binary digits are set in `d mod h` over `h`, in Q64, shifted right by `d / h`.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::fixed::mul_div;
use crate::params::PPM;

/// Largest price, smallest units: above the supply of 2.1e16, and small enough that the error of
/// the closed form, below 2^-57 of the price, stays below one unit.
pub const MAX_PRICE: u128 = 1 << 55;

/// Binary digits of the exponent's fraction that are used; an error of 2^-64 is far below a unit.
const DIGITS: usize = 64;

/// `2^(-1/2^k)` in Q64 for k = 1 to 64, each the square root of the one before, rounded down.
const ROOTS: [u64; DIGITS] = roots();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "runs in the compiler, which refuses what is out of bounds; roots are below 2^64"
)]
const fn roots() -> [u64; DIGITS] {
    let mut table = [0u64; DIGITS];
    // 2^63 is one half in Q64; its root in Q64 is the root of one half times 2^128.
    let mut square: u128 = 1 << 63;
    let mut at = 0;
    while at < DIGITS {
        square = (square << 64).isqrt();
        table[at] = square as u64;
        at += 1;
    }
    table
}

/// How the price moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct PriceParams {
    /// Never below this, so that a price of nothing cannot stick; smallest units.
    pub min: u128,
    /// Never above this; smallest units, at most [`MAX_PRICE`].
    pub max: u128,
    /// Blocks in which the price halves; 0 counts as 1.
    pub half_life: u32,
    /// Factor of one registration in millionths; above 1,000,000 it raises the price.
    pub bump_ppm: u32,
}

/// A price and the block at which it held.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Quote {
    /// Smallest units.
    pub price: u128,
    /// The block of the last registration.
    pub block: u32,
}

impl PriceParams {
    /// Whether the parameters fit together: `0 < min <= max <= MAX_PRICE`, a half-life, a factor of
    /// at least one.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        0 < self.min
            && self.min <= self.max
            && self.max <= MAX_PRICE
            && self.half_life > 0
            && self.bump_ppm >= PPM
    }

    /// What a registration costs in block `now`. A block before the quote counts as the quote's.
    #[must_use]
    pub fn price_at(&self, quote: &Quote, now: u32) -> u128 {
        let elapsed = now.saturating_sub(quote.block);
        self.clamp(decayed(quote.price, elapsed, self.half_life))
    }

    /// The quote after a registration in block `now`, rounded up so that even one unit rises.
    #[must_use]
    pub fn bumped(&self, quote: &Quote, now: u32) -> Quote {
        let (price, factor, whole) = (self.price_at(quote, now), u128::from(self.bump_ppm), u128::from(PPM));
        let up = price.saturating_mul(factor).div_ceil(whole);
        Quote { price: self.clamp(up), block: now }
    }

    fn clamp(&self, price: u128) -> u128 {
        // Not `clamp`, which panics when the bounds are crossed.
        price.min(self.max).max(self.min)
    }
}

/// `floor(value * 2^(-elapsed / half_life))`, to within one unit for values up to [`MAX_PRICE`] and
/// to within 2^-57 of the value above. Never rises with `elapsed`. A half-life of 0 counts as 1.
#[must_use]
pub fn decayed(value: u128, elapsed: u32, half_life: u32) -> u128 {
    let half_life = half_life.max(1);
    let whole = elapsed.checked_div(half_life).unwrap_or(0);
    let rest = u128::from(elapsed.checked_rem(half_life).unwrap_or(0));
    let halved = value.checked_shr(whole).unwrap_or(0);
    if rest == 0 {
        return halved;
    }
    // The fraction first and the shift last, so that only one rounding cuts units off.
    let factor = half_to(rest.wrapping_shl(64).checked_div(u128::from(half_life)).unwrap_or(0));
    let scaled = mul_div(value, u128::from(factor), 1 << 64).unwrap_or(0);
    scaled.checked_shr(whole).unwrap_or(0)
}

/// `2^(-fraction / 2^64)` in Q64 for a fraction above 0 and below 2^64, at most 64 * 2^-64 too low.
fn half_to(fraction: u128) -> u64 {
    let mut factor = u128::from(u64::MAX);
    for (digit, root) in (0..64u32).rev().zip(ROOTS) {
        if fraction.wrapping_shr(digit) & 1 == 1 {
            factor = factor.wrapping_mul(u128::from(root)) >> 64;
        }
    }
    u64::try_from(factor).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PARAMS: PriceParams = PriceParams { min: 10, max: 1_000_000, half_life: 360, bump_ppm: 1_260_000 };

    #[test]
    fn worked_example() {
        let quote = Quote { price: 1_000, block: 100 };
        assert_eq!(PARAMS.price_at(&quote, 100), 1_000);
        // 1000 / sqrt(2) = 707.1, and 1000 / 2^(1/4) = 840.9.
        assert_eq!(PARAMS.price_at(&quote, 280), 707);
        assert_eq!(PARAMS.price_at(&quote, 190), 840);
        assert_eq!(PARAMS.price_at(&quote, 460), 500);
        assert_eq!(PARAMS.price_at(&quote, 100 + 3_600), 10, "the least price, not 0.97");
        assert_eq!(PARAMS.price_at(&quote, 99), 1_000, "a block before the quote");
        assert_eq!(PARAMS.bumped(&quote, 460), Quote { price: 630, block: 460 });
    }

    #[test]
    fn registrations_in_one_block_multiply() {
        let mut quote = Quote { price: 10_000, block: 5 };
        for expected in [12_600, 15_876, 20_004, 25_206] {
            quote = PARAMS.bumped(&quote, 5);
            assert_eq!(quote.price, expected, "10,000 * 1.26^k, rounded up each time");
        }
        let costly = PriceParams { min: 1, max: MAX_PRICE, ..PARAMS };
        let top = Quote { price: MAX_PRICE, block: 5 };
        assert_eq!(costly.bumped(&top, 5), top);
        assert_eq!(costly.bumped(&Quote { price: 1, block: 5 }, 5).price, 2, "one unit rises too");
    }

    #[test]
    fn roots_square_to_each_other() {
        let mut before = 1u128 << 63;
        for root in ROOTS {
            let square = u128::from(root) * u128::from(root);
            let next = (u128::from(root) + 1) * (u128::from(root) + 1);
            assert!(square <= before << 64 && next > before << 64);
            before = u128::from(root);
        }
    }

    #[test]
    fn unsound_parameters_are_seen_and_do_not_panic() {
        let crossed = PriceParams { min: 20, max: 10, half_life: 0, bump_ppm: 0 };
        assert!(!crossed.is_sound() && PARAMS.is_sound());
        assert!(!PriceParams { max: MAX_PRICE + 1, ..PARAMS }.is_sound());
        assert!(!PriceParams { bump_ppm: PPM - 1, ..PARAMS }.is_sound());
        let _ = crossed.bumped(&Quote { price: u128::MAX, block: 0 }, u32::MAX);
    }

    /// The factor of one block in Q127, by bisection: the largest whose `half_life`-th power, taken
    /// one factor at a time, is at most one half. Knows nothing of the table above.
    fn factor_of_a_block(half_life: u32) -> u128 {
        let (mut low, mut high) = (1u128 << 126, 1u128 << 127);
        let power = |factor: u128| {
            (0..half_life).fold(1u128 << 127, |power, _| mul_div(power, factor, 1 << 127).unwrap())
        };
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if power(middle) > 1 << 126 {
                high = middle;
            } else {
                low = middle;
            }
        }
        low
    }

    /// Runs the price block by block with 70 more binary digits than it has.
    fn check_against_blocks(params: PriceParams, price: u128, blocks: u32) {
        let factor = factor_of_a_block(params.half_life);
        let quote = Quote { price, block: 0 };
        let mut precise = price << 70;
        for now in 1..=blocks {
            precise = mul_div(precise, factor, 1 << 127).unwrap();
            let expected = params.clamp(precise >> 70);
            let found = params.price_at(&quote, now);
            assert!(found.abs_diff(expected) <= 1, "{params:?} {price} at {now}: {found}, {expected}");
        }
    }

    #[test]
    fn closed_form_equals_blocks_over_a_hundred_thousand() {
        // A price that decays through 27 halvings, and one that hardly moves.
        check_against_blocks(
            PriceParams { min: 1, max: MAX_PRICE, half_life: 3_600, bump_ppm: PPM },
            MAX_PRICE,
            100_000,
        );
        check_against_blocks(
            PriceParams { min: 1, max: MAX_PRICE, half_life: 99_991, bump_ppm: PPM },
            MAX_PRICE - 1,
            100_000,
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

        #[test]
        fn closed_form_equals_blocks(half_life in 1u32..400, price in 1u128..=MAX_PRICE, min in 1u128..1_000) {
            let params = PriceParams { min, max: MAX_PRICE, half_life, bump_ppm: PPM };
            check_against_blocks(params, price, 3_000);
        }
    }

    proptest! {
        #[test]
        fn a_price_never_rises_by_waiting(value: u128, half_life in 1u32.., elapsed in 0u32..u32::MAX) {
            prop_assert!(decayed(value, elapsed, half_life) >= decayed(value, elapsed + 1, half_life));
        }

        #[test]
        fn a_price_stays_between_its_bounds(price: u128, block: u32, now: u32, half_life: u32, bump_ppm: u32) {
            let params = PriceParams { half_life, bump_ppm, ..PARAMS };
            let quote = Quote { price, block };
            for found in [params.price_at(&quote, now), params.bumped(&quote, now).price] {
                prop_assert!((params.min..=params.max).contains(&found));
            }
        }

        #[test]
        fn a_registration_never_makes_the_next_cheaper(price: u128, block: u32, now: u32, bump_ppm in PPM..) {
            let params = PriceParams { bump_ppm, ..PARAMS };
            let quote = Quote { price, block };
            prop_assert!(params.bumped(&quote, now).price >= params.price_at(&quote, now));
        }

        #[test]
        fn waiting_in_steps_loses_at_most_a_unit_a_step(value in 0u128..=MAX_PRICE, a in 0u32..10_000, b in 0u32..10_000) {
            let at_once = decayed(value, a + b, 360);
            let in_steps = decayed(decayed(value, a, 360), b, 360);
            prop_assert!(at_once.abs_diff(in_steps) <= 2, "{at_once} {in_steps}");
        }
    }
}
