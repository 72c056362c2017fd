//! From the stored state of a chain whose run is in the middle of an epoch to this version.
//!
//! `states/iota-storage-4.json` is the whole state but `:code` and events of a chain of spec version 6, in the window
//! `Open` of a run's second epoch: miners have merged half-way, validators have scored the first epoch, one of
//! them accuses, both ask for evidence, a miner is leaving, keys are about to change, a part of a bond
//! unbonds. It was written by that version, by the first test below, and is never written anew.

use std::{fs, path::PathBuf};

use iota_protocol::{
    ids::{Epoch, Stage, Uid},
    phase::Phase,
    shard::Shards as ShardMap,
    work::{blind_hash, scores_hash, Bitmap, ScoreEntry, ScoreReveal, ShardHashes, WorkCommit},
};
use pallet_iota::Call;
use polkadot_sdk::{
    frame_support::traits::{GetStorageVersion, OnRuntimeUpgrade},
    sp_core::storage::{well_known_keys, Storage},
    sp_genesis_builder::DEV_RUNTIME_PRESET,
    sp_runtime::{traits::Dispatchable, StateVersion},
};

use super::*;
use crate::migrations::SingleBlock;

const MINERS: [u8; 4] = [1, 2, 3, 4];
const VALIDATORS: [u8; 2] = [5, 6];
const SALT: [u8; 32] = [7; 32];

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/tests/states/iota-storage-4.json")
}

fn root() -> Vec<u8> {
    polkadot_sdk::sp_io::storage::root(StateVersion::V1)
}

fn clock() -> pallet_iota::types::Clock {
    pallet_iota::Clocks::<Runtime>::get(RUN).unwrap()
}

fn schedule() -> Schedule {
    let phases = pallet_iota::Runs::<Runtime>::get(RUN).unwrap().phases;
    Schedule::new(&phases, false, clock().start, clock().extensions)
}

fn member(index: u8) -> (Uid, pallet_iota::types::Member) {
    let uid = pallet_iota::UidOf::<Runtime>::get(RUN, account(&hot(index))).unwrap();
    (uid, pallet_iota::Members::<Runtime>::get(RUN, uid).unwrap())
}

fn send(index: u8, call: Call<Runtime>) {
    assert_ok!(RuntimeCall::Iota(call).dispatch(RuntimeOrigin::signed(account(&hot(index)))));
}

fn own(call: Call<Runtime>) {
    assert_ok!(RuntimeCall::Iota(call).dispatch(by(Sr25519Keyring::Alice)));
}

fn open_window(phase: Phase) {
    open_to(schedule().window(phase).start);
}

fn hashes(index: u8) -> ShardHashes {
    let (uid, member) = member(index);
    let (clock, stage) = (clock(), member.stage.unwrap());
    let merge = pallet_iota::Merges::<Runtime>::get((RUN, clock.epoch, stage)).unwrap();
    let position = merge.commits.iter().position(|commit| commit.uid == uid).unwrap();
    // 640 parameters in chunks of 64.
    let map = ShardMap::new(&clock.seed.unwrap(), stage, merge.commits.len(), 10).unwrap();
    let own: Vec<_> = map.owned_by(position).into_iter().map(|s| (s, Some(Hash32([9; 32])))).collect();
    own.try_into().unwrap()
}

/// Miners commit, attest and blind; the first of them opens.
fn merge_half_way() {
    let (run, epoch) = (RUN, clock().epoch);
    open_window(Phase::Commit);
    for index in MINERS {
        let root = Hash32([index; 32]);
        let started = if member(index).1.stage == Some(Stage(0)) { 9 } else { 0 };
        let work = WorkCommit { entry_root: root, log_root: root, receipts_root: root, samples: 9, started };
        send(index, Call::commit_work { run, epoch, work });
    }
    open_window(Phase::Attest);
    MINERS.into_iter().for_each(|index| send(index, Call::attest { run, epoch, entries: Bitmap(0b11) }));
    open_window(Phase::Blind);
    for index in MINERS {
        let (uid, member) = member(index);
        let hash = blind_hash(uid, member.incarnation, epoch, &SALT, &hashes(index));
        send(index, Call::blind_merge { run, epoch, hash });
    }
    open_window(Phase::Open);
    send(1, Call::open_merge { run, epoch, salt: SALT, hashes: hashes(1) });
}

