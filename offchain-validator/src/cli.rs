//! Command line of the validator.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, Context};
use clap::{Args, Parser, Subcommand};
use iota_chain::{Call, Chain, Submitter};
use iota_protocol::ids::{AccountKey, Epoch, Incarnation, RunId};
use iota_protocol::work::Role;
use iota_service::keys::Hotkey;
use iota_service::telemetry::Format;
use iota_service::{config, ending, telemetry};
use iota_worker::answer::{ended, log_format, waiting, Answer};
use iota_worker::command::{Keys, Target};
use iota_worker::identity::{coldkey_signer, Identity};
use iota_worker::{onboard, supervise};
use serde_json::json;

use crate::config::ValidatorConfig;
use crate::verdicts::Verdicts;

/// Time to end in after a request to stop: whatever was said is on disk before it was said, so that only the step
/// at hand ends.
const GRACE: Duration = Duration::from_secs(2);
/// What is waited for after a call was sent.
const FINAL: &str = "waiting until it is final";

/// Audits miners, estimates what they contributed, and submits scores that decide who is paid.
///
/// First steps: `iota-validator keys new`, `iota-validator register --coldkey cold.json`,
/// `iota-validator bond --coldkey cold.json --amount 1000000000000`, `iota-validator run`.
#[derive(Parser)]
#[command(name = "iota-validator", version)]
pub struct Cli {
    /// Configuration file (TOML); flags and IOTA_VALIDATOR_* variables win over it.
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
    /// Register the hotkey in a run under a coldkey, which pays the price.
    Register(Funded),
    /// Add to the bond; a validator's bond is its stake in consensus.
    Bond(Bond),
    /// Take from the bond; the amount stays on hold for a delay, see `withdraw`.
    Unbond(Bond),
    /// Take off hold what was unbonded, once the delay is over.
    Withdraw(Withdraw),
    /// Ask for the permit that was lost by missing reveals. Start the validator first: the next miss
    /// takes it again.
    Resume(Target),
    /// Vote that all stages go back, when this epoch closes, to the states after an earlier epoch. Two
    /// thirds of the stake decide. Miners keep the states of the last two epochs that closed.
    Rollback(Rollback),
    /// Validate until the run ends.
    Run(RunArgs),
    /// Show accusations, votes, requests for evidence and what came of them.
    Verdicts(Verdicts),
    /// Print the newest report, or that of one epoch, as JSON.
    Report(ReportArgs),
}

