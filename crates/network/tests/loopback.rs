//! Two or three networks in one process, over real sockets of the loopback interface.

use std::{future::Future, time::Duration};

use iota_network::{Inbound, Lane, Network, NetworkConfig, PeerInfo, PeerKey, ReplyError, RequestError};
use tokio::sync::mpsc;

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
/// Far above what the loopback needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Node {
    key: PeerKey,
    network: Network,
    inbound: mpsc::Receiver<Inbound>,
}

impl Node {
    async fn start(seed: u8, listen: &str) -> Self {
        Self::start_with(seed, listen, |_| {}).await
    }

    async fn start_with(seed: u8, listen: &str, edit: impl FnOnce(&mut NetworkConfig)) -> Self {
        let key = PeerKey::from_seed([seed; 32]);
        let mut config = NetworkConfig::new(key.clone(), vec![listen.to_owned()]);
        config.private_addresses = true;
        edit(&mut config);
        let (network, inbound) = Network::start(config).await.expect("loopback can be opened");
        Self { key, network, inbound }
    }

    async fn info(&self) -> PeerInfo {
        PeerInfo { public: self.key.public(), addresses: self.network.listen_addresses().await }
    }

    async fn ask(&self, peer: &PeerKey, lane: Lane, bytes: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        self.network.request(peer.public(), lane, bytes, PATIENCE).await
    }

    /// Answers every request with its own bytes, reversed, from now on.
    fn echo(self) -> (PeerKey, Network) {
        let Self { key, network, mut inbound } = self;
        tokio::spawn(async move {
            while let Some(Inbound { mut bytes, reply, .. }) = inbound.recv().await {
                bytes.reverse();
                reply.send(bytes).expect("the asker waits");
            }
        });
        (key, network)
    }
}

async fn introduce(a: &Node, b: &Node) {
    a.network.set_peers(vec![b.info().await]).await;
    b.network.set_peers(vec![a.info().await]).await;
}

/// Waits until `check` holds; fails after [`PATIENCE`].
async fn eventually<F: Future<Output = bool>>(claim: &str, mut check: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !check().await {
        assert!(tokio::time::Instant::now() < deadline, "never came true: {claim}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn echo_over(listen: &str) {
    let (a, b) = (Node::start(1, listen).await, Node::start(2, listen).await);
    introduce(&a, &b).await;
    let (b_key, b_network) = b.echo();
    for (lane, size) in [(Lane::Train, 0), (Lane::Train, 300_000), (Lane::Fetch, 1000)] {
        let sent: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).expect("small")).collect();
        let got = a.ask(&b_key, lane, sent.clone()).await.expect("an echo");
        assert!(got.iter().eq(sent.iter().rev()), "{lane} {size}");
    }
    let (asked, answered) = (a.network.stats(), b_network.stats());
    assert_eq!(asked.train.requests_out, 2);
    assert_eq!(asked.train.bytes_out, 300_008);
    assert_eq!(asked.train.bytes_in, answered.train.bytes_out);
    assert_eq!((answered.train.requests_in, answered.fetch.requests_in), (2, 1));
    assert_eq!((answered.connected_peers, answered.connected_strangers), (1, 0));
}

#[tokio::test]
async fn echo_over_tcp() {
    echo_over(TCP).await;
}

#[tokio::test]
async fn echo_over_quic() {
    echo_over(QUIC).await;
}

#[tokio::test]
async fn both_ends_may_dial_at_once() {
    let (a, b) = (Node::start(1, TCP).await, Node::start(2, QUIC).await);
    introduce(&a, &b).await;
    let (a_key, a) = a.echo();
    let (b_key, b) = b.echo();
    let one = a.request(b_key.public(), Lane::Train, vec![1, 2], PATIENCE);
    let two = b.request(a_key.public(), Lane::Train, vec![3, 4], PATIENCE);
    let (one, two) = tokio::join!(one, two);
    assert_eq!((one, two), (Ok(vec![2, 1]), Ok(vec![4, 3])));
}

