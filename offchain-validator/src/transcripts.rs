//! Audit transcripts: committed beside the score row, opened beside its reveal, and paid. What is
//! committed is on disk with its salt first, so a restart opens what it committed.

use std::path::{Path, PathBuf};

use anyhow::Context;
use codec::{Decode, Encode};
use iota_chain::{Call, Submitter};
use iota_protocol::court::AuditsView;
use iota_protocol::emission::MAX_TRANSCRIPTS;
use iota_protocol::ids::Epoch;
use iota_protocol::report::Verdict;
use iota_protocol::view::MemberView;
use iota_protocol::work::{transcripts_hash, Transcript, Transcripts};
use iota_service::journal::atomic_write;
use iota_worker::session::Session;

use crate::audit::Audit;

/// Transcripts with the salt of their commit.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Prepared {
    /// Keeps short lists from being guessed.
    pub salt: [u8; 32],
    /// One for each audited miner.
    pub transcripts: Transcripts,
}

fn path(dir: &Path, epoch: Epoch) -> PathBuf {
    dir.join(format!("transcripts-{epoch}"))
}

/// What was or is about to be committed; nothing where no audit came to an end.
///
/// # Errors
/// When the disk is full.
pub fn prepare(dir: &Path, epoch: Epoch, audits: &[Audit]) -> anyhow::Result<Option<Prepared>> {
    if let Some(known) = recall(dir, epoch) {
        return Ok(Some(known));
    }
    let transcripts = of(audits);
    if transcripts.is_empty() {
        return Ok(None);
    }
    let prepared = Prepared { salt: rand::random(), transcripts };
    let path = path(dir, epoch);
    atomic_write(&path, &prepared.encode()).with_context(|| format!("writing {}", path.display()))?;
    Ok(Some(prepared))
}

/// What was prepared for an epoch, if anything was.
#[must_use]
pub fn recall(dir: &Path, epoch: Epoch) -> Option<Prepared> {
    let bytes = std::fs::read(path(dir, epoch)).ok()?;
    Prepared::decode(&mut bytes.as_slice()).ok()
}

/// Transcripts of audits that came to an end, ascending by uid, as many as are paid.
fn of(audits: &[Audit]) -> Transcripts {
    let decided = audits.iter().filter(|audit| audit.verdict != Verdict::Undecided);
    let transcript = |audit: &Audit| Transcript {
        uid: audit.uid,
        incarnation: audit.incarnation,
        segment: audit.from_version.0,
        root: audit.root,
        agrees: audit.verdict == Verdict::Sound,
    };
    let most = usize::try_from(MAX_TRANSCRIPTS).unwrap_or(usize::MAX);
    let mut list: Vec<Transcript> = decided.map(transcript).take(most).collect();
    list.sort_by_key(|own| own.uid);
    list.dedup_by_key(|own| own.uid);
    list.try_into().unwrap_or_default()
}

/// Commits in the window for rows and opens in that for reveals. Reads the chain before each call.
///
/// # Errors
/// When the session ends.
pub async fn commit_and_open(
    session: &mut Session,
    submitter: &Submitter,
    me: &MemberView,
    epoch: Epoch,
    prepared: &Prepared,
) -> anyhow::Result<()> {
    let Prepared { salt, transcripts } = prepared;
    let hash = transcripts_hash(&session.chain.genesis(), session.run, &me.hotkey, epoch, salt, transcripts);
    loop {
        let view = session.current().await?;
        let block = view.head.number;
        if view.epoch() != epoch.next() || block >= view.schedule.score_reveal().end {
            tracing::warn!(%epoch, "the window closed before the transcripts were opened; they are not paid");
            return Ok(());
        }
        let call = match own(session, me, epoch).await? {
            Some(audits) if audits.opened.is_some() => {
                tracing::info!(%epoch, count = transcripts.len(), "audit transcripts opened");
                return Ok(());
            }
            None if view.schedule.score_commit().contains(&block) => {
                Some(Call::commit_transcripts(session.run, epoch, hash))
            }
            Some(_) if view.schedule.score_reveal().contains(&block) => {
                Some(Call::submit_transcripts(session.run, epoch, *salt, transcripts))
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

async fn own(session: &Session, me: &MemberView, epoch: Epoch) -> anyhow::Result<Option<AuditsView>> {
    let court = session.chain.at_finalized().await?.court(session.run, epoch).await?;
    Ok(court.audits.into_iter().find(|own| own.uid == me.uid && own.incarnation == me.incarnation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use iota_protocol::ids::{Hash, Incarnation, Uid, Version};

    fn audit(uid: u16, verdict: Verdict) -> Audit {
        Audit {
            uid: Uid(uid),
            incarnation: Incarnation(uid.into()),
            from_version: Version(4),
            verdict,
            events: 1,
            reason: String::new(),
            missing: None,
            root: Hash([7; 32]),
        }
    }

    #[test]
    fn only_audits_that_came_to_an_end_leave_a_transcript_and_no_more_than_are_paid() {
        let dir = tempfile::tempdir().unwrap();
        let undecided = [audit(5, Verdict::Undecided)];
        assert_eq!(prepare(dir.path(), Epoch(1), &undecided).unwrap(), None);
        let audits = [
            audit(5, Verdict::Undecided),
            audit(9, Verdict::Sound),
            audit(2, Verdict::Invalid),
            audit(1, Verdict::Sound),
        ];
        let prepared = prepare(dir.path(), Epoch(1), &audits).unwrap().unwrap();
        let said: Vec<_> = prepared.transcripts.iter().map(|own| (own.uid.0, own.agrees)).collect();
        assert_eq!(said, [(2, false), (9, true)]);
    }

    #[test]
    fn a_restart_opens_what_was_committed() {
        let dir = tempfile::tempdir().unwrap();
        let first = prepare(dir.path(), Epoch(1), &[audit(2, Verdict::Sound)]).unwrap();
        assert!(first.is_some());
        assert_eq!(prepare(dir.path(), Epoch(1), &[audit(3, Verdict::Invalid)]).unwrap(), first);
        assert_eq!(prepare(dir.path(), Epoch(2), &[]).unwrap(), None, "each epoch has its own");
    }
}
