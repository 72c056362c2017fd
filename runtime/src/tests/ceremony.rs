//! Ceremonies: a sound one makes a network, each unsound one is refused for its reason.

use polkadot_sdk::{
    frame_support::traits::fungible::Inspect, pallet_session, sp_core::crypto::Ss58Codec,
    sp_keyring::Ed25519Keyring,
};

use super::*;
use crate::{
    ceremony::{Ceremony, CeremonyError},
    genesis::{multisig, PRODUCTION_RUNTIME_PRESET, TESTNET_LEAST_EPOCH, TESTNET_RUNTIME_PRESET},
};

fn sr(index: u8) -> String {
    sr25519::Pair::from_seed(&[index; 32]).public().to_ss58check()
}

fn ed(index: u8) -> String {
    ed25519::Pair::from_seed(&[index; 32]).public().to_ss58check()
}

fn long_run() -> Value {
    let mut run = run()[0].clone();
    run["phases"]["train"] = json!(TESTNET_LEAST_EPOCH);
    run
}

fn sound() -> Value {
    let authority = |index: u8| json!({ "account": sr(index), "aura": sr(index + 10), "grandpa": ed(index) });
    json!({
        "name": "test", "id": "test",
        "authorities": [authority(1), authority(2), authority(3), authority(4)],
        "signatories": [sr(21), sr(22), sr(23)], "threshold": 2,
        "balances": [[sr(21), 1_000_000_000_000u64], [sr(1), 10_000_000_000u64]],
        "runs": [long_run()]
    })
}

/// The same for a network whose token is worth something.
fn production() -> Value {
    let mut ceremony = sound();
    ceremony["kind"] = json!("production");
    ceremony
}

fn genesis(ceremony: Value) -> Result<Value, CeremonyError> {
    serde_json::from_value::<Ceremony>(ceremony).unwrap().genesis()
}

fn refused(pointer: &str, value: Value) -> CeremonyError {
    let mut ceremony = sound();
    *ceremony.pointer_mut(pointer).unwrap() = value;
    genesis(ceremony).unwrap_err()
}

#[test]
fn a_sound_ceremony_makes_a_network_that_its_signatories_govern() {
    on_patched(TESTNET_RUNTIME_PRESET, genesis(sound()).unwrap(), || {
        let four: Vec<_> = (1..=4).map(|index| account(&hot(index))).collect();
        assert_eq!(pallet_session::Validators::<Runtime>::get(), four);
        assert_eq!(governance::Authorities::<Runtime>::get().to_vec(), four);
        let signatories: Vec<_> = (21..=23).map(|index| account(&hot(index))).collect();
        assert_eq!(governance::Admin::<Runtime>::get(), Some(multisig(&signatories, 2)));
        assert_eq!(Grandpa::grandpa_authorities().len(), 4);
        assert!(Iota::run_view(RUN).is_some());
        assert_eq!(Balances::free_balance(&signatories[0]), 1_000 * UNIT);
        assert!(Balances::free_balance(Faucet::account()) > 0, "the preset's faucet is kept");
        open_block();
    });
}

#[test]
fn a_production_network_has_no_faucet_and_bears_the_loss_of_an_authority() {
    on_patched(PRODUCTION_RUNTIME_PRESET, genesis(production()).unwrap(), || {
        let signatories: Vec<_> = (21..=23).map(|index| account(&hot(index))).collect();
        assert_eq!(governance::Admin::<Runtime>::get(), Some(multisig(&signatories, 2)));
        assert_eq!(Grandpa::grandpa_authorities().len(), 4);
        assert_eq!(governance::LeastEpoch::<Runtime>::get(), TESTNET_LEAST_EPOCH);
        assert_eq!(crate::faucet::CurrentTerms::<Runtime>::get(), None);
        // What exists is what the ceremony names, beside what pot and treasury need to exist.
        let named = 1_000 * UNIT + 10 * UNIT;
        assert_eq!(Balances::free_balance(Faucet::account()), 0);
        assert_eq!(Balances::total_issuance(), named + 2 * Balances::minimum_balance());
        open_block();
    });
    let mut three = production();
    three["authorities"].as_array_mut().unwrap().pop();
    let refused = CeremonyError::TooFewAuthorities { authorities: 3, least: 4 };
    assert_eq!(genesis(three.clone()).unwrap_err(), refused);
    three["kind"] = json!("testnet");
    assert!(genesis(three).is_ok(), "a test network may halt");
}

