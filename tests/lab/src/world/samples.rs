//! Samples of an epoch on their way through the stages: routes, skips, receipts, losses.

use std::collections::{BTreeMap, BTreeSet};

use iota_protocol::clasp::Observation;
use iota_protocol::evidence::MinerReceipts;
use iota_protocol::hash::{hash_of, Domain};
use iota_protocol::ids::{Attempt, Hash, Sample, Stage, Uid, Version};
use iota_protocol::pathway::preference;
use iota_protocol::position::{repeated, sample_of};
use iota_protocol::receipt::{Direction, Receipt, Skip, SkipCause, MAX_SKIPS};

use super::fault::Fault;
use super::{World, RATE};
use crate::noise::Noise;

/// Nats of spread of the texts that the covariate knows and that it does not, and of everything else.
const TEXT: (f64, f64, f64) = (0.4, 0.15, 0.1);
/// Part of an epoch that an honest miner in trouble is away.
const AWAY: f64 = 0.3;
/// Probability that a message on a good link is lost.
const LOSS: f64 = 0.002;

/// What an epoch of training left behind.
#[derive(Default)]
pub(super) struct Trained {
    /// Receipts by miner, those of cheats as they publish them.
    pub(super) receipts: BTreeMap<Uid, Vec<Receipt>>,
    /// What CLASP is told of each finished sample, before receipts are read.
    pub(super) seen: BTreeMap<Sample, Observation>,
    /// Backward passes by miner.
    pub(super) backward: BTreeMap<Uid, u32>,
    /// Those whose gradient was worth something.
    pub(super) useful: BTreeMap<Uid, u32>,
    /// Miners that missed the merge.
    pub(super) absent: BTreeSet<Uid>,
    /// Samples that went all the way.
    pub(super) finished: u32,
    /// Samples taken, for those with little capacity.
    taken: BTreeMap<Uid, u32>,
}

/// An honest miner's trouble in one epoch.
#[derive(Clone, Copy)]
enum Trouble {
    /// Takes a third of what others take.
    Slow,
    /// Away from this part of the epoch on, for a while.
    Away(f64),
    /// Away at the end: it misses the merge.
    MissesMerge,
    /// Cut off from one other miner.
    CutOffFrom(Uid),
}

/// Who has what trouble.
type Troubles = BTreeMap<Uid, Trouble>;

impl World {
    pub(super) fn train(&mut self, epoch: u32) -> Trained {
        let mut trained = Trained::default();
        let troubles = self.troubles();
        trained.absent =
            troubles.iter().filter(|(_, t)| matches!(t, Trouble::MissesMerge)).map(|(uid, _)| *uid).collect();
        let first = self.members(0);
        let n0 = first.len() as u32;
        let mut texts = BTreeMap::new();
        for round in 0..self.setup.rounds {
            for (rank, origin) in (0..n0).zip(first.clone()) {
                let Some(sample) = sample_of(round, rank, n0) else { continue };
                let at = f64::from(round) / f64::from(self.setup.rounds);
                let text = self.text(sample, &mut texts);
                let way = Way { world: self, troubles: &troubles, epoch, at, sample };
                let mut noise = Noise::new(self.setup.seed, &format!("sample/{epoch}/{sample}"));
                let found = way.find(origin, &trained, &mut noise);
                if let Some(route) = found {
                    self.finish(&mut trained, route, text, at, &mut noise);
                }
            }
        }
        for (uid, miner) in &mut self.miners {
            miner.ledger.saved += miner.fault.map_or(0.0, Fault::saves);
            if miner.fault == Some(Fault::ForgedReceipts) {
                forge(trained.receipts.entry(*uid).or_default());
            }
        }
        trained
    }

    fn text(&mut self, sample: Sample, texts: &mut BTreeMap<Sample, (f64, f64)>) -> (f64, f64) {
        let again = repeated(sample).and_then(|first| texts.get(&first).copied());
        let drawn = (self.noise.normal(0.0, TEXT.0), self.noise.normal(0.0, TEXT.1));
        let text = again.unwrap_or(drawn);
        texts.insert(sample, text);
        text
    }

    fn troubles(&mut self) -> Troubles {
        let mut troubles = Troubles::new();
        let uids: Vec<Uid> = self.miners.keys().copied().collect();
        for uid in &uids {
            if self.fault(*uid).is_none() && self.noise.chance(self.setup.trouble) {
                let trouble = match self.noise.below(4) {
                    0 => Trouble::Slow,
                    1 => Trouble::Away(self.noise.uniform() * (1.0 - AWAY)),
                    2 => Trouble::MissesMerge,
                    _ => Trouble::CutOffFrom(uids[self.noise.below(uids.len())]),
                };
                troubles.insert(*uid, trouble);
            }
        }
        troubles
    }

