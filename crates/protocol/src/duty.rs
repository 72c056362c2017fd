//! What an owner of shards that does not open them loses of its epoch's samples.
//!
//! A shard that one of its owners opened stands, so silence harms nobody by itself and saves the work of
//! merging. Validators take a part of the silent owner's samples; the chain shows who opened. What honest
//! owners could not open, because entries were not to be had, their fellows could not open either.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::ids::Uid;
use crate::view::{AgreementView, MergeView};
use crate::work::ShardStatus;

/// All of a member's shards.
const PPM: u64 = 1_000_000;
/// Part of its samples that a member loses that delivers no shard: a tenth. Merging is about 3 % of the work of
/// an epoch, which is worth at most 3 % of its pay, so silence costs three times of what it can save; and
/// an honest member that dies between commit and merge keeps the rest.
const MERGE_PART: u64 = 10;

/// The part of its shards, in millionths, that each committer of a stage owed and did not deliver; those that
/// delivered all are not listed.
///
/// Who opened nothing owes everything. Who opened owes the shards for which no hash of its own is known, beyond
/// the lower median of the other openers: a lone hash between two openers may be either's, and nobody knows whose
/// it is until one of them lacks more than others. Nothing is owed where no shard was opened by anybody.
#[must_use]
pub fn undelivered(merge: &MergeView, agreement: &AgreementView) -> BTreeMap<Uid, u32> {
    if agreement.cells.iter().all(|cell| cell.status == ShardStatus::Missing) {
        return BTreeMap::new();
    }
    let opened: BTreeSet<Uid> = merge.commits.iter().filter(|own| own.opened).map(|own| own.uid).collect();
    let owed: BTreeMap<Uid, (u64, u64)> =
        merge.commits.iter().map(|own| (own.uid, owed(own.uid, &opened, agreement))).collect();
    let usual = |uid: Uid| {
        let others = owed.iter().filter(|(other, _)| **other != uid && opened.contains(other));
        let mut lacks: Vec<u64> = others.map(|(_, (lacks, _))| *lacks).collect();
        lacks.sort_unstable();
        lacks.get(lacks.len().saturating_sub(1) / 2).copied().unwrap_or(0)
    };
    let part = |(uid, (lacks, all)): (&Uid, &(u64, u64))| {
        let lacks = if opened.contains(uid) { lacks.saturating_sub(usual(*uid)) } else { *all };
        let ppm = lacks.saturating_mul(PPM).checked_div(*all)?;
        Some((*uid, u32::try_from(ppm).ok()?)).filter(|(_, ppm)| *ppm > 0)
    };
    owed.iter().filter_map(part).collect()
}

/// Shards of a committer without a hash that is known to be its own, and all of them.
fn owed(uid: Uid, opened: &BTreeSet<Uid>, agreement: &AgreementView) -> (u64, u64) {
    let own = agreement.cells.iter().filter(|cell| cell.low == uid || cell.high == uid);
    own.fold((0, 0), |(lacks, all), cell| {
        let delivered = cell.opened_by(uid, |other| opened.contains(&other)).is_some();
        (u64::saturating_add(lacks, u64::from(!delivered)), u64::saturating_add(all, 1))
    })
}

