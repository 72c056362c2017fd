//! The most expensive block: the close of an epoch of a full run.
//!
//! 192 miners in three stages that all merge, 64 validators that each reveal a row over all of them:
//! consensus, emission, snapshot and assignment, in steps. What the hook claims in each block of the close is
//! held against what a block has, and what it took here is printed (`--nocapture`). The same epoch is the most
//! that a run puts into blocks and state; its bytes are counted.

use std::time::Instant;

use iota_protocol::{
    ids::{Epoch, Incarnation, Uid},
    phase::Phase,
    shard::Shards as ShardMap,
    work::{blind_hash, scores_hash, Bitmap, ScoreEntry, ScoreReveal, ShardHashes, WorkCommit},
};
use polkadot_sdk::{
    frame_support::{
        dispatch::{DispatchClass, GetDispatchInfo},
        traits::{fungible::Mutate, Hooks},
    },
    sp_genesis_builder::DEV_RUNTIME_PRESET,
    sp_runtime::traits::Dispatchable,
};

use super::*;

const MINERS: u8 = 192;
/// The share of a block that a close may take (percent).
const MOST: u64 = 25;
/// Epochs of half an hour in a day.
const EPOCHS_A_DAY: usize = 48;
/// What the transactions of a full epoch may take in blocks, and what it may add to the state, bytes: the
/// pallet's documentation names what they were, and this is the next round number.
const MOST_BYTES: usize = 1_000_000;

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

/// A member sends a call of the pallet; how many bytes it takes in a block, signature and all.
fn send(index: u8, call: pallet_iota::Call<Runtime>) -> usize {
    let (who, call) = (account(&hot(index)), RuntimeCall::Iota(call));
    let signature = MultiSignature::Sr25519(sr25519::Signature::from_raw([0; 64]));
    // A nonce of two bytes: such a member is a few days old.
    let nonce = 1_000;
    let address = MultiAddress::Id(who.clone());
    let bytes =
        UncheckedExtrinsic::new_signed(call.clone(), address, signature, extension(nonce)).encoded_size();
    assert_ok!(call.dispatch(RuntimeOrigin::signed(who)));
    bytes
}

/// Bytes that the pallet stores, keys and values.
fn stored() -> usize {
    let prefix = polkadot_sdk::sp_io::hashing::twox_128(b"Iota");
    let (mut key, mut bytes) = (prefix.to_vec(), 0);
    while let Some(next) = polkadot_sdk::sp_io::storage::next_key(&key).filter(|key| key.starts_with(&prefix))
    {
        bytes += next.len() + polkadot_sdk::sp_io::storage::get(&next).unwrap().len();
        key = next;
    }
    bytes
}

/// Everything of the current epoch up to its last block before `Close`; the bytes of it.
fn merge_all() -> usize {
    use pallet_iota::Call;
    let run = RUN;
    let mut bytes = 0;
    let (epoch, schedule) = (clock().epoch, schedule());
    let miners = || 0..MINERS;
    open_to(schedule.window(Phase::Commit).start);
    for index in miners() {
        let stage = pallet_iota::Members::<Runtime>::get(RUN, uid(index)).unwrap().stage.unwrap();
        let root = Hash32([index; 32]);
        let started = if stage.0 == 0 { 10 } else { 0 };
        let work = WorkCommit { entry_root: root, log_root: root, receipts_root: root, samples: 9, started };
        bytes += send(index, Call::commit_work { run, epoch, work });
    }
    open_to(schedule.window(Phase::Attest).start);
    for index in miners() {
        bytes += send(index, Call::attest { run, epoch, entries: Bitmap(u64::MAX) });
    }
    open_to(schedule.window(Phase::Blind).start);
    for index in miners() {
        let incarnation = pallet_iota::Members::<Runtime>::get(RUN, uid(index)).unwrap().incarnation;
        let hash = blind_hash(uid(index), incarnation, epoch, &[index; 32], &shards(index));
        bytes += send(index, Call::blind_merge { run, epoch, hash });
    }
    open_to(schedule.window(Phase::Open).start);
    for index in miners() {
        let (salt, hashes) = ([index; 32], shards(index));
        bytes += send(index, Call::open_merge { run, epoch, salt, hashes });
    }
    open_to(schedule.window(Phase::Root).start);
    for index in miners() {
        bytes += send(index, Call::commit_root { run, epoch, root: Hash32([5; 32]) });
    }
    open_to(schedule.close() - 1);
    bytes
}

