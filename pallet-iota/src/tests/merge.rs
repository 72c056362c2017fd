//! Commit, attest, blind, open, root.

use iota_protocol::{
    ids::{Epoch, Hash, RunId, Stage},
    phase::Phase,
    shard::Shards as ShardMap,
    work::{Bitmap, Role, ShardHashes, ShardStatus, WorkCommit},
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};

use crate::{mock::*, pallet::*, types::Merge};

type E = Error<Test>;

const EPOCH: Epoch = Epoch(0);

fn merge_of(index: u8) -> Merge {
    Merges::<Test>::get((RUN, EPOCH, member(index).stage.unwrap())).unwrap()
}

/// The other miner of a miner's stage.
fn partner(index: u8) -> u8 {
    (0..4).find(|other| *other != index && member(*other).stage == member(index).stage).unwrap()
}

#[test]
fn work_is_committed_once_in_its_window_by_an_assigned_miner() {
    with_epoch(params(), || {
        let call = |index: u8, epoch, work| Bare::commit_work(signed(hotkey(index)), RUN, epoch, work);
        assert_noop!(call(0, EPOCH, work(0)), E::WrongPhase);
        run_to_phase(Phase::Commit);
        assert_noop!(Bare::commit_work(signed(hotkey(0)), RunId(9), EPOCH, work(0)), E::UnknownRun);
        assert_noop!(call(0, Epoch(1), work(0)), E::WrongEpoch);
        assert_noop!(call(30, EPOCH, work(0)), E::NotMember);
        assert_noop!(call(4, EPOCH, work(0)), E::NotMiner);
        join(6, Role::Miner);
        assert_noop!(call(6, EPOCH, work(0)), E::NotAssigned);
        assert_ok!(call(0, EPOCH, work(0)));
        // A second body by the same hand is refused, also a different one.
        assert_noop!(call(0, EPOCH, work(0)), E::AlreadyCommitted);
        assert_noop!(call(0, EPOCH, WorkCommit { samples: 1, ..work(0) }), E::AlreadyCommitted);
        assert_eq!(merge_of(0).commits.len(), 1);
        run_to_phase(Phase::Attest);
    });
}

#[test]
fn counts_beyond_what_a_run_allows_are_refused() {
    with_epoch(params(), || {
        run_to_phase(Phase::Commit);
        let first = (0..4).find(|index| member(*index).stage == Some(Stage(0))).unwrap();
        let later = (0..4).find(|index| member(*index).stage == Some(Stage(1))).unwrap();
        let call = |index: u8, samples, started| {
            let work = WorkCommit { samples, started, ..work(index) };
            Bare::commit_work(signed(hotkey(index)), RUN, EPOCH, work)
        };
        assert_noop!(call(first, 1, 1_001), E::BadCounts);
        assert_noop!(call(first, 11, 10), E::BadCounts);
        assert_noop!(call(later, 1, 1), E::BadCounts);
        assert_noop!(call(later, 64_001, 0), E::BadCounts);
        assert_ok!(call(first, 1_000, 1_000));
        assert_ok!(call(later, 64_000, 0));
    });
}

#[test]
fn a_waiting_run_takes_no_work() {
    with_run(params(), || {
        join(0, Role::Miner);
        let work = WorkCommit {
            entry_root: Hash::ZERO,
            log_root: Hash::ZERO,
            receipts_root: Hash::ZERO,
            samples: 0,
            started: 0,
        };
        assert_noop!(Bare::commit_work(signed(hotkey(0)), RUN, EPOCH, work), E::NotRunning);
    });
}

#[test]
fn commits_stand_in_uid_order_whatever_the_order_of_arrival() {
    with_epoch(params(), || {
        run_to_phase(Phase::Commit);
        [3, 2, 1, 0].into_iter().for_each(commit);
        for index in 0..4 {
            let uids: Vec<_> = merge_of(index).commits.iter().map(|commit| commit.uid).collect();
            assert_eq!(uids.len(), 2);
            assert!(uids.is_sorted());
        }
    });
}

#[test]
fn an_attestation_names_committers_and_oneself() {
    with_epoch(params(), || {
        let call = |index: u8, bits| Bare::attest(signed(hotkey(index)), RUN, EPOCH, Bitmap(bits));
        run_to_phase(Phase::Commit);
        assert_noop!(call(0, 1), E::WrongPhase);
        commit(0);
        commit(partner(0));
        run_to_phase(Phase::Attest);
        // The stage without a commit has extended `Train`; commits stay.
        run_to_phase(Phase::Commit);
        (0..4).filter(|index| *index != 0 && *index != partner(0)).for_each(commit);
        run_to_phase(Phase::Attest);
        let own = 1u64 << position(0).0;
        assert_noop!(call(0, 0b111), E::BadBitmap);
        assert_noop!(call(0, 0b11 & !own), E::BadBitmap);
        assert_noop!(call(0, 0), E::BadBitmap);
        assert_ok!(call(0, own));
        assert_noop!(call(0, 0b11), E::AlreadyAttested);
    });
}

