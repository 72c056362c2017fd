//! The one task that owns the swarm: commands and replies in, events out, ids correlate.
//!
//! It never waits for a caller: a full inbound queue declines the request, and an answer that nobody waits
//! for is dropped. It ends when the last handle is gone, and takes every connection with it.

mod around;
mod exchanges;

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, TcpListener},
    sync::{atomic::Ordering::Relaxed, Arc},
    time::{Duration, Instant},
};

use futures::{future::BoxFuture, stream::FuturesUnordered, StreamExt};
use libp2p::{
    core::{
        transport::{ListenerId, PortUse},
        ConnectedPoint,
    },
    multiaddr::Protocol,
    ping,
    request_response::{InboundRequestId, ResponseChannel},
    swarm::{
        dial_opts::{DialOpts, PeerCondition},
        ConnectionId, DialError, SwarmEvent,
    },
    Multiaddr, PeerId, Swarm,
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    admission::Admission,
    behaviour::{build_swarm, Behaviour, BehaviourEvent},
    config::{Lane, NetworkConfig},
    frame::{Budget, Charge, Frame},
    handle::{Command, Inbound, Outgoing, RequestError, StartError},
    key::libp2p_id_of,
    outbound::{innermost, Outbound, Pending, Step},
    peers::{without_peer, PeerBook, PeerInfo},
    reach::{is_quic, is_relayed, Reach},
    stats::{count, count_frame, Counters},
    strikes::Strikes,
};

use self::around::{Around, LOOK};

/// How long an opened socket may take to report its address; it happens on the first poll.
const LISTEN_PATIENCE: Duration = Duration::from_secs(5);

/// The task's ends of what it shares with the handles.
pub(crate) struct Links {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) inbound: mpsc::Sender<Inbound>,
    pub(crate) counters: Arc<Counters>,
}

/// An answer on its way from a [`crate::Reply`] to its stream.
struct Answered {
    lane: Lane,
    id: InboundRequestId,
    channel: ResponseChannel<Vec<u8>>,
    bytes: Option<Vec<u8>>,
}

struct SwarmTask {
    swarm: Swarm<Behaviour>,
    config: NetworkConfig,
    links: Links,
    listening: watch::Sender<Vec<String>>,
    book: PeerBook,
    admission: Admission,
    strikes: Strikes,
    outbound: Outbound,
    reach: watch::Sender<Reach>,
    around: Around,
    /// Connections that lead through no relay.
    direct: HashMap<ConnectionId, PeerId>,
    /// Dials of our own, as opposed to those by which libp2p reaches relays and punches holes.
    dialling: HashSet<ConnectionId>,
    /// Memory of answers on their way out.
    answers: Budget,
    /// Bounded by the byte budget: each one holds a [`Charge`] of at least a KiB.
    replies: FuturesUnordered<BoxFuture<'static, Option<Answered>>>,
    dialled: HashMap<ConnectionId, (PeerId, Multiaddr)>,
}

/// What the handles watch.
pub(crate) struct Watched {
    /// Open addresses.
    pub(crate) listening: watch::Receiver<Vec<String>>,
    /// How others reach this node.
    pub(crate) reach: watch::Receiver<Reach>,
}

/// Opens the sockets, then spawns the task.
pub(crate) async fn spawn(config: NetworkConfig, links: Links) -> Result<Watched, StartError> {
    let (listening, addresses) = watch::channel(Vec::new());
    let (reach, reached) = watch::channel(Reach::Unknown);
    let mut task = SwarmTask {
        swarm: build_swarm(&config)?,
        admission: Admission::new(
            config.max_inbound_per_peer,
            config.stranger_requests_per_second,
            Instant::now(),
        ),
        strikes: Strikes::new(config.strike_limit),
        answers: Budget::new(config.answer_memory_bytes),
        reach,
        around: Around::default(),
        direct: HashMap::new(),
        dialling: HashSet::new(),
        config,
        links,
        listening,
        book: PeerBook::default(),
        outbound: Outbound::default(),
        replies: FuturesUnordered::new(),
        dialled: HashMap::new(),
    };
    task.listen().await?;
    task.settle_reach();
    tokio::spawn(task.run());
    Ok(Watched { listening: addresses, reach: reached })
}

/// How a peer is dialled: over TCP from a fresh port. From the listening ports two dials that cross become one
/// connection, in which both ends open the handshake, and both fail. QUIC tells such dials apart, and behind a
/// NAT its one socket is worth keeping.
fn dial_options(peer: PeerId, addresses: &[Multiaddr], condition: PeerCondition) -> DialOpts {
    let quic = addresses.iter().any(|at| at.iter().any(|part| matches!(part, Protocol::Udp(_))));
    let options = DialOpts::peer_id(peer).addresses(addresses.to_vec()).condition(condition);
    if quic {
        options.build()
    } else {
        options.allocate_new_port().build()
    }
}

