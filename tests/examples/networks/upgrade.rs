//! A network of authorities with miners and validators trains ten epochs while two authorities die and come
//! back and the runtime is upgraded under it, with a migration of its storage, and every check of the
//! summary has to hold. An explorer follows it all the way: no block may be missing, and every audit must pass.
//!
//! The chain begins with the runtime of spec version 4 (`tests/upgrade/spec-4.compressed.wasm`, as the node
//! of that version built it) and is upgraded to the one that the node carries. A quarter of an hour.

use std::time::{Duration, Instant};

use anyhow::{bail, Context};
use clap::Parser;
use codec::Decode;
use iota_chain::{code_hash, entry_key, Call, Submitter};
use iota_protocol::ids::{Epoch, Hash};
use iota_protocol::phase::Phase;
use iota_service::keys::Hotkey;
use iota_tests::collect::Records;
use iota_tests::explorer::Explorer;
use iota_tests::genesis::{self, ALICE};
use iota_tests::network::{Devnet, RUN};
use iota_tests::options::Options;
use iota_tests::run::{follow, summarise};
use iota_worker::identity::coldkey_signer;

use iota_tests::outcome::Outcome;

/// Epochs that train; one more settles.
const EPOCHS: u32 = 10;
/// Version of the stored runtime.
const OLD: u32 = 4;
/// The well-known seed of the development key Alice, who governs this chain.
const ALICE_SEED: &str = "e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a";
/// Where FRAME keeps a pallet's storage version.
const STORAGE_VERSION: &str = ":__STORAGE_VERSION__:";
/// How long a killed authority stays away.
const AWAY: Duration = Duration::from_secs(6);
/// How long the explorer may take at the end to have what it needs for the audit of an epoch: validators are still
/// there and serve the reports of the last four.
const AUDITED: Duration = Duration::from_secs(30);
/// Blocks into `Train` at which something is broken: workers have the epoch's state by then.
const INTO_TRAIN: u32 = 4;

/// What can be chosen.
#[derive(clap::Args)]
pub struct Args {
    /// Block authors: with three, finality waits for the one that is away; with four it goes on.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..=4))]
    authorities: u32,
}

fn options(args: &Args) -> anyhow::Result<Options> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let data = format!("{root}/data/shakespeare.txt");
    let (epochs, authorities) = (EPOCHS.to_string(), args.authorities.to_string());
    let shape = ["upgrade", "--stages", "2", "--miners", "2", "--validators", "2", "--epochs", &epochs];
    let own = ["--authorities", &authorities, "--train-blocks", "48", "--data", &data];
    let mut options = Options::try_parse_from(shape.iter().chain(&own).copied())?;
    options.runtime = Some(format!("{root}/tests/upgrade/spec-4.compressed.wasm").into());
    Ok(options)
}

/// What is done to the network, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// In epoch 2 an authority is killed.
    Crash,
    /// And started again.
    Restart,
    /// In epoch 4 the runtime is upgraded.
    Upgrade,
    /// The new version is seen to have migrated.
    Migrated,
    /// In epoch 7 another authority is killed, which knows the new version from the database alone.
    CrashAgain,
    /// And started again.
    RestartAgain,
    /// Nothing is left to do.
    Done,
}

struct Script {
    step: Step,
    since: Instant,
    runtime: Vec<u8>,
    /// Newest finalized block, when it was seen, and the longest wait for the next during each step.
    head: (u32, Instant),
    waits: Vec<(Step, Duration)>,
    told: Vec<String>,
}

impl Script {
    fn new(runtime: Vec<u8>) -> Self {
        let now = Instant::now();
        Self { step: Step::Crash, since: now, runtime, head: (0, now), waits: Vec::new(), told: Vec::new() }
    }

    fn say(&mut self, text: String) {
        eprintln!("{text}");
        self.told.push(text);
    }