#[test]
fn row_23_the_whole_state_of_a_public_network_holds_no_key_that_everybody_knows() {
    let sr = Sr25519Keyring::iter().map(|key| (key.to_string(), key.public().0));
    let known: Vec<_> =
        sr.chain(Ed25519Keyring::iter().map(|key| (key.to_string(), key.public().0))).collect();
    let found = |bytes: &[u8]| {
        let stands = |key: &[u8; 32]| bytes.windows(32).any(|window| window == key);
        known.iter().find(|(_, key)| stands(key)).map(|(name, _)| name.clone())
    };
    let holds = || {
        let (mut key, mut items, mut holds) = (Vec::new(), 0, Vec::new());
        while let Some(next) = polkadot_sdk::sp_io::storage::next_key(&key) {
            let value = polkadot_sdk::sp_io::storage::get(&next).unwrap();
            holds.extend([found(&next), found(&value)].into_iter().flatten());
            (key, items) = (next, items + 1);
        }
        (items, holds)
    };
    for (preset, ceremony) in [(TESTNET_RUNTIME_PRESET, sound()), (PRODUCTION_RUNTIME_PRESET, production())] {
        on_patched(preset, genesis(ceremony).unwrap(), || {
            let (items, known) = holds();
            assert!(items > 40, "{items} items of storage");
            assert!(known.is_empty(), "{known:?}");
        });
    }
    on_chain(polkadot_sdk::sp_genesis_builder::DEV_RUNTIME_PRESET, json!([]), || {
        assert!(holds().1.contains(&"Alice".to_string()), "a key that is there is not seen");
    });
}

#[test]
fn row_23_well_known_keys_are_refused_wherever_they_stand() {
    let alice = Sr25519Keyring::Alice.to_account_id().to_string();
    let grandpa = Ed25519Keyring::Bob.public().to_ss58check();
    let known = |key: &String| CeremonyError::WellKnown(key.clone());
    assert_eq!(refused("/authorities/1/account", json!(alice)), known(&alice));
    assert_eq!(refused("/authorities/1/aura", json!(alice)), known(&alice));
    assert_eq!(refused("/authorities/1/grandpa", json!(grandpa)), known(&grandpa));
    assert_eq!(refused("/signatories/0", json!(alice)), known(&alice));
    assert_eq!(refused("/balances/0/0", json!(alice)), known(&alice));
}

#[test]
fn keys_that_stand_twice_are_refused() {
    for (pointer, twice) in [
        ("/authorities/1/account", sr(1)),
        ("/authorities/1/aura", sr(11)),
        ("/authorities/1/grandpa", ed(1)),
        ("/signatories/0", sr(22)),
    ] {
        let error = refused(pointer, json!(twice));
        assert!(matches!(error, CeremonyError::Duplicate(_)), "{pointer}: {error}");
    }
}

#[test]
fn an_admin_is_more_than_half_of_at_least_two() {
    let refusal = |threshold| CeremonyError::Threshold { threshold, signatories: 3 };
    assert_eq!(refused("/threshold", json!(1)), refusal(1));
    assert_eq!(refused("/threshold", json!(4)), refusal(4));
    let one = CeremonyError::Threshold { threshold: 2, signatories: 1 };
    assert_eq!(refused("/signatories", json!([sr(21)])), one);
    let mut all = sound();
    all["threshold"] = json!(3);
    assert!(genesis(all).is_ok());
}

#[test]
fn chains_without_authorities_and_unsound_runs_are_refused() {
    let none = CeremonyError::TooFewAuthorities { authorities: 0, least: 1 };
    assert_eq!(refused("/authorities", json!([])), none);
    let error = refused("/runs/0/epochs", json!(0));
    assert!(matches!(error, CeremonyError::Run { index: 0, .. }), "{error}");
    let error = refused("/runs/0/phases/train", json!(48));
    assert!(matches!(error, CeremonyError::ShortEpoch { index: 0, .. }), "{error}");
}

#[test]
fn a_misspelt_field_is_refused() {
    let mut ceremony = sound();
    ceremony["tresholds"] = json!(2);
    assert!(serde_json::from_value::<Ceremony>(ceremony).is_err());
}
