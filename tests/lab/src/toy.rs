//! The paper's toy (arXiv 2507.17766): five stages, losses N(4.5, 0.2), attackers that raise mean and
//! spread of every sample they touch by a tenth. Power and false flags of CLASP and of the paper's
//! mean with z-score.

use iota_protocol::clasp::{self, Config, Observation};
use iota_protocol::ids::{Sample, Uid};

use crate::noise::Noise;
use crate::outcome::{percent, share_at_most, Miss, Outcome, Scale, Table};
use crate::plot::{lines, Axes, Line};

/// Stages of the toy.
pub const STAGES: u16 = 5;
/// Honest mean and spread in nats.
const LOSS: (f64, f64) = (4.5, 0.2);
/// What attackers multiply mean and spread with.
const HARM: f64 = 1.1;
/// The z above which the paper's form flags.
const PAPER_Z: f64 = 1.5;
const SAMPLES: [u32; 6] = [100, 200, 350, 500, 1_000, 2_000];
const REPLICAS: [u16; 4] = [3, 4, 5, 8];

/// Who attacks, as `(stage, replica)`.
#[derive(Clone, Copy, Debug)]
pub enum Attackers {
    /// Nobody.
    None,
    /// One.
    One,
    /// One in each of three stages.
    Three,
    /// Two of one stage.
    TwoInOneStage,
}

impl Attackers {
    /// All attacks.
    pub const ATTACKS: [Self; 3] = [Self::One, Self::Three, Self::TwoInOneStage];

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::One => "one",
            Self::Three => "three, each in a stage of its own",
            Self::TwoInOneStage => "two in one stage",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::None => "toy-none.svg",
            Self::One => "toy-one.svg",
            Self::Three => "toy-three.svg",
            Self::TwoInOneStage => "toy-two-in-one-stage.svg",
        }
    }

    fn places(self) -> &'static [(u16, u16)] {
        match self {
            Self::None => &[],
            Self::One => &[(2, 1)],
            Self::Three => &[(0, 0), (2, 1), (4, 2)],
            Self::TwoInOneStage => &[(2, 1), (2, 2)],
        }
    }
}

/// One toy epoch.
pub struct Toy {
    /// Miners of each stage.
    pub replicas: u16,
    /// Who attacks.
    pub attackers: Attackers,
    /// Samples.
    pub samples: u32,
    /// Seed.
    pub seed: u64,
}

impl Toy {
    /// The miners of every stage.
    #[must_use]
    pub fn stages(replicas: u16) -> Vec<Vec<Uid>> {
        (0..STAGES).map(|stage| (0..replicas).map(|miner| Uid(stage * replicas + miner)).collect()).collect()
    }

    /// The attackers' uids.
    #[must_use]
    pub fn bad(&self) -> Vec<Uid> {
        self.attackers.places().iter().map(|(stage, miner)| Uid(stage * self.replicas + miner)).collect()
    }

    /// Its observations.
    #[must_use]
    pub fn observe(&self) -> Vec<Observation> {
        let bad = self.bad();
        let mut noise = Noise::new(self.seed, "toy");
        let draw = |sample: u32, noise: &mut Noise| {
            let preference: Vec<Uid> = (0..STAGES)
                .map(|stage| Uid(stage * self.replicas + noise.below(self.replicas.into()) as u16))
                .collect();
            let scale = if preference.iter().any(|uid| bad.contains(uid)) { HARM } else { 1.0 };
            let loss = noise.normal(LOSS.0 * scale, LOSS.1 * scale);
            Observation {
                sample: Sample(sample),
                reporter: preference[usize::from(STAGES) - 1],
                preference,
                loss_micro: (loss * 1e6).round() as u32,
                difficulty: 0.0,
                time_bin: 0,
            }
        };
        (0..self.samples).map(|sample| draw(sample, &mut noise)).collect()
    }
}

/// Flags of many toy epochs.
#[derive(Clone, Copy, Default, Debug)]
pub struct Flags {
    /// Attackers flagged, and attackers.
    pub found: (usize, usize),
    /// Honest miners flagged as harmful, and honest miners.
    pub wrong: (usize, usize),
}

impl Flags {
    /// Share of attackers found.
    #[must_use]
    pub fn power(&self) -> f64 {
        self.found.0 as f64 / self.found.1.max(1) as f64
    }

    /// Share of honest miners flagged.
    #[must_use]
    pub fn false_share(&self) -> f64 {
        self.wrong.0 as f64 / self.wrong.1.max(1) as f64
    }