#[test]
fn the_entry_set_is_what_two_thirds_of_the_owners_hold() {
    with_epoch(params(), || {
        run_to_phase(Phase::Commit);
        (0..4).for_each(commit);
        run_to_phase(Phase::Attest);
        let alone = Bitmap::default().with(position(0).0);
        assert_ok!(Bare::attest(signed(hotkey(0)), RUN, EPOCH, alone));
        attest(partner(0));
        run_to_phase(Phase::Blind);
        // One of two owners holds the partner's entry: less than two thirds.
        assert_eq!(merge_of(0).entry_set, Some(alone));
        let nobody = (1..4).find(|index| *index != partner(0)).unwrap();
        assert_eq!(merge_of(nobody).entry_set, Some(Bitmap::default()));
    });
}

#[test]
fn only_committers_take_part_in_the_merge() {
    with_epoch(params(), || {
        run_to_phase(Phase::Commit);
        [1, 2, 3].into_iter().for_each(commit);
        run_to_phase(Phase::Attest);
        let who = signed(hotkey(0));
        assert_noop!(Bare::attest(who.clone(), RUN, EPOCH, Bitmap(1)), E::NotCommitted);
        run_to_phase(Phase::Blind);
        assert_noop!(Bare::blind_merge(who.clone(), RUN, EPOCH, Hash::ZERO), E::NotCommitted);
        run_to_phase(Phase::Open);
        let nothing = ShardHashes::default();
        assert_noop!(Bare::open_merge(who.clone(), RUN, EPOCH, [0; 32], nothing), E::NotCommitted);
        run_to_phase(Phase::Root);
        assert_noop!(Bare::commit_root(who, RUN, EPOCH, Hash::ZERO), E::NotCommitted);
    });
}

#[test]
fn a_merge_opens_what_was_blinded_and_nothing_else() {
    with_epoch(params(), || {
        run_to_phase(Phase::Commit);
        (0..4).for_each(commit);
        run_to_phase(Phase::Attest);
        (0..4).for_each(attest);
        run_to_phase(Phase::Blind);
        let good = shard_hashes(0, 1);
        let call = |index: u8, salt, hashes: &ShardHashes| {
            Bare::open_merge(signed(hotkey(index)), RUN, EPOCH, salt, hashes.clone())
        };
        assert_noop!(call(0, [0; 32], &good), E::WrongPhase);
        blind(0, &good);
        assert_noop!(Bare::blind_merge(signed(hotkey(0)), RUN, EPOCH, Hash([8; 32])), E::AlreadyBlinded);
        let foreign: ShardHashes = vec![(7, None)].try_into().unwrap();
        blind(partner(0), &foreign);
        run_to_phase(Phase::Open);
        let bystander = (1..4).find(|index| *index != partner(0)).unwrap();
        assert_noop!(call(bystander, [0; 32], &good), E::NotBlinded);
        assert_noop!(call(0, [9; 32], &good), E::BlindMismatch);
        assert_noop!(call(0, [0; 32], &shard_hashes(0, 2)), E::BlindMismatch);
        assert_noop!(call(partner(0), [partner(0); 32], &foreign), E::WrongShards);
        assert_ok!(call(0, [0; 32], &good));
        assert_noop!(call(0, [0; 32], &good), E::AlreadyOpened);
    });
}

/// Statuses of miner 0's stage after it and its partner opened with these tints.
fn statuses_after(own: Option<u8>, others: Option<u8>) -> Vec<ShardStatus> {
    run_to_phase(Phase::Commit);
    (0..4).for_each(commit);
    run_to_phase(Phase::Blind);
    let tinted = |index: u8, tint: u8| (index, shard_hashes(index, tint));
    let opened: Vec<_> =
        [(0, own), (partner(0), others)].into_iter().filter_map(|(i, tint)| Some(tinted(i, tint?))).collect();
    opened.iter().for_each(|(index, hashes)| blind(*index, hashes));
    run_to_phase(Phase::Open);
    opened.into_iter().for_each(|(index, hashes)| open(index, hashes));
    Shards::<Test>::get((RUN, EPOCH, member(0).stage.unwrap())).to_vec()
}

