//! How a hop travels: without what its receiver knows or computes anyway.
//!
//! A header takes 88 bytes, and at small sizes that is more than a hundredth of the codes. The receiver
//! hashes the codes in any case, knows shape and codec from the run, and holds the message that a gradient
//! answers. So the hash, both numbers and most of the parent stay at home, and small numbers are written in
//! few bytes. [`PackedHop::unpack`] puts the whole header together again; the signature is over that one, so
//! that a wrong guess shows as a wrong signature.
#![cfg_attr(
    not(test),
    expect(clippy::cast_possible_truncation, reason = "the code derived for SCALE casts variant indices")
)]

use alloc::vec::Vec;
use codec::{Decode, Encode};

use crate::ids::{Attempt, Epoch, Hash, RunId, Sample, Stage, Uid};
use crate::params::RunParams;
use crate::receipt::Direction;
use crate::wire::{codes_hash, message_len, Hop, HopHeader, WireError, WIRE_VERSION};

/// The message that a hop answers or continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Parent {
    /// Stage 0 has none: its hash is zero.
    #[codec(index = 0)]
    None,
    /// The receiver has never seen it: the whole hash.
    #[codec(index = 1)]
    Whole(Hash),
    /// The receiver sent it: enough of its hash to tell it from the other attempts of the sample, of which
    /// there are 256 at most.
    #[codec(index = 2)]
    Sent([u8; 4]),
}

/// A hop on the wire.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct PackedHop {
    /// `WIRE_VERSION`.
    pub version: u8,
    /// The run, compact.
    #[codec(compact)]
    pub run: u32,
    /// The epoch, compact.
    #[codec(compact)]
    pub epoch: u32,
    /// The sample, compact.
    #[codec(compact)]
    pub sample: u32,
    /// Which start of it.
    pub attempt: Attempt,
    /// The stage that receives this message, compact.
    #[codec(compact)]
    pub stage: u16,
    /// Forward or backward.
    pub direction: Direction,
    /// Who sends, compact.
    #[codec(compact)]
    pub from: u16,
    /// The message that it answers or continues.
    pub parent: Parent,
    /// Signature by the sender's hotkey over the whole header's id.
    pub signature: [u8; 64],
    /// The code bytes.
    pub codes: Vec<u8>,
}

/// The first bytes of a hash, by which [`Parent::Sent`] names it.
#[must_use]
pub fn prefix(hash: &Hash) -> [u8; 4] {
    hash.0.first_chunk().copied().unwrap_or_default()
}

impl From<Hop> for PackedHop {
    /// A gradient goes to a stage that sent the activations which it answers.
    fn from(hop: Hop) -> Self {
        let Hop { header, signature, codes } = hop;
        let parent = match header.direction {
            _ if header.parent == Hash::ZERO => Parent::None,
            Direction::Forward => Parent::Whole(header.parent),
            Direction::Backward => Parent::Sent(prefix(&header.parent)),
        };
        Self {
            version: header.version,
            run: header.run.0,
            epoch: header.epoch.0,
            sample: header.sample.0,
            attempt: header.attempt,
            stage: header.stage.0,
            direction: header.direction,
            from: header.from.0,
            parent,
            signature,
            codes,
        }
    }
}

