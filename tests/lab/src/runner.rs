//! Runs rows, keeps what they found so that a run can be resumed, and writes the results page.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::outcome::{Outcome, Scale};
use crate::page;
use crate::rows::{Row, CHAIN_ROWS, ROWS};

/// Raised when a row would find something else than before; kept results of another version are
/// run again.
pub const LAB_VERSION: u32 = 1;

/// What to run and where to write.
pub struct Options {
    /// How much.
    pub scale: Scale,
    /// Where results of rows are kept.
    pub results: PathBuf,
    /// Folder of the results page, if it is to be written.
    pub docs: Option<PathBuf>,
    /// Only rows whose name contains this.
    pub only: Option<String>,
    /// Folder of what the arena on the chain's half found, if its sections are to stand on the page.
    pub chain: Option<PathBuf>,
}

/// A row's result as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    version: u32,
    scale: String,
    /// Wall time that it took.
    pub seconds: f64,
    /// What it found.
    pub outcome: Outcome,
}

/// A result of the arena as its test writes it.
#[derive(Deserialize)]
struct OfChain {
    seconds: f64,
    outcome: Outcome,
}

/// Runs every row that has no result yet; returns how many claims are broken.
///
/// # Errors
/// When a folder cannot be written or a plot cannot be drawn.
pub fn run(options: &Options) -> anyhow::Result<usize> {
    let folder = options.results.join(options.scale.name());
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let wanted = |row: &&Row| options.only.as_ref().is_none_or(|only| row.name.contains(only));
    let mut found = Vec::new();
    for row in ROWS.iter().filter(wanted) {
        found.push((row, one(row, options.scale, &folder)?));
    }
    if let Some(chain) = &options.chain {
        for row in CHAIN_ROWS {
            found.push((row, of_chain(row, chain)?));
        }
    }
    if let Some(docs) = &options.docs {
        page::write(docs, options.scale, &found)?;
    }
    let broken: usize = found.iter().map(|(row, kept)| report(row, kept)).sum();
    println!("{} rows, {broken} broken claims", found.len());
    Ok(broken)
}

fn one(row: &Row, scale: Scale, folder: &Path) -> anyhow::Result<Kept> {
    let path = folder.join(format!("{}.json", row.name));
    if let Some(kept) = recall(&path, scale) {
        println!("{}: kept from an earlier run", row.name);
        return Ok(kept);
    }
    let start = Instant::now();
    let outcome = (row.run)(scale).with_context(|| format!("row {}", row.name))?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{}: {seconds:.1} s", row.name);
    let kept = Kept { version: LAB_VERSION, scale: scale.name().to_owned(), seconds, outcome };
    let partial = path.with_extension("partial");
    std::fs::write(&partial, serde_json::to_vec(&kept)?)
        .and_then(|()| std::fs::rename(&partial, &path))
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(kept)
}

/// What the arena found: its tests run on the chain's half of the workspace, which this program does not link.
fn of_chain(row: &Row, folder: &Path) -> anyhow::Result<Kept> {
    let path = folder.join(format!("{}.json", row.name));
    let bytes = std::fs::read(&path)
        .with_context(|| format!("reading {}; `scripts/lab` runs the arena first", path.display()))?;
    let found = serde_json::from_slice(&bytes).with_context(|| format!("decoding {}", path.display()))?;
    let OfChain { seconds, outcome } = found;
    Ok(Kept { version: LAB_VERSION, scale: Scale::Full.name().to_owned(), seconds, outcome })
}

fn recall(path: &Path, scale: Scale) -> Option<Kept> {
    let kept: Kept = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    (kept.version == LAB_VERSION && kept.scale == scale.name()).then_some(kept)
}

fn report(row: &Row, kept: &Kept) -> usize {
    for claim in &kept.outcome.claims {
        let state = match (claim.holds, &claim.known_miss) {
            (true, _) => "ok    ",
            (false, Some(_)) => "missed",
            (false, None) => "BROKEN",
        };
        println!("{state} {}: {} ({})", row.name, claim.text, claim.got);
    }
    kept.outcome.broken().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_was_run_is_not_run_again() {
        let folder = tempfile::tempdir().unwrap();
        fn once(_: Scale) -> anyhow::Result<Outcome> {
            let mut outcome = Outcome::default();
            outcome.claim("one is one", "1", true);
            Ok(outcome)
        }
        fn never(_: Scale) -> anyhow::Result<Outcome> {
            anyhow::bail!("ran again")
        }
        let row = |run| Row { name: "row", title: "", about: "", run };
        one(&row(once), Scale::Short, folder.path()).unwrap();
        let kept = one(&row(never), Scale::Short, folder.path()).unwrap();
        assert_eq!(kept.outcome.claims.len(), 1);
        assert!(one(&row(never), Scale::Full, folder.path()).is_err(), "another scale is another result");
    }
}
