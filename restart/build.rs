//! Makes the front's stub libraries beside the programs: `fronts/libmpich.so.12` and `fronts/libmpi.so.12`.
//!
//! Each is an empty library that has nothing but a SONAME. Preloaded, it satisfies the application's
//! `DT_NEEDED`, so the real MPI library is never loaded in the upper half; the functions themselves
//! are libsplitproc.so's.

use std::path::PathBuf;
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
    let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    for soname in FRONTS {
        // Under a name of its own first: a running program may have the old file mapped.
        let temporary = fronts.join(format!("{soname}.tmp"));
        let status = Command::new(&cc)
            .args([
                "-shared",
                "-nostdlib",
                "-x",
                "c",
                "/dev/null",
                "-Wl,-z,noexecstack",
            ])
            .arg(format!("-Wl,-soname,{soname}"))
            .arg("-o")
            .arg(&temporary)
            .status()
            .expect("a C compiler is there, as Rust's linker");
        assert!(
            status.success(),
            "{} could not make {soname}",
            cc.to_string_lossy()
        );
        std::fs::rename(&temporary, fronts.join(soname)).expect("the target directory is writable");
    }
}