fn merge_to_the_end(rest: &[u8]) {
    let (run, epoch) = (RUN, clock().epoch);
    rest.iter()
        .for_each(|index| send(*index, Call::open_merge { run, epoch, salt: SALT, hashes: hashes(*index) }));
    open_window(Phase::Root);
    MINERS.into_iter().for_each(|index| send(index, Call::commit_root { run, epoch, root: Hash32([5; 32]) }));
    open_to(schedule().close());
}

/// Both validators score the first epoch.
fn score() {
    let (run, epoch) = (RUN, Epoch(0));
    let snapshot = pallet_iota::Snapshots::<Runtime>::get((run, epoch)).unwrap();
    let entries: Vec<_> = snapshot
        .miners
        .iter()
        .map(|miner| ScoreEntry { uid: miner.uid, incarnation: miner.incarnation, score: 9 })
        .collect();
    let reveal =
        ScoreReveal { entries: entries.try_into().unwrap(), salt: SALT, report_root: Hash32([6; 32]) };
    for index in VALIDATORS {
        let author = AccountKey(hot(index).public().0);
        let hash = scores_hash(&genesis_hash(), run, &author, member(index).1.incarnation, epoch, &reveal);
        send(index, Call::commit_scores { run, epoch, hash });
    }
    open_to(schedule().score_reveal().start);
    for index in VALIDATORS {
        let reveal = reveal.clone();
        send(index, Call::reveal_scores { run, epoch, author: member(index).0, reveal });
    }
}

/// What is open about members and the first epoch while the second goes on.
fn leave_things_open() {
    let (run, epoch) = (RUN, Epoch(0));
    let (accused, asked) = (member(1), member(2));
    let (uid, incarnation, evidence) = (accused.0, accused.1.incarnation, Hash32([8; 32]));
    send(5, Call::accuse { run, epoch, uid, incarnation, segment: 3, evidence });
    let (uid, incarnation, wanted) = (asked.0, asked.1.incarnation, Hash32([9; 32]));
    for index in VALIDATORS {
        send(index, Call::request_evidence { run, epoch, uid, incarnation, wanted });
    }
    own(Call::leave { run, uid: member(4).0 });
    own(Call::unbond { run, uid: member(6).0, amount: 50 * UNIT });
    own(Call::announce_coldkey { run, uid: member(3).0, to: Sr25519Keyring::Bob.to_account_id() });
    let (new, cold) = (hot(13), AccountKey(Sr25519Keyring::Alice.public().0));
    let payload = register_payload(&genesis_hash(), RUN, &cold, &AccountKey(new.public().0));
    let proof = new.sign(&payload.0).0;
    own(Call::swap_hotkey { run, uid: member(3).0, hotkey: account(&new), proof });
}

/// The chain as it is stored.
fn run_half_way() {
    open_block();
    for index in MINERS {
        register(index, Role::Miner);
        assert_ok!(serve(index).dispatch(RuntimeOrigin::signed(account(&hot(index)))));
    }
    for index in VALIDATORS {
        register(index, Role::Validator);
        own(Call::bond { run: RUN, uid: member(index).0, amount: 200 * UNIT });
    }
    open_block();
    merge_half_way();
    merge_to_the_end(&[2, 3, 4]);
    open_block();
    leave_things_open();
    score();
    merge_half_way();
    System::reset_events();
    Iota::check_invariants().unwrap();
}

