//! Whether the programs keep their memory: a devnet of two stages trains for minutes, and what its miners
//! and validators have resident is read from `/proc` all the while. Writes `docs/results/memory.md`.
//!
//! Needs `IOTA_BIN_CHAIN` and `IOTA_BIN_WORK`; `scripts/bench memory` sets them.

mod page;
mod series;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use iota_tests::collect::Records;
use iota_tests::network::Devnet;
use iota_tests::options::Options;
use series::{Sample, Series};

/// Epochs before anything is compared: the allocator and libtorch fill up, and a member keeps the artefacts of
/// three epochs, so that the fifth is the first that lets go as much as it takes.
const WARM_UP: u32 = 4;
/// Blocks of training in an epoch: short epochs are many, and what leaks leaks in every one of them.
const TRAIN: u32 = 20;
/// An epoch is longer than so many seconds: its windows after training alone take 34 blocks of a second.
const LEAST_EPOCH: u64 = 34;
/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);
/// From the start until the warm-up is over; its epochs are 54 blocks each.
const PATIENCE: Duration = Duration::from_secs(900);

#[derive(Parser)]
#[command(name = "scripts/bench memory", about = "Resident memory of miners and validators over many epochs")]
struct Args {
    /// Minutes that are watched, after a warm-up of four epochs (about four minutes).
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u64).range(4..))]
    minutes: u64,
    /// Size of the model.
    #[arg(long, default_value = "tiny")]
    preset: String,
    /// What else the machine did, for the page.
    #[arg(long, default_value = "nothing else was started by us")]
    beside: String,
    /// The page.
    #[arg(long, default_value = "docs/results/memory.md")]
    out: PathBuf,
    /// Date on the page.
    #[arg(long, default_value = "not stated")]
    date: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let all = runtime.block_on(measure(&args))?;
    let setting =
        page::Setting { date: args.date, preset: args.preset, minutes: args.minutes, beside: args.beside };
    let text = page::render(&setting, &all)?;
    std::fs::write(&args.out, &text)?;
    print!("{text}");
    Ok(())
}

/// One devnet, until so many minutes have passed after the warm-up.
async fn measure(args: &Args) -> Result<Vec<Series>, Box<dyn Error>> {
    let dir = tempfile::Builder::new().prefix("iota-memory-").tempdir()?;
    let epochs = WARM_UP + u32::try_from(args.minutes * 60 / LEAST_EPOCH)? + 2;
    let mut devnet = Devnet::start(options(args, epochs, dir.path())?).await?;
    let names = devnet.member_names();
    let mut all: Vec<Series> = Vec::new();
    for name in &names {
        all.push(Series::new(name, devnet.process(name)?.id()));
    }
    let (started, mut warm) = (Instant::now(), None::<Instant>);
    let (watched, mut records) = (Duration::from_secs(args.minutes * 60), Records::default());
    while warm.is_none_or(|since| since.elapsed() < watched) {
        if warm.is_none() && started.elapsed() > PATIENCE {
            let secs = PATIENCE.as_secs();
            return Err(format!("{WARM_UP} epochs took more than {secs} s; free the machine").into());
        }
        if let Err(error) = records.look(&devnet).await {
            tracing::debug!(%error, "looking again");
        }
        let dead = devnet.dead(&[]);
        if !dead.is_empty() {
            return Err(format!("a program ended early:\n{}", dead.join("\n")).into());
        }
        let epoch = records.clock.as_ref().map_or(0, |clock| clock.epoch.0);
        if epoch >= WARM_UP {
            let since = *warm.get_or_insert_with(Instant::now);
            for series in &mut all {
                let bytes = series::resident(series.process)?;
                series.samples.push(Sample { at: since.elapsed(), epoch, bytes });
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    devnet.stop();
    Ok(all)
}

fn options(args: &Args, epochs: u32, dir: &Path) -> Result<Options, Box<dyn Error>> {
    let text = format!(
        "devnet --stages 2 --miners 2 --validators 1 --epochs {epochs} --train-blocks {TRAIN} --preset {} --dir",
        args.preset
    );
    let folder = dir.join("devnet").display().to_string();
    Ok(Options::try_parse_from(text.split_whitespace().map(str::to_owned).chain([folder]))?)
}
