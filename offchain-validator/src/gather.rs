//! Fetching an epoch's evidence from its miners: commits from the chain, receipts and logs from the
//! members that committed their roots.

use std::collections::BTreeMap;
use std::time::Duration;

use iota_network::Network;
use iota_protocol::duty;
use iota_protocol::evidence::MinerReceipts;
use iota_protocol::ids::{Epoch, Stage, Uid};
use iota_protocol::params::RunParams;
use iota_protocol::view::{CommitView, MemberView};
use iota_worker::fetch::{self, FetchError};
use iota_worker::session::Session;
use tokio::time::Instant;

use crate::witness::Witness;

/// Least time for which receipts are asked for before a miner counts as unreachable: accusing nobody, paying
/// nothing this epoch. A fetch that goes well takes under a second.
const LEAST_PATIENCE: Duration = Duration::from_secs(6);
/// Longest: a home router has started again after it, and audits wait for everybody's receipts.
const LONGEST_PATIENCE: Duration = Duration::from_secs(300);

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
    let deadline = Instant::now() + patience(blocks_left(session), session.chain.block_time());
    let mut asked = tokio::task::JoinSet::new();
    for committed in &evidence.commits {
        let Some(then) = witness.member(committed.commit.uid).cloned() else { continue };
        let (network, session, committed) = (network.clone(), session.clone(), committed.clone());
        asked.spawn(async move {
            let root = committed.commit.work.receipts_root;
            let ask =
                async || fetch::receipts(&network, &newest(&session, &then), session.run, epoch, root).await;
            let receipts = fetch::until(deadline, ask).await;
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

/// Blocks in which the row can still be sent.
fn blocks_left(session: &Session) -> u32 {
    session.peek().map_or(0, |view| view.schedule.score_commit().end.saturating_sub(view.head.number))
}

/// Half of the time that is left until the row is due, within bounds: a line that was down for that long costs
/// its miner nothing, and the other half is for the audits.
fn patience(blocks_left: u32, block_time: Duration) -> Duration {
    (block_time.saturating_mul(blocks_left) / 2).clamp(LEAST_PATIENCE, LONGEST_PATIENCE)
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
pub fn latest(session: &Session, witness: &Witness, uid: Uid) -> Option<MemberView> {
    Some(newest(session, witness.member(uid)?))
}

fn newest(session: &Session, then: &MemberView) -> MemberView {
    let now = session.peek().and_then(|view| view.member(then.uid).cloned());
    now.filter(|member| member.incarnation == then.incarnation).unwrap_or_else(|| then.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_are_asked_for_until_half_of_the_window_is_over() {
        let second = Duration::from_secs(1);
        assert_eq!(patience(28, second), Duration::from_secs(14));
        assert_eq!(patience(60, Duration::from_secs(6)), Duration::from_secs(180));
        assert_eq!(patience(300, Duration::from_secs(6)), LONGEST_PATIENCE);
        assert_eq!(patience(3, second), LEAST_PATIENCE, "a row that is late is no reason to ask nobody");
        assert_eq!(patience(u32::MAX, Duration::MAX), LONGEST_PATIENCE);
    }
}
