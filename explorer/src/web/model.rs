//! What pages and API show: made once here, so that both say the same numbers.
//!
//! Amounts are decimal text in the smallest unit, because JavaScript's numbers end at 2^53. Losses and
//! effects are nats.

use std::collections::BTreeMap;

use iota_protocol::ids::{AccountKey, Epoch, Hash, RunId, Stage, Uid};
use iota_protocol::report::{MinerLine, Verdict};
use iota_protocol::shard::Shards;
use iota_protocol::view::{EpochReportView, RunState};
use iota_protocol::wire::codes_len;
use iota_protocol::work::{Role, ShardStatus};
use iota_service::ss58;
use serde::Serialize;

use crate::audit::{audit, verdict, Finding, Status};
use crate::bundle::Bundle;
use crate::store::{
    BlockRow, EpochRow, EventRow, LossRow, MemberRow, PayoutRow, Reader, ReportRow, RunRow, SearchHit,
    StoreError,
};

/// Epochs in one list: a year of epochs of an hour fits nearly, and a page of them stays below a
/// megabyte.
pub(super) const MAX_EPOCHS: u32 = 5_000;
/// Events on one page.
pub(super) const MAX_EVENTS: u32 = 200;

type Got<T> = Result<T, StoreError>;

/// Where the index and the runs stand.
#[derive(Serialize)]
pub(super) struct Overview {
    pub genesis: String,
    pub newest: Option<BlockRow>,
    pub first_block: Option<u32>,
    pub blocks: u32,
    pub blocks_with_state: u32,
    pub runs: Vec<RunLine>,
}

/// A run in one line.
#[derive(Serialize)]
pub(super) struct RunLine {
    pub run: RunId,
    pub preset: String,
    pub state: RunState,
    pub epoch: Epoch,
    pub epochs: u32,
    pub phase: String,
    pub phase_ends: Option<u32>,
    pub epoch_ends: Option<u32>,
    pub block: u32,
    pub tokens: u64,
    pub parameters: u64,
    pub stages: u16,
    pub miners: usize,
    pub validators: usize,
}

pub(super) fn status(reader: &Reader) -> Got<Overview> {
    let (first_block, _, blocks, blocks_with_state) = reader.coverage()?;
    let runs = reader.runs()?;
    let runs = runs.iter().map(|run| run_line(reader, run)).collect::<Got<_>>()?;
    Ok(Overview {
        genesis: reader.genesis()?,
        newest: reader.newest()?,
        first_block,
        blocks,
        blocks_with_state,
        runs,
    })
}

fn run_line(reader: &Reader, row: &RunRow) -> Got<RunLine> {
    let (params, clock) = (&row.params, &row.clock);
    let schedule = clock.schedule(params);
    let running = clock.state == RunState::Running;
    // What is in force is the window of the block that is built next.
    let phase = schedule.phase_at(row.at_block.saturating_add(1));
    let members = reader.members(row.run)?;
    let count = |role| members.iter().filter(|m| m.present && m.member.role == role).count();
    Ok(RunLine {
        run: row.run,
        preset: String::from_utf8_lossy(&params.preset).into_owned(),
        state: clock.state,
        epoch: clock.epoch,
        epochs: params.epochs,
        phase: if running { format!("{phase:?}") } else { format!("{:?}", clock.state) },
        phase_ends: running.then(|| schedule.window(phase).end),
        epoch_ends: running.then(|| schedule.next_start()),
        block: row.at_block,
        tokens: clock.tokens,
        parameters: params.total_parameters(),
        stages: params.n_stages(),
        miners: count(Role::Miner),
        validators: count(Role::Validator),
    })
}

/// A run with its stages and epochs.
#[derive(Serialize)]
pub(super) struct Run {
    pub line: RunLine,
    pub stages: Vec<StageLine>,
    pub epochs: Vec<EpochLine>,
    /// Bytes that one token costs at one boundary, both directions, as bf16 without a bottleneck.
    pub bytes_per_token_uncompressed: f64,
    /// The same after bottleneck and codec, without headers.
    pub bytes_per_token_codes: f64,
}

