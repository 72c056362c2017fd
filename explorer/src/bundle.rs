//! Everything that is needed to audit one epoch without the chain: made from the database, written as
//! one JSON file, read back anywhere.
//!
//! The digest covers every other field. It tells an altered file from the one that an explorer gave
//! out; what a forger can do who computes it anew is what the invariants are for.

mod collect;
pub(crate) mod terms;

use codec::Decode;
use iota_chain::Funds;
use iota_protocol::consensus::bonds::BondRow;
use iota_protocol::hash::{hash, Domain};
use iota_protocol::ids::{Epoch, Hash, RunId, Uid};
use iota_protocol::params::RunParams;
use iota_protocol::report::Report;
use iota_protocol::view::{ClockView, EpochReportView, ScoreView, SnapshotView};
use serde::{Deserialize, Serialize};

use crate::look::Claim;
use crate::member::Member;

/// Version of the file.
pub const BUNDLE_VERSION: u16 = 5;

/// An epoch with everything that decided its emission.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// `BUNDLE_VERSION`.
    pub version: u16,
    /// Hash of block 0.
    pub genesis: Hash,
    /// The run.
    pub run: RunId,
    /// The scored epoch.
    pub epoch: Epoch,
    /// Parameters of the run.
    pub params: RunParams,
    /// Clock of the epoch after it, in which it was scored.
    pub scoring: Option<ClockView>,
    /// Members as the epoch began: CLASP runs over their stages.
    pub members: Vec<Member>,
    /// Who may be paid.
    pub snapshot: Option<SnapshotView>,
    /// Commits and reveals.
    pub scores: Vec<ScoreView>,
    /// What the reveals were salted with.
    pub salts: Vec<Salt>,
    /// What the chain paid.
    pub report: Option<EpochReportView>,
    /// What the next epoch brought, where the epoch was void and scored with it.
    pub carried: Option<Carried>,
    /// Issuance before and after.
    pub issuance: Option<IssuanceSpan>,
    /// Minted by all earlier reports, where all are known.
    pub minted_before: Option<u128>,
    /// The run's bonds before the epoch, settled anew from its first epoch on; `None` where an epoch
    /// between is missing, or was settled otherwise than we find.
    pub bonds: Option<Vec<BondRow>>,
    /// Sums over accounts in the block that paid.
    pub funds: Option<Funds>,
    /// What the owners of paid members could claim in that block, in the order of their keys.
    pub claims: Vec<Claim>,
    /// When validators committed and revealed.
    pub submissions: Vec<Submission>,
    /// Votes, proofs of equivocation and opened transcripts, in the order of the chain.
    pub rulings: Vec<Ruling>,
    /// Reports that validators published, as hex of their SCALE bytes.
    pub published: Vec<Published>,
    /// The block that paid, and the proof of what it paid.
    pub proof: Option<Proof>,
    /// Who signed that block, or one soon after it.
    pub finality: Option<Finality>,
    /// Hash over all of the above.
    pub digest: Hash,
}

/// What a revealed row was salted with, as the call that revealed it says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Salt {
    /// The validator.
    pub uid: Uid,
    /// The salt. An extrinsic may have tried others in vain: then they stand here, too.
    pub salt: Hash,
}

/// Who scored a void epoch together with the next one, and how.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carried {
    /// Snapshot of the epoch that scored it.
    pub snapshot: SnapshotView,
    /// Commits and reveals of that epoch.
    pub scores: Vec<ScoreView>,
}

/// Issuance over the blocks that ended with the payment of the epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuanceSpan {
    /// The block after which it was `before`.
    pub from_block: u32,
    /// Smallest units.
    pub before: u128,
    /// The block after which it was `after`.
    pub to_block: u32,
    /// Smallest units.
    pub after: u128,
    /// Everything between them that made or destroyed tokens.
    pub terms: Vec<Term>,
}

/// One event that changed issuance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// Its block.
    pub block: u32,
    /// Pallet and event; the run's where one caused it, otherwise the ledger's.
    pub event: String,
    /// Made, smallest units.
    pub made: u128,
    /// Destroyed, smallest units.
    pub destroyed: u128,
    /// Whose emission it is, if it is one.
    pub emission: Option<Emission>,
}

/// The epoch whose emission a term is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emission {
    /// The run.
    pub run: RunId,
    /// The scored epoch.
    pub epoch: Epoch,
}

/// A commit or reveal of scores.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// The validator.
    pub uid: Uid,
    /// Whether it is the reveal.
    pub reveal: bool,
    /// The block that took it.
    pub block: u32,
}

/// Something that the report's terms follow from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ruling {
    /// The block that took it.
    pub block: u32,
    /// What it was.
    pub kind: RulingKind,
}

