//! Build script of every program that links libtorch: writes its folder into the program, so that it
//! starts without LD_LIBRARY_PATH on the machine that built it.

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    if let Ok(folder) = std::env::var("LIBTORCH") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}/lib");
    }
}
