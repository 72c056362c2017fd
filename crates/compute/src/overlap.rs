//! Counts of repeated text: duplicate training windows, and held-out text that training has seen.

use std::collections::{HashMap, HashSet};

/// Tokens that must agree for a held-out window to count as seen: long enough that common phrases
/// do not.
const SHARED_TOKENS: usize = 64;
/// Multiplier of the rolling hash; any odd number with well-mixed bits does, hits are compared.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Windows of `seq_len` tokens that occur before in the list of windows.
///
/// # Complexity
/// Linear in the text.
pub(crate) fn duplicates(train: &[u8], seq_len: usize) -> u64 {
    let mut seen = HashSet::new();
    train.chunks_exact(seq_len.max(1)).filter(|window| !seen.insert(*window)).count() as u64
}

/// Held-out windows whose first 64 tokens (all, if a window is shorter) occur anywhere in `train`.
///
/// # Complexity
/// Linear in the text: a rolling hash finds candidates, which are then compared.
pub(crate) fn shared(train: &[u8], heldout: &[u8], seq_len: usize) -> u64 {
    let seq_len = seq_len.max(1);
    let len = seq_len.min(SHARED_TOKENS);
    let mut wanted: HashMap<u64, Vec<&[u8]>> = HashMap::new();
    for window in heldout.chunks_exact(seq_len) {
        let start = &window[..len];
        wanted.entry(rolling(start)).or_default().push(start);
    }
    let mut found: HashSet<&[u8]> = HashSet::new();
    each_hash(train, len, |hash, here| {
        let same = wanted.get(&hash).into_iter().flatten().filter(|start| **start == here);
        found.extend(same);
    });
    heldout.chunks_exact(seq_len).filter(|window| found.contains(&window[..len])).count() as u64
}

fn rolling(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |hash: u64, byte| push(hash, *byte))
}

fn push(hash: u64, byte: u8) -> u64 {
    // One more than the byte, so that leading zeros count.
    hash.wrapping_mul(MULTIPLIER).wrapping_add(u64::from(byte) + 1)
}

/// Calls `visit` with the hash of every `len` successive bytes.
fn each_hash<'a>(text: &'a [u8], len: usize, mut visit: impl FnMut(u64, &'a [u8])) {
    let Some(first) = text.get(..len) else { return };
    let oldest = (1..len).fold(1u64, |power, _| power.wrapping_mul(MULTIPLIER));
    let mut hash = rolling(first);
    visit(hash, first);
    for (gone, window) in text.iter().zip(text.windows(len).skip(1)) {
        let without = hash.wrapping_sub(oldest.wrapping_mul(u64::from(*gone) + 1));
        hash = push(without, window[len - 1]);
        visit(hash, window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_rolls() {
        let text = b"the quick brown fox jumps over the lazy dog";
        let mut count = 0;
        each_hash(text, 7, |hash, window| {
            assert_eq!(hash, rolling(window));
            count += 1;
        });
        assert_eq!(count, text.len() - 6);
    }

    #[test]
    fn shared_text_is_found_at_any_offset() {
        let train: Vec<u8> = (0..2_000u32).map(|i| (i * i % 251) as u8).collect();
        let mut heldout = train[333..333 + 100].to_vec();
        assert_eq!(shared(&train, &heldout, 100), 1);
        assert_eq!(shared(&train, &heldout, 50), 2);
        heldout[10] ^= 1;
        assert_eq!(shared(&train, &heldout, 100), 0);
        assert_eq!(shared(&train, &[], 100), 0);
    }
}
