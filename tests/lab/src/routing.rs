//! How well preferences by weight use miners of unlike speed: against uniform random choice and an
//! oracle that sees every queue, on the test bed of 96 miners of which some fail.

use std::collections::BTreeMap;

use iota_protocol::ids::{Hash, Sample, Stage, Uid};
use iota_protocol::pathway::{next_weights, preference, DEFAULT_WEIGHT};
use iota_protocol::seed::derive;

use crate::noise::Noise;
use crate::outcome::{mean_and_error, percent, Miss, Outcome, Scale, Table};

/// Miners of the test bed.
const MINERS: u16 = 96;
/// Samples that make an epoch.
const EPOCH: u32 = 500;
/// Samples that one miner queues; more it answers with `Busy`.
const CACHE: f64 = 5.0;
/// Seconds after which a sample that a dead miner took is started again.
const STALE: f64 = 60.0;
/// Epochs; weights need some to find the speeds.
const EPOCHS: u32 = 12;

/// How the next miner is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// Weighted preferences, weights following what was done: the rule.
    Preference,
    /// Uniformly at random; the next when busy.
    Uniform,
    /// Whoever will be done first, with knowledge of all speeds, queues and failures.
    Oracle,
}

struct Bed {
    stages: u16,
    /// Seconds for one sample.
    service: BTreeMap<Uid, f64>,
    /// Probability that a sample given to it is lost.
    failure: BTreeMap<Uid, f64>,
    /// When each is free again.
    free: BTreeMap<Uid, f64>,
    weights: BTreeMap<Uid, u32>,
    done: BTreeMap<Uid, u32>,
}

impl Bed {
    /// 75 % reliable, 15 % half, 10 % unreliable; speeds over two orders of magnitude, log-uniform.
    fn new(stages: u16, noise: &mut Noise) -> Self {
        let uids: Vec<Uid> = (0..MINERS).map(Uid).collect();
        let service = |noise: &mut Noise| 10f64.powf(noise.uniform() * 2.0 - 1.0);
        let failure = |noise: &mut Noise| match noise.uniform() {
            x if x < 0.75 => 0.001,
            x if x < 0.90 => 0.02,
            _ => 0.10,
        };
        Self {
            stages,
            service: uids.iter().map(|uid| (*uid, service(noise))).collect(),
            failure: uids.iter().map(|uid| (*uid, failure(noise))).collect(),
            free: uids.iter().map(|uid| (*uid, 0.0)).collect(),
            weights: uids.iter().map(|uid| (*uid, DEFAULT_WEIGHT)).collect(),
            done: BTreeMap::new(),
        }
    }

    fn members(&self, stage: u16) -> Vec<Uid> {
        (0..MINERS).filter(|uid| uid % self.stages == stage).map(Uid).collect()
    }

    fn order(
        &self,
        choice: Choice,
        seed: &Hash,
        sample: u32,
        stage: u16,
        now: f64,
        noise: &mut Noise,
    ) -> Vec<Uid> {
        let mut members = self.members(stage);
        match choice {
            Choice::Preference => {
                let weighted: Vec<(Uid, u32)> = members.iter().map(|uid| (*uid, self.weights[uid])).collect();
                preference(seed, Sample(sample), Stage(stage), &weighted)
            }
            Choice::Uniform => {
                for end in (1..members.len()).rev() {
                    members.swap(end, noise.below(end + 1));
                }
                members
            }
            Choice::Oracle => {
                let ends =
                    |uid: &Uid| self.free[uid].max(now) + self.service[uid] + self.failure[uid] * STALE;
                members.sort_by(|a, b| ends(a).total_cmp(&ends(b)));
                members
            }
        }
    }

    /// Runs one sample forward (backward costs twice as much and returns the same way); returns when it
    /// is done.
    fn sample(&mut self, choice: Choice, seed: &Hash, sample: u32, start: f64, noise: &mut Noise) -> f64 {
        let mut now = start;
        for stage in 0..self.stages {
            let order = self.order(choice, seed, sample, stage, now, noise);
            let has_room = |bed: &Self, uid: &Uid| bed.free[uid] - now < CACHE * bed.service[uid];
            let first = order.iter().copied().find(|uid| has_room(self, uid));
            // All are busy: wait for the one that is free first.
            let soonest = || order.iter().copied().min_by(|a, b| self.free[a].total_cmp(&self.free[b]));
            let Some(mut uid) = first.or_else(soonest) else { return now };
            if noise.chance(self.failure[&uid]) {
                now += STALE;
                uid = order.iter().copied().find(|other| *other != uid).unwrap_or(uid);
            }
            let end = self.free[&uid].max(now) + self.service[&uid];
            self.free.insert(uid, end);
            *self.done.entry(uid).or_default() += 1;
            now = end;
        }
        now
    }

    /// Share of its time in which each miner worked, slowest first.
    fn use_by_speed(&self, seconds: f64) -> Vec<f64> {
        let share = |(uid, service): (&Uid, &f64)| {
            let done = f64::from(self.done.get(uid).copied().unwrap_or(0));
            (*service, done * service / seconds)
        };
        let mut used: Vec<(f64, f64)> = self.service.iter().map(share).collect();
        used.sort_by(|a, b| b.0.total_cmp(&a.0));
        used.into_iter().map(|(_, share)| share).collect()
    }

