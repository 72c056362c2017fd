//! I8: what the chain paid stands under the state root of the block that paid it.
//!
//! Proven are the stored report and payout table. That the block is final is for `finality` to show.

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use codec::{Decode, Encode};
use iota_chain::entry_key;
use iota_protocol::emission::{EmissionSplit, Terms};
use iota_protocol::ids::{AccountKey, Epoch, Hash, Incarnation, RunId, Uid};
use iota_protocol::view::EpochReportView;

use super::finality::Header;
use super::{paid_at, trie, Finding};
use crate::bundle::{Bundle, Proof};

/// Storage keys whose values are proven: report, payouts.
#[must_use]
pub fn keys(run: RunId, epoch: Epoch) -> Vec<Vec<u8>> {
    ["Reports", "Payouts"].iter().map(|item| entry_key("Iota", item, &(run, epoch))).collect()
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
    let claim = "Report and payouts are proven under the state root of the block that paid";
    let finding = Finding::new("I8", claim).at(paid_at(bundle));
    let (Some(proof), Some(report)) = (&bundle.proof, &bundle.report) else {
        return finding.note("no proof was read in the block that paid: the indexer came later");
    };
    let finding = finding.side("hash of the block", proof.hash);
    match check(bundle, proof, report) {
        Ok(hash) => finding.side("hash of the header", hash).judged(true),
        Err(reason) => finding.note(reason).judged(false),
    }
}

/// Checks header, trie and values; the header's hash if all agree.
fn check(bundle: &Bundle, proof: &Proof, report: &EpochReportView) -> Result<Hash, String> {
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
    let values = keys(bundle.run, bundle.epoch);
    let [stored, payments] = values.as_slice() else { return Err("unknown keys".into()) };
    let read = |key: &[u8]| {
        let value = trie::lookup(&header.state_root, &nodes, key).map_err(|error| error.to_string())?;
        value.ok_or_else(|| "the proof shows that nothing is stored".to_owned())
    };
    let stored = whole::<StoredReport>(&read(stored)?).ok_or("the stored report has another layout")?;
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
    let payments =
        whole::<Vec<StoredPayment>>(&read(payments)?).ok_or("the stored payouts have another layout")?;
    let listed = report.payouts.iter().map(|payout| StoredPayment {
        uid: payout.uid,
        incarnation: payout.incarnation,
        coldkey: payout.coldkey,
        amount: payout.amount,
    });
    if payments.iter().eq(listed.collect::<Vec<_>>().iter()) {
        Ok(hash)
    } else {
        Err("the chain stores other payouts".into())
    }
}

/// Decodes bytes that must be used up.
pub(super) fn whole<T: Decode>(mut bytes: &[u8]) -> Option<T> {
    let value = T::decode(&mut bytes).ok()?;
    bytes.is_empty().then_some(value)
}
