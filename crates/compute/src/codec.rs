//! The wire codec: values that cross a stage boundary, as bytes.
//!
//! Int8 and int4: blocks of 32 values share a scale 2^e. The bytes are all exponents (one `i8` per
//! block) and then all codes; int4 packs two codes per byte, the first in the low half. Codes are
//! rounded half to even. The last block may be shorter. Every machine writes the same bytes for the
//! same values, and there is one encoding only: what [`decode`] accepts has no second spelling of
//! its length, and its values are finite.

use half::bf16;
use iota_protocol::params::{RunParams, WireCodec};
use iota_protocol::receipt::Direction;

use crate::scale::{max_magnitude, CodeRange, BLOCK};

mod blocks;
mod token_ids;

pub use token_ids::TokenIds;

/// Why values or bytes were refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodecError {
    /// A value is infinite or not a number, or leaves the codec's range.
    #[error("value {index} of {values} is not finite in {codec:?}; the sample must be dropped")]
    NotFinite {
        /// Index of the value, or of the first value of its block.
        index: usize,
        /// Values given.
        values: usize,
        /// The codec.
        codec: WireCodec,
    },
    /// The byte count does not fit the value count.
    #[error("{values} values in {codec:?} take {expected} bytes, got {got}; refuse the message")]
    Length {
        /// Values expected.
        values: usize,
        /// The codec.
        codec: WireCodec,
        /// Bytes that they take.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// Not the token ids of one sample.
    #[error("{got} bytes of token ids, expected {expected} of ids below {vocab}, the largest is {largest}; refuse the message")]
    Tokens {
        /// Bytes expected.
        expected: usize,
        /// Bytes given.
        got: usize,
        /// Size of the vocabulary.
        vocab: u32,
        /// Largest id given, 0 where the length was wrong.
        largest: u32,
    },
    /// A byte that no encoder writes.
    #[error("byte {offset} is {byte:#04x}, which no {codec:?} encoder writes; refuse the message")]
    Byte {
        /// Position of the byte.
        offset: usize,
        /// Its value.
        byte: u8,
        /// The codec.
        codec: WireCodec,
    },
}

/// Bytes that `values` values take, scales included.
#[must_use]
pub fn encoded_len(codec: WireCodec, values: usize) -> usize {
    match codec.values() {
        WireCodec::Bf16 => values * 2,
        WireCodec::Int8 => values.div_ceil(BLOCK) + values,
        WireCodec::Int4 => values.div_ceil(BLOCK) + values.div_ceil(2),
        _ => values * 4,
    }
}

/// Writes `values` to `out`, which is cleared first; a buffer that is used again is not allocated anew.
///
/// # Errors
/// [`CodecError::NotFinite`]; `out` then holds nothing of use.
pub fn encode(codec: WireCodec, values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
    out.clear();
    out.resize(encoded_len(codec, values.len()), 0);
    match codec.values() {
        WireCodec::Bf16 => encode_bf16(values, out),
        WireCodec::Int8 => blocks::encode(CodeRange::Int8, values, out),
        WireCodec::Int4 => blocks::encode(CodeRange::Int4, values, out),
        _ => encode_f32(values, out),
    }
}

/// Reads `values` values from `bytes` to `out`, which is cleared first; a buffer that is used again is
/// not allocated anew.
///
/// # Errors
/// As [`decode_into`].
pub fn decode(codec: WireCodec, bytes: &[u8], values: usize, out: &mut Vec<f32>) -> Result<(), CodecError> {
    check_len(codec, bytes, values)?;
    out.clear();
    out.resize(values, 0.0);
    decode_into(codec, bytes, out)
}

/// Reads exactly as many values as `out` holds, for instance straight into a tensor's memory.
///
/// # Errors
/// [`CodecError::Length`] and [`CodecError::Byte`] for bytes that no encoder writes,
/// [`CodecError::NotFinite`] for values that no sender may have; `out` then holds nothing of use.
pub fn decode_into(codec: WireCodec, bytes: &[u8], out: &mut [f32]) -> Result<(), CodecError> {
    check_len(codec, bytes, out.len())?;
    match codec.values() {
        WireCodec::Bf16 => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = bf16::from_le_bytes(*bytes).to_f32();
            }
            check_finite(WireCodec::Bf16, out)
        }
        WireCodec::Int8 => blocks::decode(CodeRange::Int8, bytes, out),
        WireCodec::Int4 => blocks::decode(CodeRange::Int4, bytes, out),
        _ => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
            check_finite(WireCodec::F32, out)
        }
    }
}

