//! A run as seen at the newest finalized block: parameters, clock, members. Updated by one task;
//! everyone else reads the newest value or waits for the next.

use std::sync::Arc;

use iota_chain::{Chain, ChainError, Head};
use iota_network::{Network, PeerInfo};
use iota_protocol::ids::{Epoch, RunId, Stage, Uid};
use iota_protocol::params::RunParams;
use iota_protocol::phase::{Phase, Schedule};
use iota_protocol::view::{ClockView, MemberView, RunState};
use iota_protocol::work::Role;
use tokio::sync::watch;

use crate::onboard;

/// Blocks by which a finalized head trails the block that is being built; submissions made now
/// land about this much later than the head that prompted them.
pub const FINALITY_LAG_BLOCKS: u32 = 2;

/// The run at one finalized block.
#[derive(Clone, Debug)]
pub struct RunSnapshot {
    /// The block.
    pub head: Head,
    /// The run's clock.
    pub clock: ClockView,
    /// Its members in uid order.
    pub members: Arc<Vec<MemberView>>,
    /// Windows of the current epoch.
    pub schedule: Schedule,
    /// The run's parameters in the current epoch.
    pub params: Arc<RunParams>,
}

impl RunSnapshot {
    /// The current epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.clock.epoch
    }

    /// The window that is open at the finalized head.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.schedule.phase_at(self.head.number)
    }

    /// Whether epochs follow each other.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.clock.state == RunState::Running
    }

    /// A member by uid.
    #[must_use]
    pub fn member(&self, uid: Uid) -> Option<&MemberView> {
        self.members.iter().find(|member| member.uid == uid)
    }

    /// Miners of a stage in uid order.
    pub fn miners(&self, stage: Stage) -> impl Iterator<Item = &MemberView> {
        self.members.iter().filter(move |m| m.role == Role::Miner && m.stage == Some(stage))
    }

    /// Miners of a stage with their pathway weights, as `pathway::preference` takes them.
    #[must_use]
    pub fn weights(&self, stage: Stage) -> Vec<(Uid, u32)> {
        self.miners(stage).map(|m| (m.uid, pathway_weight(m))).collect()
    }
}

/// One part in so many of its weight is what a member that is reached through relays only has in pathways. What it
/// is sent and what it sends crosses the line of a relay twice, which trains as well; and a relay carries eight
/// circuits at a time, where a stage may have dozens of miners. A quarter leaves it samples to earn by: weights are
/// at least half of the median.
const RELAYED_PART: u32 = 4;

/// The weight with which pathways choose a member: the chain's, lowered where only relays lead to it. Everybody
/// reads the same addresses; who has seen an older one orders a few samples differently, which nobody is held to.
#[must_use]
pub fn pathway_weight(member: &MemberView) -> u32 {
    let addresses = member.endpoint.iter().flat_map(|endpoint| &endpoint.addresses);
    let mut relayed = addresses.map(|at| std::str::from_utf8(at).is_ok_and(iota_network::is_relayed_address));
    let only = relayed.next().is_some_and(|first| first && relayed.all(|next| next));
    let part = if only { RELAYED_PART } else { 1 };
    member.weight.checked_div(part).unwrap_or(member.weight).max(1)
}

#[cfg(test)]
mod weight_tests {
    use iota_protocol::ids::{AccountKey, Incarnation};
    use iota_protocol::work::Endpoint;

    use super::*;

    const RELAYED: &str =
        "/ip4/8.8.8.8/udp/1/quic-v1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN/p2p-circuit";

    fn weight(weight: u32, addresses: &[&str]) -> u32 {
        let addresses: Vec<_> =
            addresses.iter().map(|at| at.as_bytes().to_vec().try_into().unwrap()).collect();
        pathway_weight(&MemberView {
            uid: Uid(1),
            incarnation: Incarnation(0),
            hotkey: AccountKey([0; 32]),
            coldkey: AccountKey([0; 32]),
            role: Role::Miner,
            stage: Some(Stage(1)),
            endpoint: Some(Endpoint { peer: [1; 32], addresses: addresses.try_into().unwrap() }),
            weight,
            bond: 0,
            registered_at: 0,
        })
    }

