//! Merging under fire: dead members, half-served entries, lying owners, poisoned entries.

use iota_protocol::ids::{Epoch, Hash, Stage};
use iota_protocol::seed::derive;
use iota_protocol::work::{Bitmap, ShardStatus};

use crate::noise::Noise;
use crate::outcome::{mean_and_error, percent, Miss, Outcome, Plot, Scale, Table};
use crate::toymerge::{encode, everyone, merge, Committer, Counts, Owner, Place, CHUNK};

/// Values of a stage: more chunks than 50 members have shards.
const VALUES: usize = 1_280 * CHUNK;

fn place(seed: u64) -> Place {
    Place { seed: derive(&Hash::ZERO, b"lab/merge", seed), epoch: Epoch(0), stage: Stage(0) }
}

/// Honest entries around a common update.
fn entries(count: usize, values: usize, noise: &mut Noise) -> Vec<Vec<u8>> {
    let common: Vec<f64> = (0..values).map(|_| noise.normal(0.0, 0.1)).collect();
    let own = |noise: &mut Noise| common.iter().map(|v| v + noise.normal(0.0, 0.05)).collect::<Vec<_>>();
    (0..count).map(|_| encode(&own(noise))).collect()
}

/// Committers with these owners' acts and honest entries.
fn committers(owners: &[Owner], values: usize, noise: &mut Noise) -> Vec<Committer> {
    let entries = entries(owners.len(), values, noise);
    let whole = everyone(owners.len());
    let one =
        |(entry, owner): (Vec<u8>, &Owner)| Committer { samples: 100, entry, owner: *owner, holds: whole };
    entries.into_iter().zip(owners).map(one).collect()
}

fn sum(counts: &[Counts], of: impl Fn(&Counts) -> usize) -> f64 {
    counts.iter().map(of).sum::<usize>() as f64
}

/// The row.
///
/// # Errors
/// When a plot cannot be drawn.
pub fn run(scale: Scale) -> anyhow::Result<Outcome> {
    let mut out = Outcome::default();
    dead(scale, &mut out);
    half_served(scale, &mut out);
    naming(scale, &mut out)?;
    Ok(out)
}

fn dead(scale: Scale, out: &mut Outcome) {
    let seeds = scale.pick(2, 20);
    let columns = [
        "committers",
        "die before they open",
        "shards unmerged",
        "p^2",
        "exact for this many",
        "one owner only",
    ];
    let mut table = Table::new("Members that die after they committed", &columns);
    for members in [10usize, 20, 50] {
        for share in scale.pick(&[0.35][..], &[0.1, 0.35, 0.5]) {
            let share = *share;
            let gone = (members as f64 * share).round() as usize;
            let counts: Vec<Counts> = (0..seeds).filter_map(|seed| dead_once(members, gone, seed)).collect();
            let all = sum(&counts, |c| c.all);
            let unmerged = sum(&counts, |c| c.missing) / all;
            let pairs = |n: usize| (n * n.saturating_sub(1)) as f64;
            let exact = pairs(gone) / pairs(members);
            table.push([
                members.to_string(),
                percent(share),
                percent(unmerged),
                percent(share * share),
                percent(exact),
                percent(sum(&counts, |c| c.single) / all),
            ]);
            if (members, share) == (50, 0.35) {
                let text =
                    "35 % of 50 members dead leave about p^2 = 12.25 % of the shards unmerged, none wrong";
                let wrong = sum(&counts, |c| c.agreed_wrong + c.single_wrong + c.differ);
                out.claim(text, percent(unmerged), (unmerged - 0.1225).abs() < 0.01 && wrong == 0.0);
            }
        }
    }
    out.tables.push(table);
}

fn dead_once(members: usize, gone: usize, seed: u64) -> Option<Counts> {
    let mut noise = Noise::new(seed, &format!("dead/{members}/{gone}"));
    let owners: Vec<Owner> =
        (0..members).map(|i| if i < gone { Owner::Silent } else { Owner::Honest }).collect();
    merge(&place(seed), &committers(&owners, VALUES, &mut noise)).map(|merged| merged.counts)
}

