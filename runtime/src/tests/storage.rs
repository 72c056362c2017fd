//! From a stored state of `pallet-iota`'s storage version 1 to this version.
//!
//! `states/iota-storage-1.json` is the whole state but `:code` and events of a chain of spec version 2, one
//! block after its first run ended: two miners and a validator worked and were paid for two epochs; a
//! second run waits. It was written by that version and is never written anew.

use iota_protocol::{
    ids::{Epoch, Incarnation, RunId, Uid},
    work::Role,
};
use pallet_iota::{
    migrations::{V1ToV2, V2ToV3},
    types::State,
    ActiveRuns, Clocks, EndedQueue, EndedRuns, EvidenceRequests, Members, Reports, Snapshots,
};
use polkadot_sdk::{
    frame_support::{
        traits::{GetStorageVersion, Hooks, OnRuntimeUpgrade, StorageVersion},
        weights::Weight,
    },
    sp_core::storage::Storage,
    sp_runtime::StateVersion,
};

use super::*;
use crate::migrations::SingleBlock;

const STORED: &str = include_str!("states/iota-storage-1.json");

/// The chain as spec version 2 left it.
fn on_version_1(test: impl FnOnce(BlockNumber)) {
    let stored: Value = serde_json::from_str(STORED).unwrap();
    assert_eq!(stored["spec_version"], 2);
    let decode = |text: &str| hex::decode(text.trim_start_matches("0x")).unwrap();
    let top = stored["top"].as_object().unwrap().iter();
    let top = top.map(|(key, value)| (decode(key), decode(value.as_str().unwrap()))).collect();
    let block = u32::try_from(stored["block"].as_u64().unwrap()).unwrap();
    let storage = Storage { top, children_default: Default::default() };
    TestExternalities::new(storage).execute_with(|| test(block));
}

fn root() -> Vec<u8> {
    polkadot_sdk::sp_io::storage::root(StateVersion::V1)
}

#[test]
fn runs_that_ended_before_the_upgrade_are_queued_once() {
    on_version_1(|block| {
        assert_eq!(Iota::on_chain_storage_version(), StorageVersion::new(1));
        assert_eq!(EndedQueue::<Runtime>::get(), (0, 0));
        let issued = Balances::total_issuance();
        // A request as version 1 stored it: without what is wanted.
        let request = EvidenceRequests::<Runtime>::hashed_key_for((RunId(1), Epoch(0)), Uid(0));
        polkadot_sdk::sp_io::storage::set(
            &request,
            &(Incarnation(0), false, Vec::<Uid>::new(), false, false).encode(),
        );
        SingleBlock::on_runtime_upgrade();
        assert_eq!(polkadot_sdk::sp_io::storage::get(&request), None);
        assert_eq!(Iota::on_chain_storage_version(), StorageVersion::new(4));
        assert_eq!(EndedQueue::<Runtime>::get(), (0, 1), "the run that waits has not ended");
        let ended = EndedRuns::<Runtime>::get(0).unwrap();
        assert_eq!((ended.run, ended.due), (RUN, block + 604_800));
        assert_eq!(ActiveRuns::<Runtime>::get().to_vec(), [RunId(1)]);
        assert_eq!(Balances::total_issuance(), issued);
        Iota::check_invariants().unwrap();
        let once = root();
        SingleBlock::on_runtime_upgrade();
        assert_eq!(root(), once, "a second time changes nothing");
    });
}

#[test]
fn the_migration_weighs_what_it_reads_and_writes() {
    on_version_1(|_| {
        let db = <Runtime as frame_system::Config>::DbWeight::get();
        // Of the queue: the count of runs and both clocks; for the one that ended, the queue and its entry. Of
        // the members: three, keys and values.
        let work = db.reads_writes(3 + 2 + 3 * 2, 2);
        let weight = V1ToV2::<Runtime>::on_runtime_upgrade();
        assert!(weight.all_gte(work) && work.saturating_mul(2).all_gte(weight), "{weight:?} for {work:?}");
    });
}

#[test]
fn an_upgraded_chain_drops_what_ended_and_pays_what_is_owed() {
    on_version_1(|block| {
        SingleBlock::on_runtime_upgrade();
        let owed = |incarnation| pallet_iota::Vestings::<Runtime>::get(RUN, Incarnation(incarnation));
        assert!(Reports::<Runtime>::contains_key((RUN, Epoch(0))));
        let (vests, bonded) = (owed(0), Members::<Runtime>::iter_prefix(RUN).count());
        assert!(vests.is_some() && bonded == 3);
        let due = block + 604_800;
        assert_eq!(Iota::on_idle(due - 1, Weight::MAX), Iota::on_idle(due - 1, Weight::MAX));
        assert_eq!(Members::<Runtime>::iter_prefix(RUN).count(), 3, "not yet");
        System::set_block_number(due);
        for _ in 0..10 {
            Iota::on_idle(due, Weight::MAX);
            Iota::check_invariants().unwrap();
        }
        assert_eq!(EndedQueue::<Runtime>::get(), (1, 1));
        assert_eq!(Members::<Runtime>::iter_prefix(RUN).count(), 0);
        assert_eq!(Reports::<Runtime>::iter().count() + Snapshots::<Runtime>::iter().count(), 0);
        assert!(Clocks::<Runtime>::contains_key(RUN));
        // What vests is as it was but that its hold counts down.
        assert_eq!(owed(0).map(|own| own.tranches), vests.map(|own| own.tranches));
        let alice = Sr25519Keyring::Alice.to_account_id();
        assert_ok!(Iota::release(by(Sr25519Keyring::Bob), RUN, Incarnation(0)));
        assert_ok!(Iota::claim(by(Sr25519Keyring::Bob), alice));
    });
}

