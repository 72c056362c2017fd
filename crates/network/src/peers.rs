//! The list of peers that the chain names, with the addresses to dial.

use std::collections::HashMap;

use libp2p::{
    multiaddr::{Multiaddr, Protocol},
    PeerId,
};

use iota_protocol::reach::is_public;

use crate::key::{libp2p_id_of, PeerPublic, Short};

/// Addresses kept for one peer; all are dialled at once, and nobody needs more.
const MAX_ADDRESSES: usize = 8;

/// Whether a text is a multiaddress, as [`PeerInfo`] takes them.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.parse::<Multiaddr>().is_ok_and(|address| !address.is_empty())
}

/// A peer as the chain lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerInfo {
    /// Its ed25519 key.
    pub public: PeerPublic,
    /// Multiaddresses, with or without a `/p2p` suffix.
    pub addresses: Vec<String>,
}

/// Peers by libp2p id.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerBook(HashMap<PeerId, Vec<Multiaddr>>);

impl PeerBook {
    /// Reads the chain's list. Entries are written by strangers, so what cannot be read is skipped and logged, and
    /// so is what points inwards where `private` addresses are not dialled.
    pub(crate) fn read(infos: Vec<PeerInfo>, own: &PeerId, private: bool) -> Self {
        let mut book = HashMap::with_capacity(infos.len());
        for info in infos {
            let Some(peer) = libp2p_id_of(&info.public) else {
                tracing::warn!(peer = %Short(info.public), "listed key is no ed25519 key, skipped");
                continue;
            };
            if peer == *own {
                continue;
            }
            let addresses: &mut Vec<Multiaddr> = book.entry(peer).or_default();
            for text in &info.addresses {
                if !private && !is_public(text.as_bytes()) {
                    tracing::debug!(%peer, text, "listed address points inwards, skipped");
                    continue;
                }
                match read_address(text, &peer) {
                    Some(address) if addresses.len() < MAX_ADDRESSES => addresses.push(address),
                    Some(_) => {}
                    None => tracing::debug!(%peer, text, "listed address cannot be read, skipped"),
                }
            }
        }
        Self(book)
    }

    /// The addresses of a listed peer; `None` if it is not listed.
    pub(crate) fn addresses(&self, peer: &PeerId) -> Option<&[Multiaddr]> {
        self.0.get(peer).map(Vec::as_slice)
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = &PeerId> {
        self.0.keys()
    }
}

/// Removes a `/p2p` suffix.
pub(crate) fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}

fn read_address(text: &str, peer: &PeerId) -> Option<Multiaddr> {
    let address: Multiaddr = text.parse().ok()?;
    if let Some(Protocol::P2p(named)) = address.iter().last() {
        (named == *peer).then_some(())?;
    }
    let address = without_peer(address);
    (!address.is_empty()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PeerKey;

    fn book_of(addresses: &[&str]) -> Vec<String> {
        read(addresses, true)
    }

    fn read(addresses: &[&str], private: bool) -> Vec<String> {
        let key = PeerKey::from_seed([3; 32]);
        let info =
            PeerInfo { public: key.public(), addresses: addresses.iter().map(ToString::to_string).collect() };
        let book = PeerBook::read(vec![info], &PeerId::random(), private);
        let read = book.addresses(&key.libp2p_id()).expect("listed");
        read.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn own_suffix_is_stripped_and_foreign_or_broken_addresses_are_skipped() {
        let own = format!("/ip4/10.0.0.1/tcp/1/p2p/{}", PeerKey::from_seed([3; 32]).peer_id());
        let foreign = format!("/ip4/10.0.0.2/tcp/1/p2p/{}", PeerKey::from_seed([4; 32]).peer_id());
        let read = book_of(&[&own, &foreign, "nonsense", "", "/dns4/a.example/tcp/5"]);
        assert_eq!(read, ["/ip4/10.0.0.1/tcp/1", "/dns4/a.example/tcp/5"]);
    }

    #[test]
    fn row_30_what_points_inwards_is_dialled_on_networks_of_one_house_only() {
        let listed =
            ["/ip4/127.0.0.1/tcp/22", "/dns/localhost/tcp/1", "/ip6/::1/tcp/1", "/ip4/8.8.8.8/tcp/1"];
        assert_eq!(read(&listed, false), ["/ip4/8.8.8.8/tcp/1"]);
        assert_eq!(read(&listed, true), listed);
        // A peer that lists nothing else stays a peer: it may call, and is not called.
        assert!(read(&listed[..3], false).is_empty());
    }

    #[test]
    fn addresses_of_one_peer_are_bounded() {
        let many: Vec<String> = (1..100).map(|port| format!("/ip4/10.0.0.1/tcp/{port}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(book_of(&many).len(), MAX_ADDRESSES);
    }

    #[test]
    fn own_key_is_not_a_peer() {
        let key = PeerKey::from_seed([3; 32]);
        let info = PeerInfo { public: key.public(), addresses: Vec::new() };
        assert_eq!(PeerBook::read(vec![info], &key.libp2p_id(), true).addresses(&key.libp2p_id()), None);
    }
}
