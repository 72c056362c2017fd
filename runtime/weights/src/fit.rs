//! From measurements to a weight that is linear in each component.

use std::fmt;

use anyhow::Context;
use polkadot_sdk::frame_benchmarking::{Analysis, BenchmarkResult, BenchmarkSelector};

use crate::bench::{Benchmark, Owner, Points};

/// A base and one slope for each component.
pub struct Line {
    pub base: u128,
    pub slopes: Vec<u128>,
}

/// What one call or part of a hook costs.
pub struct Model {
    pub owner: Owner,
    pub name: String,
    /// Names of the components with least and greatest value.
    pub components: Vec<(String, u32, u32)>,
    /// Picoseconds.
    pub time: Line,
    pub reads: Line,
    pub writes: Line,
    /// Bytes.
    pub proof: Line,
    /// Least and greatest time that was measured natively, nanoseconds.
    pub measured: (u128, u128),
}

/// Fits all that a weight is made of; times are multiplied by `permille` thousandths.
pub fn fit(benchmark: &Benchmark, points: &Points, permille: u128) -> anyhow::Result<Model> {
    let line = |results: &Vec<BenchmarkResult>, of: BenchmarkSelector| -> anyhow::Result<Line> {
        let analysis = Analysis::min_squares_iqr(results, of)
            .with_context(|| format!("benchmark {}: no line fits", benchmark.name))?;
        Ok(ordered(benchmark, &analysis))
    };
    let times = || points.times.iter().map(|result| result.extrinsic_time);
    Ok(Model {
        owner: benchmark.owner,
        name: benchmark.name.clone(),
        components: benchmark
            .components
            .iter()
            .map(|(name, low, high)| (name.to_string(), *low, *high))
            .collect(),
        time: line(&points.times, BenchmarkSelector::ExtrinsicTime)?.times(permille),
        reads: line(&points.counts, BenchmarkSelector::Reads)?,
        writes: line(&points.counts, BenchmarkSelector::Writes)?,
        proof: line(&points.counts, BenchmarkSelector::ProofSize)?,
        measured: (times().min().unwrap_or(0), times().max().unwrap_or(0)),
    })
}

/// The slopes of an analysis in the order of the benchmark's components.
fn ordered(benchmark: &Benchmark, analysis: &Analysis) -> Line {
    let slope = |name: String| {
        let at = analysis.names.iter().position(|own| *own == name);
        at.and_then(|at| analysis.slopes.get(at)).copied().unwrap_or(0)
    };
    let slopes = benchmark.components.iter().map(|(name, _, _)| slope(name.to_string())).collect();
    Line { base: analysis.base, slopes }
}

impl Line {
    fn times(self, permille: u128) -> Self {
        let times = |value: u128| (value * permille).div_ceil(1_000);
        Self { base: times(self.base), slopes: self.slopes.into_iter().map(times).collect() }
    }

    fn show(&self, out: &mut fmt::Formatter<'_>, model: &Model) -> fmt::Result {
        write!(out, "{}", self.base)?;
        for ((name, _, _), slope) in
            model.components.iter().zip(&self.slopes).filter(|(_, slope)| **slope > 0)
        {
            write!(out, " + {slope} {name}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Model {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:<24} ps ", self.name)?;
        self.time.show(out, self)?;
        write!(out, "; reads ")?;
        self.reads.show(out, self)?;
        write!(out, "; writes ")?;
        self.writes.show(out, self)?;
        write!(out, "; measured {} to {} ns", self.measured.0, self.measured.1)
    }
}
