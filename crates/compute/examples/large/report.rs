//! The page about the stages that were run.

use std::error::Error;
use std::fmt::Write;

use crate::one::Measured;

/// Floating-point operations of training for each multiply-add of a forward pass.
const TRAINING_FLOPS: f64 = 6.0;
/// How far predicted memory may lie from measured.
const MEMORY: f64 = 0.10;

/// How far the counted balance of two stages may lie from that of their times.
const BALANCE: f64 = 0.10;

/// Under what it was measured.
pub struct Setting {
    /// The command that does it again.
    pub command: String,
    /// Day of the measurement.
    pub date: String,
    /// Processes that wanted to run before it.
    pub load: String,
    /// The preset.
    pub preset: String,
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

impl Measured {
    /// Operations of a second, while passes run.
    fn rate(&self) -> f64 {
        self.products as f64 * TRAINING_FLOPS * f64::from(self.tokens) / median(&self.passes)
    }

    fn predicted_ratio(&self) -> f64 {
        self.predicted.iter().sum::<u64>() as f64 / self.peak() as f64
    }

    fn row(&self) -> String {
        let [state, passes] = self.predicted.map(gigabytes);
        let sample = median(&self.passes);
        format!(
            "| {} | {} | {:.1} | {} x {} | {:.1} | {:.2} | {:.0} | {:.0} | {:.2} | {:.2} + {:.2} | {:.2} |",
            self.stage,
            self.layers,
            self.parameters as f64 / 1e6,
            self.samples,
            self.tokens,
            sample,
            median(&self.optimizer),
            f64::from(self.tokens) / sample,
            self.rate() / 1e9,
            gigabytes(self.peak()),
            state,
            passes,
            self.predicted_ratio(),
        )
    }
}

/// The page.
///
/// # Errors
/// When formatting fails.
pub fn render(setting: &Setting, all: &[Measured]) -> Result<String, Box<dyn Error>> {
    let mut page = String::new();
    writeln!(page, "# Stages of `{}`, really run\n", setting.preset)?;
    writeln!(page, "Whole stages of the preset with its own sizes, fp32 on the processor, one sample at a time, through the")?;
    writeln!(
        page,
        "trainer that miners use; initial weights, noise for what crosses. The first step is warm-up.\n"
    )?;
    writeln!(page, "* Command: `{}`", setting.command)?;
    writeln!(
        page,
        "* Machine: {}, 2 cores, CPU only; load average {} before",
        std::env::consts::ARCH,
        setting.load
    )?;
    writeln!(page, "* Date: {}\n", setting.date)?;
    writeln!(page, "| stage | layers | parameters, M | samples x tokens of a step | a sample, s | the step, s | tokens/s | GFLOP/s | peak memory, GB | predicted: state + passes, GB | predicted / measured |")?;
    writeln!(page, "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
    for measured in all {
        writeln!(page, "{}", measured.row())?;
    }
    page.push('\n');
    for measured in all {
        writeln!(page, "{}", verdict(measured))?;
    }
    if let [first, .., last] = all {
        let counted = last.products as f64 / first.products as f64;
        let took = median(&last.passes) / median(&first.passes);
        writeln!(
            page,
            "\nBalance: stage {} is counted as {counted:.2} of stage {}'s products and takes {took:.2} of its time; the \
             count, by which layers are spread, within 10 % of the time: {}.",
            last.stage,
            first.stage,
            if (counted / took - 1.0).abs() <= BALANCE { "reached" } else { "**missed**" },
        )?;
    }
    Ok(page)
}

fn verdict(measured: &Measured) -> String {
    let ratio = measured.predicted_ratio();
    let word = if (ratio - 1.0).abs() <= MEMORY { "reached" } else { "**missed**" };
    let [forward, backward, step] = measured.peaks.map(gigabytes);
    // The last stage's forward call runs both passes.
    let whole = if measured.losses.is_empty() { "" } else { " (it runs both passes in one call)" };
    let list =
        |values: &[f64]| values.iter().map(|value| format!("{value:.3}")).collect::<Vec<_>>().join(", ");
    let losses = if measured.losses.is_empty() {
        String::new()
    } else {
        format!(" Losses of the samples, the same tokens each time: {}.", list(&measured.losses))
    };
    format!(
        "* Stage {}: memory predicted within 10 %: {word}; most in forward passes {forward:.2}, in backward passes \
         {backward:.2}, in steps {step:.2} GB{whole}. Norms of the mean gradient at its steps: {}.{losses}",
        measured.stage,
        list(&measured.norms),
    )
}
