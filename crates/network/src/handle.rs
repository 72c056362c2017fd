//! What callers hold: [`Network`] to ask with, [`Inbound`] and [`Reply`] to answer with, and the errors.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot, watch, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    behaviour,
    config::{ConfigError, Lane, NetworkConfig},
    frame::Charge,
    key::{PeerPublic, Short},
    outbound::{Answer, Progress, Step},
    peers::PeerInfo,
    reach::Reach,
    stats::{Counters, NetworkStats},
    swarm_task::{self, Watched},
};

/// Commands waiting for the swarm task. It takes them at once; when it is busy, callers wait their turn.
const COMMANDS: usize = 64;

/// What the handle asks of the swarm task.
pub(crate) enum Command {
    Request(Box<Outgoing>),
    SetPeers(Vec<PeerInfo>, oneshot::Sender<()>),
    Penalise(PeerPublic),
    Stop(oneshot::Sender<()>),
}

/// One request on its way to the task.
pub(crate) struct Outgoing {
    pub(crate) peer: PeerPublic,
    pub(crate) lane: Lane,
    pub(crate) bytes: Vec<u8>,
    pub(crate) progress: Progress,
    pub(crate) slot: OwnedSemaphorePermit,
    pub(crate) answer: Answer,
}

/// A handle to the running network. Clones share one task, which ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Network {
    commands: mpsc::Sender<Command>,
    counters: Arc<Counters>,
    listening: watch::Receiver<Vec<String>>,
    reach: watch::Receiver<Reach>,
    seeks: bool,
    slots: [Arc<Semaphore>; 2],
    request_limits: [usize; 2],
    request_timeout: Duration,
}