fn half_served(scale: Scale, out: &mut Outcome) {
    let seeds = scale.pick(1, 15);
    let columns = [
        "served to",
        "entry in the set",
        "shards that nobody could open",
        "honest owners named",
        "shards that differ",
    ];
    let mut table = Table::new("A committer of 20 serves its entry to some owners only", &columns);
    for share in [0.25, 0.5, 0.65, 0.7, 0.9] {
        let (mut counts, mut inside, mut named) = (Vec::new(), 0u32, 0usize);
        for seed in 0..seeds {
            let mut noise = Noise::new(seed, &format!("half/{share}"));
            let mut stage = committers(&[Owner::Honest; 20], VALUES / 4, &mut noise);
            let cheat = noise.below(20);
            let denied: Vec<usize> =
                (0..20).filter(|owner| *owner != cheat && !noise.chance(share)).collect();
            for owner in denied {
                stage[owner].holds = Bitmap(stage[owner].holds.0 & !(1 << cheat));
            }
            if let Some(merged) = merge(&place(seed), &stage) {
                inside += u32::from(merged.set.contains(cheat));
                named += merged.named.len();
                counts.push(merged.counts);
            }
        }
        let all = sum(&counts, |c| c.all);
        table.push([
            percent(share),
            percent(f64::from(inside) / seeds as f64),
            percent(sum(&counts, |c| c.missing) / all),
            named.to_string(),
            sum(&counts, |c| c.differ).to_string(),
        ]);
        let differ = sum(&counts, |c| c.differ);
        if (share - 0.5).abs() < 0.01 {
            let text = "A committer that serves half of the owners makes no honest owner look guilty";
            out.claim(text, format!("{named} named, {differ} shards differ"), named == 0 && differ == 0.0);
        }
    }
    out.tables.push(table);
}

fn naming(scale: Scale, out: &mut Outcome) -> anyhow::Result<()> {
    let seeds = scale.pick(1, 4);
    let columns = [
        "bad of 50",
        "what they do",
        "liars named",
        "honest named",
        "shards that differ",
        "agreed and wrong",
    ];
    let mut table = Table::new("Owners that open wrong results", &columns);
    for share in scale.pick(&[0.4][..], &[0.1, 0.2, 0.3, 0.4]) {
        for act in [Owner::Wrong, Owner::Colluding] {
            let bad = (50.0 * *share) as usize;
            let (mut counts, mut liars, mut honest) = (Vec::new(), 0usize, 0usize);
            for seed in 0..seeds {
                let mut noise = Noise::new(seed, "naming");
                let owners: Vec<Owner> = (0..50).map(|i| if i < bad { act } else { Owner::Honest }).collect();
                let Some(merged) = merge(&place(seed), &committers(&owners, VALUES, &mut noise)) else {
                    continue;
                };
                liars += merged.named.iter().filter(|owner| **owner < bad).count();
                honest += merged.named.iter().filter(|owner| **owner >= bad).count();
                if seed == 0 && bad == 20 {
                    out.plots.push(matrix(&merged.statuses, act)?);
                }
                counts.push(merged.counts);
            }
            let all = sum(&counts, |c| c.all);
            let found = liars as f64 / (bad as u64 * seeds) as f64;
            let wrong = sum(&counts, |c| c.agreed_wrong) / all;
            let name = if act == Owner::Wrong { "each lies alone" } else { "pairs lie together" };
            table.push([
                percent(*share),
                name.into(),
                percent(found),
                honest.to_string(),
                percent(sum(&counts, |c| c.differ) / all),
                percent(wrong),
            ]);
            if bad == 20 && act == Owner::Wrong {
                let text = "Agreement names liars exactly with 40 % bad of 50";
                out.claim(
                    text,
                    format!("{} named, {honest} honest", percent(found)),
                    found == 1.0 && honest == 0,
                );
            }
            if bad == 20 && act == Owner::Colluding {
                let why = "two owners that open the same bytes are believed until a validator draws their shard, \
                           one of the agreed ones for each validator and stage: what stands until then is in the row of \
                           cheats (CollusiveShard)";
                out.target(
                    "nor can pairs that lie together bring in a wrong shard",
                    percent(wrong),
                    wrong == 0.0,
                    // The share of pairs that are both bad, of 20 among 50: 15.51 %.
                    Miss::known(wrong < 0.17, why),
                );
            }
        }
    }
    out.tables.push(table);
    Ok(())
}

