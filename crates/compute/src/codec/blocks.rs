//! The block codes: 32 values share a scale 2^e, codes are int8 or int4.
//!
//! Called by [`super::encode`] and [`super::decode_into`] only. Whole blocks go through loops over
//! arrays of fixed length without branches, which the compiler turns into vector instructions of any
//! x86-64 machine; the last, shorter block is padded with zeros. Nothing here allocates.

use iota_protocol::params::WireCodec;
use iota_protocol::wide;

use super::CodecError;
use crate::scale::{
    code_bits, exponent_for, max_magnitude, power_of_two, CodeRange, BLOCK, EXPONENT_MAX, EXPONENT_MIN,
};

/// Bytes of the codes of one block of int4.
const HALF: usize = BLOCK / 2;

wide! {
/// Encodes values, given the exact number of bytes that they take.
///
/// # Errors
/// [`CodecError::NotFinite`] with the first value of the block.
pub(super) fn encode(range: CodeRange, values: &[f32], out: &mut [u8]) -> Result<(), CodecError> {
    let (scales, codes) = out.split_at_mut(values.len().div_ceil(BLOCK));
    let width = code_bytes(range);
    let (blocks, rest) = values.as_chunks::<BLOCK>();
    let (whole_codes, rest_codes) = codes.split_at_mut(blocks.len() * width);
    let not_finite = |block: usize| CodecError::NotFinite {
        index: block * BLOCK,
        values: values.len(),
        codec: codec_of(range),
    };
    for (index, (block, codes)) in blocks.iter().zip(whole_codes.chunks_exact_mut(width)).enumerate() {
        scales[index] = encode_block(range, block, codes).ok_or_else(|| not_finite(index))?;
    }
    if !rest.is_empty() {
        let mut block = [0.0; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        let mut padded = [0u8; BLOCK];
        let scale = encode_block(range, &block, &mut padded[..width]);
        scales[blocks.len()] = scale.ok_or_else(|| not_finite(blocks.len()))?;
        rest_codes.copy_from_slice(&padded[..rest_codes.len()]);
    }
    Ok(())
}
}

wide! {
/// Decodes bytes, whose number has been checked, to values.
///
/// # Errors
/// [`CodecError::Byte`] and [`CodecError::NotFinite`].
pub(super) fn decode(range: CodeRange, bytes: &[u8], out: &mut [f32]) -> Result<(), CodecError> {
    let values = out.len();
    let (scales, codes) = bytes.split_at(values.div_ceil(BLOCK));
    let width = code_bytes(range);
    let refused = |block: usize| refusal(range, bytes, block, values);
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    let whole = blocks.len();
    for (index, (block, codes)) in blocks.iter_mut().zip(codes.chunks_exact(width)).enumerate() {
        if !decode_block(range, scales[index], codes, block) {
            return Err(refused(index));
        }
    }
    if !rest.is_empty() {
        let tail = &codes[whole * width..];
        let (mut padded, mut block) = ([0u8; BLOCK], [0.0; BLOCK]);
        padded[..tail.len()].copy_from_slice(tail);
        if !decode_block(range, scales[whole], &padded[..width], &mut block) {
            return Err(refused(whole));
        }
        // The unused half of the last byte of an odd number of int4 codes.
        if block[rest.len()..].iter().any(|value| *value != 0.0) {
            return Err(refused(whole));
        }
        rest.copy_from_slice(&block[..rest.len()]);
    }
    Ok(())
}
}

const fn code_bytes(range: CodeRange) -> usize {
    match range {
        CodeRange::Int8 => BLOCK,
        CodeRange::Int4 => HALF,
    }
}

const fn codec_of(range: CodeRange) -> WireCodec {
    match range {
        CodeRange::Int8 => WireCodec::Int8,
        CodeRange::Int4 => WireCodec::Int4,
    }
}

/// Codes of one block and its scale's byte, or `None` if a value is not finite.
#[inline(always)]
fn encode_block(range: CodeRange, block: &[f32; BLOCK], codes: &mut [u8]) -> Option<u8> {
    let e = exponent_for(max_magnitude(block)?, range);
    let inverse = power_of_two(-e);
    match range {
        CodeRange::Int8 => {
            let codes: &mut [u8; BLOCK] = codes.try_into().ok()?;
            for (code, value) in codes.iter_mut().zip(block) {
                *code = code_bits(*value, inverse) as u8;
            }
        }
        CodeRange::Int4 => {
            let codes: &mut [u8; HALF] = codes.try_into().ok()?;
            let mut bits = [0u32; BLOCK];
            bits.iter_mut().zip(block).for_each(|(bits, value)| *bits = code_bits(*value, inverse));
            for (code, pair) in codes.iter_mut().zip(bits.as_chunks::<2>().0) {
                *code = (pair[0] & 0x0f | pair[1] << 4) as u8;
            }
        }
    }
    i8::try_from(e).ok().map(i8::cast_unsigned)
}

/// Values of one block; `false` if no encoder writes such bytes or a value would be infinite.
#[inline(always)]
fn decode_block(range: CodeRange, scale: u8, codes: &[u8], block: &mut [f32; BLOCK]) -> bool {
    let e = i32::from(scale.cast_signed());
    let unit = power_of_two(e);
    let mut largest = 0.0f32;
    let forbidden = match range {
        CodeRange::Int8 => {
            let Ok(codes): Result<&[u8; BLOCK], _> = codes.try_into() else { return false };
            for (value, code) in block.iter_mut().zip(codes) {
                *value = f32::from(code.cast_signed()) * unit;
            }
            codes.iter().fold(0, |found, code| found | u8::from(*code == 0x80))
        }
        CodeRange::Int4 => {
            let Ok(codes): Result<&[u8; HALF], _> = codes.try_into() else { return false };
            for (pair, code) in block.as_chunks_mut::<2>().0.iter_mut().zip(codes) {
                let (low, high) = (code.cast_signed() << 4 >> 4, code.cast_signed() >> 4);
                *pair = [f32::from(low) * unit, f32::from(high) * unit];
            }
            codes.iter().fold(0, |found, code| found | u8::from(code & 0x0f == 0x08 || code >> 4 == 0x08))
        }
    };
    // Only the largest scales can overflow: below, 127 or 7 units are finite.
    if e > EXPONENT_MAX - 6 {
        largest = block.iter().fold(0.0, |largest, value| largest.max(value.abs()));
    }
    forbidden == 0 && (EXPONENT_MIN..=EXPONENT_MAX).contains(&e) && largest.is_finite()
}

/// Why a block was refused: the first byte that no encoder writes, else a value beyond f32.
fn refusal(range: CodeRange, bytes: &[u8], block: usize, values: usize) -> CodecError {
    let codec = codec_of(range);
    let scales = values.div_ceil(BLOCK);
    let e = i32::from(bytes[block].cast_signed());
    if !(EXPONENT_MIN..=EXPONENT_MAX).contains(&e) {
        return CodecError::Byte { offset: block, byte: bytes[block], codec };
    }
    let start = scales + block * code_bytes(range);
    let last = bytes.len().saturating_sub(1);
    let unpaired = range == CodeRange::Int4 && values % 2 == 1;
    let wrong = |(offset, byte): &(usize, &u8)| match range {
        CodeRange::Int8 => **byte == 0x80,
        CodeRange::Int4 => {
            **byte & 0x0f == 0x08 || **byte >> 4 == 0x08 || unpaired && *offset == last && **byte >> 4 != 0
        }
    };
    let codes = bytes.iter().enumerate().skip(start).take(code_bytes(range));
    match codes.into_iter().find(wrong) {
        Some((offset, byte)) => CodecError::Byte { offset, byte: *byte, codec },
        None => CodecError::NotFinite { index: block * BLOCK, values, codec },
    }
}
