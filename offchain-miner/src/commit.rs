//! Turning an epoch's training into what stands on chain: entry, roots, `commit_work`.

use std::time::Duration;

use anyhow::Context;
use codec::Encode;
use iota_chain::{Call, Submitter};
use iota_compute::entry::encode_chunks;
use iota_compute::outer::OuterState;
use iota_protocol::ids::Stage;
use iota_protocol::merge::chunk_len;
use iota_protocol::params::RunParams;
use iota_protocol::phase::Phase;
use iota_protocol::view::MergeView;
use iota_protocol::work::WorkCommit;
use iota_worker::fetch::list_root;
use iota_worker::session::Session;

use crate::journal::Record;
use crate::store::{EntryBytes, Store};
use crate::train::{EpochContext, Trained};

/// Reads of the chain that fail are repeated so often, so far apart: a node restarts in seconds.
const READ_RETRIES: u32 = 10;
const READ_RETRY: Duration = Duration::from_millis(800);

/// Makes the entry and the roots, puts them on disk, and returns what is to be committed.
///
/// # Errors
/// When weights are not finite or the disk is full.
pub fn prepare(
    ctx: &EpochContext,
    start: &OuterState,
    local: &[f32],
    trained: &mut Trained,
) -> anyhow::Result<WorkCommit> {
    let merge = &ctx.params.merge;
    let bytes = encode_chunks(&start.weights, local, merge).context("encoding the entry")?;
    let entry = EntryBytes { bytes, chunk_len: chunk_len(merge) };
    let (receipts, log) = (trained.receipts.encode(), trained.log.encode());
    let work = WorkCommit {
        entry_root: ctx.store.put_commit(ctx.epoch, receipts, log, entry)?,
        log_root: list_root(&trained.log),
        receipts_root: list_root(&trained.receipts),
        samples: trained.samples,
        started: trained.started,
    };
    trained.journal.append(&Record::Commit(work.clone()))?;
    trained.journal.sync()?;
    Ok(work)
}

/// Submits `commit_work` until the chain has it or the window is over. Returns whether it has.
///
/// # Errors
/// When the session ends.
pub async fn submit(
    ctx: &EpochContext,
    session: &mut Session,
    submitter: &Submitter,
    work: &WorkCommit,
) -> anyhow::Result<bool> {
    loop {
        let view = session.current().await?;
        if view.epoch() != ctx.epoch || view.phase() > Phase::Commit {
            return Ok(own_commit(ctx, session).await?.is_some());
        }
        if view.phase() == Phase::Commit {
            match submitter.submit(&Call::commit_work(ctx.run, ctx.epoch, work)).await {
                Ok(_) => return Ok(true),
                Err(error) if error.is_final() && own_commit(ctx, session).await?.is_some() => {
                    return Ok(true)
                }
                Err(error) => tracing::warn!(epoch = %ctx.epoch, %error, "commit_work; trying again"),
            }
        }
        session.next().await?;
    }
}

/// Our own commit as the chain has it.
async fn own_commit(ctx: &EpochContext, session: &Session) -> anyhow::Result<Option<WorkCommit>> {
    let merge = read_merge(ctx, session).await?;
    Ok(merge.commits.into_iter().find(|commit| commit.uid == ctx.me.uid).map(|commit| commit.work))
}

/// The merge of our stage as the chain has it.
///
/// # Errors
/// When the node does not answer.
pub async fn read_merge(ctx: &EpochContext, session: &Session) -> anyhow::Result<MergeView> {
    read_stage(ctx, session, ctx.stage).await
}

/// The merge of any stage as the chain has it. A node that restarts is given a few seconds.
///
/// # Errors
/// When the node does not answer for that long.
pub async fn read_stage(ctx: &EpochContext, session: &Session, stage: Stage) -> anyhow::Result<MergeView> {
    for _ in 0..READ_RETRIES {
        let read = async { session.chain.at_finalized().await?.merge(ctx.run, ctx.epoch, stage).await };
        match read.await {
            Ok(merge) => return Ok(merge.unwrap_or_default()),
            Err(error) => tracing::debug!(%error, "reading the merge again"),
        }
        tokio::time::sleep(READ_RETRY).await;
    }
    Ok(session.chain.at_finalized().await?.merge(ctx.run, ctx.epoch, stage).await?.unwrap_or_default())
}

/// Reads back the local files of an epoch that was committed before a restart.
pub fn reload(store: &Store, ctx: &EpochContext) {
    store.load_commit(ctx.epoch, chunk_len(&ctx.params.merge));
}

/// Chunks of a whole entry of this stage.
#[must_use]
pub fn entry_chunks(params: &RunParams, start: &OuterState) -> usize {
    let chunk = usize::try_from(params.merge.chunk).unwrap_or(usize::MAX);
    start.weights.len().checked_div(chunk).unwrap_or(0)
}
