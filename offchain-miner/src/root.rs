//! `Root`: everyone applies the agreed shards to weights and outer momentum, and reports the root.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::stream::{self, StreamExt};
use iota_chain::{Call, Submitter};
use iota_compute::outer::OuterState;
use iota_compute::outer_step::OuterStep;
use iota_protocol::ids::{Hash, Stage, Uid};
use iota_protocol::merge::{check_chunks, chunk_len, merge_shard, shard_hash, EntryShard};
use iota_protocol::phase::Phase;
use iota_protocol::shard::Shards;
use iota_protocol::view::{CommitView, MemberView, MergeView};
use iota_protocol::work::{counted_tokens, ShardStatus};
use iota_worker::fetch::{self, EntryRange, MergedWanted, Until};
use iota_worker::session::Session;
use tokio::time::Instant;

use crate::commit::{self, entry_chunks, read_merge};
use crate::merge;
use crate::train::EpochContext;

/// How long shards are asked for at least: the `Root` window is several seconds in the shortest preset, and who
/// reports no root has its state for the next epoch all the same.
const LEAST: Duration = Duration::from_secs(6);
/// Shards that are fetched at once: one is checked and applied while others are on their way.
const AT_ONCE: usize = 4;

/// How whole a merge was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wholeness {
    /// Shards that both owners agreed on, or the only owner opened.
    pub agreed: u32,
    /// Shards whose owners differed; recomputed here.
    pub differing: u32,
    /// Shards that nobody opened; they stay as they were.
    pub missing: u32,
}

/// Waits for `Root`, applies the outer step, keeps the new state and reports its root. Returns
/// nothing when the epoch went on without us or a shard could not be had: the canonical state is
/// fetched then.
///
/// # Errors
/// When the disk or the session fails.
pub async fn apply_and_report(
    ctx: &EpochContext,
    session: &mut Session,
    submitter: &Submitter,
    start: &OuterState,
) -> anyhow::Result<Option<Wholeness>> {
    let epoch = ctx.epoch;
    let live = session
        .wait_until(|view| {
            (view.epoch() != epoch || view.phase() >= Phase::Root).then_some(view.epoch() == epoch)
        })
        .await?;
    if !live {
        return Ok(None);
    }
    let view = read_merge(ctx, session).await?;
    if view.commits.is_empty() {
        tracing::warn!(%epoch, stage = %ctx.stage, "nobody in the stage committed; its state stays as it was");
        return Ok(None);
    }
    let Some(seed) = session.current().await?.clock.seed else { return Ok(None) };
    let Some((outer, wholeness)) = apply(ctx, session, start, &view, &seed).await? else { return Ok(None) };
    let root = outer.root();
    ctx.store.put_state(epoch.next(), ctx.stage, outer)?;
    tracing::info!(%epoch, %root, agreed = wholeness.agreed, differing = wholeness.differing, missing = wholeness.missing, "outer step applied");
    if view.commits.iter().any(|commit| commit.uid == ctx.me.uid) {
        report(ctx, session, submitter, root).await?;
    }
    Ok(Some(wholeness))
}

async fn report(
    ctx: &EpochContext,
    session: &mut Session,
    submitter: &Submitter,
    root: Hash,
) -> anyhow::Result<()> {
    let call = Call::commit_root(ctx.run, ctx.epoch, root);
    loop {
        let view = session.current().await?;
        if view.epoch() != ctx.epoch || view.phase() != Phase::Root {
            tracing::warn!(epoch = %ctx.epoch, "the root window closed before our root was included");
            return Ok(());
        }
        match submitter.submit(&call).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_final() => {
                tracing::warn!(%error, "commit_root refused by the chain");
                return Ok(());
            }
            Err(error) => tracing::warn!(%error, "commit_root; trying again"),
        }
        session.next().await?;
    }
}

async fn apply(
    ctx: &EpochContext,
    session: &mut Session,
    start: &OuterState,
    view: &MergeView,
    seed: &Hash,
) -> anyhow::Result<Option<(OuterState, Wholeness)>> {
    let deadline = merge::submit_in(ctx, session, Phase::Root, LEAST).await?;
    let Some((mut outer, wholeness)) = outer_step(ctx, start, view, seed, deadline).await? else {
        return Ok(None);
    };
    outer.finish(tokens_after(ctx, session).await?);
    Ok(Some((outer, wholeness)))
}

