//! What a node says of itself and of its chain, for those who invite others or send a call by other ways.

use subxt::rpcs::client::rpc_params;

use crate::block::timed;
use crate::calls::Call;
use crate::client::{Chain, ChainError};
use crate::storage::item_key;

impl Chain {
    /// Addresses at which other nodes find the connected one, as multiaddresses with its peer id.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn node_addresses(&self) -> Result<Vec<String>, ChainError> {
        let raw = self.connection().await.raw;
        let read = async {
            let addresses = raw.request("system_localListenAddresses", rpc_params![]).await;
            addresses.map_err(|error| error.to_string())
        };
        timed("reading the node's addresses".into(), read).await
    }

    /// Whether the chain gives first tokens to whoever asks.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn has_faucet(&self) -> Result<bool, ChainError> {
        let terms = self.at_finalized().await?.storage(&item_key("Faucet", "CurrentTerms")).await?;
        Ok(terms.is_some())
    }

    /// A call as the chain's extrinsics hold it: indexes of pallet and call, then the arguments.
    ///
    /// # Errors
    /// When the node does not answer, or its chain has no such call.
    pub async fn call_bytes(&self, call: &Call) -> Result<Vec<u8>, ChainError> {
        let client = self.connection().await.client;
        let encode = async {
            let transactions = client.tx().await.map_err(|error| error.to_string())?;
            transactions.call_data(call).map_err(|error| error.to_string())
        };
        timed(format!("encoding {}", call.name()), encode).await
    }
}
