//! Messages between members. Every message has a tag and a hard size limit that is known from the
//! run's parameters before a byte is read.
#![cfg_attr(
    not(test),
    expect(clippy::cast_possible_truncation, reason = "the code derived for SCALE casts variant indices")
)]

use alloc::vec::Vec;
use codec::{Decode, DecodeLimit, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::hash::{hash, hash_of, Domain};
use crate::ids::{Attempt, Epoch, Hash, RunId, Sample, Stage, Uid};
use crate::merkle::RangeProof;
use crate::packed::PackedHop;
use crate::params::{RunParams, WireCodec, CODE_BLOCK};
use crate::receipt::Direction;

/// Version of the wire format; another version is refused.
pub const WIRE_VERSION: u8 = 3;
/// Room for header, signature and framing around the codes of one hop; they take at most 128 bytes.
pub const HOP_OVERHEAD: usize = 512;
/// Nothing in these messages nests deeper; bounds the decoder's stack.
const MAX_DEPTH: u32 = 8;

/// Header of an activation or a gradient. Its hash is what the sender signs.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct HopHeader {
    /// `WIRE_VERSION`.
    pub version: u8,
    /// The run.
    pub run: RunId,
    /// The epoch.
    pub epoch: Epoch,
    /// The sample.
    pub sample: Sample,
    /// Which start of it.
    pub attempt: Attempt,
    /// The stage that receives this message.
    pub stage: Stage,
    /// Forward or backward.
    pub direction: Direction,
    /// Who sends.
    pub from: Uid,
    /// Number of values that the codes stand for.
    pub values: u32,
    /// How they are coded.
    pub codec: WireCodec,
    /// BLAKE3 of the code bytes.
    pub codes_hash: Hash,
    /// Hash of the header that this hop answers or continues; zero at stage 0.
    pub parent: Hash,
}

impl HopHeader {
    /// Hash of the header, which names the message.
    #[must_use]
    pub fn id(&self) -> Hash {
        hash_of(Domain::Message, self)
    }
}

/// Hash of code bytes, as headers, receipts and audits name them.
#[must_use]
pub fn codes_hash(codes: &[u8]) -> Hash {
    hash(Domain::Codes, codes)
}

/// An activation or a gradient, as miners keep it; [`PackedHop`] is what travels.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Hop {
    /// What it is.
    pub header: HopHeader,
    /// Signature by the sender's hotkey over the header's id.
    pub signature: [u8; 64],
    /// The code bytes.
    pub codes: Vec<u8>,
}

/// Requests on the training protocol.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum TrainRequest {
    /// Take this activation or gradient.
    #[codec(index = 0)]
    Hop(PackedHop),
    /// Do you still work on this sample?
    #[codec(index = 1)]
    Probe {
        /// The run.
        run: RunId,
        /// The epoch.
        epoch: Epoch,
        /// The sample.
        sample: Sample,
    },
}

/// Answers on the training protocol.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum TrainReply {
    /// The hop is on disk; signature by the receiver's hotkey over the header's id.
    #[codec(index = 0)]
    Accepted {
        /// Delivery acknowledgement.
        signature: [u8; 64],
    },
    /// The queue is full; try the next in the order.
    #[codec(index = 1)]
    Busy,
    /// Not now and not later: wrong epoch, wrong stage, wrong phase.
    #[codec(index = 2)]
    Refused,
    /// To a probe: the sample is being worked on, here or downstream.
    #[codec(index = 3)]
    Working,
    /// To a probe: the sample is not known here.
    #[codec(index = 4)]
    Unknown,
}

