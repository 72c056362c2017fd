//! Committing to a score row and revealing it. Row and salt are on disk before the hash leaves, so a
//! restart reveals what it committed.

use std::path::{Path, PathBuf};

use anyhow::Context;
use codec::{Decode, Encode};
use iota_chain::{Call, Submitter};
use iota_protocol::ids::{Epoch, Hash};
use iota_protocol::view::{MemberView, ScoreView};
use iota_protocol::work::{scores_hash, ScoreEntry, ScoreReveal};
use iota_service::journal::atomic_write;
use iota_worker::session::Session;

fn path(dir: &Path, epoch: Epoch) -> PathBuf {
    dir.join(format!("scores-{epoch}"))
}

/// A row that was committed or is about to be.
///
/// # Errors
/// When the disk is full or the row is longer than the chain takes.
pub fn prepare(
    dir: &Path,
    epoch: Epoch,
    row: Vec<ScoreEntry>,
    report_root: Hash,
) -> anyhow::Result<ScoreReveal> {
    if let Some(known) = recall(dir, epoch) {
        return Ok(known);
    }
    let count = row.len();
    let entries =
        row.try_into().map_err(|_| anyhow::anyhow!("row of {count} entries; the chain takes 256"))?;
    let reveal = ScoreReveal { entries, salt: rand::random(), report_root };
    let path = path(dir, epoch);
    atomic_write(&path, &reveal.encode()).with_context(|| format!("writing {}", path.display()))?;
    Ok(reveal)
}

/// The row that was prepared for an epoch, if one was.
#[must_use]
pub fn recall(dir: &Path, epoch: Epoch) -> Option<ScoreReveal> {
    let bytes = std::fs::read(path(dir, epoch)).ok()?;
    ScoreReveal::decode(&mut bytes.as_slice()).ok()
}

/// Commits in the window and reveals in the next one. Reads the chain before each call.
///
/// # Errors
/// When the session ends.
pub async fn commit_and_reveal(
    session: &mut Session,
    submitter: &Submitter,
    me: &MemberView,
    epoch: Epoch,
    reveal: &ScoreReveal,
) -> anyhow::Result<()> {
    let genesis = session.chain.genesis();
    let hash = scores_hash(&genesis, session.run, &me.hotkey, me.incarnation, epoch, reveal);
    loop {
        let view = session.current().await?;
        let block = view.head.number;
        if view.epoch() != epoch.next() || block >= view.schedule.score_reveal().end {
            tracing::warn!(%epoch, "the reveal window closed before the row was revealed");
            return Ok(());
        }
        let mine = own(session, me, epoch).await?;
        let revealed = mine.as_ref().is_some_and(|score| score.entries.is_some());
        if revealed {
            tracing::info!(%epoch, "scores revealed");
            return Ok(());
        }
        let call = match mine {
            None if view.schedule.score_commit().contains(&block) => {
                Some(Call::commit_scores(session.run, epoch, hash))
            }
            Some(_) if view.schedule.score_reveal().contains(&block) => {
                Some(Call::reveal_scores(session.run, epoch, me.uid, reveal))
            }
            _ => None,
        };
        if let Some(call) = call {
            if let Err(error) = submitter.submit_finalized(&call).await {
                tracing::warn!(call = call.name(), %epoch, %error, "trying again at the next block");
            }
        }
        session.next().await?;
    }
}

async fn own(session: &Session, me: &MemberView, epoch: Epoch) -> anyhow::Result<Option<ScoreView>> {
    let scores = session.chain.at_finalized().await?.scores(session.run, epoch).await?;
    Ok(scores.into_iter().find(|score| score.uid == me.uid && score.incarnation == me.incarnation))
}
