//! `iota-run`: making, looking at, changing, pausing and ending a run, judging what it has learned, and
//! inviting others.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{bail, Context};
use clap::{Args, Parser, Subcommand};
use iota_chain::{Call, Chain, Submitter};
use iota_compute::data::Dataset;
use iota_compute::{evaluate, presets};
use iota_protocol::ids::RunId;
use iota_protocol::params::RunParams;
use iota_protocol::view::RunState;
use iota_protocol::work::Role;
use iota_service::keys::Hotkey;
use iota_service::telemetry::{self, Format};
use iota_service::{config, ending};
use iota_worker::answer::{ended, log_format, waiting, Answer, Sign};
use iota_worker::identity::coldkey_signer;
use serde_json::{json, Value};

use self::invite::Invite;
use self::terms::Set;
use crate::cli::read_checkpoints;
use crate::config::MinerConfig;

mod invite;
mod terms;

/// Windows of the held-out text that are judged: as many as validators take.
const WINDOWS: usize = 256;

/// Starts and runs a run: one model, its data, its windows, its epochs.
#[derive(Parser)]
#[command(name = "iota-run", version)]
pub struct Cli {
    /// A miner's configuration file (TOML), of which the node is used; --node and IOTA_MINER_NODE win over it.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// Log as JSON lines.
    #[arg(long, global = true)]
    json_log: bool,
    /// Print the answer as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a run behind a deposit, which returns when the run ends.
    Create(Create),
    /// Show where a run stands.
    Status(Status),
    /// Pause a run after its current epoch.
    Pause(Owned),
    /// Start the next epoch of a paused run, or take a pause back.
    Resume(Owned),
    /// Make the current epoch the last that trains; a run that still waits ends at once.
    End(Owned),
    /// Change parameters of a run from its next epoch on.
    Set(Set),
    /// Measure the held-out loss of a checkpoint.
    Evaluate(Evaluate),
    /// Write the file by which others join this network.
    Network(Invite),
    /// Show which node is asked, which chain it must have, and where that is set.
    PrintConfig(Node),
}

/// Which node is asked.
#[derive(Args)]
pub(crate) struct Node {
    /// WebSocket address of a node; several, separated by commas, are asked in turn.
    #[arg(long)]
    node: Option<String>,
}

impl Node {
    /// As the flag, the environment, the file or the default has it.
    fn settings(&self, file: Option<&Path>) -> anyhow::Result<(MinerConfig, config::Provenance)> {
        let mut flags = config::Table::new();
        if let Some(node) = &self.node {
            flags.insert("node".into(), node.clone().into());
        }
        Ok(config::resolve(file, "IOTA_MINER_", flags)?)
    }

    /// Addresses of the nodes.
    fn url(&self, file: Option<&Path>) -> anyhow::Result<String> {
        Ok(self.settings(file)?.0.node)
    }

    /// A connection to them, and to no other chain than the one that the miner's settings name.
    pub(crate) async fn connect(&self, file: Option<&Path>) -> anyhow::Result<Arc<Chain>> {
        self.settings(file)?.0.connect().await
    }

    /// What of the miner's settings counts here, and where each comes from.
    fn printed(&self, file: Option<&Path>) -> anyhow::Result<String> {
        let (settings, provenance) = self.settings(file)?;
        let text = config::print_config(&settings, &provenance);
        let counts = |line: &&str| line.starts_with("node = ") || line.starts_with("genesis = ");
        Ok(text.lines().filter(counts).map(|line| format!("{line}\n")).collect())
    }
}

/// What every command is told.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    file: Option<&'a Path>,
    answer: Answer,
}

#[derive(Args)]
struct Create {
    #[command(flatten)]
    node: Node,
    /// Coldkey file of the owner, which pays deposit and fee. Not needed with --dry-run.
    #[arg(long, required_unless_present = "dry_run")]
    coldkey: Option<PathBuf>,
    /// Model: nano, tiny, 1.5b, 15b, 50b or 100b.
    #[arg(long)]
    preset: String,
    /// Stages that the model is cut into.
    #[arg(long)]
    stages: u16,
    /// Folder of the prepared data set.
    #[arg(long, default_value = "dataset")]
    dataset: PathBuf,
    /// Training epochs.
    #[arg(long)]
    epochs: u32,
    /// The run starts once so many miners per stage have registered.
    #[arg(long, default_value_t = 3)]
    start_replicas: u16,
    /// Seed of initial weights and data order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Blocks of `Train`; the preset's when absent.
    #[arg(long)]
    train_blocks: Option<u32>,
    /// Print the parameters as JSON, as a chain's genesis takes them, and send nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct Status {
    #[command(flatten)]
    node: Node,
    /// The run; all of them when absent.
    #[arg(long)]
    run: Option<u32>,
}

