//! Members behind routers: they find out that nobody gets through, take places at a public member, and reach each
//! other through it; where the routers allow it they punch a hole and leave the relay alone.

use std::time::{Duration, Instant};

use iota_network::{is_relayed_address, Lane, Network, NetworkConfig, PeerInfo, PeerKey, Reach};
use iota_tests::links::Links;
use iota_tests::nat::Kind;

use super::{inside, possible};

/// AutoNAT tries every five seconds, and what follows takes a few round trips; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(40);
/// A request through a relay and two links.
const REQUEST: Duration = Duration::from_secs(20);
/// What is sent: more than one packet, more than one step of a frame.
const FRAME: usize = 150_000;

struct Node {
    key: PeerKey,
    network: Network,
}

impl Node {
    /// A network whose sockets are in a member's namespace; it answers everything with its own bytes, reversed.
    fn start(links: &Links, number: usize, address: std::net::Ipv4Addr, external: bool) -> Self {
        Self::start_with(links, number, address, external, |_| {})
    }

    /// The same with other settings.
    fn start_with(
        links: &Links,
        number: usize,
        address: std::net::Ipv4Addr,
        external: bool,
        change: impl FnOnce(&mut NetworkConfig),
    ) -> Self {
        let seed = u8::try_from(number).unwrap();
        let key = PeerKey::from_seed([seed; 32]);
        let listen = format!("/ip4/{address}/udp/4001/quic-v1");
        let mut config = NetworkConfig::new(key.clone(), vec![listen.clone()]);
        // What the relay needs to see that nobody gets through; links here take 20 ms.
        config.dial_timeout = Duration::from_secs(3);
        // Made-up addresses are private ones.
        config.private_addresses = true;
        config.external = if external { vec![listen] } else { Vec::new() };
        change(&mut config);
        let (tell, told) = std::sync::mpsc::channel();
        // The thread ends with its network, when the last handle is dropped.
        let _thread = inside(links.namespace(number).unwrap(), move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let (network, mut inbound) = Network::start(config).await.unwrap();
                tell.send(network).unwrap();
                while let Some(request) = inbound.recv().await {
                    let mut bytes = request.bytes;
                    bytes.reverse();
                    drop(request.reply.send(bytes));
                }
            });
        });
        Self { key, network: told.recv_timeout(PATIENCE).unwrap() }
    }

    fn info(&self, addresses: Vec<String>) -> PeerInfo {
        PeerInfo { public: self.key.public(), addresses }
    }

    async fn exchange(&self, other: &Self, lane: Lane, size: usize) {
        let sent: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let got = self.network.request(other.key.public(), lane, sent.clone(), REQUEST).await;
        let got = got.unwrap_or_else(|error| panic!("{lane} of {size} bytes: {error}"));
        assert!(got.iter().eq(sent.iter().rev()), "{lane} {size}");
    }
}

/// Waits until a node has so many peers that it reaches through relays only.
async fn until_relayed(node: &Node, peers: u64) {
    let deadline = Instant::now() + PATIENCE;
    while node.network.stats().relayed_peers != peers {
        assert!(Instant::now() < deadline, "{:?}, not {peers} through relays", node.network.stats());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn homes_find_a_relay_and_punch_a_hole_where_their_routers_allow_it() {
    if !possible() {
        return;
    }
    let link = "rate=50mbit,rtt=20ms".parse().unwrap();
    let routers = [None, Some(Kind::Cone), Some(Kind::Cone), Some(Kind::Symmetric)];
    let links = Links::behind(link, 4, 1, &routers).unwrap();
    let relay = Node::start(&links, 1, links.address(1), true);
    let homes: Vec<Node> =
        (2..=4).map(|number| Node::start(&links, number, links.inner(number), false)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let public = relay.info(relay.network.listen_addresses().await);
        assert!(matches!(relay.network.reach(), Reach::Direct(_)), "it was told");
        let unknown = || homes.iter().map(|home| home.info(Vec::new()));
        for node in homes.iter().chain([&relay]) {
            node.network.set_peers(unknown().chain([public.clone()]).collect()).await;
        }
        let began = Instant::now();
        let mut listed = vec![public];
        for home in &homes {
            let reach = home.network.settled_reach(PATIENCE).await;
            let Reach::Relayed(addresses) = reach else { panic!("{reach:?}") };
            assert!(addresses.iter().all(|address| is_relayed_address(address)), "{addresses:?}");
            listed.push(home.info(addresses));
        }
        println!("all have places at the relay after {:?}", began.elapsed());
        for home in &homes {
            home.network.set_peers(listed.clone()).await;
        }
        let [one, two, symmetric] = &homes[..] else { panic!("three homes") };
        one.exchange(two, Lane::Train, FRAME).await;
        symmetric.exchange(one, Lane::Train, FRAME).await;
        one.exchange(symmetric, Lane::Fetch, 1_000).await;
        println!("frames went through it after {:?}", began.elapsed());
        // One to two goes direct; between one and the symmetric third it never can.
        until_relayed(one, 1).await;
        until_relayed(two, 0).await;
        until_relayed(symmetric, 1).await;
        println!("cone to cone is direct after {:?}", began.elapsed());
        let carried = || (relay.network.stats().train, relay.network.stats().fetch);
        let before = carried();
        for lane in Lane::ALL {
            one.exchange(two, lane, 1_000).await;
            symmetric.exchange(one, lane, 1_000).await;
        }
        assert_eq!(carried(), before, "what is relayed is not for the relay's program");
        assert_eq!((one.network.stats().relayed_peers, symmetric.network.stats().relayed_peers), (1, 1));
    });
}

/// Waits until a node knows that others get through to it, or that they do not.
async fn until_direct(node: &Node, expected: bool, why: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reach = node.network.reach();
        let settled = !matches!(reach, Reach::Unknown | Reach::Nowhere);
        if settled && matches!(reach, Reach::Direct(_)) == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{why}: {reach:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_node_that_one_witness_denies_is_public_again_once_others_get_through() {
    if !possible() {
        return;
    }
    let links = Links::start("rate=50mbit,rtt=20ms".parse().unwrap(), 4, 1).unwrap();
    // Made-up addresses point inwards: whoever does not dial such ones says that nobody gets through.
    let liar = Node::start_with(&links, 1, links.address(1), true, |config| config.private_addresses = false);
    let honest = Node::start(&links, 2, links.address(2), true);
    let soon = |config: &mut NetworkConfig| config.probe_again = Duration::from_secs(6);
    let deceived = Node::start_with(&links, 3, links.address(3), false, soon);
    let newcomer = Node::start(&links, 4, links.address(4), false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let known = [
            liar.info(liar.network.listen_addresses().await),
            honest.info(honest.network.listen_addresses().await),
        ];
        let unknown = || [deceived.info(Vec::new()), newcomer.info(Vec::new())].into_iter();
        for witness in [&liar, &honest] {
            witness.network.set_peers(unknown().chain(known.clone()).collect()).await;
        }
        deceived.network.set_peers(known[..1].to_vec()).await;
        // With both from the beginning it does not matter who is asked first.
        newcomer.network.set_peers(known.to_vec()).await;
        until_direct(&deceived, false, "a single witness is believed").await;
        deceived.network.set_peers(known.to_vec()).await;
        until_direct(&deceived, true, "another one is asked, and gets through").await;
        until_direct(&newcomer, true, "one of two gets through").await;
    });
}
