//! The summary: what happened, as JSON whose fields the README documents.

use std::collections::BTreeMap;
use std::path::Path;

use iota_protocol::ids::{Epoch, Incarnation, Stage, Uid};
use iota_protocol::wire::codes_len;
use iota_protocol::work::{Role, ShardStatus};
use serde::{Deserialize, Serialize};

use crate::checks::Checks;
use crate::collect::{EpochRecord, Records};
use crate::network::Devnet;

/// The whole summary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// The run.
    pub run: Run,
    /// One line for each training epoch.
    pub epochs: Vec<EpochLine>,
    /// One line for each member.
    pub members: Vec<MemberLine>,
    /// Where the tokens came from and went, in the smallest unit.
    pub emission: Emission,
    /// Named statements; all must hold.
    pub checks: Checks,
    /// Text sampled from the model at the end.
    pub sample: String,
}

/// The run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Preset of the model.
    pub preset: String,
    /// Stages.
    pub stages: u16,
    /// Seed.
    pub seed: u64,
    /// Trained parameters over all stages.
    pub parameters: u64,
    /// Entropy of a byte given the one before it, in the held-out part, nats.
    pub bigram_entropy: f64,
    /// Held-out loss before training, nats per byte.
    pub initial_heldout_loss: Option<f64>,
    /// Bytes that one token costs at one boundary, both directions, as bf16 without a bottleneck.
    pub bytes_per_token_uncompressed: f64,
    /// The same after bottleneck and codec, scales included, headers not.
    pub bytes_per_token_codes: f64,
    /// What was sent for one trained token at each boundary: codes, headers, signatures,
    /// acknowledgements, probes and repeats; without transport encryption and framing.
    pub bytes_per_token_measured: Vec<f64>,
}

/// A training epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EpochLine {
    /// Its number.
    pub epoch: Epoch,
    /// Mean loss over its samples, nats per byte.
    pub train_loss: Option<f64>,
    /// Held-out loss of the weights after its merge.
    pub heldout_loss: Option<f64>,
    /// Tokens trained in it.
    pub tokens: u64,
    /// Tokens over the whole length of the epoch.
    pub tokens_per_second: f64,
    /// Miners that committed work.
    pub contributors: u32,
    /// Shards on which both owners agreed, or that have one owner and it opened.
    pub agreed_shards: u32,
    /// Shards on which the owners differed.
    pub disagreeing_shards: u32,
    /// Shards that nobody opened.
    pub missing_shards: u32,
}

/// A member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberLine {
    /// Its hotkey.
    pub hotkey: String,
    /// `miner` or `validator`.
    pub role: Role,
    /// The stage that a miner holds.
    pub stage: Option<Stage>,
    /// Its index.
    pub uid: Uid,
    /// Its registration.
    pub incarnation: Incarnation,
    /// Samples that it committed.
    pub samples: u64,
    /// Mean of its revealed scores over validators and epochs, 0 to 65,535.
    pub score: f64,
    /// What it was paid, smallest unit.
    pub paid: u128,
}

/// Totals over all epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emission {
    /// Minted.
    pub minted: u128,
    /// Burned.
    pub burned: u128,
    /// To miners.
    pub miners: u128,
    /// To validators.
    pub validators: u128,
    /// To the treasury.
    pub treasury: u128,
    /// Issuance at genesis.
    pub issuance_before: u128,
    /// Issuance at the end.
    pub issuance_after: u128,
}

/// Held-out loss of the weights that an epoch starts with, as the first validator that has it says.
#[must_use]
pub fn heldout_at_start(devnet: &Devnet, epoch: Epoch) -> Option<f64> {
    let validators = devnet.members.iter().filter(|member| member.role == Role::Validator);
    validators.into_iter().find_map(|member| {
        let text = std::fs::read_to_string(member.data_dir().join(format!("heldout-{epoch}.json"))).ok()?;
        text.trim().parse().ok()
    })
}

/// A validator's report on an epoch.
#[must_use]
pub fn report_of(data_dir: &Path, epoch: Epoch) -> Option<iota_protocol::report::Report> {
    let text = std::fs::read(data_dir.join(format!("report-{epoch}.json"))).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Training epochs of the run, in order.
pub fn training_epochs<'a>(
    devnet: &Devnet,
    records: &'a Records,
) -> impl Iterator<Item = (Epoch, &'a EpochRecord)> {
    let last = devnet.params.epochs;
    records.epochs.iter().filter(move |(epoch, _)| epoch.0 < last).map(|(epoch, record)| (*epoch, record))
}

