//! Measures what the code of merged updates, error feedback and kept inner moments do to the loss over many
//! merges, and writes the numbers down. Run it with `scripts/bench merge-codecs`.

mod report;
mod rule;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use iota_compute::data::{self, Dataset};
use iota_compute::evaluate::heldout_loss;
use iota_compute::layout::StageLayout;
use iota_compute::outer::OuterState;
use iota_compute::presets::run_params;
use iota_compute::{init_runtime, Device, SampleKey, StageInput, StageTrainer};
use iota_protocol::ids::{Attempt, Hash, Sample, Stage};
use iota_protocol::params::{DataParams, RunParams};
use iota_protocol::position;

use report::{Measured, Setting};
use rule::{coded, merged};

/// Held-out windows that every row is measured on.
const HELDOUT_WINDOWS: usize = 128;
/// Merges between two evaluations.
const EVALUATE_EVERY: u32 = 5;

/// Trains replicas of one stage on the same samples and merges them with different codes.
#[derive(Parser)]
#[command(name = "scripts/bench merge-codecs")]
struct Options {
    /// Model: nano or tiny, as one stage.
    #[arg(long, default_value = "tiny")]
    preset: String,
    /// Replicas.
    #[arg(long, default_value_t = 4)]
    replicas: u32,
    /// Merges of each row.
    #[arg(long, default_value_t = 20)]
    merges: u32,
    /// Samples of each replica between two merges.
    #[arg(long, default_value_t = 12)]
    samples: u32,
    /// Seeds, counted from 0; each gives other initial weights and another order of the data.
    #[arg(long, default_value_t = 2)]
    seeds: u64,
    /// Text to train on (any UTF-8 file).
    #[arg(long, default_value = "data/shakespeare.txt")]
    data: PathBuf,
    /// What else the machine did, for the report.
    #[arg(long, default_value = "nothing else was started by us")]
    beside: String,
    /// Report to write.
    #[arg(long, default_value = "docs/results/merge-codecs.md")]
    out: PathBuf,
    /// Date that the report carries.
    #[arg(long, default_value = "not stated", hide = true)]
    date: String,
}

/// One way to merge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Largest magnitude of a code; none for fp32 as it is.
    pub most: Option<u8>,
    /// Whether what a code leaves out of an update is added to the next.
    pub feedback: bool,
    /// Whether the inner optimizer's moments go on after a merge, or start from zero.
    pub kept: bool,
}

/// All rows: the code, without and with error feedback; moments reset, as the presets have it, and kept.
fn rows() -> Vec<Row> {
    let codes = [(None, false), (Some(127), false), (Some(127), true), (Some(7), false), (Some(7), true)];
    let row = |kept| codes.map(|(most, feedback)| Row { most, feedback, kept });
    [row(false), row(true)].concat()
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
    if [options.replicas, options.merges, options.samples].contains(&0) || options.seeds == 0 {
        return Err("--replicas, --merges, --samples and --seeds must be at least 1".into());
    }
    let folder = tempfile::tempdir()?;
    let dataset = prepare(options, folder.path())?;
    let setting = Setting {
        preset: options.preset.clone(),
        replicas: options.replicas,
        merges: options.merges,
        samples: options.samples,
        seeds: options.seeds,
        windows: HELDOUT_WINDOWS,
        bigram: dataset.bigram_entropy(),
        date: options.date.clone(),
        beside: options.beside.clone(),
    };
    let mut measured = Vec::new();
    for seed in 0..options.seeds {
        for row in rows() {
            let began = Instant::now();
            let losses = train(options, row, seed, &dataset)?;
            eprintln!("seed {seed} {row:?}: {losses:.4?}, {} s", began.elapsed().as_secs());
            measured.push(Measured { row, seed, losses });
            // After every row: a run that is cut short leaves what it has.
            write(&options.out, &report::render(&setting, &measured))?;
        }
    }
    print!("{}", report::render(&setting, &measured));
    eprintln!("written to {}", options.out.display());
    Ok(())
}

