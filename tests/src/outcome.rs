//! What a network bore out, and the page about it.

use std::fmt::Write;

use crate::summary::{EpochLine, Summary};

/// Head of the table of epochs.
const EPOCHS: &str = "
## Epochs

| epoch | tokens | tokens/s | committers | shards agreed / missing | held-out loss after it |
| ---: | ---: | ---: | ---: | ---: | ---: |
";

/// Something that must be so.
struct Claim {
    says: String,
    asked: String,
    measured: String,
    holds: bool,
}

/// What came of a network.
pub struct Outcome {
    title: String,
    summary: Summary,
    told: Vec<String>,
    claims: Vec<Claim>,
}

/// Under what it was measured.
pub struct Frame {
    /// The command that does it again.
    pub command: String,
    /// Day of the measurement.
    pub date: String,
    /// Wall time of the whole.
    pub seconds: u64,
    /// Processes that wanted to run, mean over a minute, before and after; this network's own in the latter.
    pub load: [String; 2],
}

/// The machine's load average over one minute, as the kernel says it.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}

impl Outcome {
    /// With no claim yet. `told` is what was done to the network, in order.
    pub fn new(title: &str, summary: Summary, told: Vec<String>) -> Self {
        Self { title: title.to_owned(), summary, told, claims: Vec::new() }
    }

    /// Adds a claim.
    pub fn claim(&mut self, says: &str, asked: impl ToString, measured: impl ToString, holds: bool) {
        let (asked, measured) = (asked.to_string(), measured.to_string());
        self.claims.push(Claim { says: says.to_owned(), asked, measured, holds });
    }

    /// Adds checks of the summary; all of them without names.
    pub fn checks(&mut self, names: &[&str]) {
        let of_summary = self.summary.checks.clone();
        let named = |name: &str| names.is_empty() || names.contains(&name);
        for (name, holds) in of_summary.0.iter().filter(|(name, _)| named(name)) {
            self.claim(&format!("`{name}`"), true, holds, *holds);
        }
        for name in names.iter().filter(|name| !of_summary.0.contains_key(**name)) {
            self.claim(&format!("`{name}`"), true, "not made", false);
        }
    }

    /// The summary.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Whether all that was claimed is so; nothing claimed is nothing shown.
    pub fn holds(&self) -> bool {
        !self.claims.is_empty() && self.claims.iter().all(|claim| claim.holds)
    }

    /// As Markdown.
    ///
    /// # Errors
    /// None: writing to a string does not fail.
    pub fn page(&self, frame: &Frame) -> Result<String, std::fmt::Error> {
        let mut page = format!("# {}\n\n", self.title);
        let failed = self.claims.iter().filter(|claim| !claim.holds).count();
        let verdict = match failed {
            0 => format!("all {} claims hold", self.claims.len()),
            failed => format!("**{failed} of {} claims do not hold**", self.claims.len()),
        };
        let Frame { command, date, seconds, load: [before, after] } = frame;
        writeln!(page, "* Command: `{command}`")?;
        writeln!(
            page,
            "* Date: {date}; {seconds} seconds; load average {before} before, {after} at the end"
        )?;
        writeln!(page, "* Result: {verdict}\n")?;
        self.write_claims(&mut page)?;
        self.write_epochs(&mut page)?;
        page.push_str("\n## What was done to it\n\n");
        self.told.iter().try_for_each(|line| writeln!(page, "* {line}"))?;
        Ok(page)
    }

    fn write_claims(&self, page: &mut String) -> std::fmt::Result {
        page.push_str("| claim | asked | measured | |\n| --- | --- | --- | --- |\n");
        for Claim { says, asked, measured, holds } in &self.claims {
            let word = if *holds { "holds" } else { "**fails**" };
            writeln!(page, "| {says} | {asked} | {measured} | {word} |")?;
        }
        Ok(())
    }

    fn write_epochs(&self, page: &mut String) -> std::fmt::Result {
        page.push_str(EPOCHS);
        for line in &self.summary.epochs {
            let EpochLine { epoch, tokens, contributors, agreed_shards, missing_shards, .. } = line;
            let loss = line.heldout_loss.map_or("not measured".into(), |loss| format!("{loss:.3}"));
            let rate = line.tokens_per_second;
            writeln!(
                page,
                "| {epoch} | {tokens} | {rate:.0} | {contributors} | {agreed_shards} / {missing_shards} | {loss} |"
            )?;
        }
        Ok(())
    }
}
