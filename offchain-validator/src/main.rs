//! `iota-validator`.

fn main() -> std::process::ExitCode {
    match iota_validator::cli::main() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
