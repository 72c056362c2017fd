//! `iota-explorer`.

fn main() -> std::process::ExitCode {
    iota_explorer::cli::main()
}
