//! Whole networks that something happens to: an upgrade with crashes, a vote to go back, a storm of faults.
//! What each must bear out is a list of claims; the page lists them with what was asked and measured, and
//! the exit code is 0 only if all hold.
//!
//! Needs `IOTA_BIN_CHAIN` and `IOTA_BIN_WORK`; `scripts/bench upgrade|rollback|storm` builds them and calls
//! this. They take minutes to a quarter of an hour and time the machine, so they are measurements rather
//! than tests; the rules beneath them are tested in `pallet-iota`, `tests/faults.rs`, `tests/court.rs` and, for two minutes
//! of storm, `tests/storm.rs`.

mod rollback;
mod upgrade;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use iota_tests::outcome::{load, Frame};
use iota_tests::storm::trial::{self, Trial};

#[derive(Parser)]
#[command(name = "scripts/bench", about = "Whole networks that something happens to")]
struct Args {
    #[command(subcommand)]
    network: Network,
    /// The page; without it, it is only printed.
    #[arg(long, global = true)]
    out: Option<PathBuf>,
    /// Date on the page.
    #[arg(long, global = true, default_value = "")]
    date: String,
}

#[derive(Subcommand)]
enum Network {
    /// Authorities, miners and validators train ten epochs through two crashes and a runtime upgrade.
    Upgrade(upgrade::Args),
    /// Validators vote that all stages return to an earlier epoch's states.
    Rollback,
    /// A seeded Poisson schedule of faults behind home connections; needs root.
    Storm(StormArgs),
}

#[derive(clap::Args)]
struct StormArgs {
    /// Miners of each of the four stages.
    #[arg(long, default_value_t = 2)]
    replicas: u16,
    /// Epochs of storm, of 82 seconds each; two before it and one after it have no faults.
    #[arg(long, default_value_t = 7)]
    epochs: u32,
    /// Seed of the schedule.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Faults expected in an hour; at least 120 are asked for.
    #[arg(long, default_value_t = 180.0)]
    per_hour: f64,
}

impl StormArgs {
    fn trial(&self) -> Trial {
        Trial {
            preset: "tiny",
            stages: 4,
            replicas: self.replicas,
            train_blocks: 48,
            calm: 2,
            epochs: self.epochs,
            seed: self.seed,
            per_hour: self.per_hour,
            longest: std::time::Duration::MAX,
            least_per_hour: 120.0,
            timed: true,
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    iota_compute::init_runtime(1);
    let args = Args::parse();
    let (start, before) = (Instant::now(), load());
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(async {
        match &args.network {
            Network::Upgrade(own) => upgrade::run(own).await,
            Network::Rollback => rollback::run().await,
            Network::Storm(own) => trial::run(&own.trial()).await,
        }
    })?;
    let command: Vec<String> = std::env::args().skip(1).collect();
    let page = outcome.page(&Frame {
        command: format!("scripts/bench {}", without_frame(&command)),
        date: args.date,
        seconds: start.elapsed().as_secs(),
        load: [before, load()],
    })?;
    println!("{page}");
    if let Some(out) = &args.out {
        std::fs::write(out, &page)?;
    }
    Ok(if outcome.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The words of a command that choose the network: neither the date nor the page's place.
fn without_frame(words: &[String]) -> String {
    let framed = |word: &String| word == "--date" || word == "--out";
    let value_of_framed = |at: usize| at > 0 && words.get(at - 1).is_some_and(framed);
    let own = words.iter().enumerate().filter(|(at, word)| !framed(word) && !value_of_framed(*at));
    own.map(|(_, word)| word.as_str()).collect::<Vec<_>>().join(" ")
}
