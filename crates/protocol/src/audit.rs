//! Comparing what an epoch paid with what its snapshot and revealed rows say it should have paid.
//!
//! Called by whoever does not want to believe the chain: the explorer and the devnet's checks.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::consensus::bonds::BondRow;
use crate::emission::{payouts_root, settle, Settlement};
use crate::ids::{AccountKey, Hash, Incarnation, Uid};
use crate::params::RunParams;
use crate::view::{EpochReportView, Payout, ScoreView, SnapshotView};

/// One number in a report that does not follow from the epoch's inputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Difference {
    /// Whether the epoch is void.
    Void {
        /// In the report.
        chain: bool,
        /// What follows.
        ours: bool,
    },
    /// A part of the emission, by the name of its field in `EmissionSplit`.
    Part {
        /// Which.
        part: &'static str,
        /// In the report.
        chain: u128,
        /// What follows.
        ours: u128,
    },
    /// What one member is paid; 0 where it is not in the table.
    Payout {
        /// Who.
        uid: Uid,
        /// Its incarnation.
        incarnation: Incarnation,
        /// Who may claim it.
        coldkey: AccountKey,
        /// In the report.
        chain: u128,
        /// What follows.
        ours: u128,
    },
    /// The root over the payout table.
    Root {
        /// In the report.
        chain: Hash,
        /// What follows.
        ours: Hash,
    },
    /// The root over the run's bonds after the epoch.
    Bonds {
        /// In the report.
        chain: Hash,
        /// What follows.
        ours: Hash,
    },
}

/// Settles the epoch again and lists every number in which the report differs; empty for an honest
/// one. `bonds` are those that the run's epoch before left, none before its first. The report's terms
/// are taken as given, and `burned` is not looked at: it follows from registrations, not from scores.
///
/// For a void epoch that the next one's rows scored, `snapshot` and `scores` are what
/// [`crate::emission::carried`] describes.
///
/// # Complexity
/// That of `settle`, and the two payout tables together times the logarithm of their length.
#[must_use]
pub fn payments(
    params: &RunParams,
    snapshot: &SnapshotView,
    scores: &[ScoreView],
    bonds: &[BondRow],
    report: &EpochReportView,
) -> (Settlement, Vec<Difference>) {
    let ours = settle(params, snapshot, scores, bonds, &report.terms);
    let mut found = Vec::new();
    if ours.void != report.void {
        found.push(Difference::Void { chain: report.void, ours: ours.void });
    }
    let parts = [
        ("minted", report.split.minted, ours.split.minted),
        ("miners", report.split.miners, ours.split.miners),
        ("validators", report.split.validators, ours.split.validators),
        ("treasury", report.split.treasury, ours.split.treasury),
    ];
    for (part, chain, ours) in parts.into_iter().filter(|(_, chain, ours)| chain != ours) {
        found.push(Difference::Part { part, chain, ours });
    }
    found.extend(payouts(&report.payouts, &ours.payouts));
    let root = payouts_root(&ours.payouts);
    if root != report.payouts_root {
        found.push(Difference::Root { chain: report.payouts_root, ours: root });
    }
    let after = ours.bonds_root();
    if after != report.bonds_root {
        found.push(Difference::Bonds { chain: report.bonds_root, ours: after });
    }
    (ours, found)
}