/// The agreement matrix as a heat map.
fn matrix(statuses: &[((usize, usize), ShardStatus)], act: Owner) -> anyhow::Result<Plot> {
    let cell = |status: &ShardStatus| match status {
        ShardStatus::Agreed(_) => (120, 170, 120),
        ShardStatus::Single(_) => (200, 200, 120),
        ShardStatus::Missing => (220, 220, 220),
        ShardStatus::Differs(..) => (190, 60, 60),
    };
    let cells = statuses.iter().map(|((a, b), status)| (*a, *b, cell(status))).collect::<Vec<_>>();
    let (file, what) = match act {
        Owner::Wrong => ("agreement-alone.svg", "20 liars, each alone"),
        _ => ("agreement-pairs.svg", "20 liars in pairs"),
    };
    let title = format!("Agreement matrix, 50 members, {what} (green: agreed, red: differ)");
    crate::plot::heat_map(file, &title, 50, &cells)
}

/// Mean loss of merged toy training with and without poison: the row `poison`.
pub mod poison {
    use super::{
        encode, everyone, mean_and_error, merge, percent, place, Committer, Noise, Outcome, Owner, Scale,
        Table, CHUNK,
    };

    /// Values of the toy stage.
    const VALUES: usize = 60 * CHUNK;
    /// Merges.
    const MERGES: u32 = 30;
    /// Loss that no weights get below, and nats per square distance: training starts near 4.5.
    const FLOOR: f64 = 2.0;
    const SLOPE: f64 = 2.5;
    /// Part of its way to the optimum that a replica goes in an epoch, and its own noise.
    const PROGRESS: f64 = 0.25;
    const SPREAD: f64 = 0.05;
    /// Outer rate.
    const OUTER: f64 = 0.7;