/// Where both ends dial from their listening ports at the same moment, the system makes one connection of the
/// two, both ends open the handshake, and both dials fail: one in six merges on one machine began so.
#[tokio::test]
async fn dial_over_tcp_leaves_from_a_port_of_its_own() {
    let a = Node::start(1, TCP).await;
    let listening = a.network.listen_addresses().await;
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback can be opened");
    let port = other.local_addr().expect("it is bound").port();
    let public = PeerKey::from_seed([2; 32]).public();
    let addresses = vec![format!("/ip4/127.0.0.1/tcp/{port}")];
    a.network.set_peers(vec![PeerInfo { public, addresses }]).await;
    let asking = tokio::spawn(async move {
        let asked = a.network.request(public, Lane::Fetch, vec![1], PATIENCE).await;
        asked.expect_err("nobody speaks the protocol there")
    });
    let (_stream, from) = other.accept().await.expect("it is dialled");
    assert!(!listening.contains(&format!("/ip4/127.0.0.1/tcp/{}", from.port())), "{from} of {listening:?}");
    asking.abort();
}

#[tokio::test]
async fn stranger_may_fetch_within_its_quota_but_not_train() {
    let server = Node::start_with(1, QUIC, |config| config.stranger_requests_per_second = 1).await;
    let stranger = Node::start(2, QUIC).await;
    stranger.network.set_peers(vec![server.info().await]).await;
    let Node { key, network, mut inbound } = server;
    let train = stranger.ask(&key, Lane::Train, vec![1]).await;
    assert_eq!(train, Err(RequestError::Refused { peer: key.public(), lane: Lane::Train }));
    assert!(inbound.try_recv().is_err(), "the caller never sees it");

    let answer = tokio::spawn(async move {
        while let Some(request) = inbound.recv().await {
            assert!(!request.listed);
            assert_eq!(request.peer, PeerKey::from_seed([2; 32]).public());
            request.reply.send(vec![9]).expect("awaited");
        }
    });
    assert_eq!(stranger.ask(&key, Lane::Fetch, vec![1]).await, Ok(vec![9]));
    let mut refused = false;
    for _ in 0..5 {
        refused |= stranger.ask(&key, Lane::Fetch, vec![1]).await.is_err();
    }
    assert!(refused, "five requests at once are over a burst of two");
    let stats = network.stats();
    assert_eq!(stats.connected_strangers, 1);
    assert!(stats.strikes >= 2, "{stats:?}");
    drop((network, stranger));
    answer.await.expect("the server saw what it expected");
}

#[tokio::test]
async fn places_for_strangers_are_limited() {
    let server = Node::start_with(1, TCP, |config| config.stranger_connections = 0).await;
    let stranger = Node::start(2, TCP).await;
    stranger.network.set_peers(vec![server.info().await]).await;
    let (key, _network) = server.echo();
    stranger.ask(&key, Lane::Fetch, vec![1]).await.expect_err("no place");
}

#[tokio::test]
async fn unlisted_peer_cannot_be_asked() {
    let a = Node::start(1, TCP).await;
    let nobody = PeerKey::from_seed([9; 32]);
    let result = a.ask(&nobody, Lane::Train, vec![1]).await;
    assert_eq!(result, Err(RequestError::NotListed { peer: nobody.public() }));
}

#[tokio::test]
async fn peer_that_is_struck_off_the_list_loses_its_connection() {
    let (a, b) = (Node::start(1, TCP).await, Node::start(2, TCP).await);
    introduce(&a, &b).await;
    let (b_key, b_network) = b.echo();
    a.ask(&b_key, Lane::Train, vec![1]).await.expect("an echo");
    a.network.set_peers(Vec::new()).await;
    eventually("b sees the connection closed", || async { b_network.stats().connected_peers == 0 }).await;
    let result = a.ask(&b_key, Lane::Train, vec![1]).await;
    assert_eq!(result, Err(RequestError::NotListed { peer: b_key.public() }));
}

#[tokio::test]
async fn oversize_request_and_answer_are_refused_on_the_sending_side() {
    let (a, b) = (Node::start(1, TCP).await, Node::start(2, TCP).await);
    introduce(&a, &b).await;
    let Node { key, network: _network, mut inbound } = b;
    let limit = 4 << 20;
    let peer = key.public();
    let too_large = RequestError::TooLarge { peer, lane: Lane::Train, got: limit + 1, limit };
    assert_eq!(a.ask(&key, Lane::Train, vec![0; limit + 1]).await, Err(too_large));

    let answer = tokio::spawn(async move {
        let request = inbound.recv().await.expect("a request");
        request.reply.send(vec![0; limit + 1])
    });
    let declined = a.ask(&key, Lane::Train, vec![0]).await;
    assert_eq!(declined, Err(RequestError::Refused { peer, lane: Lane::Train }));
    let expected = ReplyError::TooLarge { lane: Lane::Train, got: limit + 1, limit };
    assert_eq!(answer.await.expect("ran"), Err(expected));
}