/// What is left of a member's samples that did not deliver this part of its shards; rounded up.
#[must_use]
pub fn after_merge(samples: u32, undelivered_ppm: u32) -> u32 {
    let lost = u64::from(samples).saturating_mul(u64::from(undelivered_ppm).min(PPM));
    let lost = lost.checked_div(PPM.saturating_mul(MERGE_PART)).unwrap_or(0);
    samples.saturating_sub(u32::try_from(lost).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::ids::{Hash, Incarnation};
    use crate::view::{AgreementCell, CommitView};
    use crate::work::WorkCommit;

    /// A stage of members that opened, or did not, the shards that they share with each of the others.
    fn stage(opens: &[Vec<bool>], opened: &[bool]) -> (MergeView, AgreementView) {
        let count = u16::try_from(opens.len()).unwrap();
        let commit = |uid: u16| CommitView {
            uid: Uid(uid),
            incarnation: Incarnation(0),
            work: WorkCommit {
                entry_root: Hash::ZERO,
                log_root: Hash::ZERO,
                receipts_root: Hash::ZERO,
                samples: 1,
                started: 0,
            },
            attested: None,
            blind: None,
            opened: opened[usize::from(uid)],
            root: None,
        };
        let pairs = (0..count).flat_map(|low| (low + 1..count).map(move |high| (low, high)));
        let cell = |(shard, (low, high)): (u16, (u16, u16))| {
            let status =
                [(low, high), (high, low)].into_iter().fold(ShardStatus::Missing, |status, (own, other)| {
                    let opens = opened[usize::from(own)] && opens[usize::from(own)][usize::from(other)];
                    if opens {
                        status.with(Hash([1; 32]), own == low)
                    } else {
                        status
                    }
                });
            AgreementCell { shard, low: Uid(low), high: Uid(high), status }
        };
        let members = (0..count).map(|uid| (Uid(uid), Incarnation(0))).collect();
        let merge = MergeView { commits: (0..count).map(commit).collect(), ..MergeView::default() };
        (merge, AgreementView { members, cells: (0..).zip(pairs).map(cell).collect() })
    }

    fn parts(opens: &[Vec<bool>], opened: &[bool]) -> Vec<(u16, u32)> {
        let (merge, agreement) = stage(opens, opened);
        undelivered(&merge, &agreement).into_iter().map(|(uid, part)| (uid.0, part)).collect()
    }

    #[test]
    fn worked_silence() {
        let all = vec![vec![true; 4]; 4];
        assert_eq!(parts(&all, &[true; 4]), []);
        assert_eq!(parts(&all, &[true, false, true, true]), [(1, 1_000_000)]);
        // Opens a list that names one of its three shards. Two lone hashes may be either owner's: it lacks two
        // where two of the others lack one each, so one of three is named.
        let mut one = all.clone();
        one[1] = [true, false, false, false].to_vec();
        assert_eq!(parts(&one, &[true; 4]), [(1, 333_333)]);
        // 200 samples less a tenth, less a tenth of a third.
        assert_eq!((after_merge(200, 1_000_000), after_merge(200, 333_333)), (180, 194));
    }

    #[test]
    fn a_merge_that_nobody_opened_is_nobodys_debt() {
        assert_eq!(parts(&vec![vec![true; 3]; 3], &[false; 3]), []);
    }

    #[test]
    fn of_two_openers_nobody_knows_who_left_the_shard_out() {
        let half = [[true, true].to_vec(), [false, true].to_vec()];
        assert_eq!(parts(&half, &[true; 2]), []);
        assert_eq!(parts(&half, &[true, false]), [(1, 1_000_000)]);
    }

    proptest! {
        #[test]
        fn who_opened_all_owes_nothing_while_fewer_than_half_leave_shards_out(
            count in 3usize..10, seed: u64, bad in 0usize..4,
        ) {
            let bad = bad.min((count - 1) / 2);
            let mut opens = vec![vec![true; count]; count];
            for (own, row) in opens.iter_mut().enumerate().take(bad) {
                for (other, open) in row.iter_mut().enumerate() {
                    *open = (seed >> ((own * 8 + other) % 64)) & 1 == 1;
                }
            }
            let all = vec![true; count];
            let (merge, agreement) = stage(&opens, &all);
            let owed = undelivered(&merge, &agreement);
            // The bad ones among each other may name themselves; an honest one lacks at most a hash for each of
            // them, and is named only for what it lacks beyond its fellows.
            for uid in bad..count {
                let part = owed.get(&Uid(uid as u16)).copied().unwrap_or(0);
                prop_assert!(u64::from(part) * (count as u64 - 1) <= bad as u64 * PPM);
            }
            prop_assert!(owed.values().all(|part| u64::from(*part) <= PPM));
        }

        #[test]
        fn nobody_loses_more_than_a_tenth(samples: u32, part: u32) {
            let left = after_merge(samples, part);
            prop_assert!(left <= samples && u64::from(samples - left) * 10 <= u64::from(samples));
        }
    }
}