/// A stage.
#[derive(Serialize)]
pub(super) struct StageLine {
    pub stage: Stage,
    pub first_layer: u16,
    pub layers: u16,
    pub parameters: u64,
    pub share_ppm: u32,
    pub replicas: Vec<Uid>,
}

/// An epoch in one line.
#[derive(Serialize, Clone)]
pub(super) struct EpochLine {
    pub epoch: Epoch,
    pub first_block: Option<u32>,
    pub closed_block: Option<u32>,
    pub settling: bool,
    pub tokens: Option<u64>,
    pub tokens_total: Option<u64>,
    pub tokens_per_second: Option<f64>,
    pub train_loss: Option<f64>,
    pub heldout_loss: Option<f64>,
    pub contributors: usize,
    pub agreed_shards: usize,
    pub differing_shards: usize,
    pub missing_shards: usize,
    pub void: Option<bool>,
    pub minted: Option<String>,
    pub paid_block: Option<u32>,
}

pub(super) fn run(reader: &Reader, id: RunId) -> Got<Option<Run>> {
    let Some(row) = reader.run(id)? else { return Ok(None) };
    let params = &row.params;
    let members = reader.members(id)?;
    let stages = (0..params.n_stages()).map(Stage).filter_map(|stage| {
        let about = params.stage(stage)?;
        let own = members.iter().filter(|m| m.present && m.member.stage == Some(stage));
        Some(StageLine {
            stage,
            first_layer: about.first_layer,
            layers: about.layers,
            parameters: about.parameters,
            share_ppm: about.share_ppm,
            replicas: own.map(|m| m.member.uid).collect(),
        })
    });
    let codes = codes_len(params.train.wire, params.values_per_message()) as f64;
    Ok(Some(Run {
        line: run_line(reader, &row)?,
        stages: stages.collect(),
        epochs: epoch_lines(reader, &row)?,
        bytes_per_token_uncompressed: 4.0 * f64::from(params.model.d_model),
        bytes_per_token_codes: 2.0 * codes / f64::from(params.tokens_per_sample().max(1)),
    }))
}

fn epoch_lines(reader: &Reader, row: &RunRow) -> Got<Vec<EpochLine>> {
    let epochs = reader.epochs(row.run, MAX_EPOCHS)?;
    let losses: BTreeMap<Epoch, LossRow> =
        reader.losses(row.run)?.into_iter().map(|loss| (loss.epoch, loss)).collect();
    let tokens_before = |epoch: Epoch| {
        epochs
            .iter()
            .find(|other| other.epoch == epoch)
            .and_then(|other| other.clock.as_ref())
            .map(|c| c.tokens)
    };
    let line = |epoch: &EpochRow| {
        let id = epoch.epoch;
        let ended = row.clock.state == RunState::Ended && row.clock.epoch == id;
        let total = tokens_before(id.next()).or_else(|| ended.then_some(row.clock.tokens));
        let tokens = total.zip(tokens_before(id)).map(|(after, before)| after.saturating_sub(before));
        // A run that waited for members, or an index that began later, did not see the epoch start.
        let saw_start = epoch.clock.as_ref().zip(epoch.first_block);
        let saw_start = saw_start.is_some_and(|(clock, first)| clock.start.abs_diff(first) <= 1);
        let millis = epoch.closed_ms.zip(epoch.started_ms).map(|(end, start)| end - start);
        let millis = millis.filter(|ms| *ms > 0 && saw_start);
        let shards = || epoch.merges.iter().flatten().flat_map(|merge| &merge.shards);
        EpochLine {
            epoch: id,
            first_block: epoch.first_block,
            closed_block: epoch.closed_block,
            settling: row.params.is_settling(id),
            tokens,
            tokens_total: total,
            tokens_per_second: tokens.zip(millis).map(|(tokens, ms)| tokens as f64 * 1e3 / ms as f64),
            train_loss: losses.get(&id).and_then(|loss| loss.train),
            // A report holds the held-out loss of the weights that its epoch started with.
            heldout_loss: losses.get(&id.next()).and_then(|loss| loss.heldout_before),
            contributors: epoch.merges.iter().flatten().map(|merge| merge.commits.len()).sum(),
            agreed_shards: shards()
                .filter(|s| matches!(s, ShardStatus::Agreed(_) | ShardStatus::Single(_)))
                .count(),
            differing_shards: shards().filter(|s| matches!(s, ShardStatus::Differs(..))).count(),
            missing_shards: shards().filter(|s| matches!(s, ShardStatus::Missing)).count(),
            void: epoch.report.as_ref().map(|report| report.void),
            minted: epoch.report.as_ref().map(|report| report.split.minted.to_string()),
            paid_block: epoch.report.as_ref().map(|report| report.block),
        }
    };
    Ok(epochs.iter().map(line).collect())
}

