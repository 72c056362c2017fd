//! Seats of a full run: who gives up one, who takes it, and when.
//!
//! A run has `MAX_MEMBERS` seats. A registration that finds none free takes that of the lowest
//! earner (`iota_protocol::seat`), unless everybody is immune. Before the run starts that happens at
//! once. While it runs the newcomer waits as an *arrival* until the next `Close`: until then pathways
//! and data positions are those of the members with which the epoch began, and the work of whoever
//! goes is committed, scored and paid as if it stayed. The newcomer has no uid until then, hence can
//! neither serve nor commit nor score, and its incarnation is new, so it inherits nothing.
//!
//! A replacement reads the members of the run, 256 at most, and writes the victim, the arrivals and
//! what every registration writes; nothing is searched for its uid. Nobody joins a full run in its
//! settling epoch.

use alloc::vec::Vec;
use iota_protocol::{
    ids::{Epoch, Incarnation, RunId, Uid},
    params::MAX_MEMBERS,
    seat::{self, Seat},
};
use polkadot_sdk::{
    frame_support::{ensure, traits::Get, weights::Weight},
    frame_system,
    sp_runtime::AccountId32,
};

use crate::{
    pallet::{Arrivals, Config, Error, Event, FreeUids, Members, NextIncarnation, NextUid, Pallet, Runs},
    types::{account, key, Arrival, Clock, Member, State},
    weights::{count, Meter, WeightInfo},
};

/// Newcomers that may take seats at one `Close`: an eighth of a run, so that no rush replaces so many
/// at once that stages are held by strangers only.
pub const MAX_ARRIVALS: u32 = 32;

/// Where a newcomer sits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// A seat that nobody holds: at once.
    Free(Uid),
    /// The seat of a member, which leaves it at once: the run has not started.
    Now(Uid),
    /// The seat of a member, at the next `Close`.
    Later(Uid),
}

impl Place {
    /// The uid that the newcomer gets.
    pub(crate) fn uid(self) -> Uid {
        match self {
            Self::Free(uid) | Self::Now(uid) | Self::Later(uid) => uid,
        }
    }
}

/// What a registration is charged before anybody knows which seat it gets.
pub(crate) fn most_for_a_seat<T: Config>() -> Weight {
    T::WeightInfo::register().max(T::WeightInfo::register_now())
}

/// What a registration weighed: where a seat was free, nobody searched the members of a full run.
pub(crate) fn weight_of_seat<T: Config>(place: Place) -> Weight {
    let unread = T::DbWeight::get().reads(u64::from(MAX_MEMBERS));
    match place {
        Place::Free(_) => T::WeightInfo::register().saturating_sub(unread),
        Place::Now(_) => T::WeightInfo::register_now(),
        Place::Later(_) => T::WeightInfo::register(),
    }
}

impl<T: Config> Pallet<T> {
    /// Where a newcomer would sit in this block; changes nothing.
    pub(crate) fn place_for_newcomer(run: RunId, clock: &Clock) -> Result<Place, Error<T>> {
        if let Some(uid) = Self::lowest_free_uid(run) {
            return Ok(Place::Free(uid));
        }
        if clock.state == State::Waiting {
            return Self::next_seat(run).map(Place::Now).ok_or(Error::<T>::RunFull);
        }
        let params = Runs::<T>::get(run).ok_or(Error::<T>::UnknownRun)?;
        let arrivals = u32::try_from(Arrivals::<T>::decode_len(run).unwrap_or(0)).unwrap_or(u32::MAX);
        // No member can leave its seat any more, or as many are leaving as may.
        ensure!(!params.is_settling(clock.epoch) && arrivals < MAX_ARRIVALS, Error::<T>::RunFull);
        Self::next_seat(run).map(Place::Later).ok_or(Error::<T>::RunFull)
    }

