//! CLASP: which miners make the loss of the samples that prefer them better or worse
//! (design.md, section 9).
//!
//! Loss is regressed on stage membership. Membership is the *first preference* of a sample, which the
//! epoch's seed decides, not the miner that was used, which senders can steer. f64 with
//! `+ - * / sqrt` in a fixed order and nothing from libm, so validators with the same observations
//! get the same bits. Runs off chain only. Collecting observations, the difficulty of a text, and
//! what is done with a flag belong to the validator.

mod regression;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::ids::{Sample, Stage, Uid};
use crate::params::PPM;
use regression::Fit;
use tail::{discoveries, two_sided_tail};

/// One verified sample with its loss.
#[derive(Clone, PartialEq, Debug)]
pub struct Observation {
    /// The sample.
    pub sample: Sample,
    /// Its first preference in each stage.
    pub preference: Vec<Uid>,
    /// The last-stage miner that reported the loss.
    pub reporter: Uid,
    /// Mean loss in millionths of a nat per token.
    pub loss_micro: u32,
    /// Covariate: how hard the text is by itself, such as its n-gram loss. Must be finite.
    pub difficulty: f64,
    /// Covariate: when in the epoch the sample ran.
    pub time_bin: u16,
}

/// What the observations say about one miner.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MinerEffect {
    /// The miner.
    pub uid: Uid,
    /// Its stage.
    pub stage: Stage,
    /// Observations that prefer it.
    pub samples: u32,
    /// Nats per token above the stage's lower median; positive is harm. 0 without an estimate.
    pub effect: f64,
    /// Standard error of `effect`: 0 for the median miner itself, infinite without an estimate.
    pub error: f64,
    /// Whether the effect survives false-discovery control and stands without its best supporters.
    pub significant: bool,
    /// What verified samples are multiplied with, in millionths: 0 to 1,200,000.
    pub factor_ppm: u32,
}

impl MinerEffect {
    /// The 95 % interval of the effect; `None` without an estimate.
    #[must_use]
    pub fn interval(&self) -> Option<(f64, f64)> {
        let half = 1.959_964 * self.error;
        half.is_finite().then_some((self.effect - half, self.effect + half))
    }
}

/// Thresholds of the estimate. The defaults carry their reasons.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Expected share of false flags among all flags (Benjamini-Hochberg).
    pub false_discovery_rate: f64,
    /// A miner with fewer observations gets no effect.
    pub min_samples: u32,
    /// With fewer residual degrees of freedom nothing is significant.
    pub min_freedom: usize,
    /// z that an effect must keep when its best supporters are left out.
    pub stand_z: f64,
    /// Nats of harm at which the factor reaches 0.
    pub harm_full: f64,
    /// Share of the epoch's own fall in loss by which an honest replica may lag or lead.
    pub lag_share: f64,
    /// Nats of benefit at which the factor reaches its top.
    pub benefit_full: f64,
    /// Millionths above 1 at full benefit.
    pub benefit_top_ppm: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // A false flag costs an honest miner pay, a missed one is caught in the next epoch.
            false_discovery_rate: 0.01,
            // Below it one bad text decides.
            min_samples: 8,
            // Where the normal tail stands in for Student's t within a factor of three at z = 3.5.
            min_freedom: 30,
            // Left with half of its evidence, a true effect at z = 3.5 is at 2.5 on average.
            stand_z: 2.0,
            // In the default run an epoch lowers the loss by 0.07 to 0.24 nats: a miner that costs
            // its samples as much undoes what the epoch was for.
            harm_full: 0.10,
            // Replicas learn apart between merges, and one that was preferred for fewer samples is
            // truly behind until the merge. Sampling and weights that move 25 % per epoch make that a
            // quarter of what the epoch teaches: 0.43 and 0.51 nats of a fall of 2.5 were seen in the
            // first epoch of honest runs, 1.8 from garbage activations (tests/scenario.rs).
            lag_share: 0.25,
            // As strong as harm, so that noise earns nothing on average.
            benefit_full: 0.10,
            // Contribution is paid, but what is verified stays the larger part of a score.
            benefit_top_ppm: 200_000,
        }
    }
}