/// A member with what it did in the newest paid epoch.
#[derive(Serialize, Clone)]
pub(super) struct MemberLine {
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
pub(super) struct Clasp {
    /// Nats above its stage's lower median; positive is harm.
    pub effect: f64,
    /// 95 % interval; absent without an estimate.
    pub interval: Option<(f64, f64)>,
    pub significant: bool,
    pub factor: f64,
}

impl Clasp {
    fn of(line: &MinerLine) -> Self {
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
pub(super) struct Members {
    pub run: RunId,
    pub epoch: Option<Epoch>,
    pub members: Vec<MemberLine>,
}

pub(super) fn members(reader: &Reader, run: RunId) -> Got<Option<Members>> {
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

fn agreement(epoch: &EpochRow, stage: Stage, uid: Uid) -> Option<f64> {
    let matrix = matrices(epoch).into_iter().find(|matrix| matrix.stage == stage)?;
    let own: Vec<&Cell> =
        matrix.cells.iter().filter(|cell| cell.row == uid && cell.state != "missing").collect();
    let agreed = own.iter().filter(|cell| cell.state == "agreed").count();
    (!own.is_empty()).then(|| agreed as f64 / own.len() as f64)
}

/// Which owners of a stage agreed.
#[derive(Serialize, Clone)]
pub(super) struct Matrix {
    pub stage: Stage,
    pub uids: Vec<Uid>,
    pub cells: Vec<Cell>,
    pub canonical_root: Option<Hash>,
}

/// One pair of owners: `agreed`, `single`, `differs` or `missing`. Both orders are listed.
#[derive(Serialize, Clone)]
pub(super) struct Cell {
    pub row: Uid,
    pub column: Uid,
    pub state: &'static str,
}

/// Agreement matrices of an epoch. Empty cells before shards are opened or without the seed.
pub(super) fn matrices(epoch: &EpochRow) -> Vec<Matrix> {
    let seed = epoch.clock.as_ref().and_then(|clock| clock.seed);
    let stages = (0..=u16::MAX).map(Stage).zip(&epoch.merges);
    let matrix = |(stage, merge): (Stage, &Option<iota_protocol::view::MergeView>)| {
        let merge = merge.as_ref()?;
        let uids: Vec<Uid> = merge.commits.iter().map(|commit| commit.uid).collect();
        // Who owns what does not depend on the number of chunks.
        let shards = seed.and_then(|seed| Shards::new(&seed, stage, uids.len(), 1));
        let mut cells = Vec::new();
        for (index, status) in (0..=u16::MAX).zip(&merge.shards) {
            let Some((low, high)) = shards.as_ref().and_then(|shards| shards.owners(index)) else { continue };
            let (Some(low), Some(high)) = (uids.get(low), uids.get(high)) else { continue };
            let state = match status {
                ShardStatus::Missing => "missing",
                ShardStatus::Single(_) => "single",
                ShardStatus::Agreed(_) => "agreed",
                ShardStatus::Differs(..) => "differs",
            };
            cells.push(Cell { row: *low, column: *high, state });
            if low != high {
                cells.push(Cell { row: *high, column: *low, state });
            }
        }
        Some(Matrix { stage, uids, cells, canonical_root: merge.canonical_root })
    };
    stages.filter_map(matrix).collect()
}

/// An epoch.
#[derive(Serialize)]
pub(super) struct EpochPage {
    pub run: RunId,
    pub line: EpochLine,
    pub windows: Vec<Window>,
    pub validators: Vec<ValidatorLine>,
    pub miners: Vec<MinerRow>,
    pub matrices: Vec<Matrix>,
    pub flow: Vec<Flow>,
    pub payouts: Vec<Paid>,
    pub split: Option<Split>,
    pub events: Vec<EventRow>,
}

/// A window of the epoch's clock.
#[derive(Serialize)]
pub(super) struct Window {
    pub phase: String,
    pub from: u32,
    pub to: u32,
}

/// What a validator submitted for the epoch.
#[derive(Serialize)]
pub(super) struct ValidatorLine {
    pub uid: Uid,
    pub stake: String,
    pub committed: bool,
    pub revealed: bool,
    pub report_root: Option<Hash>,
    pub report_at_hand: bool,
    pub audits: Vec<AuditRow>,
}

/// An audit that a validator published.
#[derive(Serialize)]
pub(super) struct AuditRow {
    pub uid: Uid,
    pub verdict: Verdict,
    pub events: u32,
}

/// A miner in the epoch.
#[derive(Serialize)]
pub(super) struct MinerRow {
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
pub(super) struct Flow {
    pub from_stage: Stage,
    pub from: Uid,
    pub to: Uid,
    pub samples: u32,
}

/// A payment.
#[derive(Serialize)]
pub(super) struct Paid {
    pub uid: Uid,
    pub coldkey: String,
    pub amount: String,
}

/// Where an epoch's emission went.
#[derive(Serialize)]
pub(super) struct Split {
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

pub(super) fn epoch(reader: &Reader, run: RunId, id: Epoch) -> Got<Option<EpochPage>> {
    let (Some(about), Some(row)) = (reader.run(run)?, reader.epoch(run, id)?) else { return Ok(None) };
    let Some(line) = epoch_lines(reader, &about)?.into_iter().find(|line| line.epoch == id) else {
        return Ok(None);
    };
    let reports = reader.reports(run, id)?;
    let windows = row.clock.as_ref().map_or_else(Vec::new, |clock| windows(&about, clock));
    let payouts = row.report.iter().flat_map(|report| &report.payouts).map(|payout| Paid {
        uid: payout.uid,
        coldkey: ss58::encode(&payout.coldkey.0),
        amount: payout.amount.to_string(),
    });
    Ok(Some(EpochPage {
        run,
        line,
        windows,
        validators: validator_lines(&row, &reports),
        miners: miner_rows(&row, &reports),
        matrices: matrices(&row),
        flow: flow(&reports),
        payouts: payouts.collect(),
        split: row.report.as_ref().map(Split::of),
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

fn validator_lines(row: &EpochRow, reports: &[ReportRow]) -> Vec<ValidatorLine> {
    let permitted = row.snapshot.iter().flat_map(|snapshot| &snapshot.validators);
    let line = |validator: &iota_protocol::view::SnapshotValidator| {
        let score =
            row.scores.iter().find(|s| (s.uid, s.incarnation) == (validator.uid, validator.incarnation));
        let report = reports.iter().find(|report| report.uid == validator.uid);
        let audits = report.into_iter().flat_map(|r| &r.report.audits);
        ValidatorLine {
            uid: validator.uid,
            stake: validator.stake.to_string(),
            committed: score.is_some(),
            revealed: score.is_some_and(|score| score.entries.is_some()),
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
#[derive(Serialize)]
pub(super) struct Audited {
    pub run: RunId,
    pub epoch: Epoch,
    pub verdict: Status,
    pub digest: Hash,
    pub findings: Vec<Finding>,
}

pub(super) fn audited(reader: &Reader, run: RunId, epoch: Epoch) -> Got<Option<Audited>> {
    let Some(bundle) = Bundle::collect(reader, run, epoch)? else { return Ok(None) };
    let findings = audit(&bundle);
    Ok(Some(Audited { run, epoch, verdict: verdict(&findings), digest: bundle.digest, findings }))
}

/// An account.
#[derive(Serialize)]
pub(super) struct Account {
    pub address: String,
    pub hex: String,
    pub members: Vec<Membership>,
    pub paid_total: String,
    pub payouts: Vec<PayoutRow>,
    pub events: Vec<EventRow>,
}

/// A member that the account signs for or owns.
#[derive(Serialize)]
pub(super) struct Membership {
    pub run: RunId,
    pub uid: Uid,
    pub incarnation: u32,
    pub role: Role,
    pub stage: Option<Stage>,
    pub present: bool,
    pub is_hotkey: bool,
    pub bond: String,
    pub addresses: Vec<String>,
}

pub(super) fn account(reader: &Reader, key: &AccountKey) -> Got<Account> {
    let payouts = reader.payouts_to(key, u32::MAX)?;
    let total: u128 = payouts.iter().map(|payout| payout.amount).sum();
    let members = reader.memberships(key)?.into_iter().map(|row| Membership {
        run: row.run,
        uid: row.member.uid,
        incarnation: row.member.incarnation.0,
        role: row.member.role,
        stage: row.member.stage,
        present: row.present,
        is_hotkey: row.member.hotkey == *key,
        bond: row.member.bond.to_string(),
        addresses: row.member.addresses,
    });
    Ok(Account {
        address: ss58::encode(&key.0),
        hex: key.to_string(),
        members: members.collect(),
        paid_total: total.to_string(),
        payouts: payouts.into_iter().take(MAX_EVENTS as usize).collect(),
        events: reader.events_of(key, MAX_EVENTS)?,
    })
}

/// An address or 64 hex digits.
pub(super) fn parse_account(text: &str) -> Option<AccountKey> {
    let hex = || iota_protocol::ids::parse_hex32(text);
    hex().or_else(|| ss58::decode(text).ok()).map(AccountKey)
}

/// Where a text may lead: an address, a block by number or hash, an epoch or a uid by number.
pub(super) fn search(reader: &Reader, text: &str) -> Got<Vec<SearchHit>> {
    let text = text.trim();
    let mut hits = Vec::new();
    let mut hit = |title: String, path: String| hits.push(SearchHit { title, path });
    if let Some(key) = parse_account(text) {
        if let Some(block) = reader.block_by_hash(&Hash(key.0))? {
            hit(format!("Block {}", block.number), format!("/block/{}", block.number));
        } else {
            hit(format!("Account {}", ss58::encode(&key.0)), format!("/account/{}", ss58::encode(&key.0)));
        }
    }
    if let Ok(number) = text.parse::<u32>() {
        for run in reader.runs()? {
            let run = run.run;
            if reader.epoch(run, Epoch(number))?.is_some() {
                hit(format!("Run {run}, epoch {number}"), format!("/run/{run}/epoch/{number}"));
            }
            for row in reader.members(run)?.iter().filter(|row| u32::from(row.member.uid.0) == number) {
                let address = ss58::encode(&row.member.hotkey.0);
                hit(format!("Run {run}, uid {number} ({address})"), format!("/account/{address}"));
            }
        }
        if reader.block(number)?.is_some() {
            hit(format!("Block {number}"), format!("/block/{number}"));
        }
    }
    Ok(hits)
}
