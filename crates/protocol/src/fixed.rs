//! Integer arithmetic that plain operators cannot do: products wider than 128 bits and logarithms.

/// `floor(a * b / divisor)` with a 256-bit product; `None` if `divisor` is 0 or the result does not
/// fit.
#[must_use]
pub fn mul_div(a: u128, b: u128, divisor: u128) -> Option<u128> {
    mul_div_rem(a, b, divisor).map(|(quotient, _)| quotient)
}

/// Quotient and remainder of `a * b / divisor` with a 256-bit product; `None` if `divisor` is 0 or
/// the quotient does not fit.
#[must_use]
pub fn mul_div_rem(a: u128, b: u128, divisor: u128) -> Option<(u128, u128)> {
    let (high, low) = widening_mul(a, b);
    if high == 0 {
        return low.checked_div(divisor).zip(low.checked_rem(divisor));
    }
    (high < divisor).then(|| long_division(high, low, divisor))
}

/// The product as (high, low) 128-bit halves.
fn widening_mul(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    // All factors are below 2^64, so no product or sum below can pass 2^128.
    let (a1, a0) = (a >> 64, a & LOW);
    let (b1, b0) = (b >> 64, b & LOW);
    let low = a0.wrapping_mul(b0);
    let middle = a1.wrapping_mul(b0).wrapping_add(low >> 64);
    let cross = a0.wrapping_mul(b1).wrapping_add(middle & LOW);
    let high = a1.wrapping_mul(b1).wrapping_add(middle >> 64).wrapping_add(cross >> 64);
    (high, (cross << 64) | (low & LOW))
}

/// Schoolbook division, one bit at a time; needs `high < divisor`.
fn long_division(high: u128, low: u128, divisor: u128) -> (u128, u128) {
    let mut rest = high;
    let mut quotient = 0u128;
    for shift in (0..u128::BITS).rev() {
        let carried = rest >> 127 == 1;
        rest = (rest << 1) | (low.wrapping_shr(shift) & 1);
        quotient <<= 1;
        if carried || rest >= divisor {
            rest = rest.wrapping_sub(divisor);
            quotient |= 1;
        }
    }
    (quotient, rest)
}

/// `floor(sqrt(value))`.
#[must_use]
pub fn isqrt_u128(value: u128) -> u128 {
    value.isqrt()
}

/// Fraction digits of [`neg_log2_q32`].
const LOG_DIGITS: u32 = 32;

/// `-log2(u / 2^64)` in Q32 fixed point, never increasing in `u`; `u = 0` counts as 1.
///
/// The logarithm of `u` is found digit by digit: the mantissa (Q63, in [1, 2)) is squared with its
/// low bits cut off, and each passing of 2 is a binary digit 1. So `log2(u)` is rounded down, by
/// less than 2^-31, and the result up by the same.
#[must_use]
pub fn neg_log2_q32(u: u64) -> u64 {
    let u = u.max(1);
    let zeros = u.leading_zeros();
    let mut mantissa = u.wrapping_shl(zeros);
    let mut log = u64::from(63u32.saturating_sub(zeros));
    for _ in 0..LOG_DIGITS {
        let square = u128::from(mantissa).wrapping_mul(u128::from(mantissa));
        let digit = square >> 127 == 1;
        let cut = if digit { square >> 64 } else { square >> 63 };
        mantissa = u64::try_from(cut).unwrap_or(u64::MAX);
        log = (log << 1) | u64::from(digit);
    }
    (64u64 << LOG_DIGITS).saturating_sub(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn worked_products() {
        assert_eq!(mul_div(7, 3, 2), Some(10));
        assert_eq!(mul_div(u128::MAX, u128::MAX, u128::MAX), Some(u128::MAX));
        assert_eq!(mul_div(u128::MAX, 2, 1), None);
        assert_eq!(mul_div(1, 1, 0), None);
        assert_eq!(mul_div(u128::MAX, 2, 0), None);
        assert_eq!(mul_div_rem(1 << 100, 1 << 100, 1 << 73), Some((1 << 127, 0)));
        assert_eq!(
            mul_div_rem(u128::MAX, 10, 11),
            Some((u128::MAX / 11 * 10 + u128::MAX % 11 * 10 / 11, u128::MAX % 11 * 10 % 11))
        );
    }

    #[test]
    fn logarithms_of_powers_of_two_are_exact() {
        for bit in 0..64u32 {
            assert_eq!(neg_log2_q32(1 << bit), u64::from(64 - bit) << 32);
        }
        assert_eq!(neg_log2_q32(0), 64 << 32);
    }

    #[test]
    fn logarithms_agree_with_floating_point() {
        for u in [3u64, 5, 1_000_003, u64::MAX / 3, u64::MAX / 3 * 2, u64::MAX - 5] {
            let exact = 64.0 - (u as f64).log2();
            let fixed = neg_log2_q32(u) as f64 / 4_294_967_296.0;
            assert!((exact - fixed).abs() < 1e-9, "{u}: {exact} {fixed}");
        }
    }

    proptest! {
        #[test]
        fn quotient_and_remainder_rebuild_the_product(a: u128, b: u128, divisor in 1u128..) {
            if let Some((quotient, rest)) = mul_div_rem(a, b, divisor) {
                prop_assert!(rest < divisor);
                let (high, low) = widening_mul(quotient, divisor);
                let (sum, carry) = low.overflowing_add(rest);
                prop_assert_eq!((high + u128::from(carry), sum), widening_mul(a, b));
            } else {
                prop_assert!(widening_mul(a, b).0 >= divisor);
            }
        }

        #[test]
        fn logarithm_never_increases(a: u64, b: u64) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(neg_log2_q32(low) >= neg_log2_q32(high));
        }

        #[test]
        fn logarithm_never_increases_between_neighbours(a in 0u64..u64::MAX) {
            prop_assert!(neg_log2_q32(a) >= neg_log2_q32(a + 1));
        }
    }
}
