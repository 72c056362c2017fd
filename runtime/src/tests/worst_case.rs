//! The most expensive block: the close of an epoch of a full run.
//!
//! 192 miners in three stages that all merge, 64 validators that each reveal a row over all of them:
//! consensus, emission, snapshot and assignment, in steps. What the hook claims in each block of the close is
//! held against what a block has, and what it took here is printed (`--nocapture`).

use std::time::Instant;

use iota_protocol::{
    ids::{Epoch, Uid},
    phase::Phase,
    shard::Shards as ShardMap,
    work::{blind_hash, scores_hash, Bitmap, ScoreEntry, ScoreReveal, ShardHashes, WorkCommit},
};
use polkadot_sdk::{
    frame_support::{
        dispatch::DispatchClass,
        traits::{fungible::Mutate, Hooks},
    },
    sp_genesis_builder::DEV_RUNTIME_PRESET,
};

use super::*;

const MINERS: u8 = 192;
/// The share of a block that a close may take (percent).
const MOST: u64 = 25;

/// Three stages of 64 miners each, with a chunk for every pair.
fn full_run() -> Value {
    let mut run = run();
    let share = |first: u16, share: u32| json!({ "first_layer": first, "layers": 1, "parameters": 64 * 2_016, "share_ppm": share });
    run[0]["model"]["n_layers"] = json!(3);
    run[0]["stages"] = json!([share(0, 333_334), share(1, 333_333), share(2, 333_333)]);
    run[0]["start_replicas"] = json!(64);
    run
}

fn members() -> impl Iterator<Item = u8> {
    0..=u8::MAX
}

fn uid(index: u8) -> Uid {
    pallet_iota::UidOf::<Runtime>::get(RUN, account(&hot(index))).unwrap()
}

fn by_hotkey(index: u8) -> RuntimeOrigin {
    RuntimeOrigin::signed(account(&hot(index)))
}

fn join_all() {
    let alice = Sr25519Keyring::Alice.to_account_id();
    for index in members() {
        assert_ok!(Balances::mint_into(&alice, 1_000_000_000 * UNIT));
        let role = if index < MINERS { Role::Miner } else { Role::Validator };
        let hot = hot(index);
        let (hot_key, cold_key) = (AccountKey(hot.public().0), AccountKey(alice.clone().into()));
        let proof = hot.sign(&register_payload(&genesis_hash(), RUN, &cold_key, &hot_key).0).0;
        assert_ok!(Iota::register(by(Sr25519Keyring::Alice), RUN, account(&hot), role, proof, Balance::MAX));
        let RuntimeCall::Iota(pallet_iota::Call::serve { run, endpoint, peer_signature }) = serve(index)
        else {
            unreachable!("serve makes no other call")
        };
        assert_ok!(Iota::serve(by_hotkey(index), run, endpoint, peer_signature));
        if role == Role::Validator {
            assert_ok!(Iota::bond(by(Sr25519Keyring::Alice), RUN, uid(index), 100 * UNIT));
        }
    }
}

fn clock() -> pallet_iota::types::Clock {
    pallet_iota::Clocks::<Runtime>::get(RUN).unwrap()
}

fn schedule() -> Schedule {
    let phases = pallet_iota::Runs::<Runtime>::get(RUN).unwrap().phases;
    Schedule::new(&phases, false, clock().start, clock().extensions)
}

/// What a miner opens: every one of its 63 shards.
fn shards(index: u8) -> ShardHashes {
    let member = pallet_iota::Members::<Runtime>::get(RUN, uid(index)).unwrap();
    let stage = member.stage.unwrap();
    let merge = pallet_iota::Merges::<Runtime>::get((RUN, clock().epoch, stage)).unwrap();
    let position = merge.commits.iter().position(|commit| commit.uid == uid(index)).unwrap();
    let map = ShardMap::new(&clock().seed.unwrap(), stage, merge.commits.len(), 2_016).unwrap();
    let hashes: Vec<_> = map.owned_by(position).into_iter().map(|s| (s, Some(Hash32([9; 32])))).collect();
    hashes.try_into().unwrap()
}

