//! Everything that is needed to audit one epoch without the chain: made from the database, written as
//! one JSON file, read back anywhere.
//!
//! The digest covers every other field. It tells an altered file from the one that an explorer gave
//! out; what a forger can do who computes it anew is what the invariants are for.

pub(crate) mod terms;

use codec::{Decode, Encode};
use iota_chain::Funds;
use iota_protocol::audit::payments;
use iota_protocol::consensus::bonds::BondRow;
use iota_protocol::emission::carried;
use iota_protocol::hash::{hash, Domain};
use iota_protocol::ids::{Epoch, Hash, RunId, Uid};
use iota_protocol::params::RunParams;
use iota_protocol::report::Report;
use iota_protocol::view::{ClockView, EpochReportView, ScoreView, SnapshotView};
use serde::{Deserialize, Serialize};

use crate::look::number;
use crate::member::Member;
use crate::store::{EpochRow, EventRow, Reader, StoreError};
use crate::votes::REACH;

/// Version of the file.
pub const BUNDLE_VERSION: u16 = 4;

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
    /// What the chain paid.
    pub report: Option<EpochReportView>,
    /// Issuance before and after.
    pub issuance: Option<IssuanceSpan>,
    /// Minted by all earlier reports, where all are known.
    pub minted_before: Option<u128>,
    /// The run's bonds before the epoch, settled anew from its first epoch on; `None` where an epoch
    /// between is missing, or was settled otherwise than we find.
    pub bonds: Option<Vec<BondRow>>,
    /// Sums over accounts in the block that paid.
    pub funds: Option<Funds>,
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
    /// Every change of the voters up to the block that paid, oldest first.
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

impl Bundle {
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

    /// Collects an epoch from the database; `None` for a run or epoch that is not there.
    ///
    /// # Errors
    /// When the database fails.
    pub fn collect(reader: &Reader, run: RunId, epoch: Epoch) -> Result<Option<Self>, StoreError> {
        let (Some(about), Some(row)) = (reader.run(run)?, reader.epoch(run, epoch)?) else { return Ok(None) };
        let genesis = iota_protocol::ids::parse_hex32(&reader.genesis()?).map_or(Hash::ZERO, Hash);
        let issuance = row.report.as_ref().map(|report| span(reader, run, epoch, report)).transpose()?;
        let published = reader.reports(run, epoch)?.into_iter();
        let bundle = Self {
            version: BUNDLE_VERSION,
            genesis,
            run,
            epoch,
            params: about.params.clone(),
            scoring: reader.epoch(run, epoch.next())?.and_then(|next| next.clock),
            minted_before: row
                .report
                .as_ref()
                .map(|report| minted_before(reader, run, report))
                .transpose()?
                .flatten(),
            bonds: bonds_before(reader, run, epoch, &about.params)?,
            submissions: submissions(reader, run, epoch)?,
            rulings: rulings(reader, run, epoch)?,
            published: published
                .map(|row| Published { uid: row.uid, body: hex::encode(row.report.encode()) })
                .collect(),
            proof: proof(reader, &row)?,
            finality: row.report.as_ref().map(|report| finality(reader, report.block)).transpose()?.flatten(),
            members: row.members,
            snapshot: row.snapshot,
            scores: row.scores,
            report: row.report,
            issuance: issuance.flatten(),
            funds: row.funds,
            digest: Hash::ZERO,
        };
        Ok(Some(bundle.sealed()))
    }
}

/// From the block that paid the epoch before, or the first indexed one, to the one that paid this.
fn span(
    reader: &Reader,
    run: RunId,
    epoch: Epoch,
    report: &EpochReportView,
) -> Result<Option<IssuanceSpan>, StoreError> {
    let before = match epoch.previous() {
        Some(previous) => reader.epoch(run, previous)?.and_then(|row| row.report).map(|report| report.block),
        None => Some(0),
    };
    let Some(from_block) = before else { return Ok(None) };
    let issued = |number| -> Result<Option<u128>, StoreError> {
        let block = reader.block(number)?;
        Ok(block.and_then(|block| block.issuance).and_then(|text| text.parse().ok()))
    };
    let (Some(before), Some(after)) = (issued(from_block)?, issued(report.block)?) else { return Ok(None) };
    if !reader.is_whole(from_block, report.block)? {
        return Ok(None);
    }
    let events = reader.events_between(from_block.saturating_add(1), report.block)?;
    let terms = terms::terms(&events);
    Ok(Some(IssuanceSpan { from_block, before, to_block: report.block, after, terms }))
}

/// Minted by the reports of all runs before this one; `None` where one may be missing, or where
/// another run was paid in the same block and its turn within the block is not known.
fn minted_before(reader: &Reader, own: RunId, report: &EpochReportView) -> Result<Option<u128>, StoreError> {
    let mut sum = 0u128;
    for run in reader.runs()? {
        let rows = reader.epochs(run.run, u32::MAX)?;
        let paid = rows.iter().filter_map(|row| row.report.as_ref());
        if run.run != own && paid.clone().any(|other| other.block == report.block) {
            return Ok(None);
        }
        // A void epoch and the one that scored it are paid in one block, in the order of epochs.
        let is_earlier = |other: &EpochReportView| match run.run == own {
            true => other.epoch < report.epoch,
            false => other.block < report.block,
        };
        let mut expected = Epoch(0);
        for other in paid.filter(|other| is_earlier(other)) {
            if other.epoch != expected {
                return Ok(None);
            }
            expected = other.epoch.next();
            sum = sum.saturating_add(other.split.minted);
        }
    }
    Ok(Some(sum))
}

