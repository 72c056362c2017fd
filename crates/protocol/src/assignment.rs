//! Which miner holds which stage in the next epoch (design.md, section 5).
//!
//! Nobody is moved without need: newcomers go where replicas are fewest for the stage's share of the
//! work, and only an empty stage takes a member from another.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::ids::{Hash, Stage, Uid};
use crate::params::{RunParams, MAX_GROUP};
use crate::seed::Draw;

#[cfg(test)]
mod tests;

/// A stage takes at most one newcomer for so many replicas in one epoch, but always one: newcomers
/// bring no merged history, and a third of a stage cannot outvote the rest of it.
const INTAKE_DIVISOR: u32 = 3;

/// The full assignment of the next epoch, in uid order.
///
/// `current` holds the miners that stay with their stages, `newcomers` those without one. A newcomer
/// for which no stage has room is left out and waits. With no current members the newcomers are
/// split evenly. A current member whose stage does not exist counts as a newcomer.
///
/// Rules for a newcomer, in an order shuffled by the seed: an empty stage first; otherwise one of
/// the stages with room whose `replicas - 1` for their share is not above the lowest `replicas` for
/// its share. Room is less than 64 replicas and, for a stage that is not empty, at most a third of
/// its replicas (at least 1) arriving in one epoch. Afterwards each stage that is still empty takes
/// one member, drawn by seed, from the stage with the most replicas, lowest stage on ties, which
/// keeps at least one.
#[must_use]
pub fn assign(
    params: &RunParams,
    seed: &Hash,
    current: &[(Uid, Stage)],
    newcomers: &[Uid],
) -> Vec<(Uid, Stage)> {
    let mut plan = Plan::new(params, seed);
    let mut arrivals = plan.place_current(current);
    arrivals.extend(newcomers.iter().copied().filter(|uid| !plan.of.contains_key(uid)));
    arrivals.sort_unstable();
    arrivals.dedup();
    plan.draw.shuffle(&mut arrivals);
    if plan.of.is_empty() {
        plan.split_evenly(&arrivals);
    } else {
        plan.open_intake();
        for uid in arrivals {
            plan.place_newcomer(uid);
        }
    }
    plan.fill_empty();
    plan.of.into_iter().collect()
}

/// Replicas of one stage while the plan is made.
struct Slot {
    stage: Stage,
    /// The stage's share of the work, at least 1.
    share: u64,
    replicas: u32,
    /// Newcomers that it may still take.
    intake: u32,
}

impl Slot {
    fn has_room(&self) -> bool {
        self.replicas < MAX_GROUP && self.intake > 0
    }

    /// Whether `replicas / share` of this slot is below the other's.
    fn is_emptier(&self, other: &Self) -> bool {
        u64::from(self.replicas).saturating_mul(other.share)
            < u64::from(other.replicas).saturating_mul(self.share)
    }

    /// Whether this slot less one replica is not fuller than the other. Shares are rounded to a
    /// millionth; this one counts as one larger, so that thirds are equal.
    fn is_within_one(&self, other: &Self) -> bool {
        let fewer = u64::from(self.replicas.saturating_sub(1));
        let share = self.share.saturating_add(1);
        fewer.saturating_mul(other.share) <= u64::from(other.replicas).saturating_mul(share)
    }
}

struct Plan {
    slots: Vec<Slot>,
    of: BTreeMap<Uid, Stage>,
    draw: Draw,
}

impl Plan {
    fn new(params: &RunParams, seed: &Hash) -> Self {
        let slots = (0..=u16::MAX).zip(&params.stages).map(|(index, stage)| Slot {
            stage: Stage(index),
            share: u64::from(stage.share_ppm.max(1)),
            replicas: 0,
            intake: 0,
        });
        Self { slots: slots.collect(), of: BTreeMap::new(), draw: Draw::new(seed, b"assign") }
    }

    fn put(&mut self, uid: Uid, stage: Stage) {
        if let Some(slot) = self.slots.get_mut(usize::from(stage.0)) {
            slot.replicas = slot.replicas.saturating_add(1);
            slot.intake = slot.intake.saturating_sub(1);
            self.of.insert(uid, stage);
        }
    }

    /// Keeps members where they are; returns those whose stage does not exist or is full.
    fn place_current(&mut self, current: &[(Uid, Stage)]) -> Vec<Uid> {
        let mut homeless = Vec::new();
        let mut current = current.to_vec();
        current.sort_unstable();
        for (uid, stage) in &current {
            let open = self.slots.get(usize::from(stage.0)).is_some_and(|slot| slot.replicas < MAX_GROUP);
            match (self.of.contains_key(uid), open) {
                (true, _) => {}
                (false, true) => self.put(*uid, *stage),
                (false, false) => homeless.push(*uid),
            }
        }
        homeless
    }

    /// Deals arrivals over the stages in a seeded order of stages; counts differ by at most one.
    fn split_evenly(&mut self, arrivals: &[Uid]) {
        let mut order: Vec<Stage> = self.slots.iter().map(|slot| slot.stage).collect();
        self.draw.shuffle(&mut order);
        let most = usize::try_from(MAX_GROUP).unwrap_or(usize::MAX).saturating_mul(order.len());
        for (uid, stage) in arrivals.iter().take(most).zip(order.iter().cycle()) {
            self.put(*uid, *stage);
        }
    }

    fn open_intake(&mut self) {
        for slot in &mut self.slots {
            slot.intake = (slot.replicas / INTAKE_DIVISOR).max(1);
        }
    }

    fn place_newcomer(&mut self, uid: Uid) {
        let empty: Vec<Stage> =
            self.slots.iter().filter(|slot| slot.replicas == 0).map(|slot| slot.stage).collect();
        let candidates = if empty.is_empty() { self.emptiest() } else { empty };
        let chosen = self.draw.index(candidates.len()).and_then(|index| candidates.get(index).copied());
        if let Some(stage) = chosen {
            self.put(uid, stage);
        }
    }

    /// Stages with room within one replica of the lowest.
    fn emptiest(&self) -> Vec<Stage> {
        let open = || self.slots.iter().filter(|slot| slot.has_room());
        let Some(lowest) = open().reduce(|low, slot| if slot.is_emptier(low) { slot } else { low }) else {
            return Vec::new();
        };
        open().filter(|slot| slot.is_within_one(lowest)).map(|slot| slot.stage).collect()
    }

    fn fill_empty(&mut self) {
        let empty: Vec<Stage> =
            self.slots.iter().filter(|slot| slot.replicas == 0).map(|slot| slot.stage).collect();
        for stage in empty {
            if let Some(uid) = self.pull_from_fullest() {
                self.put(uid, stage);
            }
        }
    }

    fn pull_from_fullest(&mut self) -> Option<Uid> {
        let fullest = self
            .slots
            .iter_mut()
            .reduce(|full, slot| if slot.replicas > full.replicas { slot } else { full });
        let slot = fullest.filter(|slot| slot.replicas > 1)?;
        slot.replicas = slot.replicas.saturating_sub(1);
        let from = slot.stage;
        let members: Vec<Uid> =
            self.of.iter().filter(|(_, stage)| **stage == from).map(|(uid, _)| *uid).collect();
        let uid = members.get(self.draw.index(members.len())?).copied()?;
        self.of.remove(&uid);
        Some(uid)
    }
}
