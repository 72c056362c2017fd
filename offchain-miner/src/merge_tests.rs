//! Holding entries: what comes stays, and what no repetition mends is not repeated.

use iota_network::{NetworkConfig, PeerInfo, PeerKey};
use iota_protocol::ids::Incarnation;
use iota_protocol::merkle::RangeProof;
use iota_protocol::wire::{decode, FetchReply, FetchRequest};
use iota_protocol::work::WorkCommit;

use super::*;
use crate::store::{EntryBytes, EntryChunks, Store};
use crate::train::tests::world::{peer_of, World};

const AUTHOR: Uid = Uid(1);
const CHUNKS: usize = 8;
const SLOW: Duration = Duration::from_millis(400);

/// An owner at stage 0, the author beside it, and who answers for the author.
struct Scene {
    ctx: EpochContext,
    view: MergeView,
    _folder: tempfile::TempDir,
    _world: World,
}

impl Scene {
    /// The author's entry has `code` in all its places. Its first chunk is never found, what follows is slow.
    async fn new(code: u8, finds_first: bool) -> Self {
        let world = World::new(0, 1).await;
        let folder = tempfile::tempdir().unwrap();
        let mut ctx = world.context(Store::open(folder.path()).unwrap());
        let entry = entry(chunk_len(&ctx.params.merge), code);
        let view = MergeView {
            commits: vec![commit(ctx.me.uid, Hash::ZERO), commit(AUTHOR, entry.root())],
            ..MergeView::default()
        };
        ctx.network = between(entry, finds_first).await;
        Self { ctx, view, _folder: folder, _world: world }
    }

    fn owner(&self) -> Owner<'_> {
        Owner::new(&self.ctx, self.view.clone(), &Hash([3; 32]), CHUNKS).unwrap().unwrap()
    }
}

fn entry(chunk_len: usize, code: u8) -> EntryChunks {
    // Exponents are 0 as well where the code is.
    let blocks = chunk_len / 33;
    let chunk: Vec<u8> = (0..chunk_len).map(|at| if at < blocks { 0 } else { code }).collect();
    EntryChunks::new(EntryBytes { bytes: chunk.repeat(CHUNKS), chunk_len })
}

fn commit(uid: Uid, entry_root: Hash) -> CommitView {
    let zero = Hash::ZERO;
    let work = WorkCommit { entry_root, log_root: zero, receipts_root: zero, samples: 1, started: 1 };
    CommitView {
        uid,
        incarnation: Incarnation(0),
        work,
        attested: None,
        blind: None,
        opened: false,
        root: None,
    }
}

/// The owner's network; the author's is served as long as the owner asks.
async fn between(entry: EntryChunks, finds_first: bool) -> iota_network::Network {
    let start = async |seed: u8| {
        let key = PeerKey::from_seed([seed; 32]);
        let mut config = NetworkConfig::new(key.clone(), vec!["/ip4/127.0.0.1/tcp/0".into()]);
        config.private_addresses = true;
        let (network, inbound) = iota_network::Network::start(config).await.unwrap();
        (PeerInfo { public: key.public(), addresses: network.listen_addresses().await }, network, inbound)
    };
    let (owner, asks, _unused) = start(90).await;
    let (author, answers, mut inbound) = start(u8::try_from(AUTHOR.0).unwrap() + 1).await;
    assert_eq!(author.public, peer_of(AUTHOR));
    asks.set_peers(vec![author]).await;
    answers.set_peers(vec![owner]).await;
    tokio::spawn(async move {
        let _answers = answers;
        while let Some(request) = inbound.recv().await {
            let FetchRequest::Entry { first, count, .. } = decode(&request.bytes, 256).unwrap() else {
                continue;
            };
            let found: Option<(&[u8], RangeProof)> = entry.range(first as usize, count as usize);
            let reply = match found.filter(|_| finds_first || first > 0) {
                Some((bytes, proof)) => {
                    tokio::time::sleep(SLOW).await;
                    FetchReply::Chunks { bytes: bytes.to_vec(), proof }
                }
                None => FetchReply::NotFound,
            };
            drop(request.reply.send(codec::Encode::encode(&reply)));
        }
    });
    asks
}

#[tokio::test]
async fn a_part_that_is_not_there_does_not_cost_the_one_that_comes() {
    let scene = Scene::new(1, false).await;
    let (owner, commit) = (scene.owner(), &scene.view.commits[1]);
    let held = owner.hold(commit, &[0..2, 4..6], &[], Until::DROPPED).await;
    assert!(matches!(held, Err(HoldError::Fetch(_))), "{held:?}");
    let store = &scene.ctx.store;
    assert!(store.held(scene.ctx.epoch, AUTHOR, 4).is_some(), "it was on its way when the other failed");
    assert!(store.held(scene.ctx.epoch, AUTHOR, 0).is_none());
}

#[tokio::test]
async fn an_entry_that_is_none_is_not_asked_for_again() {
    // A code of -128 has no mirror image and stands in no entry.
    let scene = Scene::new(128, true).await;
    let owner = scene.owner();
    let held = owner.hold(&scene.view.commits[1], &[0..2, 2..4], &[], Until::DROPPED).await;
    assert!(matches!(held, Err(HoldError::NotCanonical { author: AUTHOR, .. })), "{held:?}");
    let given_up = owner.fetch_all_of(&scene.view.commits[1]);
    tokio::time::timeout(Duration::from_secs(20), given_up).await.expect("it ends by itself");
    assert!(!owner.held().contains(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_shards_are_served_at_once_and_opened_once_the_disk_has_them() {
    let mut scene = Scene::new(1, true).await;
    scene.view.entry_set = Some(Bitmap::default().with(1));
    let (store, epoch) = (&scene.ctx.store, scene.ctx.epoch);
    // The epoch's journal, which a miner has by then, makes its folder.
    let folder = store.dir().join(format!("epoch-{epoch}"));
    std::fs::create_dir_all(&folder).unwrap();
    let owner = scene.owner();
    let merged = owner.merge_owned(Instant::now() + Duration::from_secs(20)).await.unwrap();
    let served = store.merged(epoch, 0).expect("whoever asks gets it while the disk works");
    let hashes = merged.on_disk().await.unwrap();
    let hash = shard_hash(scene.ctx.run, epoch, scene.ctx.stage, 0, &served);
    assert_eq!(hashes.to_vec(), [(0, Some(hash))]);
    assert_eq!(std::fs::read(folder.join("merged-0")).unwrap(), *served);
    assert!(owner.keeps(&hashes));
    // It ended after blinding and before the disk had them: it stands for what it must merge again.
    let empty = tempfile::tempdir().unwrap();
    scene.ctx.store = Store::open(empty.path()).unwrap();
    assert!(!scene.owner().keeps(&hashes));
}