/// Estimates the effect of every miner of `stages`, stage by stage in the order given.
///
/// 1. Ordinary least squares on first preferences, difficulty and time bins. Observations with a
///    preference outside `stages` or a difficulty that is not finite are left out.
/// 2. Each miner with enough samples is contrasted with the lower median of its stage, with the
///    standard error of that contrast. What the design cannot tell apart gets no estimate.
/// 3. Two-sided Benjamini-Hochberg over all contrasts of all stages.
/// 4. An effect stands if it keeps its sign and `stand_z` in a second fit, without the reporters
///    that support it most, as many of them as carry less than half of the miner's samples. So a
///    minority of reporters can neither blame nor praise.
/// 5. A miner that reports at least half of its samples itself, as in the last stage, cannot show a
///    benefit, and shows harm only in a stage of three or more, where the median is not one rival.
///
/// The order of `observations` does not matter.
///
/// # Complexity
/// Linear in observations times stages squared; memory for the square of miners plus time bins. One
/// more fit for each flagged miner.
#[must_use]
pub fn estimate(stages: &[Vec<Uid>], observations: &[Observation], config: &Config) -> Vec<MinerEffect> {
    let sorted = in_fixed_order(observations);
    let Some(fit) = Fit::new(stages, &sorted) else {
        return miners(stages).map(|(stage, uid)| without_estimate(stage, uid, 0)).collect();
    };
    let mut effects: Vec<MinerEffect> = (0..=u16::MAX)
        .map(Stage)
        .zip(stages)
        .flat_map(|(stage, members)| contrast_stage(&fit, stage, members, config))
        .collect();
    flag(&mut effects, fit.freedom(), config);
    let review = Review { stages, observations: &sorted, fit: &fit, config };
    for effect in effects.iter_mut().filter(|effect| effect.significant) {
        effect.significant = review.stands(effect);
    }
    let lag = config.lag_share * epoch_fall(&sorted);
    for effect in &mut effects {
        effect.factor_ppm = factor_ppm(effect, lag, config);
    }
    effects
}

fn miners(stages: &[Vec<Uid>]) -> impl Iterator<Item = (Stage, Uid)> + '_ {
    (0..=u16::MAX)
        .map(Stage)
        .zip(stages)
        .flat_map(|(stage, members)| members.iter().map(move |uid| (stage, *uid)))
}

/// Sums of floats depend on order, so the order must not depend on the caller.
fn in_fixed_order(observations: &[Observation]) -> Vec<&Observation> {
    let mut sorted: Vec<&Observation> = observations.iter().collect();
    sorted.sort_by(|left, right| {
        let key = |seen: &Observation| (seen.sample, seen.reporter, seen.loss_micro, seen.time_bin);
        key(left)
            .cmp(&key(right))
            .then_with(|| left.preference.cmp(&right.preference))
            .then_with(|| left.difficulty.total_cmp(&right.difficulty))
    });
    sorted
}

fn without_estimate(stage: Stage, uid: Uid, samples: u32) -> MinerEffect {
    MinerEffect {
        uid,
        stage,
        samples,
        effect: 0.0,
        error: f64::INFINITY,
        significant: false,
        factor_ppm: PPM,
    }
}

/// Contrasts of one stage against its lower median.
fn contrast_stage(fit: &Fit<'_>, stage: Stage, members: &[Uid], config: &Config) -> Vec<MinerEffect> {
    let mut level: Vec<(f64, Uid)> = members
        .iter()
        .filter(|uid| fit.samples(stage, **uid) >= config.min_samples.max(1))
        .filter_map(|uid| fit.level(stage, *uid).map(|level| (level, *uid)))
        .collect();
    level.sort_by(|(left, uid), (right, other)| left.total_cmp(right).then(uid.cmp(other)));
    let median = level.get(level.len().saturating_sub(1) / 2).map(|(_, uid)| *uid);
    let one = |uid: Uid| {
        let blank = without_estimate(stage, uid, fit.samples(stage, uid));
        let estimated = level.iter().any(|(_, other)| *other == uid);
        let contrast = median.filter(|_| estimated).and_then(|median| fit.contrast(stage, uid, median));
        contrast.map_or(blank, |contrast| MinerEffect {
            effect: contrast.effect,
            error: contrast.error,
            ..blank
        })
    };
    members.iter().map(|uid| one(*uid)).collect()
}

