//! Held-out loss: the canonical state of every stage, fetched and verified, run over fixed windows
//! of the held-out part with the run's codecs on. The states are kept as checkpoints.

use std::path::Path;

use anyhow::Context;
use iota_compute::data::Dataset;
use iota_compute::layout::StageLayout;
use iota_compute::outer::OuterState;
use iota_compute::{checkpoint, evaluate};
use iota_network::Network;
use iota_protocol::ids::{Epoch, Hash, Stage};
use iota_protocol::view::MemberView;
use iota_service::journal::atomic_write;
use iota_worker::fetch::{self, StateWanted};
use iota_worker::session::Session;

/// Held-out windows of one evaluation.
pub const WINDOWS: usize = 256;

/// Canonical states of all stages at the start of an epoch.
///
/// # Errors
/// When a stage's state cannot be had from any of its miners.
pub async fn states(session: &Session, network: &Network, epoch: Epoch) -> anyhow::Result<Vec<OuterState>> {
    let mut states = Vec::new();
    for number in 0..session.params.n_stages() {
        states.push(stage_state(session, network, epoch, Stage(number)).await?);
    }
    Ok(states)
}

/// Canonical state of one stage at the start of an epoch.
///
/// # Errors
/// When it cannot be had from any of the stage's miners.
pub async fn stage_state(
    session: &Session,
    network: &Network,
    epoch: Epoch,
    stage: Stage,
) -> anyhow::Result<OuterState> {
    let Some((made_for, root)) = canonical_root(session, epoch, stage).await? else {
        let layout = StageLayout::new(&session.params, stage)?;
        return Ok(OuterState::initial(&session.params, &layout));
    };
    let view = session.peek().context("the chain has not been seen yet")?;
    let holders: Vec<MemberView> = view.miners(stage).cloned().collect();
    let wanted = StateWanted { run: session.run, epoch: made_for, stage, root };
    Ok(fetch::state(network, &holders, wanted, |_, _| {}).await?)
}

/// The newest canonical root before `epoch` and the epoch that the state was made for; none when the stage has never merged.
async fn canonical_root(
    session: &Session,
    epoch: Epoch,
    stage: Stage,
) -> anyhow::Result<Option<(Epoch, Hash)>> {
    let at = session.chain.at_finalized().await?;
    let mut candidate = epoch.previous();
    while let Some(earlier) = candidate {
        if let Some(root) =
            at.merge(session.run, earlier, stage).await?.and_then(|merge| merge.canonical_root)
        {
            return Ok(Some((earlier.next(), root)));
        }
        candidate = earlier.previous();
    }
    Ok(None)
}

/// Mean held-out loss in nats per token.
///
/// # Errors
/// When the states do not fit the run.
pub fn heldout(session: &Session, dataset: &Dataset, states: &[OuterState]) -> anyhow::Result<f32> {
    let weights: Vec<Vec<f32>> = states.iter().map(|state| state.weights.clone()).collect();
    let windows = dataset.heldout_windows(WINDOWS);
    Ok(evaluate::heldout_loss(&session.params, &weights, &windows)?)
}

/// Keeps the states as a checkpoint folder that `iota-miner generate` reads.
///
/// # Errors
/// When the disk is full.
pub fn keep(dir: &Path, session: &Session, states: &[OuterState]) -> anyhow::Result<()> {
    let dir = dir.join("checkpoint");
    std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let run = serde_json::to_vec_pretty(&(session.run, &*session.params))?;
    atomic_write(&dir.join("run.json"), &run)?;
    for (number, state) in (0u16..).zip(states) {
        let stage = Stage(number);
        checkpoint::write(
            &dir.join(format!("stage-{stage}.safetensors")),
            session.run,
            &session.params,
            stage,
            state,
        )?;
    }
    Ok(())
}
