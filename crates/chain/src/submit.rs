//! Submitting: one submitter per key owns its nonce.

use std::sync::Arc;
use std::time::Duration;

use iota_protocol::ids::{AccountKey, Hash};
use subxt::client::OnlineClientAtBlockT;
use subxt::config::{DefaultExtrinsicParamsBuilder, Hasher};
use subxt::error::DispatchError;
use subxt::events::Phase;
use subxt::rpcs::client::rpc_params;
use subxt::transactions::{Signer, TransactionInBlock, TransactionStatus};
use subxt::utils::{AccountId32, MultiSignature};
use subxt::SubstrateConfig;
use tokio::sync::Mutex;

use crate::calls::Call;
use crate::client::{Chain, Connection};

/// Blocks for which an extrinsic stays valid: several minutes at one-second blocks, so that a short
/// stall of finality does not kill it, and never immortal.
const MORTALITY_BLOCKS: u64 = 256;
/// How long we watch for inclusion before we say that we do not know.
const WATCH_TIMEOUT: Duration = Duration::from_secs(45);

/// Why a call did not take effect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The node or its pool did not take it.
    #[error("{call} was not accepted by the node: {reason}")]
    NotAccepted {
        /// Which call.
        call: &'static str,
        /// What the node said.
        reason: String,
    },
    /// It was included and failed.
    #[error("{call} failed on chain: {reason}")]
    Dispatch {
        /// Which call.
        call: &'static str,
        /// The pallet's error by name.
        reason: String,
    },
    /// Nothing was heard of it in time; it may still have been included.
    #[error("{call} was sent, but nothing was heard of it; read the chain's state before sending it again")]
    Unknown {
        /// Which call.
        call: &'static str,
    },
}

impl SubmitError {
    /// Whether the chain itself refused the call, so that sending it again cannot help.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Dispatch { .. })
    }
}

/// What a node said, with what to do about it where nodes say the same for several reasons: 1010 is a transaction
/// that is not valid as it stands.
fn advised(reason: String) -> String {
    if reason.contains("(1010)") {
        format!(
            "{reason}; a call is free only where it would succeed, else its key pays for it: see `status` for \
             what this key may do now, and that it holds a little where the call costs something"
        )
    } else {
        reason
    }
}

/// Where a call was included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Included {
    /// Hash of the block; the best one at that time when not waited for finality.
    pub block: Hash,
}

/// A secret as a function: bytes in, sr25519 signature out.
type Sign = dyn Fn(&[u8]) -> [u8; 64] + Send + Sync;

/// Signs extrinsics for one account without giving the secret away.
#[derive(Clone)]
pub struct KeySigner {
    public: AccountKey,
    sign: Arc<Sign>,
}

impl KeySigner {
    /// A signer from a public key and a closure that signs with sr25519 under context `substrate`.
    pub fn new(public: AccountKey, sign: impl Fn(&[u8]) -> [u8; 64] + Send + Sync + 'static) -> Self {
        Self { public, sign: Arc::new(sign) }
    }
}

impl Signer<SubstrateConfig> for KeySigner {
    fn account_id(&self) -> AccountId32 {
        AccountId32(self.public.0)
    }

    fn sign(&self, payload: &[u8]) -> MultiSignature {
        MultiSignature::Sr25519((self.sign)(payload))
    }
}

/// Submits calls of one key, one at a time.
pub struct Submitter {
    chain: Arc<Chain>,
    signer: KeySigner,
    turn: Mutex<()>,
}

enum Wait {
    BestBlock,
    Finalized,
}

impl Submitter {
    /// A submitter for `signer`. There must be one per key and process.
    #[must_use]
    pub fn new(chain: Arc<Chain>, signer: KeySigner) -> Self {
        Self { chain, signer, turn: Mutex::new(()) }
    }

    /// The account that signs.
    #[must_use]
    pub fn account(&self) -> AccountKey {
        self.signer.public
    }

