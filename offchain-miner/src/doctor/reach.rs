//! Whether others reach the address that this miner publishes: seen from here, by what kind of address it is.
//! Nobody is asked, so a firewall in between stays unseen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use iota_network::is_relayed_address;
use iota_protocol::ids::AccountKey;
use iota_protocol::view::MemberView;

use super::{ok, warn, Finding};
use crate::config::MinerConfig;

/// From where an address is reached, from nearest to farthest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Reach {
    ThisMachine,
    OwnNetwork,
    Everywhere,
}

/// What others are told, and who can use it.
pub(super) fn announced(config: &MinerConfig) -> Finding {
    let told: Vec<String> = match config.announce.as_slice() {
        [] => config.listen.iter().map(|address| opened(address, outgoing)).collect(),
        given => given.to_vec(),
    };
    let farthest = told.iter().max_by_key(|address| reach(address));
    let Some(address) = farthest else {
        return warn("address", "there is none to listen on", "give one with --listen");
    };
    judged(address, reach(address))
}

/// What the chain tells others of this miner: whether only relays lead to it.
pub(super) fn published(members: &[MemberView], hotkey: Option<AccountKey>) -> Option<Finding> {
    let own = members.iter().find(|member| Some(member.hotkey) == hotkey)?;
    let told = own.endpoint.as_ref()?.addresses.iter().map(|at| String::from_utf8_lossy(at).into_owned());
    let told: Vec<String> = told.collect();
    let relay = told.first()?.split("/p2p/").next()?.to_owned();
    told.iter().all(|address| is_relayed_address(address)).then(|| {
        warn(
            "reach",
            format!("this miner is reached through a relay ({relay} and {} more): it is sent a quarter of the samples that it else were", told.len() - 1),
            "fine behind a router that you cannot change; forward a port and --announce it to be reached directly",
        )
    })
}

fn judged(address: &str, reach: Reach) -> Finding {
    match reach {
        Reach::Everywhere => ok(
            "address",
            format!("others are told {address}, which is reached from everywhere unless a firewall is in between"),
        ),
        Reach::OwnNetwork => warn(
            "address",
            format!("others are told {address}, which only machines of your own network reach (NAT)"),
            "while it runs it asks the router for a port and takes a place at a relay if that fails; better, forward the port on your router, and say with --announce /ip4/OUTSIDE/tcp/PORT how it is reached from outside",
        ),
        Reach::ThisMachine => warn(
            "address",
            format!("others are told {address}, which only this machine reaches"),
            "fine for a devnet at home; elsewhere give --listen /ip4/0.0.0.0/tcp/PORT",
        ),
    }
}

/// The address that an address to listen on becomes: all of a machine's are published where it names none.
fn opened(address: &str, outgoing: impl Fn(IpAddr) -> Option<IpAddr>) -> String {
    match ip(address).filter(IpAddr::is_unspecified) {
        Some(any) => outgoing(any)
            .map_or(address.to_owned(), |own| address.replacen(&any.to_string(), &own.to_string(), 1)),
        None => address.to_owned(),
    }
}

/// The IP in a multiaddress; `None` where a name stands in its place.
fn ip(address: &str) -> Option<IpAddr> {
    let mut parts = address.split('/').skip(1);
    match parts.next()? {
        "ip4" | "ip6" => parts.next()?.parse().ok(),
        _ => None,
    }
}

/// Where an address is reached from. A name is taken for reachable: whoever gives one has thought of it.
fn reach(address: &str) -> Reach {
    match ip(address) {
        None => Reach::Everywhere,
        Some(ip) if ip.is_loopback() => Reach::ThisMachine,
        // Unspecified: this machine has no way out.
        Some(ip) if ip.is_unspecified() => Reach::ThisMachine,
        Some(IpAddr::V4(ip)) if is_own(ip) => Reach::OwnNetwork,
        Some(IpAddr::V6(ip)) if ip.is_unique_local() || ip.is_unicast_link_local() => Reach::OwnNetwork,
        Some(_) => Reach::Everywhere,
    }
}

/// Private (RFC 1918), link-local, what providers share among customers (RFC 6598, 100.64.0.0/10), and what stands in
/// documents (RFC 5737) and is copied from there.
fn is_own(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    ip.is_private()
        || ip.is_link_local()
        || ip.is_documentation()
        || (first == 100 && (64..128).contains(&second))
}

