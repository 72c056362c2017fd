//! Who may hold a connection: listed peers, a few strangers, nobody who is ignored.
//!
//! A libp2p behaviour, because only a behaviour is asked before a connection stands. It decides about
//! connections only; what may be asked over one is decided in `admission`.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    convert::Infallible,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use libp2p::{
    core::{transport::PortUse, Endpoint},
    swarm::{
        dummy, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
    Multiaddr, PeerId,
};

use iota_protocol::reach::is_public;

use crate::key::public_of;

/// Peers ignored at once; when full, the one that would be forgiven first makes room.
const MAX_IGNORED: usize = 4096;

/// Why a connection was not let in.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Denied {
    #[error("peer {0} sent too many bad messages and is ignored for now")]
    Ignored(PeerId),
    #[error("peer {0} is not listed on chain and all {1} places for strangers are taken; try again later")]
    Full(PeerId, usize),
    #[error("address {0} points inwards; only networks of one house dial such ones")]
    Inward(Multiaddr),
    #[error("peer {0} has no ed25519 key; only such peers can be listed on chain")]
    ForeignKey(PeerId),
}

/// The doorkeeper's lists.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    listed: HashSet<PeerId>,
    ignored: HashMap<PeerId, Instant>,
    connected: HashMap<PeerId, usize>,
    max_strangers: usize,
    /// Addresses at which we were seen, to be told to the other behaviours.
    seen_at: VecDeque<Multiaddr>,
    /// Whether addresses that point inwards may be dialled.
    private: bool,
    waker: Option<Waker>,
}

impl Gate {
    pub(crate) fn new(max_strangers: usize, private: bool) -> Self {
        Self { max_strangers, private, ..Self::default() }
    }

    /// Replaces the list; returns those that are no longer on it, then those that are new on it.
    pub(crate) fn set_listed(&mut self, listed: HashSet<PeerId>) -> (Vec<PeerId>, Vec<PeerId>) {
        let gone = self.listed.difference(&listed).copied().collect();
        let new: Vec<PeerId> = listed.difference(&self.listed).copied().collect();
        // The chain's word outweighs what was held against a stranger.
        for peer in &new {
            self.ignored.remove(peer);
        }
        self.listed = listed;
        (gone, new)
    }

    pub(crate) fn is_listed(&self, peer: &PeerId) -> bool {
        self.listed.contains(peer)
    }

    /// Lets nothing of this peer in for a while.
    pub(crate) fn ignore(&mut self, peer: PeerId, now: Instant, length: Duration) {
        self.ignored.retain(|_, until| *until > now);
        if self.ignored.len() >= MAX_IGNORED {
            let next = self.ignored.iter().min_by_key(|(_, until)| **until).map(|(peer, _)| *peer);
            if let Some(next) = next {
                self.ignored.remove(&next);
            }
        }
        self.ignored.insert(peer, now + length);
    }

    pub(crate) fn is_ignored(&self, peer: &PeerId, now: Instant) -> bool {
        self.ignored.get(peer).is_some_and(|until| *until > now)
    }

    /// Connected peers, and how many of them are strangers.
    pub(crate) fn connected(&self) -> (usize, usize) {
        let strangers = self.connected.keys().filter(|peer| !self.listed.contains(*peer)).count();
        (self.connected.len(), strangers)
    }

