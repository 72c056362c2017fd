//! A trial by storm with real processes: miners in stages, three authorities, two validators, each worker
//! behind a link of its own; killed, stopped, cut off, throttled, out of disk, joined by others, by a seeded
//! Poisson schedule. Passes have a fixed service time, so that a freed processor does not flatter the result.
//! Needs root. What comes and when is `iota_tests::storm`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::collect::{EpochRecord, Records};
use crate::network::Devnet;
use crate::options::Options;
use crate::outcome::Outcome;
use crate::relay::LinkSpec;
use crate::run::{follow, summarise};
use crate::storm::{plan, Log, Storm};
use crate::summary::{report_of, training_epochs, EpochLine};
use clap::Parser;
use iota_protocol::ids::{AccountKey, Epoch, Incarnation, Uid};
use iota_protocol::work::Role;

/// Blocks of an epoch after `Train`.
const MERGING: u32 = 34;
/// Least share of the tokens of an epoch without faults, at two and at four replicas of each stage.
const TOKENS: [(u16, f64); 2] = [(2, 0.85), (4, 0.95)];
/// Least share of the stages' members that commit in an epoch, over the storm.
const CONTRIBUTORS: f64 = 0.75;
/// Least time of a pass: four samples on their way through seven passes each use half of two cores.
const PACE_MS: u64 = 150;
/// Everybody's link in good times.
const LINK: &str = "rate=100mbit,rtt=10ms";

/// Which network, how long, and how hard.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Preset of the model.
    pub preset: &'static str,
    /// Stages.
    pub stages: u16,
    /// Miners of each stage.
    pub replicas: u16,
    /// Blocks of `Train`; the rest of an epoch takes 34 more, of a second each.
    pub train_blocks: u32,
    /// Epochs without faults before the storm; with them and one after it the others are compared: the one
    /// after it shows whether the machine was as free as at the start.
    pub calm: u32,
    /// Epochs of storm.
    pub epochs: u32,
    /// Seed of the schedule.
    pub seed: u64,
    /// Faults expected in an hour.
    pub per_hour: f64,
    /// Longest time that a fault lasts.
    pub longest: Duration,
    /// Faults an hour that have to come.
    pub least_per_hour: f64,
    /// Whether the machine is the storm's own, so that tokens tell something.
    pub timed: bool,
}

impl Trial {
    /// Two minutes of storm over a small network on a machine that does other things as well, at twice the rate,
    /// so that a few faults come.
    #[must_use]
    pub fn short() -> Self {
        Self {
            preset: "nano",
            stages: 3,
            replicas: 2,
            train_blocks: 24,
            calm: 0,
            epochs: 2,
            seed: 1,
            per_hour: 240.0,
            // Validators wait for a miner's receipts for half of the window in which their rows are due, which
            // is seven of these seconds: who is away for longer has lost its epoch, as the rules say.
            longest: Duration::from_secs(4),
            least_per_hour: 120.0,
            timed: false,
        }
    }

    fn length(&self) -> Duration {
        Duration::from_secs(u64::from(self.epochs) * u64::from(self.train_blocks + MERGING))
    }

    fn miners(&self) -> u16 {
        self.stages * self.replicas
    }

    fn options(&self) -> anyhow::Result<Options> {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/shakespeare.txt");
        let (epochs, replicas) = ((self.calm + self.epochs + 1).to_string(), self.replicas.to_string());
        let (stages, blocks) = (self.stages.to_string(), self.train_blocks.to_string());
        let run = ["storm", "--preset", self.preset, "--data", data, "--train-blocks", &blocks];
        let shape = ["--stages", &stages, "--miners", &replicas, "--validators", "2", "--authorities", "3"];
        let around = ["--epochs", &epochs, "--spares", "1", "--link", LINK];
        let mut options = Options::try_parse_from(run.iter().chain(&shape).chain(&around).copied())?;
        // More replicas share the same two cores: each takes its time.
        let pace = (PACE_MS * u64::from(self.replicas) / 2).to_string();
        for name in (0..self.miners()).map(|number| format!("miner-{number}")).chain(["spare-0".into()]) {
            options.member_args.insert(name, vec!["--pace-ms".into(), pace.clone()]);
        }
        // Far more than a miner of this size keeps, and filled in an instant.
        options.small_disks = ["miner-2", "miner-5"].map(|name| (name.to_owned(), 512)).into();
        Ok(options)
    }
}

