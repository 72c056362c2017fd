//! I10: who is not paid, and which audits are, follows from votes, proofs and opened transcripts.

use std::collections::{BTreeMap, BTreeSet};

use iota_protocol::ids::Uid;
use iota_protocol::verdict::decide;
use iota_protocol::view::SnapshotView;

use super::{paid_at, Finding};
use crate::bundle::{Bundle, Ruling, RulingKind};

/// I10: the report's terms name exactly the miners that two thirds of the permitted stake found guilty
/// or somebody proved to have signed twice, and count exactly the transcripts that were opened.
pub(super) fn follow(bundle: &Bundle) -> Finding {
    let claim = "Verdicts and paid audits in the report follow from votes, proofs and opened transcripts";
    let finding = Finding::new("I10", claim).at(paid_at(bundle));
    let (Some(report), Some(snapshot)) = (&bundle.report, &bundle.snapshot) else {
        return finding.note("snapshot or report is missing");
    };
    // What came later than the block that paid decides about vesting pay, not about this.
    let before: Vec<&Ruling> = bundle.rulings.iter().filter(|own| own.block < report.block).collect();
    let ours = gated(&before, snapshot);
    let chain: BTreeSet<Uid> = report.terms.gated.iter().map(|(uid, _)| *uid).collect();
    let opened: BTreeMap<Uid, u32> = if report.terms.scored_by == bundle.epoch {
        before.iter().filter_map(|own| opening(&own.kind)).collect()
    } else {
        BTreeMap::new()
    };
    let counted: BTreeMap<Uid, u32> = report.terms.transcripts.iter().copied().collect();
    let list = |uids: &BTreeSet<Uid>| match uids.len() {
        0 => "nobody".to_owned(),
        _ => format!("uid {}", uids.iter().map(Uid::to_string).collect::<Vec<_>>().join(", ")),
    };
    let wrong = ours.symmetric_difference(&chain).map(|uid| format!("uid {uid}: gated on one side only"));
    let finding = wrong.fold(finding, Finding::note);
    finding
        .side("gated by the report", list(&chain))
        .side("gated by votes and proofs", list(&ours))
        .note(format!("{} transcripts opened, {} counted", sum(&opened), sum(&counted)))
        .judged(ours == chain && opened == counted)
}

fn sum(counts: &BTreeMap<Uid, u32>) -> u32 {
    counts.values().sum()
}

fn opening(kind: &RulingKind) -> Option<(Uid, u32)> {
    match kind {
        RulingKind::Opened { uid, count } => Some((*uid, *count)),
        _ => None,
    }
}

fn gated(rulings: &[&Ruling], snapshot: &SnapshotView) -> BTreeSet<Uid> {
    let mut votes: BTreeMap<(Uid, u32), BTreeMap<Uid, bool>> = BTreeMap::new();
    let mut gated = BTreeSet::new();
    for ruling in rulings {
        match &ruling.kind {
            RulingKind::Vote { uid, segment, voter, guilty } => {
                votes.entry((*uid, *segment)).or_default().insert(*voter, *guilty);
            }
            RulingKind::Equivocated { uid } => {
                gated.insert(*uid);
            }
            RulingKind::Opened { .. } => {}
        }
    }
    for ((uid, _), said) in &votes {
        let of =
            |judge: &iota_protocol::view::SnapshotValidator| (judge.stake, said.get(&judge.uid).copied());
        if decide(&snapshot.validators.iter().map(of).collect::<Vec<_>>()) == Some(true) {
            gated.insert(*uid);
        }
    }
    gated
}
