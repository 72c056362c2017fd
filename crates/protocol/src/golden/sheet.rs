//! What must hold for the encoding of any message, and its hex.

use codec::{Decode, Encode};
use core::fmt::Debug;

use super::Vectors;
use crate::ids::Hash;
use crate::seed::Draw;
use crate::wire::{decode, WireError};

/// Collects hex after checking what must hold for any message.
pub struct Sheet {
    pub vectors: Vectors,
    draw: Draw,
}

impl Sheet {
    pub fn new() -> Self {
        Self { vectors: Vectors::new(), draw: Draw::new(&Hash::ZERO, b"mutations") }
    }

    pub fn add<T: Encode + Decode + PartialEq + Debug>(&mut self, name: &str, value: &T) {
        let bytes = value.encode();
        assert_eq!(decode::<T>(&bytes, bytes.len()).as_ref(), Ok(value), "{name}: round trip");
        assert_eq!(decode::<T>(&bytes, bytes.len() - 1), Err(WireError::TooLong), "{name}");
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(decode::<T>(&longer, longer.len()), Err(WireError::Trailing), "{name}");
        for end in 0..bytes.len() {
            assert_eq!(
                decode::<T>(&bytes[..end], bytes.len()),
                Err(WireError::Malformed),
                "{name}: cut at {end}"
            );
        }
        self.mutate::<T>(name, &bytes);
        self.text(name, hex::encode(bytes));
    }

    pub fn add_all<T: Encode + Decode + PartialEq + Debug>(&mut self, name: &str, values: &[T]) {
        for (index, value) in values.iter().enumerate() {
            self.add(&format!("{name}/{index}"), value);
        }
    }

    /// Broken bytes are refused, or they are another message, in its only encoding.
    fn mutate<T: Encode + Decode + PartialEq + Debug>(&mut self, name: &str, bytes: &[u8]) {
        for round in 0..2_000 {
            let mut broken = bytes.to_vec();
            for _ in 0..=round % 3 {
                let at = self.draw.index(broken.len()).unwrap();
                broken[at] = u8::try_from(self.draw.below(256)).unwrap();
            }
            if let Ok(value) = decode::<T>(&broken, bytes.len()) {
                assert_eq!(value.encode(), broken, "{name}: two encodings of one message");
            }
        }
    }

    fn text(&mut self, name: &str, text: String) {
        let before = self.vectors.insert(name.into(), text.into());
        assert_eq!(before, None, "{name} twice");
    }

    pub fn hash(&mut self, name: &str, hash: Hash) {
        self.text(name, hex::encode(hash.0));
    }
}
