//! Sending a runtime that the chain's admin has allowed: a transaction without signature and fee, which
//! anybody may send once (`system.applyAuthorizedUpgrade`).

use std::time::Duration;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use codec::{Compact, Decode};
use iota_protocol::ids::Hash;

use crate::calls::Call;
use crate::client::{At, Chain, ChainError};
use crate::storage::item_key;

/// Version 4 of the extrinsic format, without signature and extensions.
const BARE: u8 = 4;
/// Nodes compile the new runtime before they go on, which takes seconds of a free core and minutes of a busy
/// machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Why a chain was not upgraded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The pool or the chain does not take it.
    #[error("the runtime with hash {hash} was refused: {reason}; the admin has to allow exactly this one, and its version has to be higher")]
    Refused {
        /// blake2 hash of the runtime that was sent.
        hash: Hash,
        /// What the node said.
        reason: String,
    },
    /// Nothing was heard of it in time; it may still be included.
    #[error("nothing was heard of the runtime with hash {hash} for {} s; look at the chain's version", PATIENCE.as_secs())]
    Unknown {
        /// blake2 hash of the runtime that was sent.
        hash: Hash,
    },
}

/// What the admin allows: the blake2 hash of a runtime.
#[must_use]
pub fn code_hash(code: &[u8]) -> Hash {
    Hash(Blake2b::<U32>::digest(code).into())
}

impl Chain {
    /// Sends a runtime that was allowed, and waits until a finalized block has it; the chain runs by it from
    /// the next block on.
    ///
    /// # Errors
    /// See [`UpgradeError`].
    pub async fn apply_upgrade(&self, code: &[u8]) -> Result<(), UpgradeError> {
        let hash = code_hash(code);
        match tokio::time::timeout(PATIENCE, self.send_runtime(code)).await {
            Ok(sent) => sent.map_err(|reason| UpgradeError::Refused { hash, reason }),
            Err(_) => Err(UpgradeError::Unknown { hash }),
        }
    }

    async fn send_runtime(&self, code: &[u8]) -> Result<(), String> {
        let call = Call::of("System", "apply_authorized_upgrade", &code.to_vec());
        self.send_unsigned(&call, &[BARE]).await
    }
}

impl At {
    /// Version of the runtime after this block: what `System.LastRuntimeUpgrade` keeps.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn spec_version(&self) -> Result<u32, ChainError> {
        let what = || "System.LastRuntimeUpgrade".to_owned();
        let bytes = self.storage(&item_key("System", "LastRuntimeUpgrade")).await?.unwrap_or_default();
        let version = Compact::<u32>::decode(&mut bytes.as_slice());
        version.map(|version| version.0).map_err(|_| ChainError::Decode { what: what(), len: bytes.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_that_is_allowed_is_blake2_of_the_code() {
        // blake2b-256 of nothing, as RFC 7693's reference code prints it.
        let empty = "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8";
        assert_eq!(hex::encode(code_hash(&[]).0), empty);
    }
}
