//! A writer of small state tries, and what the reader makes of them.

use codec::{Compact, Encode};

use crate::audit::proof::blake2_256;
use crate::audit::trie::{lookup, TrieError};

/// Values longer than this are stored by hash.
const INLINE: usize = 32;

/// A trie with all its nodes.
pub struct Trie {
    pub root: [u8; 32],
    pub nodes: Vec<Vec<u8>>,
}

type Entry = (Vec<u8>, Vec<u8>);

impl Trie {
    pub fn build(entries: Vec<Entry>) -> Self {
        let nibbles = |key: &[u8]| key.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect();
        let entries = entries.into_iter().map(|(key, value)| (nibbles(&key), value)).collect();
        let mut nodes = Vec::new();
        let root = node(entries, &mut nodes);
        let hash = blake2_256(&root);
        nodes.push(root);
        Self { root: hash, nodes }
    }
}

fn node(mut entries: Vec<Entry>, nodes: &mut Vec<Vec<u8>>) -> Vec<u8> {
    entries.sort();
    let first = entries[0].0.clone();
    let last = &entries[entries.len() - 1].0;
    let shared = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    let own = entries.iter().find(|(key, _)| key.len() == shared).map(|(_, value)| value.clone());
    let below: Vec<Entry> = entries.into_iter().filter(|(key, _)| key.len() > shared).collect();
    let hashed = own.as_ref().is_some_and(|value| value.len() > INLINE);
    let (prefix, bits) = match (below.is_empty(), own.is_some(), hashed) {
        (true, _, false) => (0b01 << 6, 6),
        (true, _, true) => (0b001 << 5, 5),
        (false, false, _) => (0b10 << 6, 6),
        (false, true, false) => (0b11 << 6, 6),
        (false, true, true) => (0b0001 << 4, 4),
    };
    let mut out = header(prefix, bits, &first[..shared]);
    if !below.is_empty() {
        let bitmap = below.iter().fold(0u16, |bitmap, (key, _)| bitmap | 1 << key[shared]);
        out.extend(bitmap.to_le_bytes());
    }
    match own {
        Some(value) if hashed => {
            out.extend(blake2_256(&value));
            nodes.push(value);
        }
        Some(value) => out.extend(value.encode()),
        None => {}
    }
    for nibble in 0..16 {
        let of = below.iter().filter(|(key, _)| key[shared] == nibble);
        let child: Vec<Entry> = of.map(|(key, value)| (key[shared + 1..].to_vec(), value.clone())).collect();
        if !child.is_empty() {
            let child = node(child, nodes);
            if child.len() < 32 {
                out.extend(child.encode());
            } else {
                out.extend((Compact(32u32), blake2_256(&child)).encode());
                nodes.push(child);
            }
        }
    }
    out
}

fn header(prefix: u8, bits: u8, nibbles: &[u8]) -> Vec<u8> {
    let full = (1usize << bits) - 1;
    let mut out = Vec::new();
    if nibbles.len() < full {
        out.push(prefix | u8::try_from(nibbles.len()).unwrap());
    } else {
        out.push(prefix | u8::try_from(full).unwrap());
        let mut rest = nibbles.len() - full;
        while rest >= 255 {
            out.push(255);
            rest -= 255;
        }
        out.push(u8::try_from(rest).unwrap());
    }
    let (odd, even) = nibbles.split_at(nibbles.len() % 2);
    out.extend(odd);
    out.extend(even.chunks(2).map(|pair| pair[0] << 4 | pair[1]));
    out
}

fn sample() -> (Trie, Vec<Entry>) {
    let long = |byte: u8| (vec![byte; 70], vec![byte; 100]);
    let entries = vec![
        long(1),
        long(2),
        (vec![1; 71], vec![9; 4]),
        (b"key".to_vec(), vec![5; 32]),
        (b"key and more".to_vec(), vec![6; 33]),
        (b"kez".to_vec(), Vec::new()),
    ];
    (Trie::build(entries.clone()), entries)
}

#[test]
fn what_is_stored_is_found_and_what_is_not_is_shown_to_be_absent() {
    let (trie, entries) = sample();
    for (key, value) in &entries {
        assert_eq!(lookup(&trie.root, &trie.nodes, key), Ok(Some(value.clone())), "{key:?}");
    }
    for key in [b"ke".as_slice(), b"key ", b"kf", b"", &[1; 69], &[3; 70]] {
        assert_eq!(lookup(&trie.root, &trie.nodes, key), Ok(None), "{key:?}");
    }
}

#[test]
fn an_altered_or_missing_node_shows_nothing() {
    let (trie, entries) = sample();
    for at in 0..trie.nodes.len() {
        let mut nodes = trie.nodes.clone();
        nodes[at][0] ^= 1;
        let failed =
            entries.iter().filter(|(key, _)| lookup(&trie.root, &nodes, key) == Err(TrieError::Missing));
        assert!(failed.count() > 0, "node {at}");
    }
    assert_eq!(lookup(&[0; 32], &trie.nodes, b"key"), Err(TrieError::Missing));
}

#[test]
fn bytes_that_are_no_node_are_refused() {
    for node in [vec![0x7f], vec![0x80, 1], vec![0x41, 0x10], vec![0x08], vec![0x40, 4, 1, 2]] {
        let root = blake2_256(&node);
        assert_eq!(lookup(&root, std::slice::from_ref(&node), b"k"), Err(TrieError::Malformed), "{node:?}");
    }
}
