//! Judging, epoch by epoch: who was accused by whom, how it was voted, whose evidence was asked for, and what
//! became of the pay.

use iota_protocol::court::{AccusationView, Accused, CourtView, RequestView};
use iota_protocol::ids::{Epoch, Hash, RunId, Uid};
use iota_protocol::view::SnapshotView;
use serde::Serialize;

use super::{Got, MAX_EVENTS};
use crate::look::number;
use crate::store::{EpochRow, EventRow, Reader};

/// Newest epochs that are shown: what was decided longer ago stands on its epoch's page.
const SHOWN: u32 = 100;
/// Events that are about judging.
const EVENTS: [&str; 10] = [
    "Accused",
    "Voted",
    "VerdictReached",
    "AccusationLapsed",
    "Equivocated",
    "EvidenceRequested",
    "EvidenceAnswered",
    "PayHeld",
    "PayLapsed",
    "Forfeited",
];

/// Judging in a run.
#[derive(Serialize)]
pub(in crate::web) struct Verdicts {
    pub run: RunId,
    /// Newest first; epochs in which nothing happened are left out.
    pub epochs: Vec<Judged>,
}

/// Judging about one epoch.
#[derive(Serialize)]
pub(in crate::web) struct Judged {
    pub epoch: Epoch,
    pub accusations: Vec<Accusation>,
    pub requests: Vec<Request>,
    pub pay: Vec<Pay>,
    pub events: Vec<EventRow>,
}

/// An accusation with its votes.
#[derive(Serialize)]
pub(in crate::web) struct Accusation {
    pub uid: Uid,
    /// The number under which the chain keeps it.
    pub segment: u32,
    /// What that number names: a segment by its first local step, or a merge shard.
    pub about: String,
    pub accuser: Uid,
    pub deposit: String,
    pub evidence: Hash,
    pub votes: Vec<Vote>,
    /// Parts of the permitted stake, between 0 and 1.
    pub guilty_stake: f64,
    pub innocent_stake: f64,
    pub outcome: &'static str,
}

/// A vote.
#[derive(Serialize)]
pub(in crate::web) struct Vote {
    pub uid: Uid,
    pub guilty: bool,
}

/// A request for evidence.
#[derive(Serialize)]
pub(in crate::web) struct Request {
    pub uid: Uid,
    pub again: bool,
    pub wanted: Hash,
    pub askers: Vec<Uid>,
    pub quorum: bool,
    pub answered: bool,
    pub outcome: &'static str,
}

/// Pay that waits, or that nobody gets any more.
#[derive(Serialize)]
pub(in crate::web) struct Pay {
    pub uid: Uid,
    pub amount: String,
    pub what: &'static str,
    pub block: Option<u32>,
}

pub(in crate::web) fn verdicts(reader: &Reader, run: RunId) -> Got<Option<Verdicts>> {
    if reader.run(run)?.is_none() {
        return Ok(None);
    }
    let mut epochs = Vec::new();
    for row in reader.epochs(run, SHOWN)?.iter().rev() {
        let judged = judged(reader, run, row)?;
        let quiet = judged.accusations.is_empty() && judged.requests.is_empty() && judged.events.is_empty();
        if !quiet {
            epochs.push(judged);
        }
    }
    Ok(Some(Verdicts { run, epochs }))
}

/// What an epoch's own page shows, too.
pub(super) fn judged(reader: &Reader, run: RunId, row: &EpochRow) -> Got<Judged> {
    let none = CourtView::default();
    let court = row.court.as_ref().unwrap_or(&none);
    let events = reader.events_of_epoch(run, row.epoch, u32::MAX)?;
    let mut events: Vec<EventRow> =
        events.into_iter().filter(|event| EVENTS.contains(&event.name.as_str())).collect();
    let pay = pay(court, &events);
    let paid = row.report.is_some();
    events.truncate(MAX_EVENTS as usize);
    Ok(Judged {
        epoch: row.epoch,
        accusations: court
            .accusations
            .iter()
            .map(|own| accusation(own, row.snapshot.as_ref(), &events))
            .collect(),
        requests: court.requests.iter().map(|own| request(own, paid)).collect(),
        pay,
        events,
    })
}

fn accusation(own: &AccusationView, snapshot: Option<&SnapshotView>, events: &[EventRow]) -> Accusation {
    let judges = || snapshot.into_iter().flat_map(|snapshot| &snapshot.validators);
    let all: u128 = judges().map(|judge| judge.stake).sum();
    let part = |guilty: bool| {
        let of = judges().filter(|judge| own.votes.contains(&(judge.uid, guilty)));
        of.map(|judge| judge.stake).sum::<u128>() as f64 / (all.max(1) as f64)
    };
    let lapsed = events.iter().any(|event| {
        event.name == "AccusationLapsed"
            && number(&event.fields, "uid") == Some(own.uid.0.into())
            && number(&event.fields, "segment") == Some(own.segment)
    });
    Accusation {
        uid: own.uid,
        segment: own.segment,
        about: Accused::of(own.segment).to_string(),
        accuser: own.accuser,
        deposit: own.deposit.to_string(),
        evidence: own.evidence,
        votes: own.votes.iter().map(|(uid, guilty)| Vote { uid: *uid, guilty: *guilty }).collect(),
        guilty_stake: part(true),
        innocent_stake: part(false),
        outcome: match own.verdict {
            Some(true) => "guilty: not paid for the epoch, and what had not vested is forfeited",
            Some(false) => "innocent: the accuser's deposit went to the treasury",
            None if lapsed => "undecided: too few voted; the deposit went back",
            None => "open",
        },
    }
}

fn request(own: &RequestView, paid: bool) -> Request {
    let outcome = match (own.quorum, own.again, paid) {
        (false, _, false) => "not enough stake asks so far",
        (false, _, true) => "nothing: too little stake asked, or the miner's answer satisfied them",
        (true, false, _) => "half of the stake asks: pay is held if it stays so until the epoch closes",
        (true, true, _) => "asked for again: pay lapses if it stays so until the epoch closes",
    };
    Request {
        uid: own.uid,
        again: own.again,
        wanted: own.wanted,
        askers: own.askers.clone(),
        quorum: own.quorum,
        answered: own.answer.is_some(),
        outcome,
    }
}

/// What the chain says was held or lapsed, and what waits now.
fn pay(court: &CourtView, events: &[EventRow]) -> Vec<Pay> {
    let of = |event: &EventRow| {
        let what = match event.name.as_str() {
            "PayHeld" => "held: evidence was asked for",
            "PayLapsed" => "lapsed to the treasury: the evidence was not served",
            _ => return None,
        };
        let uid = u16::try_from(number(&event.fields, "uid")?).ok()?;
        let amount = event.fields.get("amount")?.as_str()?.to_owned();
        Some(Pay { uid: Uid(uid), amount, what, block: Some(event.block) })
    };
    let told: Vec<Pay> = events.iter().filter_map(of).collect();
    let waits = court.held.iter().filter(|held| !told.iter().any(|pay| pay.uid == held.uid));
    let waits = waits.map(|held| Pay {
        uid: held.uid,
        amount: held.amount.to_string(),
        what: "held: evidence was asked for",
        block: None,
    });
    let waits: Vec<Pay> = waits.collect();
    told.into_iter().chain(waits).collect()
}
