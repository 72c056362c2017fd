//! What made and destroyed tokens, from the events of a span of blocks.
//!
//! The ledger reports every change of issuance by itself, also those that a run causes. A run's own event
//! takes the place of the ledger's, so that a registration is not counted twice, and so that what no run
//! caused stands under the ledger's name: everybody may burn what is theirs.

use iota_protocol::ids::{Epoch, RunId};

use super::{Emission, Term};
use crate::look::{number, PALLET};
use crate::store::EventRow;

/// The ledger's name in events.
const LEDGER: &str = "Balances";
/// The event of a run that makes tokens.
const SETTLED: &str = "EpochSettled";

/// What an event says about issuance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    Made(u128),
    Destroyed(u128),
}

/// The terms of blocks whose events stand in the order of the chain.
pub(super) fn terms(events: &[EventRow]) -> Vec<Term> {
    let mut ledger: Vec<(&EventRow, Change)> = changes(events, LEDGER, by_ledger);
    let runs = changes(events, PALLET, by_run);
    for (event, change) in &runs {
        let cause = |(own, same): &(&EventRow, Change)| {
            own.block == event.block && same == change && owner(own, "who") == owner(event, "coldkey")
        };
        if let Some(at) = ledger.iter().position(cause) {
            ledger.remove(at);
        }
    }
    let mut all = [runs, ledger].concat();
    all.sort_by_key(|(event, _)| (event.block, event.index));
    all.into_iter().map(|(event, change)| term(event, change)).collect()
}

/// Whether a term made tokens that no run's emission accounts for.
pub(crate) fn is_foreign_mint(term: &Term) -> bool {
    term.made > 0 && term.event != format!("{PALLET}.{SETTLED}")
}

fn changes<'a>(
    events: &'a [EventRow],
    pallet: &str,
    read: fn(&EventRow) -> Option<Change>,
) -> Vec<(&'a EventRow, Change)> {
    let of_pallet = events.iter().filter(|event| event.pallet == pallet);
    let changes = of_pallet.filter_map(|event| Some((event, read(event)?)));
    changes.filter(|(_, change)| !matches!(change, Change::Made(0) | Change::Destroyed(0))).collect()
}

/// Changes by a run: its emission, and what a registration burns.
fn by_run(event: &EventRow) -> Option<Change> {
    match event.name.as_str() {
        SETTLED => amount(event, "minted").map(Change::Made),
        "Registered" => amount(event, "price").map(Change::Destroyed),
        _ => None,
    }
}

/// Every event with which the ledger changes issuance. Deposits, withdrawals, holds and lost dust move
/// tokens only: fees go to authors, dust to the treasury.
fn by_ledger(event: &EventRow) -> Option<Change> {
    match event.name.as_str() {
        "Issued" | "Minted" | "MintedCredit" => amount(event, "amount").map(Change::Made),
        "Rescinded" | "Burned" | "BurnedHeld" | "BurnedDebt" => {
            amount(event, "amount").map(Change::Destroyed)
        }
        "TotalIssuanceForced" => {
            let (old, new) = (amount(event, "old")?, amount(event, "new")?);
            let made = new.checked_sub(old).map(Change::Made);
            Some(made.unwrap_or(Change::Destroyed(old.saturating_sub(new))))
        }
        _ => None,
    }
}

fn amount(event: &EventRow, name: &str) -> Option<u128> {
    event.fields.get(name)?.as_str()?.parse().ok()
}

fn owner<'a>(event: &'a EventRow, field: &str) -> Option<&'a str> {
    event.fields.get(field)?.as_str()
}

fn term(event: &EventRow, change: Change) -> Term {
    let (made, destroyed) = match change {
        Change::Made(amount) => (amount, 0),
        Change::Destroyed(amount) => (0, amount),
    };
    Term {
        block: event.block,
        event: format!("{}.{}", event.pallet, event.name),
        made,
        destroyed,
        emission: emission(event),
    }
}

