//! `docs/results/links.md` and its plots.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use iota_lab::plot::{self, Axes, Line};

use crate::rows::{Link, Outcome, Row, CHANNELS, IN_FLIGHT, OFFICE, PACE_MS, RATIOS, TRAIN};

/// What is asked: this share of the 1 Gb/s rate at 50 Mb/s (issue 4).
const TARGET: f64 = 0.7;
/// Rates of the plots; 1 Gb/s would leave no room for the others.
const PLOTTED: [u32; 4] = [1, 10, 50, 100];

fn find<'a>(outcomes: &'a [Outcome], row: &Row) -> Option<&'a Outcome> {
    outcomes.iter().find(|outcome| outcome.row == row.name())
}

/// Writes the page and its plots.
pub fn write(out: &Path, rows: &[Row], outcomes: &[Outcome], date: &str) -> Result<(), Box<dyn Error>> {
    let mut page = head(outcomes)?;
    writeln!(page, "\n* Command: `scripts/bench links`\n* Date: {date}\n")?;
    claims(&mut page, rows, outcomes)?;
    page.push_str("\n## Tokens per second, and the share of the same compression's rate at 1 Gb/s\n\n");
    page.push_str("| rate | round trip | loss |");
    RATIOS.iter().try_for_each(|ratio| write!(page, " {}x |", ratio.times))?;
    page.push_str("\n| ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for link in crate::rows::links() {
        line(&mut page, link, outcomes)?;
    }
    plots(&mut page, out, outcomes)?;
    bytes(&mut page, outcomes)?;
    late(&mut page, outcomes)?;
    missing(&mut page, rows, outcomes)?;
    Ok(std::fs::write(out, page)?)
}

fn share(outcomes: &[Outcome], row: &Row) -> Option<f64> {
    let office = find(outcomes, &Row { link: OFFICE, ..*row })?;
    Some(find(outcomes, row)?.rate() / office.rate())
}

/// Megabits per second that the uncompressed boundary needs in each direction at 1 Gb/s, as measured.
fn needed(outcomes: &[Outcome], row: &Row) -> Option<f64> {
    let office = find(outcomes, &Row { link: OFFICE, ..*row })?;
    Some(office.rate() * office.bytes_per_token / 2.0 * 8.0 / 1e6)
}

fn head(outcomes: &[Outcome]) -> Result<String, Box<dyn Error>> {
    let mut page = String::from(HEAD);
    let plain = Row { ratio: RATIOS[0], link: OFFICE };
    let stream = needed(outcomes, &plain).map_or("a few".to_owned(), |mbit| format!("{mbit:.1}"));
    writeln!(
        page,
        "\nA pass takes at least {PACE_MS} ms, of which a small part is work: so a stage is as fast in every row, rows\n\
         can run beside each other, and a freed processor does not flatter the result. What counts is how much of its\n\
         link a stage fills. Uncompressed, this one sends {stream} Mb/s each way, so that 1 Mb/s is full; 1 Mb/s is to its\n\
         {CHANNELS} channels what 64 Mb/s are to the 2,048 of `1.5b` at as many tokens per second. {IN_FLIGHT} samples are in\n\
         flight; rates are those of the second epoch's {TRAIN} seconds of `Train`, by its commits."
    )?;
    Ok(page)
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

/// A target, what was measured, and whether it holds; `None` where rows are missing.
fn claims(page: &mut String, rows: &[Row], outcomes: &[Outcome]) -> Result<(), Box<dyn Error>> {
    page.push_str("| claim | asked | measured | |\n| --- | --- | --- | --- |\n");
    for ratio in RATIOS {
        let of = |row: &&Row| row.ratio == ratio && row.link.mbit == 50 && row.link.loss == 0;
        let shares = rows.iter().filter(of).map(|row| share(outcomes, row));
        let least = shares.flatten().fold(f64::NAN, f64::min);
        let what = format!("share of the 1 Gb/s rate at 50 Mb/s without loss, worst delay, {}x", ratio.times);
        claim(page, &what, &format!("at least {TARGET}"), &format!("{least:.2}"), verdict(least, TARGET))?;
    }
    let slow: Vec<&Outcome> =
        rows.iter().filter(|row| row.link.mbit <= 10).filter_map(|row| find(outcomes, row)).collect();
    let train =
        slow.iter().filter(|outcome| outcome.rates.iter().all(|rate| *rate > 0.0) && outcome.agreed > 0);
    let (train, all) = (train.count(), slow.len());
    let held = (all > 0).then_some(train == all);
    let what = "rows at 10 and 1 Mb/s, with and without loss, that train and merge in both epochs";
    claim(page, what, "all", &format!("{train} of {all}"), held)?;
    let full =
        rows.iter().filter(|row| needed(outcomes, row).is_some_and(|mbit| mbit > f64::from(row.link.mbit)));
    let full: Vec<&Outcome> = full.filter_map(|row| find(outcomes, row)).collect();
    on_time(page, "submissions on time where the data link is full", &full)?;
    on_time(page, "submissions on time, all rows", &outcomes.iter().collect::<Vec<_>>())
}

fn on_time(page: &mut String, what: &str, outcomes: &[&Outcome]) -> Result<(), Box<dyn Error>> {
    let due: u32 = outcomes.iter().map(|outcome| outcome.due).sum();
    let late: usize = outcomes.iter().map(|outcome| outcome.late.len()).sum();
    let measured = format!("{} of {due}", u64::from(due) - late as u64);
    claim(page, what, "all", &measured, (due > 0).then_some(late == 0))
}

fn verdict(value: f64, least: f64) -> Option<bool> {
    (!value.is_nan()).then_some(value >= least)
}

fn claim(
    page: &mut String,
    what: &str,
    asked: &str,
    measured: &str,
    held: Option<bool>,
) -> Result<(), Box<dyn Error>> {
    let (measured, verdict) = match held {
        None => ("not measured", ""),
        Some(true) => (measured, "holds"),
        Some(false) => (measured, "**missed**"),
    };
    Ok(writeln!(page, "| {what} | {asked} | {measured} | {verdict} |")?)
}

/// Shares over rates at 100 ms, without loss and with it.
fn plots(page: &mut String, out: &Path, outcomes: &[Outcome]) -> Result<(), Box<dyn Error>> {
    let folder = out.with_extension("");
    for loss in [0, 1] {
        let lines: Vec<Line> = RATIOS
            .iter()
            .map(|ratio| {
                let point = |mbit| {
                    let row = Row { ratio: *ratio, link: Link { mbit, rtt: 100, loss } };
                    Some((f64::from(mbit), share(outcomes, &row)?))
                };
                let points = PLOTTED.into_iter().filter_map(point).collect();
                Line { name: format!("{}x", ratio.times), points }
            })
            .filter(|line: &Line| !line.points.is_empty())
            .collect();
        if lines.is_empty() {
            continue;
        }
        let title = format!("Share of the 1 Gb/s rate; 100 ms, {loss} % loss");
        let file = format!("loss-{loss}.svg");
        let axes = Axes { file: &file, title: &title, x: "link, Mb/s", y: "share" };
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(&file), plot::lines(&axes, &lines)?.svg)?;
        let place = folder.file_name().and_then(|name| name.to_str()).ok_or("the page has no name")?;
        writeln!(page, "\n![{title}]({place}/{file})")?;
    }
    Ok(())
}

