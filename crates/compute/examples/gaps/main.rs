//! Measures what bottlenecks, local steps and merging cost in held-out loss, each against the same
//! training without it, and writes the numbers down. Run it with `scripts/bench gaps`.

mod network;
mod report;
mod rows;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use iota_compute::data::{self, Dataset};
use iota_compute::evaluate::heldout_loss;
use iota_compute::init_runtime;
use iota_compute::presets::run_params;
use iota_protocol::ids::Hash;
use iota_protocol::params::{DataParams, RunParams};

use network::Network;
use report::{Measured, Setting};
use rows::{Rate, Row, MERGES, PRESET, REPLICAS, ROWS};

/// Held-out windows that each row is measured on; evenly spread over the held-out part.
const HELDOUT_WINDOWS: usize = 256;
/// Evaluations of local weights at the end of a run: one alone scatters by five percent, for a step
/// at a constant rate throws the weights about; the mean of eight still scatters by about two.
const EVALUATIONS: usize = 8;
/// Samples between two of them.
const EVALUATION_STEP: usize = 4;
/// Samples between two lines of progress.
const PROGRESS: usize = 50;

/// Trains the tiny preset in several ways on the same samples and compares the held-out loss.
#[derive(Parser)]
#[command(name = "scripts/bench gaps")]
struct Options {
    /// Training samples of each row, over all replicas; rounded up to a multiple of merges x replicas.
    #[arg(long, default_value_t = 900)]
    samples: u32,
    /// Seeds, counted from 0; each gives other initial weights and another order of the data.
    #[arg(long, default_value_t = 2)]
    seeds: u64,
    /// Only these rows, separated by commas; all when absent.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Inner learning rate in millionths; the preset's when absent.
    #[arg(long)]
    lr_ppm: Option<u32>,
    /// Steps over which the rate rises after a start or a merge; the preset's when absent.
    #[arg(long)]
    ramp_steps: Option<u16>,
    /// Text to train on (any UTF-8 file).
    #[arg(long, default_value = "data/shakespeare.txt")]
    data: PathBuf,
    /// Report to write.
    #[arg(long, default_value = "docs/results/gaps.md")]
    out: PathBuf,
    /// Date that the report carries.
    #[arg(long, default_value = "not stated", hide = true)]
    date: String,
}

impl Options {
    fn rate(&self) -> Rate {
        Rate { lr_ppm: self.lr_ppm, ramp_steps: self.ramp_steps }
    }
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    init_runtime(1);
    let chosen = choose(&options.rows)?;
    if options.samples == 0 || options.seeds == 0 {
        return Err("--samples and --seeds must be at least 1".into());
    }
    let samples = options.samples.next_multiple_of(MERGES * u32::from(REPLICAS));
    let folder = tempfile::tempdir()?;
    let dataset = prepare(options, folder.path())?;
    let tokens = {
        let run = ROWS[0].params(0, options.rate(), dataset.data_params())?;
        u64::from(samples) * u64::from(run.tokens_per_sample())
    };
    let setting = Setting {
        samples,
        tokens,
        seeds: options.seeds,
        windows: HELDOUT_WINDOWS,
        evaluations: EVALUATIONS,
        evaluation_step: EVALUATION_STEP,
        date: options.date.clone(),
        bigram: dataset.bigram_entropy(),
        rows: options.rows.clone(),
        rate: options.rate(),
    };
    let mut measured = Vec::new();
    for seed in 0..options.seeds {
        for row in &chosen {
            let run = row.params(seed, options.rate(), dataset.data_params())?;
            measured.push(train(row, &run, samples, &dataset)?);
            // After every row: a run that is cut short leaves what it has.
            write(options, &report::render(&setting, &measured))?;
        }
    }
    print!("{}", report::render(&setting, &measured));
    eprintln!("written to {}", options.out.display());
    Ok(())
}

fn choose(names: &[String]) -> Result<Vec<Row>, Box<dyn Error>> {
    let known: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("--rows {name}: unknown row; known are {}", known.join(", ")).into()),
        None => Ok(ROWS
            .into_iter()
            .filter(|row| names.is_empty() || names.iter().any(|n| n == row.name))
            .collect()),
    }
}

fn prepare(options: &Options, folder: &std::path::Path) -> Result<Dataset, Box<dyn Error>> {
    // The sequence length does not depend on the data, which is not there yet.
    let draft = DataParams { manifest_root: Hash::ZERO, train_windows: 1, heldout_windows: 1 };
    let seq_len = run_params(PRESET, 1, 0, 1, 1, draft)?.model.seq_len;
    let out = folder.join("dataset");
    data::prepare(&options.data, &out, seq_len, "see data/README.md", |_, _| {})?;
    Ok(Dataset::open(&out, None)?)
}

fn train(row: &Row, run: &RunParams, samples: u32, dataset: &Dataset) -> Result<Measured, Box<dyn Error>> {
    let (started, seed) = (Instant::now(), run.seed);
    let windows = dataset.heldout_windows(HELDOUT_WINDOWS);
    let evaluate = |weights: &[Vec<f32>]| heldout_loss(run, weights, &windows).map(f64::from);
    let mut network = Network::new(run, row.replicas, dataset)?;
    let mut heldout = Vec::new();
    for _ in 0..row.epochs() {
        network.train(samples / row.epochs(), |network| {
            tell(row, seed, samples, &network.losses, started);
            if row.merges == 0 && is_evaluated(samples as usize, network.losses.len()) {
                heldout.push(evaluate(&network.local_weights()?)?);
            }
            Ok(())
        })?;
        if row.merges > 0 {
            heldout = vec![evaluate(&network.merge()?)?];
        }
    }
    let mean = heldout.iter().sum::<f64>() / heldout.len().max(1) as f64;
    eprintln!("seed {seed} {}: held-out loss {mean:.4}", row.name);
    Ok(Measured { row: *row, seed, heldout: mean, staleness: network.staleness() })
}

/// Whether local weights are evaluated once so many samples have a loss: at the end, and every few
/// samples shortly before it.
fn is_evaluated(samples: usize, done: usize) -> bool {
    let left = samples - done;
    left.is_multiple_of(EVALUATION_STEP) && left < EVALUATIONS * EVALUATION_STEP
}

fn tell(row: &Row, seed: u64, samples: u32, losses: &[f32], started: Instant) {
    if losses.len().is_multiple_of(PROGRESS) {
        let recent = &losses[losses.len() - PROGRESS..];
        let mean = recent.iter().sum::<f32>() / PROGRESS as f32;
        let (name, seconds) = (row.name, started.elapsed().as_secs());
        eprintln!("seed {seed} {name}: {} of {samples} samples, loss {mean:.3}, {seconds} s", losses.len());
    }
}

fn write(options: &Options, text: &str) -> Result<(), Box<dyn Error>> {
    if let Some(folder) = options.out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&options.out, text).map_err(|error| format!("{}: {error}", options.out.display()).into())
}
