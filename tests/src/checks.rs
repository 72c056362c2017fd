//! The statements that a devnet must bear out. Each is computed here from what the observer kept,
//! with the same protocol functions that the chain uses.

use std::collections::BTreeMap;

use iota_protocol::audit::payments;
use iota_protocol::emission::carried;
use iota_protocol::ids::{Epoch, Uid};
use iota_protocol::report::Verdict;
use iota_protocol::work::{Role, Transcript};
use serde::{Deserialize, Serialize};

use crate::collect::{EpochRecord, Records};
use crate::network::Devnet;
use crate::summary::{heldout_at_start, report_of, training_epochs, Emission, EpochLine};

/// Named statements.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Checks(pub BTreeMap<String, bool>);

impl Checks {
    /// Whether every statement holds.
    #[must_use]
    pub fn all_hold(&self) -> bool {
        !self.0.is_empty() && self.0.values().all(|holds| *holds)
    }

    /// One statement; false when it was not made.
    #[must_use]
    pub fn holds(&self, name: &str) -> bool {
        self.0.get(name).copied().unwrap_or(false)
    }
}

/// Computes all statements.
#[must_use]
pub fn check(devnet: &Devnet, records: &Records, epochs: &[EpochLine], emission: &Emission) -> Checks {
    let mut checks = BTreeMap::new();
    let mut say = |name: &str, holds: bool| {
        checks.insert(name.to_owned(), holds);
    };
    say("all_epochs_trained", epochs.len() == usize::try_from(devnet.params.epochs).unwrap_or(usize::MAX));
    say("loss_fell", loss_fell(devnet, epochs));
    let bigram = devnet.dataset.bigram_entropy();
    say("beats_bigram", epochs.last().and_then(|line| line.heldout_loss).is_some_and(|loss| loss < bigram));
    say("emission_conserved", emission_conserved(emission));
    say("every_payment_rederived", every_payment_rederived(devnet, records));
    say("verdicts_rederived", verdicts_rederived(devnet, records));
    say("audit_secrets_opened", audit_secrets_opened(devnet));
    say("scores_follow_from_reports", scores_follow_from_reports(devnet, records));
    say("stage_roots_agree", stage_roots_agree(devnet, records));
    say("no_shard_disagrees", epochs.iter().all(|line| line.disagreeing_shards == 0));
    say(
        "no_epoch_void",
        paid_epochs(devnet, records).all(|(_, record)| record.report.as_ref().is_some_and(|r| !r.void)),
    );
    Checks(checks)
}

/// Held-out loss falls in every training epoch, from the initial weights on.
fn loss_fell(devnet: &Devnet, epochs: &[EpochLine]) -> bool {
    let Some(mut before) = heldout_at_start(devnet, Epoch(0)) else { return false };
    for line in epochs {
        match line.heldout_loss {
            Some(loss) if loss < before => before = loss,
            _ => return false,
        }
    }
    !epochs.is_empty()
}

fn emission_conserved(emission: &Emission) -> bool {
    let shares = emission.miners + emission.validators + emission.treasury;
    let after = emission.issuance_before + emission.minted - emission.burned;
    emission.minted > 0 && emission.minted == shares && emission.issuance_after == after
}

fn paid_epochs<'a>(devnet: &Devnet, records: &'a Records) -> impl Iterator<Item = (Epoch, &'a EpochRecord)> {
    training_epochs(devnet, records)
}

/// Consensus, apportionment and schedule are run again from snapshot and revealed rows; bonds are
/// carried along from the first epoch. Every payout must be the same to the unit.
fn every_payment_rederived(devnet: &Devnet, records: &Records) -> bool {
    let mut minted = 0u128;
    let mut bonds = Vec::new();
    let mut any = false;
    for (epoch, record) in paid_epochs(devnet, records) {
        let (Some(report), Some(snapshot)) = (&record.report, &record.snapshot) else { return false };
        // A void epoch that the next one's rows scored: that epoch's validators and rows.
        let by = records.epochs.get(&report.terms.scored_by).unwrap_or(record);
        let snapshot = match &by.snapshot {
            Some(next) if report.terms.scored_by != epoch => carried(snapshot, next),
            _ => snapshot.clone(),
        };
        let (ours, differences) = payments(&devnet.params, &snapshot, &by.scores, &bonds, report);
        let same = report.terms.minted_before == minted && differences.is_empty();
        if !same {
            return false;
        }
        minted += report.split.minted;
        bonds = ours.bonds;
        any = true;
    }
    any
}

