//! Reading, following and submitting over subxt; the only crate that knows subxt.
//!
//! All reads are of finalized blocks. Answers of the runtime API are SCALE types that
//! `iota-protocol` defines for both sides; calls are encoded from the same types and found by name
//! in the chain's metadata, so workers never depend on the runtime crate.
//!
//! What this crate does not do: decide when to submit what (workers do), keep secrets (signing is a
//! closure).

mod block;
mod calls;
mod client;
mod faucet;
mod node;
mod owed;
mod pulse;
mod reveal;
mod storage;
mod submit;
mod unsigned;
mod upgrade;
mod vesting;

pub use block::{Block, ChainEvent, Content, StorageProof};
pub use calls::Call;
pub use client::{endpoints, At, Chain, ChainError, Head};
pub use faucet::FaucetError;
pub use reveal::ScoreSalt;
pub use storage::{account_key, entry_key, item_key, AccountFunds, Funds, Owed};
pub use submit::{Included, KeySigner, SubmitError, Submitter};
pub use upgrade::{code_hash, UpgradeError};
pub use vesting::Vesting;