fn prepare(options: &Options, folder: &Path) -> Result<Dataset, Box<dyn Error>> {
    // The sequence length does not depend on the data, which is not there yet.
    let draft = DataParams { manifest_root: Hash::ZERO, train_windows: 1, heldout_windows: 1 };
    let seq_len = run_params(&options.preset, 1, 0, 1, 1, draft)?.model.seq_len;
    let out = folder.join("dataset");
    data::prepare(&options.data, &out, seq_len, "see data/README.md", |_, _| {})?;
    Ok(Dataset::open(&out, None)?)
}

/// One replica and what its code has left out so far.
struct Replica {
    trainer: StageTrainer,
    left_out: Vec<f32>,
}

/// Held-out losses of the merged weights, every few merges and at the end.
fn train(options: &Options, row: Row, seed: u64, data: &Dataset) -> Result<Vec<f64>, Box<dyn Error>> {
    let group = u16::try_from(options.replicas)?;
    let mut run = run_params(&options.preset, 1, seed, options.merges, group, data.data_params())?;
    run.train.keep_moments = row.kept;
    let mut outer = OuterState::initial(&run, &StageLayout::new(&run, Stage(0))?);
    let replica = |_| {
        let trainer = StageTrainer::new(&run, Stage(0), &outer, Device::Cpu)?;
        Ok(Replica { trainer, left_out: vec![0.0; outer.weights.len()] })
    };
    let mut replicas = (0..options.replicas).map(replica).collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let windows = data.heldout_windows(HELDOUT_WINDOWS);
    let (mut first, mut losses) = (0, Vec::new());
    for merge in 1..=options.merges {
        let mut updates = Vec::new();
        for replica in &mut replicas {
            updates.push(replica.epoch(&run, first, options.samples, data, &outer, row)?);
            first += options.samples;
        }
        let tokens = u64::from(first) * u64::from(run.tokens_per_sample());
        let values = merged(&updates);
        // The result goes over the wire in the same code.
        let values = row.most.map_or(values.clone(), |most| coded(&values, most));
        outer.apply(0..values.len(), &values, &run.merge)?;
        outer.finish(tokens);
        replicas.iter_mut().try_for_each(|replica| replica.trainer.begin_epoch(&outer))?;
        if merge % EVALUATE_EVERY == 0 || merge == options.merges {
            losses.push(f64::from(heldout_loss(&run, &[outer.weights.clone()], &windows)?));
        }
    }
    Ok(losses)
}

impl Replica {
    /// Trains its samples; what it then gives to the merge, as the others read it.
    fn epoch(
        &mut self,
        run: &RunParams,
        first: u32,
        samples: u32,
        data: &Dataset,
        outer: &OuterState,
        row: Row,
    ) -> Result<Vec<f32>, Box<dyn Error>> {
        for sample in (first..first + samples).map(Sample) {
            let (mut inputs, mut targets) = (Vec::new(), Vec::new());
            for index in position::sample_windows(run, 0, sample) {
                let window = data.train_window(index)?;
                inputs.extend_from_slice(&window[..window.len() - 1]);
                targets.extend_from_slice(&window[1..]);
            }
            let key = SampleKey { sample, attempt: Attempt(0) };
            self.trainer.forward(key, StageInput::Tokens(&inputs), Some(&targets))?;
            self.trainer.step_if_due(outer.tokens)?;
        }
        self.trainer.step_rest(outer.tokens)?;
        let local = self.trainer.weights()?;
        let update: Vec<f32> = outer
            .weights
            .iter()
            .zip(&local)
            .zip(&self.left_out)
            .map(|((start, local), left_out)| start - local + left_out)
            .collect();
        let Some(most) = row.most else { return Ok(update) };
        let given = coded(&update, most);
        if row.feedback {
            self.left_out = update.iter().zip(&given).map(|(update, given)| update - given).collect();
        }
        Ok(given)
    }
}

fn write(out: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(out, text).map_err(|error| format!("{}: {error}", out.display()).into())
}
