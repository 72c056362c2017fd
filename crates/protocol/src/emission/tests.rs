//! Emission to the last unit: the schedule, apportionment and settlements by hand.

use super::*;
use crate::ids::{AccountKey, Incarnation, Uid};
use crate::sample_params::params_with_shares;
use crate::view::SnapshotEntry;
use proptest::prelude::*;

#[test]
fn halvings_come_at_the_thresholds_and_not_one_unit_before() {
    let first = MAX_SUPPLY / 2;
    assert_eq!(epoch_emission(0), INITIAL_PER_EPOCH);
    assert_eq!(epoch_emission(first - 1), INITIAL_PER_EPOCH);
    assert_eq!(epoch_emission(first), INITIAL_PER_EPOCH / 2);
    assert_eq!(epoch_emission(first + MAX_SUPPLY / 4 - 1), INITIAL_PER_EPOCH / 2);
    assert_eq!(epoch_emission(first + MAX_SUPPLY / 4), INITIAL_PER_EPOCH / 4);
    assert_eq!(first % INITIAL_PER_EPOCH, 0, "the first halving falls between two epochs");
    assert_eq!(first / INITIAL_PER_EPOCH, 105_000);
}

#[test]
fn nothing_is_minted_beyond_the_supply() {
    assert_eq!(epoch_emission(MAX_SUPPLY), 0);
    assert_eq!(epoch_emission(u128::MAX), 0);
    assert_eq!(epoch_emission(MAX_SUPPLY - 1), 0, "the last units are below the smallest emission");
}

#[test]
fn shares_sum_to_one() {
    assert_eq!(SHARES.miners_ppm + SHARES.validators_ppm + SHARES.treasury_ppm, PPM);
}

#[test]
fn worked_apportionments() {
    assert_eq!(apportion(10, &[1, 1, 1]), [4, 3, 3]);
    assert_eq!(apportion(10, &[0, 0]), [0, 0]);
    assert_eq!(apportion(10, &[]), []);
    // Exact parts 1.67, 3.33, 5: the remainder .67 is the largest.
    assert_eq!(apportion(10, &[1, 2, 3]), [2, 3, 5]);
    assert_eq!(apportion(u128::MAX, &[u128::MAX, u128::MAX]), [u128::MAX / 2 + 1, u128::MAX / 2]);
}

fn key(uid: u16) -> AccountKey {
    AccountKey([u8::try_from(uid % 256).unwrap(); 32])
}

fn miner(uid: u16, stage: u16) -> SnapshotEntry {
    SnapshotEntry {
        uid: Uid(uid),
        incarnation: Incarnation(1),
        stage: Stage(stage),
        coldkey: key(uid),
        samples: 10,
    }
}

fn validator(uid: u16, stake: u128) -> SnapshotValidator {
    SnapshotValidator {
        uid: Uid(uid),
        incarnation: Incarnation(1),
        hotkey: key(uid),
        coldkey: key(uid),
        stake,
    }
}

fn reveal(uid: u16, scores: Option<&[(u16, u16)]>) -> ScoreView {
    let entry =
        |(uid, score): &(u16, u16)| ScoreEntry { uid: Uid(*uid), incarnation: Incarnation(1), score: *score };
    ScoreView {
        uid: Uid(uid),
        incarnation: Incarnation(1),
        commit: Hash::ZERO,
        entries: scores.map(|scores| scores.iter().map(entry).collect()),
        report_root: None,
    }
}

/// Settles without bonds until now and without anything that gates.
fn settled(params: &RunParams, snapshot: &SnapshotView, scores: &[ScoreView], minted: u128) -> Settlement {
    settle(params, snapshot, scores, &[], &Terms::plain(Epoch(0), minted))
}

fn paid(settlement: &Settlement) -> Vec<(u16, u128)> {
    settlement.payouts.iter().map(|payout| (payout.uid.0, payout.amount)).collect()
}

fn snapshot() -> SnapshotView {
    SnapshotView {
        miners: vec![miner(1, 0), miner(2, 0), miner(3, 1)],
        validators: vec![validator(8, 300), validator(9, 100)],
    }
}

