//! Genesis presets. Both use keys that everybody knows and belong on a developer's machine only.

use alloc::{vec, vec::Vec};
use polkadot_sdk::{
    frame_support::build_struct_json_patch,
    sp_consensus_aura::sr25519::AuthorityId as AuraId,
    sp_consensus_grandpa::AuthorityId as GrandpaId,
    sp_genesis_builder::{PresetId, DEV_RUNTIME_PRESET, LOCAL_TESTNET_RUNTIME_PRESET},
    sp_keyring::{Ed25519Keyring, Sr25519Keyring},
};
use serde_json::Value;

use crate::{AccountId, AuraConfig, Balance, BalancesConfig, GrandpaConfig, RuntimeGenesisConfig, UNIT};

/// Tokens of each development account: enough for ten thousand registrations.
const ENDOWMENT: Balance = 10_000 * UNIT;

/// Aura and GRANDPA keys of an authority.
fn authority(aura: Sr25519Keyring, grandpa: Ed25519Keyring) -> (AuraId, GrandpaId) {
    (aura.public().into(), grandpa.public().into())
}

fn preset(authorities: &[(AuraId, GrandpaId)], endowed: &[AccountId]) -> Value {
    build_struct_json_patch!(RuntimeGenesisConfig {
        balances: BalancesConfig {
            balances: endowed.iter().cloned().map(|account| (account, ENDOWMENT)).collect::<Vec<_>>(),
        },
        aura: AuraConfig {
            authorities: authorities.iter().map(|(aura, _)| aura.clone()).collect::<Vec<_>>()
        },
        grandpa: GrandpaConfig {
            authorities: authorities.iter().map(|(_, grandpa)| (grandpa.clone(), 1)).collect::<Vec<_>>(),
        },
    })
}

fn developers() -> Vec<AccountId> {
    use Sr25519Keyring::{Alice, Bob, Charlie, Dave, Eve, Ferdie};
    [Alice, Bob, Charlie, Dave, Eve, Ferdie].into_iter().map(|key| key.to_account_id()).collect()
}

fn development() -> Value {
    preset(&[authority(Sr25519Keyring::Alice, Ed25519Keyring::Alice)], &developers())
}

fn local_testnet() -> Value {
    let authorities = [
        authority(Sr25519Keyring::Alice, Ed25519Keyring::Alice),
        authority(Sr25519Keyring::Bob, Ed25519Keyring::Bob),
        authority(Sr25519Keyring::Charlie, Ed25519Keyring::Charlie),
    ];
    preset(&authorities, &developers())
}

/// The preset of that name as JSON.
#[must_use]
pub fn get(id: &PresetId) -> Option<Vec<u8>> {
    let value = match id.as_ref() {
        DEV_RUNTIME_PRESET => development(),
        LOCAL_TESTNET_RUNTIME_PRESET => local_testnet(),
        _ => return None,
    };
    serde_json::to_vec(&value).ok()
}

/// Names of all presets.
#[must_use]
pub fn names() -> Vec<PresetId> {
    vec![PresetId::from(DEV_RUNTIME_PRESET), PresetId::from(LOCAL_TESTNET_RUNTIME_PRESET)]
}
