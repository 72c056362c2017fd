//! The emission audit of one epoch: eleven invariants, each with what it found (reference: the
//! invariants I1 to I9 of an emission audit, on the timeline of the epoch that follows the trained
//! one; I10 is about verdicts, I11 about finality).
//!
//! Works on a [`Bundle`] alone, so that the pages and the offline command judge by the same code.

pub mod finality;
mod issuance;
mod payment;
pub mod proof;
mod rulings;
mod submissions;
pub mod trie;

use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;
pub use finality::Memory;

/// What became of an invariant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// Something that it needs is missing; nothing is claimed.
    NotChecked,
}

/// A number or hash with what it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Side {
    /// What it is.
    pub label: String,
    /// Its value as text; amounts in the smallest unit.
    pub value: String,
}

/// What one invariant says about the epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// `I1` to `I11`.
    pub id: String,
    /// The invariant in words.
    pub claim: String,
    /// Whether it holds.
    pub status: Status,
    /// The two sides that are compared.
    pub sides: Vec<Side>,
    /// The block at which it was checked.
    pub block: Option<u32>,
    /// Terms, differences, or what is missing.
    pub notes: Vec<String>,
}

impl Finding {
    fn new(id: &str, claim: &str) -> Self {
        Self {
            id: id.into(),
            claim: claim.into(),
            status: Status::NotChecked,
            sides: Vec::new(),
            block: None,
            notes: Vec::new(),
        }
    }

    fn at(mut self, block: Option<u32>) -> Self {
        self.block = block;
        self
    }

    fn side(mut self, label: &str, value: impl std::fmt::Display) -> Self {
        self.sides.push(Side { label: label.into(), value: value.to_string() });
        self
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    fn judged(mut self, holds: bool) -> Self {
        self.status = if holds { Status::Pass } else { Status::Fail };
        self
    }
}

/// Audits an epoch. Findings stand in the order of the invariants.
#[must_use]
pub fn audit(bundle: &Bundle) -> Vec<Finding> {
    audit_with(bundle, &Memory::default())
}

/// The same by somebody who has audited other epochs of the chain.
#[must_use]
pub fn audit_with(bundle: &Bundle, memory: &Memory) -> Vec<Finding> {
    vec![
        issuance::balances(bundle),
        issuance::change(bundle),
        issuance::schedule(bundle),
        issuance::split(bundle),
        payment::rederived(bundle),
        submissions::windows(bundle),
        issuance::owed(bundle),
        proof::proven(bundle),
        submissions::reports(bundle),
        rulings::follow(bundle),
        finality::voted(bundle, memory),
    ]
}

/// The worst of all findings: a failure outweighs what was not checked, that outweighs a pass.
#[must_use]
pub fn verdict(findings: &[Finding]) -> Status {
    let any = |status| findings.iter().any(|finding| finding.status == status);
    if any(Status::Fail) {
        Status::Fail
    } else if any(Status::NotChecked) {
        Status::NotChecked
    } else {
        Status::Pass
    }
}

/// The block that paid the epoch.
fn paid_at(bundle: &Bundle) -> Option<u32> {
    bundle.report.as_ref().map(|report| report.block)
}