#[derive(Args)]
struct Funded {
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
struct Bond {
    #[command(flatten)]
    target: Target,
    /// Coldkey file.
    #[arg(long)]
    coldkey: PathBuf,
    /// How much, in the smallest unit.
    #[arg(long)]
    amount: u128,
}

#[derive(Args)]
struct Withdraw {
    #[command(flatten)]
    target: Target,
    /// Coldkey file; it receives, signs and pays the fee.
    #[arg(long)]
    coldkey: PathBuf,
    /// The member's incarnation, which `register` printed.
    #[arg(long)]
    incarnation: u32,
}

#[derive(Args)]
struct Rollback {
    #[command(flatten)]
    target: Target,
    /// The epoch whose states, as it closed, all stages shall have again.
    #[arg(long)]
    to: u32,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    target: Target,
    /// Genesis hash that the node must have.
    #[arg(long)]
    genesis: Option<String>,
    /// Folder for reports, salts and checkpoints.
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
    /// Miners to audit in each epoch, beside the one that CLASP flags; when absent as many as audit every
    /// miner in one epoch of eight.
    #[arg(long)]
    audits: Option<u32>,
    /// Run at the lowest scheduling priority.
    #[arg(long)]
    nice: bool,
    /// Days after which reports and evidence of past epochs are deleted.
    #[arg(long)]
    keep_days: Option<NonZeroU32>,
    /// Port on this machine for Prometheus (`/metrics`), JSON (`/status`) and `/health`; 0 takes a free one.
    #[arg(long)]
    metrics_port: Option<u16>,
    /// Show the configuration in force and where each value came from, and do nothing.
    #[arg(long)]
    print_config: bool,
}

#[derive(Args)]
struct ReportArgs {
    /// Folder of the validator.
    #[arg(long, default_value = "validator-data")]
    data_dir: PathBuf,
    /// The scored epoch; the newest when absent.
    #[arg(long)]
    epoch: Option<u32>,
}

/// Parses flags and runs the command; says what failed and what to do about it.
pub fn main() -> ! {
    iota_service::heap::share();
    let cli = Cli::parse();
    let format = log_format(cli.json_log);
    ending::at_once(ended(start(cli, format), format))
}

fn start(cli: Cli, format: Format) -> anyhow::Result<()> {
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
    ending::finish(runtime, dispatch(cli))
}

async fn dispatch(cli: Cli) -> anyhow::Result<()> {
    let (file, answer) = (cli.config.as_deref(), Answer::of(cli.json));
    match cli.command {
        Command::Keys(keys) => keys.run(answer),
        Command::Register(args) => register(file, args, answer).await,
        Command::Bond(args) => bond(file, args, Side::Add, answer).await,
        Command::Unbond(args) => bond(file, args, Side::Take, answer).await,
        Command::Withdraw(args) => withdraw(file, args, answer).await,
        Command::Resume(target) => resume(file, target, answer).await,
        Command::Rollback(args) => rollback(file, args, answer).await,
        Command::Run(args) => {
            let (config, provenance) = resolve(file, &args)?;
            if args.print_config {
                print!("{}", config::print_config(&config, &provenance));
                return Ok(());
            }
            supervise("validator", GRACE, |stop| crate::run::run(config, stop)).await
        }
        Command::Verdicts(args) => {
            let (chain, config) = connect(file, args.target()).await?;
            args.run(&chain, RunId(config.run), answer).await
        }
        Command::Report(args) => report(&args),
    }
}

fn resolve(file: Option<&Path>, args: &RunArgs) -> anyhow::Result<(ValidatorConfig, config::Provenance)> {
    let mut flags = args.target.flags();
    if let Some(genesis) = &args.genesis {
        flags.insert("genesis".into(), genesis.clone().into());
    }
    for (key, path) in [("data_dir", &args.data_dir), ("dataset", &args.dataset)] {
        if let Some(path) = path {
            flags.insert(key.into(), path.display().to_string().into());
        }
    }
    if !args.announce.is_empty() {
        flags.insert("announce".into(), args.announce.clone().into());
    }
    if !args.listen.is_empty() {
        flags.insert("listen".into(), args.listen.clone().into());
    }
    if let Some(audits) = args.audits {
        flags.insert("audits".into(), i64::from(audits).into());
    }
    if let Some(days) = args.keep_days {
        flags.insert("keep_days".into(), i64::from(days.get()).into());
    }
    if let Some(port) = args.metrics_port {
        flags.insert("metrics_port".into(), i64::from(port).into());
    }
    Ok(config::resolve(file, "IOTA_VALIDATOR_", flags)?)
}

async fn connect(file: Option<&Path>, target: &Target) -> anyhow::Result<(Arc<Chain>, ValidatorConfig)> {
    let (config, _): (ValidatorConfig, _) = config::resolve(file, "IOTA_VALIDATOR_", target.flags())?;
    Ok((config.connect().await?, config))
}

async fn register(file: Option<&Path>, args: Funded, answer: Answer) -> anyhow::Result<()> {
    let (chain, config) = connect(file, &args.target).await?;
    let run = RunId(config.run);
    let identity = Identity::new(Hotkey::load(&config.hotkey)?, chain.genesis(), run);
    let coldkey = coldkey_signer(Hotkey::load(&args.coldkey)?);
    let registering = onboard::register(&chain, &identity, run, Role::Validator, coldkey, args.max_price);
    let member = waiting("waiting until the registration is final", registering).await?;
    onboard::say_registered(&member, run, answer)
}

/// Whether a bond grows or shrinks.
#[derive(Clone, Copy)]
enum Side {
    Add,
    Take,
}

async fn bond(file: Option<&Path>, args: Bond, side: Side, answer: Answer) -> anyhow::Result<()> {
    let (chain, config) = connect(file, &args.target).await?;
    let run = RunId(config.run);
    let hotkey = AccountKey(Hotkey::load(&config.hotkey)?.public());
    let Some(member) = onboard::find_member(&chain, run, hotkey).await? else {
        bail!("hotkey {hotkey} is not registered in run {run}; register it first");
    };
    let submitter = Submitter::new(Arc::clone(&chain), coldkey_signer(Hotkey::load(&args.coldkey)?));
    let (call, done) = match side {
        Side::Add => (Call::bond(run, member.uid, args.amount), "bonded"),
        Side::Take => (Call::unbond(run, member.uid, args.amount), "unbonding"),
    };
    waiting(FINAL, submitter.submit_finalized(&call)).await?;
    answer.say(
        format_args!("{done} {} for uid {} (incarnation {})", args.amount, member.uid, member.incarnation),
        &json!({
            "done": done, "amount": args.amount.to_string(), "uid": member.uid,
            "incarnation": member.incarnation,
        }),
    )
}

async fn rollback(file: Option<&Path>, args: Rollback, answer: Answer) -> anyhow::Result<()> {
    let (chain, config) = connect(file, &args.target).await?;
    let (run, to) = (RunId(config.run), Epoch(args.to));
    let Some(clock) = chain.at_finalized().await?.clock(run).await? else {
        bail!("run {run} does not exist");
    };
    let identity = Identity::new(Hotkey::load(&config.hotkey)?, chain.genesis(), run);
    let submitter = Submitter::new(Arc::clone(&chain), identity.signer());
    waiting(FINAL, submitter.submit_finalized(&Call::vote_rollback(run, clock.epoch, to))).await?;
    answer.say(
        format_args!("voted in epoch {} to go back to the states after epoch {to}", clock.epoch),
        &json!({ "run": run, "epoch": clock.epoch, "to": to }),
    )
}

async fn withdraw(file: Option<&Path>, args: Withdraw, answer: Answer) -> anyhow::Result<()> {
    let (chain, config) = connect(file, &args.target).await?;
    let coldkey = Hotkey::load(&args.coldkey)?;
    let account = AccountKey(coldkey.public());
    let submitter = Submitter::new(Arc::clone(&chain), coldkey_signer(coldkey));
    let call = Call::withdraw(RunId(config.run), Incarnation(args.incarnation), account);
    waiting(FINAL, submitter.submit_finalized(&call)).await?;
    answer.say(
        format_args!("withdrew what incarnation {} unbonded", args.incarnation),
        &json!({ "incarnation": args.incarnation }),
    )
}

async fn resume(file: Option<&Path>, target: Target, answer: Answer) -> anyhow::Result<()> {
    let (chain, config) = connect(file, &target).await?;
    // The hotkey's seed signs extrinsics just as a coldkey's does.
    let submitter = Submitter::new(Arc::clone(&chain), coldkey_signer(Hotkey::load(&config.hotkey)?));
    waiting(FINAL, submitter.submit_finalized(&Call::resume(RunId(config.run)))).await?;
    answer.say("permitted again from the next epoch's snapshot on", &json!({ "run": config.run }))
}

fn report(args: &ReportArgs) -> anyhow::Result<()> {
    let epoch = match args.epoch {
        Some(epoch) => epoch,
        None => {
            newest(&args.data_dir).with_context(|| format!("no report in {}", args.data_dir.display()))?
        }
    };
    let path = args.data_dir.join(format!("report-{epoch}.json"));
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    std::io::Write::write_all(&mut std::io::stdout(), &text).context("writing the report out")
}

fn newest(dir: &Path) -> Option<u32> {
    let names = std::fs::read_dir(dir).ok()?.flatten().filter_map(|file| file.file_name().into_string().ok());
    names.filter_map(|name| name.strip_prefix("report-")?.strip_suffix(".json")?.parse().ok()).max()
}
