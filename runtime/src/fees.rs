//! Where fees and dust go, and what weight costs.

use polkadot_sdk::{
    frame_support::{
        traits::{
            fungible::{Balanced, Credit},
            FindAuthor, OnUnbalanced,
        },
        weights::{Weight, WeightToFee},
    },
    frame_system,
    pallet_session::FindAccountFromAuthorIndex,
};

use crate::{AccountId, Aura, Balance, Balances, Iota, Runtime};

/// Picoseconds of compute for one smallest unit: a transaction of 100 µs costs 0.0001 tokens.
const PICOSECONDS_PER_UNIT: u64 = 1_000;

/// The fee of a weight.
pub struct WeightFee;

impl WeightToFee for WeightFee {
    type Balance = Balance;

    fn weight_to_fee(weight: &Weight) -> Balance {
        Balance::from(weight.ref_time().saturating_div(PICOSECONDS_PER_UNIT))
    }
}

/// Pays credits into the treasury.
pub struct ToTreasury;

impl OnUnbalanced<Credit<AccountId, Balances>> for ToTreasury {
    fn on_nonzero_unbalanced(amount: Credit<AccountId, Balances>) {
        // The treasury exists since genesis and so takes any amount; a refused credit is burned.
        let _ = Balances::resolve(&Iota::treasury(), amount);
    }
}

/// Pays fees to the author of the block: the account that its keys belong to. What the author cannot take,
/// because it does not exist and the fee is below the existential deposit, goes to the treasury.
pub struct ToAuthor;

impl OnUnbalanced<Credit<AccountId, Balances>> for ToAuthor {
    fn on_nonzero_unbalanced(amount: Credit<AccountId, Balances>) {
        let rest = match author() {
            Some(author) => Balances::resolve(&author, amount),
            None => Err(amount),
        };
        if let Err(rest) = rest {
            ToTreasury::on_nonzero_unbalanced(rest);
        }
    }
}

/// The authority that the current block's slot belongs to.
fn author() -> Option<AccountId> {
    let digest = frame_system::Pallet::<Runtime>::digest();
    FindAccountFromAuthorIndex::<Runtime, Aura>::find_author(
        digest.logs().iter().filter_map(|item| item.as_pre_runtime()),
    )
}
