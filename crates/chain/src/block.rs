//! Blocks by number with their events, and proofs of storage: what an indexer reads.
//!
//! Events are decoded with the metadata of their own block, so a runtime upgrade changes nothing for
//! the reader. They become JSON: 32-byte values and other bytes as `0x` hex, whole numbers as decimal
//! text, because a `u128` does not survive most JSON readers as a number.

use codec::{Decode, Encode};
use iota_protocol::ids::Hash;
use serde::{Deserialize, Serialize};
use serde_json::{json, Map, Value as Json};
use subxt::error::ExtrinsicError;
use subxt::events::Phase;
use subxt::ext::scale_value::{Composite, Primitive, Value, ValueDef};

use crate::client::{Chain, ChainError, Head, REQUEST_TIMEOUT};
use crate::reveal::{salts, ScoreSalt};
use crate::storage::item_key;

/// An event of a block.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ChainEvent {
    /// Its position in the block.
    pub index: u32,
    /// The extrinsic that caused it; `None` for hooks.
    pub extrinsic: Option<u32>,
    /// Name of the pallet.
    pub pallet: String,
    /// Name of the event.
    pub name: String,
    /// Its fields by name, or as a list where they have none.
    pub fields: Json,
}

/// A finalized block.
#[derive(Clone, PartialEq, Debug)]
pub struct Block {
    /// Number and hash.
    pub head: Head,
    /// Hash of the block before.
    pub parent: Hash,
    /// Root of the state after the block.
    pub state_root: Hash,
    /// The header as SCALE bytes; their BLAKE2 hash is the block's.
    pub header: Vec<u8>,
    /// What can only be read from the state; `None` where the node has dropped it.
    pub content: Option<Content>,
}

/// What a block's state says about the block.
#[derive(Clone, PartialEq, Debug)]
pub struct Content {
    /// Milliseconds since 1970; 0 in block 0.
    pub timestamp_ms: u64,
    /// Events in order.
    pub events: Vec<ChainEvent>,
    /// Salts of scores that were revealed in the block, in the order of its extrinsics.
    pub salts: Vec<ScoreSalt>,
}

/// Nodes of the state trie that prove values under a block's state root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StorageProof {
    /// The block.
    pub at: Hash,
    /// Encoded trie nodes in no order.
    pub nodes: Vec<Vec<u8>>,
}

impl Chain {
    /// The block of that number, which must be finalized for the answer to stay true.
    ///
    /// # Errors
    /// When the node does not answer, or has no such block.
    pub async fn block(&self, number: u32) -> Result<Block, ChainError> {
        let what = format!("reading block {number}");
        let read = async {
            let connection = self.connection().await;
            let hash = connection.rpc.chain_get_block_hash(Some(u64::from(number).into())).await;
            let hash = hash.map_err(text)?.ok_or("the node has no such block")?;
            let header = connection.rpc.chain_get_header(Some(hash)).await.map_err(text)?;
            let header = header.ok_or("the node has no header for it")?;
            let content = match self.content(number, Hash(hash.0)).await {
                Ok(content) => Some(content),
                Err(reason) if is_discarded(&reason) => None,
                Err(reason) => return Err(reason),
            };
            Ok::<_, String>(Block {
                head: Head { number, hash: Hash(hash.0) },
                parent: Hash(header.parent_hash.0),
                state_root: Hash(header.state_root.0),
                header: header.encode(),
                content,
            })
        };
        timed(what, read).await
    }

    async fn content(&self, number: u32, hash: Hash) -> Result<Content, String> {
        let connection = self.connection().await;
        let at = hash.0.into();
        let stamp =
            connection.rpc.state_get_storage(&item_key("Timestamp", "Now"), Some(at)).await.map_err(text)?;
        let timestamp_ms = stamp.map_or(Ok(0), |bytes| u64::decode(&mut bytes.as_slice())).map_err(text)?;
        if number == 0 {
            // Genesis runs no extrinsics and leaves no events.
            return Ok(Content { timestamp_ms, events: Vec::new(), salts: Vec::new() });
        }
        let block = connection.client.at_block(subxt::utils::H256(hash.0)).await.map_err(text)?;
        let fetched = block.events().fetch().await.map_err(text)?;
        let mut events = Vec::new();
        for event in fetched.iter() {
            let event = event.map_err(text)?;
            let fields: Composite<()> = event.decode_fields_unchecked_as().map_err(text)?;
            events.push(ChainEvent {
                index: event.index(),
                extrinsic: match event.phase() {
                    Phase::ApplyExtrinsic(index) => Some(index),
                    Phase::Finalization | Phase::Initialization => None,
                },
                pallet: event.pallet_name().to_owned(),
                name: event.event_name().to_owned(),
                fields: of_composite(&fields),
            });
        }
        let reveals = |event: &ChainEvent| event.pallet == "Iota" && event.name == "ScoresRevealed";
        // Bodies are read only where something of them is wanted.
        let salts = match events.iter().any(reveals) {
            false => Vec::new(),
            true => match block.extrinsics().fetch().await {
                Ok(body) => salts(&body),
                // A node may keep states longer than bodies.
                Err(ExtrinsicError::BlockNotFound(_)) => Vec::new(),
                Err(error) => return Err(text(error)),
            },
        };
        Ok(Content { timestamp_ms, events, salts })
    }

