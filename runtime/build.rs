//! Builds the runtime a second time, as the wasm blob that the node executes.

fn main() {
    // The inner build takes it over: a blob without it refuses every transaction that a device signs offline.
    println!("cargo:rerun-if-env-changed=RUNTIME_METADATA_HASH");
    if std::env::var_os("RUNTIME_METADATA_HASH").is_none() {
        println!(
            "cargo:warning=RUNTIME_METADATA_HASH is not set, so that the runtime refuses transactions that name \
             a metadata hash; build inside the checkout, whose .cargo/config.toml sets it"
        );
    }
    // Without `std` this is that second build itself. `SKIP_WASM_BUILD` skips it for checks.
    #[cfg(feature = "std")]
    iota_wasm_builder::WasmBuilder::build_using_defaults();
}