fn is_tested(effect: &MinerEffect) -> bool {
    effect.error > 0.0 && effect.error.is_finite()
}

fn flag(effects: &mut [MinerEffect], freedom: usize, config: &Config) {
    if freedom < config.min_freedom {
        return;
    }
    let tails: Vec<f64> = effects
        .iter()
        .filter(|effect| is_tested(effect))
        .map(|effect| two_sided_tail(effect.effect / effect.error))
        .collect();
    let found = discoveries(&tails, config.false_discovery_rate);
    for (effect, found) in effects.iter_mut().filter(|effect| is_tested(effect)).zip(found) {
        effect.significant = found;
    }
}

/// What one reporter says about one miner.
#[derive(Default)]
struct Support {
    samples: u32,
    residuals: f64,
}

/// The second look at a flagged miner.
struct Review<'a> {
    stages: &'a [Vec<Uid>],
    observations: &'a [&'a Observation],
    fit: &'a Fit<'a>,
    config: &'a Config,
}

impl Review<'_> {
    fn stands(&self, effect: &MinerEffect) -> bool {
        let supports = self.supports(effect);
        let total: u32 = supports.values().map(|support| support.samples).sum();
        let own = supports.get(&effect.uid).map_or(0, |support| support.samples);
        if own.saturating_mul(2) >= total {
            let members = self.stages.get(usize::from(effect.stage.0)).map_or(0, Vec::len);
            return effect.effect > 0.0 && members >= 3;
        }
        let left_out = best_supporters(&supports, effect.effect, total);
        left_out.is_empty() || self.stands_without(effect, &left_out)
    }

    /// Mean residuals of the miner's samples by reporter: how far each is above the common effect.
    fn supports(&self, effect: &MinerEffect) -> BTreeMap<Uid, Support> {
        let mut supports: BTreeMap<Uid, Support> = BTreeMap::new();
        let stage = usize::from(effect.stage.0);
        for seen in self.observations.iter().filter(|seen| seen.preference.get(stage) == Some(&effect.uid)) {
            if let Some(residual) = self.fit.residual(seen) {
                let support = supports.entry(seen.reporter).or_default();
                support.samples = support.samples.saturating_add(1);
                support.residuals += residual;
            }
        }
        supports
    }

    fn stands_without(&self, effect: &MinerEffect, left_out: &[Uid]) -> bool {
        let rest: Vec<&Observation> =
            self.observations.iter().copied().filter(|seen| !left_out.contains(&seen.reporter)).collect();
        let Some(fit) = Fit::new(self.stages, &rest) else { return false };
        let members = self.stages.get(usize::from(effect.stage.0)).map_or(&[] as &[Uid], Vec::as_slice);
        let again = contrast_stage(&fit, effect.stage, members, self.config);
        again.iter().find(|other| other.uid == effect.uid).is_some_and(|other| {
            is_tested(other) && other.effect * effect.effect.signum() >= self.config.stand_z * other.error
        })
    }
}

/// Reporters in falling order of support for the effect's sign, while they carry less than half.
fn best_supporters(supports: &BTreeMap<Uid, Support>, effect: f64, total: u32) -> Vec<Uid> {
    let mut order: Vec<(f64, Uid, u32)> = supports
        .iter()
        .map(|(uid, support)| {
            (effect.signum() * support.residuals / f64::from(support.samples.max(1)), *uid, support.samples)
        })
        .collect();
    order.sort_by(|(left, uid, _), (right, other, _)| right.total_cmp(left).then(uid.cmp(other)));
    let mut carried = 0u32;
    order
        .into_iter()
        .take_while(|(_, _, samples)| {
            carried = carried.saturating_add(*samples);
            carried.saturating_mul(2) < total
        })
        .map(|(_, uid, _)| uid)
        .collect()
}

