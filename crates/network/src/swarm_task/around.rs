//! What the task does so that others reach this node: it hears from AutoNAT, takes places at relays while nobody
//! gets through, gives them up when somebody does, and leaves circuits that a direct connection has replaced.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use libp2p::{
    autonat,
    core::transport::ListenerId,
    identify, relay,
    swarm::{dial_opts::PeerCondition, ConnectionId},
    Multiaddr, PeerId,
};

use iota_protocol::reach::is_public;

use super::{dial_options, SwarmTask};
use crate::reach::{distance, is_loopback, is_quic, is_relayed, Asked, Denials, Reach, RELAYS, WITNESSES};

/// How often the task looks around.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// Looks at absent peers between two rounds of dialling witnesses.
const WITNESS_ROUND: u32 = 10;
/// Between two rounds of asking others after one peer has said that nobody gets through. AutoNAT asks every five
/// seconds, and a dial that fails takes as long again.
const SECOND_ROUND: Duration = Duration::from_secs(10);
/// How long a node that is reached directly keeps its places at relays: others read its new address from the chain
/// when an epoch begins, and dial the old one until then.
const OUTLIVED: Duration = Duration::from_secs(600);
/// Longest life of a circuit beside a direct connection: requests on it come to their end meanwhile.
const OVERTAKEN: Duration = Duration::from_secs(30);

/// What is known about ways in.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// Whether this node looks for a way in at all.
    pub(super) active: bool,
    denials: Denials,
    looks: u32,
    /// Before then nobody is asked anew whether others get through.
    again: Option<Instant>,
    /// Connections made for that, beside others to the same peers.
    fresh: HashMap<ConnectionId, PeerId>,
    /// Since when others get through.
    direct_since: Option<Instant>,
    asked: Asked,
    places: HashMap<ListenerId, Multiaddr>,
    /// Connections through relays, and since when a direct one stands beside them.
    circuits: HashMap<ConnectionId, (PeerId, Option<Instant>)>,
    /// Connections dialled from the socket that we listen on: where it is seen, it can be dialled.
    own_socket: HashSet<ConnectionId>,
}

impl Around {
    pub(super) fn by_own_socket(&mut self, id: ConnectionId) {
        self.own_socket.insert(id);
    }
}

impl SwarmTask {
    /// Adds what the owner announces; without it, and with a socket that more than this machine reaches, a node
    /// looks for a way in by itself.
    pub(super) fn settle_reach(&mut self) {
        for address in self.config.external.clone() {
            match address.parse() {
                Ok(address) => self.swarm.add_external_address(address),
                Err(error) => tracing::warn!(address, %error, "announced address cannot be read"),
            }
        }
        let open = self.swarm.listeners().any(|address| !is_loopback(address));
        self.around.active = self.config.nat && self.config.external.is_empty() && open;
        self.publish_reach();
    }

    pub(super) fn on_identified(&mut self, event: identify::Event) {
        if let identify::Event::Received { connection_id, info, .. } = event {
            let fit = !is_loopback(&info.observed_addr) && is_quic(&info.observed_addr);
            if fit && self.around.own_socket.contains(&connection_id) {
                self.swarm.behaviour_mut().gate.seen_at(info.observed_addr);
            }
        }
    }

    pub(super) fn on_probe(&mut self, event: &autonat::v2::client::Event) {
        match &event.result {
            Ok(()) => {
                tracing::info!(address = %event.tested_addr, "others get through to this node");
                self.around.denials = Denials::default();
            }
            Err(error) => {
                let (address, witness) = (&event.tested_addr, event.server);
                tracing::info!(%address, %witness, %error, "a peer could not dial this node");
                self.around.denials.note(witness, Instant::now());
            }
        }
        self.publish_reach();
    }

    /// Notes a connection through a relay.
    pub(super) fn note_circuit(&mut self, peer: PeerId, id: ConnectionId) {
        self.around.circuits.insert(id, (peer, None));
    }

    pub(super) fn forget_connection(&mut self, id: ConnectionId) {
        self.around.circuits.remove(&id);
        self.around.own_socket.remove(&id);
        self.around.fresh.remove(&id);
    }