    /// Takes an address at which a peer saw the socket that we listen on. Identify would put our own port into it
    /// where a router has given us another one, and nobody gets through at that.
    pub(crate) fn seen_at(&mut self, address: Multiaddr) {
        self.seen_at.push_back(address);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether these may be dialled, whoever gave them: the chain, a relay, or a peer that wants to meet half-way.
    fn reachable(&self, addresses: &[Multiaddr]) -> Result<(), Denied> {
        let inward = |address: &&Multiaddr| !self.private && !is_public(address.to_string().as_bytes());
        addresses.iter().find(inward).map_or(Ok(()), |address| Err(Denied::Inward(address.clone())))
    }

    fn admit(&self, peer: &PeerId, now: Instant) -> Result<(), Denied> {
        if self.is_ignored(peer, now) {
            return Err(Denied::Ignored(*peer));
        }
        if self.listed.contains(peer) {
            return Ok(());
        }
        public_of(peer).ok_or(Denied::ForeignKey(*peer))?;
        let known = self.connected.contains_key(peer);
        if !known && self.connected().1 >= self.max_strangers {
            return Err(Denied::Full(*peer, self.max_strangers));
        }
        Ok(())
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(&peer, Instant::now()).map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: Option<PeerId>,
        addresses: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.reachable(addresses).map_err(ConnectionDenied::new)?;
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(&peer, Instant::now()).map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                *self.connected.entry(established.peer_id).or_default() += 1;
            }
            FromSwarm::ConnectionClosed(closed) if closed.remaining_established == 0 => {
                self.connected.remove(&closed.peer_id);
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.connected.insert(closed.peer_id, closed.remaining_established);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        if let Some(address) = self.seen_at.pop_front() {
            return Poll::Ready(ToSwarm::NewExternalAddrCandidate(address));
        }
        // Nothing else to say on its own: the swarm task closes connections itself.
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PeerKey;

    fn peer(seed: u8) -> PeerId {
        PeerKey::from_seed([seed; 32]).libp2p_id()
    }

    #[test]
    fn strangers_are_let_in_up_to_the_quota_and_listed_peers_beyond_it() {
        let (mut gate, now) = (Gate::new(1, true), Instant::now());
        gate.set_listed(HashSet::from([peer(1)]));
        assert_eq!(gate.admit(&peer(2), now), Ok(()));
        gate.connected.insert(peer(2), 1);
        assert_eq!(gate.admit(&peer(2), now), Ok(()), "a second connection takes no second place");
        assert_eq!(gate.admit(&peer(3), now), Err(Denied::Full(peer(3), 1)));
        assert_eq!(gate.admit(&peer(1), now), Ok(()));
    }

    #[test]
    fn ignored_peer_stays_out_until_its_time_is_up_or_it_is_newly_listed() {
        let (mut gate, now) = (Gate::new(9, true), Instant::now());
        let length = Duration::from_secs(10);
        gate.ignore(peer(2), now, length);
        assert_eq!(gate.admit(&peer(2), now), Err(Denied::Ignored(peer(2))));
        assert_eq!(gate.admit(&peer(2), now + length), Ok(()));
        gate.set_listed(HashSet::from([peer(2)]));
        assert_eq!(gate.admit(&peer(2), now), Ok(()));
    }

    #[test]
    fn addresses_that_peers_give_point_inwards_on_networks_of_one_house_only() {
        let addresses =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Multiaddr>>();
        let mixed = addresses(&["/ip4/8.8.8.8/udp/1/quic-v1", "/ip4/192.168.1.1/udp/53/quic-v1"]);
        let gate = Gate::new(0, false);
        assert_eq!(gate.reachable(&mixed), Err(Denied::Inward(mixed[1].clone())));
        assert_eq!(gate.reachable(&mixed[..1]), Ok(()));
        assert_eq!(Gate::new(0, true).reachable(&mixed), Ok(()));
    }

    #[test]
    fn stranger_with_another_kind_of_key_is_denied() {
        let id = PeerId::random();
        assert_eq!(Gate::new(9, true).admit(&id, Instant::now()), Err(Denied::ForeignKey(id)));
    }

    #[test]
    fn changes_of_the_list_are_reported_both_ways() {
        let mut gate = Gate::new(0, true);
        gate.set_listed(HashSet::from([peer(1), peer(2)]));
        let (gone, new) = gate.set_listed(HashSet::from([peer(2), peer(3)]));
        assert_eq!((gone, new), (vec![peer(1)], vec![peer(3)]));
    }
}
