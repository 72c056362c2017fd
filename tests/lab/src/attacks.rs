//! Every cheat alone, the ones that pay in numbers, and honest miners in trouble.

use std::collections::{BTreeMap, BTreeSet};

use iota_protocol::ids::Uid;

use crate::noise::Noise;
use crate::outcome::{mean_and_error, percent, share_at_most, Outcome, Scale, Table};
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
        let honest = World::new(setup.clone()).run();
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

/// Many paired runs of one attack.
struct Many(Vec<Paired>);

impl Many {
    fn run(fault: Fault, seeds: u64, epochs: u32, make: impl Fn(u64, u32) -> (Setup, Vec<Uid>)) -> Self {
        let one = |seed| {
            let (setup, cheats) = make(seed, epochs);
            Paired::run(&setup, fault, &cheats)
        };
        Self((0..seeds).map(one).collect())
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

/// Why a cheat is known to pay or not to be found.
fn known(fault: Fault) -> &'static str {
    match fault {
        Fault::MissingShard => "a shard that one owner opens stands, and silence is not paid less",
        Fault::StaleUpdate => "the entry is not tied to the event log by an audit; only the local steps are",
        Fault::FavoursFriends => {
            "who skips loses its own samples beyond the limit, but whoever the sample goes to is paid for it, and \
             the last stage skips nobody"
        }
        _ => "nothing that is checked today shows it",
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
        "Not simulated: Sybil registration, uid sniping (incarnations, tested in the pallet), eclipse of a \
         newcomer, equivocation (a proof is a matter of two signatures, not of odds). A replay shows a cheat \
         with the probability that [the calibration](audit.md) gives at least: one less the upper end of the 95 % \
         interval of the segments that passed. Wrong positions and forged receipts are compared exactly.",
    );
    let mut table = Table::new("Cheats of one miner (two where it takes two)", &COLUMNS);
    let mut accused = 0;
    for fault in CHEATS {
        let many = Many::run(fault, seeds, epochs, |seed, epochs| alone(fault, seed, epochs));
        accused += many.0.iter().map(Paired::falsely_accused).sum::<usize>();
        let gain = many.mean(Paired::gain);
        let text = format!("{fault:?} does not pay");
        out.target(text, format!("return {:+.1} %", gain * 100.0), gain < 0.01, known(fault));
        table.rows.push(line(&many, format!("{fault:?}")));
    }
    out.tables.push(table);
    out.claim("No honest miner is accused beside a cheat", accused.to_string(), accused == 0);
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

/// The row: cheats that pay alone, or do harm unseen, in numbers.
///
/// # Errors
/// Never; rows share a signature.
pub fn sweep(scale: Scale) -> anyhow::Result<Outcome> {
    let (seeds, epochs) = scale.pick((1, 6), (2, 20));
    let faults: &[Fault] = scale.pick(
        &[Fault::FavoursFriends],
        &[
            Fault::LowerPrecision,
            Fault::MissingShard,
            Fault::StaleUpdate,
            Fault::FavoursFriends,
            Fault::RefusesStrangers,
            Fault::ForgedLoss,
            Fault::CollusiveShard,
            Fault::PoisonWithinGate,
            Fault::FlippedUpdate,
            Fault::DeniedReceipts,
            Fault::ReturnsNoise,
        ],
    );
    let mut out = Outcome::default();
    out.note(format!("3 stages of 10, 400 samples an epoch, {epochs} epochs, {seeds} seeds."));
    let mut columns = vec!["share", "where"];
    columns.extend(COLUMNS);
    let mut table = Table::new("Coalitions", &columns);
    let mut accused = 0;
    for fault in faults {
        for everywhere in [false, true] {
            for share in scale.pick(&[0.2][..], &[0.1, 0.2, 0.3, 0.4]) {
                let many = Many::run(*fault, seeds, epochs, |seed, epochs| {
                    coalition(*share, everywhere, seed, epochs)
                });
                accused += many.0.iter().map(Paired::falsely_accused).sum::<usize>();
                let mut cells =
                    vec![percent(*share), if everywhere { "every stage" } else { "one stage" }.to_owned()];
                cells.extend(line(&many, format!("{fault:?}")));
                table.rows.push(cells);
            }
        }
    }
    out.tables.push(table);
    out.claim("No coalition of up to 40 % gets an honest miner accused", accused.to_string(), accused == 0);
    Ok(out)
}

/// The row: honest epochs full of trouble.
///
/// # Errors
/// Never; rows share a signature.
pub fn honest(scale: Scale) -> anyhow::Result<Outcome> {
    let (seeds, epochs) = scale.pick((2, 10), (25, 40));
    let mut out = Outcome::default();
    out.note(format!(
        "{seeds} runs of {epochs} epochs. In each epoch every miner is in trouble with probability 1/5: slow, \
         away for a while, missing the merge, or cut off from one other. Two miners besides are always five \
         times slower and always away for a third of the epoch."
    ));
    let columns = ["", "count", "of"];
    let mut table = Table::new("What happened to honest miners", &columns);
    let mut total: BTreeMap<&str, usize> = BTreeMap::new();
    let mut least = f64::INFINITY;
    let (mut samples, mut missing) = (0u32, 0usize);
    for seed in 0..seeds {
        let setup = Setup { trouble: 0.2, ..Setup::small(seed, epochs) };
        let slow = [Uid(6)];
        let story = World::new(setup.with(Fault::Straggler, &slow).with(Fault::Flapping, &[Uid(12)])).run();
        *total.entry("accused").or_default() += story.accused.len();
        *total.entry("cut").or_default() += story.cut.values().sum::<u32>() as usize;
        *total.entry("skips").or_default() +=
            story.pointed.values().filter(|(_, sign)| *sign == Sign::Skips).count();
        samples += story.samples.iter().sum::<u32>();
        *total.entry("unpaid").or_default() += story.unpaid_skips as usize;
        missing += story.missing_shards;
        let kept: Vec<f64> = story.ledgers.values().map(Ledger::kept).collect();
        let mean = kept.iter().sum::<f64>() / kept.len() as f64;
        let healthy = story.ledgers.iter().filter(|(uid, _)| !slow.contains(uid) && uid.0 != 12);
        least = healthy.fold(least, |least, (_, ledger)| least.min(ledger.kept() / mean));
    }
    let (runs, epochs_run) = (seeds as usize, seeds as usize * epochs as usize);
    let count = |name| total.get(name).copied().unwrap_or(0);
    let mut push = |what: &str, count: usize, of: usize| {
        table.push([what.to_owned(), count.to_string(), of.to_string()]);
    };
    push("miners marked Invalid or named by agreement", count("accused"), runs * 15);
    push("miner-epochs in which CLASP took pay", count("cut"), epochs_run * 15);
    push("miners that the skip test ever named as senders", count("skips"), runs * 15);
    push(
        "passes not paid to honest senders for skips beyond the limit",
        count("unpaid"),
        samples as usize * 2,
    );
    push("samples that went all the way", samples as usize, epochs_run * 375);
    push("shards that nobody merged", missing, epochs_run * 30);
    out.tables.push(table);
    let text = format!("No honest miner is marked Invalid in {epochs_run} honest epochs");
    let limit = share_at_most(count("accused"), epochs_run * 15);
    let got = format!("{} (at most {} of miner-epochs, 95 %)", count("accused"), percent(limit));
    out.claim(text, got, count("accused") == 0);
    let cut = count("cut") as f64 / (epochs_run * 15) as f64;
    let why =
        "a replica that missed a merge's worth of samples is truly behind, and the allowance for lag is a \
               quarter of what the epoch taught";
    out.target(
        "CLASP takes pay in fewer than 1 of 1,000 honest miner-epochs",
        percent(cut),
        cut < 0.001,
        why,
    );
    let got = format!("least {}", percent(least));
    out.claim(
        "Healthy miners keep at least two thirds of the mean pay beside troubled ones",
        got,
        least > 0.66,
    );
    Ok(out)
}

/// Validators that cheat: the row `validators`.
pub mod validators {
    use super::{percent, Ledger, Outcome, Scale, Setup, Table, Uid, World};
    use crate::outcome::mean_and_error;
    use crate::world::fault::{ValidatorFault, VALIDATOR_CHEATS};

    /// Found here: clipping bounds what a row can give from above only.
    const WHY_RANKS: &str =
        "a miner's rank is the stake-weighted sum of clipped weights: a row cannot give more than \
        the majority does, but it can give less, and what it withholds from others lifts its friends when \
        ranks are normalised; paying by the clip itself (the weighted median) would not";

    struct Result {
        pay: f64,
        friend: f64,
        victim: f64,
        void: f64,
    }

    fn one(fault: ValidatorFault, bad: u16, of: u16, seed: u64, epochs: u32) -> Result {
        let mut setup = Setup { validators: of, ..Setup::small(seed, epochs) };
        let honest = World::new(setup.clone()).run();
        setup.validator_faults = (0..usize::from(bad)).map(|index| (index, fault)).collect();
        let story = World::new(setup).run();
        let kept = |story: &crate::world::Story, uid| story.ledgers.get(&Uid(uid)).map_or(0.0, Ledger::kept);
        Result {
            pay: story.validators[0] / honest.validators[0],
            friend: kept(&story, 0) / kept(&honest, 0),
            victim: kept(&story, 1) / kept(&honest, 1),
            void: f64::from(story.void) / f64::from(epochs),
        }
    }

    /// The row.
    ///
    /// # Errors
    /// Never; rows share a signature.
    pub fn run(scale: Scale) -> anyhow::Result<Outcome> {
        let (seeds, epochs) = scale.pick((1, 5), (5, 20));
        let mut out = Outcome::default();
        out.note(
            "Equal stakes. Friends are the miners with even uids; self-dealing means uid 0; the victim of a \
             false accusation is uid 1. A withheld report costs nothing today: nobody's pay depends on it.",
        );
        let columns = ["cheat", "validators", "their pay", "pay of uid 0", "pay of uid 1", "void epochs"];
        let mut table = Table::new("Validators that cheat, against the same run without", &columns);
        for fault in VALIDATOR_CHEATS {
            for (bad, of) in [(1u16, 4u16), (2, 5), (3, 5)] {
                let all: Vec<Result> = (0..seeds).map(|seed| one(fault, bad, of, seed, epochs)).collect();
                let mean = |of: fn(&Result) -> f64| mean_and_error(&all.iter().map(of).collect::<Vec<_>>()).0;
                let (pay, friend, victim) = (mean(|r| r.pay), mean(|r| r.friend), mean(|r| r.victim));
                table.push([
                    format!("{fault:?}"),
                    format!("{bad} of {of}"),
                    percent(pay),
                    percent(friend),
                    percent(victim),
                    percent(mean(|r| r.void)),
                ]);
                let minority = bad * 2 < of;
                if minority && matches!(fault, ValidatorFault::SelfDeals | ValidatorFault::ScoresFriends) {
                    let text =
                        format!("{fault:?} with {bad} of {of} validators raises no miner by more than 1 %");
                    out.target(text, format!("uid 0 keeps {}", percent(friend)), friend < 1.01, WHY_RANKS);
                }
                if minority && fault == ValidatorFault::AccusesFalsely {
                    let text = format!("{bad} of {of} validators that score a miner with nothing take less than 5 % of its pay");
                    out.target(text, format!("keeps {}", percent(victim)), victim > 0.95, WHY_RANKS);
                }
            }
        }
        out.tables.push(table);
        Ok(out)
    }
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