#[test]
fn worked_settlement() {
    let params = params_with_shares(&[400_000, 600_000]);
    let scores = [reveal(8, Some(&[(1, 3), (2, 1), (3, 9)])), reveal(9, Some(&[(1, 3), (2, 1), (3, 9)]))];
    let settlement = settled(&params, &snapshot(), &scores, 0);
    // 100 tokens: 50 to miners (20 and 30 by stage); of 40 for validators 36 are dividends, 3 to 1, and
    // 4 are for transcripts, of which none was opened; 10 and those 4 to the treasury.
    assert_eq!(
        paid(&settlement),
        [(1, 15 * UNIT), (2, 5 * UNIT), (3, 30 * UNIT), (8, 27 * UNIT), (9, 9 * UNIT)]
    );
    let split = EmissionSplit {
        minted: 100 * UNIT,
        burned: 0,
        miners: 50 * UNIT,
        validators: 36 * UNIT,
        treasury: 14 * UNIT,
    };
    assert_eq!((settlement.void, settlement.split), (false, split));
    assert_eq!(settlement.payouts[0].coldkey, key(1));
}

#[test]
fn the_share_of_a_stage_without_a_score_goes_to_the_treasury() {
    let params = params_with_shares(&[400_000, 600_000]);
    let settlement = settled(&params, &snapshot(), &[reveal(8, Some(&[(1, 3), (2, 1)]))], 0);
    assert_eq!(paid(&settlement), [(1, 15 * UNIT), (2, 5 * UNIT), (8, 36 * UNIT)]);
    assert_eq!(settlement.split.treasury, 44 * UNIT);
}

#[test]
fn more_than_half_of_the_stake_must_reveal() {
    let params = params_with_shares(&[400_000, 600_000]);
    let row: &[(u16, u16)] = &[(1, 1)];
    let void = Settlement { void: true, ..Settlement::default() };
    let mut half = snapshot();
    half.validators[0].stake = 100;
    assert_eq!(settled(&params, &half, &[reveal(8, Some(row)), reveal(9, None)], 0), void);
    half.validators[0].stake = 101;
    assert!(!settled(&params, &half, &[reveal(8, Some(row)), reveal(9, None)], 0).void);
    assert_eq!(settled(&params, &SnapshotView::default(), &[], 0), void);
    assert_eq!(settled(&params, &half, &[], 0), void);
    let mut other = reveal(8, Some(row));
    other.incarnation = Incarnation(2);
    assert_eq!(settled(&params, &half, &[other, reveal(77, Some(row))], 0), void, "strangers reveal nothing");
}

#[test]
fn stake_that_stays_silent_supports_nobody() {
    let params = params_with_shares(&[1_000_000]);
    let three = SnapshotView {
        miners: vec![miner(1, 0), miner(2, 0)],
        validators: vec![validator(7, 26), validator(8, 25), validator(9, 49)],
    };
    // 26 of 51 revealed is a majority of what was revealed, yet about a quarter of all stake.
    let pet = reveal(7, Some(&[(1, 1)]));
    let settlement = settled(&params, &three, &[pet.clone(), reveal(8, Some(&[(2, 1)]))], 0);
    assert!(!settlement.void && settlement.payouts.is_empty());
    assert_eq!(settlement.split.treasury, 100 * UNIT);
    // The same two rows in agreement are more than half of all stake, and only they are paid for it.
    let agreed = settled(&params, &three, &[reveal(7, Some(&[(2, 1)])), reveal(8, Some(&[(2, 1)]))], 0);
    let uids: Vec<u16> = paid(&agreed).iter().map(|(uid, _)| *uid).collect();
    assert_eq!(uids, [2, 7, 8]);
    assert_eq!(agreed.split.treasury, 14 * UNIT);
    // A silent validator weighs what a revealed empty row does.
    let empty = settled(&params, &three, &[pet, reveal(8, Some(&[(2, 1)])), reveal(9, Some(&[]))], 0);
    assert_eq!(empty, settlement);
}

fn both(row: &[(u16, u16)]) -> [ScoreView; 2] {
    [reveal(8, Some(row)), reveal(9, Some(row))]
}

#[test]
fn a_transcript_pays_its_part_of_what_all_could_have_opened() {
    let params = params_with_shares(&[1_000_000]);
    let row: &[(u16, u16)] = &[(1, 1)];
    let mut terms = Terms::plain(Epoch(0), 0);
    terms.transcripts = vec![(Uid(9), 1)].try_into().unwrap();
    // 4 tokens over two validators with two transcripts each: one token for one.
    let one = settle(&params, &snapshot(), &both(row), &[], &terms);
    assert_eq!(paid(&one), [(1, 50 * UNIT), (8, 27 * UNIT), (9, 10 * UNIT)]);
    terms.transcripts = vec![(Uid(8), 2), (Uid(9), 77)].try_into().unwrap();
    let all = settle(&params, &snapshot(), &both(row), &[], &terms);
    assert_eq!(paid(&all), [(1, 50 * UNIT), (8, 29 * UNIT), (9, 11 * UNIT)]);
    assert_eq!(all.split.treasury, 10 * UNIT);
    let silent = settle(&params, &snapshot(), &[reveal(8, Some(row))], &[], &terms);
    assert_eq!(paid(&silent).last(), Some(&(8, 38 * UNIT)), "who did not reveal is paid for nothing");
}