    /// Books a sample that went all the way.
    fn finish(&self, trained: &mut Trained, route: Route, text: (f64, f64), at: f64, noise: &mut Noise) {
        let used = &route.used;
        let faults: Vec<Option<Fault>> = used.iter().map(|uid| self.fault(*uid)).collect();
        let mut loss = super::FLOOR + text.0 + text.1 + noise.normal(0.0, TEXT.2);
        for (stage, uid) in (0u16..).zip(used) {
            let done = trained.useful.get(uid).copied().unwrap_or(0);
            // Its distance shrinks with each sample that taught it something.
            loss += self.stage_loss(stage) * (1.0 - RATE).powi(2 * done as i32);
        }
        loss += faults.iter().flatten().map(|fault| fault.harm()).sum::<f64>();
        loss = faults[0].map_or(loss, |fault| fault.started(loss));
        loss = faults[faults.len() - 1].map_or(loss, |fault| fault.reported(loss));
        let loss_micro = (loss.max(0.0) * 1e6) as u32;
        book_learning(trained, used, &faults);
        let reporter = used[used.len() - 1];
        trained.seen.insert(
            route.sample,
            Observation {
                sample: route.sample,
                preference: route.preference.clone(),
                reporter,
                loss_micro,
                difficulty: text.0,
                time_bin: (at * 10.0) as u16,
            },
        );
        trained.finished += 1;
        for (place, (uid, fault)) in used.iter().zip(&faults).enumerate() {
            *trained.taken.entry(*uid).or_default() += 1;
            *trained.backward.entry(*uid).or_default() += 1;
            if *fault == Some(Fault::DeniedReceipts) && noise.chance(0.5) {
                continue;
            }
            let pair = receipts(&route, place, loss_micro);
            trained.receipts.entry(*uid).or_default().extend(pair);
        }
    }
}

/// Gradients come from the last stage: a miner learns from a sample unless it, or one behind it on the
/// way back, sent nonsense.
fn book_learning(trained: &mut Trained, used: &[Uid], faults: &[Option<Fault>]) {
    let garbled = faults.iter().flatten().any(|fault| fault.harm() > 0.1);
    let mut good = !garbled;
    for (uid, fault) in used.iter().zip(faults).rev() {
        if good && fault.is_none_or(Fault::learns) {
            *trained.useful.entry(*uid).or_default() += 1;
        }
        good = good && !matches!(fault, Some(Fault::SkipsBackward));
    }
}

/// A way through the stages.
struct Route {
    sample: Sample,
    preference: Vec<Uid>,
    used: Vec<Uid>,
    skips: Vec<Vec<Skip>>,
}

/// What decides a sample's way.
struct Way<'a> {
    world: &'a World,
    troubles: &'a Troubles,
    epoch: u32,
    at: f64,
    sample: Sample,
}

