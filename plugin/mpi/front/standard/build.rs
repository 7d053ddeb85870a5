//! Generates the functions.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libmpi_abi.so.1");
    println!("cargo:rustc-link-lib=c");
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let text = mpi_spec::front::exports();
    std::fs::write(out.join("exports.rs"), text).expect("OUT_DIR is writable");
}