    /// Submits and waits until a best block contains the call and it succeeded there.
    ///
    /// Cancel safety: dropping the future leaves the extrinsic in the pool.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn submit(&self, call: &Call) -> Result<Included, SubmitError> {
        self.send(call, &Wait::BestBlock).await
    }

    /// Submits and waits until the call is finalized and succeeded.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn submit_finalized(&self, call: &Call) -> Result<Included, SubmitError> {
        self.send(call, &Wait::Finalized).await
    }

    async fn send(&self, call: &Call, wait: &Wait) -> Result<Included, SubmitError> {
        let _turn = self.turn.lock().await;
        let connection = self.chain.connection().await;
        match tokio::time::timeout(WATCH_TIMEOUT, self.send_once(&connection, call, wait)).await {
            Ok(result) => result,
            Err(_) => Err(SubmitError::Unknown { call: call.name() }),
        }
    }

    async fn send_once(
        &self,
        connection: &Connection,
        call: &Call,
        wait: &Wait,
    ) -> Result<Included, SubmitError> {
        let name = call.name();
        let not_accepted = |reason: String| SubmitError::NotAccepted { call: name, reason: advised(reason) };
        let account = AccountId32(self.signer.public.0);
        // The pool's view of the nonce: the finalized one would collide with our own pending call.
        let nonce = connection
            .rpc
            .system_account_next_index(&account)
            .await
            .map_err(|e| not_accepted(e.to_string()))?;
        let params = DefaultExtrinsicParamsBuilder::new().mortal(MORTALITY_BLOCKS).nonce(nonce).build();
        let mut client = connection.client.tx().await.map_err(|e| not_accepted(e.to_string()))?;
        let mut progress = client
            .sign_and_submit_then_watch(call, &self.signer, params)
            .await
            .map_err(|e| not_accepted(e.to_string()))?;
        while let Some(status) = progress.next().await {
            let block = match status.map_err(|_| SubmitError::Unknown { call: name })? {
                TransactionStatus::InBestBlock(block) if matches!(wait, Wait::BestBlock) => block,
                TransactionStatus::InFinalizedBlock(block) => block,
                TransactionStatus::Error { message }
                | TransactionStatus::Invalid { message }
                | TransactionStatus::Dropped { message } => return Err(not_accepted(message)),
                _ => continue,
            };
            check_success(connection, name, &block).await?;
            return Ok(Included { block: Hash(block.block_hash().0) });
        }
        Err(SubmitError::Unknown { call: name })
    }
}

type InBlock<C> = TransactionInBlock<SubstrateConfig, C>;

/// A block's body as the node's JSON gives it. subxt's own type refuses blocks that carry a GRANDPA
/// justification, which is every finalized block of a chain with one authority.
#[derive(serde::Deserialize)]
struct SignedBlock {
    block: BlockBody,
}

#[derive(serde::Deserialize)]
struct BlockBody {
    extrinsics: Vec<String>,
}

/// Whether the extrinsic succeeded in the block that includes it.
async fn check_success<C>(
    connection: &Connection,
    call: &'static str,
    block: &InBlock<C>,
) -> Result<(), SubmitError>
where
    C: OnlineClientAtBlockT<SubstrateConfig>,
{
    let unknown = |error: &dyn std::fmt::Display| {
        tracing::warn!(call, %error, "included, but its outcome could not be read");
        SubmitError::Unknown { call }
    };
    let at = block.at().await.map_err(|error| unknown(&error))?;
    let signed: SignedBlock = connection
        .raw
        .request("chain_getBlock", rpc_params![block.block_hash()])
        .await
        .map_err(|error| unknown(&error))?;
    let wanted = block.extrinsic_hash();
    let hash_of =
        |text: &String| hex::decode(text.trim_start_matches("0x")).map(|bytes| at.hasher().hash(&bytes));
    let index =
        signed.block.extrinsics.iter().position(|text| hash_of(text).is_ok_and(|hash| hash == wanted));
    let index =
        index.and_then(|index| u32::try_from(index).ok()).ok_or_else(|| unknown(&"not in the block"))?;
    let events = at.events().fetch().await.map_err(|error| unknown(&error))?;
    for event in events.iter() {
        let event = event.map_err(|error| unknown(&error))?;
        let ours = event.phase() == Phase::ApplyExtrinsic(index);
        if ours && event.pallet_name() == "System" && event.event_name() == "ExtrinsicFailed" {
            let reason = DispatchError::decode_from(event.field_bytes(), at.metadata())
                .map_or_else(|error| error.to_string(), |error| error.to_string());
            return Err(SubmitError::Dispatch { call, reason });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_chain_itself_refused_is_final() {
        let call = "commit_work";
        assert!(SubmitError::Dispatch { call, reason: "WrongPhase".into() }.is_final());
        assert!(!SubmitError::NotAccepted { call, reason: "pool is full".into() }.is_final());
        assert!(!SubmitError::Unknown { call }.is_final());
    }

    #[test]
    fn what_a_node_calls_invalid_is_explained() {
        assert!(advised("Invalid Transaction (1010)".into()).contains("free only where it would succeed"));
        assert_eq!(advised("pool is full".into()), "pool is full");
    }

    #[test]
    fn a_signer_signs_the_payload_for_its_account() {
        let signer = KeySigner::new(AccountKey([7; 32]), |payload| {
            let mut signature = [0; 64];
            signature.iter_mut().zip(payload).for_each(|(to, from)| *to = *from);
            signature
        });
        assert_eq!(signer.account_id(), AccountId32([7; 32]));
        let MultiSignature::Sr25519(signature) = signer.sign(&[1, 2, 3]) else { panic!("another scheme") };
        assert_eq!(signature[..4], [1, 2, 3, 0]);
    }
}
