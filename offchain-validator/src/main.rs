//! `iota-validator`.

fn main() -> std::process::ExitCode {
    iota_validator::cli::main()
}
