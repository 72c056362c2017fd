//! The paper's form, for comparison: mean loss per miner with a z-score.

use std::collections::BTreeMap;

use super::{count, in_fixed_order, nats, Observation};
use crate::ids::{Stage, Uid};

/// How far a miner's mean loss is from those of its stage.
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

/// Sum of losses and samples of each miner of a stage.
type Sums = BTreeMap<Uid, (f64, usize)>;

/// Means and z-scores per stage. With two cheats in one stage of five the largest z that both can
/// reach is 1.1, so they hide each other: the reason for [`super::analyse`].
#[must_use]
pub fn mean_z(stages: &[Vec<Uid>], observations: &[Observation]) -> Vec<MeanZ> {
    let mut sums: Vec<Sums> = vec![BTreeMap::new(); stages.len()];
    for seen in in_fixed_order(observations) {
        for (stage, uid) in sums.iter_mut().zip(&seen.preference) {
            let (sum, samples) = stage.entry(*uid).or_default();
            *sum += nats(seen.loss_micro);
            *samples = samples.saturating_add(1);
        }
    }
    let mean_of = |(sum, samples): &(f64, usize)| sum / count(*samples);
    let scores = |stage: Stage, members: &Vec<Uid>, sums: &Sums| {
        let means: Vec<Option<f64>> = members.iter().map(|uid| sums.get(uid).map(mean_of)).collect();
        let score = z_scores(&means);
        let line = move |(uid, mean): (&Uid, Option<f64>)| MeanZ { uid: *uid, stage, z: score(mean) };
        members.iter().zip(means).map(line).collect::<Vec<_>>()
    };
    let all = (0..=u16::MAX).map(Stage).zip(stages).zip(&sums);
    all.flat_map(|((stage, members), sums)| scores(stage, members, sums)).collect()
}

/// The z-score of a mean among the means of a stage.
fn z_scores(means: &[Option<f64>]) -> impl Fn(Option<f64>) -> f64 {
    let known: Vec<f64> = means.iter().copied().flatten().collect();
    let centre = known.iter().fold(0.0, |sum, mean| sum + mean) / count(known.len().max(1));
    let squares = known.iter().fold(0.0, |sum, mean| sum + (mean - centre) * (mean - centre));
    let spread = (squares / count(known.len().saturating_sub(1))).sqrt();
    move |mean| {
        let z = mean.map_or(0.0, |mean| (mean - centre) / spread);
        if z.is_finite() {
            z
        } else {
            0.0
        }
    }
}
