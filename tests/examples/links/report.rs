//! `docs/results/links.md`.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use crate::rows::{Link, Outcome, Row, OFFICE, RATIOS};

/// What is asked: this share of the 1 Gb/s rate at 50 Mb/s.
const TARGET: f64 = 0.7;

fn find<'a>(outcomes: &'a [Outcome], row: &Row) -> Option<&'a Outcome> {
    outcomes.iter().find(|outcome| outcome.row == row.name())
}

/// Writes the page.
pub fn write(out: &Path, rows: &[Row], outcomes: &[Outcome], date: &str) -> Result<(), Box<dyn Error>> {
    let mut page = String::from(HEAD);
    writeln!(page, "\nMeasured {date}, `scripts/bench links`. {}\n", targets(rows, outcomes))?;
    page.push_str("## Tokens per second, and the share of the same compression's rate at 1 Gb/s\n\n");
    page.push_str("| rate | round trip | loss |");
    RATIOS.iter().try_for_each(|ratio| write!(page, " {}x |", ratio.times))?;
    page.push_str("\n| ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for link in crate::rows::links() {
        line(&mut page, link, outcomes)?;
    }
    bytes(&mut page, rows, outcomes)?;
    late(&mut page, outcomes)?;
    Ok(std::fs::write(out, page)?)
}

fn share(outcomes: &[Outcome], row: &Row) -> Option<f64> {
    let office = find(outcomes, &Row { link: OFFICE, ..*row })?;
    Some(find(outcomes, row)?.rate() / office.rate())
}

fn line(page: &mut String, link: Link, outcomes: &[Outcome]) -> Result<(), Box<dyn Error>> {
    let cells: Vec<String> = RATIOS
        .iter()
        .map(|ratio| {
            let row = Row { ratio: *ratio, link };
            match (find(outcomes, &row), share(outcomes, &row)) {
                (Some(outcome), Some(share)) => format!("{:.0} ({share:.2})", outcome.rate()),
                (Some(outcome), None) => format!("{:.0}", outcome.rate()),
                (None, _) => "not measured".into(),
            }
        })
        .collect();
    let Link { mbit, rtt, loss } = link;
    Ok(writeln!(page, "| {mbit} Mb/s | {rtt} ms | {loss} % | {} |", cells.join(" | "))?)
}

/// One sentence for each target, met or missed.
fn targets(rows: &[Row], outcomes: &[Outcome]) -> String {
    let at = |mbit: u32| rows.iter().filter(move |row| row.link.mbit == mbit && row.link.loss == 0);
    let shares = |mbit: u32, times: u32| {
        at(mbit)
            .filter(|row| row.ratio.times == times)
            .filter_map(|row| share(outcomes, row))
            .collect::<Vec<_>>()
    };
    let mut said = Vec::new();
    for ratio in RATIOS {
        let shares = shares(50, ratio.times);
        let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
        said.push(match shares.is_empty() {
            true => format!("{}x: not measured", ratio.times),
            false if least >= TARGET => format!("{}x: met, {least:.2}", ratio.times),
            false => format!("{}x: **missed, {least:.2}**", ratio.times),
        });
    }
    let slow: Vec<&Outcome> = at(10).filter_map(|row| find(outcomes, row)).collect();
    let trains = slow.iter().all(|outcome| outcome.rate() > 0.0 && outcome.agreed > 0);
    let verdict = if slow.is_empty() {
        "not measured"
    } else if trains {
        "met"
    } else {
        "**missed**"
    };
    format!(
        "Target: at 50 Mb/s without loss, at every delay measured, at least {TARGET} of the 1 Gb/s rate. {}. \
         Target: still training and merging at 10 Mb/s: {verdict}.",
        said.join("; ")
    )
}

fn bytes(page: &mut String, rows: &[Row], outcomes: &[Outcome]) -> Result<(), Box<dyn Error>> {
    page.push_str(
        "\n## Bytes for one token at the boundary, both ways, headers and acknowledgements included\n\n",
    );
    page.push_str("| nominal | bytes per token | ratio to bf16, measured |\n| ---: | ---: | ---: |\n");
    for row in rows.iter().filter(|row| row.link == OFFICE) {
        let Some(bytes) = find(outcomes, row).and_then(|outcome| outcome.bytes_per_token.first().copied())
        else {
            continue;
        };
        // 128 channels of two bytes, forward and back.
        writeln!(page, "| {}x | {bytes:.1} | {:.1} |", row.ratio.times, 512.0 / bytes)?;
    }
    Ok(())
}

fn late(page: &mut String, outcomes: &[Outcome]) -> Result<(), Box<dyn Error>> {
    let (made, due) = outcomes.iter().fold((0, 0), |(made, due), o| (made + o.made, due + o.due));
    writeln!(page, "\n## Submissions while the data link is full\n")?;
    writeln!(
        page,
        "{made} of {due} work commits and score reveals were on chain inside their windows, over all rows."
    )?;
    for outcome in outcomes.iter().filter(|outcome| outcome.made < outcome.due) {
        writeln!(page, "Row `{}` missed {} of {}.", outcome.row, outcome.due - outcome.made, outcome.due)?;
    }
    Ok(())
}

const HEAD: &str = "\
# Training over home connections

What remains of the training speed when every worker sits behind a connection of its own. Each row is a
devnet of real programs: `tiny` in two stages of one miner, one validator, one node, two epochs with 30
seconds of `Train`, four samples in flight. Each worker lives in a network namespace; the kernel's token
bucket limits what it sends, a relay limits what it receives and adds delay and loss from a seed. Chain
submissions go over the same link. The node is not limited. \"Round trip\" is from worker to worker and back,
loss is of packets, one way.

Two cores train all stages, so the 1 Gb/s rate is what this machine computes, not what a GPU would: a faster
stage needs its link in proportion. For the bytes that a stage of any speed needs, see the second table.
";
