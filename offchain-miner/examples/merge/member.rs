//! One member of the merge in a process of its own: the miner's entry, store, server, network, merge and
//! outer step as they are. What the chain would say comes from the parent.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use iota_compute::outer::OuterState;
use iota_compute::presets::run_params;
use iota_miner::commit;
use iota_miner::journal::EpochJournal;
use iota_miner::merge::Owner;
use iota_miner::retention::Tidy;
use iota_miner::root;
use iota_miner::serve::Server;
use iota_miner::store::Store;
use iota_miner::train::{EpochContext, Trained};
use iota_network::{Inbound, Network};
use iota_protocol::ids::{Epoch, Hash, Stage, Uid};
use iota_protocol::params::{DataParams, RunParams};
use iota_protocol::view::MergeView;
use iota_worker::listen::{self, Grant};
use iota_worker::session::peers;
use tokio::sync::{mpsc, watch, Semaphore};

use crate::made_up::{self, RUN};
use crate::process::{hear, say};
use crate::raw;

/// Longest time for the entries of all others.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests that wait for the server, as in the miner.
const QUEUE: usize = 256;

/// What is merged.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Members.
    pub members: u16,
    /// Megabytes of the parameters as fp32.
    pub megabytes: u32,
}

impl Size {
    /// Chunks of an entry.
    pub fn chunks(self, params: &RunParams) -> u32 {
        (self.megabytes * 250_000).div_ceil(params.merge.chunk)
    }
}

/// The run: only its merge parameters matter, those of the small presets.
///
/// # Errors
/// Never, for a preset that exists.
pub fn params() -> anyhow::Result<RunParams> {
    let data = DataParams { manifest_root: Hash::ZERO, train_windows: 1_000, heldout_windows: 1 };
    Ok(run_params("tiny", 1, 0, 1_000, 1, data)?)
}

/// The seed that pairs owners in an epoch.
pub fn seed_of(epoch: Epoch) -> Hash {
    Hash([u8::try_from(epoch.0 % 251).unwrap_or(0); 32])
}

/// Takes part until the parent says that it is over.
///
/// # Errors
/// When any step of the merge fails.
pub fn run(folder: &Path, size: Size, uid: u16, rounds: u32) -> anyhow::Result<()> {
    // What a member could not do is said on standard error, as a miner says it.
    let filter = std::env::var("IOTA_LOG").ok();
    iota_service::telemetry::init(iota_service::telemetry::Format::Plain, filter.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(work(folder, size, uid, rounds))
}

async fn work(folder: &Path, size: Size, uid: u16, rounds: u32) -> anyhow::Result<()> {
    let params = Arc::new(params()?);
    let home = folder.join(format!("member-{uid}-{}", std::process::id()));
    let store = Store::open(&home)?;
    let any_port = ["/ip4/127.0.0.1/tcp/0".to_owned()];
    let grant = Grant { private_addresses: true, ..Grant::default() };
    let (network, inbound) =
        listen::for_run(&home, &made_up::peer_key(uid), &params, &any_port, grant).await?;
    serve(inbound, &store, Uid(uid));
    say(&network.listen_addresses().await)?;
    let addresses: Vec<String> = hear()?;
    let members = Arc::new(made_up::members(&addresses, &vec![Stage(0); addresses.len()])?);
    network.set_peers(peers(&members)).await;
    let values = usize::try_from(size.chunks(&params) * params.merge.chunk)?;
    let start = OuterState { weights: vec![0.0; values], momentum: vec![0.0; values], merges: 0, tokens: 0 };
    let local = noise(values, u64::from(uid) + 1);
    let ctx = made_up::context(&params, Uid(uid), members, network.clone(), &store)?;
    say(&"ready")?;
    for epoch in (0..rounds).map(Epoch) {
        Tidy::after(30).look(&store, epoch, std::time::SystemTime::now());
        round(&EpochContext { epoch, ..ctx.clone() }, &start, &local).await?;
        raw::round(&ctx, size.chunks(&params), &seed_of(epoch)).await?;
        raw::disk(&ctx, size.chunks(&params), &seed_of(epoch))?;
    }
    // The others may still be fetching from here.
    let _stop: String = hear()?;
    Ok(())
}

/// One merge, step by step as the parent says.
async fn round(ctx: &EpochContext, start: &OuterState, local: &[f32]) -> anyhow::Result<()> {
    let (journal, _) = EpochJournal::open(&ctx.store, ctx.epoch)?;
    let mut trained = Trained {
        receipts: Vec::new(),
        log: Vec::new(),
        // Members differ, so that weights do.
        samples: 100 + 7 * u32::from(ctx.me.uid.0),
        started: 0,
        mean_loss: None,
        journal,
    };
    // Before anybody can ask for this epoch's entry.
    let before = fetched(&ctx.network);
    let _commit: String = hear()?;
    say(&commit::prepare(ctx, start, local, &mut trained)?)?;
    let view: MergeView = hear()?;
    let (seed, chunks) = (seed_of(ctx.epoch), commit::entry_chunks(&ctx.params, start));
    let owner = Owner::new(ctx, view, &seed, chunks)?.context("this member did not commit")?;
    // What is not held by then is named by the parent.
    drop(tokio::time::timeout(PATIENCE, owner.fetch_entries()).await);
    say(&owner.held())?;
    let _merge: String = hear()?;
    let merged = owner.merge_owned(tokio::time::Instant::now() + PATIENCE).await?;
    say(&merged.hashes.clone().into_inner())?;
    let opened: MergeView = hear()?;
    // A miner waits for its disk before it opens, when two windows have begun; here the disk has until the end.
    let writing = tokio::spawn(merged.on_disk());
    let (mut outer, _) = root::outer_step(ctx, start, &opened, &seed, tokio::time::Instant::now() + PATIENCE)
        .await?
        .context("a shard could not be had")?;
    writing.await??;
    say(&"applied")?;
    let _root: String = hear()?;
    outer.finish(1);
    // By now the others have what they fetch from here.
    say(&(outer.root(), fetched(&ctx.network) - before))
}

/// Bytes of chunks in and out so far.
fn fetched(network: &Network) -> u64 {
    let lane = network.stats().fetch;
    lane.bytes_in + lane.bytes_out
}

/// Answers fetch requests as the miner does, and the measurement's own for bytes without meaning.
fn serve(mut inbound: mpsc::Receiver<Inbound>, store: &Arc<Store>, me: Uid) {
    let (requests, queue) = mpsc::channel(QUEUE);
    let (_, past) = watch::channel(Vec::new());
    let server = Server {
        run: RUN,
        me,
        store: Arc::clone(store),
        dataset: None,
        device: iota_compute::init_runtime(1),
        past,
        regenerations: Arc::new(Semaphore::new(1)),
        withholds_from: None,
    };
    tokio::spawn(server.run(queue));
    tokio::spawn(async move {
        while let Some(request) = inbound.recv().await {
            if let Some(bytes) = raw::answer(&request.bytes) {
                drop(request.reply.send(bytes));
            } else if requests.send(request).await.is_err() {
                return;
            }
        }
    });
}

/// Changes of the size that an epoch makes.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 2e-3
    };
    (0..count).map(|_| next()).collect()
}
