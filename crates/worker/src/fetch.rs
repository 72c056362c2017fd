//! Fetching what roots on chain vouch for: every answer is verified before it is returned, and a
//! wrong answer names its sender and is held against it.

use std::ops::Range;
use std::time::Duration;

use codec::{Decode, Encode};
use futures::future::FutureExt;
use futures::stream::{self, StreamExt};
use iota_compute::outer::{OuterState, StateManifest};
use iota_network::Network;
use iota_protocol::ids::{Epoch, Hash, RunId, Stage, Uid};
use iota_protocol::merge::{chunk_len, shard_hash};
use iota_protocol::merkle::{self, RangeProof};
use iota_protocol::params::MergeParams;
use iota_protocol::receipt::{LogEvent, Receipt};
use iota_protocol::view::MemberView;
use iota_protocol::wire::{self, codes_hash, FetchReply, FetchRequest, STEP_STATE_PART};
use tokio::time::Instant;

use crate::exchange;

/// Wait for a whole answer where no window ends before. A peer that says nothing, or less than the network's
/// least rate, is given up much earlier; this is for honest ones: 4 MiB at the lowest upload limit, 64 kB/s,
/// divided among two askers, take 140 s.
const TIMEOUT: Duration = Duration::from_secs(150);
/// Parts of one thing that are asked of one holder at once: one is checked while the next is on its way.
pub const PARTS_AT_ONCE: usize = 2;
/// Wait before asking the same holders again when none had the answer ready.
const RETRY: Duration = Duration::from_millis(400);

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// A peer answered with bytes that its own commitment contradicts: accuses the peer.
    #[error("{what} from uid {from}: {got} does not match the committed {expected}")]
    Invalid {
        /// What was asked for.
        what: String,
        /// Who answered.
        from: Uid,
        /// What the chain says.
        expected: Hash,
        /// What came.
        got: Hash,
    },
    /// Nobody who was asked had it, or could be reached: accuses nobody.
    #[error("{what}: none of {asked} holders answered ({last})")]
    Unavailable {
        /// What was asked for.
        what: String,
        /// How many were asked.
        asked: usize,
        /// What the last of them said.
        last: String,
    },
}

/// Until when a fetch may go on. Of the time that is left every holder but the last gets half, so that one who
/// trickles costs the others no more than that.
#[derive(Clone, Copy, Debug)]
pub struct Until(Option<Instant>);

impl Until {
    /// The caller drops the fetch when its time is over, or has all the time there is.
    pub const DROPPED: Self = Self(None);

    /// A window's end.
    #[must_use]
    pub fn at(deadline: Instant) -> Self {
        Self(Some(deadline))
    }

    /// When a holder is left for the next one, `others` of which are still to be asked.
    fn turn(self, others: usize) -> Instant {
        let now = Instant::now();
        let most = now + TIMEOUT;
        let Some(deadline) = self.0 else { return most };
        let rest = deadline.saturating_duration_since(now);
        let part = if others == 0 { rest } else { rest / 2 };
        most.min(now + part)
    }
}

/// Holders one after the other, each with the time until which it is asked.
fn in_turn(holders: &[MemberView], until: Until) -> impl Iterator<Item = (&MemberView, Instant)> {
    let others = (0..holders.len()).rev();
    holders.iter().zip(others).map(move |(holder, others)| (holder, until.turn(others)))
}

/// Counts bytes that do not stand under their root against whoever sent them; past the network's limit it is
/// asked no more for a while.
async fn hold_against(network: &Network, holder: &MemberView) {
    if let Some(endpoint) = &holder.endpoint {
        network.penalise(endpoint.peer).await;
    }
}

/// Bytes that one member answers with.
async fn bytes_from(network: &Network, from: &MemberView, request: &FetchRequest) -> Result<Vec<u8>, String> {
    bytes_by(network, from, request, Instant::now() + TIMEOUT).await
}

/// Bytes that one member answers with by a point in time.
async fn bytes_by(
    network: &Network,
    from: &MemberView,
    request: &FetchRequest,
    end: Instant,
) -> Result<Vec<u8>, String> {
    match exchange::fetch(network, from, request, end.saturating_duration_since(Instant::now())).await {
        Ok(FetchReply::Bytes(bytes)) => Ok(bytes),
        Ok(FetchReply::NotReady) => Err(format!("uid {}: not ready", from.uid)),
        Ok(FetchReply::NotFound) => Err(format!("uid {}: not found", from.uid)),
        Ok(FetchReply::Chunks { .. }) => Err(format!("uid {}: answered another question", from.uid)),
        Err(error) => Err(format!("uid {}: {error}", from.uid)),
    }
}

