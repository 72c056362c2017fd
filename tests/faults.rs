//! Faults with real processes: a node, miners that train with libtorch over libp2p, validators that
//! score over subxt. Each test starts what it needs on free loopback ports and stops only that.
//!
//! Needs the programs to be built (`scripts/build`); `scripts/test` does that first. Run by hand with
//! `IOTA_BIN_CHAIN` and `IOTA_BIN_WORK` set to their folders.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use anyhow::Context;
use clap::Parser;
use iota_protocol::ids::{AccountKey, Epoch, Incarnation, Stage, Uid};
use iota_protocol::phase::Phase;
use iota_protocol::work::Role;
use iota_tests::collect::Records;
use iota_tests::network::Devnet;
use iota_tests::options::Options;
use iota_tests::run::{follow, summarise};
use iota_tests::summary::Summary;

/// `Train` of each epoch on the reference machine: a third of a minute of training and more.
const TRAIN_BLOCKS: u32 = 24;

/// Of the control run, which only has to finish samples: room for both score windows.
const CONTROL_BLOCKS: u32 = 16;

/// The same on this machine, measured once: the tests start together, and several measurements at a
/// time would each find a slow machine.
static BLOCKS: OnceLock<u32> = OnceLock::new();

/// The smallest model: these tests are about processes, the devnet is about learning.
fn options(extra: &[&str]) -> Options {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/shakespeare.txt");
    // Learning is asserted, so a slow or busy machine gets the time that it needs.
    let blocks = BLOCKS
        .get_or_init(|| iota_tests::speed::stretched(TRAIN_BLOCKS).expect("the probe trains a model"))
        .to_string();
    let base = ["faults", "--preset", "nano", "--data", data, "--train-blocks", &blocks];
    Options::try_parse_from(base.iter().copied().chain(extra.iter().copied()))
        .expect("the test's own options are valid; qed")
}

async fn finish(devnet: &mut Devnet, records: &Records) -> Summary {
    let summary = summarise(devnet, records).unwrap();
    devnet.stop();
    eprintln!("{}", serde_json::to_string_pretty(&summary.epochs).unwrap());
    eprintln!("{:?}", summary.checks);
    summary
}

fn phase(devnet: &Devnet, records: &Records) -> Option<(Epoch, Phase)> {
    let clock = records.clock.as_ref()?;
    if records.epochs.is_empty() {
        return None;
    }
    Some((clock.epoch, clock.schedule(&devnet.params).phase_at(records.block)))
}

fn identities(records: &Records) -> BTreeMap<AccountKey, (Uid, Incarnation)> {
    records.members.iter().map(|m| (m.hotkey, (m.uid, m.incarnation))).collect()
}

/// A miner of that stage that is not `miner-3`, by name.
fn miner_of(devnet: &Devnet, records: &Records, stage: Stage) -> anyhow::Result<String> {
    let keys: Vec<AccountKey> =
        records.members.iter().filter(|m| m.stage == Some(stage)).map(|m| m.hotkey).collect();
    let found = devnet.members.iter().find(|m| m.name != "miner-3" && keys.contains(&m.hotkey));
    Ok(found.with_context(|| format!("no miner of stage {stage} to kill"))?.name.clone())
}

/// Prints every re-route that a miner logged: how long the next stage had been silent when the
/// sample started again elsewhere, and the patience that the rule max(2 s, 4 x median) allowed.
/// It gates nothing: whether the killed miner held a sample at that instant is chance.
fn tell_reroutes(devnet: &Devnet) {
    let miners = devnet.processes.iter().filter(|process| process.name().starts_with("miner"));
    let lines: Vec<String> = miners
        .flat_map(|process| {
            let text = std::fs::read_to_string(process.log()).unwrap_or_default();
            let found = text.lines().filter(|line| line.contains("downstream lost the sample"));
            found.map(|line| format!("{}: {line}", process.name())).collect::<Vec<_>>()
        })
        .collect();
    eprintln!("{} samples were re-routed", lines.len());
    lines.iter().for_each(|line| eprintln!("re-route, {line}"));
}

/// What the script below has done so far.
#[derive(Default)]
struct Script {
    step: usize,
    /// Name of the miner of the middle stage that is killed in `Train`.
    first: String,
}

/// Stopped and resumed in `Train`.
const STOPPED: &str = "miner-4";