/// The start with the agreed shards applied, in their order; `OuterState::finish` is still to come. Asks no
/// chain: a measurement calls it as well. Nothing if a shard could not be had by the deadline.
///
/// # Errors
/// When there are more than 64 committers, or our own entry is gone.
pub async fn outer_step(
    ctx: &EpochContext,
    start: &OuterState,
    view: &MergeView,
    seed: &Hash,
    deadline: Instant,
) -> anyhow::Result<Option<(OuterState, Wholeness)>> {
    if view.commits.is_empty() {
        return Ok(Some((start.clone(), Wholeness::default())));
    }
    let chunks = entry_chunks(&ctx.params, start);
    let count = u32::try_from(chunks).context("entry has more chunks than fit into u32")?;
    let shards = Shards::new(seed, ctx.stage, view.commits.len(), count)
        .context("committers of the stage: expected 1 to 64")?;
    let merge = Merge { ctx, view, shards, chunks, deadline };
    let pieces = stream::iter(0..merge.shards.count()).map(|shard| merge.shard(shard)).buffered(AT_ONCE);
    let mut pieces = std::pin::pin!(pieces.enumerate());
    let mut step = OuterStep::new(start, &ctx.params.merge);
    while let Some((shard, piece)) = pieces.next().await {
        match piece? {
            Piece::Untouched(place) => step.keep(place)?,
            Piece::Merged(place, bytes) => step.merged(place, &bytes)?,
            Piece::NotHad => {
                tracing::warn!(epoch = %ctx.epoch, shard, "shard could not be had; the canonical state will be fetched instead");
                return Ok(None);
            }
        }
    }
    Ok(Some((step.done()?, merge.wholeness())))
}

/// Training tokens after this epoch, as the chain will record them at `Close`.
async fn tokens_after(ctx: &EpochContext, session: &Session) -> anyhow::Result<u64> {
    let first = commit::read_stage(ctx, session, Stage(0)).await?;
    let samples: Vec<u32> = first.commits.iter().map(|commit| commit.work.samples).collect();
    Ok(ctx.tokens.saturating_add(counted_tokens(&samples, ctx.params.tokens_per_sample())))
}

/// A shard's owners in the order in which a committer who owns it not asks them: one asker after the other
/// begins with another owner, so that both serve alike.
#[must_use]
pub fn in_turn((low, high): (usize, usize), asker: usize) -> [usize; 2] {
    let owners_before = usize::from(low < asker).saturating_add(usize::from(high < asker));
    if asker.saturating_sub(owners_before) % 2 == 0 {
        [low, high]
    } else {
        [high, low]
    }
}

/// What one shard does to the state.
enum Piece {
    /// Nobody opened it; its values stay as they were.
    Untouched(Range<usize>),
    /// Its canonical bytes, and where their values lie.
    Merged(Range<usize>, Arc<Vec<u8>>),
    /// Its bytes could not be had.
    NotHad,
}

/// One stage's merge as the chain fixed it.
struct Merge<'a> {
    ctx: &'a EpochContext,
    view: &'a MergeView,
    shards: Shards,
    chunks: usize,
    deadline: Instant,
}

