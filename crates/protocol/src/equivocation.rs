//! Equivocation: two contradicting bodies under one key (design.md, section 10).
//!
//! What a miner signs off chain is the header of a hop. It signs one header for each sample, attempt,
//! receiving stage and direction, keeps it on disk before the signature leaves, and sends the same bytes again
//! after a restart; a new start of a sample has a new attempt. So two headers that agree in all of
//! these and name different values are proof of fault, whoever brings them.
//!
//! The parent alone proves nothing. Two upstream miners can give one sample to the same miner under one
//! attempt number: the first because its own neighbour fell silent, the second because the first did.
//! An honest miner runs the sample once and answers both, with the same codes and each one's parent.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::hash::{signing_payload, Domain};
use crate::ids::{Attempt, Epoch, Hash, RunId, Sample, Stage, Uid};
use crate::params::WireCodec;
use crate::receipt::Direction;
use crate::wire::HopHeader;

/// A header with the signature that its sender put under it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct SignedHeader {
    /// The header.
    pub header: HopHeader,
    /// sr25519 by the sender's hotkey over `signed_bytes`.
    pub signature: [u8; 64],
}

/// Two headers that one miner must not both have signed.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Equivocation {
    /// One of them.
    pub first: SignedHeader,
    /// The other.
    pub second: SignedHeader,
}

/// Why two headers prove nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoEquivocation {
    /// They carry the same values: sent twice, as after a restart, or to two that asked.
    Same,
    /// They are about different hops, epochs or runs, or name different senders.
    OtherKey,
}

impl core::fmt::Display for NoEquivocation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Same => "both headers name the same values; they may be sent again",
            Self::OtherKey => {
                "the headers differ in run, epoch, sample, attempt, stage, direction or sender; \
                 expected two bodies for one key"
            }
        })
    }
}

impl core::error::Error for NoEquivocation {}

/// What one miner signs at most one header for.
type Key = (RunId, Epoch, Sample, Attempt, Stage, Direction, Uid);

fn key(header: &HopHeader) -> Key {
    (header.run, header.epoch, header.sample, header.attempt, header.stage, header.direction, header.from)
}

/// What the miner said for a key.
fn body(header: &HopHeader) -> (u8, u32, WireCodec, Hash) {
    (header.version, header.values, header.codec, header.codes_hash)
}

impl SignedHeader {
    /// Whether both are about the same hop: one miner signs at most one body for it.
    #[must_use]
    pub fn is_same_hop(&self, other: &Self) -> bool {
        key(&self.header) == key(&other.header)
    }

    /// The bytes under the signature.
    #[must_use]
    pub fn signed_bytes(&self, genesis: &Hash) -> Hash {
        signing_payload(Domain::Message, genesis, self.header.run, self.header.epoch, &self.header.id())
    }
}

impl Equivocation {
    /// Whether the headers contradict each other. Signatures are the caller's to verify: the chain
    /// and the workers have different libraries for them.
    ///
    /// # Errors
    /// [`NoEquivocation`].
    pub fn check(&self) -> Result<(), NoEquivocation> {
        if key(&self.first.header) != key(&self.second.header) {
            return Err(NoEquivocation::OtherKey);
        }
        if body(&self.first.header) == body(&self.second.header) {
            return Err(NoEquivocation::Same);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::WIRE_VERSION;

    fn header() -> HopHeader {
        HopHeader {
            version: WIRE_VERSION,
            run: RunId(1),
            epoch: Epoch(2),
            sample: Sample(3),
            attempt: Attempt(0),
            stage: Stage(1),
            direction: Direction::Forward,
            from: Uid(4),
            values: 128,
            codec: WireCodec::Int8,
            codes_hash: Hash([5; 32]),
            parent: Hash::ZERO,
        }
    }

    fn pair(change: impl Fn(&mut HopHeader)) -> Equivocation {
        let mut other = header();
        change(&mut other);
        let signed = |header| SignedHeader { header, signature: [0; 64] };
        Equivocation { first: signed(header()), second: signed(other) }
    }

    #[test]
    fn other_values_for_one_key_contradict() {
        assert_eq!(pair(|own| own.codes_hash = Hash([6; 32])).check(), Ok(()));
        assert_eq!(pair(|own| own.codec = WireCodec::Int4).check(), Ok(()));
        assert_eq!(pair(|own| own.values = 64).check(), Ok(()));
    }

    #[test]
    fn regression_the_same_values_sent_again_or_for_another_parent_prove_nothing() {
        assert_eq!(pair(|_| ()).check(), Err(NoEquivocation::Same));
        assert_eq!(pair(|own| own.parent = Hash([6; 32])).check(), Err(NoEquivocation::Same));
    }

    #[test]
    fn every_part_of_the_key_tells_two_hops_apart() {
        let changes: [fn(&mut HopHeader); 7] = [
            |own| own.run = RunId(9),
            |own| own.epoch = Epoch(9),
            |own| own.sample = Sample(9),
            |own| own.attempt = Attempt(1),
            |own| own.stage = Stage(0),
            |own| own.direction = Direction::Backward,
            |own| own.from = Uid(9),
        ];
        for change in changes {
            let both = pair(|own| {
                change(own);
                own.codes_hash = Hash([6; 32]);
            });
            assert_eq!(both.check(), Err(NoEquivocation::OtherKey));
        }
    }

    #[test]
    fn the_signed_bytes_are_bound_to_chain_and_header() {
        let both = pair(|own| own.parent = Hash([6; 32]));
        let bytes = both.first.signed_bytes(&Hash::ZERO);
        assert_ne!(bytes, both.first.signed_bytes(&Hash([1; 32])));
        assert_ne!(bytes, both.second.signed_bytes(&Hash::ZERO));
    }
}
