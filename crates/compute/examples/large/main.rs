//! Runs stages of a large preset for a few steps and writes down what they took beside what
//! `iota-miner plan` predicts. Run it with `scripts/bench large`.
//!
//! Every stage has a process of its own, so that its memory is its own. Weights are the run's initial
//! ones; what crosses is noise of the size that a trained stage sees.

mod one;
mod report;

use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use iota_compute::init_runtime;

use one::Measured;
use report::Setting;

/// Runs stages of a large preset.
#[derive(Parser)]
#[command(name = "scripts/bench large")]
struct Options {
    /// Preset.
    #[arg(long, default_value = "1.5b")]
    preset: String,
    /// Stages that it is cut into.
    #[arg(long, default_value_t = 6)]
    stages: u16,
    /// Stages to run, separated by commas: one of the middle and the last, which has the head.
    #[arg(long, value_delimiter = ',', default_value = "1,5")]
    run: Vec<u16>,
    /// Local steps of each, after one of warm-up; a step has as many samples as the preset says.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: u32,
    /// Report to write.
    #[arg(long, default_value = "docs/results/large.md")]
    out: PathBuf,
    /// Date that the report carries.
    #[arg(long, default_value = "not stated", hide = true)]
    date: String,
    /// Runs this stage alone and prints what it took as JSON.
    #[arg(long, hide = true)]
    only: Option<u16>,
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
    if let Some(stage) = options.only {
        let device = init_runtime(options.threads);
        let measured = one::run(&options.preset, options.stages, stage, options.steps, device)?;
        println!("{}", serde_json::to_string(&measured)?);
        return Ok(());
    }
    let load = load_average();
    let mut all = Vec::new();
    for stage in &options.run {
        eprintln!(
            "running stage {stage} of {} for {} steps after one of warm-up",
            options.preset, options.steps
        );
        all.push(alone(options, *stage)?);
    }
    let (run, steps) = (options.run.iter().map(u16::to_string).collect::<Vec<_>>().join(","), options.steps);
    let command = format!(
        "scripts/bench large --preset {} --stages {} --run {run} --steps {steps} --threads {}",
        options.preset, options.stages, options.threads
    );
    let setting = Setting { command, date: options.date.clone(), load, preset: options.preset.clone() };
    let page = report::render(&setting, &all)?;
    std::fs::write(&options.out, &page)?;
    print!("{page}");
    Ok(())
}

/// One stage in a process of its own.
fn alone(options: &Options, stage: u16) -> Result<Measured, Box<dyn Error>> {
    let numbers =
        [("--stages", u32::from(options.stages)), ("--steps", options.steps), ("--threads", options.threads)];
    let numbers = numbers.map(|(name, value)| [name.to_owned(), value.to_string()]);
    let output = Command::new(std::env::current_exe()?)
        .args(["--preset", &options.preset, "--only", &stage.to_string()])
        .args(numbers.iter().flatten())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(
            format!("stage {stage} of {}: the process ended with {}", options.preset, output.status).into()
        );
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}
