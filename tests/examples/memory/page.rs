//! `docs/results/memory.md`.

use std::error::Error;
use std::fmt::Write;

use crate::series::Series;

/// How it was measured.
pub struct Setting {
    /// Date of the measurement.
    pub date: String,
    /// Size of the model.
    pub preset: String,
    /// Minutes that were watched.
    pub minutes: u64,
    /// What else ran.
    pub beside: String,
}

/// The page as Markdown.
///
/// # Errors
/// When fewer than four whole epochs were watched: nothing can be said then.
pub fn render(setting: &Setting, all: &[Series]) -> Result<String, Box<dyn Error>> {
    let epochs = all.first().map_or(0, |series| series.peaks().len());
    let mut text = String::new();
    write!(
        text,
        "# Memory over many epochs\n\n\
         The miners and the validator of a devnet, real processes, two stages of two miners each, preset `{}`, on\n\
         loopback; what each has resident (`VmRSS`) every two seconds for {} minutes, in which {epochs} epochs began and\n\
         ended. Four epochs before that are not counted: a member keeps the artefacts of three epochs, and until it\n\
         lets go of the first it grows by intent. *Peak* is the most in an epoch; *growth* is the line with the least\n\
         squares through all looks, in which the rise and fall within an epoch shows as well. Flat means: the highest\n\
         peak of the later half of the epochs is at most 2 % and 4 MB above that of the earlier half.\n\n\
         * Command: `scripts/bench memory --minutes {}`\n\
         * Machine: {}, {} cores; beside it: {}\n\
         * Date: {}\n\n\
         | member | peak, earlier half (MB) | peak, later half (MB) | growth (MB per minute) | verdict |\n\
         | --- | ---: | ---: | ---: | --- |\n",
        setting.preset,
        setting.minutes,
        setting.minutes,
        std::env::consts::ARCH,
        std::thread::available_parallelism().map_or(0, usize::from),
        setting.beside,
        setting.date,
    )?;
    let mut growing = Vec::new();
    for series in all {
        let ((first, second), flat) = series.halves().zip(series.is_flat()).ok_or_else(|| {
            format!("only {epochs} whole epochs were watched, expected 4 at least; give more --minutes")
        })?;
        let verdict = if flat { "flat" } else { "**grows**" };
        let name = &series.name;
        writeln!(text, "| {name} | {first:.1} | {second:.1} | {:.2} | {verdict} |", series.slope())?;
        if !flat {
            growing.push(name.as_str());
        }
    }
    writeln!(text, "\nPeaks of the epochs in turn (MB):\n")?;
    for series in all {
        let peaks: Vec<String> = series.peaks().iter().map(|peak| format!("{peak:.0}")).collect();
        writeln!(text, "* {}: {}", series.name, peaks.join(", "))?;
    }
    if growing.is_empty() {
        writeln!(text, "\nAll are flat.")?;
    } else {
        writeln!(text, "\nThe target, flat over ten minutes, is missed by {}.", growing.join(", "))?;
    }
    Ok(text)
}
