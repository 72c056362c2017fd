//! `iota-run`.

fn main() -> std::process::ExitCode {
    iota_miner::runs::main()
}
