//! Hands `substrate-wasm-builder` to the runtime's build script.
//!
//! The runtime cannot name the umbrella crate twice, and an optional build dependency of the same
//! name as a dependency would be switched on by `polkadot-sdk/std` in the inner wasm build too,
//! which would compile Binaryen a second time. A crate in between has neither problem.

pub use polkadot_sdk::substrate_wasm_builder::WasmBuilder;