    fn watch(&mut self, block: u32) {
        let waited = self.head.1.elapsed();
        match self.waits.last_mut() {
            Some((step, longest)) if *step == self.step => *longest = (*longest).max(waited),
            _ => self.waits.push((self.step, waited)),
        }
        if block > self.head.0 {
            self.head = (block, Instant::now());
        }
    }

    /// Does what is due; the next step, or `None` while it is not.
    async fn due(&mut self, devnet: &mut Devnet, records: &Records) -> anyhow::Result<Option<Step>> {
        let Some(clock) = &records.clock else { return Ok(None) };
        let (epoch, block) = (clock.epoch.0, records.block);
        let training = clock.schedule(&devnet.params).phase_at(block) == Phase::Train
            && block.saturating_sub(clock.start) >= INTO_TRAIN;
        let last = devnet.options.authorities.saturating_sub(1);
        Ok(match self.step {
            Step::Crash if epoch == 2 && training => {
                devnet.process(&format!("node-{last}"))?.kill()?;
                self.say(format!("epoch 2, block {block}: authority {last} killed"));
                Some(Step::Restart)
            }
            Step::Restart if self.since.elapsed() > AWAY => {
                devnet.process(&format!("node-{last}"))?.restart()?;
                self.say(format!("epoch {epoch}, finalized {block}: authority {last} started again"));
                Some(Step::Upgrade)
            }
            Step::Upgrade if epoch == 4 && training => {
                self.upgrade(devnet, block).await?;
                Some(Step::Migrated)
            }
            Step::Migrated => self.migrated(devnet).await?.then_some(Step::CrashAgain),
            Step::CrashAgain if epoch == 7 && training => {
                devnet.process("node-1")?.kill()?;
                self.say(format!("epoch 7, block {block}: authority 1 killed"));
                Some(Step::RestartAgain)
            }
            Step::RestartAgain if self.since.elapsed() > AWAY => {
                devnet.process("node-1")?.restart()?;
                self.say(format!("epoch {epoch}, finalized {block}: authority 1 started again"));
                Some(Step::Done)
            }
            _ => None,
        })
    }

    async fn upgrade(&mut self, devnet: &Devnet, block: u32) -> anyhow::Result<()> {
        let from = Instant::now();
        let mut seed = [0; 32];
        hex::decode_to_slice(ALICE_SEED, &mut seed)?;
        let alice = Hotkey::from_seed(seed);
        if hex::encode(alice.public()) != ALICE {
            bail!("the seed is not Alice's");
        }
        let submitter = Submitter::new(std::sync::Arc::clone(&devnet.chain), coldkey_signer(alice));
        let allowed = Call::authorize_upgrade(code_hash(&self.runtime));
        submitter.submit_finalized(&allowed).await.context("allowing the upgrade")?;
        devnet.chain.apply_upgrade(&self.runtime).await.context("sending the runtime")?;
        let (size, took) = (self.runtime.len() / 1024, from.elapsed().as_secs());
        self.say(format!("epoch 4, block {block}: upgrade to a runtime of {size} KiB; final after {took} s"));
        Ok(())
    }

    /// Whether the chain runs the new version; then what version 2 of the pallet's storage had not is there.
    async fn migrated(&mut self, devnet: &Devnet) -> anyhow::Result<bool> {
        let at = devnet.chain.at_finalized().await?;
        let version = at.spec_version().await?;
        if version == OLD {
            return Ok(false);
        }
        let storage = at.storage(&iota_chain::item_key("Iota", STORAGE_VERSION)).await?;
        let storage = storage.and_then(|bytes| u16::decode(&mut bytes.as_slice()).ok());
        for epoch in [Epoch(2), Epoch(3)] {
            let key = entry_key("Iota", "Checkpoints", &(RUN, epoch));
            let stored =
                at.storage(&key).await?.with_context(|| format!("no checkpoint of epoch {epoch}"))?;
            let (tokens, roots) = <(u64, Vec<Hash>)>::decode(&mut stored.as_slice())?;
            let merges = self.roots(devnet, epoch).await?;
            if roots != merges {
                bail!("checkpoint of epoch {epoch}: expected the roots {merges:?}, got {roots:?}");
            }
            self.say(format!(
                "epoch {epoch} was recorded by the migration: {tokens} tokens, {} roots",
                roots.len()
            ));
        }
        let block = at.head().number;
        self.say(format!(
            "block {block}: spec version {version}, storage version {storage:?} of pallet-iota"
        ));
        Ok(true)
    }