/// One line for each training epoch.
#[must_use]
pub fn epoch_lines(devnet: &Devnet, records: &Records) -> Vec<EpochLine> {
    let mut before = 0;
    let mut lines = Vec::new();
    for (epoch, record) in training_epochs(devnet, records) {
        let after = record.tokens_after.unwrap_or(before);
        let tokens = after.saturating_sub(before);
        before = after;
        let seconds = record
            .started
            .zip(record.ended)
            .map_or(0.0, |(start, end)| end.duration_since(start).as_secs_f64());
        let shards = || record.merges.iter().flat_map(|merge| merge.shards.iter());
        let count = |wanted: fn(&ShardStatus) -> bool| {
            u32::try_from(shards().filter(|s| wanted(s)).count()).unwrap_or(u32::MAX)
        };
        let train_loss = devnet
            .members
            .iter()
            .filter(|member| member.role == Role::Validator)
            .find_map(|member| report_of(&member.data_dir(), epoch)?.train_loss());
        lines.push(EpochLine {
            epoch,
            train_loss,
            heldout_loss: heldout_at_start(devnet, epoch.next()),
            tokens,
            tokens_per_second: if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 },
            contributors: u32::try_from(record.merges.iter().map(|merge| merge.commits.len()).sum::<usize>())
                .unwrap_or(u32::MAX),
            agreed_shards: count(|status| matches!(status, ShardStatus::Agreed(_) | ShardStatus::Single(_))),
            disagreeing_shards: count(|status| matches!(status, ShardStatus::Differs(..))),
            missing_shards: count(|status| matches!(status, ShardStatus::Missing)),
        });
    }
    lines
}

/// One line for each member.
#[must_use]
pub fn member_lines(records: &Records) -> Vec<MemberLine> {
    records
        .members
        .iter()
        .map(|member| {
            let mine =
                |uid: Uid, incarnation: Incarnation| uid == member.uid && incarnation == member.incarnation;
            let commits =
                records.epochs.values().flat_map(|record| &record.merges).flat_map(|merge| &merge.commits);
            let samples =
                commits.filter(|c| mine(c.uid, c.incarnation)).map(|c| u64::from(c.work.samples)).sum();
            let rows = records
                .epochs
                .values()
                .flat_map(|record| &record.scores)
                .filter_map(|score| score.entries.as_ref());
            let scores: Vec<f64> =
                rows.flatten().filter(|e| mine(e.uid, e.incarnation)).map(|e| f64::from(e.score)).collect();
            let reports = records.epochs.values().filter_map(|record| record.report.as_ref());
            let paid = reports
                .flat_map(|report| &report.payouts)
                .filter(|p| mine(p.uid, p.incarnation))
                .map(|p| p.amount)
                .sum();
            MemberLine {
                hotkey: iota_service::ss58::encode(&member.hotkey.0),
                role: member.role,
                stage: member.stage,
                uid: member.uid,
                incarnation: member.incarnation,
                samples,
                score: if scores.is_empty() { 0.0 } else { scores.iter().sum::<f64>() / scores.len() as f64 },
                paid,
            }
        })
        .collect()
}

/// Totals over all reports.
#[must_use]
pub fn emission(records: &Records) -> Emission {
    let mut total = Emission {
        issuance_before: records.issuance_before,
        issuance_after: records.issuance_after,
        ..Emission::default()
    };
    for report in records.epochs.values().filter_map(|record| record.report.as_ref()) {
        total.minted += report.split.minted;
        total.burned += report.split.burned;
        total.miners += report.split.miners;
        total.validators += report.split.validators;
        total.treasury += report.split.treasury;
    }
    total
}

/// The run's facts, with what the miners measured on the wire.
#[must_use]
pub fn run_facts(devnet: &Devnet, records: &Records) -> Run {
    let params = &devnet.params;
    let tokens_per_sample = f64::from(params.tokens_per_sample());
    let codes = codes_len(params.train.wire, params.values_per_message()) as f64;
    let trained = records.clock.as_ref().map_or(0, |clock| clock.tokens) as f64;
    let mut measured: BTreeMap<u16, u64> = BTreeMap::new();
    for member in devnet.members.iter().filter(|member| member.role == Role::Miner) {
        let text = std::fs::read(member.data_dir().join("wire.json")).unwrap_or_default();
        let sent: BTreeMap<u16, u64> = serde_json::from_slice(&text).unwrap_or_default();
        for (boundary, bytes) in sent {
            *measured.entry(boundary).or_default() += bytes;
        }
    }
    Run {
        preset: devnet.options.preset.clone(),
        stages: params.n_stages(),
        seed: params.seed,
        parameters: params.total_parameters(),
        bigram_entropy: devnet.dataset.bigram_entropy(),
        initial_heldout_loss: heldout_at_start(devnet, Epoch(0)),
        bytes_per_token_uncompressed: 2.0 * 2.0 * f64::from(params.model.d_model),
        bytes_per_token_codes: 2.0 * codes / tokens_per_sample,
        bytes_per_token_measured: measured
            .values()
            .map(|bytes| if trained > 0.0 { *bytes as f64 / trained } else { 0.0 })
            .collect(),
    }
}