/// Everything of the current epoch up to its last block before `Close`.
fn merge_all() {
    let (epoch, schedule) = (clock().epoch, schedule());
    let miners = || 0..MINERS;
    open_to(schedule.window(Phase::Commit).start);
    for index in miners() {
        let stage = pallet_iota::Members::<Runtime>::get(RUN, uid(index)).unwrap().stage.unwrap();
        let root = Hash32([index; 32]);
        let started = if stage.0 == 0 { 10 } else { 0 };
        let work = WorkCommit { entry_root: root, log_root: root, receipts_root: root, samples: 9, started };
        assert_ok!(Iota::commit_work(by_hotkey(index), RUN, epoch, work));
    }
    open_to(schedule.window(Phase::Attest).start);
    for index in miners() {
        assert_ok!(Iota::attest(by_hotkey(index), RUN, epoch, Bitmap(u64::MAX)));
    }
    open_to(schedule.window(Phase::Blind).start);
    for index in miners() {
        let incarnation = pallet_iota::Members::<Runtime>::get(RUN, uid(index)).unwrap().incarnation;
        let hash = blind_hash(uid(index), incarnation, epoch, &[index; 32], &shards(index));
        assert_ok!(Iota::blind_merge(by_hotkey(index), RUN, epoch, hash));
    }
    open_to(schedule.window(Phase::Open).start);
    for index in miners() {
        assert_ok!(Iota::open_merge(by_hotkey(index), RUN, epoch, [index; 32], shards(index)));
    }
    open_to(schedule.window(Phase::Root).start);
    for index in miners() {
        assert_ok!(Iota::commit_root(by_hotkey(index), RUN, epoch, Hash32([5; 32])));
    }
    open_to(schedule.close() - 1);
}

/// All validators reveal a full row for the epoch before; no two rows are the same.
fn score_all() {
    let (epoch, schedule) = (clock().epoch.previous().unwrap(), schedule());
    let miners = pallet_iota::Snapshots::<Runtime>::get((RUN, epoch)).unwrap().miners;
    let row = |index: u8| {
        let entries: Vec<_> = miners
            .iter()
            .map(|miner| ScoreEntry {
                uid: miner.uid,
                incarnation: miner.incarnation,
                score: 60_000 + miner.uid.0 + u16::from(index),
            })
            .collect();
        let (salt, report_root) = ([index; 32], Hash32([6; 32]));
        ScoreReveal { entries: entries.try_into().unwrap(), salt, report_root }
    };
    open_to(schedule.score_commit().start);
    for index in MINERS..=u8::MAX {
        let incarnation = pallet_iota::Members::<Runtime>::get(RUN, uid(index)).unwrap().incarnation;
        let author = AccountKey(hot(index).public().0);
        let hash = scores_hash(&genesis_hash(), RUN, &author, incarnation, epoch, &row(index));
        assert_ok!(Iota::commit_scores(by_hotkey(index), RUN, epoch, hash));
    }
    open_to(schedule.score_reveal().start);
    for index in MINERS..=u8::MAX {
        assert_ok!(Iota::reveal_scores(by_hotkey(index), RUN, epoch, uid(index), row(index)));
    }
}

#[test]
fn the_close_of_a_full_run_takes_a_quarter_of_a_block_at_most() {
    on_chain(DEV_RUNTIME_PRESET, full_run(), || {
        open_block();
        join_all();
        open_block();
        assert_eq!(clock().state, pallet_iota::types::State::Running);
        merge_all();
        open_block();
        assert_eq!(clock().epoch, Epoch(1));
        score_all();
        merge_all();
        let mut block = schedule().close();
        while clock().epoch == Epoch(1) {
            close_in(block);
            block += 1;
        }
        assert_eq!(clock().start, block, "the next epoch starts in the block after the last of `Close`");
        let report = Iota::report_view(RUN, Epoch(0)).unwrap();
        assert!(report.split.minted > 0, "the epoch was void: {report:?}");
    });
}

/// One block of the close.
fn close_in(number: BlockNumber) {
    System::initialize(&number, &System::parent_hash(), &Default::default());
    let from = Instant::now();
    let weight = <Iota as Hooks<BlockNumber>>::on_initialize(number);
    let took = from.elapsed();
    let weights = <Runtime as frame_system::Config>::BlockWeights::get();
    let block = weights.max_block.ref_time();
    println!(
        "close in {number}: claims {} ms of {} ms ({} %), took {} ms here; ordinary calls have {} ms; left {:?}",
        weight.ref_time() / 1_000_000_000,
        block / 1_000_000_000,
        weight.ref_time() * 100 / block,
        took.as_millis(),
        weights.get(DispatchClass::Normal).max_total.unwrap_or_default().ref_time() / 1_000_000_000,
        pallet_iota::Closing::<Runtime>::get(RUN),
    );
    assert!(weight.ref_time() * 100 <= block * MOST, "{weight:?} of {block}");
}
