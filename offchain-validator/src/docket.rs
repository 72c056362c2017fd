//! What this validator found about an epoch, on disk before it says so on chain: a restart repeats itself
//! and never contradicts itself.
//!
//! One file for each epoch, written whole. The first judgement of a segment stands; the evidence behind
//! an accusation of ours lies in a file of its own and is served from there.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use codec::{Decode, Encode};
use iota_protocol::case::Case;
use iota_protocol::court::Accused;
use iota_protocol::ids::{Epoch, Hash, Incarnation, Uid};
use iota_protocol::wire::STEP_STATE_PART;
use iota_service::journal::atomic_write;

/// Epochs whose dockets and cases are kept: the chain judges an epoch in the two after it, and one more
/// serves those who look later.
const KEPT_EPOCHS: u32 = 4;

/// What a replay of one segment found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Judgement {
    /// The miner.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// First local step of the segment, or the number of a merge shard ([`Accused::number`]).
    pub segment: u32,
    /// Whether the miner did not do what it says.
    pub guilty: bool,
    /// Root over the replayed events, or the hash of the shard as it should be.
    pub root: Hash,
    /// Whether it is an audit of ours; otherwise the re-check of an accusation.
    pub own: bool,
}

/// Evidence that a miner did not give us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Missing {
    /// The miner.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// What was asked for.
    pub wanted: Hash,
}

/// Findings about one epoch.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Docket {
    /// Judgements in the order in which they were made.
    pub judgements: Vec<Judgement>,
    /// Missing evidence, at most one piece for each miner.
    pub missing: Vec<Missing>,
}

fn docket_path(dir: &Path, epoch: Epoch) -> PathBuf {
    dir.join(format!("docket-{epoch}"))
}

/// File of the evidence behind an accusation.
#[must_use]
pub fn case_path(dir: &Path, epoch: Epoch, uid: Uid, segment: u32) -> PathBuf {
    dir.join(format!("case-{epoch}-{uid}-{segment}"))
}

impl Docket {
    fn recall(dir: &Path, epoch: Epoch) -> Self {
        let bytes = std::fs::read(docket_path(dir, epoch)).ok();
        bytes.and_then(|bytes| Self::decode(&mut bytes.as_slice()).ok()).unwrap_or_default()
    }

    /// The judgement of a segment.
    #[must_use]
    pub fn find(&self, uid: Uid, segment: u32) -> Option<&Judgement> {
        self.judgements.iter().find(|own| (own.uid, own.segment) == (uid, segment))
    }

    /// This validator's own audit of a miner's log.
    #[must_use]
    pub fn audited(&self, uid: Uid) -> Option<&Judgement> {
        let of_log = |own: &&Judgement| matches!(Accused::of(own.segment), Accused::Segment(_));
        self.judgements.iter().filter(of_log).find(|own| own.own && own.uid == uid)
    }

    fn write(&self, dir: &Path, epoch: Epoch) -> anyhow::Result<()> {
        let path = docket_path(dir, epoch);
        atomic_write(&path, &self.encode()).with_context(|| format!("writing {}", path.display()))
    }
}

/// All dockets of a validator. The task that scores and the one that judges write them in turn.
pub struct Dockets {
    dir: PathBuf,
    turn: Mutex<()>,
}

impl Dockets {
    /// Those in a folder.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, turn: Mutex::new(()) }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is on disk about an epoch; empty where nothing is.
    #[must_use]
    pub fn recall(&self, epoch: Epoch) -> Docket {
        Docket::recall(&self.dir, epoch)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        // A panic while holding the lock leaves whole files behind.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a judgement unless the segment has one; returns the one that stands.
    ///
    /// # Errors
    /// When the disk is full: then nothing may be said on chain.
    pub fn judge(&self, epoch: Epoch, judgement: Judgement) -> anyhow::Result<Judgement> {
        let _turn = self.turn();
        let mut docket = self.recall(epoch);
        if let Some(known) = docket.find(judgement.uid, judgement.segment) {
            return Ok(*known);
        }
        docket.judgements.push(judgement);
        docket.write(&self.dir, epoch)?;
        Ok(judgement)
    }

    /// Keeps that a piece of evidence is missing, unless one of that miner is known to be.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn miss(&self, epoch: Epoch, missing: Missing) -> anyhow::Result<()> {
        let _turn = self.turn();
        let mut docket = self.recall(epoch);
        if docket.missing.iter().any(|known| known.uid == missing.uid) {
            return Ok(());
        }
        docket.missing.push(missing);
        docket.write(&self.dir, epoch)
    }

