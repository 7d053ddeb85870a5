//! Generates CUDA's functions and the lower half's table of them.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libsplitproc_cuda.so");
    // libsplitproc.so calls it once it has been loaded, whatever the program closes.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for (name, text) in [
        ("cuda_table.rs", cuda_spec::tables::lower_table()),
        ("cuda_driver.rs", cuda_spec::tables::driver_exports()),
        ("cuda_runtime.rs", cuda_spec::tables::runtime_exports()),
    ] {
        std::fs::write(out.join(name), text).expect("OUT_DIR is writable");
    }
}
