//! The toy stages: who a sample goes to by the real preferences, what it loses, and what of it stands.
//!
//! Real are preferences, by the chain's seed and weights, what counts of the samples that came by them, and CLASP. A loss is a sum of a text, noise and what the
//! miners on its way spoil; a pass stands unless one of its neighbours denies it. Receipts and what is read from
//! them are the laboratory's (`tests/lab`).

use std::collections::{BTreeMap, BTreeSet};

use iota_protocol::{
    clasp::Observation,
    ids::{Hash, Incarnation, Sample, Stage, Uid},
    position::sample_of,
    routes::{counted, Delivery, Orders, Routing},
    seed::Draw,
};

use super::fault::Fault;

/// Mean loss of a text in nats; what a text adds that its covariate knows and does not know, and noise.
const TEXT: (f64, f64, f64, f64) = (4.5, 0.4, 0.15, 0.1);
/// Part of an epoch for which a miner in trouble is away.
const AWAY: f64 = 0.3;

/// An honest miner's trouble in one epoch.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// Takes a third of what others take.
    Slow,
    /// Away from this part of `Train` on.
    Away(f64),
    /// Away for the whole merge.
    MissesMerge,
    /// Cut off from the chain while it merges, for a few blocks.
    CutOff,
}

/// A miner as an epoch of training sees it.
#[derive(Clone, Copy, Debug)]
pub struct Runner {
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its weight on the chain.
    pub weight: u32,
    /// Its cheat.
    pub fault: Option<Fault>,
    /// Its trouble.
    pub trouble: Option<Trouble>,
}

/// A miner that a sample went through.
type Used = (Uid, Runner);

/// What an epoch of training left behind.
#[derive(Default)]
pub struct Trained {
    /// Miners of each stage in uid order.
    pub stages: Vec<Vec<Uid>>,
    /// Incarnations of all of them.
    pub incarnations: BTreeMap<Uid, Incarnation>,
    /// Samples of each that stand and count.
    pub verified: BTreeMap<Uid, u32>,
    /// Samples that stand, by who sent them to whom.
    deliveries: BTreeSet<Delivery>,
    /// Samples that each took.
    pub taken: BTreeMap<Uid, u32>,
    /// What CLASP is told.
    pub seen: Vec<Observation>,
    /// Samples that went all the way.
    pub finished: u32,
}

/// An epoch of training.
pub struct Training<'a> {
    /// The epoch's seed for pathways.
    pub seed: Hash,
    /// Samples that each stage-0 miner starts.
    pub rounds: u32,
    /// Miners of each stage in uid order.
    pub stages: Vec<Vec<Used>>,
    /// Noise of everything that is not a rule.
    pub draw: &'a mut Draw,
}