fn bytes(page: &mut String, outcomes: &[Outcome]) -> Result<(), Box<dyn Error>> {
    page.push_str(
        "\n## Bytes for one token at the boundary\n\nBoth ways, headers and acknowledgements included, at 1 Gb/s; and how \
         many tokens per second would fill 50 Mb/s.\n\n\
         | nominal | bytes per token | ratio to bf16, measured | tokens per second that fill 50 Mb/s |\n\
         | ---: | ---: | ---: | ---: |\n",
    );
    for ratio in RATIOS {
        let Some(outcome) = find(outcomes, &Row { ratio, link: OFFICE }) else { continue };
        let bytes = outcome.bytes_per_token;
        // Two bytes a channel, forward and back.
        let plain = 4.0 * f64::from(CHANNELS);
        let fills = 50e6 / 8.0 / (bytes / 2.0);
        writeln!(page, "| {}x | {bytes:.2} | {:.1} | {fills:.0} |", ratio.times, plain / bytes)?;
    }
    Ok(())
}

fn late(page: &mut String, outcomes: &[Outcome]) -> Result<(), Box<dyn Error>> {
    writeln!(page, "\n## Submissions that were late\n")?;
    page.push_str(
        "Due in a row: every miner's `commit_work`, `attest`, `blind_merge`, `open_merge` and `commit_root` of the first \
         epoch, its `commit_work` of the second, and the validator's `commit_scores` and `reveal_scores`. They go over the \
         same link as the data. Members send the chain no other sign of life: a heartbeat does not exist.\n\n",
    );
    let mut none = true;
    for outcome in outcomes.iter().filter(|outcome| !outcome.late.is_empty()) {
        none = false;
        writeln!(page, "* `{}`: {}", outcome.row, outcome.late.join("; "))?;
    }
    if none {
        page.push_str("None was.\n");
    }
    Ok(())
}

fn missing(page: &mut String, rows: &[Row], outcomes: &[Outcome]) -> Result<(), Box<dyn Error>> {
    let missing: Vec<String> = rows
        .iter()
        .filter(|row| find(outcomes, row).is_none())
        .map(|row| format!("`{}`", row.name()))
        .collect();
    if !missing.is_empty() {
        writeln!(
            page,
            "\n## Not measured yet\n\n{} of {} rows: {}.",
            missing.len(),
            rows.len(),
            missing.join(", ")
        )?;
    }
    Ok(())
}

const HEAD: &str = "\
# Training over home connections

What remains of the training speed when every worker sits behind a connection of its own. Each row is a
devnet of real programs: `nano` in two stages of one miner, samples of 2,048 tokens, one validator, one node. Each
worker lives in a network namespace; the kernel's token bucket limits what it sends, a relay limits what it receives and
adds delay and loss from a seed. Chain submissions go over the same link. The node is not limited. \"Round trip\" is from
worker to worker and back, loss is of packets, one way. Needs root.
";
