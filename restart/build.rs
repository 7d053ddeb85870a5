//! Makes the front's stub libraries beside the programs: `fronts/libmpich.so.12` and `fronts/libmpi.so.12`.
//!
//! Each is an empty library that has nothing but a SONAME and the need of libsplitproc.so, whose the functions
//! themselves are. Preloaded, it satisfies the application's `DT_NEEDED`, so the real MPI library is never loaded
//! in the upper half, and a `dlopen` of that name.

use std::path::{Path, PathBuf};
use std::process::Command;

const FRONTS: &[&str] = &["libmpich.so.12", "libmpi.so.12"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CC");
    // OUT_DIR is PROFILE/build/restart-HASH/out.
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let profile = out
        .ancestors()
        .nth(3)
        .expect("OUT_DIR lies three levels below the profile's directory");
    let fronts = profile.join("fronts");
    std::fs::create_dir_all(&fronts).expect("the target directory is writable");
    // Stands for libsplitproc.so, which is linked later.
    let needed = out.join("libsplitproc.so");
    empty_library("libsplitproc.so", &[], &needed);
    for soname in FRONTS {
        // Under a name of its own first: a running program may have the old file mapped.
        let temporary = fronts.join(format!("{soname}.tmp"));
        let flags = ["-Wl,--no-as-needed".as_ref(), needed.as_path()];
        empty_library(soname, &flags, &temporary);
        std::fs::rename(&temporary, fronts.join(soname)).expect("the target directory is writable");
    }
}

/// A library without anything in it.
fn empty_library(soname: &str, flags: &[&Path], path: &Path) {
    let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let status = Command::new(&cc)
        .args(["-shared", "-nostdlib", "-x", "c", "/dev/null", "-x", "none"])
        .args(["-Wl,-z,noexecstack", &format!("-Wl,-soname,{soname}")])
        .args(flags)
        .arg("-o")
        .arg(path)
        .status()
        .expect("a C compiler is there, as Rust's linker");
    let cc = cc.to_string_lossy();
    assert!(status.success(), "{cc} could not make {soname}");
}
