//! Links the loader freestanding and static, at its own window.
fn main() {
    for arg in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--image-base=0x100000000000",
        // Named by core's unwind tables, never called: panics abort.
        "-Wl,--defsym=rust_eh_personality=_start",
        "-Wl,-z,noexecstack",
        "-Wl,--build-id=none",
    ] {
        println!("cargo:rustc-link-arg-bin=lh-loader={arg}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