#[test]
fn a_shard_is_agreed_when_both_owners_open_the_same() {
    with_epoch(params(), || {
        assert_eq!(statuses_after(Some(1), Some(1)), vec![ShardStatus::Agreed(Hash([1; 32]))]);
    });
}

#[test]
fn a_shard_differs_when_the_owners_contradict_each_other() {
    with_epoch(params(), || {
        let expected = ShardStatus::Differs(Hash([1; 32]), Hash([2; 32]));
        assert_eq!(statuses_after(Some(1), Some(2)), vec![expected]);
        assert!(deposited(|event| matches!(event, Event::MergeOpened { differing: 1, .. })));
    });
}

#[test]
fn the_lower_owners_hash_is_the_first_whoever_opens_first() {
    with_epoch(params(), || {
        run_to_phase(Phase::Commit);
        (0..4).for_each(commit);
        run_to_phase(Phase::Blind);
        let (low, high) = (shard_hashes(0, 1), shard_hashes(partner(0), 2));
        blind(0, &low);
        blind(partner(0), &high);
        run_to_phase(Phase::Open);
        assert!(uid(0) < uid(partner(0)));
        open(partner(0), high);
        open(0, low);
        let found = Shards::<Test>::get((RUN, EPOCH, member(0).stage.unwrap())).to_vec();
        assert_eq!(found, vec![ShardStatus::Differs(Hash([1; 32]), Hash([2; 32]))]);
    });
}

#[test]
fn a_shard_stands_on_one_owner_and_is_missing_without_any() {
    with_epoch(params(), || {
        assert_eq!(statuses_after(Some(1), None), vec![ShardStatus::Single(Hash([1; 32]))]);
        let other = Stage(1 - member(0).stage.unwrap().0);
        assert_eq!(Shards::<Test>::get((RUN, EPOCH, other)).to_vec(), vec![ShardStatus::Missing]);
    });
}

#[test]
fn a_lone_committer_owns_one_shard_that_nobody_replicates() {
    with_epoch(params(), || {
        run_to_phase(Phase::Commit);
        (0..4).filter(|index| *index != partner(0)).for_each(commit);
        run_to_phase(Phase::Blind);
        let map = ShardMap::new(&clock().seed.unwrap(), member(0).stage.unwrap(), 1, 4).unwrap();
        assert!(!map.is_replicated());
        let hashes = shard_hashes(0, 3);
        blind(0, &hashes);
        run_to_phase(Phase::Open);
        open(0, hashes);
        let stored = Shards::<Test>::get((RUN, EPOCH, member(0).stage.unwrap()));
        assert_eq!(stored.to_vec(), vec![ShardStatus::Single(Hash([3; 32]))]);
    });
}

#[test]
fn a_root_is_canonical_when_more_than_half_of_the_committers_report_it() {
    with_epoch(params(), || {
        run_to_phase(Phase::Commit);
        (0..4).for_each(commit);
        run_to_phase(Phase::Root);
        root(0, 5);
        assert_noop!(Bare::commit_root(signed(hotkey(0)), RUN, EPOCH, Hash([6; 32])), E::AlreadyRooted);
        (1..4).filter(|index| *index != partner(0)).for_each(|index| root(index, 7));
        let (mine, theirs) = (member(0).stage.unwrap(), Stage(1 - member(0).stage.unwrap().0));
        run_to_close();
        let canonical = |stage| Merges::<Test>::get((RUN, EPOCH, stage)).unwrap().canonical_root;
        // One of two is not more than half.
        assert_eq!(canonical(mine), None);
        assert_eq!(canonical(theirs), Some(Hash([7; 32])));
    });
}

#[test]
fn a_stage_takes_no_more_commits_than_can_merge() {
    with_epoch(params(), || {
        run_to_phase(Phase::Commit);
        commit(0);
        let at = (RUN, EPOCH, member(0).stage.unwrap());
        let mut merge = merge_of(0);
        let template = merge.commits.first().unwrap().clone();
        // Commits of uids far above those registered, so that order holds.
        for uid in 200..263 {
            let mut other = template.clone();
            other.uid = iota_protocol::ids::Uid(uid);
            merge.commits.try_push(other).unwrap();
        }
        Merges::<Test>::insert(at, merge);
        let late = || Bare::commit_work(signed(hotkey(partner(0))), RUN, EPOCH, work(partner(0)));
        assert_noop!(late(), E::StageFull);
    });
}