fn check_len(codec: WireCodec, bytes: &[u8], values: usize) -> Result<(), CodecError> {
    let (expected, got) = (encoded_len(codec, values), bytes.len());
    if got == expected {
        Ok(())
    } else {
        Err(CodecError::Length { values, codec, expected, got })
    }
}

/// The codes of a message and the token ids after them, which most runs have none of. Neither part has
/// been checked.
#[must_use]
pub fn split(codec: WireCodec, message: &[u8], values: usize) -> (&[u8], &[u8]) {
    message.split_at(encoded_len(codec, values).min(message.len()))
}

/// Checks that a message's bytes mean something in a run: every code and every token id.
///
/// # Errors
/// As [`decode_into`]; also [`CodecError::Tokens`].
pub fn check_message(run: &RunParams, direction: Direction, message: &[u8]) -> Result<(), CodecError> {
    let (wire, values) = (run.train.wire, run.values_per_message() as usize);
    let (codes, ids) = match direction {
        Direction::Forward => split(wire, message, values),
        Direction::Backward => (message, &[][..]),
    };
    if direction == Direction::Forward {
        TokenIds::of_run(run).decode(ids)?;
    }
    decode(wire, codes, values, &mut Vec::new())
}

/// Applies the codec and undoes it: what the other side of the boundary sees.
///
/// # Errors
/// As [`encode`].
pub fn round_trip(codec: WireCodec, values: &[f32]) -> Result<Vec<f32>, CodecError> {
    let (mut bytes, mut out) = (Vec::new(), Vec::new());
    encode(codec, values, &mut bytes)?;
    decode(codec, &bytes, values.len(), &mut out)?;
    Ok(out)
}

fn check_finite(codec: WireCodec, values: &[f32]) -> Result<(), CodecError> {
    if max_magnitude(values).is_some() {
        return Ok(());
    }
    let index = values.iter().position(|value| !value.is_finite()).unwrap_or(0);
    Err(CodecError::NotFinite { index, values: values.len(), codec })
}

fn encode_f32(values: &[f32], out: &mut [u8]) -> Result<(), CodecError> {
    check_finite(WireCodec::F32, values)?;
    for (bytes, value) in out.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        *bytes = value.to_le_bytes();
    }
    Ok(())
}

