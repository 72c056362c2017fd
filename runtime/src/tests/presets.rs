//! Presets, and what the runtime contains.

use polkadot_sdk::{
    frame_support::traits::{fungible::Inspect, Get, GetCallMetadata, PalletsInfoAccess},
    pallet_aura, pallet_session,
    sp_genesis_builder::{DEV_RUNTIME_PRESET, LOCAL_TESTNET_RUNTIME_PRESET},
    sp_keyring::Ed25519Keyring,
    sp_runtime::traits::TransactionExtension,
};

use super::*;
use crate::{
    filters::LongEpochs,
    genesis::{multisig, PRODUCTION_RUNTIME_PRESET, TESTNET_LEAST_EPOCH, TESTNET_RUNTIME_PRESET},
};

#[test]
fn every_preset_builds_and_issues_what_it_endows() {
    let presets = [
        (DEV_RUNTIME_PRESET, 1),
        (LOCAL_TESTNET_RUNTIME_PRESET, 3),
        (TESTNET_RUNTIME_PRESET, 0),
        (PRODUCTION_RUNTIME_PRESET, 0),
    ];
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
    assert_eq!(Runtime::get_preset(&Some(PresetId::from("no such"))), None);
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
        // Whether each call that brings a run its parameters passes; all of them or none.
        let passes = |params: &iota_protocol::params::RunParams| {
            let params = params.clone();
            let calls: [pallet_iota::Call<Runtime>; 3] = [
                pallet_iota::Call::create_run { params: params.clone() },
                pallet_iota::Call::sponsor_run { params: params.clone() },
                pallet_iota::Call::schedule_params { run: RUN, params },
            ];
            let passing = calls.into_iter().filter(|call| LongEpochs::contains(&call.clone().into())).count();
            assert!(passing == 0 || passing == 3, "{passing} of three pass");
            passing == 3
        };
        assert!(!passes(&params));
        let others = Schedule::new(&params.phases, false, 0, 0).next_start() - params.phases.train;
        params.phases.train = TESTNET_LEAST_EPOCH - others - 1;
        assert!(!passes(&params));
        params.phases.train += 1;
        assert!(passes(&params));
    });
}

#[test]
fn row_26_a_slot_takes_a_second_and_always_will() {
    use polkadot_sdk::sp_consensus_aura::{runtime_decl_for_aura_api::AuraApi, sr25519::AuthorityId};
    assert_eq!(SLOT_DURATION, 1_000, "another slot stops every chain that exists");
    let slot = <Runtime as AuraApi<Block, AuthorityId>>::slot_duration();
    assert_eq!(slot.as_millis(), 1_000, "what the node asks");
    let half: u64 = <Runtime as polkadot_sdk::pallet_timestamp::Config>::MinimumPeriod::get();
    assert_eq!(half, 500);
}

/// Everything in the metadata that has a name which somebody chose: pallets, their calls, storage items and
/// constants, and the extensions of transactions.
fn named() -> Vec<String> {
    let metadata = Runtime::metadata_ir();
    let mut names = Vec::new();
    for pallet in &metadata.pallets {
        names.push(pallet.name.to_string());
        let storage = pallet.storage.iter().flat_map(|storage| &storage.entries);
        names.extend(storage.map(|entry| entry.name.to_string()));
        names.extend(pallet.constants.iter().map(|constant| constant.name.to_string()));
        let calls: &[&str] =
            if pallet.calls.is_some() { RuntimeCall::get_call_names(pallet.name) } else { &[] };
        names.extend(calls.iter().map(|call| (*call).to_string()));
    }
    let extensions = <TxExtension as TransactionExtension<RuntimeCall>>::metadata();
    names.extend(extensions.iter().map(|extension| extension.identifier.to_string()));
    names
}

#[test]
fn row_21_row_23_the_metadata_of_a_test_network_knows_no_sudo_and_no_randomness() {
    on_chain(TESTNET_RUNTIME_PRESET, json!([]), || {
        let names = named();
        for known in ["Iota", "Members", "create_run", "EpochHistory", "CheckNonce", "safe_mode"] {
            let found =
                names.iter().any(|name| name.replace('_', "").eq_ignore_ascii_case(&known.replace('_', "")));
            assert!(found, "the list lacks {known}: {names:?}");
        }
        for name in &names {
            let name = name.to_lowercase();
            assert!(!name.contains("sudo") && !name.contains("random"), "{name}");
        }
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
