//! Storage that no runtime call answers: keys for proofs, and the sums that an audit of issuance needs.
//!
//! Keys follow Substrate's layout, which names decide: the two-xx hash of the pallet, that of the
//! item, then the hashed key.

use std::collections::BTreeMap;

use blake2::digest::consts::U16;
use blake2::{Blake2b, Digest};
use codec::{Decode, Encode};
use iota_protocol::ids::AccountKey;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

use crate::block::timed;
use crate::client::{At, ChainError};

/// Keys of one page: the node's own limit.
const PAGE: u32 = 1_000;
/// Entries of a map that are summed. More would keep the node busy for seconds at every epoch; the sum is
/// then left out and said to be unchecked.
const MAX_ENTRIES: usize = 20_000;
/// Bytes of an `AccountInfo` before its balances: nonce and three reference counts.
const BALANCES_AT: usize = 16;
/// Accounts that are asked about in one request: two keys each, well below a page.
const ACCOUNTS_AT_ONCE: usize = 200;

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
    /// Sums over the records of what may be claimed and of what vests; `None` if there are too many to sum.
    pub records: Option<Owed>,
    /// Pay that waits for evidence, which lies in the same account beside what is owed.
    pub waiting: u128,
}

/// What is owed, summed record by record over all runs; smallest units.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Owed {
    /// By account: may be claimed.
    pub claimable: u128,
    /// By member: vests, or has vested and was not released yet.
    pub vesting: u128,
}

/// What one account has at one block, smallest units.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountFunds {
    /// The account.
    pub account: AccountKey,
    /// It can spend this, but for what keeps the account alive.
    pub free: u128,
    /// On hold: bonds, deposits, and what a newcomer registers with.
    pub held: u128,
    /// Rewards that it may claim.
    pub claimable: u128,
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

/// Key of an entry of a map by account, hashed with `Blake2_128Concat`.
#[must_use]
pub fn account_key(pallet: &str, item: &str, account: &AccountKey) -> Vec<u8> {
    let mut out = item_key(pallet, item);
    out.extend_from_slice(&Blake2b::<U16>::digest(account.0));
    out.extend_from_slice(&account.0);
    out
}

fn info_key(account: &AccountKey) -> Vec<u8> {
    account_key("System", "Account", account)
}

fn rewards_key(account: &AccountKey) -> Vec<u8> {
    account_key("Iota", "Rewards", account)
}

/// Free and reserved balance of an encoded `AccountInfo`.
fn balances(info: &[u8]) -> Result<(u128, u128), ChainError> {
    decode("System.Account", info.get(BALANCES_AT..).unwrap_or_default())
}

impl At {
    /// What each of these accounts has, in their order; nothing where the chain does not know one.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn accounts(&self, accounts: &[AccountKey]) -> Result<Vec<AccountFunds>, ChainError> {
        let mut found = Vec::with_capacity(accounts.len());
        for part in accounts.chunks(ACCOUNTS_AT_ONCE) {
            let keys: Vec<_> = part.iter().flat_map(|own| [info_key(own), rewards_key(own)]).collect();
            let values = self.values(&keys).await?;
            for own in part {
                let (info, owed) = (values.get(&info_key(own)), values.get(&rewards_key(own)));
                let (free, held) = info.map_or(Ok((0, 0)), |bytes| balances(bytes))?;
                let claimable = owed.map_or(Ok(0), |bytes| decode("Iota.Rewards", bytes))?;
                found.push(AccountFunds { account: *own, free, held, claimable });
            }
        }
        Ok(found)
    }

    /// The values that are stored under some keys.
    async fn values(&self, keys: &[Vec<u8>]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, ChainError> {
        let at = Some(self.head().hash.0.into());
        let read = async {
            let values = self.rpc().state_query_storage_at(keys.iter().map(Vec::as_slice), at).await;
            let changes = values.map_err(|e| e.to_string())?.into_iter().flat_map(|set| set.changes);
            Ok(changes.filter_map(|(key, value)| Some((key.0, value?.0))).collect())
        };
        timed("reading storage of accounts".into(), read).await
    }

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
        let (mut accounts, mut sum, mut held) = (0u64, 0u128, 0u128);
        let all = self.each("System", "Account", |key, value| {
            let (free, reserved) = balances(value)?;
            sum = sum.saturating_add(free).saturating_add(reserved);
            accounts = accounts.saturating_add(1);
            if key.ends_with(&pot.0) {
                held = free;
            }
            Ok(())
        });
        let balances = all.await?.then_some(sum);
        let owed = self.number("TotalOwed").await?;
        let waiting = self.number("TotalHeld").await?;
        Ok(Funds { accounts, balances, pot: held, owed, records: self.records().await?, waiting })
    }

    /// Sums over the records that [`Funds::owed`] stands for; `None` if there are too many.
    async fn records(&self) -> Result<Option<Owed>, ChainError> {
        let mut owed = Owed::default();
        let claims = self.each("Iota", "Rewards", |_, value| {
            owed.claimable = owed.claimable.saturating_add(decode("Iota.Rewards", value)?);
            Ok(())
        });
        let has_claims = claims.await?;
        let vestings = self.each("Iota", "Vestings", |_, value| {
            let what = || ChainError::Decode { what: "Iota.Vestings".into(), len: value.len() };
            owed.vesting = owed.vesting.saturating_add(crate::vesting::unreleased(value).ok_or_else(what)?);
            Ok(())
        });
        let has_vestings = vestings.await?;
        Ok((has_claims && has_vestings).then_some(owed))
    }

    /// A number of our pallet; zero where nothing is stored.
    async fn number(&self, item: &str) -> Result<u128, ChainError> {
        let stored = self.storage(&item_key("Iota", item)).await?;
        stored.map_or(Ok(0), |bytes| decode(&format!("Iota.{item}"), &bytes))
    }

    /// Looks at all entries of a map, page by page; false if it gave up because there are too many.
    async fn each(
        &self,
        pallet: &str,
        item: &str,
        mut look: impl FnMut(&[u8], &[u8]) -> Result<(), ChainError>,
    ) -> Result<bool, ChainError> {
        let prefix = item_key(pallet, item);
        let (mut seen, mut last) = (0usize, None::<Vec<u8>>);
        while seen <= MAX_ENTRIES {
            let page = self.page(&prefix, last.as_deref()).await?;
            let Some((end, _)) = page.last() else { return Ok(true) };
            last = Some(end.clone());
            seen = seen.saturating_add(page.len());
            page.iter().try_for_each(|(key, value)| look(key, value))?;
        }
        Ok(false)
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
        timed("reading all entries of a map".into(), read).await
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
        // The account of the development key Alice, as any Substrate chain has it.
        let mut alice = [0; 32];
        hex::decode_to_slice("d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d", &mut alice)
            .unwrap();
        let key = account_key("System", "Account", &AccountKey(alice));
        assert_eq!(hex::encode(&key[32..48]), "de1e86a9a8c739864cf3cc5ec2bea59f");
        assert!(key.ends_with(&alice));
        // twox64 of eight zero bytes, then the bytes: from the layout of `BlockHash` of any chain.
        assert!(entry.ends_with(&[0; 8]) && entry.len() == 48);
    }
}
