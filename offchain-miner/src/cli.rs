//! Command line: what an operator types, and what each command does with it.

use std::io::{IsTerminal, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, Context};
use clap::{Args, Parser, Subcommand};
use iota_compute::layout::StageLayout;
use iota_compute::outer::OuterState;
use iota_compute::{checkpoint, data, generate};
use iota_protocol::ids::{RunId, Stage};
use iota_protocol::params::RunParams;
use iota_protocol::work::Role;
use iota_service::keys::Hotkey;
use iota_service::quantity::{BitRate, ByteSize};
use iota_service::stderr::Diverted;
use iota_service::telemetry::Format;
use iota_service::{config, ending, telemetry};
use iota_worker::answer::{ended, log_format, waiting, Answer, Sign};
use iota_worker::command::{Keys, Target};
use iota_worker::identity::{coldkey_signer, Identity};
use iota_worker::{onboard, supervise};
use serde_json::json;

use crate::config::{MinerConfig, Nat};
use crate::enrol::Join;
use crate::explain::Explain;
use crate::export::Export;
use crate::fault::Fault;
use crate::gauges::Gauges;
use crate::limits::Hours;
use crate::ownership::Change;
use crate::plan::PlanArgs;
use crate::{doctor, leave, limits, money, ownership, view};

/// Time to end in after a request to stop: samples that are open here get [`leave::BOUND`] of it, and where the window
/// for it is open the rest is the commit's. Outside of `Train` and `Commit` nobody waits for anything.
const GRACE: Duration = leave::COMMIT_BOUND;

/// Trains one stage of a model that the whole network trains, and is paid for it.
///
/// First steps: `iota-miner keys new --out hotkey.json`, `iota-miner register --coldkey cold.json`,
/// `iota-miner run`.
#[derive(Parser)]
#[command(name = "iota-miner", version)]
pub struct Cli {
    /// Configuration file (TOML); flags and IOTA_MINER_* variables win over it.
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
    /// Make or show keys.
    #[command(subcommand)]
    Keys(Keys),
    /// Check the network that a file describes and write the configuration for it.
    Join(Join),
    /// Register the hotkey in a run under a coldkey, which pays the price.
    Register(Register),
    /// Train until the run ends.
    Run(RunArgs),
    /// Let the miner of a folder rest after its current epoch, until `resume`.
    Pause(Folder),
    /// Let a paused miner go on.
    Resume(Folder),
    /// Show what the chain knows of this miner.
    Status(money::Status),
    /// Say why this miner got what it got for an epoch, term by term.
    Explain(Explain),
    /// Look at everything that `run` needs: key, device, memory, disk, chain, data set, ports, peers.
    Doctor(Doctor),
    /// Prepare a data set from a UTF-8 text file.
    #[command(subcommand)]
    Data(Data),
    /// Write text with a finished or running model, from the stages' checkpoints.
    Generate(Generate),
    /// Write a checkpoint as a folder that transformers loads.
    Export(Export),
    /// Take what an account is owed: releases what has vested of its members' pay, then claims.
    Claim(money::Claim),
    /// Ask a test network's faucet for first tokens.
    Faucet(money::Faucet),
    /// Give the seat up when the epoch closes; what was earned stays the owner's.
    Leave(ownership::Owned),
    /// Give the member another hotkey from the next epoch on.
    SwapHotkey(ownership::Swap),
    /// Give the member another owner, after a delay.
    #[command(subcommand)]
    Coldkey(ownership::Coldkey),
    /// Show what a model would need of a machine and a link, and how fast it would train. Needs no node.
    Plan(PlanArgs),
    /// Show the configuration in force and where each value came from.
    PrintConfig(RunArgs),
}

#[derive(Subcommand)]
enum Data {
    /// Cut a text into token shards with a manifest.
    Prepare {
        /// The text.
        #[arg(long)]
        text: PathBuf,
        /// Where to put the data set.
        #[arg(long, default_value = "dataset")]
        out: PathBuf,
        /// Tokens per window.
        #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
        seq_len: u32,
        /// Under what terms the text may be used.
        #[arg(long, default_value = "not stated")]
        license: String,
        /// Replace what is no UTF-8 by U+FFFD and count it in the manifest, instead of refusing the text.
        #[arg(long)]
        replace_invalid: bool,
    },
}

#[derive(Args)]
struct Folder {
    /// Folder of the running miner.
    #[arg(long, default_value = "miner-data")]
    data_dir: PathBuf,
}

#[derive(Args)]
struct Register {
    #[command(flatten)]
    target: Target,
    /// Coldkey file: owns the hotkey, pays, receives.
    #[arg(long)]
    coldkey: PathBuf,
    /// Refuse to pay more than this (smallest unit). Default: twice today's price, in
    /// case others register first.
    #[arg(long)]
    max_price: Option<u128>,
}

