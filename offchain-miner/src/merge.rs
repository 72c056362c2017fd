//! `Merge.attest`, `Merge.blind`, `Merge.open`: what an owner of shards does with the entries of its
//! stage. Every step reads the chain first, so that a restart goes on where it stopped.
//!
//! [`Owner`]'s public functions move and merge bytes and ask no chain: a measurement calls them as well.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::FutureExt;
use futures::stream::{self, StreamExt};
use iota_chain::{Call, Submitter};
use iota_compute::outer::OuterState;
use iota_protocol::ids::{Hash, Uid};
use iota_protocol::merge::{check_chunks, chunk_len, merge_shard, shard_hash, EntryShard, MergeError};
use iota_protocol::phase::Phase;
use iota_protocol::shard::Shards;
use iota_protocol::view::{CommitView, MemberView, MergeView};
use iota_protocol::work::{blind_hash, Bitmap, ShardHashes};
use iota_worker::fetch::{self, EntryRange, FetchError, Until, PARTS_AT_ONCE};
use iota_worker::session::{Session, FINALITY_LAG_BLOCKS};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::commit::{entry_chunks, read_merge};
use crate::fault::Fault;
use crate::journal::{EpochJournal, Record};
use crate::store::{EntryChunks, HeldRange};
use crate::train::EpochContext;

/// What fetching may take before the chain is looked at for the first time, however late it is by then: an
/// owner that was away until the end of `Merge.attest` still says whom it could ask.
const FIRST: Duration = Duration::from_millis(2_500);
/// Wait before authors are asked again for what they did not give.
const AGAIN: Duration = Duration::from_millis(400);

/// Why a range of an entry is not held.
#[derive(Debug, thiserror::Error)]
enum HoldError {
    /// Bytes under the committed root are no entry: whoever has them has the same.
    #[error("the committed entry of uid {author} is not canonical: {cause}")]
    NotCanonical {
        /// Who committed it.
        author: Uid,
        /// What is wrong with it.
        cause: MergeError,
    },
    /// Nobody gave it yet.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// The shards that an owner merged.
pub struct Merged {
    /// Hash of each shard; none where an entry of the set is missing here.
    pub hashes: ShardHashes,
    writes: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Merged {
    /// The hashes, once the shards that they stand for are on disk: so they are opened.
    ///
    /// # Errors
    /// When the disk is full.
    pub async fn on_disk(self) -> anyhow::Result<ShardHashes> {
        for write in self.writes {
            write.await.context("writing a merged shard was cut short")??;
        }
        Ok(self.hashes)
    }
}

/// A range of an entry where it lies: entries are large, and a merge reads them once.
enum EntryPart {
    Own {
        entry: Arc<EntryChunks>,
        first: usize,
        count: usize,
    },
    Held(Arc<HeldRange>),
    /// More than one part of another's entry.
    Joined(Vec<u8>),
}

impl EntryPart {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own { entry, first, count } => entry.bytes(*first, *count).unwrap_or(&[]),
            Self::Held(range) => &range.bytes,
            Self::Joined(bytes) => bytes,
        }
    }
}

/// One owner's view of its stage's merge.
pub struct Owner<'a> {
    ctx: &'a EpochContext,
    view: MergeView,
    shards: Shards,
    position: usize,
    chunks: usize,
}

/// Runs the three windows. Returns without having taken part when this miner did not commit.
///
/// # Errors
/// When the disk or the session fails. Missing entries and a busy chain are not errors.
pub async fn take_part(
    ctx: &EpochContext,
    session: &mut Session,
    submitter: &Submitter,
    start: &OuterState,
    journal: &mut EpochJournal,
    records: &[Record],
) -> anyhow::Result<()> {
    let seed = session
        .wait_until(|view| past(view.epoch() > ctx.epoch, view.phase() > Phase::Open, view.clock.seed))
        .await?;
    let Some(seed) = seed else { return Ok(()) };
    let view = read_merge(ctx, session).await?;
    let chunks = entry_chunks(&ctx.params, start);
    let Some(owner) = Owner::new(ctx, view, &seed, chunks)? else { return Ok(()) };
    owner.attest(session, submitter).await?;
    let Some(owner) = owner.with_entry_set(session).await? else { return Ok(()) };
    let (salt, merged) = owner.blind(session, submitter, journal, records).await?;
    owner.open(session, submitter, salt, merged).await
}