    #[test]
    fn whom_only_relays_lead_to_is_chosen_a_quarter_as_often() {
        assert_eq!(weight(1_000, &[RELAYED, RELAYED]), 250);
        assert_eq!(weight(1_000, &[RELAYED, "/ip4/8.8.4.4/tcp/1"]), 1_000, "it can be dialled");
        assert_eq!(weight(1_000, &["/ip4/8.8.4.4/tcp/1"]), 1_000);
        assert_eq!(weight(1_000, &[]), 1_000);
        assert_eq!(weight(3, &[RELAYED]), 1, "never nothing");
    }
}

/// The run as it changes: the newest snapshot, and waiting for the next.
#[derive(Clone)]
pub struct Views(watch::Receiver<Option<RunSnapshot>>);

impl Views {
    /// Views of whatever is sent: a session's follower sends what it reads from the chain, a measurement
    /// without one what it makes up.
    #[must_use]
    pub fn channel() -> (watch::Sender<Option<RunSnapshot>>, Self) {
        let (sender, receiver) = watch::channel(None);
        (sender, Self(receiver))
    }

    /// The newest view; waits for the first one.
    ///
    /// # Errors
    /// When the sender is gone.
    pub async fn current(&mut self) -> Result<RunSnapshot, SessionClosed> {
        loop {
            let newest = self.0.borrow_and_update().clone();
            if let Some(snapshot) = newest {
                return Ok(snapshot);
            }
            self.0.changed().await.map_err(|_| SessionClosed)?;
        }
    }

    /// Waits for a view newer than the last one returned.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the sender is gone.
    pub async fn next(&mut self) -> Result<RunSnapshot, SessionClosed> {
        self.0.changed().await.map_err(|_| SessionClosed)?;
        self.current().await
    }
}

/// A handle on the followed run.
#[derive(Clone)]
pub struct Session {
    /// The connection to the chain.
    pub chain: Arc<Chain>,
    /// The run.
    pub run: RunId,
    /// Its parameters as of the view that was returned last; they change between two epochs only.
    pub params: Arc<RunParams>,
    views: Views,
}

/// The follower has ended: the program is shutting down.
#[derive(Debug, thiserror::Error)]
#[error("the task that follows the chain has ended")]
pub struct SessionClosed;

impl Session {
    /// Reads the run's parameters and starts following it. The chain's member list becomes the
    /// network's allow list.
    ///
    /// # Errors
    /// When the run does not exist or the node does not answer.
    pub async fn start(chain: Arc<Chain>, run: RunId, network: Network) -> anyhow::Result<Self> {
        let params = onboard::run_params(&chain, run).await?;
        let (sender, views) = Views::channel();
        tokio::spawn(follow(Arc::clone(&chain), run, network, sender));
        Ok(Self { chain, run, params: Arc::new(params), views })
    }

    /// The newest view; waits for the first one.
    ///
    /// # Errors
    /// When the follower has ended.
    pub async fn current(&mut self) -> Result<RunSnapshot, SessionClosed> {
        let snapshot = self.views.current().await?;
        Ok(self.took(snapshot))
    }

    /// The stream of views behind it.
    pub fn views(&mut self) -> &mut Views {
        &mut self.views
    }

    fn took(&mut self, snapshot: RunSnapshot) -> RunSnapshot {
        self.params = Arc::clone(&snapshot.params);
        snapshot
    }

    /// The newest view without waiting.
    #[must_use]
    pub fn peek(&self) -> Option<RunSnapshot> {
        self.views.0.borrow().clone()
    }

    /// Waits for a view newer than the last one returned by `current` or `next`.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the follower has ended.
    pub async fn next(&mut self) -> Result<RunSnapshot, SessionClosed> {
        let snapshot = self.views.next().await?;
        Ok(self.took(snapshot))
    }

    /// Waits until `found` yields something from a view, starting with the newest.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the follower has ended.
    pub async fn wait_until<T>(
        &mut self,
        mut found: impl FnMut(&RunSnapshot) -> Option<T>,
    ) -> Result<T, SessionClosed> {
        let mut snapshot = self.current().await?;
        loop {
            if let Some(value) = found(&snapshot) {
                return Ok(value);
            }
            snapshot = self.next().await?;
        }
    }
}

