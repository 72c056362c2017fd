//! Verdicts: what stops one miner's pay for one epoch, outside consensus (design.md, section 9).
//!
//! A permitted validator accuses behind a deposit out of its bond; permitted validators re-check the
//! segment and vote. Two thirds for: the miner is gated, what has not vested of its pay is forfeited, and
//! the deposit returns. Two thirds against:
//! the deposit goes to the treasury. Neither by the close of the second epoch after the accused one:
//! the deposit returns. Proofs of equivocation gate and forfeit at once, without a vote, by the key that signed
//! in their epoch (`signers`).

use alloc::vec::Vec;
use codec::{Decode, Encode, MaxEncodedLen};
use iota_protocol::{
    court::AccusationView,
    equivocation::{Equivocation, SignedHeader},
    ids::{AccountKey, Epoch, Hash, Incarnation, RunId, Uid},
    verdict::decide,
};
use polkadot_sdk::{
    frame_support::{
        defensive, ensure,
        pallet_prelude::DispatchResult,
        traits::{
            fungible::MutateHold,
            tokens::{Fortitude, Precision, Restriction},
            ConstU32, Get,
        },
        BoundedVec,
    },
    sp_core::sr25519,
    sp_io,
    sp_runtime::{AccountId32, DispatchError},
};
use scale_info::TypeInfo;

use crate::{
    pallet::{
        Accusations, Closing, Config, Error, Event, FormerSigners, Gated, HoldReason, Members, Pallet,
        Snapshots,
    },
    types::{account, Member, Snapshot, State, ValidatorRecord, MAX_VALIDATORS},
    weights::{Meter, WeightInfo},
};

/// Epochs after the accused one in which it may be judged: the one in which it is audited and the
/// next. Its snapshot is kept for longer.
pub const VERDICT_EPOCHS: u32 = 2;
/// Accusations of one epoch: one of each permitted validator, so that `Close` handles all at once.
pub const MAX_ACCUSATIONS: u32 = MAX_VALIDATORS;

/// An accusation and its votes.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Accusation {
    /// Incarnation of the accused.
    pub incarnation: Incarnation,
    /// Who accuses.
    pub accuser: Uid,
    /// Its incarnation.
    pub accuser_incarnation: Incarnation,
    /// Whose bond the deposit came from.
    pub coldkey: AccountKey,
    /// Root of the evidence.
    pub evidence: Hash,
    /// On hold until the verdict, smallest units.
    pub deposit: u128,
    /// Votes, by validator; `true` is guilty.
    pub votes: BoundedVec<(Uid, bool), ConstU32<MAX_VALIDATORS>>,
    /// What was decided; `None` while it is open.
    pub verdict: Option<bool>,
}

impl Accusation {
    /// What the chain answers about it.
    pub(crate) fn view(&self, uid: Uid, segment: u32) -> AccusationView {
        AccusationView {
            uid,
            incarnation: self.incarnation,
            segment,
            accuser: self.accuser,
            accuser_incarnation: self.accuser_incarnation,
            evidence: self.evidence,
            deposit: self.deposit,
            votes: self.votes.to_vec(),
            verdict: self.verdict,
        }
    }
}

/// A permitted validator of a snapshot.
pub(crate) fn permitted(snapshot: &Snapshot, uid: Uid, incarnation: Incarnation) -> Option<&ValidatorRecord> {
    snapshot.validators.iter().find(|own| own.uid == uid && own.incarnation == incarnation)
}

/// Whether a miner worked in the epoch of a snapshot.
pub(crate) fn worked(snapshot: &Snapshot, uid: Uid, incarnation: Incarnation) -> bool {
    let found = snapshot.miners.binary_search_by_key(&uid, |miner| miner.uid).ok();
    found.and_then(|at| snapshot.miners.get(at)).is_some_and(|miner| miner.incarnation == incarnation)
}

impl<T: Config> Pallet<T> {
    /// The snapshot of an epoch that can still be judged.
    pub(crate) fn judged(run: RunId, epoch: Epoch) -> Result<Snapshot, Error<T>> {
        let (_, clock) = Self::run_of(run)?;
        ensure!(clock.state == State::Running, Error::<T>::NotRunning);
        Self::ensure_not_closing(run)?;
        let age = clock.epoch.0.saturating_sub(epoch.0);
        ensure!((1..=VERDICT_EPOCHS).contains(&age), Error::<T>::WrongEpoch);
        Snapshots::<T>::get((run, epoch)).ok_or(Error::<T>::WrongEpoch)
    }

    /// While a `Close` goes on, what it has decided stays decided.
    pub(crate) fn ensure_not_closing(run: RunId) -> Result<(), Error<T>> {
        ensure!(!Closing::<T>::contains_key(run), Error::<T>::WrongPhase);
        Ok(())
    }

    /// The sender as a validator that had a permit in the epoch of `snapshot`.
    pub(crate) fn judge(
        who: &AccountId32,
        run: RunId,
        snapshot: &Snapshot,
    ) -> Result<(Uid, Member), Error<T>> {
        let (uid, member) = Self::member_of(run, who)?;
        ensure!(permitted(snapshot, uid, member.incarnation).is_some(), Error::<T>::NotValidator);
        Ok((uid, member))
    }