    fn reweigh(&mut self) {
        for stage in 0..self.stages {
            let members = self.members(stage);
            let total: u32 = members.iter().map(|uid| self.done.get(uid).copied().unwrap_or(0)).sum();
            let share = |uid: &Uid| {
                let done = u64::from(self.done.get(uid).copied().unwrap_or(0));
                let scaled =
                    done * members.len() as u64 * u64::from(DEFAULT_WEIGHT) / u64::from(total.max(1));
                Some(scaled as u32)
            };
            let old: Vec<(Uid, u32, Option<u32>)> =
                members.iter().map(|uid| (*uid, self.weights[uid], share(uid))).collect();
            self.weights.extend(next_weights(&old));
        }
        self.done.clear();
    }
}

/// What a choice came to.
pub struct Measured {
    /// Seconds for an epoch, the mean of the last three.
    pub seconds: f64,
    /// Share of the capacity of the median miner that was used in the last epoch.
    pub median_use: f64,
    /// The same for the slowest tenth.
    pub slow_use: f64,
}

/// Runs the test bed.
#[must_use]
pub fn measure(choice: Choice, stages: u16, in_flight: usize, seed: u64) -> Measured {
    let mut noise = Noise::new(seed, "routing");
    let mut bed = Bed::new(stages, &mut noise);
    let (mut seconds, mut uses) = (Vec::new(), Vec::new());
    for epoch in 0..EPOCHS {
        let epoch_seed = derive(&Hash::ZERO, b"lab/routing", seed * 1_000 + u64::from(epoch));
        bed.free.values_mut().for_each(|free| *free = 0.0);
        // As many samples are under way at once as stage 0 keeps open.
        let mut lanes = vec![0.0f64; in_flight];
        for sample in 0..EPOCH {
            let lane = (0..lanes.len()).min_by(|a, b| lanes[*a].total_cmp(&lanes[*b])).unwrap_or(0);
            lanes[lane] = bed.sample(choice, &epoch_seed, sample, lanes[lane], &mut noise);
        }
        let end = lanes.iter().copied().fold(0.0, f64::max);
        if epoch + 3 >= EPOCHS {
            seconds.push(end);
        }
        uses = bed.use_by_speed(end);
        bed.reweigh();
    }
    let slow = &uses[..uses.len() / 10];
    let slow_use = mean_and_error(slow).0;
    uses.sort_by(f64::total_cmp);
    Measured { seconds: mean_and_error(&seconds).0, median_use: uses[uses.len() / 2], slow_use }
}

/// The row.
///
/// # Errors
/// Never; rows share a signature.
pub fn run(scale: Scale) -> anyhow::Result<Outcome> {
    let seeds = scale.pick(1, 5);
    let mut out = Outcome::default();
    out.note(format!(
        "{MINERS} miners, service times over two orders of magnitude, 15 % of them losing 2 % and 10 % losing \
         10 % of the samples; an epoch is {EPOCH} samples, at most {CACHE} are queued by a miner, a lost one is \
         noticed after {STALE} s, 64 are under way. Epochs 10 to 12 of {EPOCHS}, {seeds} seeds. \"Use\" is the \
         share of a miner's time in which it worked. The oracle knows every speed, queue and failure rate."
    ));
    let columns = [
        "stages",
        "choice",
        "seconds per epoch",
        "times the oracle",
        "use, median miner",
        "use, slowest tenth",
    ];
    let mut table = Table::new("An epoch of unlike miners", &columns);
    for stages in [3, 8] {
        let run = |choice| {
            let all: Vec<Measured> = (0..seeds).map(|seed| measure(choice, stages, 64, seed)).collect();
            let mean = |of: fn(&Measured) -> f64| mean_and_error(&all.iter().map(of).collect::<Vec<_>>()).0;
            (mean(|m| m.seconds), mean(|m| m.median_use), mean(|m| m.slow_use))
        };
        let [rule, uniform, oracle] = [Choice::Preference, Choice::Uniform, Choice::Oracle].map(run);
        for (name, (seconds, median, slow)) in
            [("preference", rule), ("uniform", uniform), ("oracle", oracle)]
        {
            table.push([
                stages.to_string(),
                name.into(),
                format!("{seconds:.0}"),
                format!("{:.2}", seconds / oracle.0),
                percent(median),
                percent(slow),
            ]);
        }
        let text = format!("With {stages} stages preferences beat uniform choice");
        let why = "a miner at the floor of half the stage's median is preferred far beyond its speed, and samples wait \
                   in its queue: only a lower floor or a sender that minds queues would change that";
        let got = format!("{:.0} s against {:.0} s", rule.0, uniform.0);
        out.target(text, got, rule.0 < uniform.0, Miss::known(rule.0 < uniform.0 * 1.15, why));
    }
    out.tables.push(table);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oracle_is_fastest() {
        let time = |choice| measure(choice, 3, 32, 1).seconds;
        let (rule, uniform, oracle) = (time(Choice::Preference), time(Choice::Uniform), time(Choice::Oracle));
        assert!(oracle < rule && oracle < uniform, "{rule} {uniform} {oracle}");
    }
}
