//! Flat fp32 buffers as bytes, in chunks that can be fetched and verified one by one.
//!
//! Used for outer states and for states at a local step. A buffer's bytes are its values in little
//! endian; a chunk is 64 KiB of one buffer, the last one of a buffer may be shorter.

use iota_protocol::hash::{hash_parts, Domain};
use iota_protocol::ids::Hash;

use crate::host;

/// Bytes of one chunk: large enough that its 32-byte hash is nothing beside it, small enough that a
/// refused chunk costs little to fetch again.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Values of one chunk.
pub const CHUNK_VALUES: usize = CHUNK_BYTES / 4;

/// Chunks of a buffer of `values` values.
#[must_use]
pub fn chunk_count(values: usize) -> usize {
    values.div_ceil(CHUNK_VALUES)
}

/// Bytes of some values.
#[must_use]
pub fn to_bytes(values: &[f32]) -> Vec<u8> {
    host::bytes(values).into_owned()
}

/// Values of some bytes, or `None` if their number is no multiple of four.
#[must_use]
pub fn from_bytes(bytes: &[u8]) -> Option<Vec<f32>> {
    let (values, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| values.iter().map(|value| f32::from_le_bytes(*value)).collect())
}

/// Hash of one chunk at one position: a chunk cannot stand in for another.
#[must_use]
pub fn chunk_hash(domain: Domain, index: u32, bytes: &[u8]) -> Hash {
    hash_parts(domain, &[b"chunk", &index.to_le_bytes(), bytes])
}

/// Hashes of all chunks of some buffers, indexed through all of them.
#[must_use]
pub fn chunk_hashes(domain: Domain, buffers: &[&[f32]]) -> Vec<Hash> {
    let chunks = buffers.iter().flat_map(|buffer| buffer.chunks(CHUNK_VALUES));
    let hash = |(index, chunk): (u32, &[f32])| chunk_hash(domain, index, &host::bytes(chunk));
    (0u32..).zip(chunks).map(hash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_back() {
        let values = [1.0f32, -0.0, f32::MIN_POSITIVE, 3.5e37];
        assert_eq!(from_bytes(&to_bytes(&values)).unwrap(), values);
        assert_eq!(from_bytes(&[0; 5]), None);
    }

    #[test]
    fn equal_chunks_at_two_places_have_two_hashes() {
        let hashes = chunk_hashes(Domain::Weights, &[&vec![0.0; CHUNK_VALUES], &vec![0.0; CHUNK_VALUES]]);
        assert_eq!(hashes.len(), 2);
        assert_ne!(hashes[0], hashes[1]);
    }
}
