//! Bitmaps, shard statuses and what a score commit binds.

use super::*;
use proptest::prelude::*;

#[test]
fn bitmaps_hold_64_positions() {
    let map = Bitmap::default().with(0).with(63).with(64).with(usize::MAX);
    assert_eq!((map, map.count()), (Bitmap(1 << 63 | 1), 2));
    assert!(map.contains(63) && !map.contains(1) && !map.contains(64) && !map.contains(usize::MAX));
}

#[test]
fn worked_token_counts() {
    // Lower median 10, so that nobody counts more than 20 samples.
    assert_eq!(counted_tokens(&[10, 9, 4_000, 12], 100), (10 + 9 + 20 + 12) * 100);
    assert_eq!(counted_tokens(&[4_000], 2), 8_000, "one alone is its own median");
    assert_eq!(counted_tokens(&[4_000, 3], 1), 9);
    assert_eq!(counted_tokens(&[], 100), 0);
    assert_eq!(counted_tokens(&[0, 0, 4_000], 100), 0, "most of the stage did nothing");
}

proptest! {
    #[test]
    fn less_than_half_of_a_stage_cannot_inflate_the_count(
        honest in prop::collection::vec(0u32..1_000, 1..40), lies in prop::collection::vec(0u32.., 0..40),
    ) {
        prop_assume!(lies.len() < honest.len());
        let most = u64::from(*honest.iter().max().unwrap());
        let mut all = honest.clone();
        all.extend(&lies);
        let count = u64::try_from(all.len()).unwrap();
        prop_assert!(counted_tokens(&all, 1) <= count * most * 2);
        prop_assert_eq!(counted_tokens(&all, 3), counted_tokens(&all, 1) * 3);
    }

    #[test]
    fn who_agrees_within_a_factor_of_two_counts_in_full(samples in prop::collection::vec(500u32..=1_000, 1..40)) {
        let sum: u64 = samples.iter().map(|own| u64::from(*own)).sum();
        prop_assert_eq!(counted_tokens(&samples, 1), sum);
    }
}

#[test]
fn a_shard_settles_with_the_second_owner() {
    let (one, two) = (Hash([1; 32]), Hash([2; 32]));
    let lower = ShardStatus::Missing.with(one, true);
    assert_eq!(lower, ShardStatus::Single(one));
    assert_eq!(lower.with(one, false), ShardStatus::Agreed(one));
    assert_eq!(lower.with(two, false), ShardStatus::Differs(one, two));
    assert_eq!(lower.with(one, false).with(two, true), ShardStatus::Agreed(one));
    assert_eq!(lower.with(two, false).with(two, true), ShardStatus::Differs(one, two));
    let higher = ShardStatus::Missing.with(two, false);
    assert_eq!(higher.with(one, true), ShardStatus::Differs(one, two), "whoever opens first");
}

#[test]
fn a_score_commit_is_bound_to_its_place_and_author() {
    let reveal = ScoreReveal { entries: BoundedVec::default(), salt: [0; 32], report_root: Hash::ZERO };
    let hash = |genesis: u8, run, author: u8, incarnation, epoch| {
        let author = AccountKey([author; 32]);
        scores_hash(
            &Hash([genesis; 32]),
            RunId(run),
            &author,
            Incarnation(incarnation),
            Epoch(epoch),
            &reveal,
        )
    };
    let all = [
        hash(0, 0, 0, 0, 0),
        hash(1, 0, 0, 0, 0),
        hash(0, 1, 0, 0, 0),
        hash(0, 0, 1, 0, 0),
        hash(0, 0, 0, 1, 0),
        hash(0, 0, 0, 0, 1),
    ];
    assert!((1..all.len()).all(|index| !all[..index].contains(&all[index])));
    let salted = ScoreReveal { salt: [1; 32], ..reveal.clone() };
    let of = |reveal: &ScoreReveal| {
        scores_hash(&Hash::ZERO, RunId(0), &AccountKey([0; 32]), Incarnation(0), Epoch(0), reveal)
    };
    assert_ne!(of(&salted), of(&reveal));
}