    /// Keeps the evidence behind an accusation to be, before the judgement that rests on it.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn keep_case(&self, case: &Case) -> anyhow::Result<()> {
        let path = case_path(&self.dir, case.epoch, case.uid, case.segment);
        atomic_write(&path, &case.encode()).with_context(|| format!("writing {}", path.display()))
    }

    /// One part of the evidence behind an accusation of ours.
    #[must_use]
    pub fn case_part(&self, epoch: Epoch, uid: Uid, segment: u32, part: u32) -> Option<Vec<u8>> {
        let bytes = std::fs::read(case_path(&self.dir, epoch, uid, segment)).ok()?;
        let start = usize::try_from(part).ok()?.checked_mul(STEP_STATE_PART)?;
        let end = start.saturating_add(STEP_STATE_PART).min(bytes.len());
        bytes.get(start..end).map(<[u8]>::to_vec)
    }

    /// Deletes what nobody can judge any more.
    pub fn forget_before(&self, current: Epoch) {
        let _turn = self.turn();
        forget_before(&self.dir, current);
    }
}

fn forget_before(dir: &Path, current: Epoch) {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    for file in files {
        let name = file.file_name();
        let old = name
            .to_str()
            .and_then(epoch_of)
            .is_some_and(|epoch| epoch.saturating_add(KEPT_EPOCHS) < current.0);
        if old {
            if let Err(error) = std::fs::remove_file(file.path()) {
                tracing::warn!(path = %file.path().display(), %error, "not deleted; it takes up space for nothing");
            }
        }
    }
}

/// The epoch in the name of a docket's or a case's file.
fn epoch_of(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("docket-").or_else(|| name.strip_prefix("case-"))?;
    rest.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch(5);

    fn judgement(uid: u16, segment: u32, guilty: bool, own: bool) -> Judgement {
        Judgement { uid: Uid(uid), incarnation: Incarnation(1), segment, guilty, root: Hash::ZERO, own }
    }

    fn dockets() -> (tempfile::TempDir, Dockets) {
        let dir = tempfile::tempdir().unwrap();
        let dockets = Dockets::new(dir.path().to_owned());
        (dir, dockets)
    }

    #[test]
    fn the_first_judgement_of_a_segment_stands_also_after_a_restart() {
        let (dir, dockets) = dockets();
        let first = judgement(3, 7, true, true);
        assert_eq!(dockets.judge(EPOCH, first).unwrap(), first);
        // As after a kill between the accusation and the vote: what is found now does not matter.
        let restarted = Dockets::new(dir.path().to_owned());
        assert_eq!(restarted.judge(EPOCH, judgement(3, 7, false, false)).unwrap(), first);
        let other = judgement(3, 8, false, false);
        assert_eq!(restarted.judge(EPOCH, other).unwrap(), other);
        let docket = restarted.recall(EPOCH);
        assert_eq!(docket.judgements, [first, other]);
        assert_eq!((docket.audited(Uid(3)), docket.audited(Uid(4))), (Some(&first), None));
        assert_eq!(restarted.recall(Epoch(6)), Docket::default(), "each epoch has its own");
    }

    #[test]
    fn a_wrong_shard_does_not_stand_for_an_audit_of_the_log() {
        let (_dir, dockets) = dockets();
        let shard = judgement(3, Accused::Shard(0).number(), true, true);
        dockets.judge(EPOCH, shard).unwrap();
        assert_eq!(dockets.recall(EPOCH).audited(Uid(3)), None);
        let log = judgement(3, 7, false, true);
        dockets.judge(EPOCH, log).unwrap();
        assert_eq!(dockets.recall(EPOCH).audited(Uid(3)), Some(&log));
    }

    #[test]
    fn one_piece_of_each_miners_evidence_is_enough_to_miss() {
        let (_dir, dockets) = dockets();
        let missing =
            |uid, wanted| Missing { uid: Uid(uid), incarnation: Incarnation(1), wanted: Hash([wanted; 32]) };
        for (uid, wanted) in [(1, 1), (2, 2), (1, 3)] {
            dockets.miss(EPOCH, missing(uid, wanted)).unwrap();
        }
        dockets.judge(EPOCH, judgement(9, 0, true, true)).unwrap();
        assert_eq!(dockets.recall(EPOCH).missing, [missing(1, 1), missing(2, 2)]);
    }

    #[test]
    fn what_nobody_can_judge_any_more_is_deleted_and_nothing_else() {
        let (dir, dockets) = dockets();
        dockets.judge(EPOCH, judgement(3, 7, true, true)).unwrap();
        for name in ["case-5-3-7", "case-6-3-7", "scores-5", "docket-x"] {
            std::fs::write(dir.path().join(name), b"1").unwrap();
        }
        dockets.forget_before(Epoch(9));
        assert!(case_path(dir.path(), EPOCH, Uid(3), 7).exists(), "kept as long as somebody may ask");
        dockets.forget_before(Epoch(10));
        let mut left: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["case-6-3-7", "docket-x", "scores-5"]);
    }
}
