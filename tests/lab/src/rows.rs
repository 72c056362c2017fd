//! The list of what the laboratory measures.

use crate::outcome::{Outcome, Scale};
use crate::{attacks, audits, bench, merging, odds, real, routing, scale, steering, toy};

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
    Row {
        name: "attacks",
        title: "Every cheat alone",
        about: "Is it found, how soon, by what; who is accused wrongly; what does it earn and what does it \
                damage?",
        run: attacks::run,
    },
    Row {
        name: "coalitions",
        title: "Cheats in numbers",
        about: "Each cheat, by 10 to 40 % of a stage or of all miners.",
        run: attacks::sweep,
    },
    Row {
        name: "honest",
        title: "Honest miners in trouble",
        about: "Is an honest miner ever accused, or its pay cut?",
        run: attacks::honest::run,
    },
    Row {
        name: "validators",
        title: "Validators that cheat",
        about: "What a validator earns by it, and what it does to miners.",
        run: attacks::validators::run,
    },
    Row {
        name: "merge",
        title: "Merging with dead, lying and withholding members",
        about: "What is merged, who is named, and is it ever an honest owner?",
        run: merging::run,
    },
    Row {
        name: "poison",
        title: "Poisoned entries",
        about: "How far do poisoners in a stage move what it learns?",
        run: merging::poison::run,
    },
    Row {
        name: "odds",
        title: "Odds of a bad stage",
        about: "How likely does the draw of stages exceed what a stage bears?",
        run: odds::run,
    },
    Row {
        name: "audit-economics",
        title: "What audits have to be",
        about: "Least audit rate, vesting and stake at which cheating on any share of the work loses.",
        run: audits::run,
    },
    Row {
        name: "scale",
        title: "At scale",
        about: "What an epoch costs with 10 to 10,000 miners, and what grows faster than linearly.",
        run: scale::run,
    },
    Row {
        name: "routing",
        title: "Unlike miners",
        about: "Preferences by weight against uniform choice and an oracle.",
        run: routing::run,
    },
];

/// Sections of the page that the arena on the chain's half (`runtime/src/tests/arena.rs`) measures. Names are
/// those of its files.
pub const CHAIN_ROWS: &[Row] = &[
    Row {
        name: "chain-miners",
        title: "On the real chain: every cheat of a miner alone",
        about: "The runtime's pallet in memory, a network that delays and loses what is sent, real prices and vesting.",
        run: on_chain,
    },
    Row {
        name: "chain-coalitions",
        title: "On the real chain: cheats in numbers",
        about: "As many members as a run has seats; 10 to 40 % of a stage or of all miners.",
        run: on_chain,
    },
    Row {
        name: "chain-validators",
        title: "On the real chain: validators that cheat",
        about: "What bends a row or a court, and what it costs.",
        run: on_chain,
    },
    Row {
        name: "chain-honest",
        title: "On the real chain: honest members in trouble",
        about: "Hundreds of epochs of a full run with stragglers, restarts and members cut off.",
        run: on_chain,
    },
    Row {
        name: "chain-crowds",
        title: "On the real chain: many keys of one owner",
        about: "What a crowd of registrations costs, what it earns, and who loses a seat to it.",
        run: on_chain,
    },
];

/// The arena is another program: its results are read.
fn on_chain(_: Scale) -> anyhow::Result<Outcome> {
    anyhow::bail!("the arena runs on the chain's half of the workspace; use scripts/lab")
}
