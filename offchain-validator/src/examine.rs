//! One audit from the choice of its segment to the docket: what the scoring task does for its report,
//! and the court once more when a miner serves late what it withheld.

use std::sync::Arc;

use codec::Encode;
use iota_network::Network;
use iota_protocol::hash::{hash, Domain};
use iota_protocol::ids::{Epoch, Hash, RunId};
use iota_protocol::report::Verdict;

use crate::audit::{Audit, Auditor, Subject, Which};
use crate::docket::{Dockets, Judgement, Missing};
use crate::exhibits::Exhibits;
use crate::starts::Starts;

/// The secret that chooses a validator's audits of an epoch; its hash stands in the report of the one
/// before. Derived from the hotkey, so that a restart has the same.
#[must_use]
pub fn secret(hotkey_secret: &Hash, run: RunId, epoch: Epoch) -> [u8; 32] {
    hash(Domain::Audit, &(hotkey_secret, run, epoch).encode()).0
}

/// What every audit of this validator shares.
#[derive(Clone)]
pub struct Examiner {
    /// Peers.
    pub network: Network,
    /// The run.
    pub run: RunId,
    /// Findings.
    pub dockets: Arc<Dockets>,
    /// States that epochs start with.
    pub starts: Starts,
}

impl Examiner {
    /// One audit, with what it found in the docket, and the evidence behind an accusation on disk before
    /// it. A finding from before a restart is not found out anew: it may have been said on chain.
    ///
    /// # Errors
    /// When the disk is full.
    pub async fn examine(&self, auditor: &Auditor<'_>, subject: &Subject<'_>) -> anyhow::Result<Audit> {
        let (epoch, uid, incarnation) = (auditor.epoch, subject.member.uid, subject.member.incarnation);
        if let Some(known) = self.dockets.recall(epoch).audited(uid) {
            return Ok(Audit::known(known));
        }
        let start = self.starts.of(epoch, subject.stage);
        let mut exhibits = Exhibits::of(&self.network, subject.member, self.run, epoch);
        let audit = auditor.audit(subject, start.as_ref(), Which::Seeded, &mut exhibits).await;
        if let Some(wanted) = audit.missing {
            self.dockets.miss(epoch, Missing { uid, incarnation, wanted })?;
        }
        let guilty = match audit.verdict {
            Verdict::Undecided => return Ok(audit),
            Verdict::Invalid => true,
            Verdict::Sound => false,
        };
        if guilty {
            self.dockets.keep_case(&exhibits.into_case(audit.from_version, subject.receipts))?;
        }
        let segment = audit.from_version.0;
        let judgement = Judgement { uid, incarnation, segment, guilty, root: audit.root, own: true };
        let stands = self.dockets.judge(epoch, judgement)?;
        Ok(if stands == judgement { audit } else { Audit::known(&stands) })
    }
}