#[test]
fn what_a_gated_miner_would_earn_goes_to_the_treasury_and_to_nobody_else() {
    let params = params_with_shares(&[400_000, 600_000]);
    let row: &[(u16, u16)] = &[(1, 3), (2, 1), (3, 9)];
    let mut terms = Terms::plain(Epoch(0), 0);
    terms.gated = vec![(Uid(1), Incarnation(1))].try_into().unwrap();
    let gated = settle(&params, &snapshot(), &both(row), &[], &terms);
    // The two validators agree, so that their dividends stay 3 to 1 of the same 36.
    assert_eq!(paid(&gated), [(2, 5 * UNIT), (3, 30 * UNIT), (8, 27 * UNIT), (9, 9 * UNIT)]);
    assert_eq!(gated.split.treasury, 29 * UNIT);
    terms.gated = vec![(Uid(1), Incarnation(2))].try_into().unwrap();
    assert_eq!(paid(&settle(&params, &snapshot(), &both(row), &[], &terms)).len(), 5, "another incarnation");
}

#[test]
fn dividends_follow_bonds_and_not_only_stake() {
    let params = params_with_shares(&[1_000_000]);
    let two =
        SnapshotView { miners: vec![miner(1, 0)], validators: vec![validator(8, 100), validator(9, 100)] };
    let first = settled(&params, &two, &[reveal(8, Some(&[(1, 1)])), reveal(9, Some(&[]))], 0);
    // Half of the stake is enough to support, and only who did holds the miner's bond.
    assert_eq!(paid(&first), [(1, 50 * UNIT), (8, 36 * UNIT)]);
    let terms = Terms::plain(Epoch(1), first.split.minted);
    let second = settle(&params, &two, &both(&[(1, 1)]), &first.bonds, &terms);
    // Parts 0.95 and 0.05: a tenth of the way from (1, 0) to (1/2, 1/2); parts are of 2^31, so that
    // amounts differ from exact ones by less than 36 tokens / 2^31.
    let [(_, _), (_, early), (_, late)] = paid(&second)[..] else { panic!("{second:?}") };
    assert_eq!(early + late, 36 * UNIT);
    assert!(early.abs_diff(UNIT * 342 / 10) <= 17, "{early}");
    assert_ne!(first.bonds_root(), second.bonds_root());
}

#[test]
fn bonds_of_a_validator_without_a_permit_are_dropped() {
    let params = params_with_shares(&[1_000_000]);
    let first = settled(&params, &snapshot(), &both(&[(1, 1)]), 0);
    assert_eq!(first.bonds.len(), 2);
    let mut without = snapshot();
    without.validators.remove(0);
    let terms = Terms::plain(Epoch(1), first.split.minted);
    let second = settle(&params, &without, &both(&[(1, 1)]), &first.bonds, &terms);
    assert_eq!(second.bonds.iter().map(|row| row.uid).collect::<Vec<_>>(), [Uid(9)]);
    assert_eq!(paid(&second).last(), Some(&(9, 36 * UNIT)));
}

#[test]
fn a_void_epoch_leaves_bonds_as_they_were() {
    let params = params_with_shares(&[1_000_000]);
    let first = settled(&params, &snapshot(), &both(&[(1, 1)]), 0);
    let void = settle(&params, &snapshot(), &[], &first.bonds, &Terms::plain(Epoch(1), 0));
    assert!(void.void);
    assert_eq!(void.bonds, first.bonds);
}

#[test]
fn a_run_mints_its_share_of_the_schedule() {
    let params = params_with_shares(&[1_000_000]);
    let mut terms = Terms::plain(Epoch(0), 0);
    terms.share_ppm = 250_000;
    let quarter = settle(&params, &snapshot(), &both(&[(1, 1)]), &[], &terms);
    assert_eq!(quarter.split.minted, 25 * UNIT);
    terms.share_ppm = 0;
    assert_eq!(settle(&params, &snapshot(), &both(&[(1, 1)]), &[], &terms).split, EmissionSplit::default());
}

#[test]
fn a_void_epoch_is_scored_by_the_next_ones_validators() {
    let old = snapshot();
    let next = SnapshotView { miners: vec![miner(3, 1)], validators: vec![validator(9, 1)] };
    let both = carried(&old, &next);
    assert_eq!((both.miners, both.validators), (old.miners, next.validators));
}