impl PackedHop {
    /// The whole hop, as its sender signed it. `sent` finds the hash of a message about a sample that was
    /// sent from here, by its first bytes.
    ///
    /// # Errors
    /// `Version`, `Shape` if there are more or fewer code bytes than a message of the run has, and `Parent`.
    pub fn unpack(
        self,
        params: &RunParams,
        sent: impl FnOnce(Sample, [u8; 4]) -> Option<Hash>,
    ) -> Result<Hop, WireError> {
        if self.version != WIRE_VERSION {
            return Err(WireError::Version);
        }
        if self.codes.len() != message_len(params, self.direction) {
            return Err(WireError::Shape);
        }
        let sample = Sample(self.sample);
        let parent = match self.parent {
            Parent::None => Hash::ZERO,
            Parent::Whole(hash) => hash,
            Parent::Sent(prefix) => sent(sample, prefix).ok_or(WireError::Parent)?,
        };
        let header = HopHeader {
            version: self.version,
            run: RunId(self.run),
            epoch: Epoch(self.epoch),
            sample,
            attempt: self.attempt,
            stage: Stage(self.stage),
            direction: self.direction,
            from: Uid(self.from),
            values: params.values_per_message(),
            codec: params.train.wire,
            codes_hash: codes_hash(&self.codes),
            parent,
        };
        Ok(Hop { header, signature: self.signature, codes: self.codes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::WireCodec;
    use crate::sample_params::params_with_shares;
    use crate::wire::{train_limit, TrainReply, TrainRequest, HOP_OVERHEAD};
    use proptest::prelude::*;

    fn params() -> RunParams {
        let mut params = params_with_shares(&[1_000_000]);
        params.train.wire = WireCodec::Int8;
        params
    }

    fn hop(direction: Direction, parent: Hash, numbers: (u32, u32, u16)) -> Hop {
        let params = params();
        let codes = vec![7; message_len(&params, direction)];
        let header = HopHeader {
            version: WIRE_VERSION,
            run: RunId(numbers.0),
            epoch: Epoch(numbers.1),
            sample: Sample(numbers.0),
            attempt: Attempt(3),
            stage: Stage(numbers.2),
            direction,
            from: Uid(numbers.2),
            values: params.values_per_message(),
            codec: params.train.wire,
            codes_hash: codes_hash(&codes),
            parent,
        };
        Hop { header, signature: [9; 64], codes }
    }

    #[test]
    fn a_message_is_refused_for_its_version_its_length_or_an_unknown_parent() {
        let good = PackedHop::from(hop(Direction::Backward, Hash([5; 32]), (1, 2, 3)));
        let known = |_: Sample, prefix: [u8; 4]| (prefix == [5; 4]).then_some(Hash([5; 32]));
        assert!(good.clone().unpack(&params(), known).is_ok());
        assert_eq!(good.clone().unpack(&params(), |_, _| None), Err(WireError::Parent));
        let bent = |change: &dyn Fn(&mut PackedHop)| {
            let mut bent = good.clone();
            change(&mut bent);
            bent.unpack(&params(), known)
        };
        assert_eq!(bent(&|hop| hop.version = 1), Err(WireError::Version));
        assert_eq!(bent(&|hop| hop.codes.push(0)), Err(WireError::Shape));
        let changed = bent(&|hop| hop.codes[0] ^= 1).unwrap();
        let whole = hop(Direction::Backward, Hash([5; 32]), (1, 2, 3));
        assert_ne!(changed.header.id(), whole.header.id(), "other codes are another header to the signature");
    }

    /// Worked by hand: tag, version, run, epoch, attempt, stage, direction and sender take a byte each,
    /// a sample above 63 and the number of codes two; then the parent and 64 bytes of signature. With an
    /// acknowledgement of 65 bytes for each message, the four messages about a sample at two boundaries
    /// come to 608 bytes: 0.59 bytes a token and boundary at 512 tokens, 1.8 % of 33.
    #[test]
    fn headers_of_tiny_cost_less_than_two_percent() {
        let sample = |direction, parent| {
            let mut hop = hop(direction, parent, (0, 40, 1));
            (hop.header.sample, hop.header.attempt) = (Sample(300), Attempt(0));
            hop.codes = vec![0; 8_448];
            TrainRequest::Hop(hop.into()).encoded_size() - 8_448
        };
        let sizes = [
            sample(Direction::Forward, Hash::ZERO),
            sample(Direction::Backward, Hash([1; 32])),
            sample(Direction::Forward, Hash([1; 32])),
            sample(Direction::Backward, Hash([1; 32])),
        ];
        assert_eq!(sizes, [77, 81, 109, 81]);
        let reply = TrainReply::Accepted { signature: [0; 64] }.encoded_size();
        let total = sizes.iter().sum::<usize>() + 4 * reply;
        assert_eq!(total, 608);
        assert!((total as f64) < 0.02 * 4.0 * 8_448.0, "{total}");
    }

    proptest! {
        #[test]
        fn a_hop_comes_out_as_it_went_in(parent: [u8; 32], first: bool, back: bool, numbers: (u32, u32, u16)) {
            let parent = if first { Hash::ZERO } else { Hash(parent) };
            let direction = if back { Direction::Backward } else { Direction::Forward };
            let hop = hop(direction, parent, numbers);
            let packed = PackedHop::from(hop.clone());
            let bytes = TrainRequest::Hop(packed.clone()).encode();
            prop_assert!(bytes.len() <= train_limit(&params()));
            prop_assert!(bytes.len() - hop.codes.len() <= HOP_OVERHEAD / 4);
            let TrainRequest::Hop(read) = TrainRequest::decode(&mut bytes.as_slice()).unwrap() else {
                return Err(TestCaseError::fail("another message"));
            };
            prop_assert_eq!(&read, &packed);
            let sent = |sample: Sample, asked: [u8; 4]| {
                (sample == hop.header.sample && asked == prefix(&parent)).then_some(parent)
            };
            prop_assert_eq!(read.unpack(&params(), sent), Ok(hop.clone()));
        }
    }
}
