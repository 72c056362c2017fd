//! The connection: connect, check the genesis, follow finalized heads, reconnect, read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use codec::{Decode, Encode};
use iota_protocol::consensus::bonds::BondRow;
use iota_protocol::court::CourtView;
use iota_protocol::ids::{AccountKey, Epoch, Hash, RunId, Stage};
use iota_protocol::params::RunParams;
use iota_protocol::view::{
    AgreementView, ClockView, EpochReportView, MemberView, MergeView, Payout, ScoreView, SnapshotView,
    API_VERSION,
};
use subxt::backend::LegacyBackend;
use subxt::config::RpcConfigFor;
use subxt::rpcs::methods::legacy::LegacyRpcMethods;
use subxt::rpcs::RpcClient;
use subxt::{OnlineClient, SubstrateConfig};
use tokio::sync::{watch, RwLock};

use crate::pulse::{ahead, Pulse};

/// A request that takes longer than this counts as a lost connection: a local node answers in
/// milliseconds, a busy one in a second or two.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks at the finalized head. Half of the shortest block time.
const POLL: Duration = Duration::from_millis(500);
/// Ceiling of the wait between two attempts to reconnect: windows of a merge are five blocks long, and a node
/// that restarts is away for as many.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// What another node is given to say how far it is: those that take longer are no better than ours.
const LOOK: Duration = Duration::from_secs(5);

/// What can go wrong between us and the node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// No node answers.
    #[error("no connection to the node at {url}: {reason}; is it running, and is the port right?")]
    Connect {
        /// Where.
        url: String,
        /// What the transport said.
        reason: String,
    },
    /// The node runs another chain.
    #[error("the node at {url} runs another chain: expected genesis {expected}, got {got}; check the URL, or the configured genesis")]
    Genesis {
        /// Where.
        url: String,
        /// Configured.
        expected: Hash,
        /// Found.
        got: Hash,
    },
    /// The node has not seen as much of the chain as the one before it.
    #[error("the node at {url} is behind: its finalized block is {got}, block {seen} was seen at another; wait until it has caught up")]
    Behind {
        /// Where.
        url: String,
        /// Its finalized block.
        got: u32,
        /// The newest that was seen.
        seen: u32,
    },
    /// The runtime has another API version.
    #[error("the chain answers with IotaApi version {got}, this program needs {API_VERSION}; update the older of the two")]
    ApiVersion {
        /// Found.
        got: u32,
    },
    /// A request failed.
    #[error("{what} failed: {reason}")]
    Request {
        /// Which request.
        what: String,
        /// What the node or the transport said.
        reason: String,
    },
    /// The answer is not of the expected type.
    #[error("{what}: the answer does not decode ({len} bytes); program and chain are of different versions")]
    Decode {
        /// Which request.
        what: String,
        /// Length of the answer.
        len: usize,
    },
}

impl ChainError {
    /// Whether the node answered that it keeps the state of that block no more; only a node that was
    /// started with an archive of all states can answer then.
    #[must_use]
    pub fn is_state_gone(&self) -> bool {
        matches!(self, Self::Request { reason, .. } if crate::block::is_discarded(reason))
    }
}

/// A finalized block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Its number.
    pub number: u32,
    /// Its hash.
    pub hash: Hash,
}

pub(crate) type Client = OnlineClient<SubstrateConfig>;
pub(crate) type Rpc = LegacyRpcMethods<RpcConfigFor<SubstrateConfig>>;

#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) rpc: Rpc,
    pub(crate) raw: RpcClient,
}

/// A connection to one of several nodes that heals itself: when it breaks, the next node is asked. Cheap to
/// share behind an `Arc`.
pub struct Chain {
    urls: Vec<String>,
    /// Which of them is connected.
    current: AtomicUsize,
    genesis: Hash,
    connection: RwLock<Connection>,
    block_time: Duration,
    /// Whether finality moves, as far as this program has seen.
    pulse: Mutex<Pulse>,
}

