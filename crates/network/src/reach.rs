//! How others reach this node, and what it lends to those that cannot be reached: kinds of addresses, the limits
//! of a relay, and which peers are asked to relay. Pure; `swarm_task` acts on it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use libp2p::{
    multiaddr::{Multiaddr, Protocol},
    relay, PeerId,
};

/// Relays that a node behind NAT holds a place at: one may go away, and its connections with it.
pub(crate) const RELAYS: usize = 2;
/// Peers that are connected so that they tell how they see this node. Members are asked anyhow once they train;
/// a newcomer asks nobody yet.
pub(crate) const WITNESSES: usize = 3;
/// Peers that have to say that nobody gets through: one may have a bad line, or lie.
const DENIALS: usize = 2;
/// For a second one to say so; then the first one's word stands.
const SECOND_OPINION: Duration = Duration::from_secs(20);
/// Before a peer that gave no place is asked again.
const AGAIN: Duration = Duration::from_secs(60);
/// Longest relayed address: what the chain stores of one.
const MAX_LEN: usize = 128;

/// How others reach this node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Reach {
    /// Nobody has tried yet.
    #[default]
    Unknown,
    /// At these addresses, which others have dialled or the owner has told.
    Direct(Vec<String>),
    /// Nobody gets through, and no relay has given a place yet.
    Nowhere,
    /// Through relays, at these addresses.
    Relayed(Vec<String>),
}

impl Reach {
    /// From the addresses that hold now, and whether somebody tried one in vain.
    pub(crate) fn of<'a>(held: impl Iterator<Item = &'a Multiaddr>, denied: bool) -> Self {
        let (relayed, direct): (Vec<&Multiaddr>, Vec<&Multiaddr>) = held.partition(|at| is_relayed(at));
        let texts = |addresses: Vec<&Multiaddr>| {
            let mut texts: Vec<String> =
                addresses.into_iter().map(|at| crate::peers::without_peer(at.clone()).to_string()).collect();
            texts.sort();
            texts.dedup();
            texts
        };
        match (direct.is_empty(), relayed.is_empty()) {
            (false, _) => Self::Direct(texts(direct)),
            (true, false) => Self::Relayed(texts(relayed)),
            (true, true) if denied => Self::Nowhere,
            (true, true) => Self::Unknown,
        }
    }
}

/// Whether an address, as a peer lists it, leads through a relay.
#[must_use]
pub fn is_relayed_address(text: &str) -> bool {
    text.parse::<Multiaddr>().is_ok_and(|address| is_relayed(&address))
}

pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::P2pCircuit))
}

pub(crate) fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::QuicV1))
}

/// Whether an address is on this machine only, so that it needs no way through a router.
pub(crate) fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

/// What a node relays for those behind NAT. Fewer circuits than libp2p's default, because a member's line is
/// there to train; longer and larger ones, because its 128 KiB in two minutes carry no sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelayLimits {
    /// Peers that hold a place.
    pub places: usize,
    /// Circuits at a time.
    pub circuits: usize,
    /// Circuits at a time that one peer opened.
    pub circuits_per_peer: usize,
    /// A circuit ends after this time, and is opened anew if it is still needed.
    pub circuit_time: Duration,
    /// A circuit ends after so many bytes in either direction.
    pub circuit_bytes: u64,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            // libp2p: 128.
            places: 16,
            // libp2p: 16, 4 of a peer. A circuit is needed only between two that cannot punch a hole.
            circuits: 8,
            circuits_per_peer: 2,
            // Ten minutes outlast the windows of an epoch that moves data; 64 MiB are a merge of 4 MB among
            // eight, or 500 samples of 64 KiB forth and back.
            circuit_time: Duration::from_secs(600),
            circuit_bytes: 64 << 20,
        }
    }
}

impl RelayLimits {
    pub(crate) fn to_libp2p(self) -> relay::Config {
        // Libp2p's limits on how often one peer or address may ask stay: 30 times, then once in two minutes.
        relay::Config {
            max_reservations: self.places,
            max_reservations_per_peer: 1,
            max_circuits: self.circuits,
            max_circuits_per_peer: self.circuits_per_peer,
            max_circuit_duration: self.circuit_time,
            max_circuit_bytes: self.circuit_bytes,
            ..relay::Config::default()
        }
    }
}

/// Peers that could not dial this node.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    by: HashSet<PeerId>,
    first: Option<Instant>,
}

impl Denials {
    pub(crate) fn note(&mut self, witness: PeerId, now: Instant) {
        self.by.insert(witness);
        self.first.get_or_insert(now);
    }

    /// Whether nobody said so.
    pub(crate) fn is_empty(&self) -> bool {
        self.by.is_empty()
    }

    /// Whether that peer was one of them.
    pub(crate) fn came_from(&self, peer: &PeerId) -> bool {
        self.by.contains(peer)
    }

