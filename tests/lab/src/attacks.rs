//! Every cheat alone and in numbers; below it honest miners in trouble, an eclipsed newcomer, and validators.

pub mod eclipse;
pub mod honest;
pub mod validators;

use std::collections::{BTreeMap, BTreeSet};

use iota_protocol::ids::Uid;

use crate::noise::Noise;
use crate::outcome::{mean_and_error, percent, Miss, Outcome, Scale, Table};
use crate::plot::{lines, Axes, Line};
use crate::world::fault::{Fault, CHEATS};
use crate::world::{Ledger, Setup, Sign, Story, World, VEST_EPOCHS};

/// What an epoch's honest work costs, as a part of its pay: assumed, and stated on the page.
const COST: f64 = 0.6;

/// A run with cheats beside the same run without.
pub struct Paired {
    /// With cheats.
    pub cheated: Story,
    /// The same seed, all honest.
    pub honest: Story,
    /// Who cheated.
    pub cheats: Vec<Uid>,
}

impl Paired {
    /// Runs both.
    #[must_use]
    pub fn run(setup: &Setup, fault: Fault, cheats: &[Uid]) -> Self {
        Self::beside(World::new(setup.clone()).run(), setup, fault, cheats)
    }

    fn beside(honest: Story, setup: &Setup, fault: Fault, cheats: &[Uid]) -> Self {
        Self { cheated: World::new(setup.clone().with(fault, cheats)).run(), honest, cheats: cheats.to_vec() }
    }

    fn of<'a>(&self, story: &'a Story) -> impl Iterator<Item = &'a Ledger> + use<'a, '_> {
        self.cheats.iter().filter_map(|uid| story.ledgers.get(uid))
    }

    /// What the cheats kept, as a part of what they had kept as honest miners.
    #[must_use]
    pub fn pay(&self) -> f64 {
        let kept = |story| self.of(story).map(Ledger::kept).sum::<f64>();
        kept(&self.cheated) / kept(&self.honest)
    }

    /// The same with the cost of work counted: 0 is as good as honest, below it cheating loses.
    #[must_use]
    pub fn gain(&self) -> f64 {
        let epochs = self.cheated.heldout.len() as f64;
        let saved = self.of(&self.cheated).map(|ledger| ledger.saved).sum::<f64>() / epochs;
        self.pay() - 1.0 + saved / self.cheats.len() as f64 * COST
    }

    /// Part by which the held-out loss ends above the honest run's.
    #[must_use]
    pub fn damage(&self) -> f64 {
        let last = |story: &Story| story.heldout.last().copied().unwrap_or(f64::NAN);
        last(&self.cheated) / last(&self.honest) - 1.0
    }

    /// Honest miners that were marked `Invalid` or named.
    #[must_use]
    pub fn falsely_accused(&self) -> usize {
        self.cheated.accused.keys().filter(|uid| !self.cheats.contains(uid)).count()
    }

    /// What honest miners kept beside the honest run.
    #[must_use]
    pub fn others(&self) -> f64 {
        let kept = |story: &Story| {
            let honest = story.ledgers.iter().filter(|(uid, _)| !self.cheats.contains(uid));
            honest.map(|(_, ledger)| ledger.kept()).sum::<f64>()
        };
        kept(&self.cheated) / kept(&self.honest)
    }
}

/// Honest runs by their setup, which are the same beside every cheat.
#[derive(Default)]
struct Honest(BTreeMap<String, Story>);

impl Honest {
    fn of(&mut self, setup: &Setup) -> Story {
        let run = || World::new(setup.clone()).run();
        self.0.entry(format!("{setup:?}")).or_insert_with(run).clone()
    }
}

/// How often an attack is run, and beside which honest runs.
struct Times<'a> {
    seeds: u64,
    epochs: u32,
    honest: &'a mut Honest,
}

/// Many paired runs of one attack.
struct Many(Vec<Paired>);

impl Many {
    fn run(fault: Fault, times: &mut Times<'_>, make: impl Fn(u64, u32) -> (Setup, Vec<Uid>)) -> Self {
        let one = |seed| {
            let (setup, cheats) = make(seed, times.epochs);
            Paired::beside(times.honest.of(&setup), &setup, fault, &cheats)
        };
        Self((0..times.seeds).map(one).collect())
    }

    fn mean(&self, of: impl Fn(&Paired) -> f64) -> f64 {
        mean_and_error(&self.0.iter().map(of).collect::<Vec<_>>()).0
    }

    /// Cheats that something pointed at, and all; the epochs that it took; and what it was.
    fn found(&self) -> (usize, usize, f64, BTreeSet<String>) {
        let pointed = |pair: &Paired| -> Vec<(u32, Sign)> {
            pair.cheats.iter().filter_map(|uid| pair.cheated.pointed.get(uid).copied()).collect()
        };
        let all: Vec<(u32, Sign)> = self.0.iter().flat_map(pointed).collect();
        let cheats = self.0.iter().map(|pair| pair.cheats.len()).sum();
        let epochs = all.iter().map(|(epoch, _)| f64::from(epoch + 1)).sum::<f64>() / all.len().max(1) as f64;
        (all.len(), cheats, epochs, all.iter().map(|(_, sign)| format!("{sign:?}")).collect())
    }
}