    pub(super) fn forget_listener(&mut self, id: ListenerId) {
        if let Some(relay) = self.around.places.remove(&id) {
            tracing::info!(%relay, "relay gives no place any more");
        }
    }

    /// Tells the handles how this node is reached now.
    pub(super) fn publish_reach(&mut self) {
        // A neighbour that gets through proves nothing to those outside of the house.
        let private = self.config.private_addresses || !self.config.external.is_empty();
        let held = self.swarm.external_addresses();
        let held = held.filter(|address| private || is_public(address.to_string().as_bytes()));
        let denied = self.around.denials.stand(self.others(), Instant::now());
        let now = Reach::of(held, denied);
        if let Some(relay) = self.swarm.behaviour_mut().relay.as_mut() {
            // Whoever is reached through relays only is none itself.
            let direct = matches!(now, Reach::Direct(_));
            relay.set_status(Some(if direct { relay::Status::Enable } else { relay::Status::Disable }));
        }
        self.reach.send_if_modified(|told| {
            let changed = *told != now;
            if changed {
                tracing::info!(reach = ?now, "how others reach this node");
                *told = now;
            }
            changed
        });
    }

    pub(super) fn look_around(&mut self, now: Instant) {
        self.publish_reach();
        self.leave_overtaken(now);
        if !self.around.active {
            return;
        }
        let reach = self.reach.borrow().clone();
        if !matches!(reach, Reach::Direct(_)) {
            self.around.direct_since = None;
        }
        match reach {
            Reach::Unknown if self.around.denials.wait(self.others(), now) => {
                if self.around.again.is_none_or(|due| now >= due) {
                    self.ask_anew(now, SECOND_ROUND);
                }
            }
            Reach::Unknown => self.ask_witnesses(),
            Reach::Nowhere | Reach::Relayed(_) => {
                self.take_places(now);
                let pause = self.config.probe_again;
                if now >= *self.around.again.get_or_insert(now + pause) {
                    self.ask_anew(now, pause);
                }
            }
            Reach::Direct(_) => self.leave_places(now),
        }
    }

    /// Gives the places at relays up, once everybody has read from the chain where this node is reached now.
    fn leave_places(&mut self, now: Instant) {
        let since = *self.around.direct_since.get_or_insert(now);
        if now.saturating_duration_since(since) < OUTLIVED {
            return;
        }
        for (id, _) in std::mem::take(&mut self.around.places) {
            self.swarm.remove_listener(id);
        }
    }

    /// Asks a few peers over connections of their own whether they get through: such as have not said no yet, or, where
    /// all have, any; after `pause` others may be asked.
    fn ask_anew(&mut self, now: Instant, pause: Duration) {
        self.around.again = Some(now + pause);
        self.close_fresh();
        let Some(probe) = self.swarm.behaviour_mut().probe.as_mut() else { return };
        probe.begin_anew();
        let own = *self.swarm.local_peer_id();
        let mut witnesses: Vec<(PeerId, Vec<Multiaddr>)> = self.reachable().collect();
        // AutoNAT takes any of those that are connected, so that who has said no stays out while there are others.
        if self.others() > 0 {
            witnesses.retain(|(peer, _)| !self.around.denials.came_from(peer));
        }
        witnesses.sort_by_key(|(peer, _)| distance(&own, peer));
        tracing::debug!(peers = witnesses.len().min(WITNESSES), "asking anew whether others get through");
        for (peer, addresses) in witnesses.into_iter().take(WITNESSES) {
            let dial = dial_options(peer, &addresses, PeerCondition::Always);
            self.around.fresh.insert(dial.connection_id(), peer);
            if let Err(error) = self.swarm.dial(dial) {
                tracing::debug!(%peer, %error, "witness not dialled");
            }
        }
    }

    /// Closes the connections of the last round that carry nothing.
    fn close_fresh(&mut self) {
        let idle = |peer: &PeerId| self.outbound.held_by(peer) == 0 && self.admission.held_by(peer) == 0;
        let over: Vec<ConnectionId> =
            self.around.fresh.iter().filter(|(_, peer)| idle(peer)).map(|(id, _)| *id).collect();
        for id in over {
            self.around.fresh.remove(&id);
            self.swarm.close_connection(id);
        }
    }

