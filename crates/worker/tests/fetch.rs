//! Fetching from holders on the loopback interface, some of which lie: what is returned is what the
//! roots vouch for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use codec::Encode;
use iota_compute::outer::OuterState;
use iota_compute::presets::run_params;
use iota_network::{Network, NetworkConfig, PeerInfo, PeerKey};
use iota_protocol::ids::{AccountKey, Attempt, Epoch, Hash, Incarnation, RunId, Sample, Stage, Uid, Version};
use iota_protocol::merge::shard_hash;
use iota_protocol::merkle;
use iota_protocol::params::DataParams;
use iota_protocol::receipt::LogEvent;
use iota_protocol::view::MemberView;
use iota_protocol::wire::{
    codes_hash, decode, FetchReply, FetchRequest, TrainReply, TrainRequest, WireError, STEP_STATE_PART,
};
use iota_protocol::work::{Endpoint, Role};
use iota_worker::exchange::{self, ExchangeError, FETCH_LIMIT};
use iota_worker::fetch::{self, EntryRange, FetchError, MergedWanted, StateWanted, Until};
use tokio::time::Instant;

const RUN: RunId = RunId(1);
const EPOCH: Epoch = Epoch(6);
/// Far above what the loopback needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

type Answer = Box<dyn Fn(FetchRequest) -> FetchReply + Send>;

/// The one who asks, and those who hold something.
struct Net {
    asker: Network,
    asker_key: PeerKey,
    peers: Vec<PeerInfo>,
    holders: Vec<MemberView>,
    asked: Arc<AtomicUsize>,
}

async fn start(
    seed: u8,
    edit: impl FnOnce(&mut NetworkConfig),
) -> (PeerKey, Network, tokio::sync::mpsc::Receiver<iota_network::Inbound>) {
    let key = PeerKey::from_seed([seed; 32]);
    let mut config = NetworkConfig::new(key.clone(), vec!["/ip4/127.0.0.1/tcp/0".into()]);
    config.fetch_limit_bytes = FETCH_LIMIT;
    config.private_addresses = true;
    edit(&mut config);
    let (network, inbound) = Network::start(config).await.expect("loopback can be opened");
    (key, network, inbound)
}

impl Net {
    async fn new() -> Self {
        Self::of(|_| {}).await
    }

    async fn of(edit: impl FnOnce(&mut NetworkConfig)) -> Self {
        let (asker_key, asker, _inbound) = start(200, edit).await;
        Self { asker, asker_key, peers: Vec::new(), holders: Vec::new(), asked: Arc::default() }
    }

    /// Adds a holder that sends these raw bytes back.
    async fn raw_holder(&mut self, answer: impl Fn(Vec<u8>) -> Vec<u8> + Send + 'static) {
        self.holder_at(None, answer).await;
    }

    /// Adds one that sends no more than so many bytes a second.
    async fn holder_at(&mut self, rate: Option<u64>, answer: impl Fn(Vec<u8>) -> Vec<u8> + Send + 'static) {
        let uid = u16::try_from(self.holders.len()).expect("few holders");
        let (key, network, mut inbound) = start(u8::try_from(uid).expect("few holders") + 1, |config| {
            config.max_upload_bytes_per_second = rate
        })
        .await;
        let asker =
            PeerInfo { public: self.asker_key.public(), addresses: self.asker.listen_addresses().await };
        network.set_peers(vec![asker]).await;
        self.peers.push(PeerInfo { public: key.public(), addresses: network.listen_addresses().await });
        self.asker.set_peers(self.peers.clone()).await;
        self.holders.push(member(uid, Some(key.public())));
        let asked = Arc::clone(&self.asked);
        tokio::spawn(async move {
            // The network lives as long as someone asks.
            let _network = network;
            while let Some(request) = inbound.recv().await {
                asked.fetch_add(1, Ordering::Relaxed);
                drop(request.reply.send(answer(request.bytes)));
            }
        });
    }

