//! Evidence that a quorum asked for: only verifiable work is paid (design.md, sections 2 and 9).
//!
//! While an epoch is audited, permitted validators name the evidence that they cannot get. If more than
//! half of the permitted stake asked about one miner and it put no root of an answer on chain by
//! `Close`, its pay for that epoch is held. In the next epoch the same may be asked once more: without
//! an answer the pay lapses to the treasury, otherwise it is paid. Nobody is fined for silence.

use alloc::vec::Vec;
use codec::{Decode, Encode, MaxEncodedLen};
use iota_protocol::{
    ids::{Epoch, Hash, Incarnation, RunId, Uid},
    params::MAX_MEMBERS,
    phase::Phase,
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
    weights::Meter,
};

/// Requests about one miner and epoch.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct EvidenceRequest {
    /// The miner's incarnation.
    pub incarnation: Incarnation,
    /// Asked for the second time, after its pay was held.
    pub again: bool,
    /// Validators that asked.
    pub askers: BoundedVec<Uid, ConstU32<MAX_VALIDATORS>>,
    /// Whether they carry more than half of the permitted stake.
    pub quorum: bool,
    /// Root of what the miner answered.
    pub answer: Option<Hash>,
}

impl EvidenceRequest {
    fn new(incarnation: Incarnation, again: bool) -> Self {
        Self { incarnation, again, askers: BoundedVec::default(), quorum: false, answer: None }
    }

    fn failed(&self) -> bool {
        self.quorum && self.answer.is_none()
    }
}

impl<T: Config> Pallet<T> {
    pub(crate) fn do_request_evidence(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        miner: (Uid, Incarnation),
        wanted: Hash,
    ) -> DispatchResult {
        let (uid, incarnation) = miner;
        let snapshot = Self::judged(run, epoch)?;
        let (params, clock) = Self::run_of(run)?;
        // Asked in `Train`, so that every window after it is left to answer in.
        let phase = clock.schedule(&params).phase_at(Self::now());
        ensure!(phase == Phase::Train, Error::<T>::WrongPhase);
        let (asker, _) = Self::judge(who, run, &snapshot)?;
        ensure!(worked(&snapshot, uid, incarnation), Error::<T>::UnknownMiner);
        let again = clock.epoch.previous() != Some(epoch);
        let held = HeldPay::<T>::get((run, epoch), uid).is_some_and(|own| own.incarnation == incarnation);
        ensure!(!again || held, Error::<T>::NothingHeld);
        let known = EvidenceRequests::<T>::get((run, epoch), uid).filter(|own| own.again == again);
        let mut request = known.unwrap_or_else(|| EvidenceRequest::new(incarnation, again));
        ensure!(!request.askers.contains(&asker), Error::<T>::AlreadyAsked);
        request.askers.try_push(asker).map_err(|_| Error::<T>::AlreadyAsked)?;
        request.quorum = is_quorum(&snapshot, &request);
        let quorum = request.quorum;
        EvidenceRequests::<T>::insert((run, epoch), uid, request);
        Self::deposit_event(Event::EvidenceRequested { run, epoch, uid, incarnation, asker, wanted, quorum });
        Ok(())
    }

    pub(crate) fn do_answer_evidence(
        who: &AccountId32,
        run: RunId,
        epoch: Epoch,
        root: Hash,
    ) -> DispatchResult {
        Self::judged(run, epoch)?;
        let (uid, member) = Self::member_of(run, who)?;
        let request = EvidenceRequests::<T>::get((run, epoch), uid);
        let mut request =
            request.filter(|own| own.incarnation == member.incarnation).ok_or(Error::<T>::NoRequest)?;
        ensure!(request.answer.is_none(), Error::<T>::AlreadyAnswered);
        request.answer = Some(root);
        EvidenceRequests::<T>::insert((run, epoch), uid, request);
        Self::deposit_event(Event::EvidenceAnswered {
            run,
            epoch,
            uid,
            incarnation: member.incarnation,
            root,
        });
        Ok(())
    }

    /// Puts aside what is not paid yet because evidence is missing; what is left to be paid.
    pub(crate) fn hold_pay(run: RunId, epoch: Epoch, payouts: &[Payout], meter: &mut Meter) -> Vec<Payout> {
        let mut rest = Vec::new();
        meter.read(payouts.len());
        for payout in payouts {
            let request = EvidenceRequests::<T>::get((run, epoch), payout.uid);
            let failed = request.is_some_and(|own| own.incarnation == payout.incarnation && own.failed());
            if !failed {
                rest.push(*payout);
                continue;
            }
            let (uid, incarnation, amount) = (payout.uid, payout.incarnation, payout.amount);
            HeldPay::<T>::insert((run, epoch), uid, Payment::new(payout));
            TotalHeld::<T>::mutate(|held| *held = held.saturating_add(amount));
            Self::deposit_event(Event::PayHeld { run, epoch, uid, incarnation, amount });
            meter.write(2);
        }
        rest
    }

    /// Pays or lets lapse what was held for an epoch, and forgets its requests.
    pub(crate) fn close_evidence(run: RunId, epoch: Epoch, meter: &mut Meter) {
        let gated = Gated::<T>::get((run, epoch));
        let snapshot = Snapshots::<T>::get((run, epoch)).unwrap_or_default().view();
        let now = Self::vesting_epoch(run);
        meter.read(4);
        for (uid, held) in HeldPay::<T>::drain_prefix((run, epoch)) {
            let Payment { incarnation, amount, .. } = held;
            TotalHeld::<T>::mutate(|total| *total = total.saturating_sub(amount));
            let request = EvidenceRequests::<T>::get((run, epoch), uid);
            let failed = request.is_some_and(|own| own.again && own.failed());
            if failed || gated.contains(&(uid, incarnation)) {
                Self::lapse(amount);
                Self::deposit_event(Event::PayLapsed { run, epoch, uid, incarnation, amount });
            } else {
                Self::credit(run, epoch, now, &snapshot, &[held.view()], meter);
            }
            meter.read(4);
            meter.write(4);
        }
        let removed = EvidenceRequests::<T>::clear_prefix((run, epoch), MAX_MEMBERS, None);
        meter.read(usize::try_from(removed.loops).unwrap_or(usize::MAX).saturating_add(1));
        meter.write(usize::try_from(removed.unique).unwrap_or(usize::MAX));
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
