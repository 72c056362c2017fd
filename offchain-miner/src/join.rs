//! Getting the state that an epoch starts with: from disk, from the seed of the run, or from the
//! stage's replicas, verified against the canonical root on chain.

use anyhow::{bail, Context};
use iota_compute::layout::StageLayout;
use iota_compute::outer::OuterState;
use iota_network::Network;
use iota_protocol::ids::{Epoch, Hash, RunId, Stage, Uid};
use iota_protocol::params::RunParams;
use iota_protocol::view::MemberView;
use iota_worker::fetch::{self, StateWanted};
use iota_worker::session::{RunSnapshot, Session};

use crate::store::Store;

/// What we look for.
pub struct Wanted<'a> {
    /// The run.
    pub run: RunId,
    /// Its parameters.
    pub params: &'a RunParams,
    /// The epoch that starts with the state.
    pub epoch: Epoch,
    /// The stage.
    pub stage: Stage,
    /// Ourselves.
    pub me: Uid,
}

/// The state, stored and ready to be served.
///
/// # Errors
/// When no replica has the canonical state, or the disk is full.
pub async fn obtain(
    wanted: &Wanted<'_>,
    session: &mut Session,
    network: &Network,
    store: &Store,
) -> anyhow::Result<OuterState> {
    let Some(previous) = wanted.epoch.previous() else { return initial(wanted, store) };
    loop {
        let view = session.current().await?;
        if view.epoch() != wanted.epoch {
            bail!("epoch {} is over", wanted.epoch);
        }
        let merge = view_of_merge(session, wanted, previous).await?;
        let root = merge.or(oldest_root(wanted, session, previous).await?);
        if let Some(own) = store.state(wanted.epoch).filter(|state| state.stage == wanted.stage) {
            if root.is_none_or(|root| own.manifest.root() == root) {
                return Ok(own.outer.clone());
            }
        }
        let Some(root) = root else {
            // No merge has ever finished in this stage: everyone still has the initial weights.
            return initial(wanted, store);
        };
        match fetch_state(wanted, &view, network, root).await {
            Ok(outer) => {
                store.put_state(wanted.epoch, wanted.stage, outer.clone())?;
                return Ok(outer);
            }
            Err(error) => tracing::warn!(epoch = %wanted.epoch, stage = %wanted.stage, %error, "state not fetched yet; asking again"),
        }
        session.next().await?;
    }
}

async fn view_of_merge(session: &Session, wanted: &Wanted<'_>, epoch: Epoch) -> anyhow::Result<Option<Hash>> {
    let at = session.chain.at_finalized().await?;
    let merge = at.merge(wanted.run, epoch, wanted.stage).await?.unwrap_or_default();
    Ok(merge.canonical_root)
}

/// The last canonical root before `epoch`: an epoch in which the stage had no majority leaves the
/// state of the one before standing.
async fn oldest_root(wanted: &Wanted<'_>, session: &Session, epoch: Epoch) -> anyhow::Result<Option<Hash>> {
    let mut candidate = epoch.previous();
    while let Some(earlier) = candidate {
        if let Some(root) = view_of_merge(session, wanted, earlier).await? {
            return Ok(Some(root));
        }
        candidate = earlier.previous();
    }
    Ok(None)
}

fn initial(wanted: &Wanted<'_>, store: &Store) -> anyhow::Result<OuterState> {
    let layout = StageLayout::new(wanted.params, wanted.stage).context("laying out the stage")?;
    let outer = OuterState::initial(wanted.params, &layout);
    store.put_state(wanted.epoch, wanted.stage, outer.clone())?;
    Ok(outer)
}

async fn fetch_state(wanted: &Wanted<'_>, view: &RunSnapshot, network: &Network, root: Hash) -> anyhow::Result<OuterState> {
    let holders: Vec<MemberView> = view.miners(wanted.stage).filter(|member| member.uid != wanted.me).cloned().collect();
    let what = StateWanted { run: wanted.run, epoch: wanted.epoch, stage: wanted.stage, root };
    let bar = indicatif::ProgressBar::new(0).with_message(format!("fetching stage {}", wanted.stage));
    let outer = fetch::state(network, &holders, what, |done, total| {
        bar.set_length(u64::try_from(total).unwrap_or(0));
        bar.set_position(u64::try_from(done).unwrap_or(0));
    })
    .await;
    bar.finish_and_clear();
    let outer = outer?;
    tracing::info!(epoch = %wanted.epoch, stage = %wanted.stage, %root, "state fetched and verified");
    Ok(outer)
}
