//! The stub exports `dlopen`, so that the half's libraries find ours before libc's.
fn main() {
    for arg in [
        "-Wl,--export-dynamic-symbol=dlopen",
        "-Wl,--defsym=rust_eh_personality=main",
    ] {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
    println!("cargo:rustc-link-lib=dylib=c");
    println!("cargo:rerun-if-changed=build.rs");
}