    /// Whether they stand: two peers agree, or a second one that could be asked (there are `others`) said nothing
    /// for a while.
    pub(crate) fn stand(&self, others: usize, now: Instant) -> bool {
        let late = |first: Instant| others == 0 || now.saturating_duration_since(first) >= SECOND_OPINION;
        self.by.len() >= DENIALS || self.first.is_some_and(late)
    }

    /// Whether one was heard that does not stand yet.
    pub(crate) fn wait(&self, others: usize, now: Instant) -> bool {
        self.first.is_some() && !self.stand(others, now)
    }
}

/// Which peers were asked for a place, and when.
#[derive(Debug, Default)]
pub(crate) struct Asked(HashMap<PeerId, Instant>);

impl Asked {
    /// The next peer to be asked, at an address of its own: not one that was asked a while ago. The order differs
    /// from node to node, so that not all ask the same.
    pub(crate) fn next(
        &mut self,
        own: &PeerId,
        peers: impl Iterator<Item = (PeerId, Multiaddr)>,
        now: Instant,
    ) -> Option<Multiaddr> {
        self.0.retain(|_, at| now.saturating_duration_since(*at) < AGAIN);
        let fresh = peers.filter(|(peer, _)| !self.0.contains_key(peer));
        let places = fresh.map(|(peer, address)| (peer, circuit(address, peer)));
        let fits = places.filter(|(_, circuit)| circuit.to_string().len() <= MAX_LEN);
        let (peer, circuit) = fits.min_by_key(|(peer, _)| distance(own, peer))?;
        self.0.insert(peer, now);
        Some(circuit)
    }
}

fn circuit(address: Multiaddr, relay: PeerId) -> Multiaddr {
    address.with(Protocol::P2p(relay)).with(Protocol::P2pCircuit)
}

/// How far one peer is from another, by ids: an order that differs from node to node.
pub(crate) fn distance(one: &PeerId, other: &PeerId) -> Vec<u8> {
    one.to_bytes().iter().zip(other.to_bytes()).map(|(a, b)| a ^ b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PeerKey;

    fn peer(seed: u8) -> PeerId {
        PeerKey::from_seed([seed; 32]).libp2p_id()
    }

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_direct_address_outweighs_relays_and_these_outweigh_failure() {
        let direct = address("/ip4/8.8.4.4/udp/1/quic-v1");
        let relayed = circuit(address("/ip4/8.8.8.8/udp/1/quic-v1"), peer(1)).with(Protocol::P2p(peer(9)));
        let told = format!("/ip4/8.8.8.8/udp/1/quic-v1/p2p/{}/p2p-circuit", peer(1));
        assert_eq!(Reach::of([&direct, &relayed].into_iter(), true), Reach::Direct(vec![direct.to_string()]));
        assert_eq!(Reach::of([&relayed, &relayed].into_iter(), true), Reach::Relayed(vec![told.clone()]));
        assert_eq!(Reach::of([].into_iter(), true), Reach::Nowhere);
        assert_eq!(Reach::of([].into_iter(), false), Reach::Unknown);
        assert!(is_relayed_address(&told) && !is_relayed_address("/ip4/8.8.4.4/tcp/1"));
    }

    #[test]
    fn one_witness_is_believed_only_where_no_other_speaks() {
        let now = Instant::now();
        let mut denials = Denials::default();
        assert!(!denials.stand(0, now) && !denials.wait(5, now), "nobody has said anything");
        denials.note(peer(1), now);
        denials.note(peer(1), now);
        assert!(denials.came_from(&peer(1)) && !denials.came_from(&peer(2)));
        assert!(denials.stand(0, now), "there is nobody else to ask");
        assert!(denials.wait(1, now) && !denials.stand(1, now), "its word twice is one word");
        assert!(denials.stand(1, now + SECOND_OPINION), "the other one was silent");
        denials.note(peer(2), now);
        assert!(denials.stand(7, now) && !denials.wait(7, now));
    }

    #[test]
    fn peers_are_asked_once_in_a_while_and_in_an_order_of_ones_own() {
        let now = Instant::now();
        let all = || (1..20).map(|seed| (peer(seed), address("/ip4/8.8.8.8/udp/1/quic-v1")));
        let order = |own: u8| {
            let mut asked = Asked::default();
            std::iter::from_fn(|| asked.next(&peer(own), all(), now)).collect::<Vec<_>>()
        };
        assert_eq!(order(50).len(), 19, "everybody, once");
        assert_ne!(order(50)[0], order(51)[0]);
        let mut asked = Asked::default();
        let first = asked.next(&peer(50), all(), now);
        assert_ne!(asked.next(&peer(50), all(), now), first);
        assert_eq!(asked.next(&peer(50), all(), now + AGAIN), first, "it may have room by now");
    }

    #[test]
    fn relays_whose_address_the_chain_cannot_store_are_not_asked() {
        let long = format!("/dns4/{}.example/udp/4001/quic-v1", "a".repeat(60));
        let mut asked = Asked::default();
        assert_eq!(asked.next(&peer(1), [(peer(2), address(&long))].into_iter(), Instant::now()), None);
    }
}