/// Every report opens the secret that the same validator's report before it had fixed.
fn audit_secrets_opened(devnet: &Devnet) -> bool {
    let validators = devnet.members.iter().filter(|member| member.role == Role::Validator);
    validators.into_iter().all(|validator| {
        let report = |epoch| report_of(&validator.data_dir(), Epoch(epoch));
        (1..devnet.params.epochs).all(|epoch| match (report(epoch - 1), report(epoch)) {
            (Some(before), Some(after)) => after.opens(&before),
            _ => true,
        })
    })
}

/// What a report's terms say about verdicts and transcripts is what the chain's court shows: every gate
/// has two thirds of the permitted stake behind it, every count of transcripts the opened ones, and each
/// opened transcript is one that its validator's report names.
fn verdicts_rederived(devnet: &Devnet, records: &Records) -> bool {
    let mut any = false;
    for (epoch, record) in paid_epochs(devnet, records) {
        let (Some(report), Some(snapshot)) = (&record.report, &record.snapshot) else { return false };
        if report.terms.scored_by != epoch {
            continue;
        }
        let gated = report.terms.gated.iter().all(|member| record.court.gated.contains(member));
        let counted = report.terms.transcripts.to_vec() == record.court.opened();
        let own = |uid: Uid| {
            let hotkey = records.members.iter().find(|member| member.uid == uid)?.hotkey;
            let validator = devnet.members.iter().find(|member| member.hotkey == hotkey)?;
            report_of(&validator.data_dir(), epoch)
        };
        let audited = record.court.audits.iter().all(|audits| {
            let Some(report) = own(audits.uid) else { return false };
            let named = |said: &Transcript| {
                let verdict = if said.agrees { Verdict::Sound } else { Verdict::Invalid };
                report.audits.iter().any(|line| {
                    (line.uid, line.from_version, line.verdict) == (said.uid, said.segment, verdict)
                })
            };
            audits.opened.iter().flatten().all(named)
        });
        if !gated || !counted || !audited || !record.court.wrong_gates(snapshot).is_empty() {
            return false;
        }
        any = true;
    }
    any
}

/// Each revealed row is the one that follows from the report behind its root.
fn scores_follow_from_reports(devnet: &Devnet, records: &Records) -> bool {
    let validators: Vec<_> = devnet.members.iter().filter(|member| member.role == Role::Validator).collect();
    let mut any = false;
    for (epoch, record) in paid_epochs(devnet, records) {
        for score in record.scores.iter().filter(|score| score.entries.is_some()) {
            let hotkey = records.members.iter().find(|m| m.uid == score.uid).map(|m| m.hotkey);
            let Some(validator) = validators.iter().find(|member| Some(member.hotkey) == hotkey) else {
                return false;
            };
            let Some(report) = report_of(&validator.data_dir(), epoch) else { return false };
            if Some(report.root()) != score.report_root || Some(report.row()) != score.entries {
                return false;
            }
            any = true;
        }
    }
    any
}

/// In every stage and epoch with commits there is a canonical root, and nobody reported another.
fn stage_roots_agree(devnet: &Devnet, records: &Records) -> bool {
    let mut any = false;
    for (_, record) in training_epochs(devnet, records) {
        for merge in record.merges.iter().filter(|merge| !merge.commits.is_empty()) {
            let Some(canonical) = merge.canonical_root else { return false };
            if merge.commits.iter().filter_map(|commit| commit.root).any(|root| root != canonical) {
                return false;
            }
            any = true;
        }
    }
    any
}
