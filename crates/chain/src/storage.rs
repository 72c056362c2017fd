//! Storage that no runtime call answers: keys for proofs, and the sums that an audit of issuance needs.
//!
//! Keys follow Substrate's layout, which names decide: the two-xx hash of the pallet, that of the
//! item, then the hashed key.

use codec::{Decode, Encode};
use iota_protocol::ids::AccountKey;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

use crate::block::timed;
use crate::client::{At, ChainError};

/// Keys of one page: the node's own limit.
const PAGE: u32 = 1_000;
/// Accounts that are summed. More would keep the node busy for seconds at every epoch; the sum is
/// then left out and said to be unchecked.
const MAX_ACCOUNTS: usize = 20_000;
/// Bytes of an `AccountInfo` before its balances: nonce and three reference counts.
const BALANCES_AT: usize = 16;

/// What all accounts hold at one block, in the smallest unit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Funds {
    /// Accounts that exist.
    pub accounts: u64,
    /// Sum of their free and reserved balances; `None` if there are too many to sum.
    pub balances: Option<u128>,
    /// Free balance of the account that holds rewards until they are claimed.
    pub pot: u128,
    /// What the chain says it owes to all members together.
    pub owed: u128,
}

fn twox_128(text: &str) -> [u8; 16] {
    let mut out = [0; 16];
    let (low, high) = out.split_at_mut(8);
    low.copy_from_slice(&XxHash64::oneshot(0, text.as_bytes()).to_le_bytes());
    high.copy_from_slice(&XxHash64::oneshot(1, text.as_bytes()).to_le_bytes());
    out
}

/// Key of a storage value, and prefix of a storage map.
#[must_use]
pub fn item_key(pallet: &str, item: &str) -> Vec<u8> {
    [twox_128(pallet), twox_128(item)].concat()
}

/// Key of an entry of a map whose one key is hashed with `Twox64Concat`.
#[must_use]
pub fn entry_key(pallet: &str, item: &str, key: &impl Encode) -> Vec<u8> {
    let key = key.encode();
    let mut out = item_key(pallet, item);
    out.extend_from_slice(&XxHash64::oneshot(0, &key).to_le_bytes());
    out.extend_from_slice(&key);
    out
}

impl At {
    /// The raw value under a storage key.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn storage(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ChainError> {
        let at = Some(self.head().hash.0.into());
        let read = async { self.rpc().state_get_storage(key, at).await.map_err(|e| e.to_string()) };
        timed("reading storage".into(), read).await
    }

    /// Sums over all accounts, the pot and what is owed. `pot` is the account that holds rewards.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn funds(&self, pot: AccountKey) -> Result<Funds, ChainError> {
        let owed = self.storage(&item_key("Iota", "TotalOwed")).await?;
        let owed = owed.map_or(Ok(0), |bytes| decode("Iota.TotalOwed", &bytes))?;
        let prefix = item_key("System", "Account");
        let (mut accounts, mut sum, mut held, mut last) = (0usize, 0u128, 0u128, None::<Vec<u8>>);
        loop {
            let page = self.page(&prefix, last.as_deref()).await?;
            let Some(end) = page.last().map(|(key, _)| key.clone()) else { break };
            for (key, value) in &page {
                let balances = value.get(BALANCES_AT..).unwrap_or_default();
                let (free, reserved): (u128, u128) = decode("System.Account", balances)?;
                sum = sum.saturating_add(free).saturating_add(reserved);
                if key.ends_with(&pot.0) {
                    held = free;
                }
            }
            accounts += page.len();
            last = Some(end);
            if accounts > MAX_ACCOUNTS {
                break;
            }
        }
        let balances = (accounts <= MAX_ACCOUNTS).then_some(sum);
        Ok(Funds { accounts: u64::try_from(accounts).unwrap_or(u64::MAX), balances, pot: held, owed })
    }

    /// Entries below a prefix after a key, at most a page.
    pub(crate) async fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, ChainError> {
        let at = self.head().hash.0.into();
        let read = async {
            let keys = self.rpc().state_get_keys_paged(prefix, PAGE, after, Some(at)).await;
            let keys = keys.map_err(|e| e.to_string())?;
            if keys.is_empty() {
                return Ok(Vec::new());
            }
            let values = self.rpc().state_query_storage_at(keys.iter().map(Vec::as_slice), Some(at)).await;
            let changes = values.map_err(|e| e.to_string())?.into_iter().flat_map(|set| set.changes);
            Ok(changes.filter_map(|(key, value)| Some((key.0, value?.0))).collect())
        };
        timed("reading all accounts".into(), read).await
    }
}

fn decode<T: Decode>(what: &str, bytes: &[u8]) -> Result<T, ChainError> {
    T::decode(&mut &*bytes).map_err(|_| ChainError::Decode { what: what.into(), len: bytes.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_that_every_substrate_chain_uses() {
        let account = "26aa394eea5630e07c48ae0c9558cef7b99d880ec681799c0cf30e8886371da9";
        assert_eq!(hex::encode(item_key("System", "Account")), account);
        let now = "f0c365c3cf59d671eb72da0e7a4113c49f1f0515f462cdcf84e0f1d6045dfcbb";
        assert_eq!(hex::encode(item_key("Timestamp", "Now")), now);
        let entry = entry_key("System", "BlockHash", &0u64);
        // twox64 of eight zero bytes, then the bytes: from the layout of `BlockHash` of any chain.
        assert!(entry.ends_with(&[0; 8]) && entry.len() == 48);
    }
}
