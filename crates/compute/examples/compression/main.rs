//! Trains one model on the same samples under every boundary, and writes down what each costs in loss
//! and saves in bytes. Run it with `scripts/bench compression`; a run that was cut short goes on with
//! the rows that are missing.

mod report;
mod rows;
mod train;

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use iota_compute::data::{self, Dataset};
use iota_compute::init_runtime;
use serde::{Deserialize, Serialize};

use rows::{Row, ROWS};
use train::Outcome;

/// Trains one model under every boundary and compares loss, bytes and time.
#[derive(Parser)]
#[command(name = "scripts/bench compression")]
struct Options {
    /// Width of the residual stream; a multiple of 32.
    #[arg(long, default_value_t = 256)]
    d_model: u32,
    /// Training samples of each row, 512 tokens each. At d 256 a row of 600 takes three minutes of a processor.
    #[arg(long, default_value_t = 600)]
    samples: u32,
    /// Seeds of the rows at 1x and 64x, counted from 0; the others have one. Each gives other initial weights and
    /// another order of the data.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Only these rows, separated by commas; all when absent.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Text to train on (any UTF-8 file).
    #[arg(long, default_value = "data/shakespeare.txt")]
    data: PathBuf,
    /// Where finished rows are kept, one a line; delete it to start anew.
    #[arg(long, env = "IOTA_BENCH_STATE")]
    state: PathBuf,
    /// Report to write.
    #[arg(long, default_value = "docs/results/compression.md")]
    out: PathBuf,
    /// Date that the report carries.
    #[arg(long, default_value = "not stated", hide = true)]
    date: String,
}

/// Form of the model and of its training: rows that were kept under another are measured anew. 2: the
/// bottleneck's tokens leave equally large.
const FORM: u32 = 2;

/// A finished row, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    #[serde(default)]
    form: u32,
    row: String,
    seed: u64,
    d_model: u32,
    samples: u32,
    outcome: Outcome,
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
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("dataset");
    data::prepare(&options.data, &out, 128, "see data/README.md", |_, _| {})?;
    let dataset = Dataset::open(&out, None)?;
    let mut measured = finished(options)?;
    for seed in 0..options.seeds {
        for row in chosen(&options.rows)? {
            let known = measured.iter().any(|one| one.row == row.name && one.seed == seed);
            if known || seed >= row.seeds(options.seeds) {
                continue;
            }
            let one = run_row(options, &row, seed, &dataset)?;
            let mut state = OpenOptions::new().create(true).append(true).open(&options.state)?;
            writeln!(state, "{}", serde_json::to_string(&one)?)?;
            measured.push(one);
            report::write(options, &measured, &dataset)?;
        }
    }
    print!("{}", report::write(options, &measured, &dataset)?);
    Ok(())
}

fn run_row(options: &Options, row: &Row, seed: u64, data: &Dataset) -> Result<Measured, Box<dyn Error>> {
    let start = Instant::now();
    let run = row.params(options.d_model, seed, data.data_params())?;
    let outcome = train::train(&run, options.samples, data)?;
    eprintln!("seed {seed} {}: held-out {:.4}, {} s", row.name, outcome.heldout, start.elapsed().as_secs());
    Ok(Measured {
        form: FORM,
        row: row.name.to_owned(),
        seed,
        d_model: options.d_model,
        samples: options.samples,
        outcome,
    })
}

/// Rows of this setting that an earlier call finished.
fn finished(options: &Options) -> Result<Vec<Measured>, Box<dyn Error>> {
    if let Some(folder) = options.state.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let text = match std::fs::read_to_string(&options.state) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text?,
    };
    // A line that was cut short is measured again.
    let all = text.lines().filter_map(|line| serde_json::from_str::<Measured>(line).ok());
    let fits =
        |one: &Measured| (one.form, one.d_model, one.samples) == (FORM, options.d_model, options.samples);
    Ok(all.filter(fits).collect())
}

fn chosen(names: &[String]) -> Result<Vec<Row>, Box<dyn Error>> {
    let known = || ROWS.map(|row| row.name).join(", ");
    match names.iter().find(|name| ROWS.iter().all(|row| row.name != *name)) {
        Some(name) => Err(format!("--rows {name}: unknown row; known are {}", known()).into()),
        None => Ok(ROWS
            .into_iter()
            .filter(|row| names.is_empty() || names.iter().any(|name| name == row.name))
            .collect()),
    }
}
