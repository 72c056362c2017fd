//! When votes of permitted validators are a verdict (design.md, section 9).

/// A verdict needs two thirds of the permitted stake, absent votes included: what one third can
/// prevent, no smaller group can do, in either direction.
const QUORUM: (u128, u128) = (2, 3);

/// What the votes of the permitted validators say: guilty, not guilty, or nothing yet. Each is
/// (stake, vote); `None` did not vote.
///
/// Stakes beyond 2^120 saturate, far above any supply.
#[must_use]
pub fn decide(votes: &[(u128, Option<bool>)]) -> Option<bool> {
    let sum = |wanted: Option<bool>| {
        let behind = votes.iter().filter(|(_, vote)| wanted.is_none() || *vote == wanted);
        behind.fold(0u128, |sum, (stake, _)| sum.saturating_add(*stake))
    };
    let total = sum(None);
    let reached =
        |side: bool| total > 0 && sum(Some(side)).saturating_mul(QUORUM.1) >= total.saturating_mul(QUORUM.0);
    [true, false].into_iter().find(|side| reached(*side))
}

/// Whether those who asked for evidence carry more than half of the permitted stake.
/// Each is (stake, asked).
#[must_use]
pub fn asked_by_quorum(validators: &[(u128, bool)]) -> bool {
    let total = validators.iter().fold(0u128, |sum, (stake, _)| sum.saturating_add(*stake));
    let asked = validators.iter().filter(|(_, asked)| *asked);
    let asked = asked.fold(0u128, |sum, (stake, _)| sum.saturating_add(*stake));
    asked.saturating_mul(2) > total
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn worked_votes() {
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(decide(&[(2, yes), (1, None)]), Some(true), "exactly two thirds");
        assert_eq!(decide(&[(199, yes), (101, None)]), None, "one unit below");
        assert_eq!(decide(&[(1, yes), (2, no)]), Some(false));
        assert_eq!(decide(&[(1, yes), (1, no), (1, no), (1, None)]), None);
        assert_eq!(decide(&[]), None);
        assert_eq!(decide(&[(0, yes)]), None, "no stake decides nothing");
    }

    #[test]
    fn worked_quorums() {
        assert!(asked_by_quorum(&[(51, true), (49, false)]));
        assert!(!asked_by_quorum(&[(50, true), (50, false)]));
        assert!(!asked_by_quorum(&[]));
    }

    proptest! {
        #[test]
        fn a_third_prevents_every_verdict(mut votes in prop::collection::vec((0u128..1 << 60, any::<Option<bool>>()), 0..20)) {
            let others: u128 = votes.iter().map(|(stake, _)| stake).sum();
            // One unit more than half of the others is more than a third of all.
            votes.push((others / 2 + 1, None));
            prop_assert_eq!(decide(&votes), None);
        }

        #[test]
        fn a_verdict_is_never_reached_for_both_sides(votes in prop::collection::vec((0u128..1 << 60, any::<Option<bool>>()), 0..20)) {
            let turned: Vec<_> = votes.iter().map(|(stake, vote)| (*stake, vote.map(|own| !own))).collect();
            prop_assert_eq!(decide(&votes), decide(&turned).map(|side| !side));
        }
    }
}