#[derive(Args)]
struct Doctor {
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    target: Target,
    /// Genesis hash that the node must have.
    #[arg(long)]
    genesis: Option<String>,
    /// Folder for journals, states and artefacts.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Folder of the prepared data set.
    #[arg(long)]
    dataset: Option<PathBuf>,
    /// Address to listen on; may be given more than once.
    #[arg(long)]
    listen: Vec<String>,
    /// Address to publish instead of those listened on, such as a forwarded port: /ip4/203.0.113.7/tcp/4001. May be
    /// given more than once.
    #[arg(long)]
    announce: Vec<String>,
    /// What to do about a router that keeps others out: find a way (auto, the default), or nothing.
    #[arg(long)]
    nat: Option<Nat>,
    /// Do not relay for members whose routers keep others out.
    #[arg(long)]
    no_relay: bool,
    /// libtorch threads.
    #[arg(long)]
    threads: Option<u32>,
    /// Run at the lowest scheduling priority.
    #[arg(long)]
    nice: bool,
    /// Hours of the day (UTC) in which to work, such as 22-07. Looked at before each epoch.
    #[arg(long)]
    hours: Option<Hours>,
    /// What may be sent to other members, all together, such as 20Mbit a second. What goes to the chain is
    /// not counted and never waits.
    #[arg(long)]
    max_upload: Option<BitRate>,
    /// Memory that this miner may use, such as 4GB. It refuses to start if its stage needs more, and bounds
    /// samples in flight and what it keeps for others.
    #[arg(long)]
    max_memory: Option<ByteSize>,
    /// Days after which texts, receipts and journals of past epochs are deleted, if the run has not let go of them
    /// before.
    #[arg(long)]
    keep_days: Option<NonZeroU32>,
    /// Port on this machine for Prometheus (`/metrics`), JSON (`/status`) and `/health`; 0 takes a free one.
    #[arg(long)]
    metrics_port: Option<u16>,
    /// Write log lines, as without a terminal, instead of the live view.
    #[arg(long)]
    no_view: bool,
    /// Show the configuration in force and where each value came from, and do nothing.
    #[arg(long)]
    print_config: bool,
    /// Misbehave on purpose (adversary tests only).
    #[arg(long, hide = true)]
    fault: Option<Fault>,
    /// The first epoch in which it misbehaves.
    #[arg(long, hide = true)]
    fault_from: Option<u32>,
    /// Least time of a pass in milliseconds (tests only).
    #[arg(long, hide = true)]
    pace_ms: Option<u32>,
}