fn alone(fault: Fault, seed: u64, epochs: u32) -> (Setup, Vec<Uid>) {
    let setup = Setup::small(seed, epochs).with_audits_needed();
    let stage = fault.stage(setup.stages);
    let replica = Noise::new(seed, "who").below(setup.replicas.into()) as u16;
    // A pair is the least that can collude.
    let with = if fault == Fault::CollusiveShard {
        vec![replica, (replica + 1) % setup.replicas]
    } else {
        vec![replica]
    };
    let uids = with.into_iter().map(|replica| Uid(stage * setup.replicas + replica)).collect();
    (setup, uids)
}

const COLUMNS: [&str; 10] = [
    "cheat",
    "found",
    "by",
    "epochs until",
    "honest accused",
    "honest cut by CLASP (miner-epochs)",
    "pay kept",
    "others' pay",
    "return on cheating",
    "held-out loss",
];

fn line(many: &Many, name: String) -> Vec<String> {
    let (found, all, epochs, by) = many.found();
    let cut: u32 = many
        .0
        .iter()
        .flat_map(|pair| pair.cheated.cut.iter().filter(|(uid, _)| !pair.cheats.contains(uid)))
        .map(|(_, times)| *times)
        .sum();
    vec![
        name,
        format!("{found} of {all}"),
        by.into_iter().collect::<Vec<_>>().join(", "),
        if found == 0 { "-".into() } else { format!("{epochs:.1}") },
        many.0.iter().map(Paired::falsely_accused).sum::<usize>().to_string(),
        cut.to_string(),
        percent(many.mean(Paired::pay)),
        percent(many.mean(Paired::others)),
        format!("{:+.1} %", many.mean(Paired::gain) * 100.0),
        format!("{:+.2} %", many.mean(Paired::damage) * 100.0),
    ]
}

/// Return at which a cheat counts as paying: a hundredth of an epoch's pay is the noise of rounded scores.
const PAYS: f64 = 0.01;

/// A cheat in numbers that is known to pay: up to which return, and why.
fn known(fault: Fault) -> Option<(f64, &'static str)> {
    let why = "what a stage is kept from, in parts of less than half of it, is shared by all the others: four \
               friends of ten gain a little more by it than their own skips cost them, three lose; who of two is in \
               the right that pass no samples to each other, nobody can see";
    // 4 % at two fifths of the miners.
    (fault == Fault::StarvesSome).then_some((0.08, why))
}

/// Claims that a cheat does not pay, or that it pays as little as is known.
fn pays_not(out: &mut Outcome, text: String, gain: f64, known: Option<(f64, &str)>) {
    let got = format!("return {:+.1} %", gain * 100.0);
    match known {
        Some((most, why)) => out.target(text, got, gain < PAYS, Miss::known(gain < most, why)),
        None => out.claim(text, got, gain < PAYS),
    }
}

/// The row: every cheat alone.
///
/// # Errors
/// When a plot cannot be drawn.
pub fn run(scale: Scale) -> anyhow::Result<Outcome> {
    let (seeds, epochs) = scale.pick((1, 10), (6, 40));
    let mut out = Outcome::default();
    out.note(format!(
        "3 stages of 5 miners, 4 validators, 375 samples an epoch, {epochs} epochs, seeds 0 to {}. Rewards \
         vest over {VEST_EPOCHS} epochs; a verdict takes the epoch's pay and what has not vested, and the cheat \
         goes on cheating. \"Pay kept\" and \"others' pay\" compare with the same seed without the cheat. \
         The return counts the work that the cheat saves, at an assumed cost of {} of the pay. Each validator \
         replays one segment of {} an epoch, as many as the rule of the audits' economics asks for, and one of \
         the worst significant effect.",
        seeds - 1,
        percent(COST),
        match Setup::small(0, epochs).with_audits_needed().audits {
            1 => "one miner".into(),
            more => format!("each of {more} miners"),
        }
    ));
    out.note(
        "Sybil registration, uid sniping, equivocation and refused evidence are matters of the chain: they stand in the \
         sections on the real chain. A replay shows a cheat \
         with the probability that [the calibration](audit.md) gives at least: one less the upper end of the 95 % \
         interval of the segments that passed. Wrong positions and forged receipts are compared exactly.",
    );
    let mut table = Table::new("Cheats of one miner (two where it takes two)", &COLUMNS);
    let mut accused = 0;
    let mut honest = Honest::default();
    let mut times = Times { seeds, epochs, honest: &mut honest };
    for fault in CHEATS {
        let many = Many::run(fault, &mut times, |seed, epochs| alone(fault, seed, epochs));
        accused += many.0.iter().map(Paired::falsely_accused).sum::<usize>();
        let gain = many.mean(Paired::gain);
        pays_not(&mut out, format!("{fault:?} does not pay"), gain, None);
        table.rows.push(line(&many, format!("{fault:?}")));
    }
    out.tables.push(table);
    out.claim("No honest miner is accused beside a cheat", accused.to_string(), accused == 0);
    eclipse::newcomer(scale, &mut out);
    out.plots.push(over_time(epochs)?);
    Ok(out)
}

