//! The sides that are timed, each in processes of its own that end with the measurement.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use iota_compute::layout::StageLayout;
use iota_compute::outer::OuterState;
use iota_compute::{SampleKey, StageInput, StageTrainer};
use iota_protocol::ids::{Attempt, Sample, Stage};
use iota_worker::segment::sample_tokens;
use serde_json::{json, Value};

use crate::process::{say, Process};
use crate::setting::{self, samples, SAMPLES_PER_STEP, TIMED, WARM_UP};
use crate::worker::Spent;

/// Threads of the machine, which every side shares among its processes.
pub const THREADS: u32 = 2;

/// What is timed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Our stages: the miner's processes, one thread each.
    Stages(u16),
    /// Our trainer on the whole model: no network, no journal.
    Whole,
    /// `torch.distributed.pipelining`, one thread for each process.
    TorchStages(u16),
    /// PyTorch on the whole model.
    TorchWhole,
}

/// One measurement.
pub struct Measured {
    /// Tokens per second.
    pub rate: f64,
    /// What our workers spent, in the order of the stages.
    pub spent: Vec<Spent>,
}

impl Side {
    /// Its name in the report.
    pub fn name(self) -> String {
        match self {
            Self::Stages(stages) => format!("ours, {stages} stages"),
            Self::Whole => "ours, one process".into(),
            Self::TorchStages(stages) => format!("PyTorch, {stages} stages"),
            Self::TorchWhole => "PyTorch, one process".into(),
        }
    }

    /// Processes and the threads of each.
    pub fn processes(self) -> (u16, u32) {
        match self {
            Self::Stages(stages) | Self::TorchStages(stages) => (stages, 1),
            Self::Whole | Self::TorchWhole => (1, THREADS),
        }
    }

    /// Times it once.
    ///
    /// # Errors
    /// When one of its processes fails.
    pub fn measure(self, folder: &Path, python: &Path) -> anyhow::Result<Measured> {
        match self {
            Self::Stages(stages) => ours(folder, stages),
            Self::Whole => rate_of(&mut ourselves(folder, 1, "whole")?),
            Self::TorchStages(stages) => rate_of(&mut torch(python, stages, 1)?),
            Self::TorchWhole => rate_of(&mut torch(python, 1, THREADS)?),
        }
    }
}

/// Tokens of the samples that are timed.
fn timed_tokens(folder: &Path) -> anyhow::Result<f64> {
    let run = setting::run(1, setting::dataset(folder)?.data_params())?;
    Ok(f64::from(samples(TIMED)) * f64::from(run.tokens_per_sample()))
}

fn ours(folder: &Path, stages: u16) -> anyhow::Result<Measured> {
    let mut workers = Vec::new();
    for stage in 0..stages {
        workers.push(Process::start(&mut ourselves(folder, stages, &format!("stage-{stage}"))?)?);
    }
    let mut addresses = Vec::new();
    for worker in &mut workers {
        let opened: Vec<String> = worker.hear()?;
        addresses.push(opened.into_iter().next().context("a worker listens nowhere")?);
    }
    workers.iter_mut().try_for_each(|worker| worker.say(&addresses))?;
    for worker in &mut workers {
        let _ready: String = worker.hear()?;
    }
    // The first stage last: whom it sends to is listening.
    workers.iter_mut().rev().try_for_each(|worker| worker.say(&"go"))?;
    let spent: Vec<Spent> = workers.iter_mut().map(Process::hear).collect::<anyhow::Result<_>>()?;
    workers.iter_mut().try_for_each(|worker| worker.say(&"stop"))?;
    workers.into_iter().try_for_each(Process::finish)?;
    // A sample is done when its gradient is back at the first stage.
    let seconds = spent.first().context("no stage")?.seconds;
    Ok(Measured { rate: timed_tokens(folder)? / seconds, spent })
}

/// This program again, as one of its parts.
fn ourselves(folder: &Path, stages: u16, part: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--part").arg(part).arg("--stages").arg(stages.to_string()).arg("--folder").arg(folder);
    Ok(command)
}

/// Our trainer alone, in this process; says its rate.
///
/// # Errors
/// When a pass fails.
pub fn whole(folder: &Path) -> anyhow::Result<()> {
    let dataset = setting::dataset(folder)?;
    let run = setting::run(1, dataset.data_params())?;
    let device = iota_compute::init_runtime(THREADS);
    let state = OuterState::initial(&run, &StageLayout::new(&run, Stage(0))?);
    let mut trainer = StageTrainer::new(&run, Stage(0), &state, device)?;
    let mut start = Instant::now();
    for sample in 0..samples(WARM_UP + TIMED) {
        if sample == samples(WARM_UP) {
            start = Instant::now();
        }
        let key = SampleKey { sample: Sample(sample), attempt: Attempt(0) };
        let (inputs, targets) = sample_tokens(&dataset, &run, 0, key.sample)?;
        trainer.forward(key, StageInput::Tokens(&inputs), Some(&targets))?;
        trainer.step_if_due(0)?;
    }
    say(&json!({ "tokens_per_second": timed_tokens(folder)? / start.elapsed().as_secs_f64() }))
}

/// PyTorch's side.
fn torch(python: &Path, stages: u16, threads: u32) -> anyhow::Result<Command> {
    let run = setting::run(
        stages,
        iota_protocol::params::DataParams {
            manifest_root: iota_protocol::ids::Hash::ZERO,
            train_windows: 1_000,
            heldout_windows: 1,
        },
    )?;
    let description = json!({
        "stages": stages,
        "threads": threads,
        "layers": run.stages.iter().map(|stage| stage.layers).collect::<Vec<_>>(),
        "d_model": run.model.d_model,
        "d_ff": run.model.d_ff,
        "n_heads": run.model.n_heads,
        "vocab": run.model.vocab,
        "seq_len": run.model.seq_len,
        "windows": run.train.windows_per_sample,
        "microbatches": SAMPLES_PER_STEP,
        "warm_up": WARM_UP,
        "timed": TIMED,
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pipeline/pipeline.py");
    let mut command = Command::new(python);
    // Its PyTorch brings a libtorch of its own.
    command.arg(script).arg(description.to_string()).env_remove("LD_LIBRARY_PATH");
    Ok(command)
}

/// A process that says its rate and ends.
fn rate_of(command: &mut Command) -> anyhow::Result<Measured> {
    let mut process = Process::start(command)?;
    let answer: Value = process.hear()?;
    let rate = answer["tokens_per_second"].as_f64().with_context(|| format!("no rate in {answer}"))?;
    process.finish()?;
    Ok(Measured { rate, spent: Vec::new() })
}
