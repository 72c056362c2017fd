//! How far honest machines lie apart, and how far cheats lie from them: the same segments replayed
//! under every instruction set and thread count at hand. Writes `docs/results/audit.md`, from which
//! the bounds in `iota_compute::tolerance` come.

mod cheats;
mod report;
mod segments;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use codec::{Decode, Encode};
use iota_compute::data::{self, Dataset};
use iota_compute::presets::{run_params, with_boundary};
use iota_compute::{init_runtime, tolerance};
use iota_protocol::params::RunParams;

use cheats::{Cheat, CHEATS};
use segments::{play, record, Played, Segment};

/// Replays segments of an honest run on every machine that this one can be, and on cheats.
#[derive(Parser)]
#[command(name = "scripts/bench audit")]
struct Options {
    /// Samples whose segments are replayed, three stages each: the first steps of an epoch, in which
    /// AdamW has no history, and later ones.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1, 2, 3, 4, 8, 9, 16, 17, 32, 33, 64, 65])]
    samples: Vec<u32>,
    /// Widths of the stream; multiples of 32. Each is a model of its own.
    #[arg(long, value_delimiter = ',', default_values_t = [128, 256])]
    d_model: Vec<u32>,
    /// Text to train on (any UTF-8 file).
    #[arg(long, default_value = "data/shakespeare.txt")]
    data: PathBuf,
    /// Page to write.
    #[arg(long, default_value = "docs/results/audit.md")]
    out: PathBuf,
    /// Replay the segments of this file, as one of the machines.
    #[arg(long, hide = true)]
    child: Option<PathBuf>,
    /// Threads of the child.
    #[arg(long, default_value_t = 1, hide = true)]
    threads: u32,
    /// Date that the page carries.
    #[arg(long, default_value = "not stated", hide = true)]
    date: String,
}

/// A way of computing that this processor has.
pub struct Machine {
    /// For the table.
    pub name: &'static str,
    threads: u32,
    environment: &'static [(&'static str, &'static str)],
}

/// The first is the reference: what libtorch chooses by itself with one thread.
pub const MACHINES: [Machine; 5] = [
    Machine { name: "as libtorch chooses, 1 thread", threads: 1, environment: &[] },
    Machine { name: "as libtorch chooses, 2 threads", threads: 2, environment: &[] },
    Machine {
        name: "AVX2, 1 thread",
        threads: 1,
        environment: &[
            ("ATEN_CPU_CAPABILITY", "avx2"),
            ("ONEDNN_MAX_CPU_ISA", "AVX2"),
            ("MKL_ENABLE_INSTRUCTIONS", "AVX2"),
        ],
    },
    Machine {
        name: "AVX2, 2 threads",
        threads: 2,
        environment: &[
            ("ATEN_CPU_CAPABILITY", "avx2"),
            ("ONEDNN_MAX_CPU_ISA", "AVX2"),
            ("MKL_ENABLE_INSTRUCTIONS", "AVX2"),
        ],
    },
    Machine {
        name: "SSE4.2, 1 thread",
        threads: 1,
        environment: &[
            ("ATEN_CPU_CAPABILITY", "default"),
            ("ONEDNN_MAX_CPU_ISA", "SSE41"),
            ("MKL_ENABLE_INSTRUCTIONS", "SSE4_2"),
        ],
    },
];

/// What is handed to a child.
#[derive(Encode, Decode)]
struct Work {
    run: RunParams,
    segments: Vec<Segment>,
}

