//! Runs what the command line asks for.

use std::process::ExitCode;

use iota_runtime::opaque::Block;
use polkadot_sdk::{
    sc_cli::{self, CliConfiguration, RpcMethods, Runner, SubstrateCli},
    sc_network::config::NetworkBackendType,
    sc_network::{Litep2pNetworkBackend, NetworkWorker},
    sc_service,
};

use crate::{
    chain_spec,
    cli::{Cli, Subcommand},
    json_log, service,
};

impl SubstrateCli for Cli {
    fn impl_name() -> String {
        "IOTA node".into()
    }

    fn impl_version() -> String {
        env!("CARGO_PKG_VERSION").into()
    }

    fn description() -> String {
        "Node of the IOTA chain: authors blocks with Aura, finalizes them with GRANDPA".into()
    }

    fn author() -> String {
        "the IOTA authors".into()
    }

    fn support_url() -> String {
        "the repository's issues".into()
    }

    fn copyright_start_year() -> i32 {
        2026
    }

    fn load_spec(&self, id: &str) -> Result<Box<dyn sc_service::ChainSpec>, String> {
        Ok(Box::new(chain_spec::load(id)?))
    }
}

/// Authoring says three lines for every block, where the line on its import says enough.
const QUIET: [&str; 3] = ["aura=warn", "basic-authorship=warn", "sc_basic_authorship=warn"];

/// Parses the command line, does what it says, and says on standard error why it failed, if it did.
pub fn main() -> ExitCode {
    let cli = Cli::from_args();
    let json_log = cli.json_log;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match json_log {
                true => eprintln!("{}", json_log::last_line(&error)),
                false => eprintln!("Error: {error:?}"),
            }
            ExitCode::FAILURE
        }
    }
}

fn run(mut cli: Cli) -> sc_cli::Result<()> {
    quieten(&mut cli);
    keep_private(&mut cli);
    match &cli.subcommand {
        None => run_node(&cli),
        Some(Subcommand::Key(command)) => command.run(&cli),
        Some(Subcommand::ExportChainSpec(command)) => command.run(cli.load_spec(&command.chain)?),
        Some(Subcommand::TestnetSpec(command)) => command.run().map_err(sc_cli::Error::Input),
        Some(Subcommand::FaucetRequest(command)) => {
            println!("{}", command.transaction().map_err(sc_cli::Error::Input)?);
            Ok(())
        }
        Some(Subcommand::PurgeChain(command)) => {
            runner(&cli, command)?.sync_run(|config| command.run(config.database))
        }
        Some(Subcommand::ChainInfo(command)) => {
            runner(&cli, command)?.sync_run(|config| command.run::<Block>(&config))
        }
    }
}

/// Puts `QUIET` in front of what was asked for, which so has the last word.
fn quieten(cli: &mut Cli) {
    cli.run.shared_params.log.splice(0..0, QUIET.map(String::from));
}

/// Methods that change the node or its keys are served to nobody, not even locally, unless they are asked
/// for: other programs and other users of the machine reach the local port too.
fn keep_private(cli: &mut Cli) {
    let methods = &mut cli.run.rpc_params.rpc_methods;
    if matches!(methods, RpcMethods::Auto) {
        *methods = RpcMethods::Safe;
    }
}

/// Prepares to run `command`, with the log that was asked for.
fn runner<C: CliConfiguration>(cli: &Cli, command: &C) -> sc_cli::Result<Runner<Cli>> {
    match cli.json_log {
        true => json_log::runner(cli, command),
        false => cli.create_runner(command),
    }
}

fn run_node(cli: &Cli) -> sc_cli::Result<()> {
    runner(cli, &cli.run)?.run_node_until_exit(|config| async move {
        let started = match config.network.network_backend {
            NetworkBackendType::Libp2p => service::start::<NetworkWorker<_, _>>(config),
            NetworkBackendType::Litep2p => service::start::<Litep2pNetworkBackend>(config),
        };
        started.map_err(sc_cli::Error::Service)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_contradicts_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_the_operator_logs_overrides_what_is_quiet() {
        let mut cli = Cli::try_from_iter(["iota-node", "--log", "aura=debug"]).unwrap();
        quieten(&mut cli);
        let log = &cli.run.shared_params.log;
        assert_eq!(log.first().map(String::as_str), Some("aura=warn"));
        assert_eq!(log.last().map(String::as_str), Some("aura=debug"));
    }
    fn parsed(arguments: &[&str]) -> Cli {
        let mut cli = Cli::try_from_iter([&["iota-node"], arguments].concat()).unwrap();
        keep_private(&mut cli);
        cli
    }

    #[test]
    fn row_29_rpc_is_local_and_safe_unless_asked_otherwise() {
        let default = parsed(&[]).run.rpc_params;
        assert!(matches!(default.rpc_methods, RpcMethods::Safe));
        assert!(!default.rpc_external && !default.unsafe_rpc_external);
        let asked = parsed(&["--rpc-methods", "unsafe"]).run.rpc_params;
        assert!(matches!(asked.rpc_methods, RpcMethods::Unsafe));
    }

    #[test]
    fn row_29_an_authority_does_not_open_its_rpc_by_one_flag() {
        let open = parsed(&["--validator", "--rpc-external"]);
        assert!(open.run.rpc_addr(9_944).is_err(), "a validator with --rpc-external starts");
        let local = parsed(&["--validator"]).run.rpc_addr(9_944).unwrap().unwrap();
        assert!(local.iter().all(|endpoint| endpoint.listen_addr.ip().is_loopback()));
    }

    #[test]
    fn keys_are_made_inspected_and_inserted() {
        for command in [
            &["key", "generate", "--scheme", "sr25519"][..],
            &["key", "generate-node-key", "--file", "node-key"],
            &["key", "inspect", "//Alice"],
            &["key", "inspect-node-key", "--file", "node-key"],
            &[
                "key",
                "insert",
                "--base-path",
                "dir",
                "--chain",
                "dev",
                "--scheme",
                "sr25519",
                "--key-type",
                "aura",
                "--suri",
                "//A",
            ],
        ] {
            let cli = parsed(command);
            assert!(matches!(cli.subcommand, Some(Subcommand::Key(_))), "{command:?}");
        }
    }

    #[test]
    fn an_archive_node_is_a_flag() {
        use polkadot_sdk::sc_service::PruningMode;
        let archive = parsed(&["--state-pruning", "archive"]).run.state_pruning().unwrap();
        assert_eq!(archive, Some(PruningMode::ArchiveAll));
    }

    #[test]
    fn json_lines_are_asked_for_before_a_run_and_after_a_command() {
        assert!(!parsed(&[]).json_log);
        assert!(parsed(&["--json-log", "--dev", "-lsync=debug"]).json_log);
        assert!(parsed(&["purge-chain", "--dev", "--json-log"]).json_log);
    }

    #[test]
    fn test_network_commands_parse() {
        let spec = parsed(&["testnet-spec", "--ceremony", "a.json", "--output", "b.json"]);
        assert!(matches!(spec.subcommand, Some(Subcommand::TestnetSpec(_))));
        let account = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";
        let request = parsed(&["faucet-request", "--account", account, "--genesis", "00"]);
        assert!(matches!(request.subcommand, Some(Subcommand::FaucetRequest(_))));
    }
}
