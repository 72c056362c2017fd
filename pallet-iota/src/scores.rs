//! Scores: a validator commits to a row for the epoch before, then anyone reveals it.

use iota_protocol::{
    ids::{Epoch, Hash, RunId, Uid},
    params::RunParams,
    phase::Schedule,
    work::{scores_hash, Role, ScoreEntry, ScoreReveal},
};
use polkadot_sdk::{
    frame_support::{ensure, pallet_prelude::DispatchResult},
    sp_runtime::AccountId32,
};

use crate::{
    pallet::{Config, Error, Event, Pallet, Scores, Snapshots},
    types::{Clock, Row, Score, Snapshot, State},
};

impl<T: Config> Pallet<T> {
    /// Parameters and clock of a run in which `epoch` is the one being scored.
    pub(crate) fn scoring(run: RunId, epoch: Epoch) -> Result<(RunParams, Clock), Error<T>> {
        let (params, clock) = Self::run_of(run)?;
        ensure!(clock.state == State::Running, Error::<T>::NotRunning);
        ensure!(clock.epoch.previous() == Some(epoch), Error::<T>::WrongEpoch);
        Ok((params, clock))
    }

    pub(crate) fn check_commit_scores(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
    ) -> Result<(Uid, Score), Error<T>> {
        let (params, clock) = Self::scoring(run, epoch)?;
        let open = clock.schedule(&params).score_commit().contains(&Self::now());
        ensure!(open, Error::<T>::CommitTooLate);
        let (uid, member) = Self::member_of(run, who)?;
        ensure!(member.role == Role::Validator, Error::<T>::NotValidator);
        let snapshot = Snapshots::<T>::get((run, epoch)).unwrap_or_default();
        let permitted =
            snapshot.validators.iter().any(|v| v.uid == uid && v.incarnation == member.incarnation);
        ensure!(permitted, Error::<T>::NotValidator);
        ensure!(!Scores::<T>::contains_key((run, epoch), uid), Error::<T>::AlreadyCommitted);
        Ok((uid, Score { incarnation: member.incarnation, commit: Hash::ZERO, row: None }))
    }

    pub(crate) fn do_commit_scores(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        hash: Hash,
    ) -> DispatchResult {
        let (uid, score) = Self::check_commit_scores(who, run, epoch)?;
        Scores::<T>::insert((run, epoch), uid, Score { commit: hash, ..score });
        Self::deposit_event(Event::ScoresCommitted { run, epoch, uid, hash });
        Ok(())
    }

    pub(crate) fn check_reveal_scores(
        run: RunId,
        epoch: Epoch,
        author: Uid,
        reveal: &ScoreReveal,
    ) -> Result<Score, Error<T>> {
        let (params, clock) = Self::scoring(run, epoch)?;
        Self::check_reveal_window(&clock.schedule(&params))?;
        let score = Scores::<T>::get((run, epoch), author).ok_or(Error::<T>::NoCommit)?;
        ensure!(score.row.is_none(), Error::<T>::AlreadyRevealed);
        let snapshot = Snapshots::<T>::get((run, epoch)).unwrap_or_default();
        let validator =
            snapshot.validators.iter().find(|v| v.uid == author && v.incarnation == score.incarnation);
        let hotkey = validator.map(|v| v.hotkey).ok_or(Error::<T>::NotMember)?;
        let found = scores_hash(&Self::genesis_hash(), run, &hotkey, score.incarnation, epoch, reveal);
        if found != score.commit {
            let mut others = Scores::<T>::iter_prefix((run, epoch)).filter(|(uid, _)| *uid != author);
            let copied = others.any(|(_, other)| other.commit == score.commit);
            return Err(if copied { Error::<T>::CopiedCommit } else { Error::<T>::HashMismatch });
        }
        let ascending = reveal.entries.iter().zip(reveal.entries.iter().skip(1)).all(|(a, b)| a.uid < b.uid);
        ensure!(ascending, Error::<T>::Unsorted);
        // Miners that left with a void epoch are scored by the rows of the next.
        let void = Self::waits_for_second_scoring(run, epoch);
        let void = void.and_then(|void| Snapshots::<T>::get((run, void))).unwrap_or_default();
        let known = |entry: &ScoreEntry| stands_in(&snapshot, entry) || stands_in(&void, entry);
        ensure!(reveal.entries.iter().all(known), Error::<T>::UnknownMiner);
        Ok(score)
    }

    /// Whether what was committed may be opened in this block.
    pub(crate) fn check_reveal_window(schedule: &Schedule) -> Result<(), Error<T>> {
        let (window, now) = (schedule.score_reveal(), Self::now());
        ensure!(now >= window.start, Error::<T>::RevealTooEarly);
        ensure!(now < window.end, Error::<T>::RevealTooLate);
        Ok(())
    }

    pub(crate) fn do_reveal_scores(
        run: RunId,
        epoch: Epoch,
        author: Uid,
        reveal: ScoreReveal,
    ) -> DispatchResult {
        let mut score = Self::check_reveal_scores(run, epoch, author, &reveal)?;
        let ScoreReveal { entries, report_root, .. } = reveal;
        let scored = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        score.row = Some(Row { entries, report_root });
        Scores::<T>::insert((run, epoch), author, score);
        Self::deposit_event(Event::ScoresRevealed { run, epoch, uid: author, entries: scored, report_root });
        Ok(())
    }
}

/// Whether a scored miner stands in a snapshot, which is sorted by uid.
fn stands_in(snapshot: &Snapshot, entry: &ScoreEntry) -> bool {
    let found = snapshot.miners.binary_search_by_key(&entry.uid, |miner| miner.uid).ok();
    found.and_then(|at| snapshot.miners.get(at)).is_some_and(|miner| miner.incarnation == entry.incarnation)
}