#[derive(Args)]
struct Generate {
    /// Folder with `run.json` and one `stage-K.safetensors` per stage.
    #[arg(long)]
    checkpoints: PathBuf,
    /// Text to go on from.
    #[arg(long, default_value = "ROMEO:\n")]
    prompt: String,
    /// Tokens to write.
    #[arg(long, default_value_t = 300)]
    tokens: usize,
    /// Below 1 plays safe, above 1 wanders.
    #[arg(long, default_value_t = 0.8)]
    temperature: f32,
    /// Choose among so many likeliest tokens.
    #[arg(long, default_value_t = 40)]
    top_k: usize,
    /// Seed of the choice.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Parses flags and runs the command; says what failed and what to do about it.
pub fn main() -> ! {
    iota_service::heap::share();
    let cli = Cli::parse();
    let format = log_format(cli.json_log);
    ending::at_once(ended(start(cli, format), format))
}

fn start(cli: Cli, format: Format) -> anyhow::Result<()> {
    let gauges = Gauges::default();
    let viewed = match &cli.command {
        Command::Run(args) if is_viewed(args, cli.json_log) => Some(resolve(cli.config.as_deref(), args)?.0),
        _ => None,
    };
    let diverted = viewed.as_ref().map(|config| log_beside_view(&config.data_dir)).transpose()?;
    telemetry::init(format, None)?;
    if matches!(&cli.command, Command::Run(args) if args.nice) {
        // Before any thread is started: on Linux each thread inherits it from its parent.
        iota_service::priority::lower().context("lowering the priority")?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the async runtime")?;
    if diverted.is_some() {
        let gauges = gauges.clone();
        std::thread::spawn(move || view::show(&gauges));
    }
    let result = ending::finish(runtime, dispatch(cli, gauges));
    if diverted.is_some() {
        ratatui::restore();
    }
    drop(diverted);
    result
}

/// A person looks at a terminal, and has not asked for lines.
fn is_viewed(args: &RunArgs, json_log: bool) -> bool {
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    terminal && !args.no_view && !args.print_config && !json_log
}

/// The view has the terminal, so that everything else goes to a file.
fn log_beside_view(data_dir: &Path) -> anyhow::Result<Diverted> {
    std::fs::create_dir_all(data_dir).with_context(|| format!("creating {}", data_dir.display()))?;
    let path = data_dir.join("miner.log");
    let file = std::fs::File::options().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("opening the log {}", path.display()))?;
    Diverted::into(&file).context("sending standard error to the log")
}

async fn dispatch(cli: Cli, gauges: Gauges) -> anyhow::Result<()> {
    let answer = Answer::of(cli.json);
    match cli.command {
        Command::Keys(keys) => keys.run(answer),
        Command::Join(args) => args.run(answer).await,
        Command::Register(args) => register(cli.config.as_deref(), args, answer).await,
        Command::Run(args) if args.print_config => print_config(cli.config.as_deref(), &args),
        Command::Run(args) => {
            let config = resolve(cli.config.as_deref(), &args)?.0;
            supervise("miner", GRACE, |stop| crate::run::run(config, gauges, stop)).await
        }
        Command::Pause(folder) => {
            limits::pause(&folder.data_dir)?;
            answer.say("rests from the next epoch on, until `iota-miner resume`", &json!({ "paused": true }))
        }
        Command::Resume(folder) => {
            limits::resume(&folder.data_dir)?;
            answer.say("goes on with the next epoch", &json!({ "paused": false }))
        }
        Command::Explain(args) => args.run(&configured(cli.config.as_deref(), args.target())?, answer).await,
        Command::Doctor(args) => doctor(cli.config.as_deref(), &args, answer).await,
        Command::Status(args) => args.run(&configured(cli.config.as_deref(), args.target())?, answer).await,
        Command::Data(data) => prepare(&data, answer),
        Command::Generate(args) => write_text(&args, answer),
        Command::Export(args) => args.run(answer),
        Command::Claim(args) => args.run(&configured(cli.config.as_deref(), args.target())?, answer).await,
        Command::Faucet(args) => args.run(&configured(cli.config.as_deref(), args.target())?, answer).await,
        Command::Leave(args) => change(cli.config.as_deref(), Change::Leave(args), answer).await,
        Command::SwapHotkey(args) => change(cli.config.as_deref(), Change::Swap(args), answer).await,
        Command::Coldkey(args) => change(cli.config.as_deref(), Change::Coldkey(args), answer).await,
        Command::Plan(args) => crate::plan::run(&args, answer),
        Command::PrintConfig(args) => print_config(cli.config.as_deref(), &args),
    }
}

fn print_config(file: Option<&Path>, args: &RunArgs) -> anyhow::Result<()> {
    let (config, provenance) = resolve(file, args)?;
    print!("{}", config::print_config(&config, &provenance));
    Ok(())
}

fn resolve(file: Option<&Path>, args: &RunArgs) -> anyhow::Result<(MinerConfig, config::Provenance)> {
    let mut flags = args.target.flags();
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            flags.insert(key.into(), value.into());
        }
    };
    put("genesis", args.genesis.clone());
    put("data_dir", args.data_dir.as_ref().map(|p| p.display().to_string()));
    put("hours", args.hours.map(|hours| hours.to_string()));
    put("max_upload", args.max_upload.map(|rate| rate.to_string()));
    put("max_memory", args.max_memory.map(|size| size.to_string()));
    put("dataset", args.dataset.as_ref().map(|p| p.display().to_string()));
    put(
        "fault",
        args.fault
            .and_then(|fault| clap::ValueEnum::to_possible_value(&fault))
            .map(|v| v.get_name().to_owned()),
    );
    if let Some(epoch) = args.fault_from {
        flags.insert("fault_from".into(), i64::from(epoch).into());
    }
    if let Some(pace) = args.pace_ms {
        flags.insert("pace_ms".into(), i64::from(pace).into());
    }
    if let Some(threads) = args.threads {
        flags.insert("threads".into(), i64::from(threads).into());
    }
    if let Some(days) = args.keep_days {
        flags.insert("keep_days".into(), i64::from(days.get()).into());
    }
    if let Some(port) = args.metrics_port {
        flags.insert("metrics_port".into(), i64::from(port).into());
    }
    if let Some(nat) = args.nat.and_then(|nat| clap::ValueEnum::to_possible_value(&nat)) {
        flags.insert("nat".into(), nat.get_name().to_owned().into());
    }
    if args.no_relay {
        flags.insert("relay".into(), false.into());
    }
    if !args.announce.is_empty() {
        flags.insert("announce".into(), args.announce.clone().into());
    }
    if !args.listen.is_empty() {
        flags.insert("listen".into(), args.listen.clone().into());
    }
    Ok(config::resolve(file, "IOTA_MINER_", flags)?)
}

