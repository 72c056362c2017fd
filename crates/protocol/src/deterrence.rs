//! When cheating does not pay: audit rate, vesting and stake against what cheating saves
//! (design.md, section 10).
//!
//! The unit is one epoch's pay of the miner in question. A cheat leaves out a share `f` of an epoch's
//! work and saves that share of its cost. An audit replays some segments, each of which shows the
//! cheat with probability `f`. Caught, the miner loses the epoch's pay, everything that has not
//! vested, and its stake. Rewards vest in equal parts over so many epochs, so that a miner that has
//! worked long enough has `(V - 1) / 2` epochs of pay unvested when a verdict falls on the next.
//!
//! All divisions round against deterrence: what this module calls negative is negative.

use crate::params::PPM;

/// Most segments in one audit that are counted; more would not be replayed in one epoch.
const MAX_SEGMENTS: u32 = 64;

/// Probability with which a miner is to be audited in an epoch, in millionths: one in eight. Caught costs
/// (V + 1) / 2 epochs' pay, 8.5 with the runtime's V of 16, so that 0.125 x 8.5 = 1.06 outweighs a whole
/// epoch's cost, even where a replay passes one cheat in twenty. Validators take as many audits as it asks
/// for ([`audits_needed`]); the runtime holds it against its vesting.
pub const LEAST_AUDIT_PPM: u32 = 125_000;

/// What stands against a cheat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deterrence {
    /// Probability that the miner is audited in an epoch, in millionths.
    pub audit_ppm: u32,
    /// Segments that an audit replays, at least 1.
    pub segments: u32,
    /// Probability that the replay of a segment with a cheat passes it, in millionths.
    pub false_accept_ppm: u32,
    /// Epochs over which a reward vests; 0 and 1 leave nothing unvested.
    pub vest_epochs: u32,
    /// What is lost beside pay: bond, registration price, the hold of a newcomer; in millionths of an
    /// epoch's pay.
    pub stake_ppm: u64,
    /// What an epoch's honest work costs, in millionths of its pay; 1,000,000 leaves no margin.
    pub cost_ppm: u32,
}

impl Deterrence {
    /// What a verdict takes, in millionths of an epoch's pay.
    #[must_use]
    pub fn penalty_ppm(&self) -> u64 {
        let unvested = u64::from(PPM).saturating_mul(u64::from(self.vest_epochs.saturating_sub(1))) / 2;
        u64::from(PPM).saturating_add(unvested).saturating_add(self.stake_ppm)
    }

    /// Probability that an epoch with a share `cheated_ppm` of cheated work is caught, in millionths,
    /// rounded down.
    #[must_use]
    pub fn detection_ppm(&self, cheated_ppm: u32) -> u32 {
        let ppm = u64::from(PPM);
        let seen = u64::from(PPM.saturating_sub(self.false_accept_ppm));
        let shown = u64::from(cheated_ppm.min(PPM)).saturating_mul(seen).checked_div(ppm).unwrap_or(0);
        let hidden = ppm.saturating_sub(shown);
        let all_hidden = (0..self.segments.min(MAX_SEGMENTS))
            .fold(ppm, |left, _| left.saturating_mul(hidden).div_ceil(ppm));
        let seen = ppm.saturating_sub(all_hidden).saturating_mul(u64::from(self.audit_ppm.min(PPM)));
        let caught = seen.checked_div(ppm).unwrap_or(0);
        u32::try_from(caught).unwrap_or(PPM)
    }

    /// Expected gain of cheating on a share of an epoch's work, in millionths of its pay, rounded up.
    #[must_use]
    pub fn expected_gain_ppm(&self, cheated_ppm: u32) -> i64 {
        let ppm = i128::from(PPM);
        let saved = u64::from(cheated_ppm.min(PPM)).saturating_mul(u64::from(self.cost_ppm));
        let lost = u128::from(self.detection_ppm(cheated_ppm)).saturating_mul(u128::from(self.penalty_ppm()));
        let balance = i128::from(saved).saturating_sub(i128::try_from(lost).unwrap_or(i128::MAX));
        let rest = balance.checked_rem_euclid(ppm).unwrap_or(0);
        let down = balance.checked_div_euclid(ppm).unwrap_or(0);
        i64::try_from(down.saturating_add(i128::from(rest > 0))).unwrap_or(i64::MIN)
    }

