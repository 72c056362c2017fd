//! The evidence behind an accusation: the pieces of the accused miner's own commitment that the accuser
//! replayed, so that others can check the same segment although the miner serves nothing any more.
//!
//! Nothing in it has to be believed: the log and the receipts stand under roots that the miner
//! committed on chain, the state under a root in the log, codes under hashes in the log. Off chain; the
//! chain holds the root.

use alloc::vec::Vec;
use codec::{Decode, Encode};

use crate::hash::{hash, Domain};
use crate::ids::{Epoch, Hash, Incarnation, RunId, Uid};
use crate::receipt::{LogEvent, Receipt};

/// Version of the format.
pub const CASE_VERSION: u16 = 2;

/// What one accusation rests on.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Case {
    /// `CASE_VERSION`.
    pub version: u16,
    /// The run.
    pub run: RunId,
    /// The epoch.
    pub epoch: Epoch,
    /// The accused.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// First local step of the segment.
    pub segment: u32,
    /// All receipts of the miner.
    pub receipts: Vec<Receipt>,
    /// Its whole event log.
    pub log: Vec<LogEvent>,
    /// Encoded trainer states under roots in the log: before the segment, unless it begins at the epoch's
    /// start, whose state is public; after it, where the replay ends at another.
    pub states: Vec<Vec<u8>>,
    /// Code bytes that the segment reads or that the miner claims to have sent.
    pub codes: Vec<Vec<u8>>,
}

impl Case {
    /// The root that the accusation carries.
    #[must_use]
    pub fn root(&self) -> Hash {
        root_of(&self.encode())
    }
}

/// Root of an encoded case.
#[must_use]
pub fn root_of(encoded: &[u8]) -> Hash {
    hash(Domain::Case, encoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn every_part_changes_the_root() {
        let case = Case {
            version: CASE_VERSION,
            run: RunId(1),
            epoch: Epoch(2),
            uid: Uid(3),
            incarnation: Incarnation(4),
            segment: 5,
            receipts: vec![],
            log: vec![],
            states: vec![],
            codes: vec![vec![1]],
        };
        assert_eq!(case.root(), root_of(&case.encode()));
        let others = [
            Case { epoch: Epoch(3), ..case.clone() },
            Case { uid: Uid(4), ..case.clone() },
            Case { segment: 6, ..case.clone() },
            Case { states: vec![vec![]], ..case.clone() },
            Case { codes: vec![vec![2]], ..case.clone() },
        ];
        for other in others {
            assert_ne!(other.root(), case.root());
        }
    }
}
