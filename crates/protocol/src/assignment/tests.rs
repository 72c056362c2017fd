//! Assignment: hand-worked epochs and what holds for every input.

use super::*;
use crate::sample_params::params_with_shares;
use alloc::collections::BTreeSet;
use proptest::prelude::*;

fn uids(range: core::ops::Range<u16>) -> Vec<Uid> {
    range.map(Uid).collect()
}

fn counts(stages: usize, assigned: &[(Uid, Stage)]) -> Vec<usize> {
    (0..stages).map(|stage| assigned.iter().filter(|(_, own)| usize::from(own.0) == stage).count()).collect()
}

fn members(of: &[u16]) -> Vec<(Uid, Stage)> {
    let mut next = 0u16..;
    (0u16..)
        .zip(of)
        .flat_map(|(stage, count)| vec![stage; usize::from(*count)])
        .map(|stage| (Uid(next.next().unwrap()), Stage(stage)))
        .collect()
}

const EVEN: [u32; 3] = [333_334, 333_333, 333_333];

#[test]
fn the_first_epoch_splits_evenly() {
    let params = params_with_shares(&EVEN);
    let assigned = assign(&params, &Hash([1; 32]), &[], &uids(0..9));
    assert_eq!(counts(3, &assigned), [3, 3, 3]);
    let mut ten = counts(3, &assign(&params, &Hash([1; 32]), &[], &uids(0..10)));
    ten.sort_unstable();
    assert_eq!(ten, [3, 3, 4]);
    assert_ne!(
        assigned,
        assign(&params, &Hash([2; 32]), &[], &uids(0..9)),
        "the seed decides who goes where"
    );
}

#[test]
fn a_newcomer_goes_to_the_smallest_stage_and_nobody_moves() {
    let current = members(&[4, 2, 4]);
    let assigned = assign(&params_with_shares(&EVEN), &Hash::ZERO, &current, &[Uid(50)]);
    assert_eq!(assigned.len(), 11);
    assert!(current.iter().all(|pair| assigned.contains(pair)));
    assert!(assigned.contains(&(Uid(50), Stage(1))));
}

#[test]
fn replicas_are_compared_for_the_work_of_their_stage() {
    // 5 replicas for 600,000 are fewer than 3 for 200,000, by more than one replica.
    let params = params_with_shares(&[200_000, 600_000, 200_000]);
    let assigned = assign(&params, &Hash::ZERO, &members(&[3, 5, 3]), &[Uid(50)]);
    assert!(assigned.contains(&(Uid(50), Stage(1))));
}

#[test]
fn stages_within_one_replica_of_the_lowest_all_get_newcomers() {
    let chosen: BTreeSet<u16> = (0..40u8)
        .map(|seed| {
            let assigned =
                assign(&params_with_shares(&EVEN), &Hash([seed; 32]), &members(&[3, 4, 5]), &[Uid(50)]);
            assigned.iter().find(|(uid, _)| *uid == Uid(50)).unwrap().1 .0
        })
        .collect();
    assert_eq!(chosen, [0, 1].into());
}

#[test]
fn a_stage_takes_at_most_a_third_of_its_replicas_in_one_epoch() {
    let assigned = assign(&params_with_shares(&EVEN), &Hash::ZERO, &members(&[6, 3, 1]), &uids(50..60));
    assert_eq!(counts(3, &assigned), [8, 4, 2], "the other six wait");
}

#[test]
fn an_empty_stage_takes_newcomers_first() {
    let assigned = assign(&params_with_shares(&EVEN), &Hash::ZERO, &members(&[4, 0, 1]), &[Uid(50)]);
    assert!(assigned.contains(&(Uid(50), Stage(1))));
    assert_eq!(assigned.len(), 6);
}

#[test]
fn an_empty_stage_pulls_one_from_the_fullest() {
    assert_eq!(
        counts(3, &assign(&params_with_shares(&EVEN), &Hash::ZERO, &members(&[2, 0, 3]), &[])),
        [2, 1, 2]
    );
    let stuck = assign(&params_with_shares(&EVEN), &Hash::ZERO, &members(&[1, 0, 1]), &[]);
    assert_eq!(counts(3, &stuck), [1, 0, 1], "a stage of one keeps it");
}

#[test]
fn members_of_a_stage_that_does_not_exist_are_placed_anew() {
    let assigned =
        assign(&params_with_shares(&EVEN), &Hash::ZERO, &[(Uid(1), Stage(9)), (Uid(2), Stage(0))], &[]);
    assert_eq!(assigned.len(), 2);
    assert!(assigned.contains(&(Uid(2), Stage(0))));
}

proptest! {
    #[test]
    fn assignments_are_sound(
        seed: [u8; 32],
        current in prop::collection::vec((0u16..300, 0u16..5), 0..300),
        newcomers in prop::collection::vec(0u16..400, 0..300),
        shares in prop::collection::vec(0u32..1_000_000, 1..5),
    ) {
        let params = params_with_shares(&shares);
        let current: Vec<(Uid, Stage)> = current.into_iter().map(|(uid, stage)| (Uid(uid), Stage(stage))).collect();
        let newcomers: Vec<Uid> = newcomers.into_iter().map(Uid).collect();
        let assigned = assign(&params, &Hash(seed), &current, &newcomers);
        prop_assert!(assigned.windows(2).all(|pair| pair[0].0 < pair[1].0), "sorted, each uid once");
        let known: BTreeSet<Uid> = current.iter().map(|(uid, _)| *uid).chain(newcomers.iter().copied()).collect();
        prop_assert!(assigned.iter().all(|(uid, stage)| known.contains(uid) && usize::from(stage.0) < shares.len()));
        let counts = counts(shares.len(), &assigned);
        prop_assert!(counts.iter().all(|count| *count <= 64));
        if known.len() >= shares.len() {
            prop_assert!(counts.iter().all(|count| *count > 0), "no stage is empty if there are enough");
        }
        let (mut turned, mut late) = (current.clone(), newcomers.clone());
        turned.reverse();
        late.reverse();
        prop_assert_eq!(assigned, assign(&params, &Hash(seed), &turned, &late));
    }

    #[test]
    fn nobody_moves_while_every_stage_has_members(seed: [u8; 32], of in prop::collection::vec(1u16..20, 1..5), new in 0u16..20) {
        let params = params_with_shares(&vec![100; of.len()]);
        let current = members(&of);
        let assigned = assign(&params, &Hash(seed), &current, &uids(500..500 + new));
        prop_assert!(current.iter().all(|pair| assigned.contains(pair)));
        for (before, after) in of.iter().zip(counts(of.len(), &assigned)) {
            prop_assert!(after <= usize::from(before + (before / 3).max(1)));
        }
    }
}
