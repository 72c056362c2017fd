//! I8: what the chain paid stands under the state root of the block that paid it.
//!
//! Proven are the stored report and payout table, what the owners of paid members may claim, and the sums that
//! I2 and I7 compare. That the block is final is for `finality` to show.

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use codec::{Decode, Encode};
use iota_chain::{account_key, entry_key, item_key};
use iota_protocol::emission::{EmissionSplit, Terms};
use iota_protocol::ids::{AccountKey, Epoch, Hash, Incarnation, RunId, Uid};
use iota_protocol::view::EpochReportView;

use super::finality::Header;
use super::{paid_at, trie, Finding};
use crate::bundle::{Bundle, Proof};
use crate::look::{payees, Claim};
use crate::source::POT;

/// Bytes of an account's record before its free balance: nonce and three reference counts.
const FREE_AT: usize = 16;

/// Storage keys whose values are proven: report and payouts, the sums over all members, what exists, and what
/// the owners of paid members may claim.
#[must_use]
pub fn keys(run: RunId, epoch: Epoch, owners: &[AccountKey]) -> Vec<Vec<u8>> {
    let settled = ["Reports", "Payouts"].map(|item| entry_key("Iota", item, &(run, epoch)));
    let sums = [
        item_key("Balances", "TotalIssuance"),
        item_key("Iota", "TotalOwed"),
        item_key("Iota", "TotalHeld"),
        account_key("System", "Account", &POT),
    ];
    settled.into_iter().chain(sums).chain(owners.iter().map(rewards_key)).collect()
}

fn rewards_key(owner: &AccountKey) -> Vec<u8> {
    account_key("Iota", "Rewards", owner)
}

/// The hash of headers and trie nodes.
#[must_use]
pub fn blake2_256(bytes: &[u8]) -> [u8; 32] {
    Blake2b::<U32>::digest(bytes).into()
}

/// The stored report, as the pallet lays it out.
#[derive(Decode, Encode, PartialEq, Eq, Debug)]
pub(crate) struct StoredReport {
    pub(crate) block: u32,
    pub(crate) void: bool,
    pub(crate) terms: Terms,
    pub(crate) split: EmissionSplit,
    pub(crate) payouts_root: Hash,
    pub(crate) bonds_root: Hash,
}

/// A stored payment, as the pallet lays it out.
#[derive(Decode, Encode, PartialEq, Eq, Debug)]
pub(crate) struct StoredPayment {
    pub(crate) uid: Uid,
    pub(crate) incarnation: Incarnation,
    pub(crate) coldkey: AccountKey,
    pub(crate) amount: u128,
}

/// I8.
pub(super) fn proven(bundle: &Bundle) -> Finding {
    let claim = "Report, payouts, rewards and the sums that I2 and I7 compare are proven under the state root of the block that paid";
    let finding = Finding::new("I8", claim).at(paid_at(bundle));
    let (Some(proof), Some(report)) = (&bundle.proof, &bundle.report) else {
        return finding.note("no proof was read in the block that paid: the indexer came later");
    };
    let finding = finding.side("hash of the block", proof.hash);
    match check(bundle, proof, report) {
        Ok((hash, sums)) => finding
            .side("hash of the header", hash)
            .note(format!("{} owners' claims and {sums} sums are proven", bundle.claims.len()))
            .judged(true),
        Err(reason) => finding.note(reason).judged(false),
    }
}

/// Checks header, trie and values; the header's hash, and how many sums were compared, if all agree.
fn check(bundle: &Bundle, proof: &Proof, report: &EpochReportView) -> Result<(Hash, u32), String> {
    let bytes = hex::decode(&proof.header).map_err(|_| "the header is no hex".to_owned())?;
    let hash = Hash(blake2_256(&bytes));
    if hash != proof.hash {
        return Err(format!("the header hashes to {hash}"));
    }
    let header = Header::read(&bytes).ok_or_else(|| "the header does not decode".to_owned())?;
    if header.number.0 != report.block || proof.block != report.block {
        return Err(format!(
            "the header is of block {}, paid was in block {}",
            header.number.0, report.block
        ));
    }
    let nodes: Result<Vec<Vec<u8>>, _> = proof.nodes.iter().map(hex::decode).collect();
    let nodes = nodes.map_err(|_| "a trie node is no hex".to_owned())?;
    let state = State { root: header.state_root, nodes };
    settled(bundle, report, &state)?;
    claims(bundle, report, &state)?;
    Ok((hash, sums(bundle, report, &state)?))
}

/// The proven part of a block's state.
struct State {
    root: [u8; 32],
    nodes: Vec<Vec<u8>>,
}