fn identities(records: &Records) -> BTreeMap<AccountKey, (Uid, Incarnation)> {
    let miners = records.members.iter().filter(|member| member.role == Role::Miner);
    miners.map(|member| (member.hotkey, (member.uid, member.incarnation))).collect()
}

/// Runs it.
///
/// # Errors
/// When the network does not start, or ends before its run does.
pub async fn run(trial: &Trial) -> anyhow::Result<Outcome> {
    let link: LinkSpec = LINK.parse()?;
    let miners = usize::from(trial.miners());
    let mut devnet = Devnet::start(trial.options()?).await?;
    eprintln!("logs are in {}", devnet.dir.display());
    let planned = plan::storm(trial.seed, trial.per_hour, trial.length(), trial.longest);
    let mut storm = Storm::new(planned, link, trial.calm);
    let mut before = BTreeMap::new();
    let records = follow(&mut devnet, async |devnet, records| {
        if before.len() < miners {
            before = identities(records);
        }
        storm.act(devnet, records).await
    })
    .await?;
    let summary = summarise(&devnet, &records)?;
    devnet.stop();
    let title = format!("A storm, {} replicas of each stage, seed {}", trial.replicas, trial.seed);
    let mut outcome = Outcome::new(&title, summary, told(&storm.log));
    came(&mut outcome, &storm.log, trial);
    enough(&mut outcome, trial);
    let after = identities(&records);
    let kept = before.iter().filter(|(hotkey, own)| after.get(hotkey) == Some(own)).count();
    outcome.claim("miners that kept uid and incarnation", before.len(), kept, kept == before.len());
    nothing_is_lost(&mut outcome, &devnet, &records, trial.stages);
    rejoined(&mut outcome, &devnet, &records, &storm.log);
    nobody_is_accused(&mut outcome, &records);
    outcome.checks(&["emission_conserved", "every_payment_rederived", "scores_follow_from_reports"]);
    Ok(outcome)
}

fn told(log: &Log) -> Vec<String> {
    let died = log.died.iter().map(|line| format!("ended by itself: {line}"));
    log.lines.iter().cloned().chain(died).collect()
}

fn came(outcome: &mut Outcome, log: &Log, trial: &Trial) {
    let faults: u32 = log.counts.values().sum();
    let per_hour = f64::from(faults) * 3_600.0 / trial.length().as_secs_f64();
    let kinds: Vec<String> = log.counts.iter().map(|(kind, count)| format!("{count} {kind:?}")).collect();
    let measured = format!("{per_hour:.0}: {}", kinds.join(", "));
    let least = trial.least_per_hour;
    outcome.claim("faults an hour", format!("at least {least:.0}"), measured, per_hour >= least);
}

/// What a miner committed was there when validators asked for it, and nobody holds another root than its stage.
fn nothing_is_lost(outcome: &mut Outcome, devnet: &Devnet, records: &Records, of_run: u16) {
    let epochs: Vec<_> = training_epochs(devnet, records).collect();
    let stages: Vec<_> = epochs.iter().flat_map(|(_, record)| &record.merges).collect();
    let due = epochs.len() * usize::from(of_run);
    let committed = stages.iter().filter(|merge| !merge.commits.is_empty()).count();
    outcome.claim("stages with a commit, over all epochs", due, committed, committed == due);
    let others = stages.iter().flat_map(|merge| {
        let canonical = merge.canonical_root;
        merge
            .commits
            .iter()
            .filter(move |own| canonical.is_some() && own.root.is_some() && own.root != canonical)
    });
    let others = others.count();
    outcome.claim("members with another root than their stage's", 0, others, others == 0);
    let (all, served) = epochs.iter().fold((0, 0), |(all, served), (epoch, record)| {
        let (more, of_them) = verified(devnet, *epoch, record);
        (all + more, served + of_them)
    });
    outcome.claim("commitments with work, verified by a validator", all, served, all == served);
}

