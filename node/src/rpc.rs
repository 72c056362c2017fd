//! RPC methods beyond those that every node has.

use std::sync::Arc;

use jsonrpsee::RpcModule;
use polkadot_sdk::{
    pallet_transaction_payment_rpc::{TransactionPayment, TransactionPaymentApiServer},
    substrate_frame_rpc_system::{System, SystemApiServer},
};

use crate::service::{FullClient, Pool};

/// Next nonce of an account, and what a transaction costs.
///
/// # Errors
/// A method of the same name exists.
pub fn create(
    client: Arc<FullClient>,
    pool: Arc<Pool>,
) -> Result<RpcModule<()>, Box<dyn std::error::Error + Send + Sync>> {
    let mut module = RpcModule::new(());
    module.merge(System::new(client.clone(), pool).into_rpc())?;
    module.merge(TransactionPayment::new(client).into_rpc())?;
    Ok(module)
}
