//! The runtime of the IOTA chain: blocks by Aura, finality by GRANDPA, a token, and `pallet-iota`.
//!
//! It has no sudo: what the admin account may do is listed in [`governance`] and in the calls that take
//! `EnsureAdmin`. Pallet indices are explicit and never reused, because workers and signed
//! transactions know calls by index.
#![cfg_attr(not(feature = "std"), no_std)]
#![recursion_limit = "256"]

extern crate alloc;

#[cfg(feature = "std")]
include!(concat!(env!("OUT_DIR"), "/wasm_binary.rs"));

pub mod apis;
#[cfg(feature = "std")]
pub mod ceremony;
pub mod configs;
pub mod faucet;
pub mod fees;
pub mod filters;
pub mod genesis;
pub mod governance;
pub mod migrations;
pub mod protocol_payment;
#[cfg(feature = "std")]
pub mod requests;
pub mod weights;

#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use polkadot_sdk::{
    frame_executive, frame_metadata_hash_extension, frame_support, frame_system, pallet_aura,
    pallet_balances, pallet_grandpa, pallet_migrations, pallet_multisig, pallet_proxy, pallet_safe_mode,
    pallet_session, pallet_skip_feeless_payment, pallet_timestamp, pallet_transaction_payment,
    pallet_utility,
    sp_runtime::{
        generic, impl_opaque_keys,
        traits::{BlakeTwo256, IdentifyAccount, Verify},
        MultiAddress, MultiSignature,
    },
    sp_version::{self, RuntimeVersion},
};

/// Signature of a transaction.
pub type Signature = MultiSignature;
/// An account: a public key.
pub type AccountId = <<Signature as Verify>::Signer as IdentifyAccount>::AccountId;
/// Amounts in the smallest unit.
pub type Balance = u128;
/// Counts an account's transactions.
pub type Nonce = u32;
/// Hash of blocks and state.
pub type Hash = polkadot_sdk::sp_core::H256;
/// Number of a block.
pub type BlockNumber = u32;
/// How transactions name accounts.
pub type Address = MultiAddress<AccountId, ()>;
/// Header of a block.
pub type Header = generic::Header<BlockNumber, BlakeTwo256>;
/// A block.
pub type Block = generic::Block<Header, UncheckedExtrinsic>;

/// The block as the node handles it: extrinsics are bytes, which also is how JSON-RPC shows them.
pub mod opaque {
    use polkadot_sdk::sp_runtime::{generic, OpaqueExtrinsic};

    /// Block of opaque extrinsics.
    pub type Block = generic::Block<super::Header, OpaqueExtrinsic>;
}

/// A block with its justification.
pub type SignedBlock = generic::SignedBlock<Block>;

/// Smallest units of one token: 9 decimals, as the emission schedule counts.
pub const UNIT: Balance = iota_protocol::emission::UNIT;
/// Name of the token, and decimals of its unit. Clients show amounts by them, and the hash of the metadata, which
/// devices that sign offline vouch for, covers them.
pub const TOKEN_SYMBOL: &str = "IOTA";
/// See [`TOKEN_SYMBOL`].
pub const TOKEN_DECIMALS: u8 = 9;
/// Milliseconds of a slot. Fixed at genesis: another value stops an existing chain.
pub const SLOT_DURATION: u64 = 1_000;

/// Checks in front of every transaction. Those that clients must encode are era, nonce, tip and the
/// mode of the metadata hash; the others have no data, and [`protocol_payment`] goes by the name and the
/// bytes of the payment extension that it wraps.
pub type TxExtension = (
    frame_system::AuthorizeCall<Runtime>,
    frame_system::CheckNonZeroSender<Runtime>,
    frame_system::CheckSpecVersion<Runtime>,
    frame_system::CheckTxVersion<Runtime>,
    frame_system::CheckGenesis<Runtime>,
    frame_system::CheckEra<Runtime>,
    frame_system::CheckNonce<Runtime>,
    frame_system::CheckWeight<Runtime>,
    protocol_payment::ProtocolPayment,
    frame_metadata_hash_extension::CheckMetadataHash<Runtime>,
);

/// A transaction as it stands in a block.
pub type UncheckedExtrinsic = generic::UncheckedExtrinsic<Address, RuntimeCall, Signature, TxExtension>;

/// Runs blocks.
pub type Executive = frame_executive::Executive<
    Runtime,
    Block,
    frame_system::ChainContext<Runtime>,
    Runtime,
    AllPalletsWithSystem,
>;

impl_opaque_keys! {
    /// What an authority signs blocks and votes with.
    pub struct SessionKeys {
        pub aura: Aura,
        pub grandpa: Grandpa,
    }
}

/// Version of this runtime. `spec_version` rises with every change of behaviour,
/// `transaction_version` with every change of a call's encoding.
#[sp_version::runtime_version]
pub const VERSION: RuntimeVersion = RuntimeVersion {
    spec_name: alloc::borrow::Cow::Borrowed("iota"),
    impl_name: alloc::borrow::Cow::Borrowed("iota-node"),
    authoring_version: 1,
    spec_version: 7,
    impl_version: 1,
    apis: apis::RUNTIME_API_VERSIONS,
    transaction_version: 3,
    system_version: 1,
};

#[frame_support::runtime]
mod runtime {
    #[runtime::runtime]
    #[runtime::derive(
        RuntimeCall,
        RuntimeEvent,
        RuntimeError,
        RuntimeOrigin,
        RuntimeFreezeReason,
        RuntimeHoldReason,
        RuntimeSlashReason,
        RuntimeLockId,
        RuntimeTask,
        RuntimeViewFunction
    )]
    pub struct Runtime;

    #[runtime::pallet_index(0)]
    pub type System = frame_system;

    #[runtime::pallet_index(1)]
    pub type Timestamp = pallet_timestamp;

    #[runtime::pallet_index(2)]
    pub type Aura = pallet_aura;

    #[runtime::pallet_index(3)]
    pub type Grandpa = pallet_grandpa;

    #[runtime::pallet_index(5)]
    pub type Balances = pallet_balances;

    #[runtime::pallet_index(6)]
    pub type TransactionPayment = pallet_transaction_payment;

    // Behind the balances: at genesis an authority's account exists before it gets keys.
    #[runtime::pallet_index(7)]
    pub type Session = pallet_session;

    #[runtime::pallet_index(10)]
    pub type Iota = pallet_iota;

    #[runtime::pallet_index(11)]
    pub type Utility = pallet_utility;

    #[runtime::pallet_index(13)]
    pub type Multisig = pallet_multisig;

    #[runtime::pallet_index(16)]
    pub type Proxy = pallet_proxy;

    #[runtime::pallet_index(20)]
    pub type SafeMode = pallet_safe_mode;

    #[runtime::pallet_index(21)]
    pub type Migrations = pallet_migrations;

    #[runtime::pallet_index(23)]
    pub type SkipFeelessPayment = pallet_skip_feeless_payment;

    #[runtime::pallet_index(24)]
    pub type Governance = crate::governance;

    #[runtime::pallet_index(25)]
    pub type Faucet = crate::faucet;
}
