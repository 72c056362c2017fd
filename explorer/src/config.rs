//! The explorer's configuration: defaults, then the file, then `IOTA_EXPLORER_*`, then flags.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything an operator can set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExplorerConfig {
    /// WebSocket address of a node. One that keeps all states (`--state-pruning archive`) lets the
    /// explorer start late.
    pub node: String,
    /// Genesis hash that the node must have; any when absent.
    pub genesis: Option<String>,
    /// First block to index.
    pub from: u32,
    /// The database file.
    pub data: PathBuf,
    /// Address to serve on.
    pub listen: SocketAddr,
    /// Whether to ask validators for their reports.
    pub reports: bool,
    /// Whether validators' addresses that point inwards (loopback, private) are dialled for them; when absent, on
    /// chains for development and local tests only.
    pub allow_private_addresses: Option<bool>,
    /// Requests that one address may make per second, after a burst of ten times as many.
    pub requests_per_second: u32,
    /// Manifests of data sets (`manifest.json` as `iota-run data prepare` writes it): each is shown with the runs
    /// that name its hash.
    pub manifests: Vec<PathBuf>,
    /// Port on this machine for `/metrics`, `/status` and `/health`; none when absent.
    pub metrics_port: Option<u16>,
}

impl Default for ExplorerConfig {
    fn default() -> Self {
        Self {
            node: "ws://127.0.0.1:9944".into(),
            genesis: None,
            from: 0,
            data: PathBuf::from("explorer.sqlite"),
            // The own machine only: putting it in front of others is a decision.
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            reports: true,
            allow_private_addresses: None,
            // A page is four requests; somebody who clicks every half second stays below.
            requests_per_second: 20,
            manifests: Vec::new(),
            metrics_port: None,
        }
    }
}