/// A Merkle-committed list (receipts, event log) of one member.
async fn list<T: Encode + Decode>(
    network: &Network,
    from: &MemberView,
    request: FetchRequest,
    what: &str,
    root: Hash,
) -> Result<Vec<T>, FetchError> {
    let unavailable = |last: String| FetchError::Unavailable { what: what.into(), asked: 1, last };
    let bytes = bytes_from(network, from, &request).await.map_err(unavailable)?;
    let items: Vec<T> =
        wire::decode(&bytes, exchange::FETCH_LIMIT).map_err(|error| unavailable(error.to_string()))?;
    let got = list_root(&items);
    if got == root {
        Ok(items)
    } else {
        Err(FetchError::Invalid { what: what.into(), from: from.uid, expected: root, got })
    }
}

/// Merkle root over the SCALE encodings of a list's items.
#[must_use]
pub fn list_root<T: Encode>(items: &[T]) -> Hash {
    let leaves: Vec<Hash> = items.iter().map(|item| merkle::leaf(&item.encode())).collect();
    merkle::root(&leaves)
}

/// All receipts of a member in an epoch.
///
/// # Errors
/// `Invalid` when they do not match the committed root, `Unavailable` otherwise.
pub async fn receipts(
    network: &Network,
    from: &MemberView,
    run: RunId,
    epoch: Epoch,
    root: Hash,
) -> Result<Vec<Receipt>, FetchError> {
    let what = format!("receipts of uid {} in epoch {epoch}", from.uid);
    list(network, from, FetchRequest::Receipts { run, epoch }, &what, root).await
}

/// The event log of a member in an epoch.
///
/// # Errors
/// `Invalid` when it does not match the committed root, `Unavailable` otherwise.
pub async fn log(
    network: &Network,
    from: &MemberView,
    run: RunId,
    epoch: Epoch,
    root: Hash,
) -> Result<Vec<LogEvent>, FetchError> {
    let what = format!("event log of uid {} in epoch {epoch}", from.uid);
    list(network, from, FetchRequest::Log { run, epoch }, &what, root).await
}

/// Code bytes behind a hash in a member's log.
///
/// # Errors
/// `Invalid` when the bytes hash to something else, `Unavailable` otherwise.
pub async fn codes(
    network: &Network,
    from: &MemberView,
    run: RunId,
    epoch: Epoch,
    hash: Hash,
) -> Result<Vec<u8>, FetchError> {
    let what = format!("codes {hash} of epoch {epoch}");
    let request = FetchRequest::Codes { run, epoch, hash };
    let bytes = bytes_from(network, from, &request).await.map_err(|last| FetchError::Unavailable {
        what: what.clone(),
        asked: 1,
        last,
    })?;
    let got = codes_hash(&bytes);
    if got == hash {
        Ok(bytes)
    } else {
        Err(FetchError::Invalid { what, from: from.uid, expected: hash, got })
    }
}

/// Which merged shard is wanted.
#[derive(Clone, Copy, Debug)]
pub struct MergedWanted {
    /// The run.
    pub run: RunId,
    /// The epoch.
    pub epoch: Epoch,
    /// The stage.
    pub stage: Stage,
    /// The shard.
    pub shard: u16,
    /// Its hash on chain.
    pub hash: Hash,
    /// Bytes that it has.
    pub len: usize,
}

/// A merged shard whose hash the chain knows, from whichever holder has it, in parts that fit an answer.
///
/// # Errors
/// `Unavailable` when no holder has bytes with that hash.
pub async fn merged(
    network: &Network,
    holders: &[MemberView],
    wanted: MergedWanted,
    until: Until,
) -> Result<Vec<u8>, FetchError> {
    let MergedWanted { run, epoch, stage, shard, hash, .. } = wanted;
    let what = format!("shard {shard} of stage {stage} in epoch {epoch}");
    let mut last = String::from("nobody to ask");
    for (holder, end) in in_turn(holders, until) {
        match merged_from(network, holder, wanted, end).await {
            Ok(bytes) if shard_hash(run, epoch, stage, shard, &bytes) == hash => return Ok(bytes),
            Ok(_) => {
                hold_against(network, holder).await;
                last = format!("uid {}: bytes do not match the hash on chain", holder.uid);
            }
            Err(error) => last = error,
        }
    }
    Err(FetchError::Unavailable { what, asked: holders.len(), last })
}

