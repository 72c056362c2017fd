//! Entries: one miner's pseudo-gradient in the code that is merged.
//!
//! `g = start − local`, in blocks of 32 values that share a scale 2^e, int8 codes rounded half to
//! even. `e` lies in a range of [`EXPONENT_STEPS`] fixed by the run, so that the integer merge in
//! `iota-protocol` is exact: what is smaller than the range flushes to zero, what is larger
//! saturates at ±127. The canonical bytes of one chunk of `merge.chunk` values are its exponents
//! (`e − exponent_min`, one byte per block) and then its codes.

pub use iota_protocol::merge::{chunk_len, EXPONENT_STEPS};
use iota_protocol::params::MergeParams;
use iota_protocol::wide;

use crate::scale::{exponent_for, max_magnitude, power_of_two, quantize, quantize_into, CodeRange, BLOCK};

/// Why an entry was not made or not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryError {
    /// Start and local weights are not of one stage.
    #[error("start has {start} values and local {local}; expected equal multiples of the chunk of {chunk}")]
    Shape {
        /// Values of the start.
        start: usize,
        /// Values of the local weights.
        local: usize,
        /// Values of one chunk.
        chunk: usize,
    },
    /// The local weights are broken.
    #[error("the pseudo-gradient is not finite in the block at value {index}; drop the local weights and take the merged ones")]
    NotFinite {
        /// First value of the block.
        index: usize,
    },
    /// A chunk of another length.
    #[error("chunk {chunk} has {got} bytes, expected {expected}; ask another holder")]
    ChunkLength {
        /// Which chunk.
        chunk: usize,
        /// Bytes of a chunk.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// A byte that no encoder writes.
    #[error("byte {offset} of chunk {chunk} is {byte:#04x}, which no encoder writes; refuse the entry")]
    Byte {
        /// Which chunk.
        chunk: usize,
        /// Position within the chunk.
        offset: usize,
        /// Its value.
        byte: u8,
    },
}

/// An encoded pseudo-gradient over the padded buffer of a stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// `e − exponent_min` of each block, 0 to 19.
    pub exponents: Vec<u8>,
    /// Codes, −127 to 127, 32 for each exponent.
    pub codes: Vec<i8>,
    chunk: usize,
}

/// Encodes `start − local`, both of the stage's padded length.
///
/// # Errors
/// [`EntryError::Shape`] and [`EntryError::NotFinite`].
pub fn encode_entry(start: &[f32], local: &[f32], merge: &MergeParams) -> Result<Entry, EntryError> {
    let chunk = merge.chunk as usize;
    if start.len() != local.len() || !start.len().is_multiple_of(chunk) {
        return Err(EntryError::Shape { start: start.len(), local: local.len(), chunk });
    }
    let blocks = start.len() / BLOCK;
    let mut entry =
        Entry { exponents: Vec::with_capacity(blocks), codes: Vec::with_capacity(start.len()), chunk };
    for (index, (start, local)) in start.chunks(BLOCK).zip(local.chunks(BLOCK)).enumerate() {
        let mut g = [0.0f32; BLOCK];
        g.iter_mut().zip(start.iter().zip(local)).for_each(|(g, (start, local))| *g = start - local);
        entry.push_block(&g, merge).ok_or(EntryError::NotFinite { index: index * BLOCK })?;
    }
    Ok(entry)
}

/// Canonical bytes of all chunks of `start − local`, one after the other: those of [`encode_entry`].
///
/// # Errors
/// [`EntryError::Shape`] and [`EntryError::NotFinite`].
pub fn encode_chunks(start: &[f32], local: &[f32], merge: &MergeParams) -> Result<Vec<u8>, EntryError> {
    let chunk = merge.chunk as usize;
    if start.len() != local.len() || chunk == 0 || !start.len().is_multiple_of(chunk) {
        return Err(EntryError::Shape { start: start.len(), local: local.len(), chunk });
    }
    let mut bytes = vec![0; start.len() / chunk * chunk_len(merge)];
    let values = start.chunks_exact(chunk).zip(local.chunks_exact(chunk));
    for (index, (out, (start, local))) in bytes.chunks_exact_mut(chunk_len(merge)).zip(values).enumerate() {
        encode_chunk(start, local, merge, out)
            .map_err(|block| EntryError::NotFinite { index: index * chunk + block * BLOCK })?;
    }
    Ok(bytes)
}

wide! {
    /// Canonical bytes of one chunk. The error is the block with a value that is not finite.
    fn encode_chunk(start: &[f32], local: &[f32], merge: &MergeParams, out: &mut [u8]) -> Result<(), usize> {
        let (exponents, codes) = out.split_at_mut(start.len() / BLOCK);
        let blocks = start.as_chunks::<BLOCK>().0.iter().zip(local.as_chunks::<BLOCK>().0);
        let places = exponents.iter_mut().zip(codes.as_chunks_mut::<BLOCK>().0);
        for (block, ((exponent, codes), (start, local))) in places.zip(blocks).enumerate() {
            *exponent = encode_block(start, local, merge, codes).ok_or(block)?;
        }
        Ok(())
    }
}

