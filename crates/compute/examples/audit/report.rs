//! `docs/results/audit.md`.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use iota_compute::tolerance;

use crate::cheats::CHEATS;
use crate::{passes, CheatResult, Distances, MACHINES};

/// One honest segment, replayed by another machine.
pub struct Honest {
    /// Width of the model.
    pub d_model: u32,
    /// Machine that replays.
    pub auditor: usize,
    /// Machine that worked.
    pub miner: usize,
    /// Sample of the segment; 0 is the first step of an epoch.
    pub sample: u32,
    /// How far apart.
    pub distances: Distances,
}

/// Everything measured.
#[derive(Default)]
pub struct Results {
    /// Honest work.
    pub honest: Vec<Honest>,
    /// Cheats.
    pub cheats: Vec<CheatResult>,
}

type Check = fn(&Distances) -> Option<f64>;
const CHECKS: [(&str, Check, f64); 4] = [
    ("codes, forward", |d| d.forward, tolerance::CODES),
    ("codes, backward", |d| d.backward, tolerance::CODES),
    ("loss", |d| d.loss, tolerance::LOSS),
    ("update", |d| d.update, tolerance::UPDATE),
];

/// Writes the page.
pub fn write(out: &Path, results: &Results, date: &str) -> Result<(), Box<dyn Error>> {
    let mut page = String::from(HEAD);
    writeln!(page, "\nMeasured {date}, `scripts/bench audit`.\n")?;
    bounds(&mut page, results)?;
    pairs(&mut page, results)?;
    ages(&mut page, results)?;
    cheats(&mut page, results)?;
    Ok(std::fs::write(out, page)?)
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn quantile(values: &[f64], part: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into the slice")]
    let place = ((values.len().saturating_sub(1)) as f64 * part).round() as usize;
    values.get(place).copied().unwrap_or(f64::NAN)
}

fn bounds(page: &mut String, results: &Results) -> Result<(), Box<dyn Error>> {
    page.push_str("## Honest machines against each other\n\n");
    page.push_str("| check | segments | median | 99 % | largest | bound in use | rejected | so the rate is below (95 %) |\n");
    page.push_str("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (name, check, bound) in CHECKS {
        let values = sorted(results.honest.iter().filter_map(|honest| check(&honest.distances)));
        let rejected = values.iter().filter(|value| **value > bound).count();
        let (median, high) = (quantile(&values, 0.5), quantile(&values, 0.99));
        let most = values.last().copied().unwrap_or(f64::NAN);
        // No event in n trials: below 3/n with 95 % confidence.
        let rate = if rejected == 0 { 3.0 / values.len().max(1) as f64 } else { f64::NAN };
        let rate = if rate.is_nan() { "-".into() } else { format!("{:.2} %", rate * 100.0) };
        writeln!(
            page,
            "| {name} | {} | {median:.2e} | {high:.2e} | {most:.2e} | {bound:.0e} | {rejected} | {rate} |",
            values.len()
        )?;
    }
    let most = |check: Check| results.honest.iter().filter_map(|h| check(&h.distances)).fold(0.0, f64::max);
    let [codes, loss, update] = [
        most(|d| d.forward.into_iter().chain(d.backward).reduce(f64::max)),
        most(|d| d.loss),
        most(|d| d.update),
    ]
    .map(|most| most * tolerance::SAFETY);
    writeln!(
        page,
        "\nThe largest distances times {}: codes {codes:.2e}, loss {loss:.2e}, update {update:.2e}. Pairs share \
         segments, so that the last column holds for segments of these runs on this processor, not for machines \
         never seen.\n",
        tolerance::SAFETY
    )?;
    Ok(())
}

fn pairs(page: &mut String, results: &Results) -> Result<(), Box<dyn Error>> {
    page.push_str("## Largest distance by machine, against the first\n\n| machine | forward | backward | loss | update | same bits |\n");
    page.push_str("| --- | ---: | ---: | ---: | ---: | ---: |\n");
    for (number, machine) in MACHINES.iter().enumerate().skip(1) {
        let rows: Vec<&Distances> = results
            .honest
            .iter()
            .filter(|h| h.auditor == 0 && h.miner == number)
            .map(|h| &h.distances)
            .collect();
        let most = |check: Check| rows.iter().filter_map(|d| check(d)).fold(0.0, f64::max);
        let same =
            rows.iter().filter(|d| CHECKS.iter().all(|(_, check, _)| check(d).unwrap_or(0.0) == 0.0)).count();
        write!(page, "| {} |", machine.name)?;
        CHECKS.iter().try_for_each(|(_, check, _)| write!(page, " {:.2e} |", most(*check)))?;
        writeln!(page, " {same} of {} |", rows.len())?;
    }
    page.push('\n');
    Ok(())
}

fn ages(page: &mut String, results: &Results) -> Result<(), Box<dyn Error>> {
    page.push_str("## Largest distance of the update by age of the optimizer's state\n\nIn the first step AdamW divides each gradient by its own size, so that the sign of a gradient near zero decides.\n\n");
    page.push_str("| width | step 0 | steps 1 to 9 | 10 and later |\n| ---: | ---: | ---: | ---: |\n");
    let mut widths: Vec<u32> = results.honest.iter().map(|h| h.d_model).collect();
    widths.dedup();
    for width in widths {
        let most = |low: u32, high: u32| {
            let rows =
                results.honest.iter().filter(|h| h.d_model == width && (low..=high).contains(&h.sample));
            rows.filter_map(|h| h.distances.update).fold(0.0, f64::max)
        };
        writeln!(page, "| {width} | {:.2e} | {:.2e} | {:.2e} |", most(0, 0), most(1, 9), most(10, u32::MAX))?;
    }
    page.push('\n');
    Ok(())
}

fn cheats(page: &mut String, results: &Results) -> Result<(), Box<dyn Error>> {
    page.push_str("## Cheats: the smallest distance, and how many segments pass all checks\n\n");
    page.push_str("| cheat | audits | forward | backward | loss | update | pass | false-accept rate |\n");
    page.push_str("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for cheat in CHEATS {
        let rows: Vec<&Distances> =
            results.cheats.iter().filter(|(c, _)| *c == cheat).map(|(_, d)| d).collect();
        write!(page, "| {} | {} |", cheat.name(), rows.len())?;
        for (_, check, _) in CHECKS {
            let least = rows.iter().filter_map(|d| check(d)).fold(f64::INFINITY, f64::min);
            match least.is_finite() {
                true => write!(page, " {least:.2e} |")?,
                false => write!(page, " - |")?,
            }
        }
        let accepted = rows.iter().filter(|distances| passes(distances)).count();
        let rate = accepted as f64 / rows.len().max(1) as f64 * 100.0;
        writeln!(page, " {accepted} | {rate:.1} % |")?;
    }
    page.push_str(FOOT);
    Ok(())
}

const HEAD: &str = "\
# Audits: how far honest machines lie apart, how far cheats do

A validator replays a local step of a miner on its own machine: the forward pass, the backward pass and the
step, from the state and the inputs that the miner committed to. On one kind of machine the result is the same
bits. This page says how far it may lie elsewhere before the miner is called a cheat, and which cheats hide
below that. Segments of an honest run (`tiny` and the same shape at width 256, three stages, bottleneck, int8
codes) were replayed under every instruction set and thread count that this processor offers, each with its
own kernels. Distances are relative L2; that of the update is the
largest of three: of the change of the weights and of both moments after it.

**Not measured**: CUDA, bf16, processors of other makers. No such machine was at hand.
";

const FOOT: &str = "
A cheat is audited as the reference machine would claim it, by every machine. A forged loss is also seen by
the hash of the logits where machines are alike, and by CLASP; the share that passes here is what the bound on
the loss alone lets through. Wrong data positions, forged receipts, steps without passes and passes without
receipts are compared exactly and need no bound.
";
