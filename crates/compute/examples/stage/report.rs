//! The report: ratios with their intervals, operators, memory.

use std::fmt::Write;

use crate::operators::Counts;
use crate::ours::Step;
use crate::shapes::Shape;

/// Speed relative to PyTorch that a whole step is to reach on the CPU (issue 4).
const TARGET: f64 = 0.92;
/// Memory relative to PyTorch that a stage may take (issue 4).
const MEMORY_TARGET: f64 = 1.05;

/// What was run.
pub struct Setting {
    /// Pairs timed for each shape.
    pub pairs: usize,
    /// Steps of each side before.
    pub warm_up: usize,
    /// Date of the measurement.
    pub date: String,
    /// Version of PyTorch.
    pub torch: String,
    /// Load of the machine as the measurement began.
    pub load: String,
    /// Shapes asked for.
    pub shapes: String,
}

/// One shape, measured.
pub struct Compared {
    /// The shape.
    pub shape: Shape,
    /// Parameters of the stage.
    pub parameters: usize,
    /// Times of ours and of eager, pair by pair.
    pub pairs: Vec<(Step, Step)>,
    /// Peak bytes of ours and of eager.
    pub memory: (u64, u64),
    /// Bytes that the plan predicts for ours.
    pub predicted: u64,
    /// Operators of a forward and a backward pass, of ours and of eager.
    pub operators: (Counts, Counts),
    /// Relative difference of the weight changes after the warm-up.
    pub difference: f64,
}

/// Median of ratios with its interval.
struct Ratio {
    median: f64,
    low: f64,
    high: f64,
}

/// The report as Markdown.
pub fn render(setting: &Setting, compared: &[Compared]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "# A stage against PyTorch eager\n\n\
         The middle stage of three, {} pairs of steps in turn after {} steps of warm-up; fp32, one thread each, the\n\
         same weights, inputs and gradients, PyTorch {} with `scaled_dot_product_attention` and fused AdamW.\n\
         A ratio is PyTorch's time over ours, pair by pair: above 1 we are faster. Given is the median with its 95 %\n\
         interval (order statistics). Ours is all that a miner's trainer does in a step: it also decodes, encodes and\n\
         hashes what crosses, and hashes masters and moments; PyTorch is handed decoded values and does none of it.\n\n\
         * Command: `scripts/bench stage --pairs {} --shapes {}`\n\
         * Machine: {}, {} cores, CPU only; load average {} when the measurement began\n\
         * Date: {}\n\n",
        setting.pairs,
        setting.warm_up,
        setting.torch,
        setting.pairs,
        setting.shapes,
        std::env::consts::ARCH,
        std::thread::available_parallelism().map_or(0, usize::from),
        setting.load,
        setting.date,
    );
    text += &ratios(compared);
    text += &details(compared);
    text += READING;
    text
}

const READING: &str = "\
## How to read this

* Processor time is what decides: with one thread it equals the time by the clock on an idle machine, and other
  programs on the same cores do not stretch it, though they do share its caches. The clock stands beside it.
* Both sides must have the same weights after the warm-up, or there is no report: the last column of the second table
  is the difference of their changes since the start, relative, in the L2 norm.
* Operators are counted by one observer inside libtorch, over one forward and one backward pass. The optimizer is
  left out: ours is our own code over flat buffers, PyTorch's is one fused operator and a clip.
* The optimizer's column holds what PyTorch does not do: the root over masters and moments, 12 hashed bytes for each
  parameter at each step. It weighs the more, the more parameters a stage has for each token of a sample and step.
* Equal counts are the target. Both sides write what comes in into the memory of new tensors and start autograd from
  the gradient that came in; PyTorch takes the gradients as `torch.autograd.grad` gives them.
* On the host nothing is copied between Rust and libtorch: codes are decoded into a tensor's memory and encoded out
  of it, and the optimizer works on the tensors' memory.
* Memory is the most that each side took beyond what its program and libraries held before, as the system counts it.
  Predicted is what `iota-miner plan` would say for one sample at a time: the trainer's state and what a forward pass
  keeps, and what a layer's backward pass takes beside it; not what the allocator holds back.
* GPU: not measured, no GPU was at hand. bf16 with tensor cores has no numbers yet. Pinned staging and the overlap of
  transfer, decode and compute are written (`staging.rs`, `stage/passes.rs`) and have never run on a GPU: here their order
  of launching and finishing is tested, on the host, where it changes no bit. Same tests run on a GPU where there is one.
