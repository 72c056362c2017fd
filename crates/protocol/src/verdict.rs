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
    agreed(votes)
}

/// What validators with two thirds of the permitted stake name alike, be it a verdict, the root of a
/// stage's state or the epoch to go back to. Each is (stake, what it names); `None` did not vote.
///
/// At most one value can have two thirds. Takes a comparison for each pair of votes: for as many as
/// there are permitted validators.
#[must_use]
pub fn agreed<V: Copy + PartialEq>(votes: &[(u128, Option<V>)]) -> Option<V> {
    let sum = |wanted: Option<V>| {
        let behind = votes.iter().filter(|(_, vote)| wanted.is_none() || *vote == wanted);
        behind.fold(0u128, |sum, (stake, _)| sum.saturating_add(*stake))
    };
    let total = sum(None);
    let reached =
        |value: V| total > 0 && sum(Some(value)).saturating_mul(QUORUM.1) >= total.saturating_mul(QUORUM.0);
    votes.iter().filter_map(|(_, vote)| *vote).find(|value| reached(*value))
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
    fn worked_roots() {
        let (right, wrong) = (Some(7u8), Some(9));
        assert_eq!(agreed(&[(2, right), (1, wrong)]), Some(7), "exactly two thirds");
        assert_eq!(agreed(&[(1, wrong), (2, right)]), Some(7), "in any order");
        assert_eq!(agreed(&[(1, right), (1, right), (1, wrong), (1, None)]), None, "half is not enough");
        assert_eq!(agreed::<u8>(&[(5, None)]), None);
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
        fn whoever_names_something_else_does_not_change_what_two_thirds_agree_on(
            stakes in prop::collection::vec(1u128..1 << 60, 1..20), others in prop::collection::vec(any::<Option<u8>>(), 0..20),
        ) {
            let behind: u128 = stakes.iter().sum();
            let mut votes: Vec<_> = stakes.into_iter().map(|stake| (stake, Some(300u16))).collect();
            // Together at most half of those behind: a third of all.
            let each = behind / 2 / u128::try_from(others.len().max(1)).unwrap();
            votes.extend(others.iter().map(|vote| (each, vote.map(u16::from))));
            prop_assert_eq!(agreed(&votes), Some(300));
            votes.reverse();
            prop_assert_eq!(agreed(&votes), Some(300));
        }

        #[test]
        fn a_verdict_is_never_reached_for_both_sides(votes in prop::collection::vec((0u128..1 << 60, any::<Option<bool>>()), 0..20)) {
            let turned: Vec<_> = votes.iter().map(|(stake, vote)| (*stake, vote.map(|own| !own))).collect();
            prop_assert_eq!(decide(&votes), decide(&turned).map(|side| !side));
        }
    }
}
