//! Command line of the explorer.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use iota_chain::Chain;
use iota_protocol::ids::{parse_hex32, Hash};
use iota_service::tasks::{Exit, Supervisor};
use iota_service::telemetry::{self, Format};
use iota_service::{config, ending};

use crate::audit::{audit, verdict, Finding, Status};
use crate::bundle::{Bundle, BUNDLE_VERSION};
use crate::config::ExplorerConfig;
use crate::follow::Indexer;
use crate::gauges::Gauges;
use crate::manifest::Manifests;
use crate::source::Node;
use crate::store::Store;
use crate::{reports, votes, web};

/// Time that tasks get to end after Ctrl-C: a block is written in milliseconds, an answer in less.
const GRACE: Duration = Duration::from_secs(3);
/// Longest bundle that is read: reports of 64 validators over an epoch's samples fit many times.
const MAX_BUNDLE_BYTES: u64 = 1 << 30;

/// Shows a chain's runs and audits what they pay.
///
/// `iota-explorer run --node ws://127.0.0.1:9944`, then open http://127.0.0.1:8080.
#[derive(Parser)]
#[command(name = "iota-explorer", version)]
pub struct Cli {
    /// Configuration file (TOML); flags and IOTA_EXPLORER_* variables win over it.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// Log as JSON lines.
    #[arg(long, global = true)]
    json_log: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Follow a node and serve pages and API.
    Run(RunArgs),
    /// Audit one epoch from a downloaded bundle, without any network. Ends with 0 only if nothing
    /// contradicts: 2 if an invariant fails, 3 with --strict if one could not be checked.
    VerifyEpoch(VerifyArgs),
}

#[derive(Args)]
struct RunArgs {
    /// WebSocket address of a node.
    #[arg(long)]
    node: Option<String>,
    /// Genesis hash that the node must have.
    #[arg(long)]
    genesis: Option<String>,
    /// First block to index.
    #[arg(long)]
    from: Option<u32>,
    /// The database file.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Address to serve on.
    #[arg(long)]
    listen: Option<String>,
    /// Manifest of a data set, shown with the runs that name its hash; may be given several times.
    #[arg(long = "manifest")]
    manifests: Vec<PathBuf>,
    /// Port on this machine for Prometheus (`/metrics`), JSON (`/status`) and `/health`; 0 takes a free one.
    #[arg(long)]
    metrics_port: Option<u16>,
    /// Print the configuration with the source of each value, and end.
    #[arg(long)]
    print_config: bool,
}

#[derive(Args)]
struct VerifyArgs {
    /// The bundle, as downloaded from an epoch's audit page.
    #[arg(long)]
    bundle: PathBuf,
    /// An older, whole bundle of the same chain, which has the changes of the voters that this one leaves out.
    #[arg(long)]
    older: Option<PathBuf>,
    /// The digest that you were told by somebody you trust.
    #[arg(long)]
    digest: Option<String>,
    /// The hash of the chain's first block: without it, a chain that somebody made up for the purpose passes.
    #[arg(long)]
    genesis: Option<String>,
    /// The hash of the block that paid the epoch, from a node that you trust.
    #[arg(long)]
    block_hash: Option<String>,
    /// Also fail if something could not be checked.
    #[arg(long)]
    strict: bool,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Parses flags, runs the command, and says on standard error why it failed, if it did: what failed, and what to
/// do about it.
pub fn main() -> ! {
    let cli = Cli::parse();
    let format = if cli.json_log { Format::Json } else { Format::Auto };
    let code = start(cli, format).unwrap_or_else(|error| {
        let error = format!("{error:#}");
        match format {
            Format::Json => eprintln!("{}", telemetry::last_line(&error)),
            _ => eprintln!("error: {error}"),
        }
        1
    });
    // Reading the database for a page or hashing a report may take long, and nobody waits for it any more.
    ending::at_once(code)
}

/// Returns the exit code.
fn start(cli: Cli, format: Format) -> anyhow::Result<u8> {
    telemetry::init(format, None)?;
    match cli.command {
        Command::VerifyEpoch(args) => verify(&args),
        Command::Run(args) => {
            let (config, provenance) =
                config::resolve(cli.config.as_deref(), "IOTA_EXPLORER_", flags(&args))?;
            if args.print_config {
                print!("{}", config::print_config(&config, &provenance));
                return Ok(0);
            }
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .context("starting the async runtime")?;
            ending::finish(runtime, run(config))
        }
    }
}

fn flags(args: &RunArgs) -> config::Table {
    let mut flags = config::Table::new();
    let texts = [("node", &args.node), ("genesis", &args.genesis), ("listen", &args.listen)];
    for (key, text) in texts {
        if let Some(text) = text {
            flags.insert(key.into(), text.clone().into());
        }
    }
    if let Some(path) = &args.data {
        flags.insert("data".into(), path.display().to_string().into());
    }
    if !args.manifests.is_empty() {
        let paths = args.manifests.iter().map(|path| path.display().to_string().into()).collect();
        flags.insert("manifests".into(), config::Value::Array(paths));
    }
    if let Some(from) = args.from {
        flags.insert("from".into(), i64::from(from).into());
    }
    if let Some(port) = args.metrics_port {
        flags.insert("metrics_port".into(), i64::from(port).into());
    }
    flags
}

async fn run(config: ExplorerConfig) -> anyhow::Result<u8> {
    let genesis = config
        .genesis
        .as_deref()
        .map(|text| parse_hex32(text).map(Hash).context("genesis is not 64 hex digits"))
        .transpose()?;
    let manifests = Manifests::read(&config.manifests)?;
    let chain = Chain::connect(&config.node, genesis).await?;
    let store = Store::open(&config.data, chain.genesis(), config.from)?;
    let mut supervisor = Supervisor::new();
    let heads = chain.follow();
    let node = Arc::new(Node(Arc::clone(&chain)));
    let indexer = Indexer::new(Arc::clone(&node), store.clone());
    let served = web::Served::new(store.clone(), indexer.newest(), config.requests_per_second);
    let served = served.with_manifests(manifests);
    let listener = tokio::net::TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot serve on {}; choose another address with --listen", config.listen)
    })?;
    tracing::info!(genesis = %chain.genesis(), address = %listener.local_addr()?, "explorer started");
    if let Some(port) = config.metrics_port {
        let gauges = Gauges::default();
        let endpoint = gauges.open(port).await?;
        supervisor.spawn("metrics", endpoint.serve(supervisor.shutdown()));
        supervisor.spawn("gauges", gauges.follow(indexer.newest(), supervisor.shutdown()));
    }
    supervisor.spawn_critical("indexer", indexer.run(heads, supervisor.shutdown()));
    supervisor.spawn_critical("pages", web::serve(listener, served, supervisor.shutdown()));
    supervisor.spawn("votes", votes::fetch(store.clone(), node, supervisor.shutdown()));
    if config.reports {
        let private = match config.allow_private_addresses {
            Some(told) => told,
            None => chain.is_of_one_house().await?,
        };
        supervisor.spawn("reports", reports::fetch(store, private, supervisor.shutdown()));
    }
    let report = supervisor.run(GRACE).await?;
    if let Exit::Failed { .. } | Exit::Panicked { .. } = report.exit {
        anyhow::bail!("{}", report.exit);
    }
    Ok(report.exit_code())
}

