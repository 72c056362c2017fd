//! What a devnet is made of.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{bail, Context};
use clap::Parser;
use iota_protocol::params::WireCodec;

use crate::relay::LinkSpec;

/// Starts a chain, miners and validators on this machine, trains a small language model, and ends
/// with a summary and a few lines of text sampled from the model.
///
/// The exit code is 0 only if every check of the summary holds.
#[derive(Parser, Clone, Debug)]
#[command(name = "scripts/devnet")]
pub struct Options {
    /// Miners per stage.
    #[arg(long, default_value_t = 3)]
    pub miners: u16,
    /// Stages that the model is cut into.
    #[arg(long, default_value_t = 3)]
    pub stages: u16,
    /// Validators.
    #[arg(long, default_value_t = 2)]
    pub validators: u16,
    /// Block authors (1 to 4); finality needs more than two thirds of them.
    #[arg(long, default_value_t = 1)]
    pub authorities: u16,
    /// Training epochs; one settling epoch follows.
    #[arg(long, default_value_t = 5)]
    pub epochs: u32,
    /// Size of the model.
    #[arg(long, default_value = "tiny")]
    pub preset: String,
    /// Text to train on (any UTF-8 file).
    #[arg(long, default_value = "data/shakespeare.txt")]
    pub data: PathBuf,
    /// Seed of initial weights and data order.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Leave everything running at the end, until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
    /// Write the summary here as JSON.
    #[arg(long)]
    pub summary: Option<PathBuf>,
    /// Folder for keys, logs, databases and journals; a new one under the system's temporary folder
    /// when absent.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Fixed RPC port of the first node; a free one when absent.
    #[arg(long)]
    pub rpc_port: Option<u16>,
    /// Blocks of `Train`; when absent the preset's, and up to four times as many on a machine that a
    /// short measurement finds slow.
    #[arg(long)]
    pub train_blocks: Option<u32>,
    /// Control run: boundaries carry zeros, so that nothing but the last stage can learn.
    #[arg(long)]
    pub control_zero: bool,
    /// Channels that cross from stage to stage; the preset's when absent. All of the model's width
    /// (128 for `tiny`) means no bottleneck.
    #[arg(long)]
    pub channels: Option<u32>,
    /// How they are coded: f32, bf16, int8, int4, or a shared subspace as subspacebf16, subspaceint8,
    /// subspaceint4; the preset's (int8) when absent.
    #[arg(long, value_parser = codec)]
    pub codec: Option<WireCodec>,
    /// Samples that a miner of the first stage keeps open; the preset's (2) when absent. More hide a
    /// longer way, and train on older weights.
    #[arg(long)]
    pub in_flight: Option<u8>,
    /// Windows of text in a sample; the preset's when absent. Measurements of links make messages as large as
    /// those of larger models.
    #[arg(long, hide = true)]
    pub windows: Option<u16>,
    /// Run workers at the usual priority: what is timed must not wait for whoever else uses the machine.
    #[arg(long, hide = true)]
    pub usual_priority: bool,
    /// Put each worker behind a connection of its own, as at home: `rate=50mbit,rtt=100ms,loss=1%`
    /// (also `jitter=5ms`). Needs root, for it makes network namespaces.
    #[arg(long)]
    pub link: Option<LinkSpec>,
    /// Print how many tokens per second this machine trains now, and end.
    #[arg(long, hide = true)]
    pub measure: bool,
    /// Miners that have funds and join only when a test says so.
    #[arg(long, default_value_t = 0, hide = true)]
    pub spares: u16,
    /// Runtime that the chain begins with, as a file; the node's own when absent. Tests upgrade it.
    #[arg(skip)]
    pub runtime: Option<PathBuf>,
    /// More arguments for members by name; tests set them.
    #[arg(skip)]
    pub member_args: BTreeMap<String, Vec<String>>,
    /// Members by name whose data folder is a disk of so many MiB; tests set them. Needs root.
    #[arg(skip)]
    pub small_disks: BTreeMap<String, u32>,
    /// Folder of `iota-node`.
    #[arg(long, env = "IOTA_BIN_CHAIN", hide = true)]
    pub bin_chain: Option<PathBuf>,
    /// Folder of `iota-miner` and `iota-validator`.
    #[arg(long, env = "IOTA_BIN_WORK", hide = true)]
    pub bin_work: Option<PathBuf>,
}

fn codec(name: &str) -> Result<WireCodec, String> {
    serde_json::from_value(name.into()).map_err(|error| error.to_string())
}

impl Options {
    /// Checks everything that can be checked before a process is started.
    ///
    /// # Errors
    /// Naming the option, what was expected and what to do.
    pub fn validate(&self) -> anyhow::Result<()> {
        if self.miners == 0 || self.miners > 64 {
            bail!("--miners {}: expected 1 to 64 per stage", self.miners);
        }
        if u32::from(self.miners) * u32::from(self.stages) + u32::from(self.validators) > 256 {
            bail!(
                "{} stages x {} miners and {} validators are more than the 256 members of a run",
                self.stages,
                self.miners,
                self.validators
            );
        }
        if self.validators == 0 {
            bail!("--validators 0: without a validator nobody is paid and no held-out loss is measured; use at least 1");
        }
        if self.authorities == 0 || self.authorities > 4 {
            bail!("--authorities {}: expected 1 to 4 (the development keys)", self.authorities);
        }
        if self.epochs == 0 {
            bail!("--epochs 0: nothing would be trained; use at least 1");
        }
        std::fs::File::open(&self.data)
            .with_context(|| format!("--data {}: the file cannot be read", self.data.display()))?;
        if let Some(port) = self.rpc_port {
            std::net::TcpListener::bind(("127.0.0.1", port)).with_context(|| {
                format!("--rpc-port {port}: the port is in use; leave the option out to take a free one")
            })?;
        }
        Ok(())
    }

    /// Path of one of our programs.
    ///
    /// # Errors
    /// When it has not been built.
    pub fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = if name == "iota-node" { &self.bin_chain } else { &self.bin_work };
        let path = match folder {
            Some(folder) => folder.join(name),
            None => std::env::current_exe()?.with_file_name(name),
        };
        if path.is_file() {
            return Ok(path);
        }
        bail!(
            "{} is not built; run `scripts/build` first, or start with `scripts/devnet`, which does",
            path.display()
        )
    }
}
