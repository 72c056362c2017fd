//! The validator's configuration: defaults, then the file, then `IOTA_VALIDATOR_*`, then flags.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use iota_chain::Chain;
use iota_service::retention::KEEP_DAYS;
use iota_worker::onboard;
use serde::{Deserialize, Serialize};

/// Everything an operator can set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidatorConfig {
    /// WebSocket address of a node.
    pub node: String,
    /// The run to validate.
    pub run: u32,
    /// Genesis hash that the node must have; any when absent.
    pub genesis: Option<String>,
    /// Hotkey file.
    pub hotkey: PathBuf,
    /// Folder for reports, salts and checkpoints.
    pub data_dir: PathBuf,
    /// Folder of the prepared data set.
    pub dataset: PathBuf,
    /// Addresses to listen on.
    pub listen: Vec<String>,
    /// Addresses to publish instead of those listened on, such as a forwarded port of a router; none when empty.
    pub announce: Vec<String>,
    /// Whether members' addresses that point inwards (loopback, private) are dialled; when absent, on chains for
    /// development and local tests only.
    pub allow_private_addresses: Option<bool>,
    /// libtorch threads.
    pub threads: u32,
    /// Miners that seed and secret choose for an audit in each epoch, beside the one that CLASP flags; when
    /// absent as many as audit every miner in one epoch of eight, while there is time. An audit takes at most
    /// eight seconds, and all must fit into the window for rows.
    pub audits: Option<u32>,
    /// Days after which reports and evidence of past epochs go.
    pub keep_days: NonZeroU32,
    /// Port on this machine for `/metrics`, `/status` and `/health`; none when absent.
    pub metrics_port: Option<u16>,
}

impl ValidatorConfig {
    /// Connects to the configured nodes, to no other chain than the configured one.
    ///
    /// # Errors
    /// When the genesis is no hash, or no node with it answers.
    pub async fn connect(&self) -> anyhow::Result<Arc<Chain>> {
        onboard::connect(&self.node, self.genesis.as_deref()).await
    }
}

impl Default for ValidatorConfig {
    fn default() -> Self {
        Self {
            node: "ws://127.0.0.1:9944".into(),
            run: 0,
            genesis: None,
            hotkey: PathBuf::from("hotkey.json"),
            data_dir: PathBuf::from("validator-data"),
            dataset: PathBuf::from("dataset"),
            listen: vec!["/ip4/0.0.0.0/tcp/0".into(), "/ip4/0.0.0.0/udp/0/quic-v1".into()],
            announce: Vec::new(),
            allow_private_addresses: None,
            threads: 1,
            audits: None,
            keep_days: KEEP_DAYS,
            metrics_port: None,
        }
    }
}