async fn follow(chain: Arc<Chain>, run: RunId, network: Network, sender: watch::Sender<Option<RunSnapshot>>) {
    let mut heads = chain.follow();
    let mut known: Option<Terms> = None;
    while heads.changed().await.is_ok() && !sender.is_closed() {
        heads.mark_unchanged();
        match read(&chain, run, &mut known).await {
            Ok(Some(snapshot)) => {
                network.set_peers(peers(&snapshot.members)).await;
                sender.send_replace(Some(snapshot));
            }
            Ok(None) => tracing::error!(%run, "the run is gone from the chain"),
            Err(error) => tracing::warn!(%error, "reading the run failed; trying again at the next block"),
        }
    }
}

/// Parameters, and until when they are known to hold: the chain changes them where an epoch ends, and
/// while a run waits or pauses.
struct Terms {
    epoch: Epoch,
    state: RunState,
    params: Arc<RunParams>,
}

impl Terms {
    fn hold_in(&self, clock: &ClockView) -> bool {
        self.epoch == clock.epoch && self.state == clock.state && clock.state == RunState::Running
    }
}

async fn read(
    chain: &Chain,
    run: RunId,
    known: &mut Option<Terms>,
) -> Result<Option<RunSnapshot>, ChainError> {
    let at = chain.at_finalized().await?;
    let Some(clock) = at.clock(run).await? else { return Ok(None) };
    let members = Arc::new(at.members(run).await?);
    let params = match known.as_ref().filter(|terms| terms.hold_in(&clock)) {
        Some(terms) => Arc::clone(&terms.params),
        None => {
            let Some(params) = at.run(run).await? else { return Ok(None) };
            if known.as_ref().is_some_and(|terms| *terms.params != params) {
                tracing::info!(%run, epoch = %clock.epoch, "the run has new parameters");
            }
            let params = Arc::new(params);
            *known = Some(Terms { epoch: clock.epoch, state: clock.state, params: Arc::clone(&params) });
            params
        }
    };
    let schedule = clock.schedule(&params);
    Ok(Some(RunSnapshot { head: at.head(), clock, members, schedule, params }))
}

/// Members that can be reached, as the network lists them.
#[must_use]
pub fn peers(members: &[MemberView]) -> Vec<PeerInfo> {
    members
        .iter()
        .filter_map(|member| member.endpoint.as_ref())
        .map(|endpoint| PeerInfo {
            public: endpoint.peer,
            addresses: endpoint
                .addresses
                .iter()
                .filter_map(|address| core::str::from_utf8(address).ok().map(str::to_owned))
                .collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use iota_compute::presets::run_params;
    use iota_protocol::ids::Hash;
    use iota_protocol::params::DataParams;

    #[test]
    fn parameters_are_read_again_where_they_can_have_changed() {
        let data = DataParams { manifest_root: Hash::ZERO, train_windows: 1_000, heldout_windows: 10 };
        let params = Arc::new(run_params("nano", 3, 1, 5, 2, data).unwrap());
        let clock = |epoch, state| ClockView {
            run: RunId(0),
            state,
            epoch: Epoch(epoch),
            start: 1,
            extensions: 0,
            train_seed: Hash::ZERO,
            seed: None,
            data_base: 0,
            tokens: 0,
        };
        let terms = |state| Terms { epoch: Epoch(3), state, params: Arc::clone(&params) };
        let running = terms(RunState::Running);
        assert!(running.hold_in(&clock(3, RunState::Running)));
        assert!(!running.hold_in(&clock(4, RunState::Running)), "the next epoch may have others");
        assert!(!running.hold_in(&clock(3, RunState::Paused)));
        let paused = terms(RunState::Paused);
        assert!(!paused.hold_in(&clock(3, RunState::Paused)), "they change at once while a run pauses");
        assert!(!paused.hold_in(&clock(3, RunState::Running)), "and may have changed before it went on");
    }
}
