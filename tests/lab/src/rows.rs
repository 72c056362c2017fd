//! The list of what the laboratory measures.

use crate::outcome::{Outcome, Scale};
use crate::{bench, real, steering, toy};

/// One section of the results page.
pub struct Row {
    /// Its name on the command line and in files.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What it asks.
    pub about: &'static str,
    /// Runs it.
    pub run: fn(Scale) -> anyhow::Result<Outcome>,
}

/// All rows in the order of the page.
pub const ROWS: &[Row] = &[
    Row {
        name: "toy",
        title: "CLASP and the paper's toy",
        about: "How many samples find an attacker, and how often is an honest miner flagged?",
        run: toy::run,
    },
    Row {
        name: "real-losses",
        title: "CLASP on the losses of a real run",
        about: "The same question with losses that a devnet's miners reported: real texts, real learning, \
                real lag between replicas.",
        run: real::run,
    },
    Row {
        name: "steering",
        title: "Steering attribution",
        about: "Can a sender help a friend by skipping it on hard samples, or a reporter harm a victim by \
                adding to its losses?",
        run: steering::run,
    },
    Row {
        name: "clasp-bench",
        title: "What CLASP costs",
        about: "100,000 pathways of 256 miners, and the same bytes from two validators.",
        run: bench::run,
    },
];