";

fn ratios(compared: &[Compared]) -> String {
    let mut text = String::from(
        "| stage | parameters | forward | backward | optimizer | whole step, processor | whole step, clock | target |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n",
    );
    for one in compared {
        let phase = |phase: usize| ratio(one, |step| step.cpu[phase]).median;
        let (whole, clock) =
            (ratio(one, |step| step.cpu.iter().sum()), ratio(one, |step| step.wall.iter().sum()));
        let _ = writeln!(
            text,
            "| `{}` ({}) | {} | {:.2} | {:.2} | {:.2} | **{:.3}** [{:.3}, {:.3}] | {:.3} [{:.3}, {:.3}] | {TARGET}: {} |",
            one.shape.name,
            one.shape.what,
            one.parameters,
            phase(0),
            phase(1),
            phase(2),
            whole.median,
            whole.low,
            whole.high,
            clock.median,
            clock.low,
            clock.high,
            verdict(whole.median >= TARGET),
        );
    }
    text
}

fn details(compared: &[Compared]) -> String {
    let mut text = String::from(
        "\n| stage | ours, ms | PyTorch, ms | peak memory, MB | ratio | target | predicted, MB | operators | differing | weights differ by |\n\
         | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | --- | ---: |\n",
    );
    for one in compared {
        let milliseconds = |pick: fn(&(Step, Step)) -> &Step| {
            median(one.pairs.iter().map(|p| 1e3 * pick(p).cpu.iter().sum::<f64>()))
        };
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let memory = one.memory.0 as f64 / one.memory.1 as f64;
        let total = |counts: &Counts| counts.values().sum::<u64>();
        let _ = writeln!(
            text,
            "| `{}` | {:.2} | {:.2} | {:.1} / {:.1} | {memory:.2} | {MEMORY_TARGET}: {} | {:.1} | {} / {} | {} | {:.1e} |",
            one.shape.name,
            milliseconds(|pair| &pair.0),
            milliseconds(|pair| &pair.1),
            megabytes(one.memory.0),
            megabytes(one.memory.1),
            verdict(memory <= MEMORY_TARGET),
            megabytes(one.predicted),
            total(&one.operators.0),
            total(&one.operators.1),
            differing(&one.operators),
            one.difference,
        );
    }
    text + "\n"
}

fn verdict(reached: bool) -> &'static str {
    if reached {
        "reached"
    } else {
        "**missed**"
    }
}

/// Operators whose counts differ, ours first.
fn differing((ours, eager): &(Counts, Counts)) -> String {
    let names: std::collections::BTreeSet<&String> = ours.keys().chain(eager.keys()).collect();
    let count = |counts: &Counts, name: &String| counts.get(name).copied().unwrap_or(0);
    let differ = |name: &&&String| count(ours, name) != count(eager, name);
    let each = names.iter().filter(differ).map(|name| {
        format!("`{}` {}/{}", name.trim_start_matches("aten::"), count(ours, name), count(eager, name))
    });
    let each: Vec<String> = each.collect();
    if each.is_empty() {
        "none: reached".into()
    } else {
        format!("{}: **missed**", each.join(", "))
    }
}

/// Eager's time over ours, pair by pair.
fn ratio(compared: &Compared, time: impl Fn(&Step) -> f64) -> Ratio {
    let mut ratios: Vec<f64> = compared.pairs.iter().map(|(ours, eager)| time(eager) / time(ours)).collect();
    ratios.sort_by(f64::total_cmp);
    let rank = interval_rank(ratios.len());
    let (low, high) = (ratios[rank], ratios[ratios.len() - 1 - rank]);
    Ratio { median: median(ratios.into_iter()), low, high }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

/// Largest rank (from 0) such that the median lies between it and its mirror with at least 95 %: so
/// many values or fewer lie below the median with at most 2.5 %, by the binomial distribution.
fn interval_rank(count: usize) -> usize {
    let (mut term, mut below, mut rank) = (0.5f64.powi(count as i32), 0.0, 0);
    for k in 0..count / 2 {
        below += term;
        if below > 0.025 {
            break;
        }
        rank = k;
        term *= (count - k) as f64 / (k + 1) as f64;
    }
    rank
}
