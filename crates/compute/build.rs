//! Compiles the crate's C++, what the binding cannot do, against the libtorch that the binding found.

use std::env;
use std::path::{Path, PathBuf};

/// Each stands beside the module of Rust that calls it.
const SOURCES: [&str; 3] = ["src/gradients.cpp", "src/staging.cpp", "src/device_optimizer.cpp"];

fn main() {
    for source in SOURCES.iter().chain(&["src/native.h"]) {
        println!("cargo:rerun-if-changed={source}");
    }
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    let include = headers();
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        // Warnings in libtorch's headers are not ours to mend.
        .warnings(false)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .files(SOURCES)
        .compile("iota_compute_native");
}

/// Where the headers lie: beside the libraries, unless the environment names another place, as for the binding.
fn headers() -> PathBuf {
    let named = env::var_os("LIBTORCH_INCLUDE").map(PathBuf::from);
    let beside = env::var_os("DEP_TCH_LIBTORCH_LIB");
    let root =
        named.or_else(|| beside.as_deref().and_then(|lib| Path::new(lib).parent()).map(Path::to_owned));
    root.expect("torch-sys says where libtorch is; set LIBTORCH as scripts/env.sh does").join("include")
}