    /// Peers that could still be asked, once somebody has said no.
    fn others(&self) -> usize {
        let denials = &self.around.denials;
        if denials.is_empty() {
            return 0;
        }
        self.reachable().filter(|(peer, _)| !denials.came_from(peer)).count()
    }

    /// Connects a few peers, so that they see from where we come and try to dial us there.
    fn ask_witnesses(&mut self) {
        let missing = WITNESSES.saturating_sub(self.swarm.connected_peers().count());
        let own = *self.swarm.local_peer_id();
        let mut away: Vec<(PeerId, Vec<Multiaddr>)> =
            self.reachable().filter(|(peer, _)| !self.swarm.is_connected(peer)).collect();
        if away.is_empty() || missing == 0 {
            return;
        }
        let round = self.around.looks.is_multiple_of(WITNESS_ROUND);
        self.around.looks = self.around.looks.wrapping_add(1);
        if !round {
            return;
        }
        away.sort_by_key(|(peer, _)| distance(&own, peer));
        for (peer, addresses) in away.into_iter().take(missing) {
            if let Err(error) = self.swarm.dial(dial_options(peer, &addresses, PeerCondition::default())) {
                tracing::debug!(%peer, %error, "witness not dialled");
            }
        }
    }

    fn take_places(&mut self, now: Instant) {
        let own = *self.swarm.local_peer_id();
        while self.around.places.len() < RELAYS {
            let peers: Vec<(PeerId, Multiaddr)> = self
                .reachable()
                .filter_map(|(peer, mut addresses)| {
                    // Over QUIC the relay sees the socket that others will dial.
                    addresses.sort_by_key(|at| !is_quic(at));
                    Some((peer, addresses.into_iter().next()?))
                })
                .collect();
            let Some(circuit) = self.around.asked.next(&own, peers.into_iter(), now) else { return };
            match self.swarm.listen_on(circuit.clone()) {
                Ok(id) => {
                    tracing::info!(relay = %circuit, "asking for a place at a relay");
                    self.around.places.insert(id, circuit);
                }
                Err(error) => tracing::debug!(relay = %circuit, %error, "not asked for a place"),
            }
        }
    }

    /// Listed peers with addresses of their own.
    fn reachable(&self) -> impl Iterator<Item = (PeerId, Vec<Multiaddr>)> + '_ {
        self.book.peers().filter_map(|peer| {
            let addresses = self.book.addresses(peer)?.iter().filter(|at| !is_relayed(at)).cloned();
            let addresses: Vec<Multiaddr> = addresses.collect();
            (!addresses.is_empty()).then_some((*peer, addresses))
        })
    }

    /// Peers without a direct connection.
    pub(super) fn relayed(&self) -> usize {
        let direct: HashSet<&PeerId> = self.direct.values().collect();
        let through: HashSet<&PeerId> = self.around.circuits.values().map(|(peer, _)| peer).collect();
        through.difference(&direct).count()
    }

    /// Closes circuits beside which a direct connection stands, once nothing is under way with the peer. Libp2p
    /// would go on to send every other request through the relay.
    fn leave_overtaken(&mut self, now: Instant) {
        let direct = &self.direct;
        let mut over = Vec::new();
        for (id, (peer, since)) in &mut self.around.circuits {
            if !direct.values().any(|known| known == peer) {
                *since = None;
                continue;
            }
            let since = *since.get_or_insert(now);
            let idle = self.outbound.held_by(peer) == 0 && self.admission.held_by(peer) == 0;
            let young = now.saturating_duration_since(since) < LOOK;
            if !young && (idle || now.saturating_duration_since(since) >= OVERTAKEN) {
                over.push((*id, *peer));
            }
        }
        for (id, peer) in over {
            tracing::debug!(%peer, "a direct connection has replaced the circuit");
            self.swarm.close_connection(id);
        }
    }
}
