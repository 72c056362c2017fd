//! `iota-run network`: writes the file by which others join.

use std::path::PathBuf;

use clap::Args;
use iota_chain::{endpoints, Chain};
use iota_protocol::ids::Hash;
use iota_worker::network_file::NetworkFile;
use serde_json::json;

use super::{Node, Told};

/// Arguments of `network`.
#[derive(Args)]
pub struct Invite {
    #[command(flatten)]
    node: Node,
    /// Name of the network, for people.
    #[arg(long)]
    name: String,
    /// The run that newcomers work for.
    #[arg(long, default_value_t = 0)]
    run: u32,
    /// Address of an explorer's pages.
    #[arg(long)]
    explorer: Option<String>,
    /// Where a node of one's own finds others; what the first node says of itself when absent. May be given
    /// more than once.
    #[arg(long)]
    bootnode: Vec<String>,
    /// Where to write it.
    #[arg(long, default_value = "network.toml")]
    out: PathBuf,
}

impl Invite {
    /// Asks every node, and writes the file if all of them run one chain.
    ///
    /// # Errors
    /// When a node is away or runs another chain, or the file is there already.
    pub(super) async fn run(&self, told: Told<'_>) -> anyhow::Result<()> {
        // As others reach them: they are written into the file.
        let rpc = endpoints(&self.node.url(told.file)?);
        let (mut genesis, mut first): (Option<Hash>, Option<_>) = (None, None);
        for url in &rpc {
            let chain = Chain::connect(url, genesis).await?;
            genesis = Some(chain.genesis());
            first.get_or_insert(chain);
        }
        let Some(chain) = first else { anyhow::bail!("--node names no node") };
        let bootnodes = match self.bootnode.as_slice() {
            [] => chain.node_addresses().await?,
            given => given.to_vec(),
        };
        let file = NetworkFile {
            name: self.name.clone(),
            genesis: chain.genesis().to_string(),
            run: self.run,
            rpc,
            bootnodes,
            explorer: self.explorer.clone(),
            faucet: chain.has_faucet().await?,
        };
        file.write(&self.out)?;
        told.answer.say(
            format_args!("{}: {} nodes of genesis {}", self.out.display(), file.rpc.len(), file.genesis),
            &json!({ "file": self.out, "nodes": file.rpc, "genesis": file.genesis }),
        )
    }
}