impl Way<'_> {
    fn find(&self, origin: Uid, trained: &Trained, noise: &mut Noise) -> Option<Route> {
        let mut route = Route {
            sample: self.sample,
            preference: vec![origin],
            used: vec![origin],
            skips: vec![Vec::new(); usize::from(self.world.setup.stages)],
        };
        if self.is_away(origin) {
            return None;
        }
        for stage in 1..self.world.setup.stages {
            let weights: Vec<(Uid, u32)> =
                self.world.members(stage).iter().map(|uid| (*uid, self.world.miners[uid].weight)).collect();
            let order = preference(&self.world.seed, self.sample, Stage(stage), &weights);
            route.preference.push(*order.first()?);
            let sender = *route.used.last()?;
            let mut chosen = None;
            for target in order {
                match self.skip(sender, target, trained, noise) {
                    None => {
                        chosen = Some(target);
                        break;
                    }
                    Some(cause) if route.skips[usize::from(stage) - 1].len() < MAX_SKIPS as usize => {
                        route.skips[usize::from(stage) - 1].push(Skip { uid: target, cause });
                    }
                    Some(_) => {}
                }
            }
            route.used.push(chosen?);
        }
        Some(route)
    }

    /// Why a sender does not take a target, if it does not.
    fn skip(&self, sender: Uid, target: Uid, trained: &Trained, noise: &mut Noise) -> Option<SkipCause> {
        let (from, to) = (self.world.fault(sender), self.world.fault(target));
        if from == Some(Fault::FavoursFriends)
            && to != from
            && self.has_fellows(target, Fault::FavoursFriends)
        {
            return Some(SkipCause::Unreachable);
        }
        if from == Some(Fault::StarvesSome) && self.is_starved(target) {
            return Some(SkipCause::Unreachable);
        }
        if from == Some(Fault::EclipsesNewcomer) && self.is_newcomer(target) {
            return Some(SkipCause::Unreachable);
        }
        if to == Some(Fault::RefusesStrangers) && from != to {
            return Some(SkipCause::Refused);
        }
        if to.is_some_and(|fault| fault.drops(noise)) || noise.chance(LOSS) || self.is_away(target) {
            return Some(SkipCause::Unreachable);
        }
        if self.is_cut(sender, target) || self.is_cut(target, sender) {
            return Some(SkipCause::Unreachable);
        }
        let fair = self.world.setup.rounds;
        let slow = matches!(self.troubles.get(&target), Some(Trouble::Slow));
        let room = to.map_or(if slow { fair / 3 } else { u32::MAX }, |fault| fault.capacity(fair));
        let taken = trained.taken.get(&target).copied().unwrap_or(0);
        // A slow miner takes samples evenly over the epoch.
        (f64::from(taken) > f64::from(room) * (self.at + 0.1)).then_some(SkipCause::Busy)
    }

    /// The honest miner of its stage with the highest uid stands for the newest.
    fn is_newcomer(&self, target: Uid) -> bool {
        let stage = self.world.miners.get(&target).map(|miner| miner.stage);
        let honest = |m: &super::Miner| Some(m.stage) == stage && m.fault.is_none();
        let newest = self.world.miners.iter().rev().find(|(_, miner)| honest(miner));
        newest.is_some_and(|(uid, _)| *uid == target)
    }

    fn has_fellows(&self, target: Uid, fault: Fault) -> bool {
        let stage = self.world.miners.get(&target).map(|miner| miner.stage);
        let friendly = |m: &super::Miner| Some(m.stage) == stage && m.fault == Some(fault);
        self.world.miners.values().any(friendly)
    }

    /// Whether a starving sender passes a target over for a fellow: half of the stage, others in each epoch; and
    /// everybody but its fellows where one of the starved came first.
    fn is_starved(&self, target: Uid) -> bool {
        if self.world.fault(target) == Some(Fault::StarvesSome)
            || !self.has_fellows(target, Fault::StarvesSome)
        {
            return false;
        }
        let Some(stage) = self.world.miners.get(&target).map(|miner| miner.stage) else { return false };
        let strangers: Vec<Uid> = self
            .world
            .members(stage.0)
            .into_iter()
            .filter(|uid| self.world.fault(*uid) != Some(Fault::StarvesSome))
            .collect();
        let half = usize::from(self.world.setup.replicas) / 2;
        let starved = |uid: Uid| {
            let place = strangers.iter().position(|own| *own == uid);
            place.is_some_and(|place| (place + self.epoch as usize * half) % strangers.len() < half)
        };
        let weights: Vec<(Uid, u32)> =
            self.world.members(stage.0).iter().map(|uid| (*uid, self.world.miners[uid].weight)).collect();
        let first = preference(&self.world.seed, self.sample, stage, &weights).first().copied();
        first.is_some_and(starved)
    }

    fn is_away(&self, uid: Uid) -> bool {
        let away = match self.troubles.get(&uid) {
            Some(Trouble::Away(from)) => (*from..*from + AWAY).contains(&self.at),
            Some(Trouble::MissesMerge) => self.at > 1.0 - AWAY,
            _ => false,
        };
        debug_assert!(self.epoch < self.world.setup.epochs);
        away || self.world.fault(uid).is_some_and(|fault| fault.is_away(self.at))
    }

    fn is_cut(&self, one: Uid, other: Uid) -> bool {
        matches!(self.troubles.get(&one), Some(Trouble::CutOffFrom(uid)) if *uid == other)
    }
}

fn code(sample: Sample, boundary: usize, direction: Direction) -> Hash {
    hash_of(Domain::Codes, &(sample, boundary as u32, direction))
}

/// Both receipts of one stop of a route.
fn receipts(route: &Route, place: usize, loss_micro: u32) -> [Receipt; 2] {
    let (own, last) = (route.used[place], route.used.len() - 1);
    let before = if place == 0 { own } else { route.used[place - 1] };
    let after = if place == last { own } else { route.used[place + 1] };
    let hash = |boundary: usize, direction| code(route.sample, boundary, direction);
    let forward = Receipt {
        sample: route.sample,
        attempt: Attempt(0),
        stage: Stage(place as u16),
        direction: Direction::Forward,
        from: before,
        to: after,
        input: hash(place, Direction::Forward),
        output: if place == last { Hash::ZERO } else { hash(place + 1, Direction::Forward) },
        version: Version(0),
        sequence: 0,
        skips: route.skips[place].clone().try_into().unwrap_or_default(),
        loss_micro: (place == last).then_some(loss_micro),
        logits: Hash::ZERO,
    };
    let backward = Receipt {
        direction: Direction::Backward,
        from: after,
        to: before,
        input: if place == last { Hash::ZERO } else { hash(place + 1, Direction::Backward) },
        output: if place == 0 { Hash::ZERO } else { hash(place, Direction::Backward) },
        skips: Default::default(),
        loss_micro: None,
        ..forward.clone()
    };
    [forward, backward]
}

/// As many receipts again, for samples that others did.
fn forge(receipts: &mut Vec<Receipt>) {
    let forged: Vec<Receipt> = receipts
        .iter()
        .map(|receipt| Receipt { sample: Sample(receipt.sample.0 ^ 1), ..receipt.clone() })
        .collect();
    receipts.extend(forged);
}

impl Trained {
    /// Receipts as validators fetch them.
    pub(super) fn fetched(&self, world: &World) -> Vec<MinerReceipts> {
        let one = |(uid, miner): (&Uid, &super::Miner)| MinerReceipts {
            uid: *uid,
            stage: miner.stage,
            receipts: self.receipts.get(uid).cloned().unwrap_or_default(),
        };
        world.miners.iter().map(one).collect()
    }
}