/// Nats by which the mean loss of the last time bin is below that of the first; 0 where it rose.
fn epoch_fall(sorted: &[&Observation]) -> f64 {
    let mut bins: BTreeMap<u16, (f64, u32)> = BTreeMap::new();
    for seen in sorted {
        let (sum, count) = bins.entry(seen.time_bin).or_default();
        *sum += f64::from(seen.loss_micro) / f64::from(PPM);
        *count = count.saturating_add(1);
    }
    let mean =
        |bin: Option<(&u16, &(f64, u32))>| bin.map_or(0.0, |(_, (sum, count))| sum / f64::from(*count));
    (mean(bins.first_key_value()) - mean(bins.last_key_value())).max(0.0)
}

/// 1 unless significant and beyond `lag`, the nats that honest replicas may differ by; from there it
/// falls linearly to 0 with harm and rises linearly with benefit.
fn factor_ppm(effect: &MinerEffect, lag: f64, config: &Config) -> u32 {
    if !effect.significant {
        return PPM;
    }
    if effect.effect > 0.0 {
        let harm = (effect.effect - lag).max(0.0);
        return PPM.saturating_sub(share_ppm(harm / config.harm_full));
    }
    let benefit = (-effect.effect - lag).max(0.0);
    let top = f64::from(config.benefit_top_ppm) / f64::from(PPM);
    PPM.saturating_add(share_ppm((benefit / config.benefit_full).min(1.0) * top))
}

/// A share of one in millionths, rounded down, at most one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float casts saturate and send NaN to 0; both are meant"
)]
fn share_ppm(share: f64) -> u32 {
    ((share * f64::from(PPM)) as u32).min(PPM)
}

/// The paper's form, for comparison: how far a miner's mean loss is from those of its stage.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MeanZ {
    /// The miner.
    pub uid: Uid,
    /// Its stage.
    pub stage: Stage,
    /// Distance of its mean from the mean of the stage's means in standard deviations of those
    /// means; 0 where that is not defined. The paper flags above 1.5.
    pub z: f64,
}

/// Means and z-scores per stage. With two cheats in one stage of five the largest z that both can
/// reach is 1.1, so they hide each other: the reason for [`estimate`].
#[must_use]
pub fn mean_z(stages: &[Vec<Uid>], observations: &[Observation]) -> Vec<MeanZ> {
    let sorted = in_fixed_order(observations);
    let stage_scores = |(stage, members): (Stage, &Vec<Uid>)| {
        let means: Vec<Option<f64>> = members.iter().map(|uid| mean_loss(&sorted, stage, *uid)).collect();
        let known: Vec<f64> = means.iter().copied().flatten().collect();
        let centre = mean(&known).unwrap_or(0.0);
        let squares = known.iter().fold(0.0, |sum, mean| sum + (mean - centre) * (mean - centre));
        let spread = (squares / count(known.len().saturating_sub(1))).sqrt();
        let z = move |mean: Option<f64>| mean.map_or(0.0, |mean| (mean - centre) / spread);
        let score = move |(uid, mean): (&Uid, Option<f64>)| {
            let z = z(mean);
            MeanZ { uid: *uid, stage, z: if z.is_finite() { z } else { 0.0 } }
        };
        members.iter().zip(means).map(score).collect::<Vec<_>>()
    };
    (0..=u16::MAX).map(Stage).zip(stages).flat_map(stage_scores).collect()
}

fn mean_loss(observations: &[&Observation], stage: Stage, uid: Uid) -> Option<f64> {
    let at = usize::from(stage.0);
    let losses: Vec<f64> = observations
        .iter()
        .filter(|seen| seen.preference.get(at) == Some(&uid))
        .map(|seen| nats(seen.loss_micro))
        .collect();
    mean(&losses)
}

fn mean(values: &[f64]) -> Option<f64> {
    let sum = values.iter().fold(0.0, |sum, value| sum + value);
    (!values.is_empty()).then(|| sum / count(values.len()))
}

fn nats(loss_micro: u32) -> f64 {
    f64::from(loss_micro) / 1e6
}

/// A count as f64; exact below 2^32, which no epoch reaches.
fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