fn write() {
    let mut top = serde_json::Map::new();
    let mut key = Vec::new();
    while let Some(next) = polkadot_sdk::sp_io::storage::next_key(&key) {
        if next != well_known_keys::CODE {
            let value = polkadot_sdk::sp_io::storage::get(&next).unwrap();
            top.insert(hex::encode(&next), json!(hex::encode(&value)));
        }
        key = next;
    }
    let stored = json!({ "spec_version": VERSION.spec_version, "block": System::block_number(), "top": top });
    fs::write(path(), serde_json::to_vec_pretty(&stored).unwrap()).unwrap();
}

/// The chain as spec version 6 left it.
fn on_stored(test: impl FnOnce(BlockNumber)) {
    let text = fs::read_to_string(path()).expect("states/iota-storage-4.json is missing");
    let stored: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(stored["spec_version"], 6);
    let decode = |text: &str| hex::decode(text).unwrap();
    let top = stored["top"].as_object().unwrap().iter();
    let top = top.map(|(key, value)| (decode(key), decode(value.as_str().unwrap()))).collect();
    let block = u32::try_from(stored["block"].as_u64().unwrap()).unwrap();
    let storage = Storage { top, children_default: Default::default() };
    TestExternalities::new(storage).execute_with(|| test(block));
}

#[test]
fn the_stored_run_is_half_way_through_its_second_epoch() {
    let mut runs = run();
    runs[0]["epochs"] = json!(9);
    on_chain(DEV_RUNTIME_PRESET, runs, || {
        run_half_way();
        if std::env::var_os("IOTA_BLESS").is_some() && !path().exists() {
            write();
        }
        let (version, block) = (Iota::on_chain_storage_version(), System::block_number());
        on_stored(|stored| {
            assert_eq!((clock().epoch, stored), (Epoch(1), block));
            assert!(Iota::on_chain_storage_version() <= version);
            assert_eq!(schedule().phase_at(stored), Phase::Open);
            assert_eq!(pallet_iota::Accusations::<Runtime>::iter().count(), 1);
            assert_eq!(pallet_iota::Swaps::<Runtime>::get(RUN).len(), 1);
        });
    });
}

#[test]
fn row_24_a_running_run_is_carried_over_whole() {
    on_stored(|block| {
        assert_eq!(System::block_number(), block);
        let issued = Balances::total_issuance();
        SingleBlock::on_runtime_upgrade();
        assert_eq!(Iota::on_chain_storage_version(), Iota::in_code_storage_version());
        Iota::check_invariants().unwrap();
        let once = root();
        SingleBlock::on_runtime_upgrade();
        assert_eq!(root(), once, "a second time changes nothing");
        assert_eq!(Balances::total_issuance(), issued);
    });
}

#[test]
fn a_carried_over_run_ends_its_epoch_and_pays_the_one_before() {
    on_stored(|_| {
        SingleBlock::on_runtime_upgrade();
        let (leaving, changing) = (member(4).0, member(3).0);
        merge_to_the_end(&[2, 3, 4]);
        while clock().epoch == Epoch(1) {
            open_block();
        }
        Iota::check_invariants().unwrap();
        let report = Iota::report_view(RUN, Epoch(0)).unwrap();
        assert!(report.split.minted > 0, "the first epoch is void: {report:?}");
        assert_eq!(report.payouts.len(), MINERS.len() + VALIDATORS.len());
        assert_eq!(Iota::held_view(RUN, Epoch(0)).len(), 1, "pay for which evidence was asked for is held");
        assert!(!pallet_iota::Members::<Runtime>::contains_key(RUN, leaving));
        assert_eq!(member(13).0, changing, "the hotkey has changed");
        assert_eq!(pallet_iota::Unbondings::<Runtime>::iter().count(), 1);
        assert_eq!(pallet_iota::Accusations::<Runtime>::iter().count(), 1, "it is judged for one epoch more");
    });
}