    /// The lowest uid that nobody holds.
    fn lowest_free_uid(run: RunId) -> Option<Uid> {
        let next = NextUid::<T>::get(run);
        let free = FreeUids::<T>::get(run).first().copied();
        let fresh = (u32::from(next) < MAX_MEMBERS).then_some(Uid(next));
        free.or(fresh)
    }

    /// Whose seat a newcomer would take if none were free; `None` if everybody is immune.
    pub fn next_seat(run: RunId) -> Option<Uid> {
        let taken: Vec<Uid> = Arrivals::<T>::get(run).iter().map(|arrival| arrival.uid).collect();
        let epoch = Self::run_of(run).map_or(Epoch(0), |(_, clock)| clock.epoch);
        let members = Members::<T>::iter_prefix(run).filter(|(uid, _)| !taken.contains(uid));
        seat::next_to_prune(members.map(|(uid, member)| Self::seat_of(uid, &member, epoch)))
    }

    fn seat_of(uid: Uid, member: &Member, epoch: Epoch) -> Seat {
        let immune_until = member.registered_at.saturating_add(T::ImmunityPeriod::get());
        Seat {
            uid,
            leaving: member.leaving,
            immune: Self::now() < immune_until,
            earned: member.standing.map_or(0, |standing| standing.at(epoch)),
            registered_at: member.registered_at,
        }
    }

    /// Counts a registration.
    pub(crate) fn take_incarnation(run: RunId) -> Incarnation {
        let incarnation = NextIncarnation::<T>::get(run);
        NextIncarnation::<T>::insert(run, Incarnation(incarnation.0.saturating_add(1)));
        incarnation
    }

    /// Whether a hotkey waits for its seat in a run.
    pub(crate) fn is_arriving(run: RunId, hotkey: &AccountId32) -> bool {
        Arrivals::<T>::get(run).iter().any(|arrival| arrival.hotkey == key(hotkey))
    }

    /// Seats a newcomer, or lets it wait for the seat that a member then leaves.
    pub(crate) fn place(run: RunId, place: Place, newcomer: Arrival) {
        match place {
            Place::Free(_) => Self::add_member(run, &newcomer),
            Place::Now(uid) => {
                if let Some(member) = Members::<T>::get(run, uid) {
                    Self::remove_member(run, uid, &member);
                }
                Self::add_member(run, &newcomer);
            }
            Place::Later(uid) => {
                Members::<T>::mutate(run, uid, |member| {
                    if let Some(member) = member {
                        member.leaving = true;
                        let incarnation = member.incarnation;
                        Self::deposit_event(Event::Leaving { run, uid, incarnation });
                    }
                });
                // Fits: `place_for_newcomer` has counted them.
                let _ = Arrivals::<T>::mutate(run, |arrivals| arrivals.try_push(newcomer));
            }
        }
    }

    /// Gives arrivals the seats that were left for them in this `Close`.
    pub(crate) fn seat_arrivals(run: RunId, meter: &mut Meter) {
        let arrivals = Arrivals::<T>::take(run);
        meter.add(T::WeightInfo::close_arrivals(count(arrivals.len())));
        for arrival in &arrivals {
            Self::add_member(run, arrival);
            let (uid, incarnation) = (arrival.uid, arrival.incarnation);
            Self::deposit_event(Event::Seated { run, uid, incarnation });
        }
    }

    /// Sends arrivals away: the run ended before its next `Close`.
    pub(crate) fn drop_arrivals(run: RunId, meter: &mut Meter) {
        let arrivals = Arrivals::<T>::take(run);
        meter.add(T::WeightInfo::close_arrivals(count(arrivals.len())));
        for arrival in &arrivals {
            Self::count_down_entry(run, arrival.incarnation);
            let _ = frame_system::Pallet::<T>::dec_providers(&account(&arrival.hotkey));
            let (uid, incarnation) = (arrival.uid, arrival.incarnation);
            Self::deposit_event(Event::Left { run, uid, incarnation });
        }
    }
}
