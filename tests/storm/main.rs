//! A storm with real processes: eight miners in four stages, three authorities, two validators, each worker
//! behind a link of its own; killed, stopped, cut off, throttled, out of disk, joined by others, by a seeded
//! Poisson schedule. Passes have a fixed service time, so that a freed processor does not flatter the result.
//!
//! Takes fourteen minutes and root, so that it is run by hand: build first (`scripts/build`), set
//! `IOTA_BIN_CHAIN` and `IOTA_BIN_WORK` to the programs' folders, then
//! `. scripts/env.sh; iota_cargo work test --locked "${IOTA_WORK_CRATES[@]}" --test storm -- --ignored --nocapture`.
//! `IOTA_STORM_EPOCHS=2` makes it a short one, `IOTA_STORM_SEED=n` another one.

mod act;
mod plan;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Parser;
use iota_protocol::ids::{AccountKey, Epoch, Incarnation, Uid};
use iota_protocol::work::Role;
use iota_tests::collect::Records;
use iota_tests::network::Devnet;
use iota_tests::options::Options;
use iota_tests::relay::LinkSpec;
use iota_tests::run::{follow, summarise};
use iota_tests::summary::{report_of, training_epochs, Summary};

use act::{Log, Storm};

/// Epochs without faults before the storm, with which and one after it the others are compared: the one after
/// it shows whether the machine was as free as at the start.
const CALM: u32 = 2;
/// Epochs of the storm: ten minutes.
const STORMY: u32 = 7;
/// Faults an hour; at least 120 are asked for.
const PER_HOUR: f64 = 180.0;
/// Least share of the tokens of an epoch without faults, at two replicas of each stage.
const TOKENS: f64 = 0.85;
/// Least share of the stages' members that commit in an epoch, over the storm.
const CONTRIBUTORS: f64 = 0.75;
/// Least time of a pass: four samples on their way through seven passes each use half of two cores.
const PACE_MS: &str = "150";
/// Everybody's link in good times.
const LINK: &str = "rate=100mbit,rtt=10ms";

fn env_or(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn options(epochs: u32) -> Options {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/shakespeare.txt");
    let epochs = epochs.to_string();
    let args = ["storm", "--preset", "tiny", "--data", data, "--train-blocks", "48", "--epochs", &epochs];
    let shape =
        ["--stages", "4", "--miners", "2", "--validators", "2", "--authorities", "3", "--spares", "1"];
    let mut options = Options::try_parse_from(args.iter().chain(&shape).chain(&["--link", LINK]).copied())
        .expect("the test's own options are valid; qed");
    for name in (0..8).map(|number| format!("miner-{number}")).chain(["spare-0".into()]) {
        options.member_args.insert(name, vec!["--pace-ms".into(), PACE_MS.into()]);
    }
    // Far more than a miner of this size keeps, and filled in an instant.
    options.small_disks = ["miner-2", "miner-5"].map(|name| (name.to_owned(), 512)).into();
    options
}

fn identities(records: &Records) -> BTreeMap<AccountKey, (Uid, Incarnation)> {
    let miners = records.members.iter().filter(|member| member.role == Role::Miner);
    miners.map(|member| (member.hotkey, (member.uid, member.incarnation))).collect()
}

#[test]
#[ignore = "fourteen minutes, needs root; the command stands in the head of the file"]
fn a_storm_costs_little_and_loses_nothing() {
    iota_compute::init_runtime(1);
    let stormy = env_or("IOTA_STORM_EPOCHS", STORMY);
    let seed = env_or("IOTA_STORM_SEED", 1);
    let link: LinkSpec = LINK.parse().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut devnet = Devnet::start(options(CALM + stormy + 1)).await.unwrap();
        let length = Duration::from_secs(u64::from(stormy) * 82);
        let mut storm = Storm::new(plan::storm(seed.into(), PER_HOUR, length), link, CALM);
        let mut before = BTreeMap::new();
        let records = follow(&mut devnet, async |devnet, records| {
            if before.len() < 8 {
                before = identities(records);
            }
            storm.act(devnet, records).await
        })
        .await
        .unwrap();
        let summary = summarise(&devnet, &records).unwrap();
        devnet.stop();
        tell(&summary, &storm.log, seed);
        assert!(!storm.log.counts.is_empty(), "there was a storm");
        for (hotkey, identity) in &before {
            assert_eq!(identities(&records).get(hotkey), Some(identity), "{hotkey} kept uid and incarnation");
        }
        nothing_is_lost(&devnet, &records);
        rejoined(&devnet, &records, &storm.log);
        nobody_is_accused(&records);
        enough(&summary);
    });
}

