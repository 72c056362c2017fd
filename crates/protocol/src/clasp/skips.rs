//! Does a sender skip a miner more often than others do? One exact test for each sender and target.
//!
//! A skip that the target did not sign (`Unreachable`) proves nothing: links fail. But links fail for
//! all senders alike, so a pair that stands out is worth a look. It accuses nobody.

use std::collections::BTreeMap;

use super::tail::discoveries;
use crate::ids::Uid;

/// How often a sender offered samples to a target, by the receipts of the sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offers {
    /// Who sent, or ought to have.
    pub sender: Uid,
    /// To whom.
    pub target: Uid,
    /// Samples that the target took from it, and those for which it was skipped.
    pub offered: u32,
    /// Skips without the target's signature among them; at most `offered`.
    pub skipped: u32,
}

/// What the test says about one sender and one target.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SkipTest {
    /// The pair.
    pub offers: Offers,
    /// The same counts of all other senders to that target.
    pub others: (u32, u32),
    /// Probability of as many skips or more if this sender skips like the others (hypergeometric).
    pub tail: f64,
    /// Whether the pair is a discovery at the rate given.
    pub significant: bool,
}

/// Tests every pair against the other senders to the same target, in order of target and sender, with
/// Benjamini-Hochberg at `rate` over all pairs. Counts of a pair that occurs twice are added. Pairs
/// whose target nobody else was to send to are left out: nothing tells a bad link from a bad sender.
#[must_use]
pub fn skip_tests(offers: &[Offers], rate: f64) -> Vec<SkipTest> {
    let mut pairs: BTreeMap<(Uid, Uid), (u32, u32)> = BTreeMap::new();
    let mut targets: BTreeMap<Uid, (u32, u32)> = BTreeMap::new();
    for seen in offers {
        let skipped = seen.skipped.min(seen.offered);
        for (offered, lost) in
            [pairs.entry((seen.target, seen.sender)).or_default(), targets.entry(seen.target).or_default()]
        {
            *offered = offered.saturating_add(seen.offered);
            *lost = lost.saturating_add(skipped);
        }
    }
    let mut tests: Vec<SkipTest> = pairs
        .into_iter()
        .filter_map(|((target, sender), (offered, skipped))| {
            let (all, all_skipped) = targets.get(&target).copied().unwrap_or_default();
            let others = (all.saturating_sub(offered), all_skipped.saturating_sub(skipped));
            (others.0 > 0).then(|| SkipTest {
                offers: Offers { sender, target, offered, skipped },
                others,
                tail: upper_tail(skipped, offered, all_skipped, all),
                significant: false,
            })
        })
        .collect();
    let tails: Vec<f64> = tests.iter().map(|test| test.tail).collect();
    for (test, found) in tests.iter_mut().zip(discoveries(&tails, rate)) {
        test.significant = found;
    }
    tests
}

/// `P(X >= seen)` where X counts marked items among `drawn` of `all` items of which `marked` are.
fn upper_tail(seen: u32, drawn: u32, marked: u32, all: u32) -> f64 {
    /// Terms are brought down when they pass this, so that no sum of them overflows.
    const LARGE: f64 = 1e200;
    let unmarked = all.saturating_sub(marked);
    let first = drawn.saturating_sub(unmarked);
    let (mut weight, mut sum, mut upper) = (1.0f64, 0.0f64, 0.0f64);
    for x in first..=drawn.min(marked) {
        sum += weight;
        if x >= seen {
            upper += weight;
        }
        let free = f64::from(unmarked) - f64::from(drawn) + f64::from(x) + 1.0;
        weight *= f64::from(marked.saturating_sub(x)) * f64::from(drawn.saturating_sub(x));
        weight /= (f64::from(x) + 1.0) * free;
        if weight > LARGE {
            (weight, sum, upper) = (weight / LARGE, sum / LARGE, upper / LARGE);
        }
    }
    if sum > 0.0 {
        upper / sum
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offers(sender: u16, target: u16, offered: u32, skipped: u32) -> Offers {
        Offers { sender: Uid(sender), target: Uid(target), offered, skipped }
    }

    #[test]
    fn worked_tail() {
        // 2 of 4 drawn, 2 marked of 4: C(2,1)C(2,1)/6 + 1/6 = 5/6 for at least one, 1/6 for both.
        assert!((upper_tail(1, 2, 2, 4) - 5.0 / 6.0).abs() < 1e-12);
        assert!((upper_tail(2, 2, 2, 4) - 1.0 / 6.0).abs() < 1e-12);
        assert_eq!(upper_tail(0, 2, 2, 4), 1.0);
        assert_eq!(upper_tail(3, 2, 2, 4), 0.0);
        assert_eq!(upper_tail(0, 0, 0, 0), 1.0);
        // Lady tasting tea: all four of eight by chance, 1 in 70.
        assert!((upper_tail(4, 4, 4, 8) - 1.0 / 70.0).abs() < 1e-12);
    }

    #[test]
    fn a_sender_that_shuns_one_target_stands_out_and_a_dead_target_accuses_nobody() {
        let mut seen: Vec<Offers> = (0..4).map(|sender| offers(sender, 10, 200, 4)).collect();
        seen[2] = offers(2, 10, 200, 60);
        seen.extend((0..4).map(|sender| offers(sender, 11, 200, 200)));
        let found: Vec<(Uid, Uid)> = skip_tests(&seen, 0.01)
            .iter()
            .filter(|test| test.significant)
            .map(|test| (test.offers.sender, test.offers.target))
            .collect();
        assert_eq!(found, [(Uid(2), Uid(10))]);
    }

    #[test]
    fn the_only_sender_is_not_tested() {
        assert!(skip_tests(&[offers(0, 9, 50, 50)], 0.01).is_empty());
    }

    proptest! {
        #[test]
        fn tails_are_probabilities_and_fall(drawn in 0u32..3_000, marked in 0u32..3_000, rest in 0u32..3_000) {
            let all = drawn.max(marked).saturating_add(rest);
            let mut last = 1.0;
            for seen in 0..=drawn.min(marked).min(40) {
                let tail = upper_tail(seen, drawn, marked, all);
                prop_assert!((0.0..=1.0).contains(&tail) && tail <= last + 1e-12, "{tail} {last}");
                last = tail;
            }
        }

        #[test]
        fn the_order_of_offers_does_not_matter(counts in prop::collection::vec((0u16..4, 0u16..3, 0u32..50, 0u32..50), 0..30)) {
            let seen: Vec<Offers> = counts.iter().map(|(s, t, o, k)| offers(*s, *t, *o, *k)).collect();
            let back: Vec<Offers> = seen.iter().rev().copied().collect();
            prop_assert_eq!(skip_tests(&seen, 0.05), skip_tests(&back, 0.05));
        }
    }
}
