//! What a node says of itself and of its chain, for those who invite others or send a call by other ways.

use iota_protocol::ids::Hash;
use subxt::rpcs::client::rpc_params;

use crate::block::timed;
use crate::calls::Call;
use crate::client::{Chain, ChainError};
use crate::storage::item_key;

/// The engine of GRANDPA's justifications.
const GRANDPA: [u8; 4] = *b"FRNK";

/// The part of the node's answer that says why a block is final: engines and their bytes.
#[derive(serde::Deserialize)]
struct Justified {
    justifications: Option<Vec<([u8; 4], Vec<u8>)>>,
}

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

    /// The votes by which GRANDPA made a block final, as SCALE bytes, where the node keeps them.
    ///
    /// # Errors
    /// When the node does not answer or does not know the block.
    pub async fn justification(&self, block: Hash) -> Result<Option<Vec<u8>>, ChainError> {
        let raw = self.connection().await.raw;
        let read = async {
            let hash = block.to_string();
            let block: Option<Justified> =
                raw.request("chain_getBlock", rpc_params![hash]).await.map_err(|error| error.to_string())?;
            let block = block.ok_or("the node does not know the block")?;
            let all = block.justifications.into_iter().flatten();
            Ok(all.filter(|(engine, _)| *engine == GRANDPA).map(|(_, votes)| votes).next())
        };
        timed(format!("reading the votes on block {block}"), read).await
    }

    /// Whether the chain's spec says that it is for development or for local tests, and so for machines of one
    /// owner. The word of the connected node.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn is_of_one_house(&self) -> Result<bool, ChainError> {
        let raw = self.connection().await.raw;
        let read = async {
            let kind = raw.request("system_chainType", rpc_params![]).await;
            kind.map_err(|error| error.to_string())
        };
        let kind: serde_json::Value = timed("reading the chain's type".into(), read).await?;
        Ok(matches!(kind.as_str(), Some("Development" | "Local")))
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
