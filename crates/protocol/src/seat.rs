//! Who gives up its seat when a run is full: the lowest earner, by a total order.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::ids::{Epoch, Uid};
use crate::price::decayed;

/// Epochs in which past pay counts half: one bad epoch costs a sixth of a standing and four cost
/// half, so that an outage alone unseats nobody.
pub const STANDING_HALF_LIFE: u32 = 4;

/// A moving average of what a member was paid for an epoch.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Standing {
    /// The average when it was last paid, smallest units.
    pub average: u128,
    /// The epoch that it was last paid for.
    pub epoch: Epoch,
}

impl Standing {
    /// The standing after pay for `epoch`. The first pay is the first average, so that newcomers are
    /// measured by what they earn and not by how long they have been there.
    #[must_use]
    pub fn paid(before: Option<Self>, epoch: Epoch, amount: u128) -> Self {
        let Some(before) = before else { return Self { average: amount, epoch } };
        let kept = before.at(epoch);
        let added = amount.saturating_sub(decayed(amount, 1, STANDING_HALF_LIFE));
        Self { average: kept.saturating_add(added), epoch }
    }

    /// The average at `epoch`, with nothing paid since.
    #[must_use]
    pub fn at(&self, epoch: Epoch) -> u128 {
        decayed(self.average, epoch.0.saturating_sub(self.epoch.0), STANDING_HALF_LIFE)
    }
}

/// A member that might give up its seat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat {
    /// Its uid.
    pub uid: Uid,
    /// It asked to leave: nobody loses anything by its going.
    pub leaving: bool,
    /// Its immunity has not ended.
    pub immune: bool,
    /// Its standing now, smallest units for an epoch.
    pub earned: u128,
    /// Block of its registration.
    pub registered_at: u32,
}

/// Whose seat is given away: who is leaving first, then of those that are not immune the lowest
/// earner, then the earliest registered, then the lowest uid. `None` if all are immune.
#[must_use]
pub fn next_to_prune(seats: impl IntoIterator<Item = Seat>) -> Option<Uid> {
    seats
        .into_iter()
        .filter(|seat| seat.leaving || !seat.immune)
        .min_by_key(|seat| (!seat.leaving, seat.earned, seat.registered_at, seat.uid))
        .map(|seat| seat.uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn seat(uid: u16, earned: u128, registered_at: u32) -> Seat {
        Seat { uid: Uid(uid), leaving: false, immune: false, earned, registered_at }
    }

    #[test]
    fn worked_example() {
        let poor = seat(3, 5, 40);
        assert_eq!(next_to_prune([seat(1, 9, 1), poor, seat(2, 7, 2)]), Some(Uid(3)));
        assert_eq!(next_to_prune([seat(1, 5, 41), poor]), Some(Uid(3)), "older first");
        assert_eq!(next_to_prune([seat(1, 5, 40), poor]), Some(Uid(1)), "then the lower uid");
        let immune = Seat { immune: true, ..poor };
        assert_eq!(next_to_prune([seat(1, 9, 1), immune]), Some(Uid(1)));
        assert_eq!(next_to_prune([immune]), None);
        let leaving = Seat { leaving: true, ..immune };
        assert_eq!(next_to_prune([seat(1, 0, 1), leaving]), Some(Uid(3)), "who leaves anyway");
        assert_eq!(next_to_prune([]), None);
    }

    #[test]
    fn a_standing_forgets_at_its_half_life() {
        let first = Standing::paid(None, Epoch(3), 1_000);
        assert_eq!(first.at(Epoch(3)), 1_000);
        assert_eq!(first.at(Epoch(7)), 500);
        assert_eq!(first.at(Epoch(4)), 840, "a sixth less after one epoch without pay");
        let second = Standing::paid(Some(first), Epoch(4), 2_000);
        assert_eq!(second.average, 840 + 2_000 - 1_681);
    }

    proptest! {
        #[test]
        fn the_choice_is_the_first_of_the_sorted_and_order_does_not_matter(
            given in proptest::collection::vec((0u128..4, 0u32..4, any::<bool>(), any::<bool>()), 0..20),
            turn in 0usize..20,
        ) {
            let seats: Vec<Seat> = given
                .iter()
                .zip(0u16..)
                .map(|((earned, at, immune, leaving), uid)| Seat {
                    immune: *immune,
                    leaving: *leaving,
                    ..seat(uid, *earned, *at)
                })
                .collect();
            let mut sorted: Vec<Seat> = seats.iter().filter(|s| s.leaving || !s.immune).copied().collect();
            sorted.sort_by(|a, b| {
                b.leaving
                    .cmp(&a.leaving)
                    .then(a.earned.cmp(&b.earned))
                    .then(a.registered_at.cmp(&b.registered_at))
                    .then(a.uid.cmp(&b.uid))
            });
            let expected = sorted.first().map(|seat| seat.uid);
            prop_assert_eq!(next_to_prune(seats.clone()), expected);
            let mut turned = seats;
            let by = turn.min(turned.len());
            turned.rotate_left(by);
            prop_assert_eq!(next_to_prune(turned), expected);
        }

        #[test]
        fn even_pay_keeps_a_standing(amount in 0u128..1 << 60, epochs in 1u32..50) {
            let mut standing = None;
            for epoch in 0..epochs {
                standing = Some(Standing::paid(standing, Epoch(epoch), amount));
            }
            let found = standing.unwrap().average;
            // Each epoch rounds twice.
            prop_assert!(found.abs_diff(amount) <= u128::from(2 * epochs), "{found} {amount}");
        }

        #[test]
        fn more_pay_is_never_a_lower_standing(a: u64, b: u64, before: u64, gap in 0u32..100) {
            let before = Standing { average: before.into(), epoch: Epoch(1) };
            let of = |amount: u64| Standing::paid(Some(before), Epoch(1 + gap), amount.into()).average;
            prop_assert!(of(a.min(b)) <= of(a.max(b)).saturating_add(1));
        }
    }
}
