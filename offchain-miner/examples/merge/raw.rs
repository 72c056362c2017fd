//! The same bytes between the same members over the same transport, and onto the same disk, without any
//! meaning: what a merge could take at best.

use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use iota_miner::root::in_turn;
use iota_miner::train::EpochContext;
use iota_network::Lane;
use iota_protocol::ids::{Hash, Stage};
use iota_protocol::merge::chunk_len;
use iota_protocol::shard::Shards;
use iota_service::journal::atomic_write;
use iota_worker::fetch::PARTS_AT_ONCE;

use crate::process::{hear, say};

/// First byte of a request for so many zeros; no fetch request begins so.
const ZEROS: u8 = 0xff;
/// Most bytes of one answer, as the miner asks for its entries.
const PART: usize = 4 << 20;
/// Shards that are fetched at once, as the miner does.
const AT_ONCE: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);

/// The zeros that a request asks for; none for other requests.
pub fn answer(request: &[u8]) -> Option<Vec<u8>> {
    let (first, rest) = request.split_first()?;
    let len = u32::from_le_bytes(rest.try_into().ok()?);
    (*first == ZEROS).then(|| vec![0; usize::try_from(len).unwrap_or(0)])
}

/// Fetches as many bytes from everybody as a merge does, when the parent says so.
///
/// # Errors
/// When a member does not answer.
pub async fn round(ctx: &EpochContext, chunks: u32, seed: &Hash) -> anyhow::Result<()> {
    let position = usize::from(ctx.me.uid.0);
    let shards = Shards::new(seed, Stage(0), ctx.members.len(), chunks).context("no shards")?;
    let bytes = |shard: u16| shards.chunks(shard).len() * chunk_len(&ctx.params.merge);
    let _raw: String = hear()?;
    let others = (0..ctx.members.len()).filter(|other| *other != position);
    try_join_all(others.map(|other| {
        let owned = shards.owned_by(position);
        async move {
            let fetches = stream::iter(owned.into_iter().map(|shard| zeros(ctx, other, bytes(shard))));
            fetches.buffer_unordered(PARTS_AT_ONCE).try_collect::<Vec<()>>().await
        }
    }))
    .await?;
    let foreign = (0..shards.count()).filter_map(|shard| {
        let (low, high) = shards.owners(shard)?;
        let [owner, _] = in_turn((low, high), position);
        (low != position && high != position).then_some((owner, shard))
    });
    let fetches = stream::iter(foreign.map(|(owner, shard)| zeros(ctx, owner, bytes(shard))));
    fetches.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    say(&"fetched")
}

/// Writes as many bytes to the disk as a merge does (the entry, and the shards that this member owns), when
/// the parent says so.
///
/// # Errors
/// When the disk is full.
pub fn disk(ctx: &EpochContext, chunks: u32, seed: &Hash) -> anyhow::Result<()> {
    let shards = Shards::new(seed, Stage(0), ctx.members.len(), chunks).context("no shards")?;
    let owned =
        shards.owned_by(usize::from(ctx.me.uid.0)).into_iter().map(|shard| shards.chunks(shard).len());
    let lengths: Vec<usize> = std::iter::once(usize::try_from(chunks)?).chain(owned).collect();
    let zeros = vec![0; usize::try_from(chunks)? * chunk_len(&ctx.params.merge)];
    let _disk: String = hear()?;
    for (number, len) in lengths.into_iter().enumerate() {
        let bytes =
            zeros.get(..len * chunk_len(&ctx.params.merge)).context("a shard longer than an entry")?;
        atomic_write(&ctx.store.dir().join(format!("zeros-{number}")), bytes)?;
    }
    say(&"written")
}

async fn zeros(ctx: &EpochContext, from: usize, len: usize) -> anyhow::Result<()> {
    let endpoint = ctx.members.get(from).and_then(|member| member.endpoint.as_ref());
    let peer = endpoint.context("a member without an address")?.peer;
    let mut left = len;
    while left > 0 {
        let part = left.min(PART);
        let mut request = vec![ZEROS];
        request.extend(u32::try_from(part)?.to_le_bytes());
        let got = ctx.network.request(peer, Lane::Fetch, request, PATIENCE).await?;
        anyhow::ensure!(got.len() == part, "got {} bytes, expected {part}", got.len());
        left -= part;
    }
    Ok(())
}
