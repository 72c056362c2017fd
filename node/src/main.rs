//! `iota-node`: a full node and, with keys, an authority of the IOTA chain.
#![expect(clippy::result_large_err, reason = "the node libraries' own errors, met once at start-up")]

mod chain_spec;
mod cli;
mod command;
mod json_log;
mod rpc;
mod service;
mod testnet;

fn main() -> std::process::ExitCode {
    command::main()
}
