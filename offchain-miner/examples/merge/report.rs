//! The report: seconds, ratios of medians, bytes.

use std::fmt::Write;

use iota_protocol::merge::chunk_len;

use crate::member::{params, Size};
use crate::sides::Merge;

/// Our time over hivemind's (issue 4).
const HIVEMIND: f64 = 0.5;
/// Our time over that of the same bytes without meaning (issue 4).
const RAW: f64 = 1.5;
/// How far bytes may be from the formula (issue 4).
const BYTES: f64 = 0.05;

/// How it was measured.
pub struct Setting {
    /// Merges of each side and size.
    pub rounds: u32,
    /// Date of the measurement.
    pub date: String,
    /// Load average at its end.
    pub load: String,
    /// What else ran.
    pub beside: String,
}

/// One size.
pub struct Row {
    /// The size.
    pub size: Size,
    /// Our merges.
    pub ours: Vec<Merge>,
    /// Hivemind's rounds, seconds.
    pub hivemind: Vec<f64>,
    /// Gloo's rounds, seconds.
    pub gloo: Vec<f64>,
}

/// Median of all but the first, which warms up.
fn median<T>(all: &[T], of: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = all.iter().skip(1).map(of).collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => (values[len / 2 - 1] + values[len / 2]) / 2.0,
    }
}

/// Largest deviation of a member's bytes from `6W − 8W/N`, where `W` is an entry.
fn deviation(size: Size, merges: &[Merge]) -> anyhow::Result<f64> {
    let params = params()?;
    let entry = f64::from(size.chunks(&params)) * chunk_len(&params.merge) as f64;
    let expected = 6.0 * entry - 8.0 * entry / f64::from(size.members);
    let off = |bytes: &u64| (*bytes as f64 / expected - 1.0).abs();
    Ok(merges.iter().flat_map(|merge| &merge.bytes).map(off).fold(0.0, f64::max))
}

impl Row {
    fn ratio(&self) -> f64 {
        median(&self.ours, Merge::seconds) / median(&self.hivemind, |seconds| *seconds)
    }

    fn over_raw(&self) -> f64 {
        median(&self.ours, Merge::seconds) / median(&self.ours, |merge| merge.raw)
    }

    /// The row of the table.
    ///
    /// # Errors
    /// Never, for a preset that exists.
    pub fn line(&self) -> anyhow::Result<String> {
        let of = |part: fn(&Merge) -> f64| format!("{:.3}", median(&self.ours, part));
        Ok(format!(
            "| {} | {} | {} | {} | {} | {} | **{}** | {:.3} | {:.2} | {} | {:.2} | {} | {:.3} | {} | {:.1} % |",
            self.size.megabytes,
            self.size.members,
            of(|merge| merge.commit),
            of(|merge| merge.gather),
            of(|merge| merge.merge),
            of(|merge| merge.share),
            of(Merge::seconds),
            median(&self.hivemind, |seconds| *seconds),
            self.ratio(),
            of(|merge| merge.raw),
            self.over_raw(),
            of(|merge| merge.disk),
            median(&self.gloo, |seconds| *seconds),
            of(|merge| merge.root),
            deviation(self.size, &self.ours)? * 100.0,
        ))
    }
}

/// The report as Markdown.
///
/// # Errors
/// Never, for a preset that exists.
pub fn render(setting: &Setting, rows: &[Row], counted: &[(Size, Vec<Merge>)]) -> anyhow::Result<String> {
    let mut text = String::new();
    write!(
        text,
        "# A merge against hivemind's averager\n\n\
         The parameters of a stage among members, a process each, on loopback. Ours is the miner's own code from the\n\
         changed weights to the outer step: int8 entries with Merkle roots and everything on disk that a run puts there\n\
         (*commit*), each shard gathered by two owners and checked against the roots (*gather*), clipped, trimmed and\n\
         averaged (*merge*), fetched from its owners, checked against the agreed hash and applied (*share*); libp2p with\n\
         encryption, no chain. Each step waits for the slowest member. Hivemind 1.1.12 averages with fp16, the search for\n\
         its group not counted; *raw* moves our bytes between the same members without any meaning, *disk* writes and syncs\n\
         as many bytes as commit and merge do, all members at once on the one disk that they share here and nowhere else;\n\
         an averager writes nothing, and gloo's all-reduce trusts everybody and encrypts nothing. Seconds, medians of {} rounds in turn; the first of {} is not counted. The\n\
         root of the new state stands beside the sum: an averager has none. The last column is how far a member's bytes,\n\
         in and out, are at most from 6W − 8W/N, W being an entry.\n\n\
         * Command: `scripts/bench merge --rounds {}`\n\
         * Machine: {}, {} cores; load average {} at the end; beside it: {}\n\
         * Date: {}\n\n\
         | MB | members | commit | gather | merge | share | sum | hivemind | ratio | raw | over raw | disk | gloo | state root | bytes off |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        setting.rounds - 1,
        setting.rounds,
        setting.rounds,
        std::env::consts::ARCH,
        std::thread::available_parallelism().map_or(0, usize::from),
        setting.load,
        setting.beside,
        setting.date,
    )?;
    for row in rows {
        writeln!(text, "{}", row.line()?)?;
    }
    verdicts(&mut text, rows)?;
    writeln!(
        text,
        "Bytes of a member in and out, at 4 MB:\n\n| members | off 6W − 8W/N by at most |\n| ---: | ---: |"
    )?;
    for (size, merges) in counted {
        let off = deviation(*size, merges)?;
        let verdict = if off <= BYTES { "" } else { " (**missed**)" };
        writeln!(text, "| {} | {:.1} %{verdict} |", size.members, off * 100.0)?;
    }
    Ok(text)
}

fn verdicts(text: &mut String, rows: &[Row]) -> anyhow::Result<()> {
    let mut missed = Vec::new();
    for row in rows {
        let Size { members, megabytes } = row.size;
        let checks = [
            (row.ratio() <= HIVEMIND, format!("{:.2} of hivemind's time", row.ratio())),
            (row.over_raw() <= RAW, format!("{:.2} times the raw bytes", row.over_raw())),
            (deviation(row.size, &row.ours)? <= BYTES, "bytes".to_owned()),
        ];
        for (_, what) in checks.into_iter().filter(|(held, _)| !held) {
            missed.push(format!("{megabytes} MB among {members}: {what}"));
        }
    }
    writeln!(
        text,
        "\nTargets: at most {HIVEMIND} of hivemind's time, at most {RAW} times the raw bytes, bytes within {:.0} %.",
        BYTES * 100.0
    )?;
    if missed.is_empty() {
        writeln!(text, "All are reached.\n")?;
    } else {
        writeln!(text, "Missed:\n")?;
        missed.iter().try_for_each(|line| writeln!(text, "* {line}"))?;
        writeln!(text)?;
    }
    Ok(())
}