    fn count(&mut self, is_bad: bool, is_flagged: bool) {
        let (hits, all) = if is_bad { &mut self.found } else { &mut self.wrong };
        *hits += usize::from(is_flagged);
        *all += 1;
    }
}

/// Runs toy epochs and counts flags of CLASP and of the paper's form. Only harm counts as a flag.
#[must_use]
pub fn flags(replicas: u16, attackers: Attackers, samples: u32, trials: u64) -> (Flags, Flags) {
    let stages = Toy::stages(replicas);
    let (mut ours, mut papers) = (Flags::default(), Flags::default());
    for seed in 0..trials {
        let toy = Toy { replicas, attackers, samples, seed };
        let (seen, bad) = (toy.observe(), toy.bad());
        for effect in clasp::estimate(&stages, &seen, &Config::default()) {
            ours.count(bad.contains(&effect.uid), effect.significant && effect.effect > 0.0);
        }
        for mean in clasp::mean_z(&stages, &seen) {
            papers.count(bad.contains(&mean.uid), mean.z > PAPER_Z);
        }
    }
    (ours, papers)
}

/// The row: curves over samples.
///
/// # Errors
/// When a plot cannot be drawn.
pub fn run(scale: Scale) -> anyhow::Result<Outcome> {
    let trials = scale.pick(12, 200);
    let mut out = Outcome::default();
    out.note(format!(
        "Five stages; {trials} seeded epochs per cell (seeds 0 to {}). \"Power\" is the share of \
         attackers flagged, \"false\" the share of honest miners flagged as harmful. The paper's form \
         flags a z above {PAPER_Z}.",
        trials - 1
    ));
    let columns =
        ["attackers", "replicas", "samples", "CLASP power", "CLASP false", "paper power", "paper false"];
    let mut table = Table::new("The paper's toy", &columns);
    let mut all_wrong = (0, 0);
    for attackers in Attackers::ATTACKS {
        let mut drawn = Vec::new();
        for replicas in REPLICAS {
            let (mut ours, mut papers) = (Vec::new(), Vec::new());
            for samples in SAMPLES {
                let (clasp, paper) = flags(replicas, attackers, samples, trials);
                ours.push((f64::from(samples), clasp.power()));
                papers.push((f64::from(samples), paper.power()));
                table.push([
                    attackers.name().into(),
                    replicas.to_string(),
                    samples.to_string(),
                    percent(clasp.power()),
                    percent(clasp.false_share()),
                    percent(paper.power()),
                    percent(paper.false_share()),
                ]);
                if !is_majority(attackers, replicas) {
                    all_wrong = (all_wrong.0 + clasp.wrong.0, all_wrong.1 + clasp.wrong.1);
                }
                claim_power(&mut out, attackers, replicas, samples, &clasp, &paper);
            }
            drawn.push(Line { name: format!("CLASP, {replicas} replicas"), points: ours });
            drawn.push(Line { name: format!("mean and z, {replicas} replicas"), points: papers });
        }
        let title = format!("Power, attackers: {}", attackers.name());
        let axes = Axes { file: attackers.file(), title: &title, x: "samples in the epoch", y: "power" };
        out.plots.push(lines(&axes, &drawn)?);
    }
    out.tables.push(table);
    honest(scale, &mut out);
    let limit = share_at_most(all_wrong.0, all_wrong.1);
    out.claim(
        "CLASP flags fewer than 1 honest miner in 500 over all cells in which a stage is not mostly bad",
        format!("{} of {}, at most {} (95 %)", all_wrong.0, all_wrong.1, percent(limit)),
        all_wrong.0 * 500 <= all_wrong.1,
    );
    out.plots.push(roc(trials)?);
    Ok(out)
}

/// Two of three: the lower median itself is bad, and no contrast can say who is.
fn is_majority(attackers: Attackers, replicas: u16) -> bool {
    matches!(attackers, Attackers::TwoInOneStage) && replicas == 3
}

