//! Audit transcripts: what pays a validator for audits done (design.md, section 9).
//!
//! A validator commits to its transcripts while score rows are committed and opens them while rows are
//! revealed, so that nobody copies another's. Each names a miner of the audited epoch. The chain cannot
//! replay a segment: a false transcript is met by others who replay it and by accusations.

use codec::{Decode, Encode, MaxEncodedLen};
use iota_protocol::{
    court::AuditsView,
    ids::{Epoch, Hash, Incarnation, RunId, Uid},
    params::MAX_MEMBERS,
    work::{transcripts_hash, Transcripts},
};
use polkadot_sdk::{
    frame_support::{ensure, pallet_prelude::DispatchResult, traits::ConstU32, BoundedVec},
    sp_runtime::AccountId32,
};
use scale_info::TypeInfo;

use crate::{
    pallet::{AuditWorks, Config, Error, Event, Pallet, Snapshots},
    types::{key, MAX_VALIDATORS},
    verdicts::{permitted, worked},
};

/// Audits of one validator and epoch.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct AuditWork {
    /// The validator's incarnation.
    pub incarnation: Incarnation,
    /// Its commit.
    pub commit: Hash,
    /// What it opened.
    pub opened: Option<Transcripts>,
}

impl AuditWork {
    /// What the chain answers about it.
    pub(crate) fn view(&self, uid: Uid) -> AuditsView {
        let opened = self.opened.as_ref().map(|own| own.to_vec());
        AuditsView { uid, incarnation: self.incarnation, commit: self.commit, opened }
    }
}

impl<T: Config> Pallet<T> {
    pub(crate) fn check_commit_transcripts(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
    ) -> Result<(Uid, Incarnation), Error<T>> {
        let (params, clock) = Self::scoring(run, epoch)?;
        let open = clock.schedule(&params).score_commit().contains(&Self::now());
        ensure!(open, Error::<T>::CommitTooLate);
        let (uid, member) = Self::member_of(run, who)?;
        let snapshot = Snapshots::<T>::get((run, epoch)).unwrap_or_default();
        ensure!(permitted(&snapshot, uid, member.incarnation).is_some(), Error::<T>::NotValidator);
        ensure!(!AuditWorks::<T>::contains_key((run, epoch), uid), Error::<T>::AlreadyCommitted);
        Ok((uid, member.incarnation))
    }

    pub(crate) fn do_commit_transcripts(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        hash: Hash,
    ) -> DispatchResult {
        let (uid, incarnation) = Self::check_commit_transcripts(who, run, epoch)?;
        let work = AuditWork { incarnation, commit: hash, opened: None };
        AuditWorks::<T>::insert((run, epoch), uid, work);
        Self::deposit_event(Event::TranscriptsCommitted { run, epoch, uid, hash });
        Ok(())
    }

    pub(crate) fn check_submit_transcripts(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        salt: &[u8; 32],
        transcripts: &Transcripts,
    ) -> Result<(Uid, AuditWork), Error<T>> {
        let (params, clock) = Self::scoring(run, epoch)?;
        Self::check_reveal_window(&clock.schedule(&params))?;
        let (uid, member) = Self::member_of(run, who)?;
        let work = AuditWorks::<T>::get((run, epoch), uid)
            .filter(|own| own.incarnation == member.incarnation)
            .ok_or(Error::<T>::NoCommit)?;
        ensure!(work.opened.is_none(), Error::<T>::AlreadyRevealed);
        let found = transcripts_hash(&Self::genesis_hash(), run, &key(who), epoch, salt, transcripts);
        ensure!(found == work.commit, Error::<T>::HashMismatch);
        ensure!(!transcripts.is_empty(), Error::<T>::NoTranscript);
        let pairs = transcripts.iter().zip(transcripts.iter().skip(1));
        ensure!(pairs.clone().all(|(a, b)| a.uid < b.uid), Error::<T>::Unsorted);
        let snapshot = Snapshots::<T>::get((run, epoch)).unwrap_or_default();
        let known = transcripts.iter().all(|own| worked(&snapshot, own.uid, own.incarnation));
        ensure!(known, Error::<T>::UnknownMiner);
        Ok((uid, work))
    }

    pub(crate) fn do_submit_transcripts(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        salt: &[u8; 32],
        transcripts: Transcripts,
    ) -> DispatchResult {
        let (uid, mut work) = Self::check_submit_transcripts(who, run, epoch, salt, &transcripts)?;
        work.opened = Some(transcripts.clone());
        AuditWorks::<T>::insert((run, epoch), uid, work);
        Self::deposit_event(Event::TranscriptsOpened { run, epoch, uid, transcripts });
        Ok(())
    }

    /// Validators that opened transcripts, in uid order, and how many.
    pub(crate) fn opened_transcripts(
        run: RunId,
        epoch: Epoch,
    ) -> BoundedVec<(Uid, u32), ConstU32<MAX_MEMBERS>> {
        let count = |own: &Transcripts| u32::try_from(own.len()).unwrap_or(u32::MAX);
        let mut opened: alloc::vec::Vec<(Uid, u32)> = AuditWorks::<T>::iter_prefix((run, epoch))
            .filter_map(|(uid, work)| Some((uid, count(work.opened.as_ref()?))))
            .collect();
        opened.sort_unstable();
        BoundedVec::truncate_from(opened)
    }

    /// Forgets the transcripts of an epoch.
    pub(crate) fn drop_transcripts(run: RunId, epoch: Epoch) {
        // All fit one pass: no more validators have a permit.
        let _ = AuditWorks::<T>::clear_prefix((run, epoch), MAX_VALIDATORS, None);
    }
}