async fn open(url: &str) -> Result<Connection, ChainError> {
    let connect = async {
        let rpc_client = RpcClient::from_insecure_url(url).await.map_err(|e| e.to_string())?;
        let rpc = LegacyRpcMethods::new(rpc_client.clone());
        let raw = rpc_client.clone();
        let backend: LegacyBackend<SubstrateConfig> = LegacyBackend::builder().build(rpc_client);
        let client = Client::from_backend(Arc::new(backend)).await.map_err(|e| e.to_string())?;
        Ok::<_, String>(Connection { client, rpc, raw })
    };
    let timed =
        tokio::time::timeout(REQUEST_TIMEOUT, connect).await.unwrap_or_else(|_| Err("timed out".into()));
    timed.map_err(|reason| ChainError::Connect { url: url.into(), reason })
}

/// A node's newest finalized block.
async fn finalized(rpc: &Rpc) -> Result<Head, ChainError> {
    let request = async {
        let hash = rpc.chain_get_finalized_head().await.map_err(|e| e.to_string())?;
        let header = rpc.chain_get_header(Some(hash)).await.map_err(|e| e.to_string())?;
        let number = header.map(|h| h.number).ok_or("the node does not know its own finalized head")?;
        Ok::<_, String>(Head { number: u32::try_from(number).unwrap_or(u32::MAX), hash: Hash(hash.0) })
    };
    let timed =
        tokio::time::timeout(REQUEST_TIMEOUT, request).await.unwrap_or_else(|_| Err("timed out".into()));
    timed.map_err(|reason| ChainError::Request { what: "reading the finalized head".into(), reason })
}

/// Finalized height of a node that is not connected, if it answers soon and runs the chain of that genesis.
async fn height_of(url: &str, genesis: Hash) -> Option<u32> {
    let ask = async {
        let rpc: Rpc = LegacyRpcMethods::new(RpcClient::from_insecure_url(url).await.ok()?);
        let found = rpc.genesis_hash().await.ok()?;
        (Hash(found.0) == genesis).then_some(())?;
        Some(finalized(&rpc).await.ok()?.number)
    };
    tokio::time::timeout(LOOK, ask).await.ok().flatten()
}

/// The addresses in a text that separates them by commas.
#[must_use]
pub fn endpoints(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned).collect()
}

/// Opens a connection to a node and checks that it runs the chain of that genesis, if one is given.
async fn open_on(url: &str, expected: Option<Hash>) -> Result<(Connection, Hash), ChainError> {
    let connection = open(url).await?;
    let got = Hash(connection.client.genesis_hash().0);
    match expected.filter(|expected| *expected != got) {
        Some(expected) => Err(ChainError::Genesis { url: url.into(), expected, got }),
        None => Ok((connection, got)),
    }
}

impl Chain {
    /// Connects to the first of the nodes that answers, their addresses being separated by commas, and
    /// checks genesis and API version. A node of another chain is passed over like one that is away, unless
    /// no other is left.
    ///
    /// # Errors
    /// `Connect` of the first node, `Genesis` when `expected` is given and differs, `ApiVersion`.
    pub async fn connect(nodes: &str, expected: Option<Hash>) -> Result<Arc<Self>, ChainError> {
        let urls = endpoints(nodes);
        let mut first = None;
        for (index, url) in urls.iter().enumerate() {
            match open_on(url, expected).await {
                Ok((connection, genesis)) => {
                    let current = AtomicUsize::new(index);
                    let connection = RwLock::new(connection);
                    let pulse = Mutex::new(Pulse::new(Duration::ZERO, Instant::now()));
                    let block_time = Duration::ZERO;
                    return Self { urls, current, genesis, connection, block_time, pulse }.checked().await;
                }
                Err(error) => {
                    if urls.len() > 1 {
                        tracing::warn!(%error, "node passed over");
                    }
                    first.get_or_insert(error);
                }
            }
        }
        let none = || ChainError::Connect { url: nodes.into(), reason: "no address is given".into() };
        Err(first.unwrap_or_else(none))
    }

