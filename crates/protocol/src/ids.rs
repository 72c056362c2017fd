//! Identifiers as newtypes, so that a uid can never be passed where a stage is meant.

use alloc::string::String;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use core::fmt;
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Encode, Decode,
            DecodeWithMemTracking, MaxEncodedLen, TypeInfo, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A run: one model trained on one data set by one set of members.
    RunId(u32)
);
id!(
    /// An epoch of a run, counted from 0.
    Epoch(u32)
);
id!(
    /// A run of consecutive transformer layers, counted from the embedding.
    Stage(u16)
);
id!(
    /// A dense, reused index of a registered hotkey within a run.
    Uid(u16)
);
id!(
    /// Counts registrations within a run; never reused, so a reused uid cannot inherit.
    Incarnation(u32)
);
id!(
    /// One microbatch of an epoch: `s * N0 + rank` for the `s`-th of the stage-0 miner of that rank.
    Sample(u32)
);
id!(
    /// Counts the starts of one sample; a re-route raises it by one.
    Attempt(u8)
);
id!(
    /// Counts the local steps of one miner within an epoch: the weights that a pass ran with.
    Version(u32)
);

impl Epoch {
    /// The epoch after this one; stays at the maximum, which no run reaches.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The epoch before this one, if there is one.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }
}

impl Attempt {
    /// The attempt after this one; stays at the maximum.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode,
            DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
        )]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("0x")?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                parse_hex32(&text).map(Self).ok_or_else(|| {
                    serde::de::Error::custom("expected 64 hex digits, with or without 0x in front")
                })
            }
        }
    };
}

bytes32!(
    /// A BLAKE3 hash, a Merkle root or a block hash.
    Hash
);
bytes32!(
    /// An sr25519 public key: a hotkey or a coldkey.
    AccountKey
);

impl Hash {
    /// All zero bits: "nothing yet", never the hash of anything.
    pub const ZERO: Self = Self([0; 32]);
}

/// Reads 32 bytes from hex digits, with or without `0x` in front.
#[must_use]
pub fn parse_hex32(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut out = [0u8; 32];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let text = core::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(text, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_reads_back_what_display_writes() {
        let hash = Hash(core::array::from_fn(|i| u8::try_from(i * 7).unwrap()));
        let text = alloc::format!("{hash}");
        assert_eq!(parse_hex32(&text), Some(hash.0));
        assert_eq!(parse_hex32(&text[2..]), Some(hash.0));
    }

    #[test]
    fn hex_refuses_wrong_length_and_wrong_digits() {
        assert_eq!(parse_hex32("0x00"), None);
        assert_eq!(parse_hex32(&"zz".repeat(32)), None);
    }
}
