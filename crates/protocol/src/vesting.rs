//! How a miner's pay becomes its own: in equal parts over the epochs after it was earned.
//!
//! A member's record holds one amount for each coming epoch. Nothing happens to it when an epoch
//! closes; whoever pays into it or asks for it moves it forward, in as many steps as it has parts.

use alloc::vec::Vec;
use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::ids::Epoch;

/// Most epochs over which pay may vest: 64 amounts are a kilobyte for each member.
pub const MAX_VEST: u32 = 64;

/// Pay that is not its earner's yet.
#[derive(
    Clone, PartialEq, Eq, Debug, Default, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Tranches {
    /// The epoch in which the first part vests.
    next: Epoch,
    /// What vests in `next` and in each epoch after it, smallest units.
    parts: BoundedVec<u128, ConstU32<MAX_VEST>>,
}

impl Tranches {
    /// Adds pay credited in epoch `now`, to vest in equal parts in the `over` epochs after it. The
    /// remainder of the division vests with the last part. Returns what had vested until now.
    ///
    /// With `over` 0 everything vests at once; above [`MAX_VEST`] it counts as that.
    #[must_use = "what has vested is owed to somebody"]
    pub fn pay(&mut self, now: Epoch, amount: u128, over: u32) -> u128 {
        let vested = self.take_vested(now);
        self.next = now.next();
        let over = over.min(MAX_VEST);
        let Some(part) = amount.checked_div(u128::from(over)) else {
            return vested.saturating_add(amount);
        };
        let last = amount.saturating_sub(part.saturating_mul(u128::from(over.saturating_sub(1))));
        let mut parts: Vec<u128> = self.parts.to_vec();
        parts.resize(parts.len().max(usize::try_from(over).unwrap_or(0)), 0);
        for (at, held) in (1..=over).zip(parts.iter_mut()) {
            *held = held.saturating_add(if at == over { last } else { part });
        }
        self.parts = BoundedVec::truncate_from(parts);
        vested
    }

    /// Takes out what has vested by epoch `now`.
    #[must_use = "what has vested is owed to somebody"]
    pub fn take_vested(&mut self, now: Epoch) -> u128 {
        let due = self.due(now);
        let vested = sum(self.parts.iter().take(due));
        let kept: Vec<u128> = self.parts.iter().skip(due).copied().collect();
        self.parts = BoundedVec::truncate_from(kept);
        self.next = self.next.max(now.next());
        vested
    }

    /// What has vested by epoch `now` and was not taken out.
    #[must_use]
    pub fn vested(&self, now: Epoch) -> u128 {
        sum(self.parts.iter().take(self.due(now)))
    }

    /// Everything in the record, vested or not.
    #[must_use]
    pub fn total(&self) -> u128 {
        sum(self.parts.iter())
    }

    /// Whether nothing is left in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    fn due(&self, now: Epoch) -> usize {
        let epochs = now.next().0.saturating_sub(self.next.0);
        usize::try_from(epochs).unwrap_or(usize::MAX).min(self.parts.len())
    }
}

fn sum<'a>(parts: impl Iterator<Item = &'a u128>) -> u128 {
    parts.fold(0, |sum, part| sum.saturating_add(*part))
}

/// Whether being caught costs more than cheating for one epoch gains, if each miner is audited in
/// an epoch with a probability of at least `q_min_ppm` millionths: `q (1 + over / 2) > 1`.
///
/// Who is caught loses the epoch's pay and, when paid evenly, on average half of the last `over`.
#[must_use]
pub fn deters(q_min_ppm: u32, over: u32) -> bool {
    let twice_lost = u128::from(over).saturating_add(2);
    u128::from(q_min_ppm).saturating_mul(twice_lost) > u128::from(crate::params::PPM).saturating_mul(2)
}

/// What a newcomer puts on hold so that it has as much to lose as who was paid `mean` in each of the
/// last `over` epochs: half of that, rounded up.
#[must_use]
pub fn entry_hold(mean: u128, over: u32) -> u128 {
    mean.saturating_mul(u128::from(over)).div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn worked_example() {
        let mut tranches = Tranches::default();
        // 10 over 4 epochs: 2, 2, 2 and 4 in epochs 8 to 11.
        assert_eq!(tranches.pay(Epoch(7), 10, 4), 0);
        assert_eq!(tranches.vested(Epoch(7)), 0);
        assert_eq!(tranches.vested(Epoch(8)), 2);
        // In epoch 9 two parts have vested; 8 more come: 2+2, 4+2, 2, 2 in epochs 10 to 13.
        assert_eq!(tranches.pay(Epoch(9), 8, 4), 4);
        assert_eq!(tranches.total(), 14);
        assert_eq!(tranches.take_vested(Epoch(10)), 4);
        assert_eq!(tranches.take_vested(Epoch(10)), 0, "taken once");
        assert_eq!(tranches.take_vested(Epoch(500)), 10);
        assert!(tranches.is_empty());
        assert_eq!(tranches.pay(Epoch(3), 5, 0), 5, "no vesting: at once");
    }

    #[test]
    fn half_of_an_even_pay_is_at_stake_in_the_long_run() {
        let mut tranches = Tranches::default();
        for epoch in 0..100 {
            let _ = tranches.pay(Epoch(epoch), 1_600, 16);
        }
        // 1600/16 * (16 + 15 + ... + 1) = 13,600: 8.5 epochs, just above half of 16.
        assert_eq!(tranches.total(), 13_600);
        assert!(tranches.total() >= entry_hold(1_600, 16));
    }

    #[test]
    fn deterrence_is_exactly_the_inequality() {
        assert!(deters(125_001, 14), "0.125001 * 8 > 1");
        assert!(!deters(125_000, 14), "0.125 * 8 is not above 1");
        assert!(!deters(1_000_000, 0), "without vesting, not even if everybody is audited");
    }

    proptest! {
        #[test]
        fn every_unit_vests_exactly_once(
            steps in proptest::collection::vec((0u32..10, 0u128..1_000_000, 0u32..70), 1..40)
        ) {
            let (mut tranches, mut now, mut paid, mut vested) = (Tranches::default(), Epoch(0), 0, 0);
            for (gap, amount, over) in steps {
                now = Epoch(now.0 + gap);
                paid += amount;
                vested += tranches.pay(now, amount, over);
                prop_assert_eq!(paid, vested + tranches.total());
            }
            vested += tranches.take_vested(Epoch(now.0 + MAX_VEST));
            prop_assert_eq!(paid, vested);
            prop_assert!(tranches.is_empty());
        }

        #[test]
        fn vesting_is_linear_to_a_unit(amount in 0u128..u128::MAX / 64, over in 1u32..=MAX_VEST, at in 0u32..80) {
            let mut tranches = Tranches::default();
            let _ = tranches.pay(Epoch(5), amount, over);
            let found = tranches.vested(Epoch(5 + at));
            let exact = amount.saturating_mul(u128::from(at.min(over))) / u128::from(over);
            prop_assert!(found <= exact && exact - found < u128::from(over), "{found} {exact}");
        }

        #[test]
        fn asking_often_gives_the_same(amount: u64, over in 1u32..=MAX_VEST, at in 0u32..80) {
            let (mut often, mut once) = (Tranches::default(), Tranches::default());
            let (_, _) = (often.pay(Epoch(0), amount.into(), over), once.pay(Epoch(0), amount.into(), over));
            let small: u128 = (0..=at).map(|epoch| often.take_vested(Epoch(epoch))).sum();
            prop_assert_eq!(small, once.take_vested(Epoch(at)));
            prop_assert_eq!(often.total(), once.total());
        }
    }
}
