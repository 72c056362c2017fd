//! From the stored state of a chain of version 1 to this version.
//!
//! `states/v1.json` is the whole state but `:code` of block 4 of the preset `local`, read over RPC from
//! a node of spec version 1. It is never written anew: chains that began then still hold such states.

use polkadot_sdk::{
    frame_support::traits::OnRuntimeUpgrade, pallet_aura, pallet_session, sp_core::storage::Storage,
    sp_runtime::StateVersion,
};
use Sr25519Keyring::{Alice, Bob, Charlie};

use super::*;
use crate::{genesis::multisig, migrations::SingleBlock};

const V1: &str = include_str!("states/v1.json");

/// The chain as version 1 left it, before a block of this version.
fn on_version_1(test: impl FnOnce(BlockNumber)) {
    let stored: Value = serde_json::from_str(V1).unwrap();
    assert_eq!(stored["spec_version"], 1);
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

/// Opens the block after `parent` as its author in a slot after all that there were.
fn open_after(parent: BlockNumber) {
    let slot = u64::from(pallet_aura::CurrentSlot::<Runtime>::get()) + 1;
    let digest = Digest { logs: vec![DigestItem::PreRuntime(AURA_ENGINE_ID, Slot::from(slot).encode())] };
    let header =
        Header::new(parent + 1, Default::default(), Default::default(), Hash::repeat_byte(9), digest);
    Executive::initialize_block(&header);
}

#[test]
fn the_first_block_of_this_version_hands_the_authorities_to_the_session() {
    on_version_1(|block| {
        let aura = pallet_aura::Authorities::<Runtime>::get();
        let grandpa = Grandpa::grandpa_authorities();
        let issued = Balances::total_issuance();
        open_after(block);
        let three = [Alice, Bob, Charlie].map(|key| key.to_account_id());
        assert_eq!(pallet_session::Validators::<Runtime>::get(), three);
        assert_eq!(governance::Authorities::<Runtime>::get().to_vec(), three);
        assert_eq!(governance::Admin::<Runtime>::get(), Some(multisig(&three, 3)), "more than two thirds");
        assert_eq!(pallet_aura::Authorities::<Runtime>::get(), aura);
        assert_eq!(Grandpa::grandpa_authorities(), grandpa);
        assert_eq!(Balances::total_issuance(), issued);
        for (account, keys) in pallet_session::QueuedKeys::<Runtime>::get() {
            assert_eq!(pallet_session::NextKeys::<Runtime>::get(&account), Some(keys.clone()));
            assert!(aura.contains(&keys.aura) && grandpa.contains(&(keys.grandpa, 1)));
        }
    });
}

#[test]
fn row_24_a_second_run_of_the_migrations_changes_nothing() {
    on_version_1(|_| {
        let before = root();
        SingleBlock::on_runtime_upgrade();
        let once = root();
        assert_ne!(before, once);
        SingleBlock::on_runtime_upgrade();
        assert_eq!(root(), once);
    });
}

#[test]
fn the_invariants_hold_after_the_upgrade_and_after_the_blocks_that_follow() {
    on_version_1(|block| {
        SingleBlock::on_runtime_upgrade();
        Iota::check_invariants().unwrap();
        for parent in block..block + 20 {
            open_after(parent);
            Grandpa::on_finalize(parent + 1);
            Iota::check_invariants().unwrap();
        }
        // What the checks of the other pallets would say: authorities are those of the session, and have keys.
        let authorities = governance::Authorities::<Runtime>::get().to_vec();
        assert_eq!(pallet_session::Validators::<Runtime>::get(), authorities);
        assert!(authorities.iter().all(pallet_session::NextKeys::<Runtime>::contains_key));
        let accounts = frame_system::Account::<Runtime>::iter_values();
        let sum: Balance = accounts.map(|account| account.data.free + account.data.reserved).sum();
        assert_eq!(Balances::total_issuance(), sum);
    });
}

#[test]
fn the_migrations_change_no_chain_that_began_with_this_version() {
    on_chain(polkadot_sdk::sp_genesis_builder::LOCAL_TESTNET_RUNTIME_PRESET, json!([]), || {
        let before = root();
        SingleBlock::on_runtime_upgrade();
        assert_eq!(root(), before);
    });
}

#[test]
fn an_upgraded_chain_goes_on_and_changes_its_authorities() {
    on_version_1(|block| {
        open_after(block);
        let remark = RuntimeCall::System(frame_system::Call::remark { remark: vec![0; 10] });
        assert_ok!(Executive::apply_extrinsic(signed(&Bob.pair(), 0, remark)).unwrap());
        let admin = governance::Admin::<Runtime>::get().unwrap();
        let two: Vec<_> = [Bob, Charlie].map(|key| key.to_account_id()).to_vec();
        let new = two.clone().try_into().unwrap();
        assert_ok!(Governance::set_authorities(RuntimeOrigin::signed(admin), new));
        Session::rotate_session();
        Session::rotate_session();
        assert_eq!(pallet_session::Validators::<Runtime>::get(), two);
        assert_eq!(pallet_aura::Authorities::<Runtime>::get().len(), 2);
        assert_ok!(Session::purge_keys(by(Alice)));
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