/// Codes of one block of `start − local`, and the step of their exponent; `None` if a value is not finite.
#[inline(always)]
fn encode_block(
    start: &[f32; BLOCK],
    local: &[f32; BLOCK],
    merge: &MergeParams,
    codes: &mut [u8; BLOCK],
) -> Option<u8> {
    let mut g = [0.0f32; BLOCK];
    g.iter_mut().zip(start.iter().zip(local)).for_each(|(g, (start, local))| *g = start - local);
    let lowest = i32::from(merge.exponent_min);
    let e = exponent_for(max_magnitude(&g)?, CodeRange::Int8);
    let step = u8::try_from(e.saturating_sub(lowest).max(0)).unwrap_or(u8::MAX).min(EXPONENT_STEPS - 1);
    quantize_into(&g, lowest + i32::from(step), CodeRange::Int8, codes);
    // A block of zeros has one spelling, whatever it was flushed from.
    Some(if *codes == [0; BLOCK] { 0 } else { step })
}

/// Values of merged bytes: whole chunks in order, appended to `out`.
///
/// # Errors
/// [`EntryError::ChunkLength`] and [`EntryError::Byte`].
pub fn decode_merged(bytes: &[u8], merge: &MergeParams, out: &mut Vec<f32>) -> Result<(), EntryError> {
    for (index, chunk) in bytes.chunks(chunk_len(merge)).enumerate() {
        let (exponents, codes) = split_chunk(index, chunk, merge)?;
        for (exponent, block) in exponents.iter().zip(codes.as_chunks::<BLOCK>().0) {
            let scale = power_of_two(i32::from(merge.exponent_min) + i32::from(*exponent));
            out.extend_from_slice(&block.map(|code| f32::from(code.cast_signed()) * scale));
        }
    }
    Ok(())
}

impl Entry {
    /// Reads an entry from all its chunks in order.
    ///
    /// # Errors
    /// [`EntryError::ChunkLength`] and [`EntryError::Byte`].
    pub fn from_chunks<'a>(
        chunks: impl IntoIterator<Item = &'a [u8]>,
        merge: &MergeParams,
    ) -> Result<Self, EntryError> {
        let mut entry = Self { exponents: Vec::new(), codes: Vec::new(), chunk: merge.chunk as usize };
        for (index, chunk) in chunks.into_iter().enumerate() {
            let (exponents, codes) = split_chunk(index, chunk, merge)?;
            entry.exponents.extend_from_slice(exponents);
            entry.codes.extend(codes.iter().map(|code| code.cast_signed()));
        }
        Ok(entry)
    }

    /// Number of chunks.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.codes.len() / self.chunk
    }

    /// Canonical bytes of one chunk; empty past the last.
    #[must_use]
    pub fn chunk_bytes(&self, chunk: usize) -> Vec<u8> {
        if chunk >= self.chunks() {
            return Vec::new();
        }
        let blocks = self.chunk / BLOCK;
        let exponents = &self.exponents[chunk * blocks..(chunk + 1) * blocks];
        let codes = &self.codes[chunk * self.chunk..(chunk + 1) * self.chunk];
        let mut bytes = Vec::with_capacity(blocks + self.chunk);
        bytes.extend_from_slice(exponents);
        bytes.extend(codes.iter().map(|code| code.cast_unsigned()));
        bytes
    }

    /// Appends one block; `None` if a value is not finite.
    fn push_block(&mut self, g: &[f32; BLOCK], merge: &MergeParams) -> Option<()> {
        let magnitude = max_magnitude(g)?;
        let lowest = i32::from(merge.exponent_min);
        let highest = lowest + i32::from(EXPONENT_STEPS) - 1;
        let e = exponent_for(magnitude, CodeRange::Int8).clamp(lowest, highest);
        let first = self.codes.len();
        quantize(g, e, CodeRange::Int8, |code| self.codes.push(code));
        // A block of zeros has one spelling, whatever it was flushed from.
        let zero = self.codes[first..].iter().all(|code| *code == 0);
        let step = if zero { 0 } else { e - lowest };
        self.exponents.push(u8::try_from(step).expect("the exponent was clamped to 20 steps; qed"));
        Some(())
    }
}

