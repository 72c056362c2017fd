//! The page: the loss of every row beside that of merges in fp32.

use std::fmt::Write;

use crate::{Row, EVALUATE_EVERY};

/// What was run.
pub struct Setting {
    /// Model.
    pub preset: String,
    /// Replicas.
    pub replicas: u32,
    /// Merges.
    pub merges: u32,
    /// Samples of each replica between two merges.
    pub samples: u32,
    /// Seeds.
    pub seeds: u64,
    /// Held-out windows.
    pub windows: usize,
    /// Byte-bigram entropy of the held-out text, in nats.
    pub bigram: f64,
    /// Date of the measurement.
    pub date: String,
    /// What else the machine did.
    pub beside: String,
}

/// One trained row.
pub struct Measured {
    /// The row.
    pub row: Row,
    /// Its seed.
    pub seed: u64,
    /// Held-out losses of the merged weights in nats per token, in order.
    pub losses: Vec<f64>,
}

fn name(row: Row) -> String {
    let code = row.most.map_or("fp32", |most| if most == 127 { "int8" } else { "int4" });
    let feedback = if row.feedback { ", error feedback" } else { "" };
    format!("{code}{feedback}")
}

/// Bytes of a value in entries: codes, and an exponent for each 32.
fn bytes(row: Row) -> f64 {
    row.most.map_or(4.0, |most| if most == 127 { 1.0 } else { 0.5 } + 1.0 / 32.0)
}

/// The page as Markdown.
pub fn render(setting: &Setting, measured: &[Measured]) -> String {
    let Setting { preset, replicas, merges, samples, seeds, windows, bigram, date, beside } = setting;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "# What the code of a merge costs in loss\n\n\
{replicas} replicas of `{preset}` in one stage train {samples} samples each, {merges} times, and merge after each \
time by the network's rule (clipped, trimmed, averaged), computed in fp32 so that codes can be compared with none. \
Codes share a power of two among 32 values, in the updates and in the result. Error feedback adds what a code left \
out of an update to the next one. The network has int8 without feedback. {seeds} seeds, {windows} held-out windows; \
the byte-bigram entropy is {bigram:.3} nats.\n\n\
* Command: `scripts/bench merge-codecs --preset {preset} --replicas {replicas} --merges {merges} --samples {samples} --seeds {seeds}`\n* Date: {date}; beside it: {beside}\n\n\
| moments after a merge | code | bytes a value | held-out loss at the end | against fp32 |\n\
| --- | --- | --- | --- | --- |\n"
    );
    let mut seen: Vec<Row> = Vec::new();
    for one in measured {
        if seen.contains(&one.row) {
            continue;
        }
        seen.push(one.row);
        let plain = Row { most: None, feedback: false, kept: one.row.kept };
        let (loss, base) = (mean(measured, one.row), mean(measured, plain));
        let moments = if one.row.kept { "kept" } else { "reset" };
        let gap = 100.0 * (loss / base - 1.0);
        let _ = writeln!(
            text,
            "| {moments} | {} | {:.2} | {loss:.4} | {gap:+.2} % |",
            name(one.row),
            bytes(one.row)
        );
    }
    let _ = write!(text, "\n## Every loss\n\nAfter each {EVALUATE_EVERY} merges.\n\n| seed | moments | code | losses |\n| --- | --- | --- | --- |\n");
    for one in measured {
        let losses: Vec<String> = one.losses.iter().map(|loss| format!("{loss:.4}")).collect();
        let moments = if one.row.kept { "kept" } else { "reset" };
        let _ = writeln!(text, "| {} | {moments} | {} | {} |", one.seed, name(one.row), losses.join(", "));
    }
    text
}

/// Mean of the last losses of a row over its seeds.
fn mean(measured: &[Measured], row: Row) -> f64 {
    let last: Vec<f64> =
        measured.iter().filter(|one| one.row == row).filter_map(|one| one.losses.last().copied()).collect();
    last.iter().sum::<f64>() / last.len().max(1) as f64
}
