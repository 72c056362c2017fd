//! The report: rates, ratios of medians, and where a sample's time goes.

use std::fmt::Write;

use iota_miner::ledger::PARTS;

use crate::setting::{samples, SAMPLES_PER_STEP, TIMED, WARM_UP};
use crate::sides::{Measured, Side};
use crate::worker::Spent;

/// Rate of two stages over that of one process with as many threads (issue 4).
const TARGET: f64 = 0.85;
/// Share of a sample's time that the parts must explain (issue 4).
const EXPLAINED: f64 = 0.95;

/// How it was measured.
pub struct Setting {
    /// Measurements of every side.
    pub rounds: u32,
    /// Date of the measurement.
    pub date: String,
    /// Load average at its end.
    pub load: String,
    /// What else ran.
    pub beside: String,
}

/// One side's measurements.
pub struct Row {
    /// The side.
    pub side: Side,
    rates: Vec<f64>,
    spent: Vec<Vec<Spent>>,
}

impl Row {
    /// Nothing measured yet.
    pub fn new(side: Side) -> Self {
        Self { side, rates: Vec::new(), spent: Vec::new() }
    }

    /// Adds a measurement.
    pub fn add(&mut self, measured: Measured) {
        self.rates.push(measured.rate);
        if !measured.spent.is_empty() {
            self.spent.push(measured.spent);
        }
    }

    fn median(&self) -> f64 {
        let mut sorted = self.rates.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() % 2 {
            1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
        }
    }

    fn range(&self) -> (f64, f64) {
        let fold = |start: f64, pick: fn(f64, f64) -> f64| self.rates.iter().copied().fold(start, pick);
        (fold(f64::INFINITY, f64::min), fold(0.0, f64::max))
    }
}

/// The report as Markdown.
pub fn render(setting: &Setting, rows: &[Row]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "# A pipeline against one process\n\n\
         A model of `tiny` at d 256 (6 layers, 4 windows of 128 tokens a sample, {SAMPLES_PER_STEP} samples a step), whole boundaries. Ours are the\n\
         miner's processes with all that they do in a run: int8 codes, journal and disk sync, signatures, receipts, hashes,\n\
         libp2p with encryption on loopback; only chain and clock are made up. PyTorch sends fp32 tensors over gloo under\n\
         `Schedule1F1B` and does none of it. {} samples are timed after {} of warm-up, all sides in turn, {} times; a ratio\n\
         is one of medians.\n\n\
         * Command: `scripts/bench pipeline --rounds {}`\n\
         * Machine: {}, {} cores; load average {} at the end; beside it: {}\n\
         * Date: {}\n\n",
        samples(TIMED),
        samples(WARM_UP),
        setting.rounds,
        setting.rounds,
        std::env::consts::ARCH,
        std::thread::available_parallelism().map_or(0, usize::from),
        setting.load,
        setting.beside,
        setting.date,
    );
    rates(&mut text, rows);
    for row in rows {
        account(&mut text, row);
    }
    text
}

fn rates(text: &mut String, rows: &[Row]) {
    let median_of = |side| rows.iter().find(|row| row.side == side).map_or(f64::NAN, Row::median);
    let (whole, torch) = (median_of(Side::Whole), median_of(Side::TorchWhole));
    let _ = writeln!(
        text,
        "| side | processes × threads | tokens/s, median | lowest to highest | of ours in one process | of PyTorch in one |\n\
         | --- | ---: | ---: | ---: | ---: | ---: |"
    );
    for row in rows {
        let ((processes, threads), median, (low, high)) = (row.side.processes(), row.median(), row.range());
        let _ = writeln!(
            text,
            "| {} | {processes} × {threads} | {median:.0} | {low:.0} to {high:.0} | {:.2} | {:.2} |",
            row.side.name(),
            median / whole,
            median / torch,
        );
    }
    let ratio = median_of(Side::Stages(2)) / whole;
    let against = median_of(Side::Stages(2)) / median_of(Side::TorchStages(2));
    let verdict = if ratio >= TARGET { "reached" } else { "**missed**" };
    let _ = writeln!(
        text,
        "\nTwo stages train at {ratio:.2} of one process with as many threads; the target of {TARGET} is {verdict}. They train at\n\
         {against:.2} of PyTorch's two stages. Three stages share two cores: the row shows what the third process costs.\n"
    );
}

/// Where a sample's time goes in one of our pipelines.
fn account(text: &mut String, row: &Row) {
    let Side::Stages(stages) = row.side else { return };
    let per_sample = 1e-3 / (f64::from(samples(WARM_UP + TIMED)) * row.spent.len() as f64);
    let stage = |index: usize| row.spent.iter().filter_map(move |workers| workers.get(index));
    let part = |index: usize, part: usize| {
        stage(index).filter_map(|spent| spent.parts.get(part)).sum::<u64>() as f64 * per_sample
    };
    let life = |index: usize| stage(index).map(|spent| spent.life).sum::<u64>() as f64 * per_sample;
    let _ = writeln!(text, "## {}: a sample's time, milliseconds\n", row.side.name());
    let away = PARTS.len() - 1;
    let names = PARTS.iter().take(away).map(|(_, name)| format!(" {name} |")).collect::<String>();
    let _ =
        writeln!(text, "| stage |{names} transfer | whole life |\n| ---: |{}", " ---: |".repeat(away + 2));
    let (mut explained, whole) = (0.0, life(0));
    for index in 0..usize::from(stages) {
        // What a sample is away, less its life at the next stage, is the way there and back.
        let next = if index + 1 < usize::from(stages) { life(index + 1) } else { 0.0 };
        let transfer = part(index, away) - next;
        let own: Vec<f64> = (0..away).map(|at| part(index, at)).collect();
        explained += own.iter().sum::<f64>() + transfer;
        let cells = own.iter().map(|ms| format!(" {ms:.2} |")).collect::<String>();
        let _ = writeln!(text, "| {index} |{cells} {transfer:.2} | {:.2} |", life(index));
    }
    let share = explained / whole;
    let verdict = if share >= EXPLAINED { "reached" } else { "**missed**" };
    let _ = writeln!(
        text,
        "\nThe parts explain {:.1} % of {whole:.1} ms from a sample's start to its end; the target of {:.0} % is {verdict}.\n\
         Several samples are in flight, so that a sample waits while others are computed.\n",
        share * 100.0,
        EXPLAINED * 100.0,
    );
    let tokens = f64::from(samples(WARM_UP + TIMED)) * 512.0;
    for boundary in 0..stages - 1 {
        let sent = row.spent.iter().flatten().flat_map(|spent| &spent.sent);
        let bytes: u64 = sent.filter(|(at, _)| *at == boundary).map(|(_, bytes)| bytes).sum();
        let measured = bytes as f64 / row.spent.len() as f64 / tokens;
        let codes = 2.0 * 256.0 * 33.0 / 32.0;
        let _ = writeln!(text, "Boundary {boundary}: {measured:.2} bytes a token, {codes:.1} as codes.",);
    }
    let resident = row.spent.iter().flatten().map(|spent| spent.resident).max().unwrap_or(0);
    let _ = writeln!(text, "Most resident memory of a process at the end: {} MB.\n", resident / 1_000_000);
}
