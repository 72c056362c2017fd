//! CLASP: which miners make the loss of the samples that prefer them better or worse
//! (design.md, section 9).
//!
//! Loss is regressed on stage membership. Membership is the *first preference* of a sample, which the
//! epoch's seed decides, not the miner that was used, which senders can steer. f64 with
//! `+ - * / sqrt` in a fixed order and nothing from libm, so validators with the same observations
//! get the same bits. Runs off chain only. Collecting observations, the difficulty of a text, and
//! what is done with a flag belong to the validator.

mod control;
mod mean_z;
mod regression;
mod review;
mod skips;
mod tail;
#[cfg(test)]
mod tests;

use crate::ids::{Sample, Stage, Uid};
use crate::params::PPM;
pub use control::Control;
pub use mean_z::{mean_z, MeanZ};
use regression::{Fit, Table};
use review::Review;
pub use skips::{skip_tests, Offers, SkipTest};
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

/// What an epoch's observations say.
#[derive(Clone, PartialEq, Debug)]
pub struct Estimate {
    /// Every miner, stage by stage in the order given.
    pub effects: Vec<MinerEffect>,
    /// What the samples that ran twice say about the noise; `None` where none did.
    pub control: Option<Control>,
}

/// Estimates the effect of every miner of `stages`, stage by stage in the order given.
///
/// 1. Ordinary least squares on first preferences, difficulty and time bins. Observations with a
///    preference outside `stages` or a difficulty that is not finite are left out.
/// 2. Each miner with enough samples is contrasted with the lower median of its stage, with the
///    standard error of that contrast. What the design cannot tell apart gets no estimate.
/// 3. Two-sided Benjamini-Hochberg over all contrasts of all stages.
/// 4. An effect stands if it keeps its sign and `stand_z` without the reporters that support it
///    most, as many of them as carry less than half of the miner's samples. So a minority of
///    reporters can neither blame nor praise. This second look moves the two levels of the contrast
///    by the mean residuals that are left and keeps the other coefficients: preferences are drawn
///    independently, so what it neglects is of the order of one sample in each stage.
/// 5. A miner that reports at least half of its samples itself, as in the last stage, cannot show a
///    benefit, and shows harm only in a stage of three or more, where the median is not one rival.
///
/// The order of `observations` does not matter.
///
/// # Complexity
/// Time: observations times stages squared, plus the cube of miners and time bins. Memory: linear in
/// observations, plus the square of miners and time bins.
#[must_use]
pub fn analyse(stages: &[Vec<Uid>], observations: &[Observation], config: &Config) -> Estimate {
    let table = Table::new(stages, &in_fixed_order(observations));
    let Some(fit) = Fit::new(stages, &table) else {
        let effects = miners(stages).map(|(stage, uid)| without_estimate(stage, uid, 0)).collect();
        return Estimate { effects, control: None };
    };
    let mut effects: Vec<MinerEffect> = Vec::new();
    let mut medians: Vec<Option<Uid>> = Vec::new();
    for (stage, members) in (0..=u16::MAX).map(Stage).zip(stages) {
        let median = lower_median(&fit, stage, members, config);
        effects.extend(members.iter().map(|uid| contrast(&fit, stage, *uid, median, config)));
        medians.push(median);
    }
    flag(&mut effects, fit.freedom(), config);
    let review = Review { stages, medians: &medians, table: &table, fit: &fit, config };
    for effect in effects.iter_mut().filter(|effect| effect.significant) {
        effect.significant = review.stands(effect);
    }
    let lag = config.lag_share * table.fall();
    for effect in &mut effects {
        effect.factor_ppm = factor_ppm(effect, lag, config);
    }
    Estimate { effects, control: Control::new(&table, &fit) }
}

/// The effects of [`analyse`] alone.
#[must_use]
pub fn estimate(stages: &[Vec<Uid>], observations: &[Observation], config: &Config) -> Vec<MinerEffect> {
    analyse(stages, observations, config).effects
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

fn has_enough(fit: &Fit, stage: Stage, uid: Uid, config: &Config) -> bool {
    fit.samples(stage, uid) >= config.min_samples.max(1)
}

/// The miner at the lower median of its stage's levels, ties by uid.
fn lower_median(fit: &Fit, stage: Stage, members: &[Uid], config: &Config) -> Option<Uid> {
    let mut levels: Vec<(f64, Uid)> = members
        .iter()
        .filter(|uid| has_enough(fit, stage, **uid, config))
        .filter_map(|uid| fit.level(stage, *uid).map(|level| (level, *uid)))
        .collect();
    levels.sort_by(|(left, uid), (right, other)| left.total_cmp(right).then(uid.cmp(other)));
    levels.get(levels.len().saturating_sub(1) / 2).map(|(_, uid)| *uid)
}

/// A miner against the median of its stage.
fn contrast(fit: &Fit, stage: Stage, uid: Uid, median: Option<Uid>, config: &Config) -> MinerEffect {
    let blank = without_estimate(stage, uid, fit.samples(stage, uid));
    let told = median
        .filter(|_| has_enough(fit, stage, uid, config) && fit.level(stage, uid).is_some())
        .and_then(|median| fit.contrast(stage, uid, median));
    told.map_or(blank, |told| MinerEffect { effect: told.effect, error: told.error, ..blank })
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

fn nats(loss_micro: u32) -> f64 {
    f64::from(loss_micro) / 1e6
}

/// A count as f64; exact below 2^32, which no epoch reaches.
fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
