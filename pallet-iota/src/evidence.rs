//! Evidence that a quorum asked for: only verifiable work is paid (design.md, sections 2 and 9).
//!
//! While an epoch is audited, permitted validators name the evidence that they cannot get. If more than
//! half of the permitted stake says so about one miner at `Close`, its pay for that epoch is held. The
//! miner answers once, before `Blind`, that it serves what is wanted: those who asked then no longer
//! count, and have until `Close` to say that they still cannot get it. So an answer that is a lie does
//! not pay, and one that is true costs an honest miner one call. In the next epoch the same may be asked
//! once more: if the request stands again the pay lapses to the treasury, otherwise it is paid. Nobody
//! is fined for silence. A run whose last epoch has pay on hold settles for one epoch more.

use alloc::vec::Vec;
use codec::{Decode, Encode, MaxEncodedLen};
use iota_protocol::{
    court::RequestView,
    ids::{Epoch, Hash, Incarnation, RunId, Uid},
    params::MAX_MEMBERS,
    verdict::asked_by_quorum,
    view::Payout,
};
use polkadot_sdk::{
    frame_support::{
        defensive, ensure,
        pallet_prelude::DispatchResult,
        traits::{fungible::Mutate, tokens::Preservation, ConstU32},
        BoundedVec,
    },
    sp_runtime::AccountId32,
};
use scale_info::TypeInfo;

use crate::{
    pallet::{Config, Error, Event, EvidenceRequests, Gated, HeldPay, Pallet, Snapshots, TotalHeld},
    types::{Payment, Snapshot, MAX_VALIDATORS},
    verdicts::worked,
    weights::{Meter, WeightInfo},
};

/// Requests about one miner and epoch.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct EvidenceRequest {
    /// The miner's incarnation.
    pub incarnation: Incarnation,
    /// Asked for the second time, after its pay was held.
    pub again: bool,
    /// What the first of them misses: a root in the miner's commit or a hash in its log.
    pub wanted: Hash,
    /// Validators that cannot get it; none of those who said so before the answer.
    pub askers: BoundedVec<Uid, ConstU32<MAX_VALIDATORS>>,
    /// Whether they carry more than half of the permitted stake.
    pub quorum: bool,
    /// Root of what the miner answered.
    pub answer: Option<Hash>,
}

impl EvidenceRequest {
    fn new(incarnation: Incarnation, again: bool, wanted: Hash) -> Self {
        Self { incarnation, again, wanted, askers: BoundedVec::default(), quorum: false, answer: None }
    }

    /// What the chain answers about it.
    pub(crate) fn view(&self, uid: Uid) -> RequestView {
        RequestView {
            uid,
            incarnation: self.incarnation,
            again: self.again,
            wanted: self.wanted,
            askers: self.askers.to_vec(),
            quorum: self.quorum,
            answer: self.answer,
        }
    }
}

impl<T: Config> Pallet<T> {
    /// The request as it would stand with the sender's, and the sender.
    pub(crate) fn check_request_evidence(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        miner: (Uid, Incarnation),
        wanted: Hash,
    ) -> Result<(EvidenceRequest, Uid), Error<T>> {
        let (uid, incarnation) = miner;
        let snapshot = Self::judged(run, epoch)?;
        let (params, clock) = Self::run_of(run)?;
        let (asker, _) = Self::judge(who, run, &snapshot)?;
        ensure!(worked(&snapshot, uid, incarnation), Error::<T>::UnknownMiner);
        let again = clock.epoch.previous() != Some(epoch);
        let held = HeldPay::<T>::get((run, epoch), uid).is_some_and(|own| own.incarnation == incarnation);
        ensure!(!again || held, Error::<T>::NothingHeld);
        let known = EvidenceRequests::<T>::get((run, epoch), uid).filter(|own| own.again == again);
        let mut request = known.unwrap_or_else(|| EvidenceRequest::new(incarnation, again, wanted));
        // Early enough that time is left to answer in; that an answer is a lie may be said until `Close`.
        let open = Self::now() < clock.schedule(&params).evidence_asked_until();
        ensure!(open || request.answer.is_some(), Error::<T>::WrongPhase);
        ensure!(!request.askers.contains(&asker), Error::<T>::AlreadyAsked);
        request.askers.try_push(asker).map_err(|_| Error::<T>::AlreadyAsked)?;
        request.quorum = is_quorum(&snapshot, &request);
        Ok((request, asker))
    }

    pub(crate) fn do_request_evidence(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        miner: (Uid, Incarnation),
        wanted: Hash,
    ) -> DispatchResult {
        let (request, asker) = Self::check_request_evidence(who, run, epoch, miner, wanted)?;
        let (uid, incarnation) = miner;
        let quorum = request.quorum;
        EvidenceRequests::<T>::insert((run, epoch), uid, request);
        Self::deposit_event(Event::EvidenceRequested { run, epoch, uid, incarnation, asker, wanted, quorum });
        Ok(())
    }