impl State {
    /// What is stored under a key; `None` where nothing is.
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        trie::lookup(&self.root, &self.nodes, key).map_err(|error| error.to_string())
    }

    /// A value of a type; `what` names it where it is of another.
    fn value<T: Decode>(&self, key: &[u8], what: &str) -> Result<Option<T>, String> {
        let Some(bytes) = self.read(key)? else { return Ok(None) };
        whole(&bytes).map(Some).ok_or_else(|| format!("the stored {what} has another layout"))
    }

    /// Compares a stored number, 0 where nothing is stored.
    fn is(&self, key: &[u8], what: &str, listed: u128) -> Result<(), String> {
        agrees(what, self.value::<u128>(key, what)?.unwrap_or(0), listed)
    }
}

fn agrees(what: &str, stored: u128, listed: u128) -> Result<(), String> {
    if stored == listed {
        Ok(())
    } else {
        Err(format!("{what}: the chain stores {stored}, the bundle says {listed}"))
    }
}

/// The stored report and payout table.
fn settled(bundle: &Bundle, report: &EpochReportView, state: &State) -> Result<(), String> {
    let key = |item| entry_key("Iota", item, &(bundle.run, bundle.epoch));
    let missing = || "the proof shows that nothing is stored".to_owned();
    let stored: StoredReport = state.value(&key("Reports"), "report")?.ok_or_else(missing)?;
    let expected = StoredReport {
        block: report.block,
        void: report.void,
        terms: report.terms.clone(),
        split: report.split,
        payouts_root: report.payouts_root,
        bonds_root: report.bonds_root,
    };
    if stored != expected {
        return Err(format!("the chain stores {stored:?}"));
    }
    let payments: Vec<StoredPayment> = state.value(&key("Payouts"), "payouts")?.ok_or_else(missing)?;
    let listed = report.payouts.iter().map(|payout| StoredPayment {
        uid: payout.uid,
        incarnation: payout.incarnation,
        coldkey: payout.coldkey,
        amount: payout.amount,
    });
    if payments.into_iter().eq(listed) {
        Ok(())
    } else {
        Err("the chain stores other payouts".into())
    }
}

/// What each owner of a paid member may claim. Pay of validators is among it at once, pay of miners once it
/// has vested.
fn claims(bundle: &Bundle, report: &EpochReportView, state: &State) -> Result<(), String> {
    if !bundle.claims.iter().map(|claim| claim.coldkey).eq(payees(report)) {
        return Err("the list of claims is not that of the owners of paid members".into());
    }
    for Claim { coldkey, amount } in &bundle.claims {
        state.is(&rewards_key(coldkey), &format!("what {coldkey} may claim"), *amount)?;
    }
    let sum = bundle.claims.iter().try_fold(0u128, |sum, claim| sum.checked_add(claim.amount));
    let all = bundle.funds.as_ref().and_then(|funds| funds.records).map(|records| records.claimable);
    match (sum, all) {
        (Some(sum), Some(all)) if sum > all => {
            Err(format!("owners of paid members may claim {sum}, everybody together {all}"))
        }
        (None, _) => Err("claims of more than there can be".into()),
        _ => Ok(()),
    }
}

/// The sums that other invariants take from the explorer's reading; how many were compared.
fn sums(bundle: &Bundle, report: &EpochReportView, state: &State) -> Result<u32, String> {
    let mut compared = 0;
    if let Some(span) = bundle.issuance.as_ref().filter(|span| span.to_block == report.block) {
        state.is(&item_key("Balances", "TotalIssuance"), "the total issuance", span.after)?;
        compared += 1;
    }
    let Some(funds) = &bundle.funds else { return Ok(compared) };
    state.is(&item_key("Iota", "TotalOwed"), "what is owed", funds.owed)?;
    state.is(&item_key("Iota", "TotalHeld"), "what waits for evidence", funds.waiting)?;
    // Further balances, locks and flags follow the free balance.
    let info = state.read(&account_key("System", "Account", &POT))?.unwrap_or_default();
    let free = info.get(FREE_AT..FREE_AT + 16).and_then(whole::<u128>);
    let free = free.ok_or_else(|| "the account that holds rewards has another layout".to_owned())?;
    agrees("what is held for members", free, funds.pot)?;
    Ok(compared + 3)
}

/// Decodes bytes that must be used up.
pub(super) fn whole<T: Decode>(mut bytes: &[u8]) -> Option<T> {
    let value = T::decode(&mut bytes).ok()?;
    bytes.is_empty().then_some(value)
}
