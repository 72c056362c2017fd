//! The report: three gaps in percent of the baseline's loss, and every loss behind them.

use std::fmt::Write;

use crate::rows::{
    Rate, Row, BASELINE, BOTTLENECK, CODEC, LARGE_STEP, MERGED, MERGES, PRESET, REPLICAS, ROWS, STALE_2,
    STALE_4, WHOLE,
};

/// What was run.
pub struct Setting {
    /// Training samples of each row.
    pub samples: u32,
    /// Training tokens of each row.
    pub tokens: u64,
    /// Seeds.
    pub seeds: u64,
    /// Held-out windows.
    pub windows: usize,
    /// Evaluations of local weights at the end, whose mean counts.
    pub evaluations: usize,
    /// Samples between two of them.
    pub evaluation_step: usize,
    /// Date of the measurement.
    pub date: String,
    /// Byte-bigram entropy of the held-out text, in nats.
    pub bigram: f64,
    /// Rows asked for; all when empty.
    pub rows: Vec<String>,
    /// What was asked for in place of the preset's rate.
    pub rate: Rate,
}

/// One trained row.
pub struct Measured {
    /// The row.
    pub row: Row,
    /// Its seed.
    pub seed: u64,
    /// Held-out loss in nats per token.
    pub heldout: f64,
    /// Local steps between the two passes of a sample at the first stage.
    pub staleness: f64,
}

/// A gap: how much worse `with` is than `without`.
struct Gap {
    name: &'static str,
    with: &'static str,
    without: &'static str,
}

/// The three numbers that the report is about.
const GAPS: [Gap; 3] = [
    Gap { name: "Bottleneck (with its int8 codes)", with: BOTTLENECK, without: BASELINE },
    Gap { name: "Local steps (two samples in flight)", with: STALE_2, without: BOTTLENECK },
    Gap { name: "Merging (three replicas, five merges)", with: MERGED, without: STALE_2 },
];

/// Where the three come from.
const PARTS: [Gap; 6] = [
    Gap { name: "of the bottleneck: int8 codes alone", with: CODEC, without: BASELINE },
    Gap { name: "of the bottleneck: the narrow channel", with: BOTTLENECK, without: CODEC },
    Gap { name: "local steps with four samples in flight", with: STALE_4, without: BOTTLENECK },
    Gap {
        name: "of merging: a third of the steps, each three times as large",
        with: LARGE_STEP,
        without: BOTTLENECK,
    },
    Gap { name: "all three together", with: MERGED, without: BASELINE },
    Gap { name: "one clip for the whole model instead of one per stage", with: WHOLE, without: BASELINE },
];

/// The report as Markdown.
pub fn render(setting: &Setting, measured: &[Measured]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "# What the three ideas cost in loss\n\n{}\n## The three numbers\n\n{}\n## Where they come from\n\n{}\n\
         ## Every loss\n\n{}\n{}",
        setting.head(),
        gap_table(setting, measured, &GAPS),
        gap_table(setting, measured, &PARTS),
        loss_table(setting, measured),
        READING,
    );
    text
}

const READING: &str = "\
## How to read this

* Every row of a seed starts from the same weights and reads the same windows in the same order. The held-out
  windows are never trained on. Losses are nats per byte; a gap is the difference of two losses as a share of the
  baseline's loss, taken seed by seed. A negative gap means that the row did better.
* The baseline is one process. It is run as three stages with fp32 values and no bottleneck, because each stage
  clips its own gradient, as it must where no program sees the whole gradient; apart from that, the test
  `three_stages_compute_the_logits_and_gradients_of_one_model` shows that it computes what one model computes.
* With samples in flight, weights move between the two passes of a sample. A tick gives every miner one pass,
  backward before forward, and one tick for a message to arrive: all stages are taken to be equally fast.
* Merging is measured at equal tokens. Three replicas then take a third of the steps each, and the gap holds that
  loss too; the row `three-per-step` shows how much of it plain data parallel training has. The inner optimizer
  starts again after each merge with a ramp of ten steps, which weighs more in epochs as short as these.
* `codec` and `baseline` should be equal, and differ by up to two percent in one seed: gaps below that are noise.
* This is early training of a small model at a constant learning rate. Steps that overlap act like a higher rate, so
  the gaps of local steps and of merging depend on the rate; `--lr-ppm` measures them at another one.
