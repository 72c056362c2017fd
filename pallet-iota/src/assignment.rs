//! Who holds which stage in the next epoch, who may score, who is let go.

use alloc::{collections::BTreeSet, vec::Vec};
use iota_protocol::{
    assignment::assign,
    ids::{Epoch, Hash, RunId, Stage, Uid},
    params::RunParams,
    pathway::next_weights,
    work::Role,
};
use polkadot_sdk::frame_support::{traits::Get, BoundedVec};

use crate::{
    close::{Committers, PaidWork, MAX_LEAVING},
    pallet::{Arrivals, Config, Endpoints, Event, Members, Pallet},
    types::{Member, ValidatorRecord, MAX_VALIDATORS},
    weights::{count, Meter, WeightInfo},
};

/// Epochs in a row without a commit after which a miner loses its stage and must serve again: one
/// may be an outage, and a stage whose miners are gone must be refilled soon.
pub const MAX_MISSED: u8 = 2;

type Paid<'a> = Option<&'a PaidWork>;

impl<T: Config> Pallet<T> {
    /// Members of a run in uid order.
    pub(crate) fn members_of(run: RunId) -> Vec<(Uid, Member)> {
        let mut members: Vec<_> = Members::<T>::iter_prefix(run).collect();
        members.sort_unstable_by_key(|(uid, _)| *uid);
        members
    }

    /// Miners that published where they can be reached, and all members.
    pub(crate) fn reachable_miners(run: RunId) -> (u32, u32) {
        let members = Self::members_of(run);
        let reachable = members.iter().filter(|(_, member)| can_be_assigned(member)).count();
        (count(reachable), count(members.len()))
    }

    /// Validators with a permit: the highest bonds, at least the least bond; ties to the lower uid.
    pub(crate) fn permitted_validators(
        run: RunId,
    ) -> BoundedVec<ValidatorRecord, polkadot_sdk::frame_support::traits::ConstU32<MAX_VALIDATORS>> {
        let members = Self::members_of(run);
        let least = T::MinValidatorBond::get();
        // Who leaves with this `Close` could not reveal, and who stopped revealing does not count.
        let may = |m: &Member| m.bond >= least && !m.leaving && Self::reveals_enough(m);
        let permitted = members.into_iter().filter(|(_, m)| m.role == Role::Validator && may(m));
        let mut records: Vec<ValidatorRecord> = permitted
            .map(|(uid, m)| ValidatorRecord {
                uid,
                incarnation: m.incarnation,
                hotkey: m.hotkey,
                coldkey: m.coldkey,
                stake: m.bond,
            })
            .collect();
        records.sort_by(|a, b| b.stake.cmp(&a.stake).then(a.uid.cmp(&b.uid)));
        let mut bounded = BoundedVec::truncate_from(records);
        bounded.sort_by_key(|record| record.uid);
        bounded
    }

    /// Removes members that leave, takes the stage from miners that are gone, seats newcomers.
    ///
    /// At most `MAX_LEAVING` leave: first those whose seats are promised, then by uid. The others stay as
    /// they are, with their stage, and leave at a later `Close`.
    pub(crate) fn retire_members(run: RunId, committers: &Committers, meter: &mut Meter) {
        let members = Self::members_of(run);
        let promised: BTreeSet<Uid> = Arrivals::<T>::get(run).iter().map(|arrival| arrival.uid).collect();
        let mut others = usize::try_from(MAX_LEAVING).unwrap_or(usize::MAX).saturating_sub(promised.len());
        let (mut left, all) = (0usize, members.len());
        for (uid, mut member) in members {
            let leaves = member.leaving && (promised.contains(&uid) || others > 0);
            if leaves {
                if !promised.contains(&uid) {
                    others = others.saturating_sub(1);
                }
                left = left.saturating_add(1);
                Self::remove_member(run, uid, &member);
            } else if member.stage.is_some() {
                let committed = committers.contains(&(uid, member.incarnation));
                member.missed = if committed { 0 } else { member.missed.saturating_add(1) };
                if member.missed >= MAX_MISSED {
                    Self::take_stage(run, uid, &mut member);
                }
                Members::<T>::insert(run, uid, member);
            }
        }
        meter.add(T::WeightInfo::close_retire(count(all)));
        meter.add(T::WeightInfo::close_leaving(count(left)));
        Self::seat_arrivals(run, meter);
    }