/// Distances of one segment by check; `None` where the check has nothing to look at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Distances {
    /// Codes sent up.
    pub forward: Option<f64>,
    /// Gradient sent down.
    pub backward: Option<f64>,
    /// Loss.
    pub loss: Option<f64>,
    /// Update of the weights and the moments after it, whichever is farther.
    pub update: Option<f64>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.child {
        Some(work) => child(work, options.threads),
        None => measure(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn child(work: &Path, threads: u32) -> Result<(), Box<dyn Error>> {
    init_runtime(threads);
    let Work { run, segments } = Work::decode(&mut std::fs::read(work)?.as_slice())?;
    let played: Vec<Played> = segments.iter().map(|segment| play(&run, segment)).collect::<Result<_, _>>()?;
    Ok(std::fs::write(work.with_extension("played"), played.encode())?)
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    init_runtime(1);
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("dataset");
    data::prepare(&options.data, &out, 128, "see data/README.md", |_, _| {})?;
    let dataset = Dataset::open(&out, None)?;
    let mut results = report::Results::default();
    for d_model in &options.d_model {
        println!("d {d_model}: recording {} samples", options.samples.len());
        let run = params(*d_model, &dataset)?;
        let segments = record(&run, &dataset, &options.samples)?;
        let work = folder.path().join(format!("work-{d_model}"));
        std::fs::write(&work, Work { run: run.clone(), segments: segments.clone() }.encode())?;
        let mut machines = Vec::new();
        for machine in &MACHINES {
            println!("d {d_model}: {}", machine.name);
            machines.push(replay_on(machine, &work)?);
        }
        honest(&run, *d_model, &segments, &machines, &mut results)?;
        println!("d {d_model}: cheats");
        dishonest(&run, &segments, &machines, &mut results)?;
    }
    report::write(&options.out, &results, &options.date)?;
    println!("wrote {}", options.out.display());
    Ok(())
}

/// The preset's proportions at another width, as in `scripts/bench compression`.
fn params(d_model: u32, dataset: &Dataset) -> Result<RunParams, Box<dyn Error>> {
    let mut run = run_params("tiny", 3, 0, 1, 1, dataset.data_params())?;
    run.model.d_ff = run.model.d_ff * d_model / run.model.d_model;
    run.model.n_heads = u16::try_from(d_model / 32)?;
    run.model.n_kv_heads = run.model.n_heads;
    run.model.d_model = d_model;
    Ok(with_boundary(&run, d_model / 8, run.train.wire)?)
}

fn replay_on(machine: &Machine, work: &Path) -> Result<Vec<Played>, Box<dyn Error>> {
    let status = Command::new(std::env::current_exe()?)
        .arg("--child")
        .arg(work)
        .args(["--threads", &machine.threads.to_string()])
        .envs(machine.environment.iter().copied())
        .status()?;
    if !status.success() {
        return Err(format!("the replay '{}' failed: {status}", machine.name).into());
    }
    Ok(Vec::<Played>::decode(&mut std::fs::read(work.with_extension("played"))?.as_slice())?)
}

fn distances(
    run: &RunParams,
    segment: &Segment,
    mine: &Played,
    theirs: &Played,
) -> Result<Distances, Box<dyn Error>> {
    let codes = |mine: &[u8], theirs: &[u8]| -> Result<Option<f64>, Box<dyn Error>> {
        if mine.is_empty() {
            return Ok(None);
        }
        Ok(Some(tolerance::codes_distance(run, mine, theirs)?))
    };
    Ok(Distances {
        forward: codes(&mine.forward, &theirs.forward)?,
        backward: codes(&mine.backward, &theirs.backward)?,
        loss: mine.loss().zip(theirs.loss()).map(|(mine, theirs)| tolerance::loss_distance(mine, theirs)),
        update: Some(tolerance::state_distance(&segment.state, &mine.state, &theirs.state)),
    })
}

/// Every pair of machines on every segment.
fn honest(
    run: &RunParams,
    d_model: u32,
    segments: &[Segment],
    machines: &[Vec<Played>],
    results: &mut report::Results,
) -> Result<(), Box<dyn Error>> {
    for (auditor, mine) in machines.iter().enumerate() {
        for (miner, theirs) in machines.iter().enumerate().filter(|(miner, _)| *miner != auditor) {
            for (segment, (mine, theirs)) in segments.iter().zip(mine.iter().zip(theirs)) {
                let distances = distances(run, segment, mine, theirs)?;
                results.honest.push(report::Honest {
                    d_model,
                    auditor,
                    miner,
                    sample: segment.sample,
                    distances,
                });
            }
        }
    }
    Ok(())
}

/// Each cheat as the reference machine would claim it, audited by every machine.
fn dishonest(
    run: &RunParams,
    segments: &[Segment],
    machines: &[Vec<Played>],
    results: &mut report::Results,
) -> Result<(), Box<dyn Error>> {
    let Some(reference) = machines.first() else { return Ok(()) };
    let stages = usize::from(run.n_stages());
    for cheat in CHEATS {
        for (place, segment) in segments.iter().enumerate() {
            let before = place.checked_sub(stages).and_then(|before| reference.get(before));
            let Some(claim) = cheat.claim(run, segment, &reference[place], before)? else { continue };
            for mine in machines {
                results.cheats.push((cheat, distances(run, segment, &mine[place], &claim)?));
            }
        }
    }
    Ok(())
}

/// Whether an audit lets these pass.
pub fn passes(distances: &Distances) -> bool {
    let within = |distance: Option<f64>, bound: f64| distance.is_none_or(|distance| distance <= bound);
    within(distances.forward, tolerance::CODES)
        && within(distances.backward, tolerance::CODES)
        && within(distances.loss, tolerance::LOSS)
        && within(distances.update, tolerance::UPDATE)
}

/// Used by the report.
pub type CheatResult = (Cheat, Distances);
