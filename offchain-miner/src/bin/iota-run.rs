//! `iota-run`.

fn main() -> std::process::ExitCode {
    match iota_miner::runs::main() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
