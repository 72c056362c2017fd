//! One epoch: windows, validators, miners, pathways, payments, and its audit.

use std::collections::BTreeMap;

use iota_protocol::ids::{Epoch, Hash, RunId, Stage, Uid};
use iota_protocol::report::Verdict;
use iota_protocol::view::EpochReportView;
use iota_service::ss58;
use serde::Serialize;

use super::agreement::{matrices, Matrix};
use super::members::Clasp;
use super::verdicts::{judged, Judged};
use super::{epoch_lines, EpochLine, Got, MAX_EVENTS};
use crate::audit::{audit_with, verdict, Finding, Memory, Status};
use crate::bundle::Bundle;
use crate::store::{EpochRow, EventRow, Reader, ReportRow, RunRow};

/// An epoch.
#[derive(Serialize)]
pub(in crate::web) struct EpochPage {
    pub run: RunId,
    pub line: EpochLine,
    /// Whether the run has begun the epoch after.
    pub has_next: bool,
    pub windows: Vec<Window>,
    pub validators: Vec<ValidatorLine>,
    pub miners: Vec<MinerRow>,
    pub matrices: Vec<Matrix>,
    pub flow: Vec<Flow>,
    pub payouts: Vec<Paid>,
    pub split: Option<Split>,
    pub judged: Judged,
    pub events: Vec<EventRow>,
}

/// A window of the epoch's clock.
#[derive(Serialize)]
pub(in crate::web) struct Window {
    pub phase: String,
    pub from: u32,
    pub to: u32,
}

/// What a validator submitted for the epoch.
#[derive(Serialize)]
pub(in crate::web) struct ValidatorLine {
    pub uid: Uid,
    pub stake: String,
    pub committed: Turn,
    pub revealed: Turn,
    pub report_root: Option<Hash>,
    pub report_at_hand: bool,
    pub audits: Vec<AuditRow>,
}

/// Whether a validator did what its window was for.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub(in crate::web) enum Turn {
    /// It did.
    Done,
    /// It has time until this block, or the window has not opened.
    Open { until: Option<u32> },
    /// The window closed without it.
    Missed,
}

impl Turn {
    /// `end` is the first block after the window, if the window is known; `newest` the newest block.
    fn of(done: bool, end: Option<u32>, newest: u32) -> Self {
        match end {
            _ if done => Self::Done,
            Some(end) if newest.saturating_add(1) >= end => Self::Missed,
            end => Self::Open { until: end.map(|end| end.saturating_sub(1)) },
        }
    }
}

/// An audit that a validator published.
#[derive(Serialize)]
pub(in crate::web) struct AuditRow {
    pub uid: Uid,
    pub verdict: Verdict,
    pub events: u32,
}

/// A miner in the epoch.
#[derive(Serialize)]
pub(in crate::web) struct MinerRow {
    pub uid: Uid,
    pub stage: Stage,
    pub samples: u32,
    pub clasp: Option<Clasp>,
    /// One for each validator that revealed.
    pub scores: Vec<(Uid, u16)>,
    pub paid: String,
}

/// Samples that prefer `to` after `from`.
#[derive(Serialize)]
pub(in crate::web) struct Flow {
    pub from_stage: Stage,
    pub from: Uid,
    pub to: Uid,
    pub samples: u32,
}

/// A payment.
#[derive(Serialize)]
pub(in crate::web) struct Paid {
    pub uid: Uid,
    pub coldkey: String,
    pub amount: String,
}

/// Where an epoch's emission went.
#[derive(Serialize)]
pub(in crate::web) struct Split {
    pub minted: String,
    pub burned: String,
    pub miners: String,
    pub validators: String,
    pub treasury: String,
}

impl Split {
    fn of(report: &EpochReportView) -> Self {
        let split = &report.split;
        Self {
            minted: split.minted.to_string(),
            burned: split.burned.to_string(),
            miners: split.miners.to_string(),
            validators: split.validators.to_string(),
            treasury: split.treasury.to_string(),
        }
    }
}

pub(in crate::web) fn epoch(reader: &Reader, run: RunId, id: Epoch) -> Got<Option<EpochPage>> {
    let (Some(about), Some(row)) = (reader.run(run)?, reader.epoch(run, id)?) else { return Ok(None) };
    let Some(line) = epoch_lines(reader, &about)?.into_iter().find(|line| line.epoch == id) else {
        return Ok(None);
    };
    let reports = reader.reports(run, id)?;
    let windows = row.clock.as_ref().map_or_else(Vec::new, |clock| windows(&about, clock));
    let judged = judged(reader, run, &row)?;
    // Rows are due in the first part of the epoch after.
    let next = reader.epoch(run, id.next())?;
    let has_next = next.is_some();
    let scoring = next.and_then(|next| next.clock);
    let scoring = scoring.map(|clock| clock.schedule(&about.params));
    let ends =
        (scoring.as_ref().map(|s| s.score_commit().end), scoring.as_ref().map(|s| s.score_reveal().end));
    let payouts = row.report.iter().flat_map(|report| &report.payouts).map(|payout| Paid {
        uid: payout.uid,
        coldkey: ss58::encode(&payout.coldkey.0),
        amount: payout.amount.to_string(),
    });
    Ok(Some(EpochPage {
        run,
        line,
        has_next,
        windows,
        validators: validator_lines(&row, &reports, ends, about.at_block),
        miners: miner_rows(&row, &reports),
        matrices: matrices(&row),
        flow: flow(&reports),
        payouts: payouts.collect(),
        split: row.report.as_ref().map(Split::of),
        judged,
        events: reader.events_of_epoch(run, id, MAX_EVENTS)?,
    }))
}