    /// Who accuses, with its bond less the deposit, the snapshot of the accused epoch, and how many accusations
    /// of it there are.
    pub(crate) fn check_accuse(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        accused: (Uid, Incarnation),
        segment: u32,
    ) -> Result<(Snapshot, Uid, Member, u32), Error<T>> {
        let (uid, incarnation) = accused;
        let snapshot = Self::judged(run, epoch)?;
        let (accuser, mut member) = Self::judge(who, run, &snapshot)?;
        ensure!(worked(&snapshot, uid, incarnation), Error::<T>::UnknownMiner);
        let known = Accusations::<T>::contains_key((run, epoch), (uid, segment));
        ensure!(!known, Error::<T>::AlreadyAccused);
        let count =
            u32::try_from(Accusations::<T>::iter_key_prefix((run, epoch)).count()).unwrap_or(u32::MAX);
        ensure!(count < MAX_ACCUSATIONS, Error::<T>::TooManyAccusations);
        let rest = member.bond.checked_sub(T::AccusationDeposit::get()).ok_or(Error::<T>::BondTooLow)?;
        ensure!(rest >= T::MinValidatorBond::get(), Error::<T>::BondTooLow);
        member.bond = rest;
        Ok((snapshot, accuser, member, count))
    }

    /// Returns how many other accusations were looked at.
    pub(crate) fn do_accuse(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        accused: (Uid, Incarnation),
        segment: u32,
        evidence: Hash,
    ) -> Result<u32, DispatchError> {
        let (snapshot, accuser, member, others) = Self::check_accuse(who, run, epoch, accused, segment)?;
        let (uid, incarnation) = accused;
        let deposit = T::AccusationDeposit::get();
        let coldkey = account(&member.coldkey);
        T::Currency::release(&HoldReason::Bond.into(), &coldkey, deposit, Precision::Exact)?;
        T::Currency::hold(&HoldReason::Accusation.into(), &coldkey, deposit)?;
        let accusation = Accusation {
            incarnation,
            accuser,
            accuser_incarnation: member.incarnation,
            coldkey: member.coldkey,
            evidence,
            deposit,
            votes: BoundedVec::default(),
            verdict: None,
        };
        Members::<T>::insert(run, accuser, member);
        Self::deposit_event(Event::Accused { run, epoch, uid, incarnation, segment, accuser, evidence });
        Self::count_vote(run, epoch, &snapshot, (uid, segment), accusation, (accuser, true))?;
        Ok(others)
    }

    /// Who votes on what, and the snapshot of the accused epoch.
    pub(crate) fn check_vote(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        uid: Uid,
        segment: u32,
    ) -> Result<(Snapshot, Uid, Accusation), Error<T>> {
        let snapshot = Self::judged(run, epoch)?;
        let (voter, _) = Self::judge(who, run, &snapshot)?;
        let accusation =
            Accusations::<T>::get((run, epoch), (uid, segment)).ok_or(Error::<T>::NoAccusation)?;
        ensure!(accusation.verdict.is_none(), Error::<T>::AlreadyDecided);
        let voted = accusation.votes.iter().any(|(own, _)| *own == voter);
        ensure!(!voted, Error::<T>::AlreadyVoted);
        Ok((snapshot, voter, accusation))
    }

    pub(crate) fn do_vote(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        uid: Uid,
        segment: u32,
        guilty: bool,
    ) -> DispatchResult {
        let (snapshot, voter, accusation) = Self::check_vote(who, run, epoch, uid, segment)?;
        Self::count_vote(run, epoch, &snapshot, (uid, segment), accusation, (voter, guilty))
    }

    /// Adds a vote, and carries out the verdict if it is reached.
    fn count_vote(
        run: RunId,
        epoch: Epoch,
        snapshot: &Snapshot,
        about: (Uid, u32),
        mut accusation: Accusation,
        vote: (Uid, bool),
    ) -> DispatchResult {
        let (uid, segment) = about;
        // Fits: one vote for each permitted validator.
        accusation.votes.try_push(vote).map_err(|_| Error::<T>::AlreadyVoted)?;
        let (voter, guilty) = vote;
        Self::deposit_event(Event::Voted { run, epoch, uid, segment, voter, guilty });
        let of = |own: &ValidatorRecord| {
            let vote = accusation.votes.iter().find(|(voter, _)| *voter == own.uid);
            (own.stake, vote.map(|(_, guilty)| *guilty))
        };
        let votes: Vec<_> = snapshot.validators.iter().map(of).collect();
        accusation.verdict = decide(&votes);
        if let Some(guilty) = accusation.verdict {
            let incarnation = accusation.incarnation;
            if guilty {
                Self::gate(run, epoch, uid, incarnation);
                Self::return_deposit(run, &accusation);
            } else {
                Self::take_deposit(&accusation);
            }
            Self::deposit_event(Event::VerdictReached { run, epoch, uid, incarnation, segment, guilty });
        }
        Accusations::<T>::insert((run, epoch), about, accusation);
        Ok(())
    }