/// The seed once it is there, nothing once the window is past, or keep waiting.
#[expect(clippy::option_option, reason = "wait_until's own Option says whether to go on waiting")]
fn past(next_epoch: bool, over: bool, seed: Option<Hash>) -> Option<Option<Hash>> {
    if next_epoch || over {
        Some(None)
    } else {
        seed.map(Some)
    }
}

impl<'a> Owner<'a> {
    /// The owner that this miner is in a merge; none if it did not commit. `chunks` is the length of an entry.
    ///
    /// # Errors
    /// When there are more than 64 committers or the entry has 2^32 chunks.
    pub fn new(
        ctx: &'a EpochContext,
        view: MergeView,
        seed: &Hash,
        chunks: usize,
    ) -> anyhow::Result<Option<Self>> {
        let Some(position) = view.commits.iter().position(|commit| commit.uid == ctx.me.uid) else {
            return Ok(None);
        };
        let count = u32::try_from(chunks).context("entry has more chunks than fit into u32")?;
        let shards = Shards::new(seed, ctx.stage, view.commits.len(), count).with_context(|| {
            format!("stage {} has {} committers, expected 1 to 64", ctx.stage, view.commits.len())
        })?;
        Ok(Some(Self { ctx, view, shards, position, chunks }))
    }

    fn owned(&self) -> Vec<(u16, Range<u32>)> {
        self.shards
            .owned_by(self.position)
            .into_iter()
            .map(|shard| (shard, self.shards.chunks(shard)))
            .collect()
    }

    fn member(&self, uid: Uid) -> Option<&MemberView> {
        self.ctx.members.iter().find(|member| member.uid == uid)
    }

    /// Fetches the entries of all committers for the shards owned here and says whose it holds.
    async fn attest(&self, session: &mut Session, submitter: &Submitter) -> anyhow::Result<()> {
        let own = self.view.commits.get(self.position).and_then(|commit| commit.attested);
        if own.is_some() {
            return Ok(());
        }
        let mut fetching = std::pin::pin!(self.fetch_entries());
        let mut whole = tokio::time::timeout(FIRST, &mut fetching).await.is_ok();
        loop {
            let view = session.current().await?;
            let last = view.head.number >= submit_by(&view.schedule.window(Phase::Attest), self.ctx);
            if view.epoch() != self.ctx.epoch || view.phase() > Phase::Attest {
                tracing::warn!(epoch = %self.ctx.epoch, "the attest window closed before this owner held anything");
                return Ok(());
            }
            if whole || last {
                let call = Call::attest(self.ctx.run, self.ctx.epoch, self.held());
                return self.submit_until(session, submitter, &call, Phase::Attest).await;
            }
            // Fetching goes on meanwhile: on a slow link no part of an answer is thrown away.
            tokio::select! {
                () = &mut fetching => whole = true,
                next = session.next() => drop(next?),
            }
        }
    }

    /// Fetches what this owner needs of all entries and checks it against their roots, until it holds all.
    /// What it holds stays when the future is dropped.
    pub async fn fetch_entries(&self) {
        // All at once: one silent author must not keep this owner from attesting the others.
        let authors: Vec<_> =
            self.view.commits.iter().map(|commit| self.fetch_all_of(commit).boxed()).collect();
        futures::future::join_all(authors).await;
    }

