//! What a validator publishes behind its score row: enough for a stranger to compute the row again.

use codec::{Decode, Encode};
use iota_protocol::clasp::{MinerEffect, Observation};
use iota_protocol::hash::{hash, Domain};
use iota_protocol::ids::{Epoch, Hash, Incarnation, RunId, Sample, Stage, Uid};
use iota_protocol::score::{self, Scored};
use iota_protocol::work::ScoreEntry;
use serde::{Deserialize, Serialize};

use crate::audit::Audit;
use crate::audit::Verdict;

/// Version of the report format.
pub const REPORT_VERSION: u16 = 1;

/// One miner in a report. Floats travel as their bits, so that the root covers them exactly.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, Encode, Decode)]
pub struct MinerLine {
    /// The miner.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its stage.
    pub stage: Stage,
    /// Samples that it committed.
    pub committed: u32,
    /// Samples that stand by both sides' receipts, zero after an `Invalid` audit.
    pub verified: u32,
    /// CLASP effect in nats (bits of an f64); positive is harm.
    pub effect_bits: u64,
    /// Its standard error (bits of an f64).
    pub error_bits: u64,
    /// Whether the effect is significant.
    pub significant: bool,
    /// CLASP factor in millionths.
    pub factor_ppm: u32,
}

/// One observation of CLASP.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, Encode, Decode)]
pub struct ObservationLine {
    /// The sample.
    pub sample: Sample,
    /// First preference in each stage.
    pub preference: Vec<Uid>,
    /// Who reported the loss.
    pub reporter: Uid,
    /// Millionths of a nat per token.
    pub loss_micro: u32,
    /// Difficulty of the text (bits of an f64).
    pub difficulty_bits: u64,
    /// When in the epoch it ran.
    pub time_bin: u16,
}

/// One audit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Encode, Decode)]
pub struct AuditLine {
    /// Who was audited.
    pub uid: Uid,
    /// First local step of the segment.
    pub from_version: u32,
    /// What was found.
    pub verdict: Verdict,
    /// Events replayed.
    pub events: u32,
}

/// A validator's report on one epoch.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, Encode, Decode)]
pub struct Report {
    /// `REPORT_VERSION`.
    pub version: u16,
    /// The run.
    pub run: RunId,
    /// The scored epoch.
    pub epoch: Epoch,
    /// Miners in uid order.
    pub miners: Vec<MinerLine>,
    /// Observations in sample order.
    pub observations: Vec<ObservationLine>,
    /// Audits done by this validator.
    pub audits: Vec<AuditLine>,
    /// Hash of the secret that chooses this validator's audits of the next epoch.
    pub next_secret: Hash,
    /// Held-out loss of the weights that the epoch started with, millionths of a nat; `None` when not
    /// measured.
    pub heldout_micro: Option<u32>,
}

impl Report {
    /// The root that the reveal carries.
    #[must_use]
    pub fn root(&self) -> Hash {
        hash(Domain::Scores, &self.encode())
    }

    /// The score row that follows from the report.
    #[must_use]
    pub fn row(&self) -> Vec<ScoreEntry> {
        let scored: Vec<Scored> = self
            .miners
            .iter()
            .map(|line| Scored {
                uid: line.uid,
                incarnation: line.incarnation,
                stage: line.stage,
                samples: line.verified,
                factor_ppm: line.factor_ppm,
            })
            .collect();
        score::row(&scored)
    }

    /// Mean training loss over the observations, in nats.
    #[must_use]
    pub fn train_loss(&self) -> Option<f64> {
        let count = u32::try_from(self.observations.len()).ok().filter(|count| *count > 0)?;
        let sum: f64 = self.observations.iter().map(|line| f64::from(line.loss_micro)).sum();
        Some(sum / f64::from(count) / 1e6)
    }
}

impl From<&Observation> for ObservationLine {
    fn from(observation: &Observation) -> Self {
        Self {
            sample: observation.sample,
            preference: observation.preference.clone(),
            reporter: observation.reporter,
            loss_micro: observation.loss_micro,
            difficulty_bits: observation.difficulty.to_bits(),
            time_bin: observation.time_bin,
        }
    }
}

impl From<&Audit> for AuditLine {
    fn from(audit: &Audit) -> Self {
        Self {
            uid: audit.uid,
            from_version: audit.from_version.0,
            verdict: audit.verdict,
            events: audit.events,
        }
    }
}

impl MinerLine {
    /// A line from what was committed, what stands and what CLASP says.
    #[must_use]
    pub fn new(incarnation: Incarnation, committed: u32, verified: u32, effect: &MinerEffect) -> Self {
        Self {
            uid: effect.uid,
            incarnation,
            stage: effect.stage,
            committed,
            verified,
            effect_bits: effect.effect.to_bits(),
            error_bits: effect.error.to_bits(),
            significant: effect.significant,
            factor_ppm: effect.factor_ppm,
        }
    }
}