/// Settles every earlier epoch of the run, as nothing else says what the bonds were: the chain's
/// reports only carry their hash, which is compared at each.
fn bonds_before(
    reader: &Reader,
    run: RunId,
    epoch: Epoch,
    params: &RunParams,
) -> Result<Option<Vec<BondRow>>, StoreError> {
    let mut bonds = Vec::new();
    for number in 0..epoch.0 {
        let Some(row) = reader.epoch(run, Epoch(number))? else { return Ok(None) };
        let (Some(report), Some(snapshot)) = (row.report, row.snapshot) else { return Ok(None) };
        let (snapshot, scores) = if report.terms.scored_by == row.epoch {
            (snapshot, row.scores)
        } else {
            let next = reader.epoch(run, report.terms.scored_by)?;
            let Some((next, scores)) = next.and_then(|next| Some((next.snapshot?, next.scores))) else {
                return Ok(None);
            };
            (carried(&snapshot, &next), scores)
        };
        let (ours, _) = payments(params, &snapshot, &scores, &bonds, &report);
        if ours.bonds_root() != report.bonds_root {
            return Ok(None);
        }
        bonds = ours.bonds;
    }
    Ok(Some(bonds))
}

fn submissions(reader: &Reader, run: RunId, epoch: Epoch) -> Result<Vec<Submission>, StoreError> {
    let events = reader.events_of_epoch(run, epoch, u32::MAX)?;
    let of = |event: &EventRow| {
        let reveal = match event.name.as_str() {
            "ScoresCommitted" => false,
            "ScoresRevealed" => true,
            _ => return None,
        };
        let uid = u16::try_from(number(&event.fields, "uid")?).ok()?;
        Some(Submission { uid: Uid(uid), reveal, block: event.block })
    };
    Ok(events.iter().filter_map(of).collect())
}

fn rulings(reader: &Reader, run: RunId, epoch: Epoch) -> Result<Vec<Ruling>, StoreError> {
    let events = reader.events_of_epoch(run, epoch, u32::MAX)?;
    let mut found: Vec<Ruling> = events.iter().filter_map(ruling).collect();
    found.sort_by_key(|ruling| ruling.block);
    Ok(found)
}

fn ruling(event: &EventRow) -> Option<Ruling> {
    let uid = |name: &str| Some(Uid(u16::try_from(number(&event.fields, name)?).ok()?));
    let kind = match event.name.as_str() {
        "Voted" => RulingKind::Vote {
            uid: uid("uid")?,
            segment: number(&event.fields, "segment")?,
            voter: uid("voter")?,
            guilty: event.fields.get("guilty")?.as_bool()?,
        },
        "Equivocated" => RulingKind::Equivocated { uid: uid("uid")? },
        "TranscriptsOpened" => {
            // A list of one reads as its only entry.
            let count = event.fields.get("transcripts")?.as_array().map_or(1, Vec::len);
            RulingKind::Opened { uid: uid("uid")?, count: u32::try_from(count).ok()? }
        }
        _ => return None,
    };
    Some(Ruling { block: event.block, kind })
}

fn proof(reader: &Reader, row: &EpochRow) -> Result<Option<Proof>, StoreError> {
    let (Some(report), Some(nodes)) = (&row.report, &row.proof) else { return Ok(None) };
    let (Some(block), Some(header)) = (reader.block(report.block)?, reader.header(report.block)?) else {
        return Ok(None);
    };
    let hash = iota_protocol::ids::parse_hex32(&block.hash).map_or(Hash::ZERO, Hash);
    Ok(Some(Proof { block: report.block, hash, header: hex::encode(header), nodes: nodes.clone() }))
}

/// Votes on a block and all that they rest on; `None` while something of it is missing.
fn finality(reader: &Reader, paid: u32) -> Result<Option<Finality>, StoreError> {
    let (Some((genesis_header, nodes)), Some((signed, justification))) =
        (reader.first_voters()?, reader.votes_from(paid, REACH)?)
    else {
        return Ok(None);
    };
    let handoffs = reader.handoffs_before(paid)?;
    // A change within the headers is signed by the voters before it, and is then the first with votes.
    if reader.voters_followed()? <= signed || handoffs.iter().any(|(_, votes)| votes.is_none()) {
        return Ok(None);
    }
    let mut headers = Vec::new();
    for number in paid.saturating_add(1)..=signed {
        let Some(header) = reader.header(number)? else { return Ok(None) };
        headers.push(hex::encode(header));
    }
    let handoffs = handoffs.into_iter().map(|(header, votes)| Handoff {
        header: hex::encode(header),
        justification: hex::encode(votes.unwrap_or_default()),
    });
    Ok(Some(Finality {
        genesis_header: hex::encode(genesis_header),
        genesis_nodes: nodes,
        handoffs: handoffs.collect(),
        headers,
        justification: hex::encode(justification),
    }))
}