fn encode_bf16(values: &[f32], out: &mut [u8]) -> Result<(), CodecError> {
    let mut finite = true;
    for (bytes, value) in out.as_chunks_mut::<2>().0.iter_mut().zip(values) {
        let rounded = bf16::from_f32(*value);
        finite &= rounded.is_finite();
        *bytes = rounded.to_le_bytes();
    }
    if finite {
        return Ok(());
    }
    let index = values.iter().position(|value| !bf16::from_f32(*value).is_finite()).unwrap_or(0);
    Err(CodecError::NotFinite { index, values: values.len(), codec: WireCodec::Bf16 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [WireCodec; 4] = [WireCodec::F32, WireCodec::Bf16, WireCodec::Int8, WireCodec::Int4];

    fn encoded(codec: WireCodec, values: &[f32]) -> Vec<u8> {
        let mut out = vec![0xff];
        encode(codec, values, &mut out).unwrap();
        out
    }

    #[test]
    fn hand_worked_bytes() {
        // The largest magnitude 1.0 asks for 2^-6 in int8: 1.0 is 64, -0.5 is -32; 0.0390625 = 2.5
        // steps and rounds half to even, to 2.
        assert_eq!(encoded(WireCodec::Int8, &[1.0, -0.5, 0.039_062_5]), [0xfa, 64, 0xe0, 2]);
        // And for 2^-2 in int4: codes 4, -2 and 0, in nibbles.
        assert_eq!(encoded(WireCodec::Int4, &[1.0, -0.5, 0.0]), [0xfe, 0xe4, 0x00]);
        assert_eq!(encoded(WireCodec::Bf16, &[1.0]), [0x80, 0x3f]);
        assert_eq!(encoded(WireCodec::F32, &[1.0]), [0, 0, 0x80, 0x3f]);
    }

    #[test]
    fn values_that_are_not_finite_are_refused() {
        for codec in ALL {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = vec![1.0; 40];
                values[35] = bad;
                let error = encode(codec, &values, &mut Vec::new()).unwrap_err();
                assert!(matches!(error, CodecError::NotFinite { .. }), "{codec:?} {error}");
            }
        }
        assert!(encode(WireCodec::Bf16, &[f32::MAX], &mut Vec::new()).is_err(), "bf16 has no such value");
    }

    #[test]
    fn bytes_that_no_encoder_writes_are_refused() {
        let check = |codec, bytes: &[u8], values| {
            let error = decode(codec, bytes, values, &mut Vec::new()).unwrap_err();
            assert!(matches!(error, CodecError::Byte { .. }), "{error}");
        };
        check(WireCodec::Int8, &[0, 0x80], 1);
        check(WireCodec::Int8, &[0x81, 1], 1); // exponent -127
        check(WireCodec::Int4, &[0, 0x08], 1);
        check(WireCodec::Int4, &[0, 0x10], 1); // a second code where one was sent
        let mut out = Vec::new();
        let overflow = decode(WireCodec::Int8, &[126, 127], 1, &mut out).unwrap_err();
        assert!(matches!(overflow, CodecError::NotFinite { .. }), "{overflow}");
        let infinite = decode(WireCodec::F32, &f32::INFINITY.to_le_bytes(), 1, &mut out).unwrap_err();
        assert!(matches!(infinite, CodecError::NotFinite { .. }), "{infinite}");
    }

    proptest! {
        #[test]
        fn error_is_at_most_half_a_step(values in prop::collection::vec(-1e6f32..1e6, 0..200)) {
            for (codec, top) in [(WireCodec::Int8, 127.0f32), (WireCodec::Int4, 7.0)] {
                let back = round_trip(codec, &values).unwrap();
                for (block, out) in values.chunks(BLOCK).zip(back.chunks(BLOCK)) {
                    let largest = block.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                    // A scale is at most twice the smallest that would hold the block.
                    let step = 2.0 * largest / top + f32::MIN_POSITIVE;
                    for (a, b) in block.iter().zip(out) {
                        prop_assert!((a - b).abs() <= 0.5 * step, "{codec:?} {a} {b} {step}");
                    }
                }
            }
        }

        #[test]
        fn codes_survive_a_second_round_trip(values in prop::collection::vec(any::<f32>(), 0..120)) {
            let values: Vec<f32> = values.into_iter().filter(|v| v.is_finite() && v.abs() < 1e38).collect();
            for codec in ALL {
                let bytes = encoded(codec, &values);
                prop_assert_eq!(bytes.len(), encoded_len(codec, values.len()));
                prop_assert_eq!(bytes.len(), iota_protocol::wire::codes_len(codec, values.len() as u32));
                let mut out = Vec::new();
                decode(codec, &bytes, values.len(), &mut out).unwrap();
                let again = round_trip(codec, &out).unwrap();
                prop_assert_eq!(
                    out.iter().map(|v| v.abs().to_bits()).collect::<Vec<_>>(),
                    again.iter().map(|v| v.abs().to_bits()).collect::<Vec<_>>()
                );
            }
        }

        #[test]
        fn raw_codec_is_exact(values in prop::collection::vec(-1e30f32..1e30, 0..50)) {
            let back = round_trip(WireCodec::F32, &values).unwrap();
            prop_assert_eq!(back, values);
        }

        #[test]
        fn wrong_length_is_refused(values in 1usize..100, delta in 1usize..5) {
            for codec in ALL {
                let right = encoded_len(codec, values);
                for wrong in [right + delta, right.saturating_sub(delta)] {
                    let error = decode(codec, &vec![0; wrong], values, &mut Vec::new()).unwrap_err();
                    prop_assert!(matches!(error, CodecError::Length { .. }), "{}", error);
                }
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), values in 0usize..100) {
            for codec in ALL {
                let mut out = Vec::new();
                if decode(codec, &bytes, values, &mut out).is_ok() {
                    prop_assert!(out.len() == values && out.iter().all(|v| v.is_finite()));
                }
            }
        }
    }
}
