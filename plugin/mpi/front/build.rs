//! Declares the canonical functions, which libsplitproc.so has.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let text = mpi_spec::front::declarations();
    std::fs::write(out.join("canonical.rs"), text).expect("OUT_DIR is writable");
}
