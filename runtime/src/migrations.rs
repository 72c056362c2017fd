//! What a new runtime does to the state of an old one, once, in the first block that it runs.
//!
//! Version 1 had authorities fixed at genesis. [`AuthoritiesIntoSession`] hands them to
//! `pallet-session` and [`crate::governance`]; what `pallet-iota` does to its own storage stands in
//! [`pallet_iota::migrations`]. Changes that do not fit into one block are listed for
//! `pallet-migrations` instead; there are none yet.

use alloc::vec::Vec;

#[cfg(feature = "try-runtime")]
use codec::{Decode, Encode};
use polkadot_sdk::{
    frame_support::{traits::OnRuntimeUpgrade, weights::Weight},
    frame_system, pallet_aura, pallet_session,
    sp_consensus_aura::sr25519::AuthorityId as AuraId,
    sp_consensus_grandpa::AuthorityId as GrandpaId,
    sp_runtime::traits::OpaqueKeys,
};

use crate::{governance, AccountId, Grandpa, Multisig, Runtime, SessionKeys};

/// All migrations, oldest first. Each does nothing on a state that needs it not.
pub type SingleBlock = (
    AuthoritiesIntoSession,
    pallet_iota::migrations::V1ToV2<Runtime>,
    pallet_iota::migrations::V2ToV3<Runtime>,
    pallet_iota::migrations::V3ToV4<Runtime>,
);

/// Version 1 to 2: the fixed authorities of Aura and GRANDPA become those of the first session, and
/// more than two thirds of them together become the admin, which version 1 had not.
pub struct AuthoritiesIntoSession;

/// The account that version 1 paid for blocks of an authority: its Aura key.
fn account(aura: &AuraId) -> AccountId {
    AccountId::new(aura.clone().into_inner().0)
}

/// Both lists stand in the same order in version 1's genesis.
fn authorities() -> Vec<(AccountId, SessionKeys)> {
    let aura = pallet_aura::Authorities::<Runtime>::get();
    let grandpa: Vec<GrandpaId> = Grandpa::grandpa_authorities().into_iter().map(|(id, _)| id).collect();
    let keys = aura.into_iter().zip(grandpa);
    keys.map(|(aura, grandpa)| (account(&aura), SessionKeys { aura, grandpa })).collect()
}

/// The account of more than two thirds of these, or the only one there is.
fn majority(accounts: &[AccountId]) -> Option<AccountId> {
    if let [only] = accounts {
        return Some(only.clone());
    }
    let mut sorted = accounts.to_vec();
    sorted.sort();
    let threshold = accounts.len().saturating_mul(2).checked_div(3)?.saturating_add(1);
    Some(Multisig::multi_account_id(&sorted, u16::try_from(threshold).ok()?))
}

fn register_keys(account: &AccountId, keys: &SessionKeys) {
    for id in SessionKeys::key_ids() {
        pallet_session::KeyOwner::<Runtime>::insert((*id, keys.get_raw(*id).to_vec()), account);
    }
    pallet_session::NextKeys::<Runtime>::insert(account, keys);
    // As the genesis of pallet-session does: the account stays while it has keys.
    if frame_system::Pallet::<Runtime>::inc_consumers_without_limit(account).is_err() {
        frame_system::Pallet::<Runtime>::inc_providers(account);
    }
}

impl OnRuntimeUpgrade for AuthoritiesIntoSession {
    fn on_runtime_upgrade() -> Weight {
        let db = <Runtime as frame_system::Config>::DbWeight::get();
        if !pallet_session::QueuedKeys::<Runtime>::get().is_empty() {
            return db.reads(1);
        }
        let authorities = authorities();
        let accounts: Vec<_> = authorities.iter().map(|(account, _)| account.clone()).collect();
        authorities.iter().for_each(|(account, keys)| register_keys(account, keys));
        pallet_session::Validators::<Runtime>::put(&accounts);
        pallet_session::QueuedKeys::<Runtime>::put(&authorities);
        governance::Admin::<Runtime>::set(majority(&accounts));
        let count = u64::try_from(accounts.len()).unwrap_or(u64::MAX);
        // Aura knows no more than the 32 that fit.
        if let Ok(accounts) = accounts.try_into() {
            governance::Authorities::<Runtime>::put::<polkadot_sdk::frame_support::BoundedVec<_, _>>(
                accounts,
            );
        }
        db.reads_writes(count.saturating_add(3), count.saturating_mul(4).saturating_add(4))
    }

    #[cfg(feature = "try-runtime")]
    fn pre_upgrade() -> Result<Vec<u8>, polkadot_sdk::sp_runtime::TryRuntimeError> {
        let before = pallet_session::QueuedKeys::<Runtime>::get();
        Ok(if before.is_empty() { authorities() } else { before }.encode())
    }

    #[cfg(feature = "try-runtime")]
    fn post_upgrade(expected: Vec<u8>) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
        let expected: Vec<(AccountId, SessionKeys)> =
            Decode::decode(&mut expected.as_slice()).map_err(|_| "what pre_upgrade wrote does not decode")?;
        let queued = pallet_session::QueuedKeys::<Runtime>::get();
        polkadot_sdk::frame_support::ensure!(queued == expected, "authorities changed by the upgrade");
        Ok(())
    }
}
