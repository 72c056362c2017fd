//! The command line of the laboratory.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use iota_lab::outcome::Scale;
use iota_lab::runner::{run, Options};

/// Runs the adversary laboratory and writes its results page.
#[derive(Parser)]
struct Cli {
    /// The version for the gate: at most three minutes, no page unless asked for.
    #[arg(long)]
    short: bool,
    /// Where results of rows are kept; a row that stands there is not run again.
    #[arg(long)]
    results: PathBuf,
    /// Folder of the results page (`trust.md` and `trust/`); not written when left out.
    #[arg(long)]
    docs: Option<PathBuf>,
    /// Runs only rows whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Folder with what the arena on the chain's half found, for the page.
    #[arg(long)]
    chain: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let scale = if cli.short { Scale::Short } else { Scale::Full };
    let options = Options { scale, results: cli.results, docs: cli.docs, only: cli.only, chain: cli.chain };
    match run(&options).context("laboratory") {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(2),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}