/// The address of the interface by which this machine reaches others. Connecting a datagram socket asks the system
/// for a route and sends nothing; the addresses asked about are reserved for documents (RFC 5737, RFC 3849).
fn outgoing(like: IpAddr) -> Option<IpAddr> {
    let (any, far): (IpAddr, IpAddr) = match like {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        IpAddr::V6(_) => {
            (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())
        }
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(far, 9)).ok()?;
    socket.local_addr().ok().map(|own| own.ip())
}

#[cfg(test)]
mod tests {
    use iota_protocol::ids::{Incarnation, Uid};
    use iota_protocol::work::{Endpoint, Role};

    use super::super::Level;
    use super::*;

    #[test]
    fn who_is_reached_through_relays_is_told() {
        let relayed =
            "/ip4/8.8.8.8/udp/1/quic-v1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN/p2p-circuit";
        let key = AccountKey([4; 32]);
        let found = |addresses: &[&str]| {
            let addresses: Vec<_> =
                addresses.iter().map(|at| at.as_bytes().to_vec().try_into().unwrap()).collect();
            let endpoint = Endpoint { peer: [1; 32], addresses: addresses.try_into().unwrap() };
            published(&[member(key, endpoint)], Some(key))
        };
        let finding = found(&[relayed]).unwrap();
        assert!(finding.level == Level::Warn && finding.found.contains("8.8.8.8"), "{finding:?}");
        assert!(found(&[relayed, "/ip4/8.8.4.4/tcp/1"]).is_none() && found(&[]).is_none());
    }

    fn member(hotkey: AccountKey, endpoint: Endpoint) -> MemberView {
        MemberView {
            uid: Uid(1),
            incarnation: Incarnation(0),
            hotkey,
            coldkey: AccountKey([0; 32]),
            role: Role::Miner,
            stage: None,
            endpoint: Some(endpoint),
            weight: 1,
            bond: 0,
            registered_at: 0,
        }
    }

    #[test]
    fn addresses_are_told_apart_by_who_reaches_them() {
        for (address, expected) in [
            ("/ip4/127.0.0.1/tcp/4001", Reach::ThisMachine),
            ("/ip6/::1/tcp/4001", Reach::ThisMachine),
            ("/ip4/192.168.1.7/tcp/4001", Reach::OwnNetwork),
            ("/ip4/100.64.0.1/udp/4001/quic-v1", Reach::OwnNetwork),
            ("/ip4/169.254.3.3/tcp/1", Reach::OwnNetwork),
            ("/ip4/203.0.113.7/tcp/4001", Reach::OwnNetwork),
            ("/ip6/fd00::1/tcp/1", Reach::OwnNetwork),
            ("/ip6/fe80::1/tcp/1", Reach::OwnNetwork),
            ("/ip4/100.128.0.1/tcp/1", Reach::Everywhere),
            ("/ip4/8.8.4.4/tcp/1", Reach::Everywhere),
            ("/ip6/2a00::1/tcp/1", Reach::Everywhere),
            ("/dns4/miner.example/tcp/4001", Reach::Everywhere),
        ] {
            assert_eq!(reach(address), expected, "{address}");
        }
    }

    #[test]
    fn an_address_that_names_no_interface_becomes_the_machines_own() {
        let home = |_| Some("192.168.1.7".parse().unwrap());
        assert_eq!(opened("/ip4/0.0.0.0/tcp/4001", home), "/ip4/192.168.1.7/tcp/4001");
        assert_eq!(opened("/ip4/127.0.0.1/tcp/1", home), "/ip4/127.0.0.1/tcp/1");
        assert_eq!(reach(&opened("/ip4/0.0.0.0/tcp/4001", |_| None)), Reach::ThisMachine);
    }

    #[test]
    fn who_announces_a_forwarded_port_is_not_warned() {
        let config = |listen: &str, announce: &[&str]| MinerConfig {
            listen: vec![listen.into()],
            announce: announce.iter().map(|address| (*address).to_owned()).collect(),
            ..MinerConfig::default()
        };
        let home = announced(&config("/ip4/192.168.1.7/tcp/4001", &[]));
        assert!(home.level == Level::Warn && home.advice.contains("--announce"), "{home:?}");
        let forwarded = announced(&config("/ip4/192.168.1.7/tcp/4001", &["/ip4/8.8.4.4/tcp/4001"]));
        assert!(forwarded.level == Level::Ok && forwarded.found.contains("8.8.4.4"), "{forwarded:?}");
        let devnet = announced(&config("/ip4/127.0.0.1/tcp/0", &[]));
        assert!(devnet.level == Level::Warn && devnet.advice.contains("devnet"), "{devnet:?}");
    }
}