    async fn holder(&mut self, answer: Answer) {
        self.raw_holder(move |bytes| answer(decode(&bytes, 256).expect("a fetch request")).encode()).await;
    }
}

fn member(uid: u16, peer: Option<[u8; 32]>) -> MemberView {
    MemberView {
        uid: Uid(uid),
        incarnation: Incarnation(0),
        hotkey: AccountKey([0; 32]),
        coldkey: AccountKey([0; 32]),
        role: Role::Miner,
        stage: Some(Stage(1)),
        endpoint: peer.map(|peer| Endpoint { peer, addresses: Default::default() }),
        weight: 1,
        bond: 0,
        registered_at: 0,
    }
}

fn bytes(of: &[u8]) -> Answer {
    let of = of.to_vec();
    Box::new(move |_| FetchReply::Bytes(of.clone()))
}

fn log() -> Vec<LogEvent> {
    let forward = |sample| LogEvent::Forward {
        sample: Sample(sample),
        attempt: Attempt(0),
        version: Version(0),
        input: Hash([1; 32]),
        output: Hash([2; 32]),
    };
    (0..5).map(forward).collect()
}

#[tokio::test]
async fn a_log_is_returned_only_under_its_committed_root() {
    let mut net = Net::new().await;
    net.holder(bytes(&log().encode())).await;
    net.holder(bytes(&log()[..4].encode())).await;
    net.holder(bytes(&[255; 9])).await;
    net.holder(Box::new(|_| FetchReply::NotReady)).await;
    let root = fetch::list_root(&log());
    let ask = |holder: usize| fetch::log(&net.asker, &net.holders[holder], RUN, EPOCH, root);
    assert_eq!(ask(0).await.unwrap(), log());
    let shorter = fetch::list_root(&log()[..4]);
    let Err(FetchError::Invalid { from, expected, got, .. }) = ask(1).await else {
        panic!("a cut log was taken")
    };
    assert_eq!((from, expected, got), (Uid(1), root, shorter), "the one who answered is named");
    assert!(matches!(ask(2).await, Err(FetchError::Unavailable { .. })), "noise accuses nobody");
    assert!(matches!(ask(3).await, Err(FetchError::Unavailable { .. })));
}

#[tokio::test]
async fn codes_are_returned_only_under_their_hash() {
    let mut net = Net::new().await;
    net.holder(bytes(&[1, 2, 3])).await;
    let ask = |hash| fetch::codes(&net.asker, &net.holders[0], RUN, EPOCH, hash);
    assert_eq!(ask(codes_hash(&[1, 2, 3])).await.unwrap(), [1, 2, 3]);
    assert!(matches!(ask(codes_hash(&[1, 2])).await, Err(FetchError::Invalid { from: Uid(0), .. })));
}

#[tokio::test]
async fn a_merged_shard_comes_from_whoever_has_the_right_one() {
    let mut net = Net::new().await;
    for answer in [bytes(&[9; 10]), Box::new(|_| FetchReply::NotFound), bytes(&[4; 10])] {
        net.holder(answer).await;
    }
    let (stage, shard) = (Stage(1), 3);
    let hash = |bytes: &[u8]| shard_hash(RUN, EPOCH, stage, shard, bytes);
    let ask = |hash| {
        let wanted = MergedWanted { run: RUN, epoch: EPOCH, stage, shard, hash, len: 10 };
        fetch::merged(&net.asker, &net.holders, wanted, Until::DROPPED)
    };
    assert_eq!(ask(hash(&[4; 10])).await.unwrap(), [4; 10]);
    let Err(FetchError::Unavailable { asked: 3, last, .. }) = ask(hash(&[5; 10])).await else {
        panic!("a shard with another hash was taken")
    };
    assert!(last.contains("uid 2"), "{last}");
}

