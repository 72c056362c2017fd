//! Pay that has not vested, epoch by epoch, which no runtime call answers: read from the pallet's storage.

use codec::Decode;
use iota_protocol::ids::{AccountKey, Epoch, Incarnation, RunId};
use serde::{Deserialize, Serialize};

use crate::client::{At, ChainError};
use crate::storage::entry_key;

/// Records of a run that are read; more than a run can have members and the pay of their predecessors.
const MAX_RECORDS: usize = 10_000;
/// Bytes of a key after its run: a hash of eight, and the incarnation.
const INCARNATION_AT: usize = 8;

/// What one member of a run has to lose.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vesting {
    /// The member.
    pub incarnation: Incarnation,
    /// Who owns it.
    pub coldkey: AccountKey,
    /// Amounts with the epochs in which they vest, in the order of epochs; smallest units. Those of the
    /// current epoch and before have vested and wait to be released.
    pub parts: Vec<(Epoch, u128)>,
    /// On hold on the coldkey since the registration, smallest units.
    pub entry: u128,
    /// The epoch from which it is free; `None` until the first pay or the leaving.
    pub entry_until: Option<Epoch>,
}

/// The record as the pallet lays it out.
#[derive(Decode)]
struct Stored {
    coldkey: AccountKey,
    next: Epoch,
    parts: Vec<u128>,
    entry: u128,
    entry_until: Option<Epoch>,
}

/// Reads one entry of the map; the key is what follows the run's prefix.
fn record(key: &[u8], value: &[u8]) -> Option<Vesting> {
    let incarnation = Incarnation::decode(&mut key.get(INCARNATION_AT..)?).ok()?;
    let mut rest = value;
    let stored = Stored::decode(&mut rest).ok().filter(|_| rest.is_empty())?;
    let parts = (stored.next.0..).map(Epoch).zip(stored.parts).filter(|(_, amount)| *amount > 0);
    Some(Vesting {
        incarnation,
        coldkey: stored.coldkey,
        parts: parts.collect(),
        entry: stored.entry,
        entry_until: stored.entry_until,
    })
}

/// What a record still owes, smallest units; the hold of a newcomer is its own and is not owed.
pub(crate) fn unreleased(value: &[u8]) -> Option<u128> {
    let mut rest = value;
    let stored = Stored::decode(&mut rest).ok().filter(|_| rest.is_empty())?;
    stored.parts.iter().try_fold(0u128, |sum, part| sum.checked_add(*part))
}

impl At {
    /// What the members of a run have to lose, those that left included, in no order.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn vestings(&self, run: RunId) -> Result<Vec<Vesting>, ChainError> {
        let prefix = entry_key("Iota", "Vestings", &run);
        let (mut found, mut last) = (Vec::new(), None::<Vec<u8>>);
        while found.len() < MAX_RECORDS {
            let page = self.page(&prefix, last.as_deref()).await?;
            let Some((end, _)) = page.last() else { break };
            last = Some(end.clone());
            for (key, value) in &page {
                let broken = || ChainError::Decode { what: "Iota.Vestings".into(), len: value.len() };
                let own = key.strip_prefix(prefix.as_slice()).ok_or_else(broken)?;
                found.push(record(own, value).ok_or_else(broken)?);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use codec::Encode;
    use iota_protocol::vesting::Tranches;

    use super::*;

    /// As the pallet stores it: owner, tranches, hold, and until when.
    #[test]
    fn the_pallets_record_is_read_epoch_by_epoch() {
        let mut tranches = Tranches::default();
        assert_eq!(tranches.pay(Epoch(4), 10, 3), 0);
        let owner = AccountKey([7; 32]);
        let value = (owner, &tranches, 9u128, Some(Epoch(20))).encode();
        let key = [&[1u8; 8][..], &Incarnation(5).encode()].concat();
        let vesting = record(&key, &value).unwrap();
        assert_eq!((vesting.incarnation, vesting.coldkey, vesting.entry), (Incarnation(5), owner, 9));
        assert_eq!(vesting.parts, [(Epoch(5), 3), (Epoch(6), 3), (Epoch(7), 4)]);
        assert_eq!(vesting.parts.iter().map(|(_, part)| part).sum::<u128>(), tranches.total());
        assert_eq!(vesting.entry_until, Some(Epoch(20)));
        assert_eq!(unreleased(&value), Some(10), "without the hold");
        assert_eq!(unreleased(&value[1..]), None);
        let beyond = (owner, Epoch(1), vec![u128::MAX, 1], 0u128, None::<Epoch>).encode();
        assert_eq!(unreleased(&beyond), None, "more than there can be");
        assert!(record(&key, &value[..value.len() - 1]).is_none());
        assert!(record(&key, &[value, vec![0]].concat()).is_none(), "another layout");
        assert!(record(&[1; 6], &[]).is_none());
    }
}
