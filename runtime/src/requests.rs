//! Transactions that are made without a key: requests to the faucet.
//!
//! Only programs with `std` make them. The chain's side is [`crate::faucet`].

use iota_protocol::ids::Hash as Hash32;
use polkadot_sdk::{frame_metadata_hash_extension, frame_system, sp_runtime::generic::Era};

use crate::{
    faucet::{self, work_hash, zero_bits},
    protocol_payment::ProtocolPayment,
    AccountId, TxExtension, UncheckedExtrinsic,
};

/// The extensions of a transaction that nobody signed: they carry no choice.
fn unsigned_extension() -> TxExtension {
    (
        frame_system::AuthorizeCall::new(),
        frame_system::CheckNonZeroSender::new(),
        frame_system::CheckSpecVersion::new(),
        frame_system::CheckTxVersion::new(),
        frame_system::CheckGenesis::new(),
        frame_system::CheckEra::from(Era::Immortal),
        frame_system::CheckNonce::from(0),
        frame_system::CheckWeight::new(),
        ProtocolPayment::with_tip(0),
        frame_metadata_hash_extension::CheckMetadataHash::new(false),
    )
}

/// A request of a drip for `to` on the chain with this genesis hash, whose last drip was in block `last` (0
/// if it had none). Does the work: `2^difficulty` hashes on average. `None` if no nonce does.
#[must_use]
pub fn drip(genesis: [u8; 32], to: &AccountId, last: u32, difficulty: u32) -> Option<UncheckedExtrinsic> {
    let genesis = Hash32(genesis);
    let enough = |nonce: &u64| zero_bits(&work_hash(&genesis, to, last, *nonce)) >= difficulty;
    let nonce = (0..u64::MAX).find(enough)?;
    let call = faucet::Call::drip { to: to.clone(), nonce };
    Some(UncheckedExtrinsic::new_transaction(call.into(), unsigned_extension()))
}
