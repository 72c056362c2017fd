//! `iota-explorer`.

fn main() -> std::process::ExitCode {
    match iota_explorer::cli::main() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
