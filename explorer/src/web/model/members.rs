//! Members: what each did in the newest paid epoch, what it got, and why if nothing.

use std::collections::BTreeMap;

use iota_protocol::ids::{Epoch, RunId, Stage, Uid};
use iota_protocol::report::MinerLine;
use iota_protocol::work::Role;
use iota_service::ss58;
use serde::Serialize;

use super::agreement::agreement;
use super::Got;
use crate::store::{EpochRow, MemberRow, Reader, ReportRow};

/// A member with what it did in the newest paid epoch.
#[derive(Serialize, Clone)]
pub(in crate::web) struct MemberLine {
    pub uid: Uid,
    pub incarnation: u32,
    pub role: Role,
    pub stage: Option<Stage>,
    pub present: bool,
    pub hotkey: String,
    pub coldkey: String,
    pub addresses: Vec<String>,
    pub bond: String,
    pub samples: Option<u32>,
    pub clasp: Option<Clasp>,
    /// Share of its shards on which both owners agreed.
    pub agreement: Option<f64>,
    /// Mean of its revealed scores, 0 to 65,535.
    pub score: Option<f64>,
    pub paid_last: String,
    pub paid_total: String,
    pub why_unpaid: Option<String>,
}

/// What a validator's CLASP says about a miner.
#[derive(Serialize, Clone)]
pub(in crate::web) struct Clasp {
    /// Nats above its stage's lower median; positive is harm.
    pub effect: f64,
    /// 95 % interval; absent without an estimate.
    pub interval: Option<(f64, f64)>,
    pub significant: bool,
    pub factor: f64,
}

impl Clasp {
    pub(super) fn of(line: &MinerLine) -> Self {
        let (effect, error) = (f64::from_bits(line.effect_bits), f64::from_bits(line.error_bits));
        let half = 1.959_964 * error;
        Self {
            effect,
            interval: half.is_finite().then_some((effect - half, effect + half)),
            significant: line.significant,
            factor: f64::from(line.factor_ppm) / 1e6,
        }
    }
}

/// Members and the epoch that their numbers are of.
#[derive(Serialize)]
pub(in crate::web) struct Members {
    pub run: RunId,
    pub epoch: Option<Epoch>,
    pub members: Vec<MemberLine>,
}

pub(in crate::web) fn members(reader: &Reader, run: RunId) -> Got<Option<Members>> {
    if reader.run(run)?.is_none() {
        return Ok(None);
    }
    let epochs = reader.epochs(run, 4)?;
    let paid = epochs.iter().rev().find(|epoch| epoch.report.is_some());
    let reports = paid.map_or(Ok(Vec::new()), |epoch| reader.reports(run, epoch.epoch))?;
    let mut totals: BTreeMap<(Uid, u32), u128> = BTreeMap::new();
    for payout in reader.payouts_of(run)? {
        *totals.entry((payout.uid, payout.incarnation)).or_default() += payout.amount;
    }
    let lines = reader.members(run)?;
    let lines = lines.iter().map(|row| member_line(row, paid, &reports, &totals)).collect();
    Ok(Some(Members { run, epoch: paid.map(|epoch| epoch.epoch), members: lines }))
}

fn member_line(
    row: &MemberRow,
    paid: Option<&EpochRow>,
    reports: &[ReportRow],
    totals: &BTreeMap<(Uid, u32), u128>,
) -> MemberLine {
    let member = &row.member;
    let me = (member.uid, member.incarnation);
    let snapshot = paid.and_then(|epoch| epoch.snapshot.as_ref());
    let entry = snapshot.and_then(|s| s.miners.iter().find(|m| (m.uid, m.incarnation) == me));
    let report = paid.and_then(|epoch| epoch.report.as_ref());
    let paid_last = report.map_or(0, |report| {
        report.payouts.iter().filter(|p| (p.uid, p.incarnation) == me).map(|p| p.amount).sum::<u128>()
    });
    let rows = paid.into_iter().flat_map(|epoch| &epoch.scores).filter_map(|score| score.entries.as_ref());
    let scores: Vec<f64> = rows
        .flat_map(|row| row.iter().filter(|e| (e.uid, e.incarnation) == me).map(|e| f64::from(e.score)))
        .collect();
    let score = (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64);
    let line = reports.iter().find_map(|r| r.report.miners.iter().find(|l| (l.uid, l.incarnation) == me));
    MemberLine {
        uid: member.uid,
        incarnation: member.incarnation.0,
        role: member.role,
        stage: member.stage,
        present: row.present,
        hotkey: ss58::encode(&member.hotkey.0),
        coldkey: ss58::encode(&member.coldkey.0),
        addresses: member.addresses.clone(),
        bond: member.bond.to_string(),
        samples: entry.map(|entry| entry.samples),
        clasp: line.map(Clasp::of),
        agreement: paid
            .zip(entry.map(|e| e.stage))
            .and_then(|(epoch, stage)| agreement(epoch, stage, member.uid)),
        score,
        paid_last: paid_last.to_string(),
        paid_total: totals.get(&(member.uid, member.incarnation.0)).copied().unwrap_or(0).to_string(),
        why_unpaid: (paid_last == 0).then(|| why_unpaid(row, paid, score)).flatten(),
    }
}

/// One sentence on why a member got nothing for the newest paid epoch.
fn why_unpaid(row: &MemberRow, paid: Option<&EpochRow>, score: Option<f64>) -> Option<String> {
    let epoch = paid?;
    let (report, snapshot) = (epoch.report.as_ref()?, epoch.snapshot.as_ref()?);
    let me = (row.member.uid, row.member.incarnation);
    let text = match row.member.role {
        _ if report.void => "The epoch was void: too little stake revealed scores.",
        Role::Miner if !snapshot.miners.iter().any(|m| (m.uid, m.incarnation) == me) => {
            "It committed no work in this epoch."
        }
        Role::Miner if report.terms.gated.contains(&me) => {
            "A verdict, or a proof that it signed twice, stopped its pay."
        }
        Role::Miner if score.is_none() => "No validator scored it.",
        Role::Miner if score == Some(0.0) => "Every validator scored it zero.",
        Role::Miner => "Too little stake supported its score.",
        Role::Validator if !snapshot.validators.iter().any(|v| (v.uid, v.incarnation) == me) => {
            "It held no permit when the epoch closed."
        }
        Role::Validator => match epoch.scores.iter().find(|s| (s.uid, s.incarnation) == me) {
            None => "It committed no scores in the window.",
            Some(score) if score.entries.is_none() => "It committed scores and did not reveal them.",
            Some(_) => "Nothing of its row survived consensus.",
        },
    };
    Some(text.to_owned())
}