/// A member of the second run as the chain's first version stored it, which had neither standing nor misses nor
/// changes of keys; its raw key.
fn member_of_the_first_version() -> Vec<u8> {
    let run = RunId(1);
    let (hotkey, coldkey) = ([1u8; 32], [2u8; 32]);
    let (stage, since): (Option<u16>, Option<u32>) = (None, None);
    let (incarnation, role, weight, bond) = (0u32, Role::Miner, 0u32, 0u128);
    let (registered_at, served_in, reachable_since, missed, leaving) = (9u32, Some(0u32), 9u32, 0u8, false);
    let first = (incarnation, hotkey, coldkey, role, stage, since, weight, bond);
    let rest = (registered_at, served_in, reachable_since, missed, leaving);
    let key = Members::<Runtime>::hashed_key_for(run, Uid(0));
    polkadot_sdk::sp_io::storage::set(&key, &(first, rest).encode());
    pallet_iota::UidOf::<Runtime>::insert(run, AccountId::new(hotkey), Uid(0));
    pallet_iota::NextUid::<Runtime>::insert(run, 1);
    pallet_iota::NextIncarnation::<Runtime>::insert(run, Incarnation(1));
    key
}

#[test]
fn a_run_with_members_of_the_first_version_is_paused_and_left_as_it_is() {
    on_version_1(|block| {
        let key = member_of_the_first_version();
        let before = polkadot_sdk::sp_io::storage::get(&key);
        System::set_block_number(block + 1);
        SingleBlock::on_runtime_upgrade();
        assert_eq!(Clocks::<Runtime>::get(RunId(1)).unwrap().state, State::Paused);
        let paused = pallet_iota::Event::RunPaused { run: RunId(1), epoch: Epoch(0) };
        assert!(System::events().iter().any(|record| record.event == paused.clone().into()));
        let clock = Clocks::<Runtime>::get(RunId(1));
        for ahead in 2..200 {
            System::set_block_number(block + ahead);
            Iota::on_initialize(block + ahead);
        }
        assert_eq!(Clocks::<Runtime>::get(RunId(1)), clock, "its clock stands still");
        assert_eq!(polkadot_sdk::sp_io::storage::get(&key), before, "what it stored waits for a migration");
        assert_eq!(Clocks::<Runtime>::get(RUN).unwrap().state, State::Ended, "the other run is not touched");
        assert_eq!(EndedQueue::<Runtime>::get(), (0, 1));
    });
}

/// Each version's state, made from the oldest by the migrations up to it, comes to the newest.
#[test]
fn every_stored_version_is_carried_over_to_this_one() {
    let steps: [fn() -> Weight; 2] =
        [V1ToV2::<Runtime>::on_runtime_upgrade, V2ToV3::<Runtime>::on_runtime_upgrade];
    for (from, done) in (1u16..=3).zip(0usize..) {
        on_version_1(|_| {
            steps.iter().take(done).for_each(|step| {
                step();
            });
            assert_eq!(Iota::on_chain_storage_version(), StorageVersion::new(from));
            SingleBlock::on_runtime_upgrade();
            assert_eq!(Iota::on_chain_storage_version(), StorageVersion::new(4));
            assert_eq!(EndedQueue::<Runtime>::get(), (0, 1));
            Iota::check_invariants().unwrap();
        });
    }
}

#[cfg(feature = "try-runtime")]
#[test]
fn a_dry_run_of_the_upgrade_names_members_of_the_first_version() {
    on_version_1(|_| {
        member_of_the_first_version();
        let refused = V1ToV2::<Runtime>::try_on_runtime_upgrade(true).unwrap_err();
        assert_eq!(format!("{refused:?}"), "Other(\"a run holds members of the chain's first version\")");
    });
}

#[test]
fn a_chain_that_begins_with_this_version_is_not_migrated() {
    on_chain(polkadot_sdk::sp_genesis_builder::DEV_RUNTIME_PRESET, run(), || {
        let before = root();
        SingleBlock::on_runtime_upgrade();
        assert_eq!(root(), before);
    });
}

#[cfg(feature = "try-runtime")]
#[test]
fn the_checks_of_every_pallet_hold_after_the_upgrade() {
    use polkadot_sdk::frame_support::traits::UpgradeCheckSelect;
    on_version_1(|_| {
        Executive::try_runtime_upgrade(UpgradeCheckSelect::All).unwrap();
        Executive::try_runtime_upgrade(UpgradeCheckSelect::All).unwrap();
    });
}
