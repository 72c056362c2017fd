//! Where tokens come from and where they are: I1 to I4 and I7.

use iota_protocol::emission::{epoch_emission, Terms, MAX_SUPPLY};
use iota_protocol::fixed::mul_div;
use iota_protocol::params::PPM;

use super::{paid_at, Finding};
use crate::bundle::terms::is_foreign_mint;
use crate::bundle::{Bundle, Emission, Term};

/// I1: what all accounts hold is what exists.
pub(super) fn balances(bundle: &Bundle) -> Finding {
    let finding = Finding::new("I1", "All balances together are the total issuance").at(paid_at(bundle));
    let (Some(funds), Some(span)) = (&bundle.funds, &bundle.issuance) else {
        return finding.note("balances were not read in the block that paid: the indexer came later");
    };
    let finding = finding.side("total issuance", span.after);
    match funds.balances {
        Some(sum) => finding
            .side("free and reserved balances", sum)
            .note(format!("{} accounts", funds.accounts))
            .judged(sum == span.after),
        None => finding.note(format!("{} accounts are too many to sum", funds.accounts)),
    }
}

/// I2: issuance changes by what is minted and burned, and by nothing else. Everybody may burn; only a
/// run's emission may mint, and this epoch's is the one of its report.
pub(super) fn change(bundle: &Bundle) -> Finding {
    let claim = "Issuance changed by what was minted less what was burned";
    let finding = Finding::new("I2", claim).at(paid_at(bundle));
    let (Some(span), Some(report)) = (&bundle.issuance, &bundle.report) else {
        return finding.note("issuance is not known at both ends, or a block between them is missing");
    };
    let made = span.terms.iter().fold(0u128, |sum, term| sum.saturating_add(term.made));
    let destroyed = span.terms.iter().fold(0u128, |sum, term| sum.saturating_add(term.destroyed));
    let expected = span.before.checked_add(made).and_then(|sum| sum.checked_sub(destroyed));
    let own = emission(bundle, &span.terms, report.block);
    let mut finding = finding
        .side(&format!("issuance after block {}", span.to_block), span.after)
        .side(
            &format!("issuance after block {} + {made} minted - {destroyed} burned", span.from_block),
            expected.map_or_else(|| "below zero".to_owned(), |sum| sum.to_string()),
        )
        .side("emission among the terms", own)
        .side("minted by the report", report.split.minted);
    finding.notes.extend(span.terms.iter().map(words));
    let reaches = span.from_block < span.to_block && span.to_block == report.block;
    let nothing_else = !span.terms.iter().any(is_foreign_mint) && own == report.split.minted;
    finding.judged(reaches && expected == Some(span.after) && nothing_else)
}

/// What the terms say that this epoch's emission was, in the block that paid it.
fn emission(bundle: &Bundle, terms: &[Term], paid: u32) -> u128 {
    let own = Emission { run: bundle.run, epoch: bundle.epoch };
    let own = terms.iter().filter(|term| term.block == paid && term.emission == Some(own));
    own.fold(0u128, |sum, term| sum.saturating_add(term.made))
}

fn words(term: &Term) -> String {
    let sign = if term.made > 0 { "+" } else { "-" };
    let blame = if is_foreign_mint(term) { ", which is no run's emission" } else { "" };
    format!("block {}: {} {sign}{}{blame}", term.block, term.event, term.made.max(term.destroyed))
}

/// I3: what was minted is what the schedule gives.
pub(super) fn schedule(bundle: &Bundle) -> Finding {
    let claim = "What was minted is what the schedule gives, and supply stays below its cap";
    let finding = Finding::new("I3", claim).at(paid_at(bundle));
    let Some(report) = &bundle.report else {
        return finding.note("the epoch has not been paid");
    };
    let due = if report.void { 0 } else { due(&report.terms) };
    let total = report.terms.minted_before.saturating_add(report.split.minted);
    let finding = finding
        .side("minted", report.split.minted)
        .side("by the schedule", due)
        .note(format!("minted by all epochs until now {total}, cap {MAX_SUPPLY}"))
        .note(halving(total));
    let in_line = report.split.minted == due && total <= MAX_SUPPLY;
    match bundle.minted_before {
        Some(sum) => {
            let same = sum == report.terms.minted_before;
            finding
                .note(format!(
                    "minted before: the report says {}, all earlier reports say {sum}",
                    report.terms.minted_before
                ))
                .judged(in_line && same)
        }
        None if !in_line => finding.judged(false),
        None => {
            finding.note("earlier reports are missing, so the count of what was minted before is not checked")
        }
    }
}

/// The run's share of the chain's schedule, rounded down.
fn due(terms: &Terms) -> u128 {
    let whole = epoch_emission(terms.minted_before);
    mul_div(whole, u128::from(terms.share_ppm.min(PPM)), u128::from(PPM)).unwrap_or(0)
}

fn halving(total: u128) -> String {
    let now = epoch_emission(total);
    // Thresholds are powers of two below the cap: the next one halves what is left.
    let left = MAX_SUPPLY.saturating_sub(total);
    let threshold = (1..u128::BITS).map(|k| MAX_SUPPLY >> k).find(|rest| *rest < left);
    match threshold {
        Some(rest) if now > 0 => {
            format!(
                "next halving in {} epochs, when {} more are minted",
                (left - rest).div_ceil(now),
                left - rest
            )
        }
        _ => "nothing is left to mint".into(),
    }
}

/// I4: everything that was minted went somewhere.
pub(super) fn split(bundle: &Bundle) -> Finding {
    let claim = "Miners, validators and treasury together got what was minted";
    let finding = Finding::new("I4", claim).at(paid_at(bundle));
    let Some(report) = &bundle.report else {
        return finding.note("the epoch has not been paid");
    };
    let split = &report.split;
    let sum = split.miners.checked_add(split.validators).and_then(|sum| sum.checked_add(split.treasury));
    let paid = report.payouts.iter().try_fold(0u128, |sum, payout| sum.checked_add(payout.amount));
    let to_members = split.miners.checked_add(split.validators);
    finding
        .side("minted", split.minted)
        .side(
            "miners + validators + treasury",
            sum.map_or_else(|| "overflow".to_owned(), |sum| sum.to_string()),
        )
        .note(format!(
            "{} to miners, {} to validators, {} to the treasury",
            split.miners, split.validators, split.treasury
        ))
        .judged(sum == Some(split.minted) && paid.is_some() && paid == to_members)
}

/// I7: what is owed can be paid, and is what the members' records say.
pub(super) fn owed(bundle: &Bundle) -> Finding {
    let claim = "What members are owed is the sum of their records, and is held for them";
    let finding = Finding::new("I7", claim).at(paid_at(bundle));
    let Some(funds) = &bundle.funds else {
        return finding.note("not read in the block that paid: the indexer came later");
    };
    let needed = funds.owed.checked_add(funds.waiting);
    let covered = needed.is_some_and(|sum| sum <= funds.pot);
    let finding = finding
        .side("owed to members", funds.owed)
        .side("held for them", funds.pot)
        .note(format!("{} more wait for evidence in the same account", funds.waiting));
    match funds.records {
        Some(records) => {
            let sum = records.claimable.checked_add(records.vesting);
            finding
                .note(format!("{} may be claimed, {} vest", records.claimable, records.vesting))
                .judged(covered && sum == Some(funds.owed))
        }
        None if !covered => finding.judged(false),
        None => finding.note("there are too many records to sum"),
    }
}
