//! Lines of a report: what each miner committed, what of it stands, and what CLASP makes of it.

use iota_protocol::clasp::{self, Offers};
use iota_protocol::duty::after_merge;
use iota_protocol::evidence::Pathways;
use iota_protocol::ids::Uid;
use iota_protocol::report::{MinerLine, SkipLine, Verdict};

use crate::audit::Audit;
use crate::gather::{self, Evidence};
use crate::witness::Witness;

/// What the lines of a report are made from.
pub struct Lines<'a> {
    /// What was gathered.
    pub evidence: &'a Evidence,
    /// What it amounts to.
    pub pathways: &'a Pathways,
    /// The paper's form, for comparison.
    pub means: &'a [clasp::MeanZ],
}

impl Lines<'_> {
    fn mean_z(&self, uid: Uid) -> f64 {
        self.means.iter().find(|mean| mean.uid == uid).map_or(0.0, |mean| mean.z)
    }

    /// Lines of those who committed, in uid order.
    #[must_use]
    pub fn of_committers(&self, effects: &[clasp::MinerEffect], audits: &[Audit]) -> Vec<MinerLine> {
        let line = |committed: &gather::Committed| {
            let uid = committed.commit.uid;
            let effect = effects.iter().find(|effect| effect.uid == uid)?;
            let caught = audits.iter().any(|audit| audit.uid == uid && audit.verdict == Verdict::Invalid);
            let claimed = committed.commit.work.samples;
            let stands = self.pathways.verified.get(&uid).copied().unwrap_or(0).min(claimed);
            let undelivered = self.evidence.undelivered.get(&uid).copied().unwrap_or(0);
            let stands = after_merge(stands, undelivered);
            let verified = if caught || self.evidence.invalid.contains(&uid) { 0 } else { stands };
            Some(MinerLine::new(committed.commit.incarnation, claimed, verified, effect, self.mean_z(uid)))
        };
        let mut lines: Vec<MinerLine> = self.evidence.commits.iter().filter_map(line).collect();
        lines.sort_by_key(|line| line.uid);
        lines
    }

    /// Lines of those who committed nothing, in uid order.
    #[must_use]
    pub fn of_absent(&self, effects: &[clasp::MinerEffect], witness: &Witness) -> Vec<MinerLine> {
        let committed = |uid: Uid| self.evidence.commits.iter().any(|known| known.commit.uid == uid);
        let line = |effect: &clasp::MinerEffect| {
            let member = witness.member(effect.uid)?;
            Some(MinerLine::new(member.incarnation, 0, 0, effect, self.mean_z(effect.uid)))
        };
        let mut lines: Vec<MinerLine> =
            effects.iter().filter(|effect| !committed(effect.uid)).filter_map(line).collect();
        lines.sort_by_key(|line| line.uid);
        lines
    }
}

/// Senders that skip a target significantly more often than others do.
#[must_use]
pub fn skips_that_stand_out(pathways: &Pathways, config: &clasp::Config) -> Vec<SkipLine> {
    let offers: Vec<Offers> = pathways
        .offers
        .iter()
        .map(|((sender, target), (offered, skipped))| Offers {
            sender: *sender,
            target: *target,
            offered: *offered,
            skipped: *skipped,
        })
        .collect();
    let tests = clasp::skip_tests(&offers, config.false_discovery_rate);
    tests.iter().filter(|test| test.significant).map(Into::into).collect()
}
