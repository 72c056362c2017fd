//! Listening where we listened before: a restarted member is found at the address that the chain
//! lists, and need not publish again (which is feeless only once in an epoch).

use std::path::Path;

use anyhow::Context;
use iota_network::{Inbound, Network, NetworkConfig, PeerKey};
use iota_protocol::params::RunParams;
use iota_protocol::wire;
use iota_service::journal::atomic_write;
use tokio::sync::mpsc;

use crate::exchange;

/// File in the data folder.
const FILE: &str = "listen.json";

/// Starts the network on the remembered addresses if they fit the configured ones and are free, on
/// the configured ones otherwise, and remembers what was opened.
///
/// # Errors
/// When the configured addresses cannot be opened either, or the disk is full.
pub async fn start(
    data_dir: &Path,
    config: impl Fn(Vec<String>) -> NetworkConfig,
    configured: &[String],
) -> anyhow::Result<(Network, mpsc::Receiver<Inbound>)> {
    let started = match remembered(data_dir, configured) {
        Some(addresses) => match Network::start(config(addresses)).await {
            Ok(started) => started,
            Err(error) => {
                tracing::info!(%error, "the address of the last start is taken; opening another");
                Network::start(config(configured.to_vec())).await?
            }
        },
        None => Network::start(config(configured.to_vec())).await?,
    };
    let opened = started.0.listen_addresses().await;
    let file = (configured, opened);
    atomic_write(&data_dir.join(FILE), &serde_json::to_vec(&file)?)
        .context("remembering the listen addresses")?;
    Ok(started)
}

/// What the owner of a machine grants to the network; what is absent is the network's own choice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Bytes a second to all peers together.
    pub upload_bytes_per_second: Option<u64>,
    /// Members' addresses that point inwards may be dialled.
    pub private_addresses: bool,
    /// Bytes in memory.
    pub memory: Option<Memory>,
    /// Addresses at which others get through, as the owner knows.
    pub announce: Vec<String>,
    /// Whether to find out how others get through, and to take a place at a relay where they do not.
    pub nat: bool,
    /// Whether to relay for others. A limit on what is sent forbids it: what is relayed does not pass there.
    pub relay: bool,
}

impl Default for Grant {
    fn default() -> Self {
        Self {
            upload_bytes_per_second: None,
            private_addresses: false,
            memory: None,
            announce: Vec::new(),
            nat: true,
            relay: true,
        }
    }
}

/// Memory of the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Bytes of unanswered requests.
    pub requests: usize,
    /// Bytes of answers on their way out.
    pub answers: usize,
    /// Own fetches at once; each may bring an answer of [`exchange::FETCH_LIMIT`].
    pub fetches: usize,
}

/// As [`start`], with the message limits of a run.
///
/// # Errors
/// As [`start`].
pub async fn for_run(
    data_dir: &Path,
    peer: &PeerKey,
    params: &RunParams,
    configured: &[String],
    grant: Grant,
) -> anyhow::Result<(Network, mpsc::Receiver<Inbound>)> {
    let config = |listen| {
        let mut config = NetworkConfig::new(peer.clone(), listen);
        config.train_limit_bytes = wire::train_limit(params);
        config.fetch_limit_bytes = exchange::FETCH_LIMIT;
        config.private_addresses = grant.private_addresses;
        config.max_upload_bytes_per_second = grant.upload_bytes_per_second;
        if let Some(memory) = grant.memory {
            config.inbound_memory_bytes = memory.requests;
            config.answer_memory_bytes = memory.answers;
            config.max_outbound_fetch = memory.fetches;
        }
        config.external.clone_from(&grant.announce);
        config.nat = grant.nat;
        config.relay = config.relay.filter(|_| grant.relay && grant.upload_bytes_per_second.is_none());
        config
    };
    start(data_dir, config, configured).await
}

/// What was opened last time, if the configuration has not changed since.
fn remembered(data_dir: &Path, configured: &[String]) -> Option<Vec<String>> {
    let bytes = std::fs::read(data_dir.join(FILE)).ok()?;
    let (then, opened): (Vec<String>, Vec<String>) = serde_json::from_slice(&bytes).ok()?;
    // A wildcard address opens one address for each interface; those cannot all be opened by name
    // beside each other, so only as many as were configured are taken back.
    (then == configured && opened.len() == configured.len()).then_some(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_configuration_forgets_the_old_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let configured = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
        let opened = vec!["/ip4/127.0.0.1/tcp/4001".to_owned()];
        std::fs::write(dir.path().join(FILE), serde_json::to_vec(&(&configured, &opened)).unwrap()).unwrap();
        assert_eq!(remembered(dir.path(), &configured), Some(opened));
        assert_eq!(remembered(dir.path(), &["/ip4/127.0.0.1/udp/0/quic-v1".to_owned()]), None);
    }
}