    /// The canonical roots of an epoch's merges.
    async fn roots(&self, devnet: &Devnet, epoch: Epoch) -> anyhow::Result<Vec<Hash>> {
        let at = devnet.chain.at_finalized().await?;
        let mut roots = Vec::new();
        for stage in 0..devnet.params.n_stages() {
            let merge = at.merge(RUN, epoch, iota_protocol::ids::Stage(stage)).await?;
            roots.extend(merge.and_then(|merge| merge.canonical_root));
        }
        Ok(roots)
    }
}

/// What an explorer says that followed the chain from its first blocks, through the upgrade: every block with its
/// state, and the audits of epochs that were paid before, by, and after the new version.
async fn explored(explorer: &Explorer, outcome: &mut Outcome) -> anyhow::Result<()> {
    let (whole, all) = explorer.coverage().await?;
    outcome.claim("blocks that the explorer has with their state", all, whole, whole == all);
    for epoch in 0..EPOCHS {
        let audit = explorer.passes(epoch, AUDITED).await?;
        let words = |of: &serde_json::Value| of.as_str().unwrap_or_default().to_owned();
        let findings = audit["findings"].as_array().into_iter().flatten();
        let odd = findings.filter(|own| own["status"] != "pass").map(|own| words(&own["id"]));
        let said = [vec![words(&audit["verdict"])], odd.collect()].concat().join(" ");
        outcome.claim(&format!("audit of epoch {epoch}"), "pass", &said, said == "pass");
    }
    Ok(())
}

/// Runs it.
///
/// # Errors
/// When the network does not start, or ends before its run does.
pub async fn run(args: &Args) -> anyhow::Result<Outcome> {
    let options = options(args)?;
    let runtime = genesis::runtime_of(&options.program("iota-node")?)?;
    let mut devnet = Devnet::start(options).await?;
    let program = devnet.options.program("iota-explorer")?;
    let folder = devnet.dir.join("explorer");
    std::fs::create_dir_all(&folder).context("making the explorer's folder")?;
    let mut explorer = Explorer::start(program, &devnet.node_url, &folder)?;
    eprintln!("logs are in {}", devnet.dir.display());
    let began_with = devnet.chain.at_finalized().await?.spec_version().await?;
    let mut script = Script::new(runtime);
    let records = follow(&mut devnet, async |devnet, records| {
        script.watch(records.block);
        if let Some(next) = script.due(devnet, records).await? {
            (script.step, script.since) = (next, Instant::now());
        }
        Ok(Vec::new())
    })
    .await?;
    let summary = summarise(&devnet, &records)?;
    let at = devnet.chain.at_finalized().await?;
    let version = at.spec_version().await?;
    explorer.reaches(at.head().number.into(), AUDITED).await?;
    let Script { step, waits, mut told, .. } = script;
    told.extend(waits.iter().map(|(step, wait)| {
        format!("longest wait for a finalized block until {step:?}: {:.1} s", wait.as_secs_f64())
    }));
    let title = format!("Ten epochs through crashes and an upgrade, {} authorities", args.authorities);
    let mut outcome = Outcome::new(&title, summary, told);
    outcome.claim("the last step of the script", "Done", format!("{step:?}"), step == Step::Done);
    outcome.claim("spec version at the start", OLD, began_with, began_with == OLD);
    outcome.claim("spec version at the end", format!("above {OLD}"), version, version > OLD);
    outcome.checks(&[]);
    explored(&explorer, &mut outcome).await?;
    devnet.stop();
    Ok(outcome)
}
