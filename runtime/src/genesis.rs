//! Genesis presets: what a chain begins with.
//!
//! `dev` and `local` use keys that everybody knows and belong on a developer's machine only. `testnet` and
//! `production` hold no key at all: whoever starts a network adds its own (`iota-node testnet-spec`). `production` is
//! `testnet` without a faucet: nobody is given anything.

use alloc::{vec, vec::Vec};
use polkadot_sdk::{
    frame_support::build_struct_json_patch,
    sp_genesis_builder::{PresetId, DEV_RUNTIME_PRESET, LOCAL_TESTNET_RUNTIME_PRESET},
    sp_keyring::{Ed25519Keyring, Sr25519Keyring},
};
use serde_json::Value;

use crate::{
    faucet::Terms, AccountId, Balance, BalancesConfig, BlockNumber, Faucet, FaucetConfig, GovernanceConfig,
    Multisig, RuntimeGenesisConfig, SessionConfig, SessionKeys, UNIT,
};

/// Name of the preset for public test networks.
pub const TESTNET_RUNTIME_PRESET: &str = "testnet";
/// Name of the preset for networks whose token is worth something.
pub const PRODUCTION_RUNTIME_PRESET: &str = "production";
/// Fewest blocks of an epoch on a public network: 30 minutes at one block a second. Shorter ones measure
/// the latency of members, not their work.
pub const TESTNET_LEAST_EPOCH: BlockNumber = 1_800;
/// Tokens of each development account: enough for ten thousand registrations.
const ENDOWMENT: Balance = 10_000 * UNIT;
/// What a test network's faucet begins with: twenty thousand drips.
const FAUCET_FUND: Balance = 100_000 * UNIT;
/// A drip pays a registration and fees; an account gets one a day, and a block of a second pays one
/// account, so that nobody empties the faucet in less than five hours.
const TESTNET_FAUCET: Terms = Terms { drip: 5 * UNIT, cooldown: 86_400, per_block: 1, difficulty: 22 };

/// An authority: its account and its keys.
type Authority = (AccountId, SessionKeys);

fn authority(aura: Sr25519Keyring, grandpa: Ed25519Keyring) -> Authority {
    let keys = SessionKeys { aura: aura.public().into(), grandpa: grandpa.public().into() };
    (aura.to_account_id(), keys)
}

fn preset(authorities: &[Authority], admin: AccountId, endowed: &[AccountId]) -> Value {
    let keys = |(account, keys): &Authority| (account.clone(), account.clone(), keys.clone());
    build_struct_json_patch!(RuntimeGenesisConfig {
        balances: BalancesConfig {
            balances: endowed.iter().cloned().map(|account| (account, ENDOWMENT)).collect::<Vec<_>>(),
        },
        session: SessionConfig { keys: authorities.iter().map(keys).collect::<Vec<_>>() },
        governance: GovernanceConfig {
            admin: Some(admin),
            authorities: authorities.iter().map(|(account, _)| account.clone()).collect::<Vec<_>>(),
        },
    })
}

fn developers() -> Vec<AccountId> {
    use Sr25519Keyring::{Alice, Bob, Charlie, Dave, Eve, Ferdie};
    [Alice, Bob, Charlie, Dave, Eve, Ferdie].into_iter().map(|key| key.to_account_id()).collect()
}

fn development() -> Value {
    let alice = Sr25519Keyring::Alice;
    preset(&[authority(alice, Ed25519Keyring::Alice)], alice.to_account_id(), &developers())
}

fn local_testnet() -> Value {
    let authorities = [
        authority(Sr25519Keyring::Alice, Ed25519Keyring::Alice),
        authority(Sr25519Keyring::Bob, Ed25519Keyring::Bob),
        authority(Sr25519Keyring::Charlie, Ed25519Keyring::Charlie),
    ];
    let accounts: Vec<_> = authorities.iter().map(|(account, _)| account.clone()).collect();
    preset(&authorities, multisig(&accounts, 2), &developers())
}

fn testnet() -> Value {
    build_struct_json_patch!(RuntimeGenesisConfig {
        balances: BalancesConfig { balances: vec![(Faucet::account(), FAUCET_FUND)] },
        governance: GovernanceConfig { least_epoch_blocks: TESTNET_LEAST_EPOCH },
        faucet: FaucetConfig { terms: Some(TESTNET_FAUCET) },
    })
}

fn production() -> Value {
    build_struct_json_patch!(RuntimeGenesisConfig {
        governance: GovernanceConfig { least_epoch_blocks: TESTNET_LEAST_EPOCH },
        faucet: FaucetConfig { terms: None },
    })
}

/// The account of `threshold` of these signatories, in any order.
#[must_use]
pub fn multisig(signatories: &[AccountId], threshold: u16) -> AccountId {
    let mut sorted = signatories.to_vec();
    sorted.sort();
    Multisig::multi_account_id(&sorted, threshold)
}

/// The preset of that name as JSON.
#[must_use]
pub fn get(id: &PresetId) -> Option<Vec<u8>> {
    let value = match id.as_ref() {
        DEV_RUNTIME_PRESET => development(),
        LOCAL_TESTNET_RUNTIME_PRESET => local_testnet(),
        TESTNET_RUNTIME_PRESET => testnet(),
        PRODUCTION_RUNTIME_PRESET => production(),
        _ => return None,
    };
    serde_json::to_vec(&value).ok()
}

/// Names of all presets.
#[must_use]
pub fn names() -> Vec<PresetId> {
    [DEV_RUNTIME_PRESET, LOCAL_TESTNET_RUNTIME_PRESET, TESTNET_RUNTIME_PRESET, PRODUCTION_RUNTIME_PRESET]
        .map(PresetId::from)
        .to_vec()
}
