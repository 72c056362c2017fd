//! From a stored state of `pallet-iota`'s storage version 1 to this version.
//!
//! `states/iota-storage-1.json` is the whole state but `:code` and events of a chain of spec version 2, one
//! block after its first run ended: two miners and a validator worked and were paid for two epochs; a
//! second run waits. It was written by that version and is never written anew.

use iota_protocol::{
    ids::{AccountKey, Epoch, Incarnation, RunId, Uid},
    work::Role,
};
use pallet_iota::{
    migrations::{V1ToV2, V2ToV3},
    types::State,
    ActiveRuns, Clocks, EndedQueue, EndedRuns, EvidenceRequests, Members, Reports, Snapshots,
};
use polkadot_sdk::{
    frame_support::{
        traits::{
            fungible::{InspectHold, Mutate, MutateHold},
            GetStorageVersion, Hooks, OnRuntimeUpgrade, StorageVersion,
        },
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

/// What a member of [`first_version`] has put up.
const BOND: Balance = 3_000 * UNIT;

/// A validator of the second run as the chain's first version stored it, which had neither standing nor misses
/// nor changes of keys; Alice owns it, and the run stands in that state.
fn first_version(state: State) {
    let run = RunId(1);
    let (hotkey, coldkey) = (hot(1).public().0, Sr25519Keyring::Alice.to_account_id());
    let (stage, since): (Option<u16>, Option<u32>) = (None, None);
    let (incarnation, role, weight) = (0u32, Role::Validator, 0u32);
    let (registered_at, served_in, reachable_since, missed, leaving) = (9u32, Some(0u32), 9u32, 0u8, false);
    let first = (incarnation, hotkey, AccountKey(*coldkey.as_ref()), role, stage, since, weight, BOND);
    let rest = (registered_at, served_in, reachable_since, missed, leaving);
    let key = Members::<Runtime>::hashed_key_for(run, Uid(0));
    polkadot_sdk::sp_io::storage::set(&key, &(first, rest).encode());
    assert_eq!(Members::<Runtime>::get(run, Uid(0)), None, "this version reads it as it is");
    assert_ok!(Balances::mint_into(&coldkey, BOND));
    assert_ok!(Balances::hold(&pallet_iota::HoldReason::Bond.into(), &coldkey, BOND));
    System::inc_providers(&AccountId::new(hotkey));
    pallet_iota::UidOf::<Runtime>::insert(run, AccountId::new(hotkey), Uid(0));
    pallet_iota::NextUid::<Runtime>::insert(run, 1);
    pallet_iota::NextIncarnation::<Runtime>::insert(run, Incarnation(1));
    Clocks::<Runtime>::mutate(run, |clock| {
        clock.as_mut().map(|clock| (clock.state, clock.epoch, clock.start) = (state, Epoch(2), 5))
    });
    if state == State::Ended {
        ActiveRuns::<Runtime>::kill();
        pallet_iota::Controls::<Runtime>::remove(run);
    }
}

/// What of Alice's is bonded or unbonds.
fn bonded() -> Balance {
    Balances::balance_on_hold(&pallet_iota::HoldReason::Bond.into(), &Sr25519Keyring::Alice.to_account_id())
}

#[test]
fn a_run_of_the_first_version_ends_wherever_it_stood_and_gives_its_bonds_back() {
    for state in [State::Waiting, State::Running, State::Ended] {
        on_version_1(|block| {
            let before = bonded();
            first_version(state);
            System::set_block_number(block + 1);
            SingleBlock::on_runtime_upgrade();
            assert_eq!(Clocks::<Runtime>::get(RunId(1)).unwrap().state, State::Ended);
            let ended = pallet_iota::Event::RunEnded { run: RunId(1) };
            let said = System::events().iter().any(|record| record.event == ended.clone().into());
            assert_eq!(said, state != State::Ended);
            assert!(ActiveRuns::<Runtime>::get().is_empty());
            assert_eq!(EndedQueue::<Runtime>::get(), (0, 2));
            Iota::check_invariants().unwrap();
            assert_eq!(bonded(), before + BOND);
            // Its owner leaves and withdraws, as after any run.
            assert_ok!(Iota::leave(by(Sr25519Keyring::Alice), RunId(1), Uid(0)));
            let unbonding = pallet_iota::Unbondings::<Runtime>::get(
                (RunId(1), Incarnation(0)),
                Sr25519Keyring::Alice.to_account_id(),
            );
            System::set_block_number(unbonding.unwrap().free_at);
            let owner = Sr25519Keyring::Alice.to_account_id();
            assert_ok!(Iota::withdraw(by(Sr25519Keyring::Bob), RunId(1), Incarnation(0), owner));
            assert_eq!(bonded(), before);
            Iota::check_invariants().unwrap();
        });
    }
}

#[test]
fn who_does_not_leave_a_run_of_the_first_version_is_sent_away_with_its_bond() {
    on_version_1(|block| {
        first_version(State::Running);
        SingleBlock::on_runtime_upgrade();
        let due = block + 604_800;
        System::set_block_number(due);
        for _ in 0..30 {
            Iota::on_idle(due, Weight::MAX);
        }
        assert_eq!(EndedQueue::<Runtime>::get(), (2, 2), "both runs are gone");
        assert_eq!(Members::<Runtime>::iter().count(), 0);
        let owner = Sr25519Keyring::Alice.to_account_id();
        let unbonding = pallet_iota::Unbondings::<Runtime>::get((RunId(1), Incarnation(0)), owner).unwrap();
        assert_eq!(unbonding.amount, BOND);
        Iota::check_invariants().unwrap();
    });
}

#[test]
fn a_member_in_no_known_form_is_left_as_it_is() {
    on_version_1(|_| {
        first_version(State::Running);
        let key = Members::<Runtime>::hashed_key_for(RunId(1), Uid(0));
        polkadot_sdk::sp_io::storage::set(&key, &[7; 20]);
        SingleBlock::on_runtime_upgrade();
        assert_eq!(polkadot_sdk::sp_io::storage::get(&key).unwrap().to_vec(), [7; 20]);
        assert_eq!(Clocks::<Runtime>::get(RunId(1)).unwrap().state, State::Ended);
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
fn a_dry_run_of_the_upgrade_carries_members_of_the_first_version() {
    on_version_1(|_| {
        first_version(State::Running);
        V1ToV2::<Runtime>::try_on_runtime_upgrade(true).unwrap();
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