    /// Whether cheating on every share from `least_ppm` on has a negative expected value.
    ///
    /// The gain is a convex function of the share (what an audit sees grows ever slower), so the two
    /// ends decide.
    #[must_use]
    pub fn deters(&self, least_ppm: u32) -> bool {
        [least_ppm, PPM].into_iter().all(|share| self.expected_gain_ppm(share) < 0)
    }

    /// The least audit rate in millionths that deters from `least_ppm` on; `None` if none does.
    #[must_use]
    pub fn least_audit_ppm(&self, least_ppm: u32) -> Option<u32> {
        let deters = |audit_ppm: u32| Self { audit_ppm, ..*self }.deters(least_ppm);
        least(PPM, deters)
    }

    /// The least vesting in epochs that deters from `least_ppm` on; `None` if 65,535 do not.
    #[must_use]
    pub fn least_vest_epochs(&self, least_ppm: u32) -> Option<u32> {
        let deters = |vest_epochs: u32| Self { vest_epochs, ..*self }.deters(least_ppm);
        least(u32::from(u16::MAX), deters)
    }
}

/// The least number up to `most` for which a rule holds that holds for all numbers above it.
fn least(most: u32, holds: impl Fn(u32) -> bool) -> Option<u32> {
    if !holds(most) {
        return None;
    }
    let (mut low, mut high) = (0u32, most);
    while low < high {
        let middle = low.midpoint(high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle.saturating_add(1);
        }
    }
    Some(low)
}

/// Probability in millionths, rounded down, that at least one of `validators` that each choose `each` of
/// `miners` by a seed of their own, without repetition, chooses a given one.
#[must_use]
pub fn audit_rate_ppm(validators: u32, each: u32, miners: u32) -> u32 {
    let ppm = u64::from(PPM);
    let miners = u64::from(miners.max(1));
    let others = miners.saturating_sub(u64::from(each));
    // 2^10 halvings of one leave nothing in millionths; more validators change nothing.
    let missed =
        (0..validators.min(1 << 16)).fold(ppm, |left, _| left.saturating_mul(others).div_ceil(miners));
    u32::try_from(ppm.saturating_sub(missed)).unwrap_or(PPM)
}

