//! The second look at a flagged miner: does the effect stand without its best supporters?

use std::collections::BTreeMap;

use super::regression::{Fit, Table};
use super::{count, Config, MinerEffect};
use crate::ids::{Stage, Uid};

/// What one reporter says about one miner: how far its samples are above the common effect.
#[derive(Clone, Copy, Default)]
struct Support {
    samples: u32,
    residuals: f64,
}

/// What all reporters say about one miner.
type Supports = BTreeMap<Uid, Support>;

pub(super) struct Review<'a> {
    pub(super) stages: &'a [Vec<Uid>],
    /// The miner that each stage was contrasted with.
    pub(super) medians: &'a [Option<Uid>],
    pub(super) table: &'a Table,
    pub(super) fit: &'a Fit,
    pub(super) config: &'a Config,
}

impl Review<'_> {
    pub(super) fn stands(&self, effect: &MinerEffect) -> bool {
        let supports = self.supports(effect.stage, effect.uid);
        let total: u32 = supports.values().map(|support| support.samples).sum();
        let own = supports.get(&effect.uid).map_or(0, |support| support.samples);
        if own.saturating_mul(2) >= total {
            let members = self.stages.get(usize::from(effect.stage.0)).map_or(0, Vec::len);
            return effect.effect > 0.0 && members >= 3;
        }
        let left_out = best_supporters(&supports, effect.effect, total);
        left_out.is_empty() || self.stands_without(effect, &supports, &left_out)
    }

    fn supports(&self, stage: Stage, uid: Uid) -> Supports {
        let mut supports = Supports::new();
        for (row, reporter) in self.fit.preferring(self.table, stage, uid) {
            if let Some(residual) = self.fit.residuals().get(row) {
                let support = supports.entry(reporter).or_default();
                support.samples = support.samples.saturating_add(1);
                support.residuals += residual;
            }
        }
        supports
    }

    fn stands_without(&self, effect: &MinerEffect, supports: &Supports, left_out: &[Uid]) -> bool {
        let median = self.medians.get(usize::from(effect.stage.0)).copied().flatten();
        let Some(median) = median else { return false };
        let theirs = rest(&self.supports(effect.stage, median), left_out);
        let ours = rest(supports, left_out);
        if ours.samples < self.config.min_samples.max(1) || theirs.samples < self.config.min_samples.max(1) {
            return false;
        }
        let again = effect.effect + ours.mean() - theirs.mean();
        let parts = 1.0 / f64::from(ours.samples) + 1.0 / f64::from(theirs.samples);
        let error = (self.fit.variance() * parts).sqrt();
        again * effect.effect.signum() >= self.config.stand_z * error
    }
}

impl Support {
    fn mean(&self) -> f64 {
        self.residuals / f64::from(self.samples.max(1))
    }
}

/// What is left when some reporters are not heard.
fn rest(supports: &Supports, left_out: &[Uid]) -> Support {
    let heard = supports.iter().filter(|(uid, _)| !left_out.contains(uid));
    heard.fold(Support::default(), |sum, (_, support)| Support {
        samples: sum.samples.saturating_add(support.samples),
        residuals: sum.residuals + support.residuals,
    })
}

/// Reporters in falling order of support for the effect's sign, while they carry less than half.
fn best_supporters(supports: &Supports, effect: f64, total: u32) -> Vec<Uid> {
    let mut order: Vec<(f64, Uid, u32)> = supports
        .iter()
        .map(|(uid, support)| (effect.signum() * support.mean(), *uid, support.samples))
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

impl Table {
    /// Nats by which the mean loss of the last time bin is below that of the first; 0 where it rose.
    pub(super) fn fall(&self) -> f64 {
        let mut bins: BTreeMap<u16, (f64, usize)> = BTreeMap::new();
        for (bin, loss) in self.bins_and_losses() {
            let (sum, seen) = bins.entry(bin).or_default();
            *sum += loss;
            *seen = seen.saturating_add(1);
        }
        let mean =
            |bin: Option<(&u16, &(f64, usize))>| bin.map_or(0.0, |(_, (sum, seen))| sum / count(*seen));
        (mean(bins.first_key_value()) - mean(bins.last_key_value())).max(0.0)
    }
}
