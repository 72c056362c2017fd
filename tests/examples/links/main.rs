//! Training over home connections: tokens per second of a small devnet behind links of several rates,
//! delays and losses, at several compressions. Writes `docs/results/links.md`.
//!
//! Needs root (network namespaces), `IOTA_BIN_CHAIN` and `IOTA_BIN_WORK`. Rows that have a result are
//! not run again, so that it can be stopped at any time.

mod report;
mod rows;

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use iota_protocol::ids::Epoch;
use iota_tests::collect::Records;
use iota_tests::network::Devnet;
use iota_tests::options::Options;
use iota_tests::summary;
use rows::{Outcome, Row};

/// Measured epochs of each row: the second starts with warm connections.
const EPOCHS: u32 = 2;
/// A row that takes longer has failed: its blocks are 140.
const PATIENCE: Duration = Duration::from_secs(400);

#[derive(Parser)]
#[command(name = "scripts/bench links", about = "Training over home connections")]
struct Args {
    /// Rows whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Start no further row after so many minutes.
    #[arg(long, default_value_t = 120)]
    minutes: u64,
    /// Results by row, one JSON object on each line.
    #[arg(long, env = "IOTA_BENCH_STATE")]
    state: PathBuf,
    /// The page.
    #[arg(long, default_value = "docs/results/links.md")]
    out: PathBuf,
    /// Print the rows and end.
    #[arg(long)]
    list: bool,
    /// Date on the page.
    #[arg(long, default_value = "")]
    date: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let wanted: Vec<Row> = rows::all().into_iter().filter(|row| row.name().contains(&args.only)).collect();
    if args.list {
        wanted.iter().for_each(|row| println!("{}", row.name()));
        return Ok(());
    }
    let (started, limit) = (Instant::now(), Duration::from_secs(args.minutes * 60));
    let mut outcomes = rows::read(&args.state)?;
    let runtime = tokio::runtime::Runtime::new()?;
    for (place, row) in wanted.iter().enumerate() {
        if outcomes.iter().any(|outcome| outcome.row == row.name()) {
            continue;
        }
        if started.elapsed() > limit {
            println!("the time is up; start again for the rows that are left");
            break;
        }
        print!("{}/{} {}: ", place + 1, wanted.len(), row.name());
        std::io::stdout().flush()?;
        let outcome = runtime.block_on(measure(row))?;
        println!("{:.0} tokens/s, {} of {} submissions in time", outcome.rate(), outcome.made, outcome.due);
        keep(&args.state, &outcome)?;
        outcomes.push(outcome);
    }
    report::write(&args.out, &rows::all(), &outcomes, &args.date)?;
    println!("wrote {}", args.out.display());
    Ok(())
}

fn keep(state: &Path, outcome: &Outcome) -> Result<(), Box<dyn Error>> {
    if let Some(folder) = state.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = std::fs::File::options().create(true).append(true).open(state)?;
    Ok(writeln!(file, "{}", serde_json::to_string(outcome)?)?)
}

/// One devnet behind this row's links, until its second epoch has closed.
async fn measure(row: &Row) -> Result<Outcome, Box<dyn Error>> {
    let dir = tempfile::Builder::new().prefix("iota-links-").tempdir()?;
    let options = Options::try_parse_from(row.arguments(dir.path()))?;
    let mut devnet = Devnet::start(options).await?;
    let records = until(&mut devnet, Epoch(EPOCHS)).await?;
    let lines = summary::epoch_lines(&devnet, &records);
    let window = f64::from(devnet.params.phases.train);
    let reveals = records
        .epochs
        .get(&Epoch(0))
        .map_or(0, |record| record.scores.iter().filter(|score| score.entries.is_some()).count());
    let commits: u32 = lines.iter().map(|line| line.contributors).sum();
    let facts = summary::run_facts(&devnet, &records);
    let agreed = lines.iter().map(|line| line.agreed_shards).sum();
    let made = commits + u32::try_from(reveals)?;
    devnet.stop();
    Ok(Outcome {
        row: row.name(),
        rates: lines.iter().map(|line| line.tokens as f64 / window).collect(),
        bytes_per_token: facts.bytes_per_token_measured,
        made,
        due: EPOCHS * rows::MINERS + rows::VALIDATORS,
        agreed,
    })
}

async fn until(devnet: &mut Devnet, end: Epoch) -> Result<Records, Box<dyn Error>> {
    let mut records = Records::default();
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Err(error) = records.look(devnet).await {
            tracing::debug!(%error, "looking again");
        }
        if records.clock.as_ref().is_some_and(|clock| clock.epoch >= end) {
            return Ok(records);
        }
        let dead = devnet.dead(&[]);
        if !dead.is_empty() {
            return Err(format!("a program ended early:\n{}", dead.join("\n")).into());
        }
        if Instant::now() > deadline {
            return Err(format!(
                "no two epochs within {} s; logs were in {}",
                PATIENCE.as_secs(),
                devnet.dir.display()
            )
            .into());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
