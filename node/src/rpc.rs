//! RPC methods beyond those that every node has.

use std::sync::Arc;

use iota_runtime::{opaque::Block, BlockNumber, Hash};
use jsonrpsee::RpcModule;
use polkadot_sdk::{
    pallet_transaction_payment_rpc::{TransactionPayment, TransactionPaymentApiServer},
    sc_consensus_grandpa::{
        FinalityProofProvider, GrandpaJustificationStream, SharedAuthoritySet, SharedVoterState,
    },
    sc_consensus_grandpa_rpc::{Grandpa, GrandpaApiServer},
    sc_rpc::SubscriptionTaskExecutor,
    substrate_frame_rpc_system::{System, SystemApiServer},
};

use crate::service::{FullBackend, FullClient, Pool};

/// What the methods on finality answer from.
#[derive(Clone)]
pub struct Finality {
    /// The voters of this set.
    pub authorities: SharedAuthoritySet<Hash, BlockNumber>,
    /// The voter's rounds; empty while this node does not vote.
    pub voter: SharedVoterState,
    /// Justifications as they come.
    pub justifications: GrandpaJustificationStream<Block>,
    /// Proofs for blocks of the past.
    pub proofs: Arc<FinalityProofProvider<FullBackend, Block>>,
}

/// Next nonce of an account, what a transaction costs, and proofs that a block is final.
///
/// # Errors
/// A method of the same name exists.
pub fn create(
    client: Arc<FullClient>,
    pool: Arc<Pool>,
    finality: Finality,
    executor: SubscriptionTaskExecutor,
) -> Result<RpcModule<()>, Box<dyn std::error::Error + Send + Sync>> {
    let mut module = RpcModule::new(());
    module.merge(System::new(client.clone(), pool).into_rpc())?;
    module.merge(TransactionPayment::new(client).into_rpc())?;
    let Finality { authorities, voter, justifications, proofs } = finality;
    module.merge(Grandpa::new(executor, authorities, voter, justifications, proofs).into_rpc())?;
    Ok(module)
}
