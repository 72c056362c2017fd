//! Bonds between validators and the miners that they supported, kept from one settled epoch to the
//! next. The rule is `iota_protocol::consensus::bonds`; here they are only stored.

use alloc::vec::Vec;
use iota_protocol::{consensus::bonds::BondRow, ids::RunId};
use polkadot_sdk::frame_support::BoundedVec;

use crate::{
    pallet::{Config, Pallet, Supports},
    types::{Support, MAX_VALIDATORS},
};

impl<T: Config> Pallet<T> {
    /// Bonds of a run after its last settled epoch, in uid order of the validators.
    pub fn supports_view(run: RunId) -> Vec<BondRow> {
        let row = |(uid, support): (_, Support)| BondRow {
            uid,
            incarnation: support.incarnation,
            bonds: support.bonds.into_inner(),
        };
        let mut rows: Vec<BondRow> = Supports::<T>::iter_prefix(run).map(row).collect();
        rows.sort_unstable_by_key(|row| row.uid);
        rows
    }

    /// Replaces the bonds of a run; those of validators that lost their permit go.
    pub(crate) fn keep_supports(run: RunId, rows: &[BondRow]) {
        // All rows fit one pass: there are never more than validators with a permit.
        let _ = Supports::<T>::clear_prefix(run, MAX_VALIDATORS, None);
        for row in rows {
            let bonds = BoundedVec::truncate_from(row.bonds.clone());
            Supports::<T>::insert(run, row.uid, Support { incarnation: row.incarnation, bonds });
        }
    }
}
