//! Domain-separated BLAKE3. Every hash in the system is made here, so that no two uses can collide.

use codec::Encode;

use crate::ids::{AccountKey, Epoch, Hash, RunId};

/// What a hash is for. The tag is hashed in front of the content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Domain {
    /// Code bytes of one message at a stage boundary.
    Codes,
    /// Leaf of a Merkle tree.
    Leaf,
    /// Inner node of a Merkle tree.
    Node,
    /// A receipt's body.
    Receipt,
    /// A wire message's body.
    Message,
    /// Seeds derived from another seed.
    Seed,
    /// A shard's merged bytes.
    Shard,
    /// Blinded shard hashes.
    Blind,
    /// A score commit.
    Scores,
    /// Root of weights and outer momentum.
    Weights,
    /// Masters and moments at a local step.
    State,
    /// A manifest, a tokenizer, a data shard.
    Data,
    /// A validator's audit choice.
    Audit,
    /// Consent of a hotkey to be bound to a coldkey.
    Register,
    /// Binding of a libp2p key to a hotkey.
    Serve,
    /// A payout table.
    Payouts,
    /// All bonds of a run.
    Bonds,
    /// Audit transcripts before they are opened.
    Transcripts,
    /// The evidence behind an accusation.
    Case,
}

impl Domain {
    pub(crate) const fn tag(self) -> &'static [u8] {
        match self {
            Self::Codes => b"iota/codes/1",
            Self::Leaf => b"iota/leaf/1",
            Self::Node => b"iota/node/1",
            Self::Receipt => b"iota/receipt/1",
            Self::Message => b"iota/message/1",
            Self::Seed => b"iota/seed/1",
            Self::Shard => b"iota/shard/1",
            Self::Blind => b"iota/blind/1",
            Self::Scores => b"iota/scores/1",
            Self::Weights => b"iota/weights/1",
            Self::State => b"iota/state/1",
            Self::Data => b"iota/data/1",
            Self::Audit => b"iota/audit/1",
            Self::Register => b"iota/register/1",
            Self::Serve => b"iota/serve/1",
            Self::Payouts => b"iota/payouts/1",
            Self::Bonds => b"iota/bonds/1",
            Self::Transcripts => b"iota/transcripts/1",
            Self::Case => b"iota/case/1",
        }
    }
}

/// Hash of `bytes` for one purpose.
#[must_use]
pub fn hash(domain: Domain, bytes: &[u8]) -> Hash {
    hash_parts(domain, &[bytes])
}

/// Hash of the concatenation of `parts` for one purpose. Parts must have lengths that are fixed or
/// encoded in them; SCALE encodings are.
#[must_use]
pub fn hash_parts(domain: Domain, parts: &[&[u8]]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(domain.tag());
    for part in parts {
        hasher.update(part);
    }
    Hash(*hasher.finalize().as_bytes())
}

/// Hash of a value's SCALE encoding.
#[must_use]
pub fn hash_of(domain: Domain, value: &impl Encode) -> Hash {
    value.using_encoded(|bytes| hash(domain, bytes))
}

/// The 32 bytes that a hotkey signs off chain: bound to chain, run and epoch, so that no signature
/// can be replayed elsewhere (design.md, section 4).
#[must_use]
pub fn signing_payload(domain: Domain, genesis: &Hash, run: RunId, epoch: Epoch, payload: &Hash) -> Hash {
    hash_of(domain, &(b"sign", genesis, run, epoch, payload))
}

/// What a hotkey signs to consent to a coldkey (`register`).
#[must_use]
pub fn register_payload(genesis: &Hash, run: RunId, coldkey: &AccountKey, hotkey: &AccountKey) -> Hash {
    hash_of(Domain::Register, &(genesis, run, coldkey, hotkey))
}

/// What a libp2p ed25519 key signs to be published under a hotkey (`serve`).
#[must_use]
pub fn serve_payload(genesis: &Hash, hotkey: &AccountKey) -> Hash {
    hash_of(Domain::Serve, &(genesis, hotkey))
}
