//! Power-of-two block scales in exact integer and IEEE arithmetic.
//!
//! Shared by the wire codec and by entries. No function of a maths library is called, so that every
//! machine computes the same codes from the same values.

/// Values that share one scale (`iota_protocol::params::CODE_BLOCK`).
pub(crate) const BLOCK: usize = iota_protocol::params::CODE_BLOCK as usize;

/// Smallest exponent of a scale: 2^-126 is the smallest normal f32, and its inverse is one too.
pub(crate) const EXPONENT_MIN: i32 = -126;
/// Largest exponent that a finite f32 can ask for: 2^127 with codes up to 7.
pub(crate) const EXPONENT_MAX: i32 = 126;

const MANTISSA_BITS: u32 = 23;
const MANTISSA_MASK: u32 = (1 << MANTISSA_BITS) - 1;
const INFINITY_BITS: u32 = 0x7f80_0000;

/// Range of a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CodeRange {
    /// −127 to 127.
    Int8,
    /// −7 to 7.
    Int4,
}

impl CodeRange {
    /// Largest code.
    pub(crate) const fn top(self) -> i8 {
        match self {
            Self::Int8 => 127,
            Self::Int4 => 7,
        }
    }

    /// `top` as a float: its exponent and mantissa bits.
    const fn top_parts(self) -> (i32, u32) {
        match self {
            Self::Int8 => (6, 0x7e_0000), // 127 = 1.984375 * 2^6
            Self::Int4 => (2, 0x60_0000), // 7 = 1.75 * 2^2
        }
    }
}

/// Bits of the largest magnitude of a block, or `None` if a value is infinite or not a number.
#[inline(always)]
pub(crate) fn max_magnitude(block: &[f32]) -> Option<u32> {
    // As signed integers: every machine compares those in vectors, and without the sign bit the order
    // of floats is the order of their bits.
    let bits = |value: &f32| (value.to_bits() & !(1 << 31)).cast_signed();
    let largest = block.iter().map(bits).fold(0, i32::max).cast_unsigned();
    (largest < INFINITY_BITS).then_some(largest)
}

/// Smallest `e`, at least [`EXPONENT_MIN`], with `magnitude <= top * 2^e`.
///
/// `magnitude` is the bits of a finite value without its sign.
#[inline(always)]
pub(crate) fn exponent_for(magnitude: u32, range: CodeRange) -> i32 {
    let (top_exponent, top_mantissa) = range.top_parts();
    let exponent = (magnitude >> MANTISSA_BITS) as i32 - 127;
    let above = i32::from(magnitude & MANTISSA_MASK > top_mantissa);
    (exponent - top_exponent + above).max(EXPONENT_MIN)
}

/// 2^e for `e` from −126 to 127.
#[inline(always)]
pub(crate) fn power_of_two(e: i32) -> f32 {
    let biased = (e + 127).clamp(1, 254) as u32;
    f32::from_bits(biased << MANTISSA_BITS)
}

/// Codes of one block at scale 2^e: rounded half to even, then kept within the range.
pub(crate) fn quantize(block: &[f32], e: i32, range: CodeRange, mut emit: impl FnMut(i8)) {
    let inverse = power_of_two(-e);
    let top = f32::from(range.top());
    for value in block {
        emit((value * inverse).round_ties_even().clamp(-top, top) as i8);
    }
}

/// What [`quantize`] gives, into the bytes of the codes: without a branch or a call, so that the compiler
/// does several values at once. Keeping a value within the range first is the same as keeping its rounded
/// value, because the range ends in integers.
#[inline(always)]
pub(crate) fn quantize_into(block: &[f32; BLOCK], e: i32, range: CodeRange, codes: &mut [u8; BLOCK]) {
    let inverse = power_of_two(-e);
    let top = f32::from(range.top());
    for (code, value) in codes.iter_mut().zip(block) {
        let kept = (value * inverse).max(-top).min(top);
        *code = (kept + ROUNDER).to_bits().to_le_bytes()[0];
    }
}

/// Adding 1.5 · 2^23 leaves an integer in the low bits of a float's mantissa, rounded half to even,
/// for magnitudes below 2^22: addition rounds so, and there is no room for a fraction.
const ROUNDER: f32 = 12_582_912.0;

/// Code of `value` at the scale whose inverse is given, in the low bits, as two's complement. The
/// scale must hold the value ([`exponent_for`]), so that the code is within its range.
#[inline(always)]
pub(crate) fn code_bits(value: f32, inverse: f32) -> u32 {
    (value * inverse + ROUNDER).to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn code_bits_are_the_rounded_code(value in any::<f32>().prop_filter("finite", |v| v.is_finite())) {
            for (range, shift) in [(CodeRange::Int8, 24), (CodeRange::Int4, 28)] {
                let e = exponent(value, range);
                let mut code = 0;
                quantize(&[value], e, range, |c| code = c);
                let bits = code_bits(value, power_of_two(-e));
                prop_assert_eq!((bits << shift).cast_signed() >> shift, i32::from(code), "{} {:?}", value, range);
            }
        }
    }

    proptest! {
        #[test]
        fn codes_of_a_block_are_those_of_its_values(
            seed in proptest::array::uniform32(-300.0f32..300.0),
            e in -24i32..8,
            shift in -20i32..4,
        ) {
            for range in [CodeRange::Int8, CodeRange::Int4] {
                let block = seed.map(|value| value * power_of_two(shift));
                let mut expected = Vec::new();
                quantize(&block, e, range, |code| expected.push(code.cast_unsigned()));
                let mut codes = [0; BLOCK];
                quantize_into(&block, e, range, &mut codes);
                prop_assert_eq!(&codes[..], &expected[..]);
            }
        }
    }

    fn exponent(value: f32, range: CodeRange) -> i32 {
        exponent_for(max_magnitude(&[value]).unwrap(), range)
    }

    #[test]
    fn exponent_is_the_smallest_that_holds_the_value() {
        for range in [CodeRange::Int8, CodeRange::Int4] {
            let top = f32::from(range.top());
            for value in [1.0f32, 126.9, 127.0, 127.1, 7.0, 7.0001, 0.003, 1e-30, 3.3e37] {
                let e = exponent(value, range);
                assert!(value <= top * power_of_two(e), "{value} {range:?} {e}");
                assert!(value > top * power_of_two(e - 1), "{value} {range:?} {e}");
            }
        }
    }

    #[test]
    fn hand_worked_exponents() {
        assert_eq!(exponent(127.0, CodeRange::Int8), 0);
        assert_eq!(exponent(127.000_01, CodeRange::Int8), 1);
        assert_eq!(exponent(1.0, CodeRange::Int8), -6);
        assert_eq!(exponent(1.0, CodeRange::Int4), -2);
        assert_eq!(exponent(0.0, CodeRange::Int8), EXPONENT_MIN);
        assert_eq!(exponent(f32::MAX, CodeRange::Int8), 122);
        assert_eq!(exponent(f32::MAX, CodeRange::Int4), EXPONENT_MAX);
    }

    #[test]
    fn infinite_values_have_no_magnitude() {
        assert_eq!(max_magnitude(&[1.0, f32::NAN]), None);
        assert_eq!(max_magnitude(&[f32::NEG_INFINITY]), None);
        assert_eq!(max_magnitude(&[-2.0, 1.0]), Some(2.0f32.to_bits()));
    }
}