#[tokio::test]
async fn a_shard_larger_than_an_answer_comes_in_parts() {
    let mut net = Net::new().await;
    let whole: Vec<u8> = (0..2 * STEP_STATE_PART + 7).map(|n| (n % 251) as u8).collect();
    let served = whole.clone();
    net.holder(Box::new(move |request| {
        let FetchRequest::Merged { part, .. } = request else { return FetchReply::NotFound };
        let parts: Vec<&[u8]> = served.chunks(STEP_STATE_PART).collect();
        parts.get(part as usize).map_or(FetchReply::NotFound, |part| FetchReply::Bytes(part.to_vec()))
    }))
    .await;
    let (stage, shard, len) = (Stage(1), 3, whole.len());
    let hash = shard_hash(RUN, EPOCH, stage, shard, &whole);
    let wanted = MergedWanted { run: RUN, epoch: EPOCH, stage, shard, hash, len };
    assert_eq!(fetch::merged(&net.asker, &net.holders, wanted, Until::DROPPED).await.unwrap(), whole);
    let short = MergedWanted { len: len - 8, ..wanted };
    assert!(
        fetch::merged(&net.asker, &net.holders, short, Until::DROPPED).await.is_err(),
        "no more is asked for than there is"
    );
}

#[test]
fn parts_of_a_range_cover_it_once() {
    let data = DataParams { manifest_root: Hash::ZERO, train_windows: 1_000, heldout_windows: 10 };
    let mut params = run_params("nano", 1, 0, 1, 1, data).unwrap().merge;
    for (chunk, most) in [(1_024u32, 3_971), (65_536, 62), (1 << 23, 1)] {
        params.chunk = chunk;
        for range in [0..0, 5..6, 7..20_000] {
            let parts: Vec<_> = fetch::entry_parts(&range, &params).collect();
            assert!(parts.iter().all(|part| part.len() <= most), "{parts:?}");
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start && pair[0].len() == most));
            let ends = parts.first().map(|first| first.start).zip(parts.last().map(|last| last.end));
            assert_eq!(ends, (!range.is_empty()).then_some((range.start, range.end)));
        }
    }
}

fn chunks() -> Vec<Vec<u8>> {
    (0..8u8).map(|n| vec![n; 12]).collect()
}

fn leaves() -> Vec<Hash> {
    chunks().iter().map(|chunk| merkle::leaf(chunk)).collect()
}

/// A holder of an entry that changes what it sends.
fn entry_holder(edit: fn(&mut Vec<Vec<u8>>)) -> Answer {
    Box::new(move |request| {
        let FetchRequest::Entry { first, count, .. } = request else { return FetchReply::NotFound };
        let (first, count) = (first as usize, count as usize);
        let mut range = chunks()[first..first + count].to_vec();
        edit(&mut range);
        let proof = merkle::prove_range(&leaves(), first, count).expect("a range of the entry");
        FetchReply::Chunks { bytes: range.concat(), proof }
    })
}

#[tokio::test]
async fn entry_chunks_that_do_not_stand_under_the_root_are_refused() {
    let mut net = Net::new().await;
    net.holder(entry_holder(|chunks| chunks[0][0] ^= 1)).await;
    net.holder(entry_holder(|chunks| chunks.swap(0, 1))).await;
    net.holder(entry_holder(|chunks| drop(chunks.pop()))).await;
    net.holder(bytes(&[1])).await;
    let wanted = EntryRange {
        author: Uid(9),
        root: merkle::root(&leaves()),
        total: 8,
        first: 2,
        count: 3,
        chunk_len: 12,
    };
    for liar in 0..4 {
        let only = &net.holders[liar..=liar];
        let got = fetch::entry(&net.asker, only, RUN, EPOCH, wanted, Until::DROPPED).await;
        assert!(matches!(got, Err(FetchError::Unavailable { asked: 1, .. })), "holder {liar}: {got:?}");
    }
    net.holder(entry_holder(|_| ())).await;
    let (got, proof) =
        fetch::entry(&net.asker, &net.holders, RUN, EPOCH, wanted, Until::DROPPED).await.unwrap();
    assert_eq!(got, chunks()[2..5].concat());
    assert!(proof.verify(&wanted.root, 8, 2, &leaves()[2..5]), "good enough to pass on");
}

