//! Fetching what a payment follows from: the chain's record, and the reports of validators, each of
//! which is believed only if it has the root that its author revealed.

use std::time::Duration;

use anyhow::Context;
use codec::Decode;
use iota_network::{Network, NetworkConfig, PeerKey};
use iota_protocol::ids::{AccountKey, Epoch, Hash, RunId, Uid};
use iota_protocol::report::Report;
use iota_protocol::view::{MemberView, ScoreView};
use iota_protocol::wire::{FetchReply, FetchRequest};
use iota_service::keys::Hotkey;
use iota_worker::exchange;
use iota_worker::onboard;
use iota_worker::session::peers;

use super::Facts;
use crate::config::MinerConfig;

/// For one validator's answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything about our hotkey's payment for an epoch.
///
/// # Errors
/// When the hotkey is no member, the epoch is not settled, or the node does not answer.
pub(super) async fn facts(config: &MinerConfig, epoch: Epoch) -> anyhow::Result<Facts> {
    let hotkey = AccountKey(Hotkey::load(&config.hotkey)?.public());
    let chain = config.connect().await?;
    let run = RunId(config.run);
    let params = onboard::run_params(&chain, run).await?;
    let private = onboard::private_addresses(&chain, config.allow_private_addresses).await?;
    let at = chain.at_finalized().await?;
    let members = at.members(run).await?;
    let me = members.iter().find(|member| member.hotkey == hotkey);
    let me = me.with_context(|| format!("hotkey {hotkey} is not registered in run {run}"))?;
    let report = at.report(run, epoch).await?;
    let report = report.with_context(|| {
        format!("epoch {epoch} of run {run} has no report: it is not settled yet, which happens when the next epoch closes, or older than 64 epochs")
    })?;
    let scores = at.scores(run, report.terms.scored_by).await?;
    let own = |uid, incarnation| (uid, incarnation) == (me.uid, me.incarnation);
    let held = at.held(run, epoch).await?.into_iter().find(|p| own(p.uid, p.incarnation)).map(|p| p.amount);
    let holdings = chain.holdings(me.coldkey).await?;
    let vesting = holdings.members.into_iter().find(|v| (v.run, v.incarnation) == (run, me.incarnation));
    Ok(Facts {
        uid: me.uid,
        incarnation: me.incarnation,
        epoch,
        snapshot: at.snapshot(run, epoch).await?,
        reports: reports(&members, &scores, (run, report.terms.scored_by), private).await?,
        params,
        report,
        scores,
        held,
        vesting,
    })
}

/// Reports of those who answer a stranger.
async fn reports(
    members: &[MemberView],
    scores: &[ScoreView],
    (run, epoch): (RunId, Epoch),
    private_addresses: bool,
) -> anyhow::Result<Vec<(Uid, Report)>> {
    let seed: [u8; 32] = std::array::from_fn(|_| rand::random());
    let mut config = NetworkConfig::new(PeerKey::from_seed(seed), Vec::new());
    config.private_addresses = private_addresses;
    let (network, _inbound) = Network::start(config).await.context("starting the network for reports")?;
    network.set_peers(peers(members)).await;
    let mut found = Vec::new();
    for score in scores {
        let Some(root) = score.report_root else { continue };
        let own = |m: &&MemberView| (m.uid, m.incarnation) == (score.uid, score.incarnation);
        let Some(author) = members.iter().find(own) else { continue };
        match report(&network, author, run, epoch, root).await {
            Ok(report) => found.push((score.uid, report)),
            Err(error) => tracing::debug!(uid = %score.uid, %error, "no report"),
        }
    }
    Ok(found)
}

/// The report of `from` on an epoch, if it has that root.
///
/// # Errors
/// When it does not answer within ten seconds, has no report, or another one than it revealed.
pub(crate) async fn report(
    network: &Network,
    from: &MemberView,
    run: RunId,
    epoch: Epoch,
    root: Hash,
) -> anyhow::Result<Report> {
    let request = FetchRequest::Report { run, epoch };
    let FetchReply::Bytes(bytes) = exchange::fetch(network, from, &request, PATIENCE).await? else {
        anyhow::bail!("it has none");
    };
    let report = Report::decode(&mut bytes.as_slice()).context("the report does not decode")?;
    anyhow::ensure!(report.root() == root, "the report has another root than the chain");
    Ok(report)
}