impl Training<'_> {
    /// Trains.
    pub fn run(mut self) -> Trained {
        let mut trained = Trained::default();
        for stage in &self.stages {
            trained.stages.push(stage.iter().map(|(uid, _)| *uid).collect());
            trained.incarnations.extend(stage.iter().map(|(uid, own)| (*uid, own.incarnation)));
        }
        let routing = self.routing();
        let mut orders = Orders::new(&routing);
        let first = self.stages.first().cloned().unwrap_or_default();
        let n0 = u32::try_from(first.len()).unwrap();
        for round in 0..self.rounds {
            let at = f64::from(round) / f64::from(self.rounds);
            for (rank, (origin, runner)) in (0..n0).zip(&first) {
                let sample = sample_of(round, rank, n0).unwrap();
                if self.takes(None, *origin, runner, at, &trained) {
                    if let Some((preferred, used)) = self.way(sample, *origin, at, (&trained, &mut orders)) {
                        self.book(&mut trained, sample, preferred, &used, at);
                    }
                }
            }
        }
        trained.verified.extend(counted(&trained.deliveries, &mut orders));
        trained
    }

    fn routing(&self) -> Routing {
        let weighted = |stage: &Vec<Used>| stage.iter().map(|(uid, own)| (*uid, own.weight)).collect();
        Routing { seed: self.seed, stages: self.stages.iter().map(weighted).collect() }
    }

    /// First preferences and used miners of a sample; nothing if some stage had nobody for it.
    fn way(
        &mut self,
        sample: Sample,
        origin: Uid,
        at: f64,
        (trained, orders): (&Trained, &mut Orders),
    ) -> Option<(Vec<Uid>, Vec<Used>)> {
        let runner = |stages: &[Vec<Used>], stage: usize, uid: Uid| {
            stages[stage].iter().find(|(own, _)| *own == uid).copied()
        };
        let mut used = vec![runner(&self.stages, 0, origin)?];
        let mut preferred = vec![origin];
        for stage in 1..self.stages.len() {
            let order = orders.of(sample, Stage(u16::try_from(stage).unwrap()));
            preferred.push(*order.first()?);
            let sender = used.last()?.1.fault;
            let mut chosen = None;
            for uid in order.iter().copied() {
                let target = runner(&self.stages, stage, uid)?;
                if self.takes(Some(sender), uid, &target.1, at, trained) {
                    chosen = Some(target);
                    break;
                }
            }
            used.push(chosen?);
        }
        Some((preferred, used))
    }

    /// Whether a miner takes a sample; of its own data where nobody sends it.
    fn takes(
        &mut self,
        from: Option<Option<Fault>>,
        uid: Uid,
        own: &Runner,
        at: f64,
        trained: &Trained,
    ) -> bool {
        let taken = trained.taken.get(&uid).copied().unwrap_or(0);
        let here = match own.trouble {
            Some(Trouble::Away(since)) => !(since..since + AWAY).contains(&at),
            Some(Trouble::Slow) => f64::from(taken) <= f64::from(self.rounds) / 3.0 * (at + 0.1),
            Some(Trouble::MissesMerge) => at < 1.0 - AWAY,
            Some(Trouble::CutOff) | None => true,
        };
        let fair = self.rounds;
        // Nobody refuses itself.
        let from = from.unwrap_or(own.fault);
        here && own.fault.is_none_or(|fault| fault.takes(from, at, taken, fair, self.draw))
    }

    fn book(&mut self, trained: &mut Trained, sample: Sample, preference: Vec<Uid>, used: &[Used], at: f64) {
        let known = normal(self.draw) * TEXT.1;
        let mut loss = TEXT.0 + known + normal(self.draw) * TEXT.2 + normal(self.draw) * TEXT.3;
        loss += used.iter().filter_map(|(_, own)| own.fault).map(Fault::harm).sum::<f64>();
        let ends = [used.first(), used.last()];
        loss = ends.iter().flatten().filter_map(|(_, own)| own.fault).fold(loss, |loss, own| own.tells(loss));
        let denied = self.denied(used);
        for (place, (uid, _)) in used.iter().enumerate() {
            *trained.taken.entry(*uid).or_default() += 1;
            if denied.contains(&place) {
                continue;
            }
            *trained.verified.entry(*uid).or_default() += 1;
            if let Some((from, _)) = place.checked_sub(1).and_then(|before| used.get(before)) {
                let stage = Stage(u16::try_from(place).unwrap());
                trained.deliveries.insert(Delivery { stage, from: *from, sample, to: *uid });
            }
        }
        trained.finished += 1;
        trained.seen.push(Observation {
            sample,
            preference,
            reporter: used[used.len() - 1].0,
            loss_micro: (loss.max(0.0) * 1e6) as u32,
            difficulty: known,
            time_bin: (at * 4.0) as u16,
        });
    }

    /// Places whose pass does not stand, because somebody has no receipt of it.
    fn denied(&mut self, used: &[Used]) -> BTreeSet<usize> {
        let mut denied = BTreeSet::new();
        for (place, (_, own)) in used.iter().enumerate() {
            if own.fault == Some(Fault::DeniedReceipts) && self.draw.below(2) == 0 {
                denied.extend([place.saturating_sub(1), place, place + 1]);
            }
        }
        denied
    }
}

/// A number between 0 and 1.
pub fn uniform(draw: &mut Draw) -> f64 {
    draw.below(1 << 52) as f64 / (1u64 << 52) as f64
}

/// A number of mean 0 and deviation 1: the sum of twelve uniform ones less six.
fn normal(draw: &mut Draw) -> f64 {
    (0..12).map(|_| uniform(draw)).sum::<f64>() - 6.0
}