/// The short storm of the gate: seven faults in three epochs, each at its place, where the long one
/// (`scripts/bench storm`) draws them from a seed; links are cut in `links`, for which it takes root.
/// Three replicas, so that two of them are a majority when one is dead. Epoch 0: a miner of the
/// middle stage is killed in `Train` and started again; another is stopped and goes on; a miner joins late. Epoch 1: the node is
/// killed in `Train` and started again; `miner-3` is killed in `Merge` and started again in `Root`.
/// Epoch 2 is left alone.
async fn act(script: &mut Script, devnet: &mut Devnet, records: &Records) -> anyhow::Result<Vec<String>> {
    let Some((epoch, phase)) = phase(devnet, records) else { return Ok(Vec::new()) };
    let into = records.clock.as_ref().map_or(0, |clock| records.block.saturating_sub(clock.start));
    let next = match (script.step, epoch.0, phase) {
        (0, 0, Phase::Train) if into >= 6 => {
            script.first = miner_of(devnet, records, Stage(1))?;
            devnet.process(&script.first)?.kill()?;
            true
        }
        (1, 0, Phase::Train) if into >= 12 => {
            devnet.process(&script.first)?.restart()?;
            true
        }
        (2, 0, Phase::Train) if into >= 16 => {
            // Stopped for longer than a sender waits before it turns to another.
            devnet.process(STOPPED)?.pause();
            tokio::time::sleep(std::time::Duration::from_secs(4)).await;
            devnet.process(STOPPED)?.resume();
            true
        }
        (3, 0, Phase::Commit) => {
            devnet.join_late("spare-0").await?;
            true
        }
        (4, 1, Phase::Train) if into >= 8 => {
            devnet.process("node-0")?.kill()?;
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
            devnet.process("node-0")?.restart()?;
            true
        }
        (5, 1, Phase::Attest) => {
            devnet.process("miner-3")?.kill()?;
            true
        }
        (6, 1, Phase::Root) => {
            devnet.process("miner-3")?.restart()?;
            true
        }
        _ => false,
    };
    script.step += usize::from(next);
    // Killed on purpose; their exit status is no failure of the run.
    Ok(vec![script.first.clone(), "miner-3".into()])
}

#[test]
fn kills_restarts_and_a_late_joiner_do_not_stop_the_run() {
    iota_compute::init_runtime(1);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut devnet =
            Devnet::start(options(&["--miners", "3", "--epochs", "3", "--spares", "1"])).await.unwrap();
        let before = identities(&{
            let mut records = Records::default();
            records.look(&devnet).await.unwrap();
            records
        });
        let mut script = Script::default();
        let records = follow(&mut devnet, async |devnet, records| act(&mut script, devnet, records).await)
            .await
            .unwrap();
        let summary = finish(&mut devnet, &records).await;
        assert_eq!(script.step, 7, "every fault was injected");
        tell_reroutes(&devnet);

        let after = identities(&records);
        for (hotkey, identity) in &before {
            assert_eq!(after.get(hotkey), Some(identity), "hotkey {hotkey} kept uid and incarnation");
        }
        let commits = |member: &str, epoch: u32| commits_in(&devnet, &records, member, Epoch(epoch));
        assert!(
            commits(&script.first, 0) > 0,
            "{}, killed in Train and restarted, committed in the same epoch",
            script.first
        );
        assert!(commits("miner-3", 1) > 0, "miner-3 had committed before it was killed in Merge");
        assert!(commits("miner-3", 2) > 0, "miner-3 works again after its restart");
        assert!(commits("spare-0", 1) + commits("spare-0", 2) > 0, "the late joiner works within two epochs");
        assert!(
            summary.epochs.iter().all(|line| line.contributors >= 3),
            "every epoch closed with work in every stage"
        );
        let void =
            records.epochs.values().filter(|r| r.report.as_ref().is_some_and(|report| report.void)).count();
        assert!(void <= 1, "at most the epoch whose window the node missed is void, got {void}");
        // Not `loss_fell`: with a killed miner and three networks on the machine an epoch may hold so little
        // text that its loss varies by more than it falls.
        let heldout: Vec<f64> = summary.epochs.iter().filter_map(|line| line.heldout_loss).collect();
        let (first, last) = (heldout.first().copied().unwrap(), heldout.last().copied().unwrap());
        let before = summary.run.initial_heldout_loss.expect("a validator measured the initial weights");
        assert!(
            heldout.iter().all(|loss| *loss < before) && last < first,
            "the loss still falls: {before} before training, then {heldout:?}"
        );
        for name in [
            "emission_conserved",
            "every_payment_rederived",
            "scores_follow_from_reports",
            "stage_roots_agree",
        ] {
            assert!(summary.checks.holds(name), "{name}");
        }
    });
}