/// Members whose sums differ between two tables, in uid order.
fn payouts(chain: &[Payout], ours: &[Payout]) -> Vec<Difference> {
    let key = |payout: &Payout| (payout.uid, payout.incarnation, payout.coldkey);
    let members: BTreeSet<_> = chain.iter().chain(ours).map(key).collect();
    let sum = |table: &[Payout], member| {
        let own = table.iter().filter(|payout| key(payout) == member);
        own.fold(0u128, |sum, payout| sum.saturating_add(payout.amount))
    };
    let compare = |member: (Uid, Incarnation, AccountKey)| {
        let (chain, ours) = (sum(chain, member), sum(ours, member));
        let (uid, incarnation, coldkey) = member;
        (chain != ours).then_some(Difference::Payout { uid, incarnation, coldkey, chain, ours })
    };
    members.into_iter().filter_map(compare).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emission::Terms;
    use crate::ids::{Epoch, Stage};
    use crate::sample_params::params_with_shares;
    use crate::view::{SnapshotEntry, SnapshotValidator};
    use crate::work::ScoreEntry;
    use alloc::vec;
    use proptest::prelude::*;

    fn epoch() -> (RunParams, SnapshotView, Vec<ScoreView>, EpochReportView) {
        let params = params_with_shares(&[600_000, 400_000]);
        let miner = |uid: u16, stage| SnapshotEntry {
            uid: Uid(uid),
            incarnation: Incarnation(uid.into()),
            stage: Stage(stage),
            coldkey: AccountKey([1; 32]),
            samples: 10,
        };
        let validator = SnapshotValidator {
            uid: Uid(9),
            incarnation: Incarnation(9),
            hotkey: AccountKey([9; 32]),
            coldkey: AccountKey([2; 32]),
            stake: 1_000,
        };
        let miners: Vec<_> =
            (0..params.n_stages()).flat_map(|s| [miner(2 * s + 20, s), miner(2 * s + 21, s)]).collect();
        let entries = miners.iter().map(|m| ScoreEntry { uid: m.uid, incarnation: m.incarnation, score: 7 });
        let scores = vec![ScoreView {
            uid: Uid(9),
            incarnation: Incarnation(9),
            commit: Hash::ZERO,
            entries: Some(entries.collect()),
            report_root: None,
        }];
        let snapshot = SnapshotView { miners, validators: vec![validator] };
        let paid = settle(&params, &snapshot, &scores, &[], &Terms::plain(Epoch(0), 5));
        let bonds_root = paid.bonds_root();
        let report = EpochReportView {
            epoch: Epoch(0),
            block: 1,
            void: paid.void,
            terms: Terms::plain(Epoch(0), 5),
            bonds_root,
            split: paid.split,
            payouts_root: payouts_root(&paid.payouts),
            payouts: paid.payouts,
        };
        (params, snapshot, scores, report)
    }

    #[test]
    fn worked_example_one_unit_too_much_is_named() {
        let (params, snapshot, scores, mut report) = epoch();
        assert_eq!(payments(&params, &snapshot, &scores, &[], &report).1, []);
        let honest = report.payouts[0];
        report.payouts[0].amount += 1;
        let expected = Difference::Payout {
            uid: honest.uid,
            incarnation: honest.incarnation,
            coldkey: honest.coldkey,
            chain: honest.amount + 1,
            ours: honest.amount,
        };
        assert_eq!(payments(&params, &snapshot, &scores, &[], &report).1, [expected]);
    }

    #[test]
    fn other_bonds_than_those_that_follow_are_named() {
        let (params, snapshot, scores, mut report) = epoch();
        let honest = core::mem::replace(&mut report.bonds_root, Hash::ZERO);
        let found = payments(&params, &snapshot, &scores, &[], &report).1;
        assert_eq!(found, [Difference::Bonds { chain: Hash::ZERO, ours: honest }]);
    }

    #[test]
    fn an_epoch_that_ought_to_be_void_is_named() {
        let (params, snapshot, _, report) = epoch();
        let found = payments(&params, &snapshot, &[], &[], &report).1;
        assert_eq!(found.first(), Some(&Difference::Void { chain: false, ours: true }));
    }

    proptest! {
        #[test]
        fn every_change_of_a_payout_or_part_is_found(which in 0usize..64, by in 1u128..1_000_000, part in 0u8..5) {
            let (params, snapshot, scores, mut report) = epoch();
            match part {
                0 => report.split.minted += by,
                1 => report.split.miners += by,
                2 => report.split.validators += by,
                3 => report.split.treasury += by,
                _ => {
                    let at = which % report.payouts.len();
                    report.payouts[at].amount += by;
                }
            }
            prop_assert_eq!(payments(&params, &snapshot, &scores, &[], &report).1.len(), 1);
        }
    }
}