/// Requests on the fetch protocol. All answers are verified against roots on chain.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum FetchRequest {
    /// Chunks of an entry, from its author or from an owner that holds them.
    #[codec(index = 0)]
    Entry {
        /// The run.
        run: RunId,
        /// The epoch.
        epoch: Epoch,
        /// Whose entry.
        author: Uid,
        /// First chunk.
        first: u32,
        /// Number of chunks.
        count: u32,
    },
    /// A merged shard.
    #[codec(index = 1)]
    Merged {
        /// The run.
        run: RunId,
        /// The epoch.
        epoch: Epoch,
        /// The stage.
        stage: Stage,
        /// The shard.
        shard: u16,
        /// Which part of `STEP_STATE_PART` bytes; a shorter one is the last.
        part: u32,
    },
    /// All receipts of this member in an epoch.
    #[codec(index = 2)]
    Receipts {
        /// The run.
        run: RunId,
        /// The epoch.
        epoch: Epoch,
    },
    /// The event log of this member in an epoch.
    #[codec(index = 3)]
    Log {
        /// The run.
        run: RunId,
        /// The epoch.
        epoch: Epoch,
    },
    /// Code bytes behind a hash in this member's receipts or log.
    #[codec(index = 4)]
    Codes {
        /// The run.
        run: RunId,
        /// The epoch.
        epoch: Epoch,
        /// Hash of the bytes.
        hash: Hash,
    },
    /// The manifest of the state (weights and outer momentum) at the start of an epoch.
    #[codec(index = 5)]
    StateManifest {
        /// The run.
        run: RunId,
        /// The epoch that starts with this state.
        epoch: Epoch,
        /// The stage.
        stage: Stage,
    },
    /// One chunk of that state.
    #[codec(index = 6)]
    StateChunk {
        /// The run.
        run: RunId,
        /// The epoch that starts with this state.
        epoch: Epoch,
        /// The stage.
        stage: Stage,
        /// Chunk index.
        index: u32,
    },
    /// A validator's report on an epoch.
    #[codec(index = 7)]
    Report {
        /// The run.
        run: RunId,
        /// The scored epoch.
        epoch: Epoch,
    },
    /// Masters and moments of this member right after a local step, for an audit.
    #[codec(index = 8)]
    StepState {
        /// The run.
        run: RunId,
        /// The epoch.
        epoch: Epoch,
        /// The version.
        version: crate::ids::Version,
        /// Which part of `STEP_STATE_PART` bytes; a shorter one is the last.
        part: u32,
    },
    /// The evidence behind a validator's accusation.
    #[codec(index = 9)]
    Case {
        /// The run.
        run: RunId,
        /// The epoch.
        epoch: Epoch,
        /// The accused.
        uid: Uid,
        /// First local step of the segment.
        segment: u32,
        /// Which part of `STEP_STATE_PART` bytes; a shorter one is the last.
        part: u32,
    },
}

/// Bytes of one part of a trainer state, a case, a merged shard or a range of an entry on the wire: half of the fetch limit, and a megabyte-sized
/// piece is what a home link moves between two retries.
pub const STEP_STATE_PART: usize = 4 << 20;

/// Answers on the fetch protocol.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum FetchReply {
    /// Not made yet; ask again.
    #[codec(index = 0)]
    NotReady,
    /// Not here.
    #[codec(index = 1)]
    NotFound,
    /// The bytes, in the encoding of the request's subject.
    #[codec(index = 2)]
    Bytes(Vec<u8>),
    /// Chunks of an entry with the proof that they stand under its root.
    #[codec(index = 3)]
    Chunks {
        /// Bytes of the chunks, one after the other: their length is the run's.
        bytes: Vec<u8>,
        /// Proof of the range.
        proof: RangeProof,
    },
}

/// Why bytes were refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WireError {
    /// Longer than the message may be.
    TooLong,
    /// Not a message of this protocol.
    Malformed,
    /// Bytes after the message.
    Trailing,
    /// Another wire version.
    Version,
    /// Another number of code bytes than the run's messages have.
    Shape,
    /// It continues a message that is not known here.
    Parent,
}

impl core::fmt::Display for WireError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::TooLong => "message is longer than its limit",
            Self::Malformed => "bytes are not a message of this protocol",
            Self::Trailing => "bytes follow the message",
            Self::Version => "message has another wire version",
            Self::Shape => "message has another number of code bytes than the run's messages",
            Self::Parent => "message answers one that was not sent from here",
        })
    }
}

impl core::error::Error for WireError {}

/// Decodes a whole message of at most `limit` bytes.
///
/// # Errors
/// `TooLong`, `Malformed` or `Trailing`; never panics and never allocates beyond the input.
pub fn decode<T: Decode>(mut bytes: &[u8], limit: usize) -> Result<T, WireError> {
    if bytes.len() > limit {
        return Err(WireError::TooLong);
    }
    let value = T::decode_with_depth_limit(MAX_DEPTH, &mut bytes).map_err(|_| WireError::Malformed)?;
    if bytes.is_empty() {
        Ok(value)
    } else {
        Err(WireError::Trailing)
    }
}

/// Bytes that `values` values take in a codec, scales included.
#[must_use]
pub fn codes_len(codec: WireCodec, values: u32) -> usize {
    let values = usize::try_from(values).unwrap_or(usize::MAX);
    let block = usize::try_from(CODE_BLOCK).unwrap_or(usize::MAX);
    let scales = values.div_ceil(block);
    match codec.values() {
        WireCodec::Bf16 => values.saturating_mul(2),
        WireCodec::Int8 => values.saturating_add(scales),
        WireCodec::Int4 => values.div_ceil(2).saturating_add(scales),
        _ => values.saturating_mul(4),
    }
}

/// Most bytes of a message on the training protocol in this run.
#[must_use]
pub fn train_limit(params: &RunParams) -> usize {
    message_len(params, Direction::Forward).saturating_add(HOP_OVERHEAD)
}

/// Bytes of the codes of one message, with the token ids that end a message going up in the shared
/// subspace.
#[must_use]
pub fn message_len(params: &RunParams, direction: Direction) -> usize {
    let codes = codes_len(params.train.wire, params.values_per_message());
    match direction {
        Direction::Forward => codes.saturating_add(params.token_bytes_per_message()),
        Direction::Backward => codes,
    }
}
