//! `iota-explorer`.

fn main() {
    iota_explorer::cli::main()
}