#[tokio::test]
async fn oversize_request_and_answer_are_refused_on_the_receiving_side() {
    let small = |config: &mut NetworkConfig| config.train_limit_bytes = 1000;
    let (a, b) = (Node::start_with(1, TCP, small).await, Node::start(2, TCP).await);
    introduce(&a, &b).await;
    let (a_key, a_network) = a.echo();
    let refused = b.ask(&a_key, Lane::Train, vec![0; 1001]).await;
    assert_eq!(refused, Err(RequestError::Refused { peer: a_key.public(), lane: Lane::Train }));
    assert_eq!(a_network.stats().strikes, 1);

    let Node { key: b_key, network: _b, mut inbound } = b;
    tokio::spawn(async move {
        while let Some(request) = inbound.recv().await {
            request.reply.send(vec![0; 1001]).expect("within the sender's limit");
        }
    });
    let answer = a_network.request(b_key.public(), Lane::Train, vec![1], PATIENCE).await;
    let (peer, lane) = (b_key.public(), Lane::Train);
    assert_eq!(answer, Err(RequestError::AnswerTooLarge { peer, lane, got: 1001, limit: 1000 }));
}

#[tokio::test]
async fn silent_peer_times_out_and_a_dropped_reply_declines() {
    let (a, mut b) = (Node::start(1, QUIC).await, Node::start(2, QUIC).await);
    introduce(&a, &b).await;
    let (peer, lane) = (b.key.public(), Lane::Train);
    let (silent, request) =
        tokio::join!(a.network.request(peer, lane, vec![1], Duration::from_secs(2)), b.inbound.recv());
    assert_eq!(silent, Err(RequestError::TimedOut { peer, lane }));
    let request = request.expect("it arrived");
    assert_eq!((request.bytes.as_slice(), request.listed), (&[1][..], true));
    let (declined, ()) = tokio::join!(a.ask(&b.key, lane, vec![2]), async {
        drop(b.inbound.recv().await);
    });
    assert_eq!(declined, Err(RequestError::Refused { peer, lane }));
}

#[tokio::test]
async fn request_timeout_ends_an_exchange_whatever_the_caller_allows() {
    let short = |config: &mut NetworkConfig| config.request_timeout = Duration::from_secs(1);
    let (a, mut b) = (Node::start_with(1, TCP, short).await, Node::start_with(2, TCP, short).await);
    introduce(&a, &b).await;
    let (result, request) = tokio::join!(a.ask(&b.key, Lane::Fetch, vec![1]), b.inbound.recv());
    assert_eq!(result, Err(RequestError::TimedOut { peer: b.key.public(), lane: Lane::Fetch }));
    let reply = request.expect("it arrived").reply;
    eventually("the other side gives the stream up too", || async { !reply.is_awaited() }).await;
}

#[tokio::test]
async fn unreachable_peer_is_reported_with_the_address_that_failed() {
    let (a, b) = (Node::start(1, TCP).await, Node::start(2, TCP).await);
    let gone = b.info().await;
    b.network.shutdown().await;
    a.network.set_peers(vec![gone.clone()]).await;
    match a.ask(&b.key, Lane::Train, vec![1]).await {
        Err(RequestError::Unreachable { cause, .. }) => {
            assert!(cause.contains(&gone.addresses[0]), "{cause}");
        }
        other => panic!("expected unreachable, got {other:?}"),
    }
}

async fn restart_on_a_new_port(listen: &str) {
    let (a, b) = (Node::start(1, listen).await, Node::start(2, listen).await);
    introduce(&a, &b).await;
    let (key, network) = b.echo();
    a.ask(&key, Lane::Train, vec![1]).await.expect("an echo");
    network.shutdown().await;

    let b = Node::start(2, listen).await;
    introduce(&a, &b).await;
    let (key, _network) = b.echo();
    assert_eq!(a.ask(&key, Lane::Train, vec![5, 6]).await, Ok(vec![6, 5]));
}

#[tokio::test]
async fn peer_that_restarts_on_a_new_port_is_found_over_tcp() {
    restart_on_a_new_port(TCP).await;
}

#[tokio::test]
async fn peer_that_restarts_on_a_new_port_is_found_over_quic() {
    restart_on_a_new_port(QUIC).await;
}

