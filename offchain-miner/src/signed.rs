//! Headers that neighbours signed: whoever signs two bodies for one hop is reported.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use iota_chain::{Call, Submitter};
use iota_protocol::equivocation::{Equivocation, SignedHeader};
use iota_protocol::ids::{Attempt, Sample, Uid};
use iota_protocol::receipt::Direction;
use tokio::sync::mpsc;

/// Headers that are remembered; more than an epoch's samples of one stage, 250 bytes each. A neighbour
/// that floods them out with attempts is not caught here, and trains nothing meanwhile.
const MAX_SEEN: usize = 8_192;
/// Proofs that wait to be submitted: one for each member that could be guilty at a time.
pub const PROOFS: usize = 16;

type Key = (Sample, Attempt, Direction, Uid);

/// What neighbours signed in an epoch.
#[derive(Default)]
pub struct Signed {
    seen: BTreeMap<Key, SignedHeader>,
    order: VecDeque<Key>,
    reported: BTreeSet<Uid>,
}

impl Signed {
    /// Remembers a header whose signature was checked; a proof if it contradicts an earlier one, once
    /// for each neighbour.
    pub fn heard(&mut self, said: &SignedHeader) -> Option<Equivocation> {
        let header = &said.header;
        let key = (header.sample, header.attempt, header.direction, header.from);
        let Some(first) = self.seen.get(&key) else {
            if self.order.len() >= MAX_SEEN {
                if let Some(oldest) = self.order.pop_front() {
                    self.seen.remove(&oldest);
                }
            }
            self.order.push_back(key);
            self.seen.insert(key, said.clone());
            return None;
        };
        let proof = Equivocation { first: first.clone(), second: said.clone() };
        (proof.check().is_ok() && self.reported.insert(header.from)).then_some(proof)
    }
}

/// Submits proofs until the program ends. The chain takes the first of several witnesses.
pub async fn report(mut proofs: mpsc::Receiver<Equivocation>, submitter: Arc<Submitter>) {
    while let Some(proof) = proofs.recv().await {
        let header = &proof.first.header;
        let (uid, epoch, sample) = (header.from, header.epoch, header.sample);
        tracing::warn!(%uid, %epoch, %sample, "a neighbour signed two bodies for one hop");
        match submitter.submit_finalized(&Call::report_equivocation(&proof)).await {
            Ok(_) => tracing::info!(%uid, %epoch, "proof of equivocation taken by the chain"),
            Err(error) => tracing::warn!(%uid, %epoch, %error, "proof of equivocation not taken"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iota_protocol::ids::{Epoch, Hash, RunId, Stage};
    use iota_protocol::params::WireCodec;
    use iota_protocol::wire::{HopHeader, WIRE_VERSION};

    fn said(sample: u32, attempt: u8, codes: u8, parent: u8) -> SignedHeader {
        let header = HopHeader {
            version: WIRE_VERSION,
            run: RunId(0),
            epoch: Epoch(1),
            sample: Sample(sample),
            attempt: Attempt(attempt),
            stage: Stage(1),
            direction: Direction::Forward,
            from: Uid(3),
            values: 8,
            codec: WireCodec::Int8,
            codes_hash: Hash([codes; 32]),
            parent: Hash([parent; 32]),
        };
        SignedHeader { header, signature: [codes; 64] }
    }

    #[test]
    fn other_values_for_one_hop_are_a_proof_once() {
        let mut signed = Signed::default();
        assert_eq!(signed.heard(&said(1, 0, 5, 0)), None);
        assert_eq!(signed.heard(&said(1, 0, 5, 0)), None, "sent again");
        assert_eq!(signed.heard(&said(1, 0, 5, 9)), None, "for another parent");
        assert_eq!(signed.heard(&said(1, 1, 6, 0)), None, "another attempt");
        let proof = signed.heard(&said(1, 0, 6, 0)).unwrap();
        assert_eq!(proof.check(), Ok(()));
        assert_eq!(signed.heard(&said(1, 0, 7, 0)), None, "reported already");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut signed = Signed::default();
        let count = u32::try_from(MAX_SEEN).unwrap() + 10;
        for sample in 0..count {
            assert_eq!(signed.heard(&said(sample, 0, 5, 0)), None);
        }
        assert_eq!((signed.seen.len(), signed.order.len()), (MAX_SEEN, MAX_SEEN));
        assert_eq!(signed.heard(&said(0, 0, 6, 0)), None, "the oldest are forgotten");
        assert!(signed.heard(&said(count - 1, 0, 6, 0)).is_some());
    }
}