/// How many of `miners` each of `validators` has to choose, at least 1, so that a given one is audited with
/// `rate_ppm`; all of them if nothing less is enough.
#[must_use]
pub fn audits_needed(validators: u32, miners: u32, rate_ppm: u32) -> u32 {
    least(miners, |each| audit_rate_ppm(validators, each, miners) >= rate_ppm).unwrap_or(miners).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: Deterrence = Deterrence {
        audit_ppm: 100_000,
        segments: 1,
        false_accept_ppm: 0,
        vest_epochs: 21,
        stake_ppm: 0,
        cost_ppm: PPM,
    };

    #[test]
    fn worked_gain() {
        // Caught costs 1 + 20/2 = 11 epochs. Half the work: saves 0.5, caught with 0.05: 0.5 - 0.55.
        assert_eq!(PLAIN.penalty_ppm(), 11_000_000);
        assert_eq!(PLAIN.expected_gain_ppm(500_000), -50_000);
        // Two segments: 0.1 x (1 - 0.25) = 0.075; 0.5 - 0.825.
        assert_eq!(Deterrence { segments: 2, ..PLAIN }.expected_gain_ppm(500_000), -325_000);
        // A replay that passes half of the cheats: 0.1 x 0.25 = 0.025; 0.5 - 0.275.
        assert_eq!(Deterrence { false_accept_ppm: 500_000, ..PLAIN }.expected_gain_ppm(500_000), 225_000);
    }

    #[test]
    fn worked_least_rates() {
        // q x 11 > 1. From one per cent on, whole millionths of a hundredth of q count: 91,000.
        assert_eq!(PLAIN.least_audit_ppm(500_000), Some(90_910));
        assert_eq!(PLAIN.least_audit_ppm(10_000), Some(91_000));
        // 0.1 x (1 + (V - 1)/2) > 1 from V = 20 on.
        assert_eq!(PLAIN.least_vest_epochs(10_000), Some(20));
        // Nothing vests and nothing is at stake: only an audit of everything, and even that is even.
        let bare = Deterrence { vest_epochs: 0, ..PLAIN };
        assert_eq!(bare.least_audit_ppm(10_000), None);
        assert_eq!(Deterrence { stake_ppm: 100, ..bare }.least_audit_ppm(10_000), Some(PPM));
        assert_eq!(Deterrence { audit_ppm: 0, ..PLAIN }.least_vest_epochs(10_000), None);
    }

    #[test]
    fn worked_audit_rate() {
        // Two of nine: 1 - (8/9)^2 = 17/81.
        assert_eq!(audit_rate_ppm(2, 1, 9), 209_876);
        // Two each: 1 - (7/9)^2 = 32/81.
        assert_eq!(audit_rate_ppm(2, 2, 9), 395_061);
        assert_eq!(audit_rate_ppm(1, 1, 1), PPM);
        assert_eq!(audit_rate_ppm(0, 1, 9), 0);
        assert_eq!(audit_rate_ppm(3, 1, 0), PPM);
    }

    #[test]
    fn worked_audits_needed() {
        let needed = |validators, miners| audits_needed(validators, miners, LEAST_AUDIT_PPM);
        // One of nine by two is 21 % already. One of 64 by eight is 11.8 %, two are 22.4 %.
        assert_eq!((needed(2, 9), needed(8, 64)), (1, 2));
        // Ten of 246: three each give 11.5 %, four 15.2 %. One validator alone takes an eighth of them.
        assert_eq!((needed(10, 246), needed(1, 64)), (4, 8));
        assert_eq!((needed(0, 9), needed(3, 0)), (9, 1), "what is not enough is all there is");
    }

    #[test]
    fn the_least_rate_deters_with_sixteen_epochs_of_vesting_and_no_stake() {
        // 0.125 x 0.97 x 8.5 = 1.03 epochs lost for each saved.
        let given =
            Deterrence { audit_ppm: LEAST_AUDIT_PPM, false_accept_ppm: 30_000, vest_epochs: 16, ..PLAIN };
        assert!(given.deters(10_000));
        assert_eq!(given.expected_gain_ppm(PPM), -30_625);
        // Without vesting it would take 7.5 epochs' pay at stake, or an audit in every epoch and more.
        let bare = Deterrence { vest_epochs: 1, ..given };
        assert_eq!(bare.least_audit_ppm(10_000), None);
        assert!(Deterrence { stake_ppm: 7_500_000, ..bare }.deters(10_000));
    }

    proptest! {
        #[test]
        fn at_the_least_rate_every_share_loses_and_below_it_some_share_does_not(
            segments in 1u32..9, vest_epochs in 2u32..200, stake_ppm in 0u64..5_000_000, cost_ppm in 1u32..=PPM,
            false_accept_ppm in 0u32..200_000, shares in prop::collection::vec(10_000u32..=PPM, 1..20),
        ) {
            let given = Deterrence { audit_ppm: 0, segments, false_accept_ppm, vest_epochs, stake_ppm, cost_ppm };
            if let Some(audit_ppm) = given.least_audit_ppm(10_000) {
                let just = Deterrence { audit_ppm, ..given };
                // Between the ends detection is rounded down by as many millionths as it has factors.
                let slack = i64::from(segments + 2) * (1 + i64::try_from(just.penalty_ppm() / 1_000_000).unwrap());
                for share in shares {
                    prop_assert!(just.expected_gain_ppm(share) <= slack, "{just:?} {share}");
                }
                let less = Deterrence { audit_ppm: audit_ppm.saturating_sub(1), ..given };
                prop_assert!(audit_ppm == 0 || !less.deters(10_000));
            }
        }

        #[test]
        fn as_many_audits_as_needed_reach_the_rate_and_one_less_does_not(
            validators in 0u32..70, miners in 0u32..300, rate_ppm in 1u32..=PPM,
        ) {
            let each = audits_needed(validators, miners, rate_ppm);
            prop_assert!(each >= 1 && each <= miners.max(1));
            prop_assert!(each == miners.max(1) || audit_rate_ppm(validators, each, miners) >= rate_ppm);
            prop_assert!(each == 1 || audit_rate_ppm(validators, each - 1, miners) < rate_ppm);
        }

        #[test]
        fn any_numbers_are_taken(audit_ppm: u32, segments: u32, false_accept_ppm: u32, vest_epochs: u32, stake_ppm: u64, cost_ppm: u32, share: u32, each: u32) {
            prop_assert!(audit_rate_ppm(segments.min(99), each, share) <= PPM);
            let _ = audits_needed(segments.min(99), share, audit_ppm);
            let given = Deterrence { audit_ppm, segments, false_accept_ppm, vest_epochs, stake_ppm, cost_ppm };
            prop_assert!(given.detection_ppm(share) <= PPM);
            let _ = (given.expected_gain_ppm(share), given.least_audit_ppm(share), given.least_vest_epochs(share));
        }
    }
}