async fn merged_from(
    network: &Network,
    from: &MemberView,
    wanted: MergedWanted,
    end: Instant,
) -> Result<Vec<u8>, String> {
    let MergedWanted { run, epoch, stage, shard, len, .. } = wanted;
    let part = |part: u32| {
        let request = FetchRequest::Merged { run, epoch, stage, shard, part };
        async move { bytes_by(network, from, &request, end).await }.boxed()
    };
    let parts: Vec<_> = (0u32..).take(len.div_ceil(STEP_STATE_PART)).map(part).collect();
    let mut parts = stream::iter(parts).buffered(PARTS_AT_ONCE);
    let mut bytes = parts.next().await.unwrap_or_else(|| Ok(Vec::new()))?;
    while let Some(part) = parts.next().await {
        bytes.extend(part?);
    }
    Ok(bytes)
}

/// A range of an entry cut into parts that fit an answer; everybody cuts alike, so that who holds a range
/// can pass its parts on.
pub fn entry_parts(range: &Range<u32>, params: &MergeParams) -> impl Iterator<Item = Range<u32>> {
    let chunks = STEP_STATE_PART.checked_div(chunk_len(params)).unwrap_or(1).max(1);
    let chunks = u32::try_from(chunks).unwrap_or(u32::MAX);
    let Range { start, end } = *range;
    std::iter::successors(Some(start), move |first| first.checked_add(chunks))
        .take_while(move |first| *first < end)
        .map(move |first| first..first.saturating_add(chunks).min(end))
}

/// A range of an entry's chunks.
#[derive(Clone, Copy, Debug)]
pub struct EntryRange {
    /// Whose entry.
    pub author: Uid,
    /// Its committed root.
    pub root: Hash,
    /// Chunks of a whole entry.
    pub total: usize,
    /// First chunk wanted.
    pub first: u32,
    /// Number of chunks wanted.
    pub count: u32,
    /// Bytes of one chunk.
    pub chunk_len: usize,
}

impl EntryRange {
    /// Whether these are the bytes of the range. Hashes them all.
    fn holds(&self, bytes: &[u8], proof: &RangeProof) -> bool {
        let (Ok(first), Ok(count)) = (usize::try_from(self.first), usize::try_from(self.count)) else {
            return false;
        };
        let whole = count.checked_mul(self.chunk_len) == Some(bytes.len());
        whole && proof.verify(&self.root, self.total, first, &merkle::leaves(bytes, self.chunk_len))
    }
}

/// Bytes of an entry's chunks and their proof, verified against the author's root; holders are asked in turn.
///
/// # Errors
/// `Unavailable` when no holder has chunks that stand under the root.
pub async fn entry(
    network: &Network,
    holders: &[MemberView],
    run: RunId,
    epoch: Epoch,
    range: EntryRange,
    until: Until,
) -> Result<(Vec<u8>, RangeProof), FetchError> {
    let EntryRange { author, first, count, .. } = range;
    let request = FetchRequest::Entry { run, epoch, author, first, count };
    let mut last = String::from("nobody to ask");
    for (holder, end) in in_turn(holders, until) {
        let patience = end.saturating_duration_since(Instant::now());
        last = match exchange::fetch(network, holder, &request, patience).await {
            Ok(FetchReply::Chunks { bytes, proof }) => {
                if range.holds(&bytes, &proof) {
                    return Ok((bytes, proof));
                }
                hold_against(network, holder).await;
                format!("uid {}: chunks do not stand under the committed root", holder.uid)
            }
            Ok(_) => format!("uid {}: not here", holder.uid),
            Err(error) => format!("uid {}: {error}", holder.uid),
        };
    }
    let what =
        format!("entry of uid {author} in epoch {epoch}, chunks {first}..{}", first.saturating_add(count));
    Err(FetchError::Unavailable { what, asked: holders.len(), last })
}

/// Which state is wanted.
#[derive(Clone, Copy, Debug)]
pub struct StateWanted {
    /// The run.
    pub run: RunId,
    /// The epoch that starts with this state.
    pub epoch: Epoch,
    /// The stage.
    pub stage: Stage,
    /// Root on chain.
    pub root: Hash,
}