fn emission(event: &EventRow) -> Option<Emission> {
    let is_one = event.pallet == PALLET && event.name == SETTLED;
    let of = || Some((number(&event.fields, "run")?, number(&event.fields, "epoch")?));
    of().filter(|_| is_one).map(|(run, epoch)| Emission { run: RunId(run), epoch: Epoch(epoch) })
}

#[cfg(test)]
mod tests {
    use serde_json::{json, Value as Json};

    use super::*;

    fn event(block: u32, index: u32, name: &str, fields: Json) -> EventRow {
        let (pallet, name) = name.split_once('.').unwrap();
        EventRow { block, index, pallet: pallet.into(), name: name.into(), fields }
    }

    fn check(events: &[EventRow], expected: &[(&str, u128, u128)]) {
        let found = terms(events);
        let found: Vec<_> = found.iter().map(|t| (t.event.as_str(), t.made, t.destroyed)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_registration_is_counted_once_and_the_same_owners_own_burn_beside_it() {
        let burned =
            |index, who: &str| event(3, index, "Balances.Burned", json!({ "who": who, "amount": "7" }));
        let registered = event(3, 2, "Iota.Registered", json!({ "coldkey": "a", "price": "7" }));
        check(&[burned(1, "a"), registered.clone()], &[("Iota.Registered", 0, 7)]);
        let twice = [burned(0, "a"), burned(1, "a"), registered.clone()];
        check(&twice, &[("Balances.Burned", 0, 7), ("Iota.Registered", 0, 7)]);
        let other = [burned(0, "b"), burned(1, "a"), registered.clone()];
        check(&other, &[("Balances.Burned", 0, 7), ("Iota.Registered", 0, 7)]);
        let later = event(4, 0, "Balances.Burned", json!({ "who": "a", "amount": "7" }));
        check(&[registered, later], &[("Iota.Registered", 0, 7), ("Balances.Burned", 0, 7)]);
    }

    #[test]
    fn emission_is_counted_once_and_a_mint_of_nobodys_is_told_apart() {
        let issued = |index, amount: &str| event(9, index, "Balances.Issued", json!({ "amount": amount }));
        let settled = event(9, 2, "Iota.EpochSettled", json!({ "run": "0", "minted": "50", "burned": "0" }));
        check(&[issued(0, "50"), settled.clone()], &[("Iota.EpochSettled", 50, 0)]);
        let both = [issued(0, "50"), issued(1, "8"), settled];
        check(&both, &[("Balances.Issued", 8, 0), ("Iota.EpochSettled", 50, 0)]);
        let foreign: Vec<bool> = terms(&both).iter().map(is_foreign_mint).collect();
        assert_eq!(foreign, [true, false]);
        check(&[event(9, 2, "Iota.EpochSettled", json!({ "minted": "0" }))], &[]);
    }

    #[test]
    fn every_way_in_which_the_ledger_changes_issuance_is_a_term() {
        for name in ["Rescinded", "Burned", "BurnedHeld", "BurnedDebt"] {
            let name = format!("Balances.{name}");
            check(&[event(1, 0, &name, json!({ "amount": "5" }))], &[(&name, 0, 5)]);
        }
        for name in ["Issued", "Minted", "MintedCredit"] {
            let name = format!("Balances.{name}");
            check(&[event(1, 0, &name, json!({ "amount": "5" }))], &[(&name, 5, 0)]);
        }
        let forced = |old: &str, new: &str| {
            event(1, 0, "Balances.TotalIssuanceForced", json!({ "old": old, "new": new }))
        };
        check(&[forced("9", "4")], &[("Balances.TotalIssuanceForced", 0, 5)]);
        check(&[forced("4", "9")], &[("Balances.TotalIssuanceForced", 5, 0)]);
        for name in ["Deposit", "Withdraw", "DustLost", "Transfer", "Held", "Released"] {
            check(&[event(1, 0, &format!("Balances.{name}"), json!({ "amount": "5" }))], &[]);
        }
    }
}
