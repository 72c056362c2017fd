//! Submitting: one submitter per key owns its nonce.

use std::sync::Arc;
use std::time::Duration;

use iota_protocol::ids::{AccountKey, Hash};
use subxt::config::DefaultExtrinsicParamsBuilder;
use subxt::transactions::{Signer, TransactionStatus};
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

/// Where a call was included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Included {
    /// Hash of the block; the best one at that time when not waited for finality.
    pub block: Hash,
}

/// Signs extrinsics for one account without giving the secret away.
#[derive(Clone)]
pub struct KeySigner {
    public: AccountKey,
    sign: Arc<dyn Fn(&[u8]) -> [u8; 64] + Send + Sync>,
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

    async fn send_once(&self, connection: &Connection, call: &Call, wait: &Wait) -> Result<Included, SubmitError> {
        let name = call.name();
        let not_accepted = |reason: String| SubmitError::NotAccepted { call: name, reason };
        let account = AccountId32(self.signer.public.0);
        // The pool's view of the nonce: the finalized one would collide with our own pending call.
        let nonce =
            connection.rpc.system_account_next_index(&account).await.map_err(|e| not_accepted(e.to_string()))?;
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
            let hash = Hash(block.block_hash().0);
            block
                .wait_for_success()
                .await
                .map_err(|e| SubmitError::Dispatch { call: name, reason: e.to_string() })?;
            return Ok(Included { block: hash });
        }
        Err(SubmitError::Unknown { call: name })
    }
}
