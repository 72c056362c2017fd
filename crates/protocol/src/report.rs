//! What a validator publishes behind its score row: enough for a stranger to compute the row again.
//!
//! Validators make it, the explorer checks it, and both mean the same bytes. Runs off chain only; the
//! chain holds the root.
use codec::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::clasp::{self, MinerEffect, Observation};
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

    /// What CLASP makes of the report's own observations. `stages` are the uids of every stage as the
    /// epoch began, in stage and uid order.
    #[must_use]
    pub fn effects(&self, stages: &[Vec<Uid>]) -> Vec<MinerEffect> {
        let observations: Vec<Observation> = self.observations.iter().map(Into::into).collect();
        clasp::estimate(stages, &observations, &clasp::Config::default())
    }

    /// Miners whose line is not what CLASP makes of the observations, bit for bit; empty in an honest
    /// report. Counts of samples come from receipts and are not looked at.
    #[must_use]
    pub fn wrong_lines(&self, stages: &[Vec<Uid>]) -> Vec<Uid> {
        let effects = self.effects(stages);
        let follows = |line: &MinerLine| {
            let effect = effects.iter().find(|effect| effect.uid == line.uid);
            effect.is_some_and(|effect| {
                *line == MinerLine::new(line.incarnation, line.committed, line.verified, effect)
            })
        };
        self.miners.iter().filter(|line| !follows(line)).map(|line| line.uid).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two stages of two; whoever prefers uid 1 loses half a nat more.
    fn report(harm_micro: u32) -> (Report, Vec<Vec<Uid>>) {
        let stages = vec![vec![Uid(0), Uid(1)], vec![Uid(2), Uid(3)]];
        let observations = (0u32..80)
            .map(|sample| {
                let first = Uid(u16::try_from(sample % 2).unwrap());
                let second = Uid(2 + u16::try_from(sample / 2 % 2).unwrap());
                let loss = 3_000_000 + (sample * 7_919) % 40_000 + u32::from(first.0) * harm_micro;
                ObservationLine {
                    sample: Sample(sample),
                    preference: vec![first, second],
                    reporter: second,
                    loss_micro: loss,
                    difficulty_bits: f64::from(sample % 5).to_bits(),
                    time_bin: 0,
                }
            })
            .collect();
        let mut report = Report {
            version: REPORT_VERSION,
            run: RunId(0),
            epoch: Epoch(0),
            miners: Vec::new(),
            observations,
            audits: Vec::new(),
            next_secret: Hash::ZERO,
            heldout_micro: None,
        };
        let effects = report.effects(&stages);
        report.miners = effects.iter().map(|effect| MinerLine::new(Incarnation(0), 40, 40, effect)).collect();
        (report, stages)
    }

    #[test]
    fn worked_example_harm_shows_in_line_and_row() {
        let (report, stages) = report(500_000);
        assert_eq!(report.wrong_lines(&stages), []);
        let line = &report.miners[1];
        assert!(line.significant, "{line:?}");
        assert!((f64::from_bits(line.effect_bits) - 0.5).abs() < 0.02, "{line:?}");
        assert_eq!(line.factor_ppm, 0);
        let scores: Vec<u16> = report.row().iter().map(|entry| entry.score).collect();
        assert_eq!(scores, [65_535, 0, 65_535, 65_535]);
    }

    proptest! {
        #[test]
        fn a_changed_line_or_loss_is_noticed(which in 0usize..4, bit in 0u32..52, sample in 0usize..80) {
            let (honest, stages) = report(500_000);
            let mut changed = honest.clone();
            changed.miners[which].error_bits ^= 1u64 << bit;
            prop_assert_eq!(changed.wrong_lines(&stages), [honest.miners[which].uid]);
            let mut changed = honest.clone();
            changed.observations[sample].loss_micro += 100_000;
            prop_assert!(!changed.wrong_lines(&stages).is_empty());
            prop_assert_ne!(changed.root(), honest.root());
        }
    }
}