#[tokio::test]
async fn peer_that_restarts_on_its_port_is_dialled_again() {
    let (a, b) = (Node::start(1, TCP).await, Node::start(2, TCP).await);
    introduce(&a, &b).await;
    let address = b.network.listen_addresses().await.remove(0);
    let (key, network) = b.echo();
    a.ask(&key, Lane::Train, vec![1]).await.expect("an echo");
    network.shutdown().await;
    eventually("a notices", || async { a.network.stats().connected_peers == 0 }).await;

    let b = Node::start(2, &address).await;
    b.network.set_peers(vec![a.info().await]).await;
    let (key, _network) = b.echo();
    assert_eq!(a.ask(&key, Lane::Train, vec![5, 6]).await, Ok(vec![6, 5]));
}

async fn many_at_once(listen: &str) {
    let (a, b) = (Node::start(1, listen).await, Node::start(2, listen).await);
    introduce(&a, &b).await;
    let (key, _network) = b.echo();
    let requests = (0..200u8).map(|i| {
        let (network, peer) = (a.network.clone(), key.public());
        tokio::spawn(async move {
            let mut sent = vec![i; 8 << 10];
            sent[0] = !i;
            (network.request(peer, Lane::Train, sent.clone(), PATIENCE).await, sent)
        })
    });
    for request in requests.collect::<Vec<_>>() {
        let (got, mut sent) = request.await.expect("no panic");
        sent.reverse();
        assert_eq!(got.expect("every request is answered"), sent);
    }
    assert_eq!(a.network.stats().train.errors_out, 0);
}

#[tokio::test]
async fn two_hundred_requests_at_once_over_tcp() {
    many_at_once(TCP).await;
}

#[tokio::test]
async fn two_hundred_requests_at_once_over_quic() {
    many_at_once(QUIC).await;
}

#[tokio::test]
async fn full_queue_declines_instead_of_blocking() {
    let tiny = |config: &mut NetworkConfig| config.inbound_queue = 1;
    let (a, mut b) = (Node::start(1, TCP).await, Node::start_with(2, TCP, tiny).await);
    introduce(&a, &b).await;
    let (network, peer) = (a.network.clone(), b.key.public());
    let first = tokio::spawn(async move { network.request(peer, Lane::Train, vec![1], PATIENCE).await });
    eventually("the queue is full", || async { b.network.stats().train.requests_in == 1 }).await;
    let declined = a.ask(&b.key, Lane::Train, vec![2]).await;
    assert_eq!(declined, Err(RequestError::Refused { peer, lane: Lane::Train }));
    b.inbound.recv().await.expect("the first").reply.send(vec![7]).expect("awaited");
    assert_eq!(first.await.expect("ran"), Ok(vec![7]));
}