    /// The request that the sender may answer now, and its uid.
    pub(crate) fn check_answer_evidence(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
    ) -> Result<(EvidenceRequest, Uid), Error<T>> {
        Self::judged(run, epoch)?;
        let (params, clock) = Self::run_of(run)?;
        let (uid, member) = Self::member_of(run, who)?;
        let again = clock.epoch.previous() != Some(epoch);
        let request = EvidenceRequests::<T>::get((run, epoch), uid);
        let request = request
            .filter(|own| own.incarnation == member.incarnation && own.again == again)
            .ok_or(Error::<T>::NoRequest)?;
        ensure!(request.answer.is_none(), Error::<T>::AlreadyAnswered);
        // Time is left to find out that it is a lie.
        let open = Self::now() < clock.schedule(&params).evidence_answered_until();
        ensure!(open, Error::<T>::WrongPhase);
        Ok((request, uid))
    }

    pub(crate) fn do_answer_evidence(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        root: Hash,
    ) -> DispatchResult {
        let (mut request, uid) = Self::check_answer_evidence(who, run, epoch)?;
        let incarnation = request.incarnation;
        request.answer = Some(root);
        request.askers = BoundedVec::default();
        request.quorum = false;
        EvidenceRequests::<T>::insert((run, epoch), uid, request);
        Self::deposit_event(Event::EvidenceAnswered { run, epoch, uid, incarnation, root });
        Ok(())
    }

    /// Puts aside what is not paid yet because evidence is missing; what is left to be paid.
    pub(crate) fn hold_pay(run: RunId, epoch: Epoch, payouts: &[Payout]) -> Vec<Payout> {
        let mut rest = Vec::new();
        for payout in payouts {
            let request = EvidenceRequests::<T>::get((run, epoch), payout.uid);
            let failed = request.is_some_and(|own| own.incarnation == payout.incarnation && own.quorum);
            if !failed {
                rest.push(*payout);
                continue;
            }
            let (uid, incarnation, amount) = (payout.uid, payout.incarnation, payout.amount);
            HeldPay::<T>::insert((run, epoch), uid, Payment::new(payout));
            TotalHeld::<T>::mutate(|held| *held = held.saturating_add(amount));
            Self::deposit_event(Event::PayHeld { run, epoch, uid, incarnation, amount });
        }
        rest
    }

    /// Pays or lets lapse what was held for an epoch, and forgets its requests.
    pub(crate) fn close_evidence(run: RunId, epoch: Epoch, meter: &mut Meter) {
        let gated = Gated::<T>::get((run, epoch));
        let snapshot = Snapshots::<T>::get((run, epoch)).unwrap_or_default().view();
        let now = Self::vesting_epoch(run);
        let mut count = 0u32;
        for (uid, held) in HeldPay::<T>::drain_prefix((run, epoch)) {
            let Payment { incarnation, amount, .. } = held;
            TotalHeld::<T>::mutate(|total| *total = total.saturating_sub(amount));
            let request = EvidenceRequests::<T>::get((run, epoch), uid);
            let failed = request.is_some_and(|own| own.again && own.quorum);
            if failed || gated.contains(&(uid, incarnation)) {
                Self::lapse(amount);
                Self::deposit_event(Event::PayLapsed { run, epoch, uid, incarnation, amount });
            } else {
                Self::credit(run, epoch, now, &snapshot, &[held.view()]);
            }
            count = count.saturating_add(1);
        }
        // All fit one pass: no more members were asked.
        let removed = EvidenceRequests::<T>::clear_prefix((run, epoch), MAX_MEMBERS, None);
        meter.add(T::WeightInfo::close_evidence(count.max(removed.unique)));
    }

    fn lapse(amount: u128) {
        let sent = T::Currency::transfer(&Self::pot(), &Self::treasury(), amount, Preservation::Preserve);
        if sent.is_err() {
            defensive!("held pay did not reach the treasury");
        }
    }

    /// Who is held for an epoch, and how much.
    pub fn held_view(run: RunId, epoch: Epoch) -> Vec<Payout> {
        let mut held: Vec<Payout> =
            HeldPay::<T>::iter_prefix_values((run, epoch)).map(|payment| payment.view()).collect();
        held.sort_unstable_by_key(|payout| payout.uid);
        held
    }
}

fn is_quorum(snapshot: &Snapshot, request: &EvidenceRequest) -> bool {
    let asked: Vec<(u128, bool)> =
        snapshot.validators.iter().map(|own| (own.stake, request.askers.contains(&own.uid))).collect();
    asked_by_quorum(&asked)
}