/// All validators reveal a full row for the epoch before; no two rows are the same. The bytes of it.
fn score_all() -> usize {
    use pallet_iota::Call;
    let run = RUN;
    let mut bytes = 0;
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
        bytes += send(index, Call::commit_scores { run, epoch, hash });
    }
    open_to(schedule.score_reveal().start);
    for index in MINERS..=u8::MAX {
        let (author, reveal) = (uid(index), row(index));
        bytes += send(index, Call::reveal_scores { run, epoch, author, reveal });
    }
    bytes
}

#[test]
fn row_04_the_close_of_a_full_run_takes_a_quarter_of_a_block_at_most() {
    on_chain(DEV_RUNTIME_PRESET, full_run(), || {
        open_block();
        join_all();
        open_block();
        assert_eq!(clock().state, pallet_iota::types::State::Running);
        merge_all();
        open_block();
        assert_eq!(clock().epoch, Epoch(1));
        let before = stored();
        let sent = score_all() + merge_all();
        let open = stored() - before;
        let mut block = schedule().close();
        while clock().epoch == Epoch(1) {
            close_in(block);
            block += 1;
        }
        assert_eq!(clock().start, block, "the next epoch starts in the block after the last of `Close`");
        count_bytes(sent, open, stored() - before);
        let report = Iota::report_view(RUN, Epoch(0)).unwrap();
        assert!(report.split.minted > 0, "the epoch was void: {report:?}");
    });
}

/// Holds what a full epoch sends and writes, before its `Close` and with it, below its bounds.
fn count_bytes(sent: usize, open: usize, written: usize) {
    println!(
        "a full epoch: {sent} bytes of transactions, {written} bytes of new state, {open} of them before its close; \
         a day: {} and {} MB",
        sent * EPOCHS_A_DAY / 1_000_000,
        written * EPOCHS_A_DAY / 1_000_000,
    );
    assert!(sent > 100_000 && sent < MOST_BYTES, "{sent} bytes of transactions");
    assert!(written > 100_000 && written < MOST_BYTES, "{written} bytes of state");
}

#[test]
fn row_04_a_call_with_more_in_it_weighs_more_and_fits_into_a_block() {
    use pallet_iota::Call;
    on_chain(DEV_RUNTIME_PRESET, full_run(), || {
        let (run, epoch) = (RUN, Epoch(0));
        let entry = ScoreEntry { uid: Uid(0), incarnation: Incarnation(0), score: 1 };
        let reveal = |entries: usize| Call::<Runtime>::reveal_scores {
            run,
            epoch,
            author: Uid(0),
            reveal: ScoreReveal {
                entries: vec![entry; entries].try_into().unwrap(),
                salt: [0; 32],
                report_root: Hash32([0; 32]),
            },
        };
        let open = |count: usize| Call::<Runtime>::open_merge {
            run,
            epoch,
            salt: [0; 32],
            hashes: vec![(0, None); count].try_into().unwrap(),
        };
        let create = |count: usize| {
            let mut params = Iota::run_view(RUN).unwrap();
            params.stages = vec![params.stages[0].clone(); count].try_into().unwrap();
            Call::<Runtime>::create_run { params }
        };
        let weigh = |call: Call<Runtime>| RuntimeCall::Iota(call).get_dispatch_info().call_weight.ref_time();
        let most = <Runtime as frame_system::Config>::BlockWeights::get();
        let most = most.get(DispatchClass::Normal).max_extrinsic.unwrap().ref_time();
        for (less, more) in [(reveal(0), reveal(256)), (open(0), open(63)), (create(1), create(64))] {
            let (less, more) = (weigh(less), weigh(more));
            assert!(less < more && more < most, "{less} {more} {most}");
        }
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
