//! Builds the runtime a second time, as the wasm blob that the node executes.

fn main() {
    // Without `std` this is that second build itself. `SKIP_WASM_BUILD` skips it for checks.
    #[cfg(feature = "std")]
    iota_wasm_builder::WasmBuilder::build_using_defaults();
}