/// Weights and outer momentum of a stage at the start of an epoch, chunk by chunk from several
/// holders, each chunk verified. `progress` gets (chunks done, chunks in all).
///
/// # Errors
/// `Unavailable` when no holder has a manifest with that root, or a chunk cannot be had from any.
pub async fn state(
    network: &Network,
    holders: &[MemberView],
    wanted: StateWanted,
    mut progress: impl FnMut(usize, usize),
) -> Result<OuterState, FetchError> {
    let manifest = state_manifest(network, holders, wanted).await?;
    let total = manifest.chunk_hashes.len();
    let mut chunks = Vec::with_capacity(total);
    for index in 0..total {
        // Each chunk starts with another holder, so that the load is spread.
        let turn = index.checked_rem(holders.len()).unwrap_or(0);
        let order = holders.iter().cycle().skip(turn).take(holders.len());
        chunks.push(state_chunk(network, order, wanted, &manifest, index).await?);
        progress(index.saturating_add(1), total);
    }
    manifest.assemble(&chunks).map_err(|error| FetchError::Unavailable {
        what: format!("state of stage {} at epoch {}", wanted.stage, wanted.epoch),
        asked: holders.len(),
        last: error.to_string(),
    })
}

async fn state_manifest(
    network: &Network,
    holders: &[MemberView],
    wanted: StateWanted,
) -> Result<StateManifest, FetchError> {
    let StateWanted { run, epoch, stage, root } = wanted;
    let request = FetchRequest::StateManifest { run, epoch, stage };
    let mut last = String::from("nobody to ask");
    for holder in holders {
        last = match bytes_from(network, holder, &request).await {
            Ok(bytes) => match wire::decode::<StateManifest>(&bytes, exchange::FETCH_LIMIT) {
                Ok(manifest) if manifest.root() == root => return Ok(manifest),
                Ok(manifest) => {
                    format!("uid {}: manifest has root {}, the chain has {root}", holder.uid, manifest.root())
                }
                Err(error) => format!("uid {}: {error}", holder.uid),
            },
            Err(error) => error,
        };
    }
    let what = format!("state manifest of stage {stage} at epoch {epoch}");
    Err(FetchError::Unavailable { what, asked: holders.len(), last })
}

async fn state_chunk<'a>(
    network: &Network,
    holders: impl Iterator<Item = &'a MemberView>,
    wanted: StateWanted,
    manifest: &StateManifest,
    index: usize,
) -> Result<Vec<u8>, FetchError> {
    let StateWanted { run, epoch, stage, .. } = wanted;
    let number = u32::try_from(index).unwrap_or(u32::MAX);
    let request = FetchRequest::StateChunk { run, epoch, stage, index: number };
    let mut last = String::from("nobody to ask");
    let mut asked = 0usize;
    for holder in holders {
        asked = asked.saturating_add(1);
        match bytes_from(network, holder, &request).await {
            Ok(bytes) if manifest.verify_chunk(index, &bytes).is_ok() => return Ok(bytes),
            Ok(_) => last = format!("uid {}: chunk does not match the manifest", holder.uid),
            Err(error) => last = error,
        }
    }
    Err(FetchError::Unavailable {
        what: format!("chunk {index} of stage {stage} at epoch {epoch}"),
        asked,
        last,
    })
}

/// Repeats a fetch until it succeeds, is `Invalid`, or the deadline passes; an attempt that runs then is cut.
///
/// # Errors
/// The last error.
pub async fn until<T, F>(deadline: Instant, mut attempt: impl FnMut() -> F) -> Result<T, FetchError>
where
    F: std::future::Future<Output = Result<T, FetchError>>,
{
    let mut before = None;
    loop {
        match tokio::time::timeout_at(deadline, attempt()).await {
            Ok(Err(error @ FetchError::Unavailable { .. })) if Instant::now() + RETRY < deadline => {
                before = Some(error);
                tokio::time::sleep(RETRY).await;
            }
            Ok(result) => return result,
            Err(_) => return Err(before.unwrap_or_else(late)),
        }
    }
}

fn late() -> FetchError {
    let last = "no whole answer before its time was over".to_owned();
    FetchError::Unavailable { what: "a fetch".into(), asked: 1, last }
}