/// Fails if another program listens on this TCP port. libp2p itself would share the port with it, and the
/// system would hand each of the two a part of the connections.
fn probe_tcp(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let ip = match parts.next() {
        Some(Protocol::Ip4(ip)) => IpAddr::V4(ip),
        Some(Protocol::Ip6(ip)) => IpAddr::V6(ip),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => TcpListener::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}

impl SwarmTask {
    async fn listen(&mut self) -> Result<(), StartError> {
        let mut waiting = HashMap::new();
        for address in self.config.listen.clone() {
            let parsed: Multiaddr = address.parse().map_err(|error: libp2p::multiaddr::Error| {
                StartError::Address { address: address.clone(), cause: error.to_string() }
            })?;
            let opened = probe_tcp(&parsed).and_then(|()| {
                self.swarm.listen_on(parsed).map_err(|error| io::Error::other(innermost(&error)))
            });
            let id = opened.map_err(|cause| StartError::Listen { address: address.clone(), cause })?;
            waiting.insert(id, address);
        }
        match timeout(LISTEN_PATIENCE, self.await_listeners(&mut waiting)).await {
            Ok(result) => result,
            Err(_) => {
                let address = waiting.into_values().next().unwrap_or_default();
                let cause = io::Error::new(io::ErrorKind::TimedOut, "no address was reported");
                Err(StartError::Listen { address, cause })
            }
        }
    }

    async fn await_listeners(&mut self, waiting: &mut HashMap<ListenerId, String>) -> Result<(), StartError> {
        while !waiting.is_empty() {
            match self.swarm.select_next_some().await {
                SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                    let address = waiting.remove(&listener_id).unwrap_or_default();
                    let cause = reason.err().unwrap_or_else(|| io::Error::other("the listener closed"));
                    return Err(StartError::Listen { address, cause });
                }
                event => {
                    if let SwarmEvent::NewListenAddr { listener_id, .. } = &event {
                        waiting.remove(listener_id);
                    }
                    self.on_event(event);
                }
            }
        }
        Ok(())
    }

    async fn run(mut self) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let stopped = loop {
            // Commands are few (each request holds a slot), so that taking them first starves nothing.
            tokio::select! {
                biased;
                command = self.links.commands.recv() => match command {
                    None => break None,
                    Some(Command::Stop(done)) => break Some(done),
                    Some(command) => self.on_command(command),
                },
                Some(answered) = self.replies.next(), if !self.replies.is_empty() => self.on_reply(answered),
                event = self.swarm.select_next_some() => self.on_event(event),
                _ = look.tick() => self.look_around(Instant::now()),
            }
        };
        tracing::debug!("network stops");
        drop(self);
        if let Some(done) = stopped {
            // Whoever asked may have gone meanwhile.
            let _gone = done.send(());
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Request(outgoing) => self.send(*outgoing),
            Command::SetPeers(infos, done) => {
                self.set_peers(infos);
                let _gone = done.send(());
            }
            Command::Penalise(public) => {
                if let Some(peer) = libp2p_id_of(&public) {
                    self.strike(peer);
                }
            }
            Command::Stop(_) => {}
        }
    }

    fn set_peers(&mut self, infos: Vec<PeerInfo>) {
        let book = PeerBook::read(infos, self.swarm.local_peer_id(), self.config.private_addresses);
        let listed: HashSet<PeerId> = book.peers().copied().collect();
        let (gone, new) = self.swarm.behaviour_mut().gate.set_listed(listed);
        for peer in gone {
            // An error means that it was not connected.
            let _absent = self.swarm.disconnect_peer_id(peer);
        }
        new.iter().for_each(|peer| self.strikes.forgive(peer));
        self.book = book;
        self.close_moved();
        self.count_connections();
    }

    /// Closes what was dialled at an address that its peer no longer lists: it restarted elsewhere.
    fn close_moved(&mut self) {
        let moved = self.dialled.iter().filter(|(_, (peer, at))| {
            self.book.addresses(peer).is_some_and(|now| !now.is_empty() && !now.contains(at))
        });
        let moved: Vec<ConnectionId> = moved.map(|(id, _)| *id).collect();
        for id in moved {
            self.swarm.close_connection(id);
        }
    }

    fn send(&mut self, outgoing: Outgoing) {
        if outgoing.answer.is_closed() {
            return;
        }
        match self.reach(&outgoing) {
            Ok((peer, step)) => self.submit(peer, step, outgoing),
            Err(error) => {
                count(&self.links.counters.lane(outgoing.lane).errors_out);
                // The caller may have given up in this moment.
                let _gone = outgoing.answer.send(Err(error));
            }
        }
    }

    fn submit(&mut self, peer: PeerId, step: Step, outgoing: Outgoing) {
        let Outgoing { peer: public, lane, bytes, progress, slot, answer } = outgoing;
        let counters = self.links.counters.lane(lane);
        count(&counters.requests_out);
        count_frame(&counters.bytes_out, bytes.len());
        progress.set(step);
        let frame = Frame { bytes, charge: Charge::default() };
        let id = self.swarm.behaviour_mut().lane(lane).send_request(&peer, Ok(frame));
        let pending = Pending { peer, public, progress, answer, dial_error: None, _slot: slot };
        self.outbound.insert(lane, id, pending);
    }

    /// Makes sure that a connection stands or is being made.
    fn reach(&mut self, outgoing: &Outgoing) -> Result<(PeerId, Step), RequestError> {
        let (public, lane) = (outgoing.peer, outgoing.lane);
        let not_listed = RequestError::NotListed { peer: public };
        let Some(peer) = libp2p_id_of(&public) else { return Err(not_listed) };
        let Some(addresses) = self.book.addresses(&peer) else { return Err(not_listed) };
        if self.swarm.behaviour().gate.is_ignored(&peer, Instant::now()) {
            return Err(RequestError::Ignored { peer: public });
        }
        if self.outbound.held_by(&peer) >= self.config.max_outbound_per_peer {
            return Err(RequestError::Overloaded { peer: public, lane });
        }
        if self.swarm.is_connected(&peer) {
            return Ok((peer, Step::Sent));
        }
        // Only the listed addresses: what libp2p would add comes from the peer, not from the chain.
        let dial = dial_options(peer, addresses, PeerCondition::default());
        self.dialling.insert(dial.connection_id());
        match self.swarm.dial(dial) {
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => Ok((peer, Step::Dialling)),
            Err(DialError::NoAddresses) => {
                Err(RequestError::Unreachable { peer: public, cause: "it lists no address".to_owned() })
            }
            Err(error) => Err(RequestError::Unreachable { peer: public, cause: error.to_string() }),
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Train(event)) => self.on_lane(Lane::Train, event),
            SwarmEvent::Behaviour(BehaviourEvent::Fetch(event)) => self.on_lane(Lane::Fetch, event),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.on_ping(&event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_connected(peer_id, connection_id, endpoint);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(event)) => self.on_identified(event),
            SwarmEvent::Behaviour(BehaviourEvent::Probe(event)) => self.on_probe(&event),
            SwarmEvent::Behaviour(BehaviourEvent::Upnp(event)) => {
                tracing::info!(?event, "the router was asked")
            }
            SwarmEvent::Behaviour(BehaviourEvent::Punch(event)) => tracing::info!(
                peer = %event.remote_peer_id, punched = event.result.is_ok(), "hole punching is over"
            ),
            SwarmEvent::Behaviour(BehaviourEvent::Relay(event)) => tracing::debug!(?event, "as a relay"),
            SwarmEvent::Behaviour(BehaviourEvent::Circuits(event)) => tracing::debug!(?event, "at a relay"),
            SwarmEvent::ExternalAddrConfirmed { .. } | SwarmEvent::ExternalAddrExpired { .. } => {
                self.publish_reach();
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                tracing::debug!(peer = %peer_id, ?cause, "connection closed");
                self.direct.remove(&connection_id);
                self.forget_connection(connection_id);
                self.dialled.remove(&connection_id);
                self.count_connections();
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => {
                self.publish_addresses()
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                tracing::debug!(?reason, "listener closed");
                self.forget_listener(listener_id);
                self.publish_addresses();
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, connection_id } => {
                tracing::debug!(peer = ?peer_id, %error, "dial failed");
                self.forget_connection(connection_id);
                if !self.dialling.remove(&connection_id) {
                    // A dial of libp2p's own: no request waits for it.
                    return;
                }
                if let Some(peer) = peer_id {
                    self.outbound.not_connected(&peer, &error);
                }
            }
            SwarmEvent::IncomingConnectionError { error, send_back_addr, .. } => {
                tracing::debug!(%send_back_addr, %error, "connection not let in");
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, id: ConnectionId, endpoint: ConnectedPoint) {
        tracing::debug!(%peer, ?endpoint, "connected");
        if endpoint.is_relayed() {
            self.note_circuit(peer, id);
        } else {
            self.direct.insert(id, peer);
        }
        if let ConnectedPoint::Dialer { address, port_use, .. } = endpoint {
            if port_use == PortUse::Reuse && is_quic(&address) && !is_relayed(&address) {
                self.around.by_own_socket(id);
            }
            if self.dialling.remove(&id) {
                self.dialled.insert(id, (peer, without_peer(address)));
            }
        }
        self.outbound.connected(&peer);
        self.count_connections();
    }

    fn publish_addresses(&self) {
        let own = self.swarm.listeners().filter(|address| !is_relayed(address));
        let open = own.map(|address| without_peer(address.clone()).to_string()).collect();
        self.listening.send_replace(open);
    }

    /// A connection that fails a probe is dead (its peer vanished without closing): the next request dials.
    fn on_ping(&mut self, event: &ping::Event) {
        if matches!(event.result, Err(ping::Failure::Timeout | ping::Failure::Other { .. })) {
            tracing::debug!(peer = %event.peer, "no sign of life, connection closed");
            self.swarm.close_connection(event.connection);
        }
    }

    fn count_connections(&self) {
        let (peers, strangers) = self.swarm.behaviour().gate.connected();
        let as_u64 = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.links.counters.connected_peers.store(as_u64(peers), Relaxed);
        self.links.counters.connected_strangers.store(as_u64(strangers), Relaxed);
        self.links.counters.relayed_peers.store(as_u64(self.relayed()), Relaxed);
    }
}