/// Commitments with samples, and those of them that a validator verified. Without any report of an epoch
/// there is nothing to compare with, and its commitments count on neither side.
fn verified(devnet: &Devnet, epoch: Epoch, record: &EpochRecord) -> (usize, usize) {
    let validators = devnet.members.iter().filter(|member| member.role == Role::Validator);
    let reports: Vec<_> = validators.filter_map(|member| report_of(&member.data_dir(), epoch)).collect();
    if reports.is_empty() {
        return (0, 0);
    }
    let commits = record.merges.iter().flat_map(|merge| &merge.commits);
    let worked: Vec<Uid> = commits.filter(|own| own.work.samples > 0).map(|own| own.uid).collect();
    let seen = |uid: Uid| {
        reports.iter().any(|report| report.miners.iter().any(|line| line.uid == uid && line.verified > 0))
    };
    (worked.len(), worked.iter().filter(|uid| seen(**uid)).count())
}

/// Whoever was met by a fault holds its stage's root at a later merge, if one is left.
fn rejoined(outcome: &mut Outcome, devnet: &Devnet, records: &Records, log: &Log) {
    let last = devnet.params.epochs - 1;
    let all = identities(records);
    let met = log.met.iter().filter(|(name, epoch)| name.starts_with("miner") && *epoch < last);
    let met: Vec<_> = met.collect();
    let again = met.iter().filter(|(name, epoch)| {
        let hotkey = devnet.members.iter().find(|member| member.name == *name).map(|own| own.hotkey);
        let identity = hotkey.and_then(|hotkey| all.get(&hotkey));
        identity.is_some_and(|identity| holds_root_after(devnet, records, *identity, *epoch))
    });
    let again = again.count();
    let says = "miners met by a fault that hold their stage's root at a later merge";
    outcome.claim(says, met.len(), again, again == met.len());
}

fn holds_root_after(devnet: &Devnet, records: &Records, who: (Uid, Incarnation), epoch: u32) -> bool {
    training_epochs(devnet, records).filter(|(at, _)| at.0 > epoch).any(|(_, record)| {
        record.merges.iter().any(|merge| {
            let own = merge.commits.iter().find(|own| (own.uid, own.incarnation) == who);
            merge.canonical_root.is_some() && own.is_some_and(|own| own.root == merge.canonical_root)
        })
    })
}

fn nobody_is_accused(outcome: &mut Outcome, records: &Records) {
    let courts = || records.epochs.values().map(|record| &record.court);
    let accused: usize = courts().map(|court| court.accusations.len()).sum();
    let gated: usize = courts().map(|court| court.gated.len()).sum();
    outcome.claim("members accused, gated", "0, 0", format!("{accused}, {gated}"), accused + gated == 0);
}

/// Tokens and contributors of the storm's epochs against those before it and the one after it.
fn enough(outcome: &mut Outcome, trial: &Trial) {
    let lines = outcome.summary().epochs.clone();
    let tokens = |lines: &[EpochLine]| {
        lines.iter().map(|line| line.tokens as f64).sum::<f64>() / lines.len().max(1) as f64
    };
    let members = f64::from(trial.miners());
    let calm = |line: &EpochLine| line.epoch.0 < trial.calm || line.epoch.0 + 1 == lines.len() as u32;
    let (quiet, stormy): (Vec<_>, Vec<_>) = lines.iter().cloned().partition(calm);
    let seats = stormy.iter().map(|line| f64::from(line.contributors)).sum::<f64>()
        / (stormy.len().max(1) as f64 * members);
    let share = tokens(&stormy) / tokens(&quiet);
    let asked = TOKENS.iter().rev().find(|(least, _)| trial.replicas >= *least && trial.timed);
    let asked = asked.map_or(0.0, |(_, share)| *share);
    let says = "tokens of a stormy epoch, of a calm one";
    outcome.claim(says, format!("at least {asked:.2}"), format!("{share:.3}"), share >= asked);
    let says = "committers of a stormy epoch, of all members";
    outcome.claim(says, format!("at least {CONTRIBUTORS}"), format!("{seats:.3}"), seats >= CONTRIBUTORS);
}
