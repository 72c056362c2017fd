//! Looking up a key in a proof of a Substrate state trie (base-16, both value layouts).
//!
//! Every node is found by its hash, so a node that was altered is a node that is missing. Written
//! here because the SDK's own reader would bring the whole SDK into the explorer.

use std::collections::HashMap;

use codec::{Compact, Decode};

use super::proof::blake2_256;

/// Why a proof shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrieError {
    /// A node on the way is not in the proof, or was altered.
    #[error("the proof lacks a node on the way to the value, or one was altered")]
    Missing,
    /// A node is no node.
    #[error("a node of the proof does not decode")]
    Malformed,
}

/// A node's value.
enum Value<'a> {
    Inline(&'a [u8]),
    Hashed([u8; 32]),
}

/// A decoded node: nibbles on the way, its value, its children by nibble.
struct Node<'a> {
    partial: Vec<u8>,
    value: Option<Value<'a>>,
    children: HashMap<u8, &'a [u8]>,
}

/// The value under `key` in the state with root `root`; `None` if the proof shows that there is none.
///
/// # Errors
/// [`TrieError`] where the proof shows neither.
pub fn lookup(root: &[u8; 32], nodes: &[Vec<u8>], key: &[u8]) -> Result<Option<Vec<u8>>, TrieError> {
    let by_hash: HashMap<[u8; 32], &[u8]> =
        nodes.iter().map(|node| (blake2_256(node), node.as_slice())).collect();
    let find = |hash: &[u8; 32]| by_hash.get(hash).copied().ok_or(TrieError::Missing);
    let nibbles: Vec<u8> = key.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]).collect();
    let (mut rest, mut bytes) = (nibbles.as_slice(), find(root)?);
    // Each turn uses up at least one nibble, so there are no more turns than nibbles.
    loop {
        let Some(node) = decode(bytes)? else { return Ok(None) };
        let Some(after) = rest.strip_prefix(node.partial.as_slice()) else { return Ok(None) };
        let Some((next, after)) = after.split_first() else {
            return match node.value {
                None => Ok(None),
                Some(Value::Inline(value)) => Ok(Some(value.to_vec())),
                Some(Value::Hashed(hash)) => find(&hash).map(|value| Some(value.to_vec())),
            };
        };
        let Some(child) = node.children.get(next) else { return Ok(None) };
        bytes = match <[u8; 32]>::try_from(*child) {
            Ok(hash) => find(&hash)?,
            Err(_) => child,
        };
        rest = after;
    }
}

/// Reads a node; `None` for the empty trie.
fn decode(bytes: &[u8]) -> Result<Option<Node<'_>>, TrieError> {
    let mut input = bytes;
    let first = take(&mut input, 1)?[0];
    // Two bits for plain leaf and branches, more for those whose value is stored by hash.
    let (leaf, has_value, hashed, bits) = match first {
        0 => return Ok(None),
        _ if first >> 6 == 0b01 => (true, true, false, 6),
        _ if first >> 6 == 0b10 => (false, false, false, 6),
        _ if first >> 6 == 0b11 => (false, true, false, 6),
        _ if first >> 5 == 0b001 => (true, true, true, 5),
        _ if first >> 4 == 0b0001 => (false, true, true, 4),
        _ => return Err(TrieError::Malformed),
    };
    let partial = partial(&mut input, first & ((1 << bits) - 1), (1 << bits) - 1)?;
    let bitmap = if leaf { 0 } else { u16::from_le_bytes(array(take(&mut input, 2)?)?) };
    let value = match (has_value, hashed) {
        (false, _) => None,
        (true, true) => Some(Value::Hashed(array(take(&mut input, 32)?)?)),
        (true, false) => Some(Value::Inline(sized(&mut input)?)),
    };
    let mut children = HashMap::new();
    for nibble in (0u8..16).filter(|nibble| bitmap >> nibble & 1 == 1) {
        children.insert(nibble, sized(&mut input)?);
    }
    if input.is_empty() {
        Ok(Some(Node { partial, value, children }))
    } else {
        Err(TrieError::Malformed)
    }
}

/// The nibbles of a node: their count in the header byte and those after it, then two to a byte.
fn partial(input: &mut &[u8], start: u8, full: u8) -> Result<Vec<u8>, TrieError> {
    let mut count = usize::from(start);
    if start == full {
        loop {
            let more = take(input, 1)?[0];
            count += usize::from(more);
            if more < u8::MAX {
                break;
            }
        }
    }
    let bytes = take(input, count.div_ceil(2))?;
    let nibbles: Vec<u8> = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]).collect();
    // An odd count leaves the first half byte empty.
    let (padding, nibbles) = nibbles.split_at(count % 2);
    if padding.iter().all(|nibble| *nibble == 0) {
        Ok(nibbles.to_vec())
    } else {
        Err(TrieError::Malformed)
    }
}

fn take<'a>(input: &mut &'a [u8], count: usize) -> Result<&'a [u8], TrieError> {
    let (taken, rest) = input.split_at_checked(count).ok_or(TrieError::Malformed)?;
    *input = rest;
    Ok(taken)
}

fn sized<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], TrieError> {
    let length = Compact::<u32>::decode(input).map_err(|_| TrieError::Malformed)?.0;
    take(input, usize::try_from(length).unwrap_or(usize::MAX))
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], TrieError> {
    bytes.try_into().map_err(|_| TrieError::Malformed)
}
