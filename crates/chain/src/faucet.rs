//! Asking a test network's faucet for first tokens: a transaction without signature, fee and nonce,
//! whose price is a proof of work.
//!
//! The rules are the runtime's (`runtime/src/faucet.rs`); here is the side of who asks.

use std::time::Duration;

use blake2::digest::consts::{U16, U32};
use blake2::{Blake2b, Digest};
use codec::{Decode, Encode};
use iota_protocol::ids::{AccountKey, Hash};

use crate::calls::Call;
use crate::client::{Chain, ChainError};
use crate::storage::item_key;

/// Version 5 of the extrinsic format, with extensions and without signature.
const GENERAL: u8 = 0x45;
/// Version of the extensions; then the era (immortal), nonce 0, tip 0 and no metadata hash. The other
/// extensions are empty.
const EXTENSIONS: [u8; 5] = [0; 5];
/// A request stays in the pool for a minute; whoever hears nothing until then asks again.
const PATIENCE: Duration = Duration::from_secs(60);
/// More zero bits than this are hours of work; a faucet that asks for them is not meant to be used.
const MOST_BITS: u32 = 40;

/// Why the faucet gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaucetError {
    /// Only test networks have one.
    #[error("this chain has no faucet; somebody who has tokens must send you some")]
    Closed,
    /// Once per cool-down.
    #[error("{account} had its drip in block {last}; the next one may be asked for from block {next} on")]
    TooSoon {
        /// Who asked.
        account: AccountKey,
        /// Block of its last drip.
        last: u32,
        /// First block in which it may ask again.
        next: u32,
    },
    /// Nobody can do that work.
    #[error("the faucet asks for work of {bits} zero bits, which takes too long; tell its operators")]
    TooHard {
        /// What the terms say.
        bits: u32,
    },
    /// The request was refused or forgotten.
    #[error("the faucet gave nothing: {reason}; it may be empty or busy, try again in a minute")]
    Refused {
        /// What the node said.
        reason: String,
    },
    /// The node does not answer.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// What the runtime keeps as `Faucet.CurrentTerms`.
#[derive(Clone, PartialEq, Eq, Debug, Decode)]
struct Terms {
    drip: u128,
    cooldown: u32,
    per_block: u32,
    difficulty: u32,
}

fn work_hash(genesis: &Hash, to: &AccountKey, last: u32, nonce: u64) -> [u8; 32] {
    Blake2b::<U32>::digest((b"iota-faucet", genesis, to, last, nonce).encode()).into()
}

fn zero_bits(hash: &[u8; 32]) -> u32 {
    let whole = hash.iter().take_while(|byte| **byte == 0).count();
    let rest = hash.get(whole).map_or(0, |byte| byte.leading_zeros());
    u32::try_from(whole).unwrap_or(32) * 8 + rest
}

/// The nonce that is work enough; about `2^difficulty` hashes.
fn work(genesis: &Hash, to: &AccountKey, last: u32, difficulty: u32) -> u64 {
    let enough = |nonce: &u64| zero_bits(&work_hash(genesis, to, last, *nonce)) >= difficulty;
    (0..u64::MAX).find(enough).unwrap_or(u64::MAX)
}

/// What stands before the call of a general transaction: its version, and extensions that say nothing.
fn general() -> Vec<u8> {
    [&[GENERAL][..], &EXTENSIONS].concat()
}

fn last_drip_key(account: &AccountKey) -> Vec<u8> {
    let mut key = item_key("Faucet", "LastDrip");
    key.extend_from_slice(&Blake2b::<U16>::digest(account.0));
    key.extend_from_slice(&account.0);
    key
}

impl Chain {
    /// Asks the faucet for a drip to `to` and waits until it is final. Returns the amount in the
    /// smallest unit. The work keeps one thread busy for seconds.
    ///
    /// # Errors
    /// See [`FaucetError`].
    pub async fn request_drip(&self, to: AccountKey) -> Result<u128, FaucetError> {
        let at = self.at_finalized().await?;
        let terms = at.storage(&item_key("Faucet", "CurrentTerms")).await?.ok_or(FaucetError::Closed)?;
        let len = terms.len();
        let terms = Terms::decode(&mut terms.as_slice())
            .map_err(|_| ChainError::Decode { what: "Faucet.CurrentTerms".into(), len })?;
        let last = at.storage(&last_drip_key(&to)).await?;
        let last = last.and_then(|bytes| u32::decode(&mut bytes.as_slice()).ok()).unwrap_or(0);
        let next = last.saturating_add(terms.cooldown);
        if last != 0 && at.head().number < next {
            return Err(FaucetError::TooSoon { account: to, last, next });
        }
        if terms.difficulty > MOST_BITS {
            return Err(FaucetError::TooHard { bits: terms.difficulty });
        }
        let genesis = self.genesis();
        let nonce = tokio::task::spawn_blocking(move || work(&genesis, &to, last, terms.difficulty)).await;
        let nonce = nonce.map_err(|error| FaucetError::Refused { reason: error.to_string() })?;
        let sent = tokio::time::timeout(PATIENCE, self.send_drip(to, nonce)).await;
        match sent {
            Ok(Ok(())) => Ok(terms.drip),
            Ok(Err(reason)) => Err(FaucetError::Refused { reason }),
            Err(_) => Err(FaucetError::Refused { reason: "nothing was heard of the request".into() }),
        }
    }

    async fn send_drip(&self, to: AccountKey, nonce: u64) -> Result<(), String> {
        self.send_unsigned(&Call::of("Faucet", "drip", &(to, nonce)), &general()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unsigned::framed;

    /// Printed by `iota-node faucet-request` for Alice, the zero genesis and 4 bits.
    const REQUEST: &str =
        "c04500000000001900d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d1000000000000000";

    #[test]
    fn a_request_has_the_bytes_that_the_node_makes() {
        let mut alice = AccountKey([0; 32]);
        hex::decode_to_slice(&REQUEST[18..82], &mut alice.0).unwrap();
        let nonce = work(&Hash::ZERO, &alice, 0, 4);
        let call = [&[0x19, 0x00][..], &(alice, nonce).encode()].concat();
        assert_eq!(hex::encode(framed(&general(), &call)), REQUEST);
    }

    #[test]
    fn zero_bits_are_counted_from_the_first_byte() {
        let hash = |bytes: [u8; 2]| {
            let mut hash = [0xff; 32];
            hash[..2].copy_from_slice(&bytes);
            hash
        };
        assert_eq!(zero_bits(&hash([0x80, 0])), 0);
        assert_eq!(zero_bits(&hash([0, 0x10])), 11);
        assert_eq!(zero_bits(&[0; 32]), 256);
    }
}