impl Merge<'_> {
    fn status(&self, shard: u16) -> ShardStatus {
        self.view.shards.get(usize::from(shard)).copied().unwrap_or(ShardStatus::Missing)
    }

    fn wholeness(&self) -> Wholeness {
        let mut wholeness = Wholeness::default();
        for shard in 0..self.shards.count() {
            let count = match self.status(shard) {
                ShardStatus::Missing => &mut wholeness.missing,
                ShardStatus::Agreed(_) | ShardStatus::Single(_) => &mut wholeness.agreed,
                ShardStatus::Differs(..) => &mut wholeness.differing,
            };
            *count = count.saturating_add(1);
        }
        wholeness
    }

    async fn shard(&self, shard: u16) -> anyhow::Result<Piece> {
        let range = self.shards.chunks(shard);
        let place = self.values_range(&range)?;
        let bytes = match self.status(shard) {
            ShardStatus::Missing => return Ok(Piece::Untouched(place)),
            ShardStatus::Agreed(hash) | ShardStatus::Single(hash) => self.agreed(shard, hash).await,
            ShardStatus::Differs(..) => self.recompute(&range).await?.map(Arc::new),
        };
        let Some(bytes) = bytes else { return Ok(Piece::NotHad) };
        let merge = &self.ctx.params.merge;
        let checked = check_chunks(merge, &bytes);
        if checked.is_err() || bytes.len() != range.len().saturating_mul(chunk_len(merge)) {
            // The same bytes on every replica, so the same decision everywhere.
            tracing::warn!(
                shard,
                ?checked,
                "the hash on chain stands for bytes that are no shard; its range stays as it was"
            );
            return Ok(Piece::Untouched(place));
        }
        Ok(Piece::Merged(place, bytes))
    }

    fn values_range(&self, chunks: &Range<u32>) -> anyhow::Result<Range<usize>> {
        let chunk_values = u64::from(self.ctx.params.merge.chunk);
        let at = |chunk: u32| usize::try_from(u64::from(chunk).saturating_mul(chunk_values));
        Ok(at(chunks.start)?..at(chunks.end)?)
    }

    /// A shard whose hash is on chain: our own copy, or one of its owners', or any replica's.
    async fn agreed(&self, shard: u16, hash: Hash) -> Option<Arc<Vec<u8>>> {
        let ctx = self.ctx;
        let (run, epoch, stage) = (ctx.run, ctx.epoch, ctx.stage);
        if let Some(own) = ctx.store.merged(epoch, shard) {
            if shard_hash(run, epoch, stage, shard, &own) == hash {
                return Some(own);
            }
        }
        let holders = self.holders(shard);
        let len = self.shards.chunks(shard).len().saturating_mul(chunk_len(&ctx.params.merge));
        let wanted = MergedWanted { run, epoch, stage, shard, hash, len };
        let until = Until::at(self.deadline);
        let attempt = || fetch::merged(&ctx.network, &holders, wanted, until);
        match fetch::until(self.deadline, attempt).await {
            Ok(bytes) => {
                let bytes = Arc::new(bytes);
                ctx.store.hold_merged(epoch, shard, Arc::clone(&bytes));
                Some(bytes)
            }
            Err(error) => {
                tracing::warn!(shard, %error, "merged shard not fetched");
                None
            }
        }
    }

    /// Who may have a merged shard: its owners first, then every other committer, ourselves left out.
    fn holders(&self, shard: u16) -> Vec<MemberView> {
        let me = self.view.commits.iter().position(|commit| commit.uid == self.ctx.me.uid);
        let owners = self.shards.owners(shard).map(|owners| in_turn(owners, me.unwrap_or(0)));
        let owners = owners.unwrap_or_default();
        let mut order: Vec<Uid> =
            owners.iter().filter_map(|p| self.view.commits.get(*p)).map(|commit| commit.uid).collect();
        order.extend(self.view.commits.iter().map(|commit| commit.uid));
        let mut holders: Vec<MemberView> = Vec::new();
        for uid in order {
            let known = uid == self.ctx.me.uid || holders.iter().any(|member| member.uid == uid);
            if !known {
                holders.extend(self.ctx.members.iter().find(|member| member.uid == uid).cloned());
            }
        }
        holders
    }

    /// The owners differ: the merge rule is applied here to the committed entries.
    async fn recompute(&self, range: &Range<u32>) -> anyhow::Result<Option<Vec<u8>>> {
        let set = self.view.entry_set.unwrap_or_default();
        let mut entries = Vec::new();
        for (position, commit) in self.view.commits.iter().enumerate().filter(|(at, _)| set.contains(*at)) {
            let Some(bytes) = self.entry(commit, range).await? else {
                tracing::warn!(position, author = %commit.uid, "entry not fetched for a shard that its owners differ on");
                return Ok(None);
            };
            entries.push((commit.work.samples, bytes));
        }
        let entries: Vec<EntryShard<'_>> =
            entries.iter().map(|(samples, bytes)| EntryShard { samples: *samples, bytes }).collect();
        Ok(Some(tokio::task::block_in_place(|| merge_shard(&self.ctx.params.merge, &entries))?))
    }

    /// A range of one committer's entry: our own from the store, another's from its author.
    async fn entry(&self, commit: &CommitView, range: &Range<u32>) -> anyhow::Result<Option<Vec<u8>>> {
        let ctx = self.ctx;
        if commit.uid == ctx.me.uid {
            let own = ctx.store.entry(ctx.epoch).context("our own committed entry is gone from the store")?;
            return Ok(own.bytes(usize::try_from(range.start)?, range.len()).map(<[u8]>::to_vec));
        }
        let (author, root) = (commit.uid, commit.work.entry_root);
        let holders: Vec<MemberView> = ctx.members.iter().filter(|m| m.uid == author).cloned().collect();
        let mut bytes = Vec::new();
        for part in fetch::entry_parts(range, &ctx.params.merge) {
            let count = part.end.saturating_sub(part.start);
            let (total, first, chunk_len) = (self.chunks, part.start, chunk_len(&ctx.params.merge));
            let wanted = EntryRange { author, root, total, first, count, chunk_len };
            let until = Until::at(self.deadline);
            let attempt = || fetch::entry(&ctx.network, &holders, ctx.run, ctx.epoch, wanted, until);
            let Ok((part, _)) = fetch::until(self.deadline, attempt).await else { return Ok(None) };
            bytes.extend(part);
        }
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use codec::Encode;
    use iota_protocol::ids::{Epoch, RunId};
    use iota_protocol::params::MergeParams;
    use iota_protocol::wire::{FetchReply, FetchRequest, STEP_STATE_PART};

    use super::*;
    use crate::store::{EntryBytes, EntryChunks};

    /// Forty chunks of a shard among 32: a proof is then two in a hundred of what it proves.
    const CHUNKS: usize = 20_000;

    fn params() -> MergeParams {
        let data = iota_protocol::params::DataParams {
            manifest_root: Hash::ZERO,
            train_windows: 1_000,
            heldout_windows: 10,
        };
        iota_compute::presets::run_params("tiny", 1, 0, 1, 1, data).unwrap().merge
    }

    /// Bytes of a question and its answer, which each of the two sides counts.
    fn entry_exchange(entry: &EntryChunks, range: &Range<u32>, params: &MergeParams) -> usize {
        let one = |part: Range<u32>| {
            let (first, count) = (part.start, part.end - part.start);
            let (run, epoch, author) = (RunId(0), Epoch(9), Uid(3));
            let request = FetchRequest::Entry { run, epoch, author, first, count };
            let (bytes, proof) = entry.range(first as usize, count as usize).unwrap();
            request.encoded_size() + FetchReply::Chunks { bytes: bytes.to_vec(), proof }.encoded_size()
        };
        fetch::entry_parts(range, params).map(one).sum()
    }

    fn shard_exchange(len: usize) -> usize {
        let request =
            FetchRequest::Merged { run: RunId(0), epoch: Epoch(9), stage: Stage(0), shard: 7, part: 0 };
        assert!(len <= STEP_STATE_PART, "one part");
        request.encoded_size() + FetchReply::Bytes(vec![0; len]).encoded_size()
    }

    /// Issue 4: 6W − 8W/N in and out of each member, W being an entry. Proofs and questions are in it.
    #[test]
    fn every_member_moves_six_entries_less_eight_nths() {
        let params = params();
        let chunk_len = chunk_len(&params);
        let entry = EntryChunks::new(EntryBytes { bytes: vec![0; CHUNKS * chunk_len], chunk_len });
        let whole = (CHUNKS * chunk_len) as f64;
        for (members, seed) in [(4usize, 1u8), (8, 2), (16, 3), (32, 4)] {
            let shards = Shards::new(&Hash([seed; 32]), Stage(0), members, CHUNKS as u32).unwrap();
            let mut moved = vec![0usize; members];
            for shard in 0..shards.count() {
                let (low, high) = shards.owners(shard).unwrap();
                let range = shards.chunks(shard);
                let bytes = entry_exchange(&entry, &range, &params);
                for (owner, author) in [low, high].into_iter().flat_map(|o| (0..members).map(move |a| (o, a)))
                {
                    if owner != author {
                        moved[owner] += bytes;
                        moved[author] += bytes;
                    }
                }
                let bytes = shard_exchange(range.len() * chunk_len);
                for asker in (0..members).filter(|asker| ![low, high].contains(asker)) {
                    moved[asker] += bytes;
                    moved[in_turn((low, high), asker)[0]] += bytes;
                }
            }
            let expected = 6.0 * whole - 8.0 * whole / members as f64;
            let off = moved.iter().map(|bytes| (*bytes as f64 / expected - 1.0).abs()).fold(0.0, f64::max);
            assert!(off < 0.05, "{members} members: off by {:.1} %: {moved:?}", off * 100.0);
        }
    }

    #[test]
    fn askers_take_turns_between_the_owners() {
        assert_eq!([0, 2].map(|asker| in_turn((1, 3), asker)), [[1, 3], [3, 1]]);
        assert_eq!([2, 3].map(|asker| in_turn((0, 1), asker)), [[0, 1], [1, 0]]);
    }
}
