//! Fetching what validators publish: a report is asked for once its root stands on chain, and kept
//! only if it has that root.
//!
//! The explorer is a stranger to the validators: it has a peer key that nothing on chain names, and
//! asks within the quota that they leave to strangers.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use codec::{Decode, Encode};
use iota_network::{Lane, Network, NetworkConfig, PeerInfo, PeerKey};
use iota_protocol::ids::{Epoch, Hash, RunId, Uid};
use iota_protocol::report::Report;
use iota_protocol::wire::{self, FetchReply, FetchRequest};
use iota_service::tasks::Shutdown;

use crate::follow::blocking;
use crate::store::{Store, StoreError};

/// Validators keep four reports; older ones are not asked for.
const RECENT: u32 = 4;
/// Between two rounds of asking. A report stands for an epoch's length, minutes at least.
const ROUND: Duration = Duration::from_secs(3);
/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest report: 256 miners and as many observations as an epoch may have samples fit below the
/// network's own limit for an answer.
const LIMIT: usize = 8 << 20;

/// A report that the chain has a root for and the store lacks.
struct Wanted {
    run: RunId,
    epoch: Epoch,
    uid: Uid,
    root: Hash,
    peer: PeerInfo,
}

/// Asks for reports until shutdown; validators' addresses that point inwards are dialled if `private_addresses`.
///
/// # Errors
/// When the network cannot start or the database fails. A validator that does not answer is asked
/// again in the next round.
pub async fn fetch(store: Store, private_addresses: bool, stop: Shutdown) -> anyhow::Result<()> {
    // A fresh identity at each start: nothing needs to recognise the explorer.
    let seed: [u8; 32] = std::array::from_fn(|_| rand::random());
    let mut config = NetworkConfig::new(PeerKey::from_seed(seed), Vec::new());
    config.private_addresses = private_addresses;
    let (network, _inbound) = Network::start(config).await.context("starting the network for reports")?;
    loop {
        let reading = store.clone();
        let wanted = blocking(move || wanted(&reading)).await?;
        network.set_peers(peers(&wanted)).await;
        for want in wanted {
            if stop.is_requested() {
                return Ok(());
            }
            match ask(&network, &want).await {
                Ok(report) => {
                    let writing = store.clone();
                    blocking(move || writing.put_report(want.uid, &report)).await?;
                    tracing::info!(run = %want.run, epoch = %want.epoch, uid = %want.uid, "report fetched");
                }
                Err(error) => tracing::debug!(epoch = %want.epoch, uid = %want.uid, %error, "no report yet"),
            }
        }
        tokio::select! {
            biased;
            () = stop.requested() => return Ok(()),
            () = tokio::time::sleep(ROUND) => {}
        }
    }
}

/// One entry for each peer, whichever epochs it is asked about.
fn peers(wanted: &[Wanted]) -> Vec<PeerInfo> {
    let by_key: BTreeMap<_, _> = wanted.iter().map(|want| (want.peer.public, want.peer.clone())).collect();
    by_key.into_values().collect()
}

async fn ask(network: &Network, want: &Wanted) -> anyhow::Result<Report> {
    let request = FetchRequest::Report { run: want.run, epoch: want.epoch }.encode();
    let bytes = network.request(want.peer.public, Lane::Fetch, request, PATIENCE).await?;
    let reply = wire::decode::<FetchReply>(&bytes, LIMIT);
    let reply = reply.map_err(|error| anyhow::anyhow!("the answer is malformed: {error}"))?;
    let FetchReply::Bytes(bytes) = reply else { anyhow::bail!("it has none") };
    let report = Report::decode(&mut bytes.as_slice()).context("the report does not decode")?;
    let root = report.root();
    anyhow::ensure!(root == want.root, "the report has root {root}, the chain {}", want.root);
    anyhow::ensure!((report.run, report.epoch) == (want.run, want.epoch), "the report is of another epoch");
    Ok(report)
}

fn wanted(store: &Store) -> Result<Vec<Wanted>, StoreError> {
    let reader = store.reader()?;
    let mut wanted = Vec::new();
    for run in reader.runs()? {
        let members = reader.members(run.run)?;
        for row in reader.epochs(run.run, RECENT)? {
            let known = reader.reports(run.run, row.epoch)?;
            for score in &row.scores {
                let Some(root) = score.report_root else { continue };
                if known.iter().any(|known| known.uid == score.uid) {
                    continue;
                }
                let author = members
                    .iter()
                    .map(|row| &row.member)
                    .find(|member| member.uid == score.uid && member.incarnation == score.incarnation);
                let Some((author, peer)) = author.and_then(|author| Some((author, author.peer?))) else {
                    continue;
                };
                let peer = PeerInfo { public: peer.0, addresses: author.addresses.clone() };
                wanted.push(Wanted { run: run.run, epoch: row.epoch, uid: score.uid, root, peer });
            }
        }
    }
    Ok(wanted)
}