    async fn checked(mut self) -> Result<Arc<Self>, ChainError> {
        let at = self.at_finalized().await?;
        let got: u32 = at.call("api_version", &()).await?;
        if got != API_VERSION {
            return Err(ChainError::ApiVersion { got });
        }
        // Milliseconds; an author has one slot for each block.
        self.block_time = Duration::from_millis(at.call_of("AuraApi_slot_duration", &()).await?);
        self.pulse = Mutex::new(Pulse::new(self.block_time, Instant::now()));
        Ok(Arc::new(self))
    }

    /// Time from one block to the next.
    #[must_use]
    pub fn block_time(&self) -> Duration {
        self.block_time
    }

    /// Address of the node that is connected now, or was last.
    #[must_use]
    pub fn url(&self) -> &str {
        self.urls.get(self.current.load(Ordering::Relaxed)).map_or("", String::as_str)
    }

    /// Hash of block 0: the chain's identity.
    #[must_use]
    pub fn genesis(&self) -> Hash {
        self.genesis
    }

    pub(crate) async fn connection(&self) -> Connection {
        self.connection.read().await.clone()
    }

    /// Connects to the next node of the list; with a single one, to that again.
    async fn reconnect(&self) -> Result<(), ChainError> {
        let before = self.current.load(Ordering::Relaxed);
        self.switch(before.saturating_add(1).checked_rem(self.urls.len()).unwrap_or(0)).await
    }

    /// Connects to a node of the list. Only one of the same chain is taken, and of several only one that has
    /// seen as much of it as the node before: a program that goes back in time would act on windows that are over.
    async fn switch(&self, to: usize) -> Result<(), ChainError> {
        // Moved on even if it fails, so that the attempt after this one asks the node after it.
        let before = self.current.swap(to, Ordering::Relaxed);
        let (fresh, _) = open_on(self.url(), Some(self.genesis)).await?;
        let (got, seen) = (finalized(&fresh.rpc).await?.number, self.pulse(|pulse| pulse.seen()));
        if self.urls.len() > 1 && got < seen {
            return Err(ChainError::Behind { url: self.url().to_owned(), got, seen });
        }
        *self.connection.write().await = fresh;
        if to != before {
            tracing::info!(node = self.url(), block = got, "connected to another node");
        }
        Ok(())
    }

