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

/// Epochs whose merges the chain keeps (`HistoryDepth` of the runtime).
const CHAIN_HISTORY: u32 = 3;

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
    if wanted.epoch.previous().is_none() {
        return initial(wanted, store);
    }
    loop {
        let view = session.current().await?;
        if view.epoch() != wanted.epoch {
            bail!("epoch {} is over", wanted.epoch);
        }
        let Some((merged, root)) = newest_root(wanted, session).await? else {
            return without_root(wanted, store);
        };
        if let Some(outer) = own_copy(wanted, store, root)? {
            return Ok(outer);
        }
        match fetch_state(wanted, &view, network, merged.next(), root).await {
            Ok(outer) => {
                store.put_state(wanted.epoch, wanted.stage, outer.clone())?;
                return Ok(outer);
            }
            Err(error) => {
                tracing::warn!(epoch = %wanted.epoch, stage = %wanted.stage, %error, "state not fetched yet; asking again");
            }
        }
        session.next().await?;
    }
}

/// The chain knows no root. Early on that means that no merge has finished and everyone still has
/// the initial weights; later it may have forgotten one, and then what this miner last had stands.
fn without_root(wanted: &Wanted<'_>, store: &Store) -> anyhow::Result<OuterState> {
    let mut candidate = wanted.epoch.previous();
    while let Some(epoch) = candidate {
        if let Some(state) = store.state(epoch).filter(|state| state.stage == wanted.stage) {
            store.put_state(wanted.epoch, wanted.stage, state.outer.clone())?;
            return Ok(state.outer.clone());
        }
        candidate = epoch.previous();
    }
    if wanted.epoch.0 > CHAIN_HISTORY {
        bail!(
            "stage {} has had no majority for {CHAIN_HISTORY} epochs, and this miner has no state of it",
            wanted.stage
        );
    }
    initial(wanted, store)
}

/// The newest epoch before the wanted one whose merge the stage agreed on, and the root it left. An
/// epoch without a majority changes nothing: the state of the one before it stands.
async fn newest_root(wanted: &Wanted<'_>, session: &Session) -> anyhow::Result<Option<(Epoch, Hash)>> {
    let mut candidate = wanted.epoch.previous();
    while let Some(epoch) = candidate {
        if let Some(root) = view_of_merge(session, wanted, epoch).await? {
            return Ok(Some((epoch, root)));
        }
        candidate = epoch.previous();
    }
    Ok(None)
}

/// A state with that root among those on our own disk, kept under the wanted epoch.
fn own_copy(wanted: &Wanted<'_>, store: &Store, root: Hash) -> anyhow::Result<Option<OuterState>> {
    let mut candidate = Some(wanted.epoch);
    while let Some(epoch) = candidate {
        let known = store.manifest(epoch).filter(|known| known.0 == wanted.stage && known.1.root() == root);
        if let Some(state) = known.and_then(|_| store.state(epoch)) {
            if epoch != wanted.epoch {
                store.put_state(wanted.epoch, wanted.stage, state.outer.clone())?;
            }
            return Ok(Some(state.outer.clone()));
        }
        candidate = epoch.previous();
    }
    Ok(None)
}

async fn view_of_merge(session: &Session, wanted: &Wanted<'_>, epoch: Epoch) -> anyhow::Result<Option<Hash>> {
    let at = session.chain.at_finalized().await?;
    let merge = at.merge(wanted.run, epoch, wanted.stage).await?.unwrap_or_default();
    Ok(merge.canonical_root)
}

fn initial(wanted: &Wanted<'_>, store: &Store) -> anyhow::Result<OuterState> {
    let layout = StageLayout::new(wanted.params, wanted.stage).context("laying out the stage")?;
    let outer = OuterState::initial(wanted.params, &layout);
    store.put_state(wanted.epoch, wanted.stage, outer.clone())?;
    Ok(outer)
}

/// Replicas keep the state under the epoch that it was made for, and under every later one that
/// started with it.
async fn fetch_state(
    wanted: &Wanted<'_>,
    view: &RunSnapshot,
    network: &Network,
    made_for: Epoch,
    root: Hash,
) -> anyhow::Result<OuterState> {
    let holders: Vec<MemberView> =
        view.miners(wanted.stage).filter(|member| member.uid != wanted.me).cloned().collect();
    let what = StateWanted { run: wanted.run, epoch: made_for, stage: wanted.stage, root };
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