    /// Proof of the values under `keys` in the state of a block.
    ///
    /// # Errors
    /// When the node does not answer, or has dropped that state.
    pub async fn storage_proof(&self, at: Hash, keys: &[Vec<u8>]) -> Result<StorageProof, ChainError> {
        let read = async {
            let connection = self.connection().await;
            let keys = keys.iter().map(Vec::as_slice);
            let proof = connection.rpc.state_get_read_proof(keys, Some(at.0.into())).await.map_err(text)?;
            Ok(StorageProof { at, nodes: proof.proof.into_iter().map(|node| node.0).collect() })
        };
        timed(format!("proving storage of block {at}"), read).await
    }
}

pub(crate) async fn timed<T>(
    what: String,
    read: impl std::future::Future<Output = Result<T, String>>,
) -> Result<T, ChainError> {
    let timed = tokio::time::timeout(REQUEST_TIMEOUT, read).await;
    timed.unwrap_or_else(|_| Err("timed out".into())).map_err(|reason| ChainError::Request { what, reason })
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Whether the node says that it keeps the state of that block no more.
pub(crate) fn is_discarded(reason: &str) -> bool {
    reason.contains("discarded")
}

pub(crate) fn of_composite(composite: &Composite<()>) -> Json {
    match composite {
        Composite::Named(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), of_value(value)));
            Json::Object(fields.collect::<Map<_, _>>())
        }
        Composite::Unnamed(values) => of_list(values),
    }
}

/// A list; bytes become hex, and newtypes become what they hold.
fn of_list(values: &[Value<()>]) -> Json {
    if let [only] = values {
        return of_value(only);
    }
    let bytes: Option<Vec<u8>> = values.iter().map(byte).collect();
    match bytes {
        Some(bytes) if !bytes.is_empty() => Json::String(format!("0x{}", hex::encode(bytes))),
        _ => Json::Array(values.iter().map(of_value).collect()),
    }
}

fn byte(value: &Value<()>) -> Option<u8> {
    match &value.value {
        ValueDef::Primitive(Primitive::U128(number)) => u8::try_from(*number).ok(),
        _ => None,
    }
}

fn of_value(value: &Value<()>) -> Json {
    match &value.value {
        ValueDef::Composite(composite) => of_composite(composite),
        ValueDef::Variant(variant) if variant.values.is_empty() => Json::String(variant.name.clone()),
        ValueDef::Variant(variant) if variant.name == "Some" => of_composite(&variant.values),
        ValueDef::Variant(variant) => json!({ variant.name.as_str(): of_composite(&variant.values) }),
        ValueDef::BitSequence(bits) => {
            Json::String(bits.iter().map(|bit| if bit { '1' } else { '0' }).collect())
        }
        ValueDef::Primitive(Primitive::Bool(flag)) => Json::Bool(*flag),
        ValueDef::Primitive(Primitive::Char(letter)) => Json::String(letter.to_string()),
        ValueDef::Primitive(Primitive::String(text)) => Json::String(text.clone()),
        ValueDef::Primitive(Primitive::U128(number)) => Json::String(number.to_string()),
        ValueDef::Primitive(Primitive::I128(number)) => Json::String(number.to_string()),
        ValueDef::Primitive(Primitive::U256(bytes) | Primitive::I256(bytes)) => {
            Json::String(format!("0x{}", hex::encode(bytes)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_json_that_keeps_every_digit() {
        let account = Value::unnamed_composite([Value::from_bytes([7u8; 32])]);
        let fields = Composite::named([
            ("run", Value::unnamed_composite([Value::u128(3)])),
            ("account", account),
            ("amount", Value::u128(u128::MAX)),
            ("void", Value::bool(false)),
            ("role", Value::unnamed_variant("Miner", [])),
            ("root", Value::unnamed_variant("Some", [Value::from_bytes([1u8; 32])])),
            ("none", Value::unnamed_variant("None", [])),
        ]);
        let expected = json!({
            "run": "3",
            "account": format!("0x{}", "07".repeat(32)),
            "amount": u128::MAX.to_string(),
            "void": false,
            "role": "Miner",
            "root": format!("0x{}", "01".repeat(32)),
            "none": "None",
        });
        assert_eq!(of_composite(&fields), expected);
    }

    #[test]
    fn a_dropped_state_is_told_from_a_failure() {
        assert!(is_discarded("Client error: UnknownBlock: State already discarded for 0x12"));
        assert!(!is_discarded("connection reset"));
    }
}