    fn pulse<T>(&self, look: impl FnOnce(&mut Pulse) -> T) -> T {
        // Two numbers and an instant: usable whatever panicked.
        look(&mut self.pulse.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Leaves a node that answers and stands still, if another one of the list is ahead of it.
    async fn leave_if_still(&self, head: Head) {
        let still = self.pulse(|pulse| pulse.stands_still(head.number, Instant::now()));
        if !still || self.urls.len() < 2 {
            return;
        }
        let current = self.current.load(Ordering::Relaxed);
        let others = self.urls.iter().enumerate().filter(|(index, _)| *index != current);
        let mut heights = Vec::new();
        for (index, url) in others {
            heights.push((index, height_of(url, self.genesis).await));
        }
        let Some(to) = ahead(&heights, head.number) else {
            tracing::debug!(block = head.number, "finality stands still at every node that answers");
            return;
        };
        tracing::warn!(node = self.url(), block = head.number, "node answers and stands still; leaving it");
        if let Err(error) = self.switch(to).await {
            tracing::warn!(%error, "node passed over");
            self.current.store(current, Ordering::Relaxed);
        }
    }

    /// The state at the newest finalized block.
    ///
    /// # Errors
    /// `Request` when the node does not answer.
    pub async fn at_finalized(&self) -> Result<At, ChainError> {
        let rpc = self.connection().await.rpc;
        let head = finalized(&rpc).await?;
        Ok(At { head, rpc })
    }

    /// The state after a block, by the head that [`Chain::block`] or a follower gave.
    pub async fn at(&self, head: Head) -> At {
        At { head, rpc: self.connection().await.rpc }
    }

    /// The state of block 0.
    ///
    /// # Errors
    /// When the connection is lost; a pruned node fails at the first read.
    pub async fn at_genesis(&self) -> Result<At, ChainError> {
        let rpc = self.connection().await.rpc;
        Ok(At { head: Head { number: 0, hash: self.genesis }, rpc })
    }

    /// Follows finalized heads for ever, reconnecting with backoff. The channel holds the newest
    /// head only: a slow reader skips, it never lags.
    #[must_use]
    pub fn follow(self: &Arc<Self>) -> watch::Receiver<Option<Head>> {
        let (sender, receiver) = watch::channel(None);
        let chain = Arc::clone(self);
        tokio::spawn(async move { chain.follow_into(sender).await });
        receiver
    }

    async fn follow_into(&self, sender: watch::Sender<Option<Head>>) {
        let mut backoff = POLL;
        while !sender.is_closed() {
            match self.at_finalized().await {
                Ok(at) => {
                    backoff = POLL;
                    sender.send_if_modified(|head| {
                        let newer = head.is_none_or(|known| at.head.number > known.number);
                        if newer {
                            *head = Some(at.head);
                        }
                        newer
                    });
                    self.leave_if_still(at.head).await;
                }
                Err(error) => {
                    tracing::warn!(%error, node = self.url(), "node unreachable; reconnecting");
                    match self.reconnect().await {
                        Ok(()) => {}
                        Err(error @ ChainError::Genesis { .. }) => {
                            tracing::error!(%error, "node passed over")
                        }
                        Err(error @ ChainError::Behind { .. }) => {
                            tracing::warn!(%error, "node passed over")
                        }
                        Err(error) => tracing::debug!(%error, "reconnect failed"),
                    }
                    backoff = (backoff * 2).min(MAX_BACKOFF);
                }
            }
            tokio::time::sleep(backoff).await;
        }
    }
}

/// The chain's state at one finalized block.
pub struct At {
    head: Head,
    rpc: Rpc,
}

impl At {
    /// The block.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    pub(crate) fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// Calls one function of `IotaApi`.
    async fn call<R: Decode>(&self, function: &str, args: &impl Encode) -> Result<R, ChainError> {
        self.call_of(&format!("IotaApi_{function}"), args).await
    }

    /// Calls any function of the runtime.
    async fn call_of<R: Decode>(&self, what: &str, args: &impl Encode) -> Result<R, ChainError> {
        let what = what.to_owned();
        let args = args.encode();
        let request = self.rpc.state_call(&what, Some(&args), Some(self.head.hash.0.into()));
        let answer = match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return Err(ChainError::Request { what, reason: error.to_string() }),
            Err(_) => return Err(ChainError::Request { what, reason: "timed out".into() }),
        };
        R::decode(&mut answer.as_slice()).map_err(|_| ChainError::Decode { what, len: answer.len() })
    }

    /// Parameters of a run.
    ///
    /// # Errors
    /// See [`ChainError`]; the same for every read below.
    pub async fn run(&self, run: RunId) -> Result<Option<RunParams>, ChainError> {
        self.call("run", &run).await
    }

    /// Clock of a run.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn clock(&self, run: RunId) -> Result<Option<ClockView>, ChainError> {
        self.call("clock", &run).await
    }

