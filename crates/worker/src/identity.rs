//! Who we are off chain: a hotkey that signs protocol payloads of one chain and run.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use iota_chain::KeySigner;
use iota_network::PeerKey;
use iota_protocol::hash::{signing_payload, Domain};
use iota_protocol::ids::{AccountKey, Epoch, Hash, RunId};
use iota_service::journal::atomic_write;
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
    pub fn verify(
        &self,
        by: &AccountKey,
        domain: Domain,
        epoch: Epoch,
        payload: &Hash,
        signature: &[u8; 64],
    ) -> bool {
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

/// File of the libp2p key in a program's data folder.
const PEER_FILE: &str = "peer-key";

/// The libp2p key of a data folder, made if there is none: a restarted program is the same peer.
///
/// # Errors
/// When the file cannot be read or written, or does not hold 32 bytes.
pub fn peer_key(data_dir: &Path) -> anyhow::Result<PeerKey> {
    let path = data_dir.join(PEER_FILE);
    let seed = match std::fs::read(&path) {
        Ok(bytes) => <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| {
            let got = bytes.len();
            anyhow::anyhow!(
                "{} holds {got} bytes, expected 32; delete it to make a new peer key",
                path.display()
            )
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let seed: [u8; 32] = rand::random();
            atomic_write(&path, &seed).with_context(|| format!("writing {}", path.display()))?;
            seed
        }
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    Ok(PeerKey::from_seed(seed))
}

/// Ties a data folder to one chain, run and hotkey at its first use. Another devnet's journals and
/// commits in the same folder would be taken for our own.
///
/// # Errors
/// When the folder belongs to something else, with both sides.
pub fn bind_folder(data_dir: &Path, identity: &Identity) -> anyhow::Result<()> {
    let path = data_dir.join("identity");
    let ours = format!("genesis {}, run {}, hotkey {}", identity.genesis, identity.run, identity.public());
    match std::fs::read_to_string(&path) {
        Ok(known) if known == ours => Ok(()),
        Ok(known) => anyhow::bail!(
            "{} belongs to another member: expected {ours}, found {known}; give another --data-dir",
            data_dir.display()
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(data_dir).with_context(|| format!("creating {}", data_dir.display()))?;
            atomic_write(&path, ours.as_bytes()).with_context(|| format!("writing {}", path.display()))
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_another_chain_run_or_hotkey_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let of = |genesis, run, seed| {
            Identity::new(Hotkey::from_seed([seed; 32]), Hash([genesis; 32]), RunId(run))
        };
        bind_folder(dir.path(), &of(1, 0, 3)).unwrap();
        bind_folder(dir.path(), &of(1, 0, 3)).unwrap();
        for other in [of(2, 0, 3), of(1, 1, 3), of(1, 0, 4)] {
            let error = bind_folder(dir.path(), &other).unwrap_err().to_string();
            assert!(error.contains("belongs to another member") && error.contains("--data-dir"), "{error}");
        }
    }

    #[test]
    fn a_restarted_program_is_the_same_peer() {
        let dir = tempfile::tempdir().unwrap();
        let first = peer_key(dir.path()).unwrap().public();
        assert_eq!(peer_key(dir.path()).unwrap().public(), first);
        let elsewhere = tempfile::tempdir().unwrap();
        assert_ne!(peer_key(elsewhere.path()).unwrap().public(), first);
    }

    #[test]
    fn a_damaged_peer_key_is_named_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(PEER_FILE), [1; 31]).unwrap();
        let Err(error) = peer_key(dir.path()) else { panic!("31 bytes were taken for a key") };
        assert!(error.to_string().contains("holds 31 bytes"), "{error}");
        assert_eq!(std::fs::read(dir.path().join(PEER_FILE)).unwrap(), [1; 31]);
    }

    #[test]
    fn a_signature_holds_for_its_run_epoch_and_domain_only() {
        let of_run = |run| Identity::new(Hotkey::from_seed([3; 32]), Hash([1; 32]), RunId(run));
        let (me, payload) = (of_run(1), Hash([9; 32]));
        let signature = me.sign(Domain::Message, Epoch(4), &payload);
        let verify = |by: &Identity, domain, epoch| {
            by.verify(&me.public(), domain, Epoch(epoch), &payload, &signature)
        };
        assert!(verify(&me, Domain::Message, 4));
        assert!(!verify(&me, Domain::Message, 5), "another epoch");
        assert!(!verify(&me, Domain::Audit, 4), "another domain");
        assert!(!verify(&of_run(2), Domain::Message, 4), "another run");
    }
}
