//! What a validator publishes behind its score row: enough for a stranger to compute the row again.
//!
//! Validators make it, the explorer checks it, and both mean the same bytes. Runs off chain only; the
//! chain holds the root.

#[cfg(test)]
mod tests;

use codec::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::clasp::{self, Control, MeanZ, MinerEffect, Observation, SkipTest};
use crate::hash::{hash, Domain};
use crate::ids::{Epoch, Hash, Incarnation, RunId, Sample, Stage, Uid};
use crate::score::{self, Scored};
use crate::work::ScoreEntry;

/// What an audit found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Replay and log agree.
    Sound,
    /// The miner did not do what it says.
    Invalid,
    /// Something was missing; nobody is accused.
    Undecided,
}

/// Version of the report format.
pub const REPORT_VERSION: u16 = 3;

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
    /// Samples that stand by both sides' receipts and count ([`crate::evidence::Pathways::verified`]), less what
    /// undelivered shards cost ([`crate::duty`]); zero after an `Invalid` audit.
    pub verified: u32,
    /// CLASP effect in nats (bits of an f64); positive is harm.
    pub effect_bits: u64,
    /// Its standard error (bits of an f64).
    pub error_bits: u64,
    /// Whether the effect is significant.
    pub significant: bool,
    /// CLASP factor in millionths.
    pub factor_ppm: u32,
    /// The paper's z-score of the miner's mean loss in its stage, for comparison (bits of an f64).
    pub mean_z_bits: u64,
}

/// What the samples that ran twice say (bits of f64, square nats).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, Encode, Decode)]
pub struct ControlLine {
    /// Pairs of samples with the same text.
    pub pairs: u32,
    /// Residual variance of the losses.
    pub variance_bits: u64,
    /// What of it is not the text's.
    pub without_text_bits: u64,
}

/// A sender that skips a target more often than other senders do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, Encode, Decode)]
pub struct SkipLine {
    /// Who sends.
    pub sender: Uid,
    /// Whom it skips.
    pub target: Uid,
    /// Samples offered, skips included.
    pub offered: u32,
    /// Skips that the target did not sign.
    pub skipped: u32,
    /// Probability of as many if it skips like the others (bits of an f64).
    pub tail_bits: u64,
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
    /// Miners that committed, in uid order: those that are scored.
    pub miners: Vec<MinerLine>,
    /// Miners of the epoch's stages that committed nothing, in uid order: their contribution is
    /// published like everybody's, but there is nothing to pay.
    pub absent: Vec<MinerLine>,
    /// How much of the noise is the text's; `None` where no sample ran twice.
    pub control: Option<ControlLine>,
    /// Skips that stand out. They accuse nobody.
    pub skips: Vec<SkipLine>,
    /// Observations in sample order.
    pub observations: Vec<ObservationLine>,
    /// Audits done by this validator.
    pub audits: Vec<AuditLine>,
    /// The secret that, with the epoch's seed, chose this validator's audits; its hash stands in the report
    /// before, which a score commit had fixed before the seed was known.
    pub secret: Hash,
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

    /// Hash of a secret, as the report before shows it.
    #[must_use]
    pub fn secret_hash(secret: &Hash) -> Hash {
        hash(Domain::Audit, &secret.0)
    }

    /// Whether the report opens the secret that the same validator's report before it fixed.
    #[must_use]
    pub fn opens(&self, before: &Self) -> bool {
        self.epoch == before.epoch.next() && Self::secret_hash(&self.secret) == before.next_secret
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

    /// What CLASP makes of the report's own observations. `stages` are the uids of every stage as the
    /// epoch began, in stage and uid order.
    #[must_use]
    pub fn effects(&self, stages: &[Vec<Uid>]) -> Vec<MinerEffect> {
        clasp::estimate(stages, &self.seen(), &clasp::Config::default())
    }

    fn seen(&self) -> Vec<Observation> {
        self.observations.iter().map(Into::into).collect()
    }

    /// Miners whose line is not what CLASP makes of the observations, bit for bit; empty in an honest
    /// report. Counts of samples come from receipts and are not looked at.
    #[must_use]
    pub fn wrong_lines(&self, stages: &[Vec<Uid>]) -> Vec<Uid> {
        let seen = self.seen();
        let effects = clasp::estimate(stages, &seen, &clasp::Config::default());
        let means = clasp::mean_z(stages, &seen);
        let follows = |line: &MinerLine| {
            let effect = effects.iter().find(|effect| effect.uid == line.uid);
            let mean_z = mean_z_of(&means, line.uid);
            effect.is_some_and(|effect| {
                *line == MinerLine::new(line.incarnation, line.committed, line.verified, effect, mean_z)
            })
        };
        let lines = self.miners.iter().chain(&self.absent);
        lines.filter(|line| !follows(line)).map(|line| line.uid).collect()
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

impl From<&ObservationLine> for Observation {
    fn from(line: &ObservationLine) -> Self {
        Self {
            sample: line.sample,
            preference: line.preference.clone(),
            reporter: line.reporter,
            loss_micro: line.loss_micro,
            difficulty: f64::from_bits(line.difficulty_bits),
            time_bin: line.time_bin,
        }
    }
}

/// The z-score of one miner; 0 for one that is not there.
fn mean_z_of(means: &[MeanZ], uid: Uid) -> f64 {
    means.iter().find(|mean| mean.uid == uid).map_or(0.0, |mean| mean.z)
}

impl MinerLine {
    /// A line from what was committed, what stands, what CLASP says, and the paper's z-score.
    #[must_use]
    pub fn new(
        incarnation: Incarnation,
        committed: u32,
        verified: u32,
        effect: &MinerEffect,
        mean_z: f64,
    ) -> Self {
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
            mean_z_bits: mean_z.to_bits(),
        }
    }

    /// Contribution in nats that the miner takes off the loss of a sample, with its 95 % interval;
    /// `None` where the epoch's samples cannot tell.
    #[must_use]
    pub fn contribution(&self) -> Option<(f64, (f64, f64))> {
        let effect = MinerEffect {
            uid: self.uid,
            stage: self.stage,
            samples: self.committed,
            effect: f64::from_bits(self.effect_bits),
            error: f64::from_bits(self.error_bits),
            significant: self.significant,
            factor_ppm: self.factor_ppm,
        };
        effect.interval().map(|(low, high)| (-effect.effect, (-high, -low)))
    }
}

impl From<&Control> for ControlLine {
    fn from(control: &Control) -> Self {
        Self {
            pairs: control.pairs,
            variance_bits: control.variance.to_bits(),
            without_text_bits: control.without_text.to_bits(),
        }
    }
}

impl From<&SkipTest> for SkipLine {
    fn from(test: &SkipTest) -> Self {
        Self {
            sender: test.offers.sender,
            target: test.offers.target,
            offered: test.offers.offered,
            skipped: test.offers.skipped,
            tail_bits: test.tail.to_bits(),
        }
    }
}
