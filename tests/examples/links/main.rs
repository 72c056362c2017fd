//! Training over home connections: tokens per second of a small devnet behind links of several rates,
//! delays and losses, at several compressions. Writes `docs/results/links.md`.
//!
//! Needs root (network namespaces), `IOTA_BIN_CHAIN` and `IOTA_BIN_WORK`. Rows that have a result are
//! not run again, so that it can be stopped at any time.

mod one;
mod report;
mod rows;

use std::collections::VecDeque;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use rows::{Outcome, Row};

#[derive(Parser)]
#[command(name = "scripts/bench links", about = "Training over home connections")]
struct Args {
    /// Rows whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Start no further row after so many minutes.
    #[arg(long, default_value_t = 120)]
    minutes: u64,
    /// Rows beside each other; each takes about an eighth of a core.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: u8,
    /// Results by row, one JSON object on each line.
    #[arg(long, env = "IOTA_BENCH_STATE")]
    state: PathBuf,
    /// The page; its plots lie in a folder of its name.
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
    let known = rows::read(&args.state)?;
    let left = wanted.into_iter().filter(|row| known.iter().all(|outcome| outcome.row != row.name()));
    let queue = Mutex::new(left.collect::<VecDeque<Row>>());
    let until = Instant::now() + Duration::from_secs(args.minutes * 60);
    // A thread of its own for each: the kernel ends programs with the thread that started them.
    let failed: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..args.jobs).map(|_| scope.spawn(|| work(&queue, until, &args.state))).collect();
        let ended = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended.flat_map(|failed| failed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    report::write(&args.out, &rows::all(), &rows::read(&args.state)?, &args.date)?;
    println!("wrote {}", args.out.display());
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!("{} rows failed and will be tried again:\n{}", failed.len(), failed.join("\n")).into())
}

/// Takes one row after the other until the time is up; returns what failed.
fn work(queue: &Mutex<VecDeque<Row>>, until: Instant, state: &Path) -> Vec<String> {
    let mut failed = Vec::new();
    while Instant::now() < until {
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(row) = next() else { break };
        match measured(&row, state) {
            Ok(outcome) => println!(
                "{}: {:.0} tokens/s, {} of {} submissions late",
                outcome.row,
                outcome.rate(),
                outcome.late.len(),
                outcome.due
            ),
            Err(error) => {
                eprintln!("{}: {error:#}", row.name());
                failed.push(format!("{}: {error:#}", row.name()));
            }
        }
    }
    failed
}

fn measured(row: &Row, state: &Path) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(one::measure(row))?;
    keep(state, &outcome)?;
    Ok(outcome)
}

/// Appends a result: one write of one line, so that rows beside each other do not mix.
fn keep(state: &Path, outcome: &Outcome) -> anyhow::Result<()> {
    if let Some(folder) = state.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = std::fs::File::options().create(true).append(true).open(state)?;
    let line = format!("{}\n", serde_json::to_string(outcome)?);
    Ok(file.write_all(line.as_bytes())?)
}