#[derive(Args)]
struct Owned {
    #[command(flatten)]
    node: Node,
    /// Coldkey file of the owner.
    #[arg(long)]
    coldkey: PathBuf,
    /// The run.
    #[arg(long)]
    run: u32,
}

#[derive(Args)]
struct Evaluate {
    /// Folder with `run.json` and one `stage-K.safetensors` per stage.
    #[arg(long)]
    checkpoints: PathBuf,
    /// Folder of the run's prepared data set.
    #[arg(long, default_value = "dataset")]
    dataset: PathBuf,
}

/// Parses flags and runs the command; says what failed and what to do about it.
pub fn main() -> ! {
    let cli = Cli::parse();
    let format = log_format(cli.json_log);
    ending::at_once(ended(start(cli, format), format))
}

fn start(cli: Cli, format: Format) -> anyhow::Result<()> {
    telemetry::init(format, Some("warn"))?;
    let told = Told { file: cli.config.as_deref(), answer: Answer::of(cli.json) };
    let runtime = tokio::runtime::Runtime::new().context("starting the async runtime")?;
    ending::finish(runtime, async {
        match cli.command {
            Command::Create(args) => create(&args, told).await,
            Command::Status(args) => status(&args, told).await,
            Command::Pause(args) => {
                control(&args, told, Call::pause_run, "pauses after its current epoch").await
            }
            Command::Resume(args) => control(&args, told, Call::resume_run, "goes on").await,
            Command::End(args) => control(&args, told, Call::end_run, "ends").await,
            Command::Set(args) => args.run(told).await,
            Command::Evaluate(args) => judge(&args, told.answer),
            Command::Network(args) => args.run(told).await,
            Command::PrintConfig(node) => {
                print!("{}", node.printed(told.file)?);
                Ok(())
            }
        }
    })
}

fn params(args: &Create) -> anyhow::Result<RunParams> {
    let dataset = Dataset::open(&args.dataset, None)
        .with_context(|| format!("opening data set {}", args.dataset.display()))?;
    let data = dataset.data_params();
    let mut params =
        presets::run_params(&args.preset, args.stages, args.seed, args.epochs, args.start_replicas, data)?;
    if let Some(blocks) = args.train_blocks {
        params.phases.train = blocks;
        params.phases.score_commit = params.phases.score_commit.min(blocks * 3 / 5);
        params.phases.score_reveal = params.phases.score_reveal.min(blocks - params.phases.score_commit);
    }
    params.validate()?;
    Ok(params)
}

async fn create(args: &Create, told: Told<'_>) -> anyhow::Result<()> {
    let params = params(args)?;
    let Some(coldkey) = args.coldkey.as_ref().filter(|_| !args.dry_run) else {
        println!("{}", serde_json::to_string_pretty(&params)?);
        return Ok(());
    };
    let chain = args.node.connect(told.file).await?;
    submit(&chain, coldkey, &Call::sponsor_run(&params)).await?;
    // Ids are dense, and nothing else tells the caller which one it got.
    let at = chain.at_finalized().await?;
    let mut newest = None;
    for id in 0.. {
        match at.run(RunId(id)).await? {
            Some(found) if found == params => newest = Some(id),
            Some(_) => {}
            None => break,
        }
    }
    let id = newest.context("the run was made, but the node does not show it yet")?;
    told.answer.say(
        format_args!(
            "run {id}: {} parameters in {} stages, {} epochs; it starts once {} miners per stage can be reached, and \
             has no share of the emission until the chain's admin gives it one",
            params.total_parameters(),
            params.n_stages(),
            params.epochs,
            params.start_replicas
        ),
        &json!({ "run": id, "params": params }),
    )
}

