//! Measures what calls and hooks of `pallet-iota`, and calls of governance and faucet, cost, and writes the weights.
//!
//! `scripts/weights` runs it. `frame-benchmarking` brings the benchmarks, the state that counts reads and
//! writes, and the regression; here are the loop over components and the file. The benchmarks run
//! natively, and their times are multiplied by what the same block takes longer in wasm. That stands in
//! for `frame-benchmarking-cli`, which runs them in wasm: it would build all of FRAME a second time with
//! another feature, natively and in wasm, a second test runtime, an older subxt and the parachain crates.

mod bench;
#[cfg(test)]
mod blob;
mod clock;
mod factor;
mod fit;
mod own;
mod state;
mod write;

use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::Context;
use clap::Parser;

/// Runs the benchmarks of the runtime and writes the weights.
#[derive(Parser)]
struct Options {
    /// The runtime's blob, as a node executes it.
    #[arg(long)]
    blob: PathBuf,
    /// Values of each component, from its least to its greatest.
    #[arg(long, default_value_t = 6)]
    steps: u32,
    /// Measurements at each value.
    #[arg(long, default_value_t = 5)]
    repeats: u32,
    /// Only this benchmark, and nothing is written.
    #[arg(long)]
    only: Option<String>,
    /// The file to write.
    #[arg(long)]
    output: PathBuf,
    /// Benchmarks measured at the same time, each by a thread and by that thread's time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Lines for the file's header: machine, date, command.
    #[arg(long)]
    header: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    anyhow::ensure!(options.steps >= 2, "--steps: a slope needs two values, got {}", options.steps);
    let blob = std::fs::read(&options.blob)
        .with_context(|| format!("cannot read the blob {}", options.blob.display()))?;
    let factor = factor::measure(&blob, options.repeats)?;
    println!("close of 48 miners and 16 validators: native {:?}, in wasm {:?}", factor.native, factor.wasm);
    let models = measure_all(&options, factor.permille())?;
    if options.only.is_some() {
        return Ok(());
    }
    let text = write::file(&models, &factor, (options.steps, options.repeats), &options.header);
    std::fs::write(&options.output, text)
        .with_context(|| format!("cannot write {}", options.output.display()))
}

/// Models of all benchmarks that were asked for, in their order.
fn measure_all(options: &Options, permille: u128) -> anyhow::Result<Vec<fit::Model>> {
    let genesis = state::after(|| ())?;
    let all: Vec<bench::Benchmark> = bench::Bench::list()
        .into_iter()
        .filter(|benchmark| options.only.as_ref().is_none_or(|only| *only == benchmark.name))
        .collect();
    let next = AtomicUsize::new(0);
    let work = || -> anyhow::Result<Vec<(usize, fit::Model)>> {
        let bench = bench::Bench::new(&genesis)?;
        let mut models = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(benchmark) = all.get(at) else { return Ok(models) };
            let points = bench.run(benchmark, options.steps, options.repeats)?;
            let model = fit::fit(benchmark, &points, permille)?;
            println!("{model}");
            models.push((at, model));
        }
    };
    let done: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    let mut models = Vec::new();
    for part in done {
        models.extend(part.map_err(|_| anyhow::anyhow!("a benchmark panicked; its message is above"))??);
    }
    models.sort_by_key(|(at, _)| *at);
    Ok(models.into_iter().map(|(_, model)| model).collect())
}