fn claim_power(
    out: &mut Outcome,
    attackers: Attackers,
    replicas: u16,
    samples: u32,
    clasp: &Flags,
    paper: &Flags,
) {
    let (one, pair) = (matches!(attackers, Attackers::One), matches!(attackers, Attackers::TwoInOneStage));
    if one && samples == 1_000 {
        let text = format!("One attacker among {replicas} is found in 1,000 samples");
        out.claim(text, percent(clasp.power()), clasp.power() > 0.98);
    }
    if pair && samples == 1_000 && replicas == 5 {
        let text =
            "Two attackers of one stage of five are found in 1,000 samples, where mean and z find neither";
        let got = format!("CLASP {}, mean and z {}", percent(clasp.power()), percent(paper.power()));
        out.claim(text, got, clasp.power() > 0.98 && paper.power() < 0.02);
    }
    if is_majority(attackers, replicas) && samples == 2_000 {
        let why = "the lower median of the stage is an attacker's: a contrast within a stage needs an \
                   honest majority, audits do not";
        out.target(
            "Two attackers among three replicas are found",
            percent(clasp.power()),
            clasp.power() > 0.9,
            // It cannot get worse.
            Miss::known(true, why),
        );
    }
}

fn honest(scale: Scale, out: &mut Outcome) {
    let trials = scale.pick(40, 1_000);
    let columns = ["replicas", "samples", "epochs", "CLASP: honest flagged", "of", "paper: honest flagged"];
    let mut table = Table::new("False flags when all are honest", &columns);
    for replicas in REPLICAS {
        for samples in [200, 1_000] {
            let (ours, papers) = flags(replicas, Attackers::None, samples, trials);
            table.push([
                replicas.to_string(),
                samples.to_string(),
                trials.to_string(),
                ours.wrong.0.to_string(),
                ours.wrong.1.to_string(),
                percent(papers.false_share()),
            ]);
        }
    }
    out.tables.push(table);
}

/// Receiver operating curves in 100 samples, where neither form is sure.
fn roc(trials: u64) -> anyhow::Result<crate::outcome::Plot> {
    let mut drawn = Vec::new();
    for attackers in [Attackers::One, Attackers::TwoInOneStage] {
        let (mut ours, mut papers) = (Vec::new(), Vec::new());
        for seed in 0..trials {
            let toy = Toy { replicas: 5, attackers, samples: 100, seed };
            let (seen, bad, stages) = (toy.observe(), toy.bad(), Toy::stages(5));
            for effect in clasp::estimate(&stages, &seen, &Config::default()) {
                let z = if effect.error > 0.0 { effect.effect / effect.error } else { 0.0 };
                ours.push((z, bad.contains(&effect.uid)));
            }
            papers.extend(clasp::mean_z(&stages, &seen).iter().map(|m| (m.z, bad.contains(&m.uid))));
        }
        drawn.push(Line { name: format!("CLASP, {}", attackers.name()), points: roc_points(ours) });
        drawn.push(Line { name: format!("mean and z, {}", attackers.name()), points: roc_points(papers) });
    }
    let title = "ROC over the threshold of z: 5 x 5, 100 samples";
    lines(&Axes { file: "toy-roc.svg", title, x: "honest miners flagged", y: "attackers flagged" }, &drawn)
}

fn roc_points(mut scores: Vec<(f64, bool)>) -> Vec<(f64, f64)> {
    scores.sort_by(|left, right| right.0.total_cmp(&left.0));
    let bad = scores.iter().filter(|(_, bad)| *bad).count().max(1);
    let good = (scores.len() - scores.iter().filter(|(_, bad)| *bad).count()).max(1);
    let (mut hits, mut wrong) = (0usize, 0usize);
    let mut points = vec![(0.0, 0.0)];
    for (index, (_, is_bad)) in scores.iter().enumerate() {
        hits += usize::from(*is_bad);
        wrong += usize::from(!*is_bad);
        // A point for every hundredth is as fine as the picture.
        if index % (scores.len() / 100).max(1) == 0 || index + 1 == scores.len() {
            points.push((wrong as f64 / good as f64, hits as f64 / bad as f64));
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_toy_has_the_papers_numbers() {
        let toy = Toy { replicas: 5, attackers: Attackers::One, samples: 20_000, seed: 1 };
        let (bad, seen) = (toy.bad(), toy.observe());
        let mean = |hit: bool| {
            let losses: Vec<f64> = seen
                .iter()
                .filter(|o| o.preference.iter().any(|uid| bad.contains(uid)) == hit)
                .map(|o| f64::from(o.loss_micro) / 1e6)
                .collect();
            losses.iter().sum::<f64>() / losses.len() as f64
        };
        assert!((mean(false) - 4.5).abs() < 0.01 && (mean(true) - 4.95).abs() < 0.02);
    }

    #[test]
    fn more_samples_find_more() {
        let (few, many) =
            (flags(4, Attackers::One, 60, 20).0.power(), flags(4, Attackers::One, 600, 20).0.power());
        assert!(few < many && many > 0.9, "{few} {many}");
    }
}