fn windows(run: &RunRow, clock: &iota_protocol::view::ClockView) -> Vec<Window> {
    use iota_protocol::phase::Phase;
    let schedule = clock.schedule(&run.params);
    let phases =
        [Phase::Train, Phase::Commit, Phase::Attest, Phase::Blind, Phase::Open, Phase::Root, Phase::Close];
    let windows = phases.into_iter().map(|phase| (format!("{phase:?}"), schedule.window(phase)));
    windows
        .filter(|(_, window)| !window.is_empty())
        .map(|(phase, window)| Window { phase, from: window.start, to: window.end.saturating_sub(1) })
        .collect()
}

fn validator_lines(
    row: &EpochRow,
    reports: &[ReportRow],
    (commit_end, reveal_end): (Option<u32>, Option<u32>),
    newest: u32,
) -> Vec<ValidatorLine> {
    let permitted = row.snapshot.iter().flat_map(|snapshot| &snapshot.validators);
    let line = |validator: &iota_protocol::view::SnapshotValidator| {
        let score =
            row.scores.iter().find(|s| (s.uid, s.incarnation) == (validator.uid, validator.incarnation));
        let report = reports.iter().find(|report| report.uid == validator.uid);
        let audits = report.into_iter().flat_map(|r| &r.report.audits);
        ValidatorLine {
            uid: validator.uid,
            stake: validator.stake.to_string(),
            committed: Turn::of(score.is_some(), commit_end, newest),
            revealed: Turn::of(score.is_some_and(|score| score.entries.is_some()), reveal_end, newest),
            report_root: score.and_then(|score| score.report_root),
            report_at_hand: report.is_some(),
            audits: audits.map(|a| AuditRow { uid: a.uid, verdict: a.verdict, events: a.events }).collect(),
        }
    };
    permitted.map(line).collect()
}

fn miner_rows(row: &EpochRow, reports: &[ReportRow]) -> Vec<MinerRow> {
    let miners = row.snapshot.iter().flat_map(|snapshot| &snapshot.miners);
    let line = |miner: &iota_protocol::view::SnapshotEntry| {
        let me = (miner.uid, miner.incarnation);
        let scores = row.scores.iter().filter_map(|score| {
            let entry = score.entries.as_ref()?.iter().find(|e| (e.uid, e.incarnation) == me)?;
            Some((score.uid, entry.score))
        });
        let paid = row.report.iter().flat_map(|r| &r.payouts).filter(|p| (p.uid, p.incarnation) == me);
        let clasp =
            reports.iter().find_map(|r| r.report.miners.iter().find(|l| (l.uid, l.incarnation) == me));
        MinerRow {
            uid: miner.uid,
            stage: miner.stage,
            samples: miner.samples,
            clasp: clasp.map(Clasp::of),
            scores: scores.collect(),
            paid: paid.map(|p| p.amount).sum::<u128>().to_string(),
        }
    };
    miners.map(line).collect()
}

/// First preferences from stage to stage, from the first report at hand.
fn flow(reports: &[ReportRow]) -> Vec<Flow> {
    let mut counts: BTreeMap<(u16, Uid, Uid), u32> = BTreeMap::new();
    let observations = reports.first().into_iter().flat_map(|row| &row.report.observations);
    for seen in observations {
        for (stage, pair) in (0u16..).zip(seen.preference.windows(2)) {
            if let [from, to] = pair {
                *counts.entry((stage, *from, *to)).or_default() += 1;
            }
        }
    }
    let flow = |((stage, from, to), samples)| Flow { from_stage: Stage(stage), from, to, samples };
    counts.into_iter().map(flow).collect()
}

/// The audit of an epoch.
#[derive(Serialize, Clone)]
pub(in crate::web) struct Audited {
    pub run: RunId,
    pub epoch: Epoch,
    pub verdict: Status,
    pub digest: Hash,
    pub findings: Vec<Finding>,
}

pub(in crate::web) fn audited(
    reader: &Reader,
    run: RunId,
    epoch: Epoch,
    memory: &Memory,
) -> Got<Option<Audited>> {
    let Some(bundle) = Bundle::collect(reader, run, epoch)? else { return Ok(None) };
    let findings = audit_with(&bundle, memory);
    Ok(Some(Audited { run, epoch, verdict: verdict(&findings), digest: bundle.digest, findings }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_missed_a_window_that_is_open() {
        assert_eq!(Turn::of(false, None, 10), Turn::Open { until: None });
        assert_eq!(Turn::of(false, Some(13), 10), Turn::Open { until: Some(12) });
        assert_eq!(Turn::of(false, Some(12), 10), Turn::Open { until: Some(11) }, "block 11 is built next");
        assert_eq!(Turn::of(false, Some(11), 10), Turn::Missed);
        assert_eq!(Turn::of(true, Some(1), 10), Turn::Done);
    }
}
