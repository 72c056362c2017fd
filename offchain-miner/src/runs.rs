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
use iota_worker::identity::coldkey_signer;
use serde_json::json;

use self::invite::Invite;
use self::terms::Set;
use crate::cli::read_checkpoints;

mod invite;
mod terms;

/// Windows of the held-out text that are judged: as many as validators take.
const WINDOWS: usize = 256;

/// Starts and runs a run: one model, its data, its windows, its epochs.
#[derive(Parser)]
#[command(name = "iota-run", version)]
pub struct Cli {
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
}

#[derive(Args)]
struct Create {
    /// WebSocket address of a node.
    #[arg(long, env = "IOTA_MINER_NODE", default_value = "ws://127.0.0.1:9944")]
    node: String,
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
    /// WebSocket address of a node.
    #[arg(long, env = "IOTA_MINER_NODE", default_value = "ws://127.0.0.1:9944")]
    node: String,
    /// The run; all of them when absent.
    #[arg(long)]
    run: Option<u32>,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Owned {
    /// WebSocket address of a node.
    #[arg(long, env = "IOTA_MINER_NODE", default_value = "ws://127.0.0.1:9944")]
    node: String,
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

/// Parses flags and runs the command.
///
/// # Errors
/// With what failed and what to do about it.
pub fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    telemetry::init(Format::Auto, Some("warn"))?;
    let runtime = tokio::runtime::Runtime::new().context("starting the async runtime")?;
    runtime.block_on(async {
        match cli.command {
            Command::Create(args) => create(&args).await,
            Command::Status(args) => status(&args).await,
            Command::Pause(args) => control(&args, Call::pause_run, "pauses after its current epoch").await,
            Command::Resume(args) => control(&args, Call::resume_run, "goes on").await,
            Command::End(args) => control(&args, Call::end_run, "ends").await,
            Command::Set(args) => args.run().await,
            Command::Evaluate(args) => judge(&args),
            Command::Network(args) => args.run().await,
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

async fn create(args: &Create) -> anyhow::Result<()> {
    let params = params(args)?;
    let Some(coldkey) = args.coldkey.as_ref().filter(|_| !args.dry_run) else {
        println!("{}", serde_json::to_string_pretty(&params)?);
        return Ok(());
    };
    let chain = Chain::connect(&args.node, None).await?;
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
    println!(
        "run {id}: {} parameters in {} stages, {} epochs; it starts once {} miners per stage can be reached, and has no \
         share of the emission until the chain's admin gives it one",
        params.total_parameters(),
        params.n_stages(),
        params.epochs,
        params.start_replicas
    );
    Ok(())
}

async fn submit(chain: &Arc<Chain>, coldkey: &Path, call: &Call) -> anyhow::Result<()> {
    let signer = coldkey_signer(Hotkey::load(coldkey)?);
    Submitter::new(Arc::clone(chain), signer).submit_finalized(call).await?;
    Ok(())
}

async fn control(args: &Owned, call: fn(RunId) -> Call, done: &str) -> anyhow::Result<()> {
    let chain = Chain::connect(&args.node, None).await?;
    submit(&chain, &args.coldkey, &call(RunId(args.run))).await?;
    println!("run {} {done}", args.run);
    Ok(())
}

async fn status(args: &Status) -> anyhow::Result<()> {
    let chain = Chain::connect(&args.node, None).await?;
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
    if args.json {
        println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(());
    }
    for run in &shown {
        let text = |name: &str| run[name].to_string().replace('"', "");
        let phase = run["phase"].as_str().map_or(String::new(), |phase| format!(", {phase}"));
        println!(
            "run {}: {} is {}, epoch {} of {}{phase}; {} miners and {} validators, {} tokens trained",
            text("run"),
            text("preset"),
            text("state"),
            text("epoch"),
            text("epochs"),
            text("miners"),
            text("validators"),
            text("tokens")
        );
    }
    Ok(())
}

fn judge(args: &Evaluate) -> anyhow::Result<()> {
    iota_compute::init_runtime(1);
    let (params, stages) = read_checkpoints(&args.checkpoints)?;
    let dataset = Dataset::open(&args.dataset, Some(params.data.manifest_root))?;
    let weights: Vec<Vec<f32>> = stages.into_iter().map(|state| state.weights).collect();
    let windows = dataset.heldout_windows(WINDOWS);
    let loss = evaluate::heldout_loss(&params, &weights, &windows)?;
    println!(
        "held-out loss {loss:.4} nats per token over {} windows; byte-bigram entropy of the same text {:.4}",
        windows.len(),
        dataset.bigram_entropy()
    );
    Ok(())
}
