//! Measures a stage against PyTorch eager with the same weights, inputs and gradients, step by step in
//! turn on one machine, and writes the ratios down. Run it with `scripts/bench stage`.
//!
//! Both sides use the same libtorch release, kernels, dtype and thread count. Ours is the whole
//! [`iota_compute::StageTrainer`], as a miner runs it: it also decodes and encodes what crosses, hashes
//! it, keeps the event log and takes the root of masters and moments at each step.

mod eager;
mod operators;
mod ours;
mod report;
mod shapes;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use iota_compute::init_runtime;

use eager::Eager;
use ours::Ours;
use report::{Compared, Setting};
use shapes::{Shape, SHAPES};

/// Largest relative difference (L2) between the two sides' weight changes after the warm-up: three
/// digits. Much later the two part: with the same gradient at every step the outputs grow without bound,
/// and rounding grows with them.
const SAME: f64 = 1e-3;

/// Times one stage against PyTorch eager, in turn.
#[derive(Parser)]
#[command(name = "scripts/bench stage")]
struct Options {
    /// Pairs of steps that are timed for each shape.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(6..))]
    pairs: u32,
    /// Steps of each side before the first pair: allocators and caches settle, and the weights after them
    /// are compared.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    warm_up: u32,
    /// Shapes, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "tiny,d256,d512")]
    shapes: Vec<String>,
    /// Python with PyTorch 2.11 and numpy.
    #[arg(long, env = "IOTA_BENCH_PYTHON", hide = true)]
    python: PathBuf,
    /// Library that counts operators.
    #[arg(long, env = "IOTA_BENCH_OPERATORS", hide = true)]
    operators: PathBuf,
    /// Report to write.
    #[arg(long, default_value = "docs/results/stage.md")]
    out: PathBuf,
    /// Date that the report carries.
    #[arg(long, default_value = "not stated", hide = true)]
    date: String,
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
    let mut setting = Setting {
        pairs: options.pairs as usize,
        warm_up: options.warm_up as usize,
        date: options.date.clone(),
        torch: String::new(),
        load: load_average(),
        shapes: options.shapes.join(","),
    };
    let mut compared = Vec::new();
    for name in &options.shapes {
        let known = || SHAPES.map(|shape| shape.name).join(", ");
        let shape = SHAPES.iter().find(|shape| shape.name == name);
        let shape = shape.ok_or_else(|| format!("--shapes {name}: unknown; known are {}", known()))?;
        eprintln!("measuring {name}: {}", shape.what);
        compared.push(compare(shape, options, &mut setting.torch)?);
        std::fs::write(&options.out, report::render(&setting, &compared))?;
    }
    print!("{}", report::render(&setting, &compared));
    Ok(())
}

/// One shape: warm-up, pairs in alternating order, memory, operators, and the proof that both sides
/// computed the same.
fn compare(shape: &Shape, options: &Options, torch: &mut String) -> Result<Compared, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut ours = Ours::new(shape, folder.path())?;
    let mut eager = Eager::start(&options.python, &ours.description(folder.path())?)?;
    *torch = eager.version.clone();
    for _ in 0..options.warm_up {
        ours.step()?;
        eager.step()?;
    }
    let difference = ours.difference(&eager.weights(&folder.path().join("end"))?)?;
    if difference > SAME {
        return Err(
            format!("{}: weight changes differ by {difference:.4}, not the same model", shape.name).into()
        );
    }
    let mut pairs = Vec::new();
    for pair in 0..options.pairs {
        // Each side goes first in half of the pairs.
        pairs.push(if pair % 2 == 0 {
            let first = ours.step()?;
            (first, eager.step()?)
        } else {
            let first = eager.step()?;
            (ours.step()?, first)
        });
    }
    let memory = (ours.peak_bytes()?, eager.peak_bytes()?);
    let predicted = ours.predicted_bytes();
    let operators = (ours.operators(&options.operators)?, eager.operators(&options.operators)?);
    Ok(Compared {
        shape: *shape,
        parameters: ours.parameters(),
        pairs,
        memory,
        predicted,
        operators,
        difference,
    })
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}