    fn take_stage(run: RunId, uid: Uid, member: &mut Member) {
        Endpoints::<T>::remove(run, uid);
        member.stage = None;
        member.since = None;
        member.weight = 0;
        member.missed = 0;
        member.served_in = None;
        Self::deposit_event(Event::Unassigned { run, uid, incarnation: member.incarnation });
    }

    /// Assigns stages and weights for `epoch`; the number of stage-0 miners.
    ///
    /// Newcomers are those registered and reachable before block `known_before`, so that nobody
    /// enters an assignment that it already knows.
    pub(crate) fn assign_stages(
        run: RunId,
        params: &RunParams,
        seed: &Hash,
        epoch: Epoch,
        known_before: u32,
        paid: Option<PaidWork>,
    ) -> u32 {
        let mut members = Self::members_of(run);
        members.retain(|(_, member)| member.role == Role::Miner);
        let current: Vec<(Uid, Stage)> =
            members.iter().filter_map(|(uid, member)| member.stage.map(|stage| (*uid, stage))).collect();
        let newcomers: Vec<Uid> = members
            .iter()
            .filter(|(_, m)| m.stage.is_none() && can_be_assigned(m) && m.reachable_since < known_before)
            .map(|(uid, _)| *uid)
            .collect();
        let assigned = assign(params, seed, &current, &newcomers);
        Self::move_members(run, epoch, &mut members, &assigned);
        weigh(params, epoch, &mut members, paid.as_ref());
        let stage0 = assigned.iter().filter(|(_, stage)| *stage == Stage(0)).count();
        for (uid, member) in members {
            Members::<T>::insert(run, uid, member);
        }
        count(stage0)
    }

    fn move_members(run: RunId, epoch: Epoch, members: &mut [(Uid, Member)], assigned: &[(Uid, Stage)]) {
        for (uid, stage) in assigned {
            let found = members.binary_search_by_key(uid, |(uid, _)| *uid).ok();
            let Some((_, member)) = found.and_then(|at| members.get_mut(at)) else { continue };
            if member.stage == Some(*stage) {
                continue;
            }
            member.stage = Some(*stage);
            member.since = member.since.or(Some(epoch));
            let incarnation = member.incarnation;
            Self::deposit_event(Event::Assigned { run, epoch, uid: *uid, incarnation, stage: *stage });
        }
    }
}

fn can_be_assigned(member: &Member) -> bool {
    member.role == Role::Miner && member.served_in.is_some() && !member.leaving
}

/// Moves the weights of all stages towards the work just paid for.
fn weigh(params: &RunParams, epoch: Epoch, members: &mut [(Uid, Member)], paid: Paid<'_>) {
    for stage in (0..params.n_stages()).map(Stage) {
        let holders: Vec<(Uid, u32, Option<u32>)> = members
            .iter()
            .filter(|(_, member)| member.stage == Some(stage))
            .map(|(uid, member)| (*uid, member.weight, work_paid(*uid, member, epoch, paid)))
            .collect();
        for (uid, weight) in next_weights(&holders) {
            let found = members.binary_search_by_key(&uid, |(uid, _)| *uid).ok();
            if let Some((_, member)) = found.and_then(|at| members.get_mut(at)) {
                member.weight = weight;
            }
        }
    }
}

/// What a member was just paid for; `None` while its first epoch with a stage is not settled. The
/// settled epoch is two before the one that the weights are for.
fn work_paid(uid: Uid, member: &Member, epoch: Epoch, paid: Paid<'_>) -> Option<u32> {
    let settled = epoch.previous().and_then(Epoch::previous)?;
    let took_part = member.since.is_some_and(|since| since <= settled);
    let paid = paid.filter(|_| took_part)?;
    Some(paid.get(&(uid, member.incarnation)).copied().unwrap_or(0))
}