    async fn fetch_all_of(&self, commit: &CommitView) {
        let ranges: Vec<_> = self.owned().into_iter().map(|(_, range)| range).collect();
        loop {
            match self.hold(commit, &ranges, &[], Until::DROPPED).await {
                Ok(()) => return,
                Err(error @ HoldError::NotCanonical { .. }) => {
                    tracing::warn!(%error, "its author can give nothing else; not asked again");
                    return;
                }
                Err(error) => tracing::debug!(author = %commit.uid, %error, "entry not held yet"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Of whom this owner holds all that it needs.
    #[must_use]
    pub fn held(&self) -> Bitmap {
        let owned = self.owned();
        let (store, merge) = (&self.ctx.store, &self.ctx.params.merge);
        let holds = |author: Uid| {
            let mut parts = owned.iter().flat_map(|(_, range)| fetch::entry_parts(range, merge));
            author == self.ctx.me.uid
                || parts.all(|part| store.held(self.ctx.epoch, author, part.start).is_some())
        };
        let whole = self.view.commits.iter().enumerate().filter(|(_, commit)| holds(commit.uid));
        whole.fold(Bitmap::default(), |bitmap, (position, _)| bitmap.with(position))
    }

    /// Makes sure that ranges of an entry are in the store, from its author or others that hold them. A part that
    /// cannot be had does not end the others, which may be on their way.
    async fn hold(
        &self,
        commit: &CommitView,
        ranges: &[Range<u32>],
        others: &[MemberView],
        until: Until,
    ) -> Result<(), HoldError> {
        if commit.uid == self.ctx.me.uid {
            return Ok(());
        }
        let mut holders: Vec<MemberView> = self.member(commit.uid).cloned().into_iter().collect();
        holders.extend_from_slice(others);
        let parts = ranges.iter().flat_map(|range| fetch::entry_parts(range, &self.ctx.params.merge));
        let parts: Vec<_> = parts.map(|part| self.hold_part(commit, part, &holders, until).boxed()).collect();
        let held: Vec<_> = stream::iter(parts).buffer_unordered(PARTS_AT_ONCE).collect().await;
        let failed = held.into_iter().filter_map(Result::err);
        // What no repetition mends decides.
        failed.min_by_key(|error| matches!(error, HoldError::Fetch(_))).map_or(Ok(()), Err)
    }

    async fn hold_part(
        &self,
        commit: &CommitView,
        part: Range<u32>,
        holders: &[MemberView],
        until: Until,
    ) -> Result<(), HoldError> {
        let (ctx, author, first) = (self.ctx, commit.uid, part.start);
        if ctx.store.held(ctx.epoch, author, first).is_some() {
            return Ok(());
        }
        let (root, merge) = (commit.work.entry_root, &ctx.params.merge);
        let (total, count, chunk_len) = (self.chunks, part.end.saturating_sub(first), chunk_len(merge));
        let wanted = EntryRange { author, root, total, first, count, chunk_len };
        let (bytes, proof) = fetch::entry(&ctx.network, holders, ctx.run, ctx.epoch, wanted, until).await?;
        check_chunks(merge, &bytes).map_err(|cause| HoldError::NotCanonical { author, cause })?;
        ctx.store.put_held(ctx.epoch, author, first, HeldRange { count, bytes, proof });
        Ok(())
    }

    /// One entry's range, from the store.
    fn part(&self, author: Uid, range: &Range<u32>) -> Option<EntryPart> {
        let (store, epoch) = (&self.ctx.store, self.ctx.epoch);
        if author == self.ctx.me.uid {
            let (entry, first) = (store.entry(epoch)?, usize::try_from(range.start).ok()?);
            entry.bytes(first, range.len())?;
            return Some(EntryPart::Own { entry, first, count: range.len() });
        }
        let parts = fetch::entry_parts(range, &self.ctx.params.merge);
        let mut held = parts.map(|part| store.held(epoch, author, part.start)).collect::<Option<Vec<_>>>()?;
        match held.len() {
            1 => held.pop().map(EntryPart::Held),
            _ => {
                let slices: Vec<&[u8]> = held.iter().map(|range| range.bytes.as_slice()).collect();
                Some(EntryPart::Joined(slices.concat()))
            }
        }
    }

    /// Waits until the chain has fixed the entry set.
    async fn with_entry_set(self, session: &mut Session) -> anyhow::Result<Option<Self>> {
        let (epoch, run) = (self.ctx.epoch, self.ctx.run);
        loop {
            let view = session.current().await?;
            if view.epoch() != epoch || view.phase() > Phase::Open {
                tracing::warn!(%epoch, %run, "the merge windows closed before the entry set was seen");
                return Ok(None);
            }
            if view.phase() >= Phase::Blind {
                let merge = read_merge(self.ctx, session).await?;
                if merge.entry_set.is_some() {
                    return Ok(Some(Self { view: merge, ..self }));
                }
            }
            session.next().await?;
        }
    }

    /// Merges the owned shards and blinds their hashes. After a restart the journal's hashes stand.
    async fn blind(
        &self,
        session: &mut Session,
        submitter: &Submitter,
        journal: &mut EpochJournal,
        records: &[Record],
    ) -> anyhow::Result<([u8; 32], Merged)> {
        let journalled = records.iter().rev().find_map(|record| match record {
            Record::Blind { salt, hashes } => Some((*salt, hashes.clone())),
            _ => None,
        });
        let deadline = submit_in(self.ctx, session, Phase::Blind, FIRST).await?;
        let (salt, merged) = match journalled {
            Some((salt, hashes)) if self.keeps(&hashes) => (salt, Merged { hashes, writes: Vec::new() }),
            // It ended before the disk had them: merged again for whoever asks, and what was said stands.
            Some((salt, hashes)) => (salt, Merged { hashes, ..self.merge_owned(deadline).await? }),
            None => {
                let fresh = (rand::random::<[u8; 32]>(), self.merge_owned(deadline).await?);
                journal.append(&Record::Blind { salt: fresh.0, hashes: fresh.1.hashes.clone() })?;
                journal.sync()?;
                fresh
            }
        };
        let done = self.view.commits.get(self.position).is_some_and(|commit| commit.blind.is_some());
        if !done {
            let (me, hashes) = (&self.ctx.me, &merged.hashes);
            let blind = blind_hash(me.uid, me.incarnation, self.ctx.epoch, &salt, hashes);
            let call = Call::blind_merge(self.ctx.run, self.ctx.epoch, blind);
            self.submit_until(session, submitter, &call, Phase::Blind).await?;
        }
        Ok((salt, merged))
    }

    /// Whether all shards are there for whose hashes this owner stands.
    fn keeps(&self, hashes: &ShardHashes) -> bool {
        let (store, epoch) = (&self.ctx.store, self.ctx.epoch);
        hashes.iter().all(|(shard, hash)| hash.is_none() || store.merged(epoch, *shard).is_some())
    }

    /// Merges the owned shards over the entry set and keeps them. What is missing is fetched until the deadline;
    /// on shards that still lack something this owner has nothing to say. The disk goes on working: what is
    /// blinded says nothing yet, and is merged again if it is lost before it is opened.
    ///
    /// # Errors
    /// When entries that were attested cannot be merged.
    pub async fn merge_owned(&self, deadline: Instant) -> anyhow::Result<Merged> {
        let (mut hashes, mut writes) = (Vec::new(), Vec::new());
        for (shard, range) in self.owned() {
            let merged = self.merge_one(shard, &range, deadline).await?;
            hashes.push((shard, merged.as_ref().map(|(hash, _)| *hash)));
            writes.extend(merged.map(|(_, bytes)| {
                let (store, epoch, bytes) = (Arc::clone(&self.ctx.store), self.ctx.epoch, Arc::new(bytes));
                store.hold_merged(epoch, shard, Arc::clone(&bytes));
                tokio::task::spawn_blocking(move || store.put_merged(epoch, shard, bytes))
            }));
        }
        let hashes = hashes
            .try_into()
            .map_err(|_| anyhow::anyhow!("more than 64 owned shards in epoch {}", self.ctx.epoch))?;
        Ok(Merged { hashes, writes })
    }

    /// Merges one shard; `None` when an entry of the set is missing here: missing, not different.
    async fn merge_one(
        &self,
        shard: u16,
        range: &Range<u32>,
        deadline: Instant,
    ) -> anyhow::Result<Option<(Hash, Vec<u8>)>> {
        let Some(mut bytes) = self.recompute(shard, range, deadline).await? else { return Ok(None) };
        if self.ctx.fault == Some(Fault::WrongShards) {
            // Still canonical: a code that is 0 becomes 1, any other 0.
            bytes.iter_mut().rev().take(1).for_each(|code| *code = u8::from(*code == 0));
        }
        let hash = shard_hash(self.ctx.run, self.ctx.epoch, self.ctx.stage, shard, &bytes);
        Ok(Some((hash, bytes)))
    }

    /// The merge rule over the entry set, fetching what is missing from anyone who attested it.
    async fn recompute(
        &self,
        shard: u16,
        range: &Range<u32>,
        deadline: Instant,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        let set = self.view.entry_set.unwrap_or_default();
        let partner = self.shards.partner(shard, self.position).and_then(|p| self.view.commits.get(p));
        let others: Vec<MemberView> =
            partner.and_then(|commit| self.member(commit.uid)).cloned().into_iter().collect();
        let mut entries = Vec::new();
        for (position, commit) in self.view.commits.iter().enumerate() {
            if !set.contains(position) {
                continue;
            }
            let until = Until::at(deadline);
            if let Err(error) = self.hold(commit, std::slice::from_ref(range), &others, until).await {
                tracing::warn!(shard, author = %commit.uid, %error, "entry of the set is missing; this owner has nothing to say on the shard");
                return Ok(None);
            }
            let Some(part) = self.part(commit.uid, range) else { return Ok(None) };
            entries.push((commit.work.samples, part));
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let entries: Vec<EntryShard<'_>> = entries
            .iter()
            .map(|(samples, part)| EntryShard { samples: *samples, bytes: part.bytes() })
            .collect();
        let merged = tokio::task::block_in_place(|| merge_shard(&self.ctx.params.merge, &entries));
        Ok(Some(merged.with_context(|| format!("merging shard {shard} of epoch {}", self.ctx.epoch))?))
    }

    async fn open(
        &self,
        session: &mut Session,
        submitter: &Submitter,
        salt: [u8; 32],
        merged: Merged,
    ) -> anyhow::Result<()> {
        let epoch = self.ctx.epoch;
        let hashes = merged.on_disk().await?;
        session
            .wait_until(|view| (view.epoch() != epoch || view.phase() >= Phase::Open).then_some(()))
            .await?;
        let done = self.view.commits.get(self.position).is_some_and(|commit| commit.opened);
        if done {
            return Ok(());
        }
        self.submit_until(
            session,
            submitter,
            &Call::open_merge(self.ctx.run, epoch, salt, &hashes),
            Phase::Open,
        )
        .await
    }

    /// Submits a call once its window is open, again if the node lost it, until the window closes.
    async fn submit_until(
        &self,
        session: &mut Session,
        submitter: &Submitter,
        call: &Call,
        phase: Phase,
    ) -> anyhow::Result<()> {
        loop {
            let view = session.current().await?;
            if view.epoch() != self.ctx.epoch || view.phase() > phase {
                tracing::warn!(call = call.name(), epoch = %self.ctx.epoch, "the window closed before the call was included");
                return Ok(());
            }
            if view.phase() == phase {
                match submitter.submit(call).await {
                    Ok(_) => return Ok(()),
                    Err(error) if error.is_final() => {
                        tracing::warn!(call = call.name(), %error, "refused by the chain");
                        return Ok(());
                    }
                    Err(error) => tracing::warn!(call = call.name(), %error, "trying again"),
                }
            }
            session.next().await?;
        }
    }
}

/// When a call of a window has to leave, by the finalized head and the time that a block takes, and not before
/// `least` has passed.
///
/// # Errors
/// When the session ends.
pub(crate) async fn submit_in(
    ctx: &EpochContext,
    session: &mut Session,
    phase: Phase,
    least: Duration,
) -> anyhow::Result<Instant> {
    let view = session.current().await?;
    let blocks = submit_by(&view.schedule.window(phase), ctx).saturating_sub(view.head.number);
    Ok(Instant::now() + session.chain.block_time().saturating_mul(blocks).max(least))
}

/// Finalized head by which a call of a window should leave, to be included before it closes.
fn submit_by(window: &Range<u32>, ctx: &EpochContext) -> u32 {
    window.end.saturating_sub(ctx.params.phases.margin).saturating_sub(FINALITY_LAG_BLOCKS).saturating_sub(1)
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
