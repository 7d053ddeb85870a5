//! The stub exports what it interposes, so that the half's libraries find ours before libc's, and what the front calls.
fn main() {
    for arg in [
        "-Wl,--export-dynamic-symbol=dlopen",
        "-Wl,--export-dynamic-symbol=splitproc_bias",
        "-Wl,--export-dynamic-symbol=splitproc_turn",
        "-Wl,--export-dynamic-symbol=pthread_mutexattr_setprotocol",
        "-Wl,--defsym=rust_eh_personality=main",
    ] {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
    println!("cargo:rustc-link-lib=dylib=c");
    println!("cargo:rerun-if-changed=build.rs");
}
