//! What members put on chain in each window, as the pallet stores it and workers encode it.
#![cfg_attr(
    not(test),
    expect(clippy::cast_possible_truncation, reason = "the code derived for SCALE casts variant indices")
)]

use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::emission::MAX_TRANSCRIPTS;
use crate::hash::{hash_of, Domain};
use crate::ids::{AccountKey, Epoch, Hash, Incarnation, RunId, Uid};
use crate::params::{MAX_GROUP, MAX_MEMBERS};

#[cfg(test)]
mod tests;

/// Longest published multiaddress list entry; a DNS name with port and transport fits.
pub const MAX_ADDRESS_LEN: u32 = 128;
/// Most addresses of one member: two transports over IPv4, IPv6 and one relay.
pub const MAX_ADDRESSES: u32 = 5;

/// What a registered hotkey does in a run.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Trains one stage.
    Miner,
    /// Audits miners and submits scores.
    Validator,
}

/// Where a member can be reached.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Endpoint {
    /// ed25519 public key of the libp2p identity.
    pub peer: [u8; 32],
    /// Multiaddresses as text, without the peer id.
    pub addresses: BoundedVec<BoundedVec<u8, ConstU32<MAX_ADDRESS_LEN>>, ConstU32<MAX_ADDRESSES>>,
}

/// `commit_work`: everything that a miner did in an epoch, before the seed is known.
#[derive(
    Clone,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct WorkCommit {
    /// Merkle root over the entry's chunks.
    pub entry_root: Hash,
    /// Merkle root over the event log.
    pub log_root: Hash,
    /// Merkle root over the receipts.
    pub receipts_root: Hash,
    /// Samples whose backward pass this miner ran.
    pub samples: u32,
    /// For a stage-0 miner: samples that it started (its next `s`); otherwise 0.
    pub started: u32,
}

/// Tokens that an epoch counts, from the samples that each stage-0 committer reports.
///
/// Nobody else can check a stage-0 miner's count before the seed is known, and the learning rate
/// follows the sum: each counts at most twice the lower median of the stage, so that less than half of
/// its committers cannot inflate it beyond twice what the others did.
#[must_use]
pub fn counted_tokens(samples: &[u32], tokens_per_sample: u32) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0);
    let most = u64::from(median).saturating_mul(2);
    let counted = samples.iter().fold(0u64, |sum, own| sum.saturating_add(u64::from(*own).min(most)));
    counted.saturating_mul(u64::from(tokens_per_sample))
}

/// A bitmap over the positions of a stage's committers in uid order.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct Bitmap(pub u64);

impl Bitmap {
    /// Whether the committer at `position` is in.
    #[must_use]
    pub fn contains(self, position: usize) -> bool {
        u32::try_from(position).ok().and_then(|p| self.0.checked_shr(p)).is_some_and(|bits| bits & 1 == 1)
    }

    /// With the committer at `position` added; positions of 64 and more change nothing.
    #[must_use]
    pub fn with(self, position: usize) -> Self {
        let bit = u32::try_from(position).ok().and_then(|p| 1u64.checked_shl(p)).unwrap_or(0);
        Self(self.0 | bit)
    }

    /// How many are in.
    #[must_use]
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }
}

/// Merged hashes of the shards that one owner holds, in ascending shard order; `None` where the
/// owner lacked an entry of the set and so has nothing to say.
pub type ShardHashes = BoundedVec<(u16, Option<Hash>), ConstU32<MAX_GROUP>>;

/// `blind_merge`: the hash that `open_merge` must match.
#[must_use]
pub fn blind_hash(
    uid: Uid,
    incarnation: Incarnation,
    epoch: Epoch,
    salt: &[u8; 32],
    hashes: &ShardHashes,
) -> Hash {
    hash_of(Domain::Blind, &(uid, incarnation, epoch, salt, hashes))
}

/// One scored miner in a revealed row.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct ScoreEntry {
    /// The miner.
    pub uid: Uid,
    /// Its incarnation in the scored epoch; a replaced uid is skipped.
    pub incarnation: Incarnation,
    /// Verified samples times CLASP factor, scaled so that the best of its stage has 65,535.
    pub score: u16,
}

/// `reveal_scores`: what `commit_scores` hashed.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct ScoreReveal {
    /// Strictly ascending by uid.
    pub entries: BoundedVec<ScoreEntry, ConstU32<MAX_MEMBERS>>,
    /// Keeps short rows from being guessed.
    pub salt: [u8; 32],
    /// Root of the published report.
    pub report_root: Hash,
}

/// What a validator found when it replayed one segment: the opening of a transcript.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct Transcript {
    /// The audited miner.
    pub uid: Uid,
    /// Its incarnation in the audited epoch.
    pub incarnation: Incarnation,
    /// First local step of the segment.
    pub segment: u32,
    /// Root over the replayed codes and states.
    pub root: Hash,
    /// Whether the miner's own codes and states are the same.
    pub agrees: bool,
}

/// Transcripts of one validator and epoch.
pub type Transcripts = BoundedVec<Transcript, ConstU32<MAX_TRANSCRIPTS>>;

/// The hash that `commit_transcripts` puts on chain, before anybody has opened any.
#[must_use]
pub fn transcripts_hash(
    genesis: &Hash,
    run: RunId,
    author: &AccountKey,
    epoch: Epoch,
    salt: &[u8; 32],
    transcripts: &Transcripts,
) -> Hash {
    hash_of(Domain::Transcripts, &(genesis, run, author, epoch, salt, transcripts))
}

/// Version of the score preimage.
pub const SCORES_VERSION: u16 = 1;

/// The hash that `commit_scores` puts on chain (`reference/onchain.md`, 3.4): bound to chain, run,
/// author, epoch and incarnations, so that a copy of another's hash cannot be revealed.
#[must_use]
pub fn scores_hash(
    genesis: &Hash,
    run: RunId,
    author: &AccountKey,
    author_incarnation: Incarnation,
    epoch: Epoch,
    reveal: &ScoreReveal,
) -> Hash {
    hash_of(Domain::Scores, &(SCORES_VERSION, genesis, run, author, author_incarnation, epoch, reveal))
}

/// What is known of one shard of a stage's merge.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub enum ShardStatus {
    /// No owner opened a hash: weights and momentum of the shard stay as they were.
    Missing,
    /// One owner opened a hash: it stands and is recomputed by a validator.
    Single(Hash),
    /// Both owners opened the same hash.
    Agreed(Hash),
    /// The owners opened different hashes: every replica recomputes the shard itself. That of the owner
    /// with the lower uid is the first.
    Differs(Hash, Hash),
}

impl ShardStatus {
    /// The status after one more owner opened `hash`; `lower` says whether it is the one with the lower uid.
    #[must_use]
    pub fn with(self, hash: Hash, lower: bool) -> Self {
        match self {
            Self::Missing => Self::Single(hash),
            Self::Single(other) if other == hash => Self::Agreed(hash),
            Self::Single(other) if lower => Self::Differs(hash, other),
            Self::Single(other) => Self::Differs(other, hash),
            settled => settled,
        }
    }
}