/// The configuration for a command that takes no more than a target.
fn configured(file: Option<&Path>, target: &Target) -> anyhow::Result<MinerConfig> {
    Ok(config::resolve(file, "IOTA_MINER_", target.flags())?.0)
}

async fn change(file: Option<&Path>, change: Change, answer: Answer) -> anyhow::Result<()> {
    change.run(&configured(file, change.target())?, answer).await
}

async fn register(file: Option<&Path>, args: Register, answer: Answer) -> anyhow::Result<()> {
    let config = configured(file, &args.target)?;
    let (hotkey, coldkey) = (Hotkey::load(&config.hotkey)?, coldkey_signer(Hotkey::load(&args.coldkey)?));
    let chain = config.connect().await?;
    let identity = Identity::new(hotkey, chain.genesis(), RunId(config.run));
    let run = RunId(config.run);
    let registering = onboard::register(&chain, &identity, run, Role::Miner, coldkey, args.max_price);
    let member = waiting("waiting until the registration is final", registering).await?;
    onboard::say_registered(&member, run, answer)
}

async fn doctor(file: Option<&Path>, args: &Doctor, answer: Answer) -> anyhow::Result<()> {
    let (config, _) = resolve(file, &args.run)?;
    let findings =
        waiting("looking at this machine, the chain and its members", doctor::examine(&config)).await;
    answer.say(doctor::told(&findings), &findings)?;
    if findings.iter().all(|finding| finding.level != doctor::Level::Fail) {
        return Ok(());
    }
    bail!("this machine cannot mine yet; each line marked FAIL says what to do")
}

fn prepare(
    Data::Prepare { text, out, seq_len, license, replace_invalid }: &Data,
    answer: Answer,
) -> anyhow::Result<()> {
    let bar = indicatif::ProgressBar::new(0).with_message("tokenizing");
    let invalid = if *replace_invalid { data::Invalid::Replace } else { data::Invalid::Refuse };
    let manifest = data::prepare_with(invalid, text, out, *seq_len, license, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    let root = data::Dataset::open(out, None)?.data_params().manifest_root;
    answer.say(
        format_args!(
            "{} tokens, {} training and {} held-out windows of {seq_len} in {}{}\nmanifest root {root}",
            manifest.tokens,
            manifest.train_windows,
            manifest.heldout_windows,
            out.display(),
            match manifest.encoding_errors {
                0 => String::new(),
                errors => format!("\n{errors} places were no UTF-8 and were replaced"),
            }
        ),
        &json!({ "folder": out, "manifest_root": root, "manifest": manifest }),
    )
}

/// Weights of every stage of a checkpoint folder, in stage order.
///
/// # Errors
/// When `run.json` or a stage's file is missing or does not fit.
pub fn read_checkpoints(dir: &Path) -> anyhow::Result<(RunParams, Vec<OuterState>)> {
    let path = dir.join("run.json");
    let missing = || {
        format!(
            "reading {}; a validator writes checkpoints to its data folder, under checkpoint/",
            path.display()
        )
    };
    let text = std::fs::read_to_string(&path).with_context(missing)?;
    let (run, params): (RunId, RunParams) =
        serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
    let mut stages = Vec::new();
    for number in 0..params.n_stages() {
        let stage = Stage(number);
        StageLayout::new(&params, stage)?;
        stages.push(checkpoint::read(&dir.join(format!("stage-{stage}.safetensors")), run, &params, stage)?);
    }
    Ok((params, stages))
}

fn write_text(args: &Generate, answer: Answer) -> anyhow::Result<()> {
    iota_compute::init_runtime(1);
    let (params, stages) = read_checkpoints(&args.checkpoints)?;
    let weights: Vec<Vec<f32>> = stages.into_iter().map(|state| state.weights).collect();
    let sign = Sign::show("writing");
    let text = generate::generate(
        &params,
        &weights,
        args.prompt.as_bytes(),
        args.tokens,
        args.temperature,
        args.top_k,
        args.seed,
    )?;
    drop(sign);
    if answer == Answer::Json {
        // Bytes that are no UTF-8 cannot stand in JSON.
        let text = String::from_utf8_lossy(&text);
        return answer.say("", &json!({ "prompt": args.prompt, "text": text }));
    }
    let mut out = std::io::stdout().lock();
    out.write_all(args.prompt.as_bytes())?;
    out.write_all(&text)?;
    out.write_all(b"\n")?;
    Ok(())
}
