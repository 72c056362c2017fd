//! Presets, and what the runtime contains.

use polkadot_sdk::{
    frame_support::traits::{fungible::Inspect, PalletsInfoAccess},
    pallet_aura, pallet_session,
    sp_genesis_builder::{DEV_RUNTIME_PRESET, LOCAL_TESTNET_RUNTIME_PRESET},
    sp_keyring::Ed25519Keyring,
};

use super::*;
use crate::{
    filters::LongEpochs,
    genesis::{multisig, TESTNET_LEAST_EPOCH, TESTNET_RUNTIME_PRESET},
};

#[test]
fn every_preset_builds_and_issues_what_it_endows() {
    let presets = [(DEV_RUNTIME_PRESET, 1), (LOCAL_TESTNET_RUNTIME_PRESET, 3), (TESTNET_RUNTIME_PRESET, 0)];
    assert_eq!(Runtime::preset_names(), presets.map(|(name, _)| PresetId::from(name)));
    for (name, authorities) in presets {
        on_chain(name, json!([]), || {
            assert_eq!(pallet_aura::Authorities::<Runtime>::get().len(), authorities);
            assert_eq!(Grandpa::grandpa_authorities().len(), authorities);
            assert_eq!(pallet_session::Validators::<Runtime>::get().len(), authorities);
            assert_eq!(
                governance::Authorities::<Runtime>::get().to_vec(),
                pallet_session::Validators::<Runtime>::get()
            );
            let accounts = frame_system::Account::<Runtime>::iter_values();
            let sum: Balance = accounts.map(|account| account.data.free + account.data.reserved).sum();
            assert_eq!(Balances::total_issuance(), sum);
            assert!(Balances::balance(&Iota::treasury()) >= Balances::minimum_balance());
        });
    }
    assert_eq!(Runtime::get_preset(&Some(PresetId::from("production"))), None);
}

#[test]
fn the_local_network_is_governed_by_two_of_three() {
    use Sr25519Keyring::{Alice, Bob, Charlie};
    on_chain(LOCAL_TESTNET_RUNTIME_PRESET, json!([]), || {
        let three = [Charlie, Alice, Bob].map(|key| key.to_account_id());
        assert_eq!(governance::Admin::<Runtime>::get(), Some(multisig(&three, 2)));
    });
}

#[test]
fn a_test_network_holds_no_key_that_everybody_knows() {
    let preset = Runtime::get_preset(&Some(PresetId::from(TESTNET_RUNTIME_PRESET))).unwrap();
    let text = String::from_utf8(preset).unwrap();
    for key in Sr25519Keyring::iter() {
        assert!(!text.contains(&key.to_account_id().to_string()), "{key:?}");
    }
    for key in Ed25519Keyring::iter() {
        assert!(!text.contains(&key.to_account_id().to_string()), "{key:?}");
    }
    on_chain(TESTNET_RUNTIME_PRESET, json!([]), || {
        let known: Vec<_> = Sr25519Keyring::iter().map(|key| key.to_account_id()).collect();
        assert!(frame_system::Account::<Runtime>::iter_keys().all(|account| !known.contains(&account)));
        assert_eq!(governance::Admin::<Runtime>::get(), None);
    });
}

#[test]
fn a_test_network_takes_no_run_with_short_epochs() {
    use polkadot_sdk::frame_support::traits::Contains;
    on_chain(TESTNET_RUNTIME_PRESET, run(), || {
        let mut params = Iota::run_view(RUN).unwrap();
        let create = |params: &iota_protocol::params::RunParams| pallet_iota::Call::create_run {
            params: params.clone(),
        };
        assert!(!LongEpochs::contains(&create(&params).into()));
        let others = Schedule::new(&params.phases, false, 0, 0).next_start() - params.phases.train;
        params.phases.train = TESTNET_LEAST_EPOCH - others - 1;
        assert!(!LongEpochs::contains(&create(&params).into()));
        params.phases.train += 1;
        assert!(LongEpochs::contains(&create(&params).into()));
    });
}

#[test]
fn a_run_patched_into_the_spec_exists_from_the_first_block() {
    on_chain(DEV_RUNTIME_PRESET, run(), || {
        let stored = Iota::run_view(RUN).unwrap();
        assert_eq!(stored.n_stages(), 2);
        assert_eq!(stored.data.manifest_root.0.first(), Some(&1));
    });
}

#[test]
#[should_panic(expected = "genesis run")]
fn a_spec_with_a_contradictory_run_does_not_build() {
    let mut unsound = run();
    unsound[0]["epochs"] = json!(0);
    on_chain(DEV_RUNTIME_PRESET, unsound, || {});
}

#[test]
fn pallets_keep_their_indices_and_there_is_no_sudo() {
    let pallets: Vec<_> =
        AllPalletsWithSystem::infos().into_iter().map(|pallet| (pallet.index, pallet.name)).collect();
    let expected = [
        (0, "System"),
        (1, "Timestamp"),
        (2, "Aura"),
        (3, "Grandpa"),
        (5, "Balances"),
        (6, "TransactionPayment"),
        (7, "Session"),
        (10, "Iota"),
        (11, "Utility"),
        (13, "Multisig"),
        (16, "Proxy"),
        (20, "SafeMode"),
        (21, "Migrations"),
        (23, "SkipFeelessPayment"),
        (24, "Governance"),
        (25, "Faucet"),
    ];
    assert_eq!(pallets, expected);
    assert!(pallets.iter().all(|(_, name)| !name.contains("Sudo") && !name.contains("Random")));
}