    /// Registered members of a run, in uid order.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn members(&self, run: RunId) -> Result<Vec<MemberView>, ChainError> {
        self.call("members", &run).await
    }

    /// The merge of one stage.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn merge(
        &self,
        run: RunId,
        epoch: Epoch,
        stage: Stage,
    ) -> Result<Option<MergeView>, ChainError> {
        self.call("merge", &(run, epoch, stage)).await
    }

    /// Which pairs of a stage's committers agreed in an epoch.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn agreement(
        &self,
        run: RunId,
        epoch: Epoch,
        stage: Stage,
    ) -> Result<Option<AgreementView>, ChainError> {
        self.call("agreement", &(run, epoch, stage)).await
    }

    /// Pay of an epoch that waits for evidence.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn held(&self, run: RunId, epoch: Epoch) -> Result<Vec<Payout>, ChainError> {
        self.call("held", &(run, epoch)).await
    }

    /// Accusations, votes, gates, requests for evidence and transcripts about one epoch.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn court(&self, run: RunId, epoch: Epoch) -> Result<CourtView, ChainError> {
        self.call("court", &(run, epoch)).await
    }

    /// Whether a validator's hotkey lost its permit by missing reveals and may resume.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn may_resume(&self, run: RunId, hotkey: AccountKey) -> Result<bool, ChainError> {
        self.call("may_resume", &(run, hotkey)).await
    }

    /// Who may be paid for an epoch.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn snapshot(&self, run: RunId, epoch: Epoch) -> Result<Option<SnapshotView>, ChainError> {
        self.call("snapshot", &(run, epoch)).await
    }

    /// Score commits and reveals for an epoch.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn scores(&self, run: RunId, epoch: Epoch) -> Result<Vec<ScoreView>, ChainError> {
        self.call("scores", &(run, epoch)).await
    }

    /// The emission report of an epoch.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn report(&self, run: RunId, epoch: Epoch) -> Result<Option<EpochReportView>, ChainError> {
        self.call("report", &(run, epoch)).await
    }

    /// Bonds of a run after its last settled epoch, in uid order of the validators.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn bonds(&self, run: RunId) -> Result<Vec<BondRow>, ChainError> {
        self.call("bonds", &run).await
    }

    /// Rewards that an account may claim, in the smallest unit.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn owed(&self, account: AccountKey) -> Result<u128, ChainError> {
        self.call("owed", &account).await
    }

    /// Today's registration price in the smallest unit.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn registration_price(&self) -> Result<u128, ChainError> {
        self.call("registration_price", &()).await
    }

    /// The account that takes remainders and unattributed shares.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn treasury(&self) -> Result<AccountKey, ChainError> {
        self.call("treasury", &()).await
    }

    /// Total issuance in the smallest unit.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn issuance(&self) -> Result<u128, ChainError> {
        self.call("issuance", &()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_separated_by_commas() {
        assert_eq!(endpoints("ws://a:1, ws://b:2,,"), ["ws://a:1", "ws://b:2"]);
        assert_eq!(endpoints("ws://a"), ["ws://a"]);
        assert!(endpoints(" ").is_empty());
    }

    #[tokio::test]
    async fn of_several_silent_nodes_the_first_is_named_and_none_is_asked_for() {
        let closed = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (first, second) = (closed(), closed());
        let nodes = format!("ws://127.0.0.1:{first},ws://127.0.0.1:{second}");
        let Err(error) = Chain::connect(&nodes, None).await else { panic!("somebody answered") };
        assert!(error.to_string().contains(&first.to_string()), "{error}");
        let Err(error) = Chain::connect(",", None).await else { panic!("nobody was asked") };
        assert!(error.to_string().contains("no address is given"), "{error}");
    }

    #[tokio::test]
    async fn a_node_that_does_not_listen_is_named() {
        // Bound and dropped: the system gives the port to nobody else for a while.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("ws://127.0.0.1:{port}");
        let Err(error) = Chain::connect(&url, None).await else { panic!("somebody answered at {url}") };
        assert!(matches!(&error, ChainError::Connect { url: at, .. } if *at == url), "{error}");
        assert!(error.to_string().contains(&url), "{error}");
    }
}
