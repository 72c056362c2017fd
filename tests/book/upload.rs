//! What the reader's miner sends, held to the rate that its owner gave: another member asks it for more than that.

use std::path::Path;
use std::time::{Duration, Instant};

use codec::{Decode, Encode};
use iota_network::{Lane, Network, NetworkConfig, PeerInfo};
use iota_protocol::ids::{AccountKey, Epoch, Stage};
use iota_protocol::wire::{FetchReply, FetchRequest};
use iota_protocol::work::Endpoint;
use iota_service::keys::Hotkey;
use iota_tests::network::{Devnet, RUN};
use iota_worker::identity::peer_key;
use iota_worker::onboard;

use crate::http;

/// What the reader's miner is told by its environment, and the same in bytes: much for this model, little for a loopback.
pub const RATE: &str = "2Mbit";
const BYTES_PER_SECOND: f64 = 250_000.0;
/// How long it is asked.
const LASTING: Duration = Duration::from_secs(6);
/// Questions under way at a time.
const ASKERS: usize = 4;
/// For the miner to have a stage, which it gets when an epoch closes, and for one answer.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two questions where the first had no answer.
const AGAIN: Duration = Duration::from_millis(500);
/// What may go out at once after a pause: a quarter of a second's worth; and the last pieces on their way.
const BURST: f64 = BYTES_PER_SECOND / 4.0 + 32_768.0;

/// Asks the miner in `home/my-miner` as the member whose peer key lies in `peer`, for its state, for some seconds.
pub async fn stays_under_the_rate(devnet: &Devnet, home: &Path, peer: &Path, metrics: &str) {
    let (endpoint, stage) = where_it_works(devnet, home).await;
    let addresses =
        endpoint.addresses.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    let mut config = NetworkConfig::new(peer_key(peer).unwrap(), vec!["/ip4/127.0.0.1/tcp/0".into()]);
    (config.private_addresses, config.nat) = (true, false);
    let (network, _inbound) = Network::start(config).await.unwrap();
    network.set_peers(vec![PeerInfo { public: endpoint.peer, addresses }]).await;
    let (question, size) = something_large(&network, endpoint.peer, stage).await;
    let (before, started) = (sent(metrics).await, Instant::now());
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..ASKERS {
        askers.spawn(received(network.clone(), endpoint.peer, question.clone(), started + LASTING));
    }
    let got: usize = askers.join_all().await.into_iter().sum();
    let seconds = started.elapsed().as_secs_f64();
    let told = sent(metrics).await - before;
    let (got, most) = (got as f64, BYTES_PER_SECOND * seconds + BURST);
    println!(
        "{got} bytes in {seconds:.1} s of a miner that may send {most:.0}; it says {told}; answers of {size}"
    );
    assert!(got <= most, "{got} bytes in {seconds} s, at most {most} may go");
    assert!(
        got >= 0.3 * most,
        "{got} bytes in {seconds} s: too little to say that the rate of {RATE} held them"
    );
    // Counted when an answer begins or ends, and read once in a block.
    let slack = (ASKERS * size) as f64 + 2.0 * BYTES_PER_SECOND;
    assert!(told <= most + slack, "the miner says that it sent {told} bytes in {seconds} s");
}

/// Address and stage of the miner, once it has both.
async fn where_it_works(devnet: &Devnet, home: &Path) -> (Endpoint, Stage) {
    let hotkey = AccountKey(Hotkey::load(&home.join("my-miner/hotkey.json")).unwrap().public());
    let started = Instant::now();
    loop {
        let member = onboard::find_member(&devnet.chain, RUN, hotkey).await.unwrap();
        if let Some((Some(endpoint), Some(stage))) = member.map(|member| (member.endpoint, member.stage)) {
            return (endpoint, stage);
        }
        assert!(started.elapsed() < PATIENCE, "the reader's miner has no stage");
        tokio::time::sleep(AGAIN).await;
    }
}

/// A question about the state that the miner began its epoch with, and the length of the answer.
async fn something_large(network: &Network, miner: [u8; 32], stage: Stage) -> (Vec<u8>, usize) {
    let started = Instant::now();
    loop {
        for epoch in (0..20).rev().map(Epoch) {
            let question = FetchRequest::StateChunk { run: RUN, epoch, stage, index: 0 }.encode();
            // Refused while it takes us for a stranger that asks too often.
            let answer = network.request(miner, Lane::Fetch, question.clone(), PATIENCE).await;
            let reply = answer.ok().and_then(|answer| FetchReply::decode(&mut &answer[..]).ok());
            if let Some(FetchReply::Bytes(bytes)) = reply {
                return (question, bytes.len());
            }
        }
        assert!(started.elapsed() < PATIENCE, "the miner has no state of stage {stage}");
        tokio::time::sleep(AGAIN).await;
    }
}

/// Bytes of whole answers until then.
async fn received(network: Network, miner: [u8; 32], question: Vec<u8>, until: Instant) -> usize {
    let mut bytes = 0;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        match network.request(miner, Lane::Fetch, question.clone(), left).await {
            Ok(answer) => bytes += answer.len(),
            // It came too late, or was refused.
            Err(_) => tokio::time::sleep(AGAIN.min(left)).await,
        }
    }
    bytes
}

/// What the miner says that it has sent.
async fn sent(metrics: &str) -> f64 {
    let (status, text) = http::get(metrics, "/metrics").await.unwrap();
    assert_eq!(status, 200, "{text}");
    let lines = text.lines().filter(|line| line.starts_with("iota_network_sent_bytes_total"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}