/// Weights and momentum of two chunks each.
fn outer() -> OuterState {
    let weights: Vec<f32> = (0..20_000u16).map(f32::from).collect();
    let momentum = weights.iter().map(|weight| weight / 7.0).collect();
    OuterState { weights, momentum, merges: 4, tokens: 99 }
}

fn state_holder(manifest_of: OuterState, corrupt: Option<u32>) -> Answer {
    Box::new(move |request| match request {
        FetchRequest::StateManifest { .. } => FetchReply::Bytes(manifest_of.manifest().encode()),
        FetchRequest::StateChunk { index, .. } => {
            let mut chunk = outer().chunk(index as usize);
            if corrupt == Some(index) {
                chunk[100] ^= 1;
            }
            FetchReply::Bytes(chunk)
        }
        _ => FetchReply::NotFound,
    })
}

fn wanted() -> StateWanted {
    StateWanted { run: RUN, epoch: EPOCH, stage: Stage(1), root: outer().root() }
}

#[tokio::test]
async fn a_state_is_whole_although_one_of_two_holders_corrupts_a_chunk() {
    let mut net = Net::new().await;
    net.holder(state_holder(outer(), Some(2))).await;
    net.holder(state_holder(outer(), None)).await;
    let mut seen = Vec::new();
    let got =
        fetch::state(&net.asker, &net.holders, wanted(), |done, all| seen.push((done, all))).await.unwrap();
    assert_eq!(got, outer());
    assert_eq!(seen, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    assert_eq!(net.asked.load(Ordering::Relaxed), 6, "a manifest, four chunks, and one of them again");
}

#[tokio::test]
async fn a_chunk_that_nobody_has_right_leaves_no_state() {
    let mut net = Net::new().await;
    net.holder(state_holder(outer(), Some(3))).await;
    net.holder(state_holder(outer(), Some(3))).await;
    let got = fetch::state(&net.asker, &net.holders, wanted(), |_, _| {}).await;
    let Err(FetchError::Unavailable { what, asked: 2, .. }) = got else {
        panic!("a corrupt state was taken")
    };
    assert!(what.starts_with("chunk 3"), "{what}");
}

#[tokio::test]
async fn a_manifest_of_another_state_is_passed_over() {
    let mut net = Net::new().await;
    let other = OuterState { merges: 5, ..outer() };
    net.holder(state_holder(other, None)).await;
    let alone = fetch::state(&net.asker, &net.holders, wanted(), |_, _| {}).await;
    assert!(matches!(alone, Err(FetchError::Unavailable { .. })));
    net.holder(state_holder(outer(), None)).await;
    assert_eq!(fetch::state(&net.asker, &net.holders, wanted(), |_, _| {}).await.unwrap(), outer());
}

#[tokio::test]
async fn an_exchange_tells_silence_noise_and_size_apart() {
    let mut net = Net::new().await;
    net.raw_holder(|_| vec![77, 1, 2]).await;
    net.raw_holder(|_| [TrainReply::Busy.encode(), vec![0]].concat()).await;
    net.raw_holder(|_| [TrainReply::Busy.encode(), vec![0; 200]].concat()).await;
    net.raw_holder(|_| TrainReply::Working.encode()).await;
    let request = TrainRequest::Probe { run: RUN, epoch: EPOCH, sample: Sample(1) };
    let ask = |to: usize| exchange::train(&net.asker, &net.holders[to], &request, PATIENCE);
    assert!(matches!(ask(0).await, Err(ExchangeError::Wire(WireError::Malformed))));
    assert!(matches!(ask(1).await, Err(ExchangeError::Wire(WireError::Trailing))));
    assert!(matches!(ask(2).await, Err(ExchangeError::Wire(WireError::TooLong))));
    assert_eq!(ask(3).await.unwrap(), TrainReply::Working);
    let nowhere = exchange::train(&net.asker, &member(8, None), &request, PATIENCE).await;
    assert!(matches!(nowhere, Err(ExchangeError::NoEndpoint(Uid(8)))));
    let stranger = member(9, Some(PeerKey::from_seed([77; 32]).public()));
    let unknown = exchange::train(&net.asker, &stranger, &request, PATIENCE).await;
    assert!(matches!(unknown, Err(ExchangeError::Request(_))), "{unknown:?}");
}

#[tokio::test]
async fn an_answer_over_the_fetch_limit_is_not_taken() {
    let mut net = Net::new().await;
    net.raw_holder(|_| vec![0; FETCH_LIMIT + 1]).await;
    let request = FetchRequest::Log { run: RUN, epoch: EPOCH };
    let got = exchange::fetch(&net.asker, &net.holders[0], &request, PATIENCE).await;
    assert!(matches!(got, Err(ExchangeError::Request(_))), "{got:?}");
}

/// What a holder at the lowest rate takes several seconds for.
const LARGE: usize = 400_000;

async fn with_a_slow_holder(edit: impl FnOnce(&mut NetworkConfig)) -> (Net, MergedWanted) {
    let mut net = Net::of(edit).await;
    let answer = FetchReply::Bytes(vec![4; LARGE]).encode();
    for rate in [Some(64_000), None] {
        let answer = answer.clone();
        net.holder_at(rate, move |_| answer.clone()).await;
    }
    let hash = shard_hash(RUN, EPOCH, Stage(1), 3, &[4; LARGE]);
    let wanted = MergedWanted { run: RUN, epoch: EPOCH, stage: Stage(1), shard: 3, hash, len: LARGE };
    (net, wanted)
}

#[tokio::test]
async fn a_holder_below_the_least_rate_is_left_for_the_next() {
    // A step of 64 KiB takes the slow one a second.
    let (net, wanted) =
        with_a_slow_holder(|config| config.answer_stall_timeout = Duration::from_millis(300)).await;
    let began = Instant::now();
    let got = fetch::merged(&net.asker, &net.holders, wanted, Until::DROPPED).await.unwrap();
    assert_eq!(got.len(), LARGE);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}: the slow one takes six", began.elapsed());
    assert_eq!(net.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_holder_that_is_slow_but_not_too_slow_costs_half_the_window() {
    let (net, wanted) = with_a_slow_holder(|_| {}).await;
    let (began, window) = (Instant::now(), Duration::from_secs(4));
    let until = Until::at(began + window);
    let got = fetch::merged(&net.asker, &net.holders, wanted, until).await.unwrap();
    assert_eq!(got.len(), LARGE);
    let took = began.elapsed();
    assert!(took >= window / 2 && took < window, "{took:?}: half of {window:?}, then the next holder");
}

#[tokio::test]
async fn an_attempt_is_cut_when_its_time_is_over() {
    let mut net = Net::new().await;
    net.holder_at(Some(64_000), |_| FetchReply::Bytes(vec![4; LARGE]).encode()).await;
    let window = Duration::from_millis(800);
    let (began, root) = (Instant::now(), Hash::ZERO);
    let attempt = || fetch::log(&net.asker, &net.holders[0], RUN, EPOCH, root);
    let error = fetch::until(began + window, attempt).await.unwrap_err();
    assert!(matches!(error, FetchError::Unavailable { .. }), "{error}");
    assert!(began.elapsed() < window * 3, "{:?}: the whole answer takes six seconds", began.elapsed());
}

#[tokio::test]
async fn whoever_gives_wrong_bytes_again_and_again_is_asked_no_more() {
    let mut net = Net::new().await;
    net.holder(bytes(&[9; 10])).await;
    let wanted =
        MergedWanted { run: RUN, epoch: EPOCH, stage: Stage(1), shard: 3, hash: Hash::ZERO, len: 10 };
    for _ in 0..12 {
        fetch::merged(&net.asker, &net.holders, wanted, Until::DROPPED).await.unwrap_err();
    }
    // Ten within a minute are the network's limit.
    assert_eq!((net.asked.load(Ordering::Relaxed), net.asker.stats().ignored), (10, 1));
}
