//! `iota-miner`.

fn main() -> std::process::ExitCode {
    iota_miner::cli::main()
}
