//! What pages and API show: made once here, so that both say the same numbers.
//!
//! Amounts are decimal text in the smallest unit, because JavaScript's numbers end at 2^53. Losses and
//! effects are nats.

use std::collections::BTreeMap;

use iota_protocol::ids::{Epoch, Hash, RunId, Stage, Uid};
use iota_protocol::view::RunState;
use iota_protocol::wire::codes_len;
use iota_protocol::work::{Role, ShardStatus};
use serde::Serialize;

use crate::manifest::{Manifest, Manifests};
use crate::store::{BlockRow, EpochRow, LossRow, Reader, RunRow, StoreError};

mod account;
mod agreement;
mod epoch;
mod members;
mod verdicts;

pub(super) use account::{account, parse_account, search, Vests};
pub(super) use agreement::Matrix;
pub(super) use epoch::{audited, epoch, Audited, EpochPage, MinerRow, Turn, ValidatorLine};
pub(super) use members::{members, Clasp, MemberLine};
pub(super) use verdicts::{verdicts, Accusation, Judged, Pay, Request};

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
    /// The text that it trains on.
    pub data: DataSet,
    /// The newest epoch of which a report is at hand, and with it the pathways.
    pub newest_report: Option<Epoch>,
    /// Bytes that one token costs at one boundary, both directions, as bf16 without a bottleneck.
    pub bytes_per_token_uncompressed: f64,
    /// The same after bottleneck and codec, without headers.
    pub bytes_per_token_codes: f64,
}

/// What a run trains on, as the chain names it, and what its manifest says if the explorer was given that.
#[derive(Serialize)]
pub(super) struct DataSet {
    pub manifest_root: Hash,
    pub train_windows: u64,
    pub heldout_windows: u64,
    pub manifest: Option<Manifest>,
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

pub(super) fn run(reader: &Reader, id: RunId, manifests: &Manifests) -> Got<Option<Run>> {
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
        data: DataSet {
            manifest_root: params.data.manifest_root,
            train_windows: params.data.train_windows,
            heldout_windows: params.data.heldout_windows,
            manifest: manifests.of(&params.data.manifest_root).cloned(),
        },
        newest_report: reader.newest_report(id)?,
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
