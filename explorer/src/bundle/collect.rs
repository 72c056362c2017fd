//! Collecting a bundle from the database.

use codec::Encode;
use iota_protocol::audit::payments;
use iota_protocol::consensus::bonds::BondRow;
use iota_protocol::emission::carried;
use iota_protocol::ids::{Epoch, Hash, RunId, Uid};
use iota_protocol::params::RunParams;
use iota_protocol::view::EpochReportView;

use super::{
    terms, Bundle, Carried, Finality, Handoff, IssuanceSpan, Proof, Published, Ruling, RulingKind, Salt,
    Submission, BUNDLE_VERSION,
};
use crate::look::number;
use crate::store::{EpochRow, EventRow, Reader, StoreError};
use crate::votes::REACH;

impl Bundle {
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
            salts: salts(reader, run, epoch)?,
            carried: row.report.as_ref().map(|report| carried_by(reader, run, report)).transpose()?.flatten(),
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
            claims: row.money.as_ref().map_or_else(Vec::new, |money| money.claims.clone()),
            funds: row.money.map(|money| money.funds),
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
    let Some(from_block) = paid_before(reader, run, epoch, report.block)? else { return Ok(None) };
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

/// The newest block before `block` that paid an earlier epoch of the run, 0 if there was none; `None` where a
/// report is missing. A void epoch and the one that scored it are paid in one block.
fn paid_before(reader: &Reader, run: RunId, epoch: Epoch, block: u32) -> Result<Option<u32>, StoreError> {
    for number in (0..epoch.0).rev() {
        let Some(report) = reader.epoch(run, Epoch(number))?.and_then(|row| row.report) else {
            return Ok(None);
        };
        if report.block < block {
            return Ok(Some(report.block));
        }
    }
    Ok(Some(0))
}

/// What a void epoch was scored by, if it was scored with the next.
fn carried_by(reader: &Reader, run: RunId, report: &EpochReportView) -> Result<Option<Carried>, StoreError> {
    if report.terms.scored_by == report.epoch {
        return Ok(None);
    }
    let next = reader.epoch(run, report.terms.scored_by)?;
    Ok(next.and_then(|next| Some(Carried { snapshot: next.snapshot?, scores: next.scores })))
}

fn salts(reader: &Reader, run: RunId, epoch: Epoch) -> Result<Vec<Salt>, StoreError> {
    Ok(reader.salts(run, epoch)?.into_iter().map(|(uid, salt)| Salt { uid, salt }).collect())
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
        let (snapshot, scores) = match carried_by(reader, run, &report)? {
            Some(next) => (carried(&snapshot, &next.snapshot), next.scores),
            None if report.terms.scored_by == row.epoch => (snapshot, row.scores),
            None => return Ok(None),
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
    // A change within the headers is signed by the voters before it, and is then the first with votes: if its
    // own are not known yet, those on a later block show nothing.
    let waits = handoffs.iter().any(|(_, votes)| votes.is_none()) || reader.hands_over(paid, signed)?;
    if waits || reader.voters_followed()? <= signed {
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
        left_out: 0,
        handoffs: handoffs.collect(),
        headers,
        justification: hex::encode(justification),
    }))
}
