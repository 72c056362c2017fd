//! I5: consensus and apportionment, run again.

use iota_protocol::audit::{payments, Difference};
use iota_protocol::emission::carried;

use super::{paid_at, Finding};
use crate::bundle::Bundle;

/// I5: every payout follows from the snapshot and the revealed rows, to the unit.
pub(super) fn rederived(bundle: &Bundle) -> Finding {
    let claim = "Consensus and apportionment, run again, give every payout to the unit";
    let mut finding = Finding::new("I5", claim).at(paid_at(bundle));
    let (Some(report), Some(snapshot)) = (&bundle.report, &bundle.snapshot) else {
        return finding.note("snapshot or report is missing");
    };
    if report.epoch != bundle.epoch {
        return finding.note(format!("the report is of epoch {}", report.epoch)).judged(false);
    }
    let Some(bonds) = &bundle.bonds else {
        return finding.note("the bonds before the epoch are not known: an earlier epoch is missing");
    };
    let by = report.terms.scored_by;
    let (ours, differences) = match &bundle.carried {
        None if by == bundle.epoch => payments(&bundle.params, snapshot, &bundle.scores, bonds, report),
        Some(next) if by == bundle.epoch.next() => {
            finding = finding.note(format!("the epoch was void and is scored by the rows of epoch {by}"));
            let judges = carried(snapshot, &next.snapshot);
            payments(&bundle.params, &judges, &next.scores, bonds, report)
        }
        None => {
            return finding.note(format!("the epoch was void and scored by epoch {by}, which is not known"))
        }
        Some(_) => {
            return finding.note(format!("only the epoch after may score it, not epoch {by}")).judged(false)
        }
    };
    let finding = finding
        .side("root over the chain's payouts", report.payouts_root)
        .side("root over ours", iota_protocol::emission::payouts_root(&ours.payouts))
        .note(format!("{} payouts compared", report.payouts.len().max(ours.payouts.len())));
    let holds = differences.is_empty();
    differences.iter().fold(finding, |finding, difference| finding.note(describe(difference))).judged(holds)
}

fn describe(difference: &Difference) -> String {
    match difference {
        Difference::Void { chain, ours } => format!("void: the chain says {chain}, we find {ours}"),
        Difference::Part { part, chain, ours } => format!("{part}: the chain says {chain}, we find {ours}"),
        Difference::Payout { uid, chain, ours, .. } => {
            format!("uid {uid}: the chain paid {chain}, we find {ours}")
        }
        Difference::Bonds { chain, ours } => format!("bonds after: the chain says {chain}, we find {ours}"),
        Difference::Root { chain, ours } => format!("root: the chain says {chain}, we find {ours}"),
    }
}
