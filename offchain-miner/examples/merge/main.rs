//! A merge among processes against hivemind's averager, against its own bytes without any meaning, and
//! beside gloo, in turn on one machine. Run it with `scripts/bench merge`.

#[path = "../pipeline/made_up.rs"]
mod made_up;
mod member;
#[path = "../pipeline/process.rs"]
mod process;
mod raw;
mod report;
mod sides;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use self::member::Size;
use self::report::Row;

/// Times merges.
#[derive(Parser)]
#[command(name = "scripts/bench merge")]
struct Options {
    /// Merges of each size and side; the first of them warms up and is not counted.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..))]
    rounds: u32,
    /// Members.
    #[arg(long, value_delimiter = ',', default_values_t = [2, 4, 8])]
    members: Vec<u16>,
    /// Megabytes of the parameters as fp32.
    #[arg(long, value_delimiter = ',', default_values_t = [4, 32, 128])]
    megabytes: Vec<u32>,
    /// Members whose bytes are counted and not timed, at 4 MB.
    #[arg(long, value_delimiter = ',', default_values_t = [16, 32])]
    counted: Vec<u16>,
    /// Our side only, without hivemind and gloo: shows where the time goes and writes no report.
    #[arg(long)]
    alone: bool,
    /// What else the machine did, for the report.
    #[arg(long, default_value = "nothing else was started by us")]
    beside: String,
    /// Report to write.
    #[arg(long, default_value = "docs/results/merge.md")]
    out: PathBuf,
    /// Date that the report carries.
    #[arg(long, default_value = "not stated", hide = true)]
    date: String,
    /// Be a member of the measurement.
    #[arg(long, hide = true, requires = "folder")]
    part: Option<u16>,
    /// Folder of the measurement.
    #[arg(long, hide = true)]
    folder: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match (options.part, &options.folder) {
        (Some(uid), Some(folder)) => play(&options, uid, folder),
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

fn play(options: &Options, uid: u16, folder: &std::path::Path) -> anyhow::Result<()> {
    let first = |values: &[u32]| values.first().copied().context("a member needs one size");
    let members = *options.members.first().context("a member needs to know how many there are")?;
    let size = Size { members, megabytes: first(&options.megabytes)? };
    member::run(folder, size, uid, options.rounds)
}

/// Our steps beside the same bytes without meaning.
fn alone(options: &Options) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    println!("members  MB  commit  gather   merge   share    root     raw    disk   (ms, median)");
    for &megabytes in &options.megabytes {
        for &members in &options.members {
            let merges = sides::ours(folder.path(), Size { members, megabytes }, options.rounds)?;
            let median = |part: fn(&sides::Merge) -> f64| {
                let mut times: Vec<f64> = merges.iter().skip(1).map(part).collect();
                times.sort_by(f64::total_cmp);
                times.get(times.len() / 2).map_or(0.0, |seconds| seconds * 1e3)
            };
            let parts = [
                median(|merge| merge.commit),
                median(|merge| merge.gather),
                median(|merge| merge.merge),
                median(|merge| merge.share),
                median(|merge| merge.root),
                median(|merge| merge.raw),
                median(|merge| merge.disk),
            ];
            let parts: Vec<String> = parts.iter().map(|part| format!("{part:7.0}")).collect();
            println!("{members:7} {megabytes:3} {}", parts.join(" "));
        }
    }
    Ok(())
}

fn measure(options: &Options) -> anyhow::Result<()> {
    if options.alone {
        return alone(options);
    }
    let python = |name| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.with_context(|| format!("{name} is not set; run this with scripts/bench merge"))
    };
    let (torch, hivemind) = (python("IOTA_BENCH_PYTHON")?, python("IOTA_BENCH_HIVEMIND")?);
    let folder = tempfile::tempdir()?;
    let mut rows = Vec::new();
    for &megabytes in &options.megabytes {
        for &members in &options.members {
            let size = Size { members, megabytes };
            let ours = sides::ours(folder.path(), size, options.rounds)?;
            let hivemind = sides::averager(&hivemind, "hivemind", size, options.rounds)?;
            let gloo = sides::averager(&torch, "gloo", size, options.rounds)?;
            let row = Row { size, ours, hivemind, gloo };
            eprintln!("{}", row.line()?);
            rows.push(row);
        }
    }
    let mut counted = Vec::new();
    for &members in &options.counted {
        let size = Size { members, megabytes: 4 };
        counted.push((size, sides::ours(folder.path(), size, 2)?));
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let setting = report::Setting {
        rounds: options.rounds,
        date: options.date.clone(),
        load: load.split_whitespace().next().unwrap_or("unknown").to_owned(),
        beside: options.beside.clone(),
    };
    let text = report::render(&setting, &rows, &counted)?;
    std::fs::write(&options.out, &text).with_context(|| format!("writing {}", options.out.display()))?;
    print!("{text}");
    Ok(())
}
