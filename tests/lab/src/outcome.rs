//! What a row of the laboratory gives back: tables, plots and claims.

use serde::{Deserialize, Serialize};

/// How much of everything is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// For the gate: minutes in all.
    Short,
    /// For the results page: an hour at most in all.
    Full,
}

impl Scale {
    /// One of two numbers.
    #[must_use]
    pub fn pick<T>(self, short: T, full: T) -> T {
        match self {
            Self::Short => short,
            Self::Full => full,
        }
    }

    /// Its name in files and on the page.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.pick("short", "full")
    }
}

/// A table of the results page.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Heads.
    pub columns: Vec<String>,
    /// Cells, row by row.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        Self {
            title: title.into(),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row of cells.
    pub fn push<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }
}

/// A plot as SVG.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Plot {
    /// File name without folder.
    pub file: String,
    /// What it shows.
    pub title: String,
    /// The picture.
    pub svg: String,
}

/// A statement with its number. A row's claims are what its tests assert.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// What is claimed, as a sentence.
    pub text: String,
    /// What was measured.
    pub got: String,
    /// Whether it holds.
    pub holds: bool,
    /// Why it is known not to hold; a claim without this must hold.
    pub known_miss: Option<String>,
}

/// What is known about a target that is missed.
#[derive(Clone, Debug)]
pub struct Miss {
    /// Whether the number is no worse than when it was accepted, with room for its noise.
    pub within: bool,
    /// The reason.
    pub why: String,
}

impl Miss {
    /// A miss for a reason, as long as it is no worse than this.
    pub fn known(within: bool, why: impl Into<String>) -> Self {
        Self { within, why: why.into() }
    }
}

/// Everything that a row found.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Paragraphs in front of the tables.
    pub notes: Vec<String>,
    /// Tables.
    pub tables: Vec<Table>,
    /// Plots.
    pub plots: Vec<Plot>,
    /// Claims.
    pub claims: Vec<Claim>,
}

impl Outcome {
    /// Adds a paragraph.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Adds a claim that must hold.
    pub fn claim(&mut self, text: impl Into<String>, got: impl Into<String>, holds: bool) {
        self.claims.push(Claim { text: text.into(), got: got.into(), holds, known_miss: None });
    }

    /// Adds a target that is known to be missed. A miss that is worse than it was known to be is a broken claim.
    pub fn target(&mut self, text: impl Into<String>, got: impl Into<String>, holds: bool, miss: Miss) {
        let known_miss = (!holds && miss.within).then_some(miss.why);
        self.claims.push(Claim { text: text.into(), got: got.into(), holds, known_miss });
    }

    /// Claims that had to hold and do not.
    pub fn broken(&self) -> impl Iterator<Item = &Claim> {
        self.claims.iter().filter(|claim| !claim.holds && claim.known_miss.is_none())
    }
}

/// A share as per cent with two decimals.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// Mean and standard error of values; NaN for none.
#[must_use]
pub fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (mean, (squares / (count - 1.0).max(1.0) / count).sqrt())
}

/// The upper end of the 95 % interval of a share of which `hits` of `count` were seen (Wilson).
#[must_use]
pub fn share_at_most(hits: usize, count: usize) -> f64 {
    let (n, z) = (count.max(1) as f64, 1.96f64);
    let share = hits as f64 / n;
    let centre = share + z * z / (2.0 * n);
    let half = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    ((centre + half) / (1.0 + z * z / n)).min(1.0)
}
