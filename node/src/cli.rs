//! What the command line offers.

use polkadot_sdk::sc_cli::{self, RunCmd};

/// Arguments of `iota-node`.
#[derive(Debug, clap::Parser)]
pub struct Cli {
    /// What to do instead of running a node.
    #[command(subcommand)]
    pub subcommand: Option<Subcommand>,

    /// How to run the node.
    #[clap(flatten)]
    pub run: RunCmd,
}

/// What the program can do besides running a node.
#[derive(Debug, clap::Subcommand)]
pub enum Subcommand {
    /// Make, inspect and insert keys.
    #[command(subcommand)]
    Key(sc_cli::KeySubcommand),

    /// Write the chain spec of a preset (`dev`, `local`) or of a file, plain or raw.
    ExportChainSpec(sc_cli::ExportChainSpecCmd),

    /// Delete the database.
    PurgeChain(sc_cli::PurgeChainCmd),

    /// Print what the database holds.
    ChainInfo(sc_cli::ChainInfoCmd),
}