/// Reads a bundle; what it leaves out is in the older one.
///
/// # Errors
/// When the file is missing, too long, no bundle, cannot be completed, or does not have the digest that it states.
pub fn read_bundle(path: &Path, older: Option<&Bundle>) -> anyhow::Result<Bundle> {
    let length = std::fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len();
    anyhow::ensure!(length <= MAX_BUNDLE_BYTES, "{} has {length} bytes, more than a bundle", path.display());
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let bundle: Bundle = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is no bundle of an epoch", path.display()))?;
    anyhow::ensure!(
        bundle.version == BUNDLE_VERSION,
        "{} has version {}, this program reads {BUNDLE_VERSION}",
        path.display(),
        bundle.version
    );
    let bundle = bundle.completed(older).with_context(|| format!("completing {}", path.display()))?;
    let computed = bundle.computed_digest();
    anyhow::ensure!(
        computed == bundle.digest,
        "{} was altered: its content has digest {computed}, it states {}; download it again",
        path.display(),
        bundle.digest
    );
    Ok(bundle)
}

fn verify(args: &VerifyArgs) -> anyhow::Result<u8> {
    let older = args.older.as_deref().map(|path| read_bundle(path, None)).transpose()?;
    let bundle = read_bundle(&args.bundle, older.as_ref())?;
    let told = |text: &Option<String>, what: &str, found: Option<Hash>| -> anyhow::Result<()> {
        let Some(text) = text else { return Ok(()) };
        let told = parse_hex32(text).map(Hash).with_context(|| format!("{what} is not 64 hex digits"))?;
        anyhow::ensure!(Some(told) == found, "the bundle has {what} {found:?}, you were told {told}");
        Ok(())
    };
    told(&args.genesis, "genesis", Some(bundle.genesis))?;
    told(&args.digest, "digest", Some(bundle.digest))?;
    told(&args.block_hash, "block hash", bundle.proof.as_ref().map(|proof| proof.hash))?;
    let findings = audit(&bundle);
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&findings)?)?;
    } else {
        print(&mut out, &bundle, &findings)?;
    }
    Ok(match verdict(&findings) {
        Status::Fail => 2,
        Status::NotChecked if args.strict => 3,
        _ => 0,
    })
}

fn print(out: &mut impl std::io::Write, bundle: &Bundle, findings: &[Finding]) -> std::io::Result<()> {
    writeln!(out, "chain {}", bundle.genesis)?;
    writeln!(out, "run {}, epoch {}", bundle.run, bundle.epoch)?;
    writeln!(out, "digest of this bundle {}", bundle.digest)?;
    for finding in findings {
        let word = match finding.status {
            Status::Pass => "pass",
            Status::Fail => "FAIL",
            Status::NotChecked => "not checked",
        };
        let block = finding.block.map_or_else(String::new, |block| format!(" (block {block})"));
        writeln!(out, "\n{} {word}{block}: {}", finding.id, finding.claim)?;
        for side in &finding.sides {
            writeln!(out, "   {:>24}  {}", side.value, side.label)?;
        }
        for note in &finding.notes {
            writeln!(out, "   {note}")?;
        }
    }
    Ok(())
}
