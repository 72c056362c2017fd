//! The miner's configuration: defaults, then the file, then `IOTA_MINER_*`, then flags.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use iota_chain::Chain;
use iota_protocol::ids::Epoch;
use iota_service::quantity::{BitRate, ByteSize};
use iota_service::retention::KEEP_DAYS;
use iota_worker::onboard;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::limits::Hours;

/// What to do about a router that translates addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Nat {
    /// Nothing: others are told the addresses that this machine listens on.
    Off,
    /// Ask it for a port (UPnP), have others try (AutoNAT), and go through relays if nobody gets through. Not where
    /// an address is announced, or only this machine is listened to.
    Auto,
}

/// Everything an operator can set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MinerConfig {
    /// WebSocket address of a node.
    pub node: String,
    /// The run to work for.
    pub run: u32,
    /// Genesis hash that the node must have; any when absent.
    pub genesis: Option<String>,
    /// Hotkey file.
    pub hotkey: PathBuf,
    /// Folder for journals, states and artefacts of past epochs.
    pub data_dir: PathBuf,
    /// Folder of the prepared data set; needed by the first and the last stage.
    pub dataset: PathBuf,
    /// Addresses to listen on.
    pub listen: Vec<String>,
    /// Addresses to publish instead of those listened on, such as a forwarded port of a router; none when empty.
    pub announce: Vec<String>,
    /// Whether members' addresses that point inwards (loopback, private) are dialled; when absent, on chains for
    /// development and local tests only.
    pub allow_private_addresses: Option<bool>,
    /// Whether to find out how others get through to this machine, and to take a place at a relay where a router
    /// keeps them out.
    pub nat: Nat,
    /// Whether to relay for members that routers keep others out of, while this one is reached directly. Never with
    /// `max_upload`, which does not see what is relayed.
    pub relay: bool,
    /// libtorch threads.
    pub threads: u32,
    /// Hours of the day (UTC) in which to work, such as `22-07`; all when absent.
    pub hours: Option<Hours>,
    /// What may be sent to other members, all together, such as `20Mbit` a second; no limit when absent.
    /// What goes to the chain is not counted and never waits.
    pub max_upload: Option<BitRate>,
    /// Memory that this miner may use, such as `4GB`; no limit when absent.
    pub max_memory: Option<ByteSize>,
    /// Days after which texts, receipts and journals of past epochs go, if the run has not let go of them before.
    pub keep_days: NonZeroU32,
    /// Port on this machine for `/metrics`, `/status` and `/health`; none when absent.
    pub metrics_port: Option<u16>,
    /// Misbehave on purpose (adversary tests only).
    pub fault: Option<Fault>,
    /// The first epoch in which it does.
    pub fault_from: u32,
    /// Least time of a pass in milliseconds (tests only): a stage of fixed service time, so that what is
    /// measured does not depend on who else uses the processor.
    pub pace_ms: u32,
}

impl MinerConfig {
    /// Connects to the configured nodes, to no other chain than the configured one.
    ///
    /// # Errors
    /// When the genesis is no hash, or no node with it answers.
    pub async fn connect(&self) -> anyhow::Result<Arc<Chain>> {
        onboard::connect(&self.node, self.genesis.as_deref()).await
    }

    /// What this miner does wrong in an epoch.
    #[must_use]
    pub fn fault_in(&self, epoch: Epoch) -> Option<Fault> {
        self.fault.filter(|_| epoch.0 >= self.fault_from)
    }
}

impl Default for MinerConfig {
    fn default() -> Self {
        Self {
            node: "ws://127.0.0.1:9944".into(),
            run: 0,
            genesis: None,
            hotkey: PathBuf::from("hotkey.json"),
            data_dir: PathBuf::from("miner-data"),
            dataset: PathBuf::from("dataset"),
            listen: vec!["/ip4/0.0.0.0/tcp/0".into(), "/ip4/0.0.0.0/udp/0/quic-v1".into()],
            announce: Vec::new(),
            allow_private_addresses: None,
            nat: Nat::Auto,
            relay: true,
            threads: 1,
            hours: None,
            max_upload: None,
            max_memory: None,
            keep_days: KEEP_DAYS,
            metrics_port: None,
            fault: None,
            fault_from: 0,
            pace_ms: 0,
        }
    }
}
