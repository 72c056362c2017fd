//! The results page: `trust.md` and the plots beside it.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

use crate::outcome::{Outcome, Scale, Table};
use crate::rows::Row;
use crate::runner::Kept;

const HEAD: &str = "# Trust: what attribution, audits and merging do against cheats

Written by `scripts/lab`; do not edit. Every number comes from the rules of `crates/protocol`, called by a
seeded simulation in `tests/lab`: simulated are the miners, links, texts, and a model of a few hundred
numbers. No tensors, processes or chain take part, but in the sections \"On the real chain\": there the runtime
itself runs in memory (`runtime/src/tests/arena.rs`), and losses, the network and what a merge gives are
simulated. One section can be had again with `scripts/lab --only NAME`; seeds are fixed in the code of its row.

A claim marked **missed** is a target that is not met, with the reason.
";

/// Writes the page and its plots.
///
/// # Errors
/// When a file cannot be written.
pub fn write(docs: &Path, scale: Scale, found: &[(&Row, Kept)]) -> anyhow::Result<()> {
    let plots = docs.join("trust");
    std::fs::create_dir_all(&plots).with_context(|| format!("creating {}", plots.display()))?;
    for plot in found.iter().flat_map(|(_, kept)| &kept.outcome.plots) {
        let path = plots.join(&plot.file);
        std::fs::write(&path, &plot.svg).with_context(|| format!("writing {}", path.display()))?;
    }
    let path = docs.join("trust.md");
    std::fs::write(&path, text(scale, found)).with_context(|| format!("writing {}", path.display()))
}

fn text(scale: Scale, found: &[(&Row, Kept)]) -> String {
    let mut page = String::from(HEAD);
    let seconds: f64 = found.iter().map(|(_, kept)| kept.seconds).sum();
    // Writing to a String cannot fail.
    _ = writeln!(page, "\nScale of this page: {}; {:.0} s in all.\n", scale.name(), seconds);
    claims(&mut page, found);
    for (row, kept) in found {
        _ = writeln!(page, "## {}\n\n{}\n", row.title, row.about);
        _ = writeln!(page, "`scripts/lab --only {}` ({:.1} s)\n", row.name, kept.seconds);
        section(&mut page, &kept.outcome);
    }
    page
}

fn claims(page: &mut String, found: &[(&Row, Kept)]) {
    _ = writeln!(page, "## Claims\n\n| | row | claim | measured |\n| --- | --- | --- | --- |");
    for (row, kept) in found {
        for claim in &kept.outcome.claims {
            let state = if claim.holds { "holds" } else { "**missed**" };
            let why = claim.known_miss.as_ref().map_or(String::new(), |why| format!(" — {why}"));
            _ = writeln!(page, "| {state} | {} | {} | {}{why} |", row.name, claim.text, claim.got);
        }
    }
    page.push('\n');
}

fn section(page: &mut String, outcome: &Outcome) {
    for note in &outcome.notes {
        _ = writeln!(page, "{note}\n");
    }
    for table in &outcome.tables {
        write_table(page, table);
    }
    for plot in &outcome.plots {
        _ = writeln!(page, "![{}](trust/{})\n", plot.title, plot.file);
    }
}

fn write_table(page: &mut String, table: &Table) {
    _ = writeln!(page, "**{}**\n", table.title);
    _ = writeln!(page, "| {} |", table.columns.join(" | "));
    _ = writeln!(page, "|{}", " --- |".repeat(table.columns.len()));
    for row in &table.rows {
        _ = writeln!(page, "| {} |", row.join(" | "));
    }
    page.push('\n');
}
