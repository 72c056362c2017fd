//! What the command line offers.

use std::path::PathBuf;

use iota_runtime::AccountId;
use polkadot_sdk::sc_cli::{self, RunCmd};

/// Arguments of `iota-node`.
#[derive(Debug, clap::Parser)]
pub struct Cli {
    /// What to do instead of running a node.
    #[command(subcommand)]
    pub subcommand: Option<Subcommand>,

    /// Log as JSON lines.
    #[arg(long, global = true)]
    pub json_log: bool,

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

    /// Write the plain chain spec of a public network, for tests or production, from what its founders bring
    /// together.
    TestnetSpec(TestnetSpec),

    /// Do the work for a drip of a test network's faucet and print the transaction.
    FaucetRequest(FaucetRequest),

    /// Delete the database.
    PurgeChain(sc_cli::PurgeChainCmd),

    /// Print what the database holds.
    ChainInfo(sc_cli::ChainInfoCmd),
}

/// Arguments of `testnet-spec`.
#[derive(Debug, clap::Args)]
pub struct TestnetSpec {
    /// Kind, keys, admin, balances and runs as JSON; chain-spec/README.md shows one.
    #[arg(long, value_name = "FILE")]
    pub ceremony: PathBuf,

    /// Where the spec goes; it must not exist.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
}

/// Arguments of `faucet-request`.
#[derive(Debug, clap::Args)]
pub struct FaucetRequest {
    /// Who asks.
    #[arg(long)]
    pub account: AccountId,

    /// Hash of the chain's block 0, 64 hex digits: `chain_getBlockHash` with parameter 0.
    #[arg(long)]
    pub genesis: String,

    /// Zero bits that the faucet's terms ask for.
    #[arg(long, default_value_t = 22)]
    pub difficulty: u32,

    /// Block of the account's last drip, 0 if it had none.
    #[arg(long, default_value_t = 0)]
    pub last: u32,
}