fn commits_in(devnet: &Devnet, records: &Records, name: &str, epoch: Epoch) -> u32 {
    let Some(hotkey) = devnet.members.iter().find(|m| m.name == name).map(|m| m.hotkey) else { return 0 };
    let Some((uid, incarnation)) = identities(records).get(&hotkey).copied() else { return 0 };
    let Some(record) = records.epochs.get(&epoch) else { return 0 };
    let commits = record.merges.iter().flat_map(|merge| &merge.commits);
    commits.filter(|c| c.uid == uid && c.incarnation == incarnation).map(|c| c.work.samples).sum()
}

#[test]
fn garbage_activations_are_worth_less_than_half_of_honest_work() {
    iota_compute::init_runtime(1);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let options = options(&["--miners", "3", "--stages", "2", "--epochs", "3"]);
        let mut devnet = Devnet::start(options).await.unwrap();
        // A last stage sends no activations, and the seed decides who holds which: the cheat is
        // chosen among the miners of stage 0 once they are known, and started again as one.
        let mut cheat: Option<AccountKey> = None;
        let records = follow(&mut devnet, async |devnet, records| {
            let first = records.members.iter().find(|m| m.stage == Some(Stage(0))).map(|m| m.hotkey);
            if let (None, Some(hotkey)) = (cheat, first) {
                let name = devnet.members.iter().find(|m| m.hotkey == hotkey).map(|m| m.name.clone());
                devnet
                    .process(&name.unwrap_or_default())?
                    .restart_with(&["--fault", "garbage-activations"])?;
                cheat = Some(hotkey);
            }
            Ok(Vec::new())
        })
        .await
        .unwrap();
        let summary = finish(&mut devnet, &records).await;
        let cheat = cheat.expect("stage 0 had a miner");
        let cheat_line = records.members.iter().find(|m| m.hotkey == cheat).unwrap();
        let score = |epoch: &iota_tests::collect::EpochRecord, uid: Uid| {
            let rows = epoch.scores.iter().filter_map(|s| s.entries.as_ref());
            let all: Vec<u32> = rows.flatten().filter(|e| e.uid == uid).map(|e| u32::from(e.score)).collect();
            all.iter().sum::<u32>()
        };
        let honest: Vec<Uid> = records
            .members
            .iter()
            .filter(|m| m.role == Role::Miner && m.stage == cheat_line.stage && m.uid != cheat_line.uid)
            .map(|m| m.uid)
            .collect();
        let caught = records.epochs.values().any(|epoch| {
            let best = honest.iter().map(|uid| score(epoch, *uid)).min().unwrap_or(0);
            best > 0 && score(epoch, cheat_line.uid) * 2 < best
        });
        assert!(
            caught,
            "within three epochs the cheat scores below half of every honest peer: {:?}",
            summary.members
        );
    });
}

#[test]
fn boundaries_that_carry_zeros_do_not_beat_bigrams() {
    iota_compute::init_runtime(1);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut options = options(&["--miners", "1", "--validators", "1", "--epochs", "2", "--control-zero"]);
        options.preset = "tiny".into();
        // It learns nothing however long it trains, and takes the processors from the other networks.
        options.train_blocks = Some(CONTROL_BLOCKS);
        let mut devnet = Devnet::start(options).await.unwrap();
        let records = follow(&mut devnet, async |_, _| Ok(Vec::new())).await.unwrap();
        let summary = finish(&mut devnet, &records).await;
        assert!(
            summary.epochs.iter().all(|line| line.tokens > 0),
            "samples went through: {:?}",
            summary.epochs
        );
        assert!(
            !summary.checks.holds("beats_bigram"),
            "the last stage alone must not learn: {:?}",
            summary.epochs
        );
        assert!(!summary.checks.all_hold(), "a run that does not learn must not pass");
    });
}