#[test]
fn rows_without_any_score_leave_all_to_the_treasury() {
    let settlement = settled(&params_with_shares(&[1_000_000]), &snapshot(), &[reveal(8, Some(&[]))], 0);
    assert_eq!(
        settlement.split,
        EmissionSplit { minted: 100 * UNIT, treasury: 100 * UNIT, ..EmissionSplit::default() }
    );
    assert!(settlement.payouts.is_empty() && !settlement.void);
}

#[test]
fn payouts_root_changes_with_any_field() {
    let payouts =
        settled(&params_with_shares(&[1_000_000]), &snapshot(), &[reveal(8, Some(&[(1, 1), (2, 1)]))], 0)
            .payouts;
    let root = payouts_root(&payouts);
    let mut other = payouts.clone();
    other[1].amount += 1;
    assert_ne!(payouts_root(&other), root);
    assert_ne!(payouts_root(&payouts[1..]), root);
}

#[test]
fn one_payment_is_proven_under_the_root_and_no_other_passes() {
    let params = params_with_shares(&[400_000, 600_000]);
    let payouts = settled(&params, &snapshot(), &both(&[(1, 3), (2, 1), (3, 9)]), 0).payouts;
    let root = payouts_root(&payouts);
    for (position, payout) in payouts.iter().enumerate() {
        let proof = prove_payout(&payouts, position).unwrap();
        assert!(verify_payout(&root, payouts.len(), position, payout, &proof));
        let richer = Payout { amount: payout.amount + 1, ..*payout };
        assert!(!verify_payout(&root, payouts.len(), position, &richer, &proof));
        assert!(!verify_payout(&root, payouts.len(), position + 1, payout, &proof));
    }
    assert_eq!(prove_payout(&payouts, payouts.len()), None);
    assert_eq!(payouts_root(&[]), Hash::ZERO);
}

proptest! {
    #[test]
    fn apportionment_is_exact_and_fair(total: u128, weights in prop::collection::vec(any::<u128>(), 1..20)) {
        let shares = apportion(total, &weights);
        let sum = shares.iter().try_fold(0u128, |sum, share| sum.checked_add(*share));
        prop_assert_eq!(sum, Some(if weights.iter().all(|weight| *weight == 0) { 0 } else { total }));
        for (left, a) in weights.iter().zip(&shares) {
            for (right, b) in weights.iter().zip(&shares) {
                prop_assert!(left > right || *a <= b.saturating_add(1));
            }
        }
    }

    #[test]
    fn small_apportionments_are_within_one_of_the_quota(total in 0u128..1_000_000, weights in prop::collection::vec(0u128..1_000, 1..20)) {
        let sum: u128 = weights.iter().sum();
        prop_assume!(sum > 0);
        for (weight, share) in weights.iter().zip(apportion(total, &weights)) {
            let quota = total * weight / sum;
            prop_assert!(share == quota || (share == quota + 1 && total * weight % sum > 0));
        }
    }

    #[test]
    fn emission_never_rises_and_never_passes_the_supply(before in 0..=MAX_SUPPLY, more in 0..MAX_SUPPLY) {
        let emission = epoch_emission(before);
        prop_assert!(before + emission <= MAX_SUPPLY);
        prop_assert!(epoch_emission(before.saturating_add(more)) <= emission);
    }

    #[test]
    fn every_minted_unit_has_an_owner(
        stages in prop::collection::vec(0u16..4, 0..20),
        rows in prop::collection::vec((any::<u128>(), prop::option::of(prop::collection::vec((0u16..30, any::<u16>()), 0..20))), 0..6),
        shares in prop::collection::vec(0u32..1_000_000, 1..4),
        minted_before in 0..=MAX_SUPPLY,
    ) {
        let snapshot = SnapshotView {
            miners: (0u16..).zip(&stages).map(|(uid, stage)| miner(uid, *stage)).collect(),
            validators: (100u16..).zip(&rows).map(|(uid, (stake, _))| validator(uid, *stake)).collect(),
        };
        let scores: Vec<ScoreView> = (100u16..).zip(&rows).map(|(uid, (_, row))| reveal(uid, row.as_deref())).collect();
        let settlement = settled(&params_with_shares(&shares), &snapshot, &scores, minted_before);
        let split = settlement.split;
        prop_assert_eq!(split.minted, if settlement.void { 0 } else { epoch_emission(minted_before) });
        prop_assert_eq!(split.minted, split.miners + split.validators + split.treasury);
        let paid: u128 = settlement.payouts.iter().map(|payout| payout.amount).sum();
        prop_assert_eq!(paid, split.miners + split.validators);
        prop_assert!(settlement.payouts.windows(2).all(|pair| pair[0].uid < pair[1].uid));
        prop_assert!(settlement.payouts.iter().all(|payout| payout.amount > 0));
    }
}