impl Network {
    /// Opens the sockets and starts the task that owns them. Requests of others arrive on the receiver.
    ///
    /// Until [`Network::set_peers`] is called, everyone else is a stranger and nobody can be asked.
    ///
    /// # Errors
    /// [`StartError`], naming the address that could not be opened.
    pub async fn start(config: NetworkConfig) -> Result<(Self, mpsc::Receiver<Inbound>), StartError> {
        config.validate()?;
        let counters = Arc::new(Counters::default());
        let (commands, command_queue) = mpsc::channel(COMMANDS);
        let (inbound, inbound_queue) = mpsc::channel(config.inbound_queue);
        let slots = [config.max_outbound_train, config.max_outbound_fetch]
            .map(|count| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS))));
        let request_limits = Lane::ALL.map(|lane| config.request_limit(lane));
        let request_timeout = config.request_timeout;
        let links = swarm_task::Links { commands: command_queue, inbound, counters: Arc::clone(&counters) };
        let seeks = behaviour::looks_out(&config);
        let Watched { listening, reach } = swarm_task::spawn(config, links).await?;
        let network =
            Self { commands, counters, listening, reach, seeks, slots, request_limits, request_timeout };
        Ok((network, inbound_queue))
    }

    /// The addresses that are open now, with real ports and without a `/p2p` suffix.
    pub async fn listen_addresses(&self) -> Vec<String> {
        self.listening.borrow().clone()
    }

    /// How others reach this node, as far as is known now.
    #[must_use]
    pub fn reach(&self) -> Reach {
        self.reach.borrow().clone()
    }

    /// How others reach this node: waits so long for it to be known for certain, and says then what is known. A
    /// node that does not look for a way in is not waited for.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn settled_reach(&self, patience: Duration) -> Reach {
        let mut reach = self.reach.clone();
        let settled = reach.wait_for(|reach| matches!(reach, Reach::Direct(_) | Reach::Relayed(_)));
        if self.seeks {
            // Too late or no task any more: what is known stands.
            let _known = timeout(patience, settled).await;
        }
        self.reach()
    }

    /// Replaces the list of peers and returns when it is in force.
    ///
    /// Connections of peers that are no longer listed are closed, and so are connections that we dialled at
    /// an address that a peer no longer lists. Entries that cannot be read are skipped and logged.
    ///
    /// # Cancel safety
    /// If dropped, the list may or may not be replaced; it is never replaced in part.
    pub async fn set_peers(&self, peers: Vec<PeerInfo>) {
        let (done, finished) = oneshot::channel();
        if self.commands.send(Command::SetPeers(peers, done)).await.is_ok() {
            // An error means that the task ended, and with it all connections.
            let _ended = finished.await;
        }
    }

    /// Asks a listed peer and waits for its answer, dialling if needed.
    ///
    /// `patience` covers waiting for a slot, dialling, sending and the answer; it is cut to the configured
    /// `request_timeout`. Any number of requests to one peer may run at once.
    ///
    /// # Errors
    /// See [`RequestError`]. After [`RequestError::TimedOut`] and [`RequestError::Closed`] it is not known
    /// whether the peer acted on the request: messages must be idempotent.
    ///
    /// # Cancel safety
    /// If dropped, the request may or may not reach the peer, and the answer is thrown away. Its slot is
    /// free again when libp2p is done with it, after `request_timeout` at the latest.
    pub async fn request(
        &self,
        peer: PeerPublic,
        lane: Lane,
        bytes: Vec<u8>,
        patience: Duration,
    ) -> Result<Vec<u8>, RequestError> {
        let [train, fetch] = self.request_limits;
        let limit = if lane == Lane::Train { train } else { fetch };
        if bytes.len() > limit {
            return Err(RequestError::TooLarge { peer, lane, got: bytes.len(), limit });
        }
        let progress = Progress::default();
        let exchange = self.exchange(peer, lane, bytes, progress.clone());
        match timeout(patience.min(self.request_timeout), exchange).await {
            Ok(result) => result,
            Err(_) if progress.step() == Step::Dialling => {
                Err(RequestError::Unreachable { peer, cause: "dialling took too long".to_owned() })
            }
            Err(_) if progress.step() == Step::Queued => Err(RequestError::Overloaded { peer, lane }),
            Err(_) => Err(RequestError::TimedOut { peer, lane }),
        }
    }

    async fn exchange(
        &self,
        peer: PeerPublic,
        lane: Lane,
        bytes: Vec<u8>,
        progress: Progress,
    ) -> Result<Vec<u8>, RequestError> {
        let [train, fetch] = &self.slots;
        let slots = if lane == Lane::Train { train } else { fetch };
        let slot = Arc::clone(slots).acquire_owned().await.map_err(|_| RequestError::Stopped)?;
        let (answer, answered) = oneshot::channel();
        let outgoing = Outgoing { peer, lane, bytes, progress, slot, answer };
        let command = Command::Request(Box::new(outgoing));
        self.commands.send(command).await.map_err(|_| RequestError::Stopped)?;
        answered.await.map_err(|_| RequestError::Stopped)?
    }

    /// Counters since start.
    #[must_use]
    pub fn stats(&self) -> NetworkStats {
        self.counters.snapshot()
    }

    /// Counts a bad message of a peer. Past the limit its connections are closed and it is ignored for a while.
    pub async fn penalise(&self, peer: PeerPublic) {
        // An error means that the task ended: nobody is left to be penalised.
        let _ended = self.commands.send(Command::Penalise(peer)).await;
    }

    /// Ends the task now, for all handles, and returns when the sockets are given up.
    pub async fn shutdown(self) {
        let (done, finished) = oneshot::channel();
        if self.commands.send(Command::Stop(done)).await.is_ok() {
            let _ended = finished.await;
        }
    }

    /// Returns when the task has ended, so that a supervisor can tell.
    pub async fn ended(&self) {
        self.commands.closed().await;
    }
}

/// A request of another peer.
#[derive(Debug)]
pub struct Inbound {
    /// Who asks; proven by the handshake.
    pub peer: PeerPublic,
    /// Whether the chain listed the peer when the request arrived. Always true on [`Lane::Train`].
    pub listed: bool,
    /// The lane it came by.
    pub lane: Lane,
    /// What is asked.
    pub bytes: Vec<u8>,
    /// When all of it had arrived; it has been in queues since.
    pub at: Instant,
    /// How to answer.
    pub reply: Reply,
}

/// The one answer to an [`Inbound`]. Dropped, it declines: the asker gets [`RequestError::Refused`].
#[derive(Debug)]
pub struct Reply {
    pub(crate) answer: oneshot::Sender<Vec<u8>>,
    pub(crate) lane: Lane,
    pub(crate) limit_bytes: usize,
    pub(crate) _charge: Charge,
}

impl Reply {
    /// Sends the answer. Never waits; delivery is not confirmed.
    ///
    /// # Errors
    /// [`ReplyError::TooLarge`], in which case the asker is declined, and [`ReplyError::Gone`].
    pub fn send(self, bytes: Vec<u8>) -> Result<(), ReplyError> {
        if bytes.len() > self.limit_bytes {
            return Err(ReplyError::TooLarge { lane: self.lane, got: bytes.len(), limit: self.limit_bytes });
        }
        self.answer.send(bytes).map_err(|_| ReplyError::Gone)
    }

    /// Whether anybody still waits for this answer.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        !self.answer.is_closed()
    }
}

