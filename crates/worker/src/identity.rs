//! Who we are off chain: a hotkey that signs protocol payloads of one chain and run.

use std::sync::Arc;

use iota_chain::KeySigner;
use iota_protocol::hash::{signing_payload, Domain};
use iota_protocol::ids::{AccountKey, Epoch, Hash, RunId};
use iota_service::keys::{self, Hotkey};

/// A hotkey bound to one chain and run.
#[derive(Clone)]
pub struct Identity {
    hotkey: Arc<Hotkey>,
    genesis: Hash,
    run: RunId,
}

impl Identity {
    /// Binds `hotkey` to a chain and a run.
    #[must_use]
    pub fn new(hotkey: Hotkey, genesis: Hash, run: RunId) -> Self {
        Self { hotkey: Arc::new(hotkey), genesis, run }
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> AccountKey {
        AccountKey(self.hotkey.public())
    }

    /// The chain's genesis hash.
    #[must_use]
    pub fn genesis(&self) -> Hash {
        self.genesis
    }

    /// Signs the hash of a payload for an epoch of this run.
    #[must_use]
    pub fn sign(&self, domain: Domain, epoch: Epoch, payload: &Hash) -> [u8; 64] {
        self.hotkey.sign(&signing_payload(domain, &self.genesis, self.run, epoch, payload).0)
    }

    /// Checks another member's signature over the hash of a payload.
    #[must_use]
    pub fn verify(&self, by: &AccountKey, domain: Domain, epoch: Epoch, payload: &Hash, signature: &[u8; 64]) -> bool {
        let message = signing_payload(domain, &self.genesis, self.run, epoch, payload);
        keys::verify(&by.0, &message.0, signature)
    }

    /// Signs 32 bytes that already carry their domain (`register_payload`).
    #[must_use]
    pub fn sign_raw(&self, payload: &Hash) -> [u8; 64] {
        self.hotkey.sign(&payload.0)
    }

    /// A signer of extrinsics for the same key.
    #[must_use]
    pub fn signer(&self) -> KeySigner {
        let hotkey = Arc::clone(&self.hotkey);
        KeySigner::new(self.public(), move |payload| hotkey.sign(payload))
    }
}

/// A signer of extrinsics for a coldkey.
#[must_use]
pub fn coldkey_signer(coldkey: Hotkey) -> KeySigner {
    let public = AccountKey(coldkey.public());
    KeySigner::new(public, move |payload| coldkey.sign(payload))
}