/// Exponents and codes of one chunk, checked.
pub(crate) fn split_chunk<'a>(
    index: usize,
    bytes: &'a [u8],
    merge: &MergeParams,
) -> Result<(&'a [u8], &'a [u8]), EntryError> {
    let expected = chunk_len(merge);
    if bytes.len() != expected {
        return Err(EntryError::ChunkLength { chunk: index, expected, got: bytes.len() });
    }
    let (exponents, codes) = bytes.split_at(merge.chunk as usize / BLOCK);
    let refuse = |offset: usize| EntryError::Byte { chunk: index, offset, byte: bytes[offset] };
    if let Some(position) = exponents.iter().position(|e| *e >= EXPONENT_STEPS) {
        return Err(refuse(position));
    }
    // Looking for one byte takes a fraction of the time of looking for its place.
    if codes.contains(&0x80) {
        let position = codes.iter().position(|code| *code == 0x80).unwrap_or(0);
        return Err(refuse(exponents.len() + position));
    }
    Ok((exponents, codes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn merge() -> MergeParams {
        crate::presets::tests::nano(1).merge
    }

    fn values(entry: &Entry, merge: &MergeParams) -> Vec<f32> {
        let mut out = Vec::new();
        let bytes: Vec<u8> = (0..entry.chunks()).flat_map(|chunk| entry.chunk_bytes(chunk)).collect();
        decode_merged(&bytes, merge, &mut out).unwrap();
        out
    }

    fn encode_first(g: f32) -> (Entry, f32) {
        let merge = merge();
        let zeros = vec![0.0; merge.chunk as usize];
        let mut start = zeros.clone();
        start[0] = g;
        let entry = encode_entry(&start, &zeros, &merge).unwrap();
        assert_eq!(encode_chunks(&start, &zeros, &merge).unwrap(), entry.chunk_bytes(0));
        let value = values(&entry, &merge)[0];
        (entry, value)
    }

    #[test]
    fn values_outside_the_range_flush_or_saturate() {
        let lowest = 2f32.powi(-24);
        assert_eq!(encode_first(0.4 * lowest).1, 0.0);
        assert_eq!(encode_first(0.4 * lowest).0.exponents[0], 0);
        assert_eq!(encode_first(-3.0 * lowest).1, -3.0 * lowest);
        let (entry, value) = encode_first(1e6);
        assert_eq!((entry.exponents[0], entry.codes[0]), (19, 127));
        assert_eq!(value, 127.0 * 2f32.powi(-5));
    }

    #[test]
    fn chunks_hold_exponents_then_codes() {
        let (entry, _) = encode_first(127.0 * 2f32.powi(-20));
        let bytes = entry.chunk_bytes(0);
        assert_eq!(bytes.len(), chunk_len(&merge()));
        assert_eq!((bytes[0], bytes[merge().chunk as usize / BLOCK]), (4, 127));
        assert!(entry.chunk_bytes(1).is_empty());
    }

    #[test]
    fn broken_weights_and_bytes_are_refused() {
        let merge = merge();
        let zeros = vec![0.0; merge.chunk as usize];
        let mut broken = zeros.clone();
        broken[40] = f32::NAN;
        assert_eq!(encode_entry(&zeros, &broken, &merge), Err(EntryError::NotFinite { index: 32 }));
        assert_eq!(encode_chunks(&zeros, &broken, &merge), Err(EntryError::NotFinite { index: 32 }));
        assert!(matches!(encode_entry(&zeros, &zeros[1..], &merge), Err(EntryError::Shape { .. })));
        assert!(matches!(encode_chunks(&zeros, &zeros[1..], &merge), Err(EntryError::Shape { .. })));
        let mut bytes = encode_entry(&zeros, &zeros, &merge).unwrap().chunk_bytes(0);
        bytes[3] = 20;
        let refused = Entry::from_chunks([bytes.as_slice()], &merge);
        assert_eq!(refused, Err(EntryError::Byte { chunk: 0, offset: 3, byte: 20 }));
        bytes[3] = 0;
        *bytes.last_mut().unwrap() = 0x80;
        assert!(matches!(Entry::from_chunks([bytes.as_slice()], &merge), Err(EntryError::Byte { .. })));
        let short = Entry::from_chunks([&bytes[1..]], &merge);
        assert!(matches!(short, Err(EntryError::ChunkLength { .. })));
    }

    proptest! {
        #[test]
        fn chunks_read_back_and_errors_are_half_a_step(seed in any::<u64>(), scale in -12i32..0) {
            let merge = merge();
            let mut rng = crate::rng::Rng::new(seed);
            let mut draw = || (0..merge.chunk * 2).map(|_| rng.normal() as f32 * 2f32.powi(scale)).collect::<Vec<_>>();
            let (start, local) = (draw(), draw());
            let entry = encode_entry(&start, &local, &merge).unwrap();
            let chunks: Vec<_> = (0..entry.chunks()).map(|chunk| entry.chunk_bytes(chunk)).collect();
            prop_assert_eq!(encode_chunks(&start, &local, &merge).unwrap(), chunks.concat());
            prop_assert_eq!(&Entry::from_chunks(chunks.iter().map(Vec::as_slice), &merge).unwrap(), &entry);
            for (block, ((s, l), v)) in start.chunks(BLOCK).zip(local.chunks(BLOCK)).zip(values(&entry, &merge).chunks(BLOCK)).enumerate() {
                let step = 2f32.powi(i32::from(merge.exponent_min) + i32::from(entry.exponents[block]));
                for ((s, l), v) in s.iter().zip(l).zip(v) {
                    prop_assert!(((s - l) - v).abs() <= 0.5 * step, "{s} {l} {v} {step}");
                }
            }
        }
    }
}