/// Why the network did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listen address cannot be parsed.
    #[error("listen address {address:?} is no multiaddress ({cause}); write for example /ip4/0.0.0.0/udp/4001/quic-v1")]
    Address {
        /// As configured.
        address: String,
        /// What the parser says.
        cause: String,
    },
    /// A listen address cannot be opened.
    #[error("cannot listen on {address}: {cause}; free the port or configure another one")]
    Listen {
        /// As configured.
        address: String,
        /// What the operating system says.
        cause: io::Error,
    },
    /// A transport cannot be set up.
    #[error("cannot set up the transports: {cause}")]
    Transport {
        /// What the transport says.
        cause: String,
    },
}

/// Why an answer was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// Longer than the lane allows.
    #[error("answer of {got} bytes is over the {lane} limit of {limit} bytes; answer in parts")]
    TooLarge {
        /// The lane.
        lane: Lane,
        /// Bytes of the answer.
        got: usize,
        /// The lane's limit.
        limit: usize,
    },
    /// The asker gave up or the network stopped.
    #[error("nobody waits for this answer any more")]
    Gone,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// We do not list this peer.
    #[error("peer {} is not listed on chain; wait for it to serve or refresh the list", Short(*peer))]
    NotListed {
        /// The peer.
        peer: PeerPublic,
    },
    /// No connection could be made.
    #[error("peer {} cannot be reached: {cause}; try another or wait for new addresses", Short(*peer))]
    Unreachable {
        /// The peer.
        peer: PeerPublic,
        /// What failed.
        cause: String,
    },
    /// The request was sent and not answered in time.
    #[error("peer {} did not answer on {lane} in time; it may have acted on the request", Short(*peer))]
    TimedOut {
        /// The peer.
        peer: PeerPublic,
        /// The lane.
        lane: Lane,
    },
    /// The connection was lost before the answer.
    #[error("connection to peer {} closed before it answered; it may have acted on the request", Short(*peer))]
    Closed {
        /// The peer.
        peer: PeerPublic,
    },
    /// Our request is longer than the lane allows; nothing was sent.
    #[error("request of {got} bytes to peer {} is over the {lane} limit of {limit} bytes; ask in parts", Short(*peer))]
    TooLarge {
        /// The peer.
        peer: PeerPublic,
        /// The lane.
        lane: Lane,
        /// Bytes of the request.
        got: usize,
        /// The lane's limit.
        limit: usize,
    },
    /// The peer's answer is longer than the lane allows; it was not read.
    #[error("peer {} claims an answer of {got} bytes, over the {lane} limit of {limit} bytes", Short(*peer))]
    AnswerTooLarge {
        /// The peer.
        peer: PeerPublic,
        /// The lane.
        lane: Lane,
        /// Bytes that the answer claims to have.
        got: usize,
        /// The lane's limit.
        limit: usize,
    },
    /// The peer closed the stream: it is busy, does not list us, or declined.
    #[error("peer {} declined a request on {lane}; it is busy or does not list us", Short(*peer))]
    Refused {
        /// The peer.
        peer: PeerPublic,
        /// The lane.
        lane: Lane,
    },
    /// We ignore this peer because of its bad messages.
    #[error("peer {} is ignored after too many bad messages", Short(*peer))]
    Ignored {
        /// The peer.
        peer: PeerPublic,
    },
    /// Too many of our own requests are in flight; nothing was sent.
    #[error("too many requests in flight on {lane} to ask peer {}; nothing was sent", Short(*peer))]
    Overloaded {
        /// The peer.
        peer: PeerPublic,
        /// The lane.
        lane: Lane,
    },
    /// The network has been shut down.
    #[error("the network has stopped")]
    Stopped,
}

/// What a caller can do about a [`RequestError`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestClass {
    /// The fault is here: the request was not sent, the peer is not to blame.
    Local,
    /// The peer was not heard from: skip it as unreachable, accuse nobody.
    Silent,
    /// The peer answered by declining: skip it as busy.
    Declined,
    /// The peer broke the protocol.
    Misbehaved,
}

impl RequestError {
    /// What can be done about it.
    #[must_use]
    pub fn class(&self) -> RequestClass {
        match self {
            Self::NotListed { .. }
            | Self::Ignored { .. }
            | Self::Overloaded { .. }
            | Self::TooLarge { .. }
            | Self::Stopped => RequestClass::Local,
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Closed { .. } => RequestClass::Silent,
            Self::Refused { .. } => RequestClass::Declined,
            Self::AnswerTooLarge { .. } => RequestClass::Misbehaved,
        }
    }
}