async fn submit(chain: &Arc<Chain>, coldkey: &Path, call: &Call) -> anyhow::Result<()> {
    let signer = coldkey_signer(Hotkey::load(coldkey)?);
    let submitter = Submitter::new(Arc::clone(chain), signer);
    waiting("waiting until it is final", submitter.submit_finalized(call)).await?;
    Ok(())
}

async fn control(args: &Owned, told: Told<'_>, call: fn(RunId) -> Call, done: &str) -> anyhow::Result<()> {
    let chain = args.node.connect(told.file).await?;
    submit(&chain, &args.coldkey, &call(RunId(args.run))).await?;
    told.answer.say(format_args!("run {} {done}", args.run), &json!({ "run": args.run, "done": done }))
}

async fn status(args: &Status, told: Told<'_>) -> anyhow::Result<()> {
    let chain = args.node.connect(told.file).await?;
    let at = chain.at_finalized().await?;
    let mut shown = Vec::new();
    for id in args.run.map_or(0..u32::MAX, |id| id..id.saturating_add(1)) {
        let (Some(params), Some(clock)) = (at.run(RunId(id)).await?, at.clock(RunId(id)).await?) else {
            break;
        };
        let members = at.members(RunId(id)).await?;
        let count = |role: Role| members.iter().filter(|member| member.role == role).count();
        let phase = clock.schedule(&params).phase_at(at.head().number);
        let phase = (clock.state == RunState::Running).then(|| format!("{phase:?}"));
        shown.push(json!({
            "run": id, "preset": String::from_utf8_lossy(&params.preset), "state": clock.state,
            "epoch": clock.epoch, "epochs": params.epochs, "phase": phase, "stages": params.n_stages(),
            "parameters": params.total_parameters(), "tokens": clock.tokens,
            "miners": count(Role::Miner), "validators": count(Role::Validator),
            "manifest_root": params.data.manifest_root,
        }));
    }
    if shown.is_empty() {
        bail!("this chain has no such run");
    }
    told.answer.say(shown.iter().map(line).collect::<Vec<_>>().join("\n"), &shown)
}

/// One run in one line.
fn line(run: &Value) -> String {
    let text = |name: &str| run[name].to_string().replace('"', "");
    let phase = run["phase"].as_str().map_or(String::new(), |phase| format!(", {phase}"));
    format!(
        "run {}: {} is {}, epoch {} of {}{phase}; {} miners and {} validators, {} tokens trained",
        text("run"),
        text("preset"),
        text("state"),
        text("epoch"),
        text("epochs"),
        text("miners"),
        text("validators"),
        text("tokens")
    )
}

fn judge(args: &Evaluate, answer: Answer) -> anyhow::Result<()> {
    let sign = Sign::show("reading the weights and judging the held-out text");
    iota_compute::init_runtime(1);
    let (params, stages) = read_checkpoints(&args.checkpoints)?;
    let dataset = Dataset::open(&args.dataset, Some(params.data.manifest_root))?;
    let weights: Vec<Vec<f32>> = stages.into_iter().map(|state| state.weights).collect();
    let windows = dataset.heldout_windows(WINDOWS);
    let loss = evaluate::heldout_loss(&params, &weights, &windows)?;
    drop(sign);
    let (windows, bigram) = (windows.len(), dataset.bigram_entropy());
    answer.say(
        format_args!(
            "held-out loss {loss:.4} nats per token over {windows} windows; byte-bigram entropy of the same text {bigram:.4}"
        ),
        &json!({ "heldout_nats": loss, "windows": windows, "bigram_nats": bigram }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_of_the_miners_file_is_shown_with_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("miner.toml");
        std::fs::write(&file, "node = \"ws://10.0.0.1:9944\"\ngenesis = \"0x24fe\"\nthreads = 2\n").unwrap();
        let shown = |node: Option<&str>| {
            let node = Node { node: node.map(str::to_owned) };
            node.printed(Some(&file)).unwrap()
        };
        let text = shown(None);
        assert!(text.contains("node = \"ws://10.0.0.1:9944\"") && text.contains("miner.toml"), "{text}");
        assert!(text.contains("genesis = \"0x24fe\"") && !text.contains("threads"), "{text}");
        assert!(shown(Some("ws://10.0.0.2:9944")).contains("node = \"ws://10.0.0.2:9944\""));
    }
}
