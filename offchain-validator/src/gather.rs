//! Fetching an epoch's evidence from its miners: commits from the chain, receipts and logs from the
//! members that committed their roots.

use std::collections::BTreeMap;
use std::time::Duration;

use iota_network::Network;
use iota_protocol::duty;
use iota_protocol::evidence::MinerReceipts;
use iota_protocol::ids::{Epoch, Stage, Uid};
use iota_protocol::params::RunParams;
use iota_protocol::view::CommitView;
use iota_worker::fetch::{self, FetchError};
use iota_worker::session::Session;
use tokio::time::Instant;

use crate::witness::Witness;

/// How long receipts are asked for before a miner counts as unreachable: accusing nobody, paying
/// nothing this epoch.
const PATIENCE: Duration = Duration::from_secs(6);

/// A miner's commit in its stage.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its stage.
    pub stage: Stage,
    /// What stands on chain.
    pub commit: CommitView,
}

/// An epoch's evidence.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Everyone who committed.
    pub commits: Vec<Committed>,
    /// Receipts that match their roots.
    pub receipts: Vec<MinerReceipts>,
    /// Miners that serve other receipts than they committed. No proof: what is served is not signed.
    pub invalid: Vec<Uid>,
    /// Miners whose receipts could not be had.
    pub unreachable: Vec<Uid>,
    /// Part of their shards, in millionths, that owners did not deliver, by what the chain shows.
    pub undelivered: BTreeMap<Uid, u32>,
}

/// Gathers an epoch's evidence.
///
/// # Errors
/// When the node does not answer.
pub async fn evidence(
    session: &Session,
    network: &Network,
    params: &RunParams,
    witness: &Witness,
    epoch: Epoch,
) -> anyhow::Result<Evidence> {
    let mut evidence = Evidence::default();
    evidence.read_merges(session, params, epoch).await?;
    let mut asked = tokio::task::JoinSet::new();
    for committed in &evidence.commits {
        let Some(member) = latest(session, witness, committed.commit.uid) else { continue };
        let (network, run, committed) = (network.clone(), session.run, committed.clone());
        asked.spawn(async move {
            let root = committed.commit.work.receipts_root;
            let deadline = Instant::now() + PATIENCE;
            let receipts =
                fetch::until(deadline, || fetch::receipts(&network, &member, run, epoch, root)).await;
            (committed, receipts)
        });
    }
    while let Some(answer) = asked.join_next().await {
        let (committed, receipts) = answer?;
        evidence.add(&committed, receipts);
    }
    evidence.receipts.sort_by_key(|miner| miner.uid);
    evidence.invalid.sort_unstable();
    evidence.unreachable.sort_unstable();
    Ok(evidence)
}

impl Evidence {
    /// Miners whose receipts could not be had, or not those that they committed, with the roots.
    pub fn missing(&self) -> impl Iterator<Item = (Uid, iota_protocol::ids::Hash)> + '_ {
        let without = self.invalid.iter().chain(&self.unreachable);
        without.filter_map(|uid| {
            let own = self.commits.iter().find(|own| own.commit.uid == *uid)?;
            Some((*uid, own.commit.work.receipts_root))
        })
    }

    /// Commits of all stages, and what their owners owe.
    async fn read_merges(
        &mut self,
        session: &Session,
        params: &RunParams,
        epoch: Epoch,
    ) -> anyhow::Result<()> {
        let at = session.chain.at_finalized().await?;
        for stage in (0..params.n_stages()).map(Stage) {
            let merge = at.merge(session.run, epoch, stage).await?.unwrap_or_default();
            if let Some(agreement) = at.agreement(session.run, epoch, stage).await? {
                self.undelivered.extend(duty::undelivered(&merge, &agreement));
            }
            self.commits.extend(merge.commits.into_iter().map(|commit| Committed { stage, commit }));
        }
        Ok(())
    }

    fn add(
        &mut self,
        committed: &Committed,
        receipts: Result<Vec<iota_protocol::receipt::Receipt>, FetchError>,
    ) {
        let uid = committed.commit.uid;
        match receipts {
            Ok(receipts) => self.receipts.push(MinerReceipts { uid, stage: committed.stage, receipts }),
            Err(error @ FetchError::Invalid { .. }) => {
                tracing::warn!(%uid, %error, "receipts contradict the commitment");
                self.invalid.push(uid);
            }
            Err(error) => {
                tracing::warn!(%uid, %error, "receipts could not be had");
                self.unreachable.push(uid);
            }
        }
    }
}

/// A member with its newest endpoint, if it is still the same incarnation.
#[must_use]
pub fn latest(session: &Session, witness: &Witness, uid: Uid) -> Option<iota_protocol::view::MemberView> {
    let then = witness.member(uid)?;
    let now = session.peek().and_then(|view| view.member(uid).cloned());
    Some(now.filter(|member| member.incarnation == then.incarnation).unwrap_or_else(|| then.clone()))
}