    /// Stops the pay of one miner for one epoch and forfeits what has not vested.
    pub(crate) fn gate(run: RunId, epoch: Epoch, uid: Uid, incarnation: Incarnation) {
        Self::forfeit(run, uid, incarnation);
        Gated::<T>::mutate((run, epoch), |gated| {
            if let Err(at) = gated.binary_search(&(uid, incarnation)) {
                // Fits: no more members worked in one epoch than there is room for.
                let _ = gated.try_insert(at, (uid, incarnation));
            }
        });
    }

    /// Gives a deposit back to the bond that it came from; to the coldkey alone if the validator is gone.
    fn return_deposit(run: RunId, accusation: &Accusation) {
        let Accusation { accuser, accuser_incarnation, deposit, .. } = *accusation;
        let coldkey = account(&accusation.coldkey);
        let released =
            T::Currency::release(&HoldReason::Accusation.into(), &coldkey, deposit, Precision::BestEffort);
        if released != Ok(deposit) {
            defensive!("a deposit was not on hold");
        }
        let member = Members::<T>::get(run, accuser)
            .filter(|own| own.incarnation == accuser_incarnation && own.coldkey == accusation.coldkey);
        let Some(mut member) = member else { return };
        if T::Currency::hold(&HoldReason::Bond.into(), &coldkey, deposit).is_ok() {
            member.bond = member.bond.saturating_add(deposit);
            Members::<T>::insert(run, accuser, member);
        }
    }

    fn take_deposit(accusation: &Accusation) {
        let coldkey = account(&accusation.coldkey);
        let taken = T::Currency::transfer_on_hold(
            &HoldReason::Accusation.into(),
            &coldkey,
            &Self::treasury(),
            accusation.deposit,
            Precision::BestEffort,
            Restriction::Free,
            Fortitude::Force,
        );
        if taken != Ok(accusation.deposit) {
            defensive!("a deposit did not reach the treasury");
        }
    }

    /// Ends what is still open about an epoch, and forgets its accusations, gates and former keys.
    pub(crate) fn close_verdicts(run: RunId, epoch: Epoch, meter: &mut Meter) {
        let mut count = 0u32;
        for ((uid, segment), accusation) in Accusations::<T>::drain_prefix((run, epoch)) {
            count = count.saturating_add(1);
            if accusation.verdict.is_none() {
                Self::return_deposit(run, &accusation);
                let incarnation = accusation.incarnation;
                Self::deposit_event(Event::AccusationLapsed { run, epoch, uid, incarnation, segment });
            }
        }
        Gated::<T>::remove((run, epoch));
        FormerSigners::<T>::remove((run, epoch));
        meter.add(T::WeightInfo::close_verdicts(count));
    }

    fn signed_by(header: &SignedHeader, hotkey: &AccountKey) -> bool {
        sp_io::crypto::sr25519_verify(
            &sr25519::Signature::from_raw(header.signature),
            &header.signed_bytes(&Self::genesis_hash()).0,
            &sr25519::Public::from_raw(hotkey.0),
        )
    }

    /// Who is proved to have signed twice, and for which epoch.
    pub(crate) fn check_equivocation(
        proof: &Equivocation,
    ) -> Result<(RunId, Epoch, Uid, Incarnation), Error<T>> {
        ensure!(proof.check().is_ok(), Error::<T>::NoEquivocation);
        let header = &proof.first.header;
        let (run, epoch, uid) = (header.run, header.epoch, header.from);
        let (_, clock) = Self::run_of(run)?;
        ensure!(clock.state == State::Running, Error::<T>::NotRunning);
        Self::ensure_not_closing(run)?;
        let age = clock.epoch.0.checked_sub(epoch.0);
        ensure!(age.is_some_and(|age| age <= VERDICT_EPOCHS), Error::<T>::WrongEpoch);
        let signer = Self::signer_of(run, epoch, clock.epoch, uid).ok_or(Error::<T>::NotMember)?;
        let incarnation = signer.incarnation;
        let known = Gated::<T>::get((run, epoch)).contains(&(uid, incarnation));
        ensure!(!known, Error::<T>::AlreadyGated);
        // Last, because it costs most.
        let both = [&proof.first, &proof.second];
        ensure!(both.iter().all(|own| Self::signed_by(own, &signer.hotkey)), Error::<T>::BadProof);
        Ok((run, epoch, uid, incarnation))
    }

    pub(crate) fn do_report_equivocation(proof: &Equivocation) -> DispatchResult {
        let (run, epoch, uid, incarnation) = Self::check_equivocation(proof)?;
        Self::gate(run, epoch, uid, incarnation);
        Self::deposit_event(Event::Equivocated { run, epoch, uid, incarnation });
        Ok(())
    }

    /// What is on hold behind open accusations of one coldkey.
    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn deposited_by(coldkey: &AccountKey) -> u128 {
        let open = Accusations::<T>::iter_values().filter(|own| own.verdict.is_none());
        open.filter(|own| own.coldkey == *coldkey).map(|own| own.deposit).sum()
    }
}
