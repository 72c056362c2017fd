//! A pipeline of our miners' processes against `torch.distributed.pipelining` and against one process, in
//! turn on one machine. Run it with `scripts/bench pipeline`.

mod made_up;
mod process;
mod report;
mod setting;
mod sides;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use self::report::Row;
use self::sides::Side;

/// Times pipelines of one, two and three stages.
#[derive(Parser)]
#[command(name = "scripts/bench pipeline")]
struct Options {
    /// Times that every side is measured, in turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// What else the machine did, for the report.
    #[arg(long, default_value = "nothing else was started by us")]
    beside: String,
    /// Report to write.
    #[arg(long, default_value = "docs/results/pipeline.md")]
    out: PathBuf,
    /// Date that the report carries.
    #[arg(long, default_value = "not stated", hide = true)]
    date: String,
    /// Be one of the measurement's own processes.
    #[arg(long, hide = true, requires = "folder")]
    part: Option<String>,
    /// Stages of the pipeline that the process is in.
    #[arg(long, hide = true, default_value_t = 1)]
    stages: u16,
    /// Folder of the measurement.
    #[arg(long, hide = true)]
    folder: Option<PathBuf>,
}

/// All sides, in the order of a round.
const SIDES: [Side; 7] = [
    Side::Whole,
    Side::TorchWhole,
    Side::Stages(1),
    Side::Stages(2),
    Side::TorchStages(2),
    Side::Stages(3),
    Side::TorchStages(3),
];

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match (&options.part, &options.folder) {
        (Some(part), Some(folder)) => play(part, options.stages, folder),
        _ => measure(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play(part: &str, stages: u16, folder: &std::path::Path) -> anyhow::Result<()> {
    match part.strip_prefix("stage-") {
        Some(stage) => worker::run(folder, stages, stage.parse()?),
        None => sides::whole(folder),
    }
}

fn measure(options: &Options) -> anyhow::Result<()> {
    let python = std::env::var_os("IOTA_BENCH_PYTHON").map(PathBuf::from);
    let python = python.context("IOTA_BENCH_PYTHON is not set; run this with scripts/bench pipeline")?;
    let folder = tempfile::tempdir()?;
    setting::prepare(folder.path())?;
    let mut rows: Vec<Row> = SIDES.into_iter().map(Row::new).collect();
    for round in 1..=options.rounds {
        for row in &mut rows {
            let measured = row.side.measure(folder.path(), &python)?;
            eprintln!("round {round}: {}: {:.0} tokens/s", row.side.name(), measured.rate);
            row.add(measured);
        }
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown").to_owned();
    let setting = report::Setting {
        rounds: options.rounds,
        date: options.date.clone(),
        load,
        beside: options.beside.clone(),
    };
    let text = report::render(&setting, &rows);
    std::fs::write(&options.out, &text).with_context(|| format!("writing {}", options.out.display()))?;
    print!("{text}");
    Ok(())
}