";

impl Setting {
    fn head(&self) -> String {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        format!(
            "Preset `{PRESET}` on `data/shakespeare.txt`: {} samples ({} tokens) for each row, held-out loss over {} \
             windows,\n{} seeds. The replicas of the last row share the samples: {REPLICAS} replicas, {MERGES} merges, \
             {} samples per replica and merge.\nLocal weights jump from step to step, so their loss is the mean over \
             the last {} evaluations, {} samples apart;\nmerged weights are evaluated once, after the last merge.\n\n\
             * Command: `{}`\n* Machine: {}, {cores} cores, CPU only, one libtorch thread\n* Date: {}\n\
             * For comparison: byte-bigram entropy of the held-out text {:.3}\n",
            self.samples,
            self.tokens,
            self.windows,
            self.seeds,
            self.samples / MERGES / u32::from(REPLICAS),
            self.evaluations,
            self.evaluation_step,
            self.command(),
            std::env::consts::ARCH,
            self.date,
            self.bigram,
        )
    }

    fn command(&self) -> String {
        let rows =
            if self.rows.is_empty() { String::new() } else { format!(" --rows {}", self.rows.join(",")) };
        let Rate { lr_ppm, ramp_steps } = self.rate;
        let lr = lr_ppm.map_or(String::new(), |ppm| format!(" --lr-ppm {ppm}"));
        let ramp = ramp_steps.map_or(String::new(), |steps| format!(" --ramp-steps {steps}"));
        format!("scripts/bench gaps --samples {} --seeds {}{rows}{lr}{ramp}", self.samples, self.seeds)
    }
}

fn loss(measured: &[Measured], name: &str, seed: u64) -> Option<f64> {
    measured.iter().find(|m| m.row.name == name && m.seed == seed).map(|m| m.heldout)
}

/// Percent of the baseline's loss, one for each seed that has both rows.
fn percents(setting: &Setting, measured: &[Measured], gap: &Gap) -> Vec<f64> {
    let one = |seed: u64| {
        let (with, without) = (loss(measured, gap.with, seed)?, loss(measured, gap.without, seed)?);
        Some(100.0 * (with - without) / loss(measured, BASELINE, seed)?)
    };
    (0..setting.seeds).filter_map(one).collect()
}

fn gap_table(setting: &Setting, measured: &[Measured], gaps: &[Gap]) -> String {
    let mut text = String::from(
        "| gap | rows | mean, % of the baseline's loss | each seed |\n| --- | --- | ---: | --- |\n",
    );
    for gap in gaps {
        let each = percents(setting, measured, gap);
        if each.is_empty() {
            continue;
        }
        let mean = each.iter().sum::<f64>() / each.len() as f64;
        let each: Vec<String> = each.iter().map(|percent| format!("{percent:+.2}")).collect();
        let _ = writeln!(
            text,
            "| {} | `{}` − `{}` | {mean:+.2} | {} |",
            gap.name,
            gap.with,
            gap.without,
            each.join(", ")
        );
    }
    text
}

fn loss_table(setting: &Setting, measured: &[Measured]) -> String {
    let seeds: Vec<String> = (0..setting.seeds).map(|seed| format!(" seed {seed} |")).collect();
    let rules = " ---: |".repeat(seeds.len() + 2);
    let mut text = format!(
        "| row | what it is | local steps between passes |{} mean |\n| --- | --- |{rules}\n",
        seeds.concat()
    );
    for row in &ROWS {
        let of_row: Vec<&Measured> = measured.iter().filter(|m| m.row.name == row.name).collect();
        let Some(first) = of_row.first() else { continue };
        let mean = of_row.iter().map(|m| m.heldout).sum::<f64>() / of_row.len() as f64;
        let each: String = (0..setting.seeds)
            .map(|seed| {
                loss(measured, row.name, seed).map_or(" – |".into(), |loss| format!(" {loss:.4} |"))
            })
            .collect();
        let _ =
            writeln!(text, "| `{}` | {} | {:.2} |{each} {mean:.4} |", row.name, row.what, first.staleness);
    }
    text
}