#[tokio::test]
async fn requests_in_flight_are_limited_on_both_sides() {
    let one_in = |config: &mut NetworkConfig| config.max_inbound_per_peer = 1;
    let two_out = |config: &mut NetworkConfig| config.max_outbound_per_peer = 2;
    let (a, b) = (Node::start_with(1, TCP, two_out).await, Node::start_with(2, TCP, one_in).await);
    let c = Node::start(3, TCP).await;
    a.network.set_peers(vec![b.info().await, c.info().await]).await;
    b.network.set_peers(vec![a.info().await]).await;
    c.network.set_peers(vec![a.info().await]).await;
    let ask = |peer: [u8; 32]| {
        let network = a.network.clone();
        async move { network.request(peer, Lane::Train, vec![1], PATIENCE).await }
    };
    let (to_b, to_c) = (b.key.public(), c.key.public());
    let first = tokio::spawn(ask(to_b));
    eventually("b holds one", || async { b.network.stats().train.requests_in == 1 }).await;
    assert_eq!(ask(to_b).await, Err(RequestError::Refused { peer: to_b, lane: Lane::Train }));

    let held = [tokio::spawn(ask(to_c)), tokio::spawn(ask(to_c))];
    eventually("c holds two", || async { c.network.stats().train.requests_in == 2 }).await;
    assert_eq!(ask(to_c).await, Err(RequestError::Overloaded { peer: to_c, lane: Lane::Train }));
    held.iter().chain([&first]).for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn penalised_peer_is_cut_off_and_ignored() {
    let (a, b) = (Node::start(1, TCP).await, Node::start(2, TCP).await);
    introduce(&a, &b).await;
    let a_key = a.key.clone();
    let (b_key, b_network) = b.echo();
    a.ask(&b_key, Lane::Train, vec![1]).await.expect("an echo");
    for _ in 0..10 {
        b_network.penalise(a_key.public()).await;
    }
    eventually("a is cut off", || async { a.network.stats().connected_peers == 0 }).await;
    a.ask(&b_key, Lane::Train, vec![1]).await.expect_err("ignored");
    let back = b_network.request(a_key.public(), Lane::Train, vec![1], PATIENCE).await;
    assert_eq!(back, Err(RequestError::Ignored { peer: a_key.public() }));
    assert_eq!(b_network.stats().ignored, 1);
}

#[tokio::test]
async fn port_in_use_is_named() {
    for listen in [TCP, QUIC] {
        let first = Node::start(1, listen).await;
        let taken = first.network.listen_addresses().await.remove(0);
        let config = NetworkConfig::new(PeerKey::from_seed([2; 32]), vec![taken.clone()]);
        let error = Network::start(config).await.expect_err("taken").to_string();
        assert!(error.contains(&taken) && error.contains("in use"), "{error}");
    }
}

#[tokio::test]
async fn address_that_cannot_be_read_is_named() {
    let config = NetworkConfig::new(PeerKey::from_seed([2; 32]), vec!["localhost:80".to_owned()]);
    let error = Network::start(config).await.expect_err("no multiaddress").to_string();
    assert!(error.contains("localhost:80"), "{error}");
}

#[tokio::test]
async fn dropping_every_handle_ends_the_task() {
    let (a, b) = (Node::start(1, TCP).await, Node::start(2, TCP).await);
    introduce(&a, &b).await;
    let Node { key, network, mut inbound } = b;
    let ask = a.ask(&key, Lane::Train, vec![1]);
    let end = async {
        let request = inbound.recv().await.expect("a request");
        drop(network);
        assert!(inbound.recv().await.is_none(), "the task let go of the queue");
        request.reply
    };
    let (result, _reply) = tokio::join!(ask, end);
    result.expect_err("the peer is gone");
}

/// Two answers at a time go out at the rate; the third waits for its turn longer than a step of a frame may take.
#[tokio::test]
async fn answers_that_wait_for_their_turn_at_a_low_upload_limit_arrive() {
    const SIZE: usize = 384 << 10;
    let slow = |config: &mut NetworkConfig| config.max_upload_bytes_per_second = Some(512_000);
    let hasty = |config: &mut NetworkConfig| config.answer_stall_timeout = Duration::from_millis(900);
    let (a, b) = (Node::start_with(1, TCP, hasty).await, Node::start_with(2, TCP, slow).await);
    introduce(&a, &b).await;
    let Node { key, network: _serving, mut inbound } = b;
    tokio::spawn(async move {
        while let Some(request) = inbound.recv().await {
            request.reply.send(vec![7; SIZE]).expect("awaited");
        }
    });
    let ask = || a.ask(&key, Lane::Fetch, vec![1]);
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    for answer in [one, two, three] {
        assert_eq!(answer.expect("it comes at its turn").len(), SIZE);
    }
}

/// Whoever asks for more than it takes is declined while the memory for answers is full, and served after that.
#[tokio::test]
async fn answers_under_way_are_bounded_in_memory() {
    const SIZE: usize = 1 << 20;
    let narrow = |config: &mut NetworkConfig| {
        config.fetch_limit_bytes = SIZE;
        config.train_limit_bytes = SIZE;
        config.answer_memory_bytes = SIZE;
        config.max_upload_bytes_per_second = Some(2_000_000);
    };
    let (a, b) = (Node::start(1, TCP).await, Node::start_with(2, TCP, narrow).await);
    introduce(&a, &b).await;
    let Node { key, network: _serving, mut inbound } = b;
    tokio::spawn(async move {
        while let Some(request) = inbound.recv().await {
            request.reply.send(vec![7; if request.bytes == [0] { 9 } else { SIZE }]).expect("awaited");
        }
    });
    let ask = |what: u8| a.ask(&key, Lane::Fetch, vec![what]);
    let (one, two, small) = tokio::join!(ask(1), ask(1), ask(0));
    let refused = Err(RequestError::Refused { peer: key.public(), lane: Lane::Fetch });
    assert!(one.is_ok() != two.is_ok(), "room for one");
    assert!(one == refused || two == refused);
    assert_eq!(small, Ok(vec![7; 9]), "small ones are not counted");
    assert_eq!(ask(1).await.map(|answer| answer.len()), Ok(SIZE), "it is free again");
}
