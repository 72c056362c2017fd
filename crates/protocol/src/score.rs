//! A validator's row: verified work times contribution, scaled to what fits on chain.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::ids::{Incarnation, Stage, Uid};
use crate::work::ScoreEntry;

/// The score of the best miner of a stage.
pub const MAX_SCORE: u16 = u16::MAX;

/// What a validator found out about one miner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scored {
    /// The miner.
    pub uid: Uid,
    /// Its incarnation in the scored epoch.
    pub incarnation: Incarnation,
    /// Its stage in the scored epoch.
    pub stage: Stage,
    /// Samples that were verified.
    pub samples: u32,
    /// CLASP factor in millionths, 0 to 1,200,000.
    pub factor_ppm: u32,
}

impl Scored {
    fn value(&self) -> u64 {
        u64::from(self.samples).saturating_mul(u64::from(self.factor_ppm))
    }
}

/// The row to reveal: samples times factor, scaled within each stage so that the best has 65,535,
/// rounded down, in uid order. Miners with score 0 stay in. Of several items for one uid the first
/// counts.
#[must_use]
pub fn row(miners: &[Scored]) -> Vec<ScoreEntry> {
    let mut by_uid = BTreeMap::new();
    for miner in miners {
        by_uid.entry(miner.uid).or_insert(*miner);
    }
    let mut best: BTreeMap<Stage, u64> = BTreeMap::new();
    for miner in by_uid.values() {
        let most = best.entry(miner.stage).or_default();
        *most = (*most).max(miner.value());
    }
    let entry = |miner: &Scored| {
        let scaled = u128::from(miner.value()).saturating_mul(u128::from(MAX_SCORE));
        let most = best.get(&miner.stage).copied().unwrap_or(0);
        let score = scaled.checked_div(u128::from(most)).unwrap_or(0);
        ScoreEntry {
            uid: miner.uid,
            incarnation: miner.incarnation,
            score: u16::try_from(score).unwrap_or(MAX_SCORE),
        }
    };
    by_uid.values().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scored(uid: u16, stage: u16, samples: u32, factor_ppm: u32) -> Scored {
        Scored {
            uid: Uid(uid),
            incarnation: Incarnation(uid.into()),
            stage: Stage(stage),
            samples,
            factor_ppm,
        }
    }

    #[test]
    fn worked_row() {
        let row = row(&[
            scored(5, 1, 40, 1_000_000),
            scored(2, 0, 100, 1_000_000),
            scored(3, 0, 100, 500_000),
            scored(4, 0, 90, 0),
            scored(6, 2, 0, 1_000_000),
        ]);
        let scores: Vec<(u16, u16)> = row.iter().map(|entry| (entry.uid.0, entry.score)).collect();
        assert_eq!(scores, [(2, 65_535), (3, 32_767), (4, 0), (5, 65_535), (6, 0)]);
        assert_eq!(row[0].incarnation, Incarnation(2));
    }

    proptest! {
        #[test]
        fn order_within_a_stage_is_kept(samples in prop::collection::vec((0u32.., 0u32..=1_200_000), 1..30)) {
            let miners: Vec<Scored> = (0u16..).zip(&samples).map(|(uid, (s, f))| scored(uid, 0, *s, *f)).collect();
            let row = row(&miners);
            for (left, a) in miners.iter().zip(&row) {
                for (right, b) in miners.iter().zip(&row) {
                    if left.value() <= right.value() {
                        prop_assert!(a.score <= b.score);
                    }
                }
            }
            if miners.iter().any(|miner| miner.value() > 0) {
                prop_assert_eq!(row.iter().map(|entry| entry.score).max(), Some(MAX_SCORE));
            }
        }
    }
}