    /// What a poisoner commits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Poison {
        /// Fifty times its honest update.
        Scaled,
        /// Its honest update turned around.
        Flipped,
        /// The same fifty times.
        FlippedScaled,
        /// Its update of the epoch before.
        Stale,
        /// Its honest update and always the same direction, as long as the update is.
        Drift,
        /// One standard deviation of the honest updates below their mean, coordinate by coordinate.
        WithinGate,
        /// An honest update towards an optimum that is moved in one coordinate of twenty.
        Backdoor,
    }

    /// All kinds.
    pub const ALL: [Poison; 7] = [
        Poison::Scaled,
        Poison::Flipped,
        Poison::FlippedScaled,
        Poison::Stale,
        Poison::Drift,
        Poison::WithinGate,
        Poison::Backdoor,
    ];

    struct Training {
        /// Weights less the optimum.
        distance: Vec<f64>,
        before: Vec<f64>,
        drift: Vec<f64>,
    }

    impl Training {
        fn new(noise: &mut Noise) -> Self {
            let draw = |noise: &mut Noise| (0..VALUES).map(|_| noise.standard()).collect::<Vec<f64>>();
            Self { distance: draw(noise), before: vec![0.0; VALUES], drift: draw(noise) }
        }

        fn loss(&self) -> f64 {
            FLOOR + SLOPE * self.distance.iter().map(|d| d * d).sum::<f64>() / VALUES as f64
        }

        fn poisoned(&self, poison: Poison, honest: &[f64], all: &[Vec<f64>]) -> Vec<f64> {
            let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
            let times = |factor: f64| honest.iter().map(|v| v * factor).collect::<Vec<f64>>();
            match poison {
                Poison::Scaled => times(50.0),
                Poison::Flipped => times(-1.0),
                Poison::FlippedScaled => times(-50.0),
                Poison::Stale => self.before.clone(),
                Poison::Drift => {
                    let length = norm(honest) / norm(&self.drift);
                    honest.iter().zip(&self.drift).map(|(v, d)| v + d * length).collect()
                }
                Poison::WithinGate => (0..VALUES)
                    .map(|at| {
                        let values: Vec<f64> = all.iter().map(|entry| entry[at]).collect();
                        let (mean, error) = mean_and_error(&values);
                        mean - mean.signum() * error * (values.len() as f64).sqrt()
                    })
                    .collect(),
                Poison::Backdoor => {
                    let moved = |(at, v): (usize, &f64)| if at % 20 == 0 { v - PROGRESS * 2.0 } else { *v };
                    honest.iter().enumerate().map(moved).collect()
                }
            }
        }

        fn epoch(&mut self, members: usize, bad: usize, poison: Poison, seed: u64, noise: &mut Noise) {
            let honest = |noise: &mut Noise| {
                self.distance.iter().map(|d| d * PROGRESS + noise.normal(0.0, SPREAD)).collect::<Vec<f64>>()
            };
            let all: Vec<Vec<f64>> = (0..members).map(|_| honest(noise)).collect();
            let stage: Vec<Committer> = (0..members)
                .map(|i| {
                    let entry =
                        if i < bad { self.poisoned(poison, &all[i], &all[bad..]) } else { all[i].clone() };
                    let entry = encode(&entry);
                    Committer { samples: 100, entry, owner: Owner::Honest, holds: everyone(members) }
                })
                .collect();
            self.before.clone_from(&all[0]);
            if let Some(merged) = merge(&place(seed), &stage) {
                for (d, update) in self.distance.iter_mut().zip(&merged.update) {
                    *d -= OUTER * update.unwrap_or(0.0);
                }
            }
        }
    }

    /// Loss after all merges.
    #[must_use]
    pub fn final_loss(members: usize, bad: usize, poison: Poison, seed: u64) -> f64 {
        let mut noise = Noise::new(seed, "poison");
        let mut training = Training::new(&mut noise);
        for epoch in 0..MERGES {
            training.epoch(members, bad, poison, seed * 1_000 + u64::from(epoch), &mut noise);
        }
        training.loss()
    }

    /// The row.
    ///
    /// # Errors
    /// Never; rows share a signature.
    pub fn run(scale: Scale) -> anyhow::Result<Outcome> {
        let seeds = scale.pick(1, 5);
        let mut out = Outcome::default();
        out.note(format!(
            "Loss = {FLOOR} + {SLOPE} x mean square distance to the optimum, from about 4.5; {MERGES} merges, \
             {seeds} seeds. The number is how much higher the loss ends than without poison."
        ));
        let sizes: &[usize] = scale.pick(&[10], &[4, 7, 10, 20]);
        let columns = ["replicas", "poison", "10 %", "20 %", "30 %", "40 %"];
        let mut table = Table::new("Harm of poisoned entries to the merged result", &columns);
        for members in sizes {
            for poison in ALL {
                let mean = |bad: usize| {
                    let losses: Vec<f64> =
                        (0..seeds).map(|seed| final_loss(*members, bad, poison, seed)).collect();
                    mean_and_error(&losses).0
                };
                let clean = mean(0);
                let harm: Vec<f64> = [0.1, 0.2, 0.3, 0.4]
                    .map(|share| mean((*members as f64 * share).floor() as usize) / clean - 1.0)
                    .into();
                table.rows.push(
                    [members.to_string(), format!("{poison:?}")]
                        .into_iter()
                        .chain(harm.iter().map(|harm| percent(*harm)))
                        .collect(),
                );
                if *members == 10 {
                    let text = format!(
                        "30 % poisoners ({poison:?}) among 10 replicas move the loss by less than 2 %"
                    );
                    out.claim(text, percent(harm[2]), harm[2] < 0.02);
                }
            }
        }
        out.tables.push(table);
        Ok(out)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn honest_training_gets_near_the_floor_and_large_poison_does_not_stop_it() {
            let clean = final_loss(10, 0, Poison::Scaled, 1);
            assert!(clean < FLOOR + 0.05, "{clean}");
            let poisoned = final_loss(10, 3, Poison::FlippedScaled, 1);
            assert!(poisoned / clean < 1.02, "{poisoned}");
            let lost = final_loss(10, 6, Poison::FlippedScaled, 1);
            assert!(lost > clean * 1.2, "a majority wins: {lost}");
        }
    }
}