/// Kinds of [`Ruling`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RulingKind {
    /// A vote on the accusation of one segment of a miner; the accuser's own is one of them.
    Vote {
        /// The accused.
        uid: Uid,
        /// First local step of the segment.
        segment: u32,
        /// Who votes.
        voter: Uid,
        /// What it says.
        guilty: bool,
    },
    /// A proof that a member signed two bodies for one hop.
    Equivocated {
        /// The member.
        uid: Uid,
    },
    /// Transcripts that a validator opened.
    Opened {
        /// The validator.
        uid: Uid,
        /// How many.
        count: u32,
    },
}

/// A validator's report.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The validator.
    pub uid: Uid,
    /// Hex of the report's SCALE bytes.
    pub body: String,
}

impl Published {
    /// The report; `None` if the bytes are none.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        let bytes = hex::decode(&self.body).ok()?;
        let mut rest = bytes.as_slice();
        let report = Report::decode(&mut rest).ok()?;
        rest.is_empty().then_some(report)
    }
}

/// A header and trie nodes below its state root.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Number of the block that paid.
    pub block: u32,
    /// Its hash.
    pub hash: Hash,
    /// Hex of the header's SCALE bytes.
    pub header: String,
    /// Hex of the trie nodes.
    pub nodes: Vec<String>,
}

/// Votes on a block at or after the one that paid, and where the right to vote comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finality {
    /// Hex of the header of block 0.
    pub genesis_header: String,
    /// Hex of trie nodes that prove the first voters under its state root.
    pub genesis_nodes: Vec<String>,
    /// How many of the first changes of the voters this copy leaves out, for who has them in an older bundle.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub left_out: u32,
    /// Every other change of the voters up to the block that paid, oldest first.
    pub handoffs: Vec<Handoff>,
    /// Hex of the headers after the block that paid, up to the one that was voted on.
    pub headers: Vec<String>,
    /// Hex of the justification of the last of them, or of the block that paid if there are none.
    pub justification: String,
}

/// A change of the voters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handoff {
    /// Hex of the header that names the next voters.
    pub header: String,
    /// Hex of its justification by the voters before.
    pub justification: String,
}

fn is_nothing(left_out: &u32) -> bool {
    *left_out == 0
}

/// Why a bundle that leaves something out cannot be completed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Incomplete {
    /// Nothing to complete it from.
    #[error("the bundle leaves out the first {0} changes of the voters; name an older, whole bundle of the same chain with --older, or download it without `known`")]
    NoOlder(u32),
    /// The other one is of another chain.
    #[error("the older bundle is of chain {older}, this one of chain {ours}; take one of the same chain")]
    OtherChain {
        /// This chain.
        ours: Hash,
        /// The older one's.
        older: Hash,
    },
    /// The other one lacks them too.
    #[error("the bundle leaves out the first {wanted} changes of the voters, and the older one has {has} from the first on; take a newer one as the older, or download it without `known`")]
    TooFew {
        /// Left out.
        wanted: u32,
        /// What the other has.
        has: usize,
    },
}

impl Bundle {
    /// A copy for who has the first `known` changes of the voters: they are left out. The digest stays that of the
    /// whole.
    #[must_use]
    pub fn for_who_knows(mut self, known: u32) -> Self {
        if let Some(finality) = &mut self.finality {
            let count = finality.handoffs.len().min(usize::try_from(known).unwrap_or(usize::MAX));
            finality.handoffs.drain(..count);
            finality.left_out = u32::try_from(count).unwrap_or(u32::MAX);
        }
        self
    }

    /// The whole bundle: what this copy leaves out is taken from an older one. What comes of it is judged by its digest
    /// and by its signatures, as any other.
    ///
    /// # Errors
    /// [`Incomplete`].
    pub fn completed(mut self, older: Option<&Self>) -> Result<Self, Incomplete> {
        let Some(finality) = self.finality.as_mut().filter(|finality| finality.left_out > 0) else {
            return Ok(self);
        };
        let wanted = finality.left_out;
        let older = older.ok_or(Incomplete::NoOlder(wanted))?;
        if older.genesis != self.genesis {
            return Err(Incomplete::OtherChain { ours: self.genesis, older: older.genesis });
        }
        let theirs = older.finality.as_ref().filter(|finality| finality.left_out == 0);
        let theirs = theirs.map_or(&[][..], |finality| &finality.handoffs);
        let first = usize::try_from(wanted).ok().and_then(|count| theirs.get(..count));
        let first = first.ok_or(Incomplete::TooFew { wanted, has: theirs.len() })?;
        finality.handoffs.splice(..0, first.iter().cloned());
        finality.left_out = 0;
        Ok(self)
    }

    /// The digest that the other fields give.
    #[must_use]
    pub fn computed_digest(&self) -> Hash {
        let content = Self { digest: Hash::ZERO, ..self.clone() };
        let bytes =
            serde_json::to_vec(&content).expect("our documents have text keys and finite numbers; qed");
        hash(Domain::Data, &bytes)
    }

    /// The same with its digest set.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.digest = self.computed_digest();
        self
    }
}