fn tell(summary: &Summary, log: &Log, seed: u32) {
    eprintln!("seed {seed}; faults: {:?}", log.counts);
    log.lines.iter().for_each(|line| eprintln!("  {line}"));
    eprintln!("programs that ended by themselves: {}", log.died.len());
    log.died.iter().for_each(|line| eprintln!("  {line}"));
    eprintln!("{}", serde_json::to_string_pretty(&summary.epochs).unwrap());
    eprintln!("{:?}", summary.checks);
}

/// Every stage merged in every epoch, and what a miner committed was there when validators asked for it.
fn nothing_is_lost(devnet: &Devnet, records: &Records) {
    let reports = |epoch: Epoch| {
        let validators = devnet.members.iter().filter(|member| member.role == Role::Validator);
        validators.filter_map(move |member| report_of(&member.data_dir(), epoch)).collect::<Vec<_>>()
    };
    for (epoch, record) in training_epochs(devnet, records) {
        assert_eq!(record.merges.len(), 4);
        for (stage, merge) in record.merges.iter().enumerate() {
            assert!(!merge.commits.is_empty(), "epoch {epoch}, stage {stage}: nobody committed");
            let canonical = merge.canonical_root;
            let roots: Vec<_> = merge.commits.iter().filter_map(|commit| commit.root).collect();
            assert!(
                roots.iter().all(|root| canonical.is_none_or(|canonical| *root == canonical)),
                "epoch {epoch}, stage {stage}: {roots:?} beside {canonical:?}"
            );
            for commit in merge.commits.iter().filter(|commit| commit.work.samples > 0) {
                let served = reports(epoch).iter().any(|report| {
                    report.miners.iter().any(|line| line.uid == commit.uid && line.verified > 0)
                });
                assert!(served || reports(epoch).is_empty(), "epoch {epoch}: work of uid {}", commit.uid);
            }
        }
    }
}

/// Whoever was met by a fault holds its stage's root at a later merge, if one is left.
fn rejoined(devnet: &Devnet, records: &Records, log: &Log) {
    let last = devnet.params.epochs - 1;
    let all = identities(records);
    for (name, epoch) in log.met.iter().filter(|(name, epoch)| name.starts_with("miner") && *epoch < last) {
        let hotkey = devnet.members.iter().find(|member| member.name == *name).map(|own| own.hotkey);
        let (uid, incarnation) = all[&hotkey.expect("the storm met a member of the devnet")];
        let again = training_epochs(devnet, records).filter(|(at, _)| at.0 > *epoch).any(|(_, record)| {
            record.merges.iter().any(|merge| {
                let own = merge.commits.iter().find(|c| (c.uid, c.incarnation) == (uid, incarnation));
                merge.canonical_root.is_some_and(|root| own.is_some_and(|own| own.root == Some(root)))
            })
        });
        assert!(again, "{name}, met in epoch {epoch}, holds its stage's root at no later merge");
    }
}

fn nobody_is_accused(records: &Records) {
    for (epoch, record) in &records.epochs {
        assert!(record.court.accusations.is_empty(), "epoch {epoch}: {:?}", record.court.accusations);
        assert!(record.court.gated.is_empty(), "epoch {epoch}");
    }
}

/// Tokens and contributors of the storm's epochs against those before it.
fn enough(summary: &Summary) {
    let tokens = |lines: &[iota_tests::summary::EpochLine]| {
        lines.iter().map(|line| line.tokens as f64).sum::<f64>() / lines.len() as f64
    };
    let seats = |lines: &[iota_tests::summary::EpochLine]| {
        lines.iter().map(|line| f64::from(line.contributors)).sum::<f64>() / lines.len() as f64 / 8.0
    };
    let (before, rest) = summary.epochs.split_at(usize::try_from(CALM).unwrap());
    let (after, stormy) = rest.split_last().expect("one epoch follows the storm");
    let calm = [before, std::slice::from_ref(after)].concat();
    let calm = calm.as_slice();
    eprintln!(
        "tokens of the epoch after the storm, of those before: {:.3}",
        after.tokens as f64 / tokens(before)
    );
    let share = tokens(stormy) / tokens(calm);
    eprintln!("tokens of an epoch: {:.0} calm, {:.0} in the storm: {share:.3}", tokens(calm), tokens(stormy));
    eprintln!("committers of eight: {:.3} calm, {:.3} in the storm", seats(calm), seats(stormy));
    assert!(seats(stormy) >= CONTRIBUTORS, "{:.3} of the members commit", seats(stormy));
    assert!(share >= TOKENS, "{share:.3} of the tokens");
    for name in ["emission_conserved", "every_payment_rederived", "scores_follow_from_reports"] {
        assert!(summary.checks.holds(name), "{name}");
    }
}