/// Pay kept over time: what an epoch credited, less what verdicts took.
fn over_time(epochs: u32) -> anyhow::Result<crate::outcome::Plot> {
    let shown = [Fault::ReturnsNoise, Fault::LowerPrecision, Fault::FavoursFriends, Fault::WrongPositions];
    let mut drawn = Vec::new();
    let setup = Setup::small(0, epochs);
    let sums = |story: &Story, uid: Uid| -> Vec<(f64, f64)> {
        let mut sum = 0.0;
        let paid = story.ledgers.get(&uid).map(|ledger| ledger.paid.clone()).unwrap_or_default();
        (1u32..)
            .zip(paid)
            .map(|(epoch, paid)| {
                sum += paid;
                (f64::from(epoch), sum)
            })
            .collect()
    };
    let honest = World::new(setup.clone()).run();
    drawn.push(Line { name: "honest".into(), points: sums(&honest, Uid(7)) });
    for fault in shown {
        let uid = Uid(fault.stage(setup.stages) * setup.replicas + 2);
        let story = World::new(setup.clone().with(fault, &[uid])).run();
        drawn.push(Line { name: format!("{fault:?}"), points: sums(&story, uid) });
    }
    let title = "Tokens kept by one miner (seed 0)";
    lines(&Axes { file: "emission-over-time.svg", title, x: "epoch", y: "tokens, after forfeits" }, &drawn)
}

/// Ten replicas, a share of them cheating: in one stage, or in every stage.
fn coalition(share: f64, everywhere: bool, seed: u64, epochs: u32) -> (Setup, Vec<Uid>) {
    let setup = Setup { replicas: 10, rounds: 40, ..Setup::small(seed, epochs) }.with_audits_needed();
    let bad = (share * 10.0).round() as u16;
    let stages = if everywhere { 0..setup.stages } else { 1..2 };
    let uids = stages.flat_map(|stage| (0..bad).map(move |replica| Uid(stage * 10 + replica))).collect();
    (setup, uids)
}

/// The row: every cheat in numbers; which of them pays alone is not known before.
///
/// # Errors
/// Never; rows share a signature.
pub fn sweep(scale: Scale) -> anyhow::Result<Outcome> {
    let (seeds, epochs) = scale.pick((1, 6), (2, 20));
    let faults: &[Fault] = scale.pick(&[Fault::FavoursFriends], &CHEATS);
    let mut out = Outcome::default();
    out.note(format!("3 stages of 10, 400 samples an epoch, {epochs} epochs, {seeds} seeds."));
    let mut columns = vec!["share", "where"];
    columns.extend(COLUMNS);
    let mut table = Table::new("Coalitions", &columns);
    let mut accused = 0;
    let mut honest = Honest::default();
    let mut times = Times { seeds, epochs, honest: &mut honest };
    for fault in faults {
        let mut most = f64::NEG_INFINITY;
        for everywhere in [false, true] {
            for share in scale.pick(&[0.2][..], &[0.1, 0.2, 0.3, 0.4]) {
                let many =
                    Many::run(*fault, &mut times, |seed, epochs| coalition(*share, everywhere, seed, epochs));
                accused += many.0.iter().map(Paired::falsely_accused).sum::<usize>();
                let mut cells =
                    vec![percent(*share), if everywhere { "every stage" } else { "one stage" }.to_owned()];
                cells.extend(line(&many, format!("{fault:?}")));
                table.rows.push(cells);
                most = most.max(many.mean(Paired::gain));
            }
        }
        let text = format!("{fault:?} does not pay for 10 to 40 % of the miners");
        pays_not(&mut out, text, most, known(*fault));
    }
    out.tables.push(table);
    out.claim("No coalition of up to 40 % gets an honest miner accused", accused.to_string(), accused == 0);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_found_and_loses_and_nobody_else_is_accused() {
        let (setup, cheats) = alone(Fault::ReturnsNoise, 1, 12);
        let pair = Paired::run(&setup, Fault::ReturnsNoise, &cheats);
        assert!(pair.cheated.pointed.contains_key(&cheats[0]));
        assert!(pair.gain() < 0.0, "{}", pair.gain());
        assert_eq!(pair.falsely_accused(), 0);
    }

    #[test]
    fn an_honest_pair_is_the_same_run() {
        let pair = Paired::run(&Setup::small(2, 3), Fault::Straggler, &[]);
        assert_eq!(pair.cheated.heldout, pair.honest.heldout);
        assert!((pair.others() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_wrong_shard_is_named_at_once() {
        let (setup, cheats) = alone(Fault::WrongShard, 3, 3);
        let pair = Paired::run(&setup, Fault::WrongShard, &cheats);
        assert_eq!(pair.cheated.pointed.get(&cheats[0]), Some(&(0, Sign::Agreement)));
    }
}
