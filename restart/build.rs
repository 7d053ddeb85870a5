//! Makes the fronts of the MPICH ABI and of CUDA beside the programs: `fronts/libmpich.so.12`, `fronts/libmpi.so.12`,
//! `fronts/libcudart.so.13`, …; the sleeves of Open MPI's libraries of other languages (`lh-loader/src/route/fronts.rs`);
//! and links in that folder, by the names that programs know, to the fronts of other ABIs, which are crates of their own.
//!
//! That ABI is the canonical one, so a function of theirs is one jump to libsplitproc.so's function; CUDA's jump to
//! libsplitproc_cuda.so. The upper half's
//! `ld.so` opens them in the place of the real MPI libraries.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Fronts that are crates, and what CUDA's need, and the files that cargo makes of those.
const LINKS: &[(&str, &str)] = &[
    ("libmpi.so.40", "../libsplitproc_openmpi.so"),
    ("libmpi_abi.so.1", "../libsplitproc_mpi_abi.so"),
    ("libmpi_abi.so.0", "../libsplitproc_mpi_abi.so"),
    ("libsplitproc_cuda.so", "../libsplitproc_cuda.so"),
];

const FRONTS: &[&str] = &["libmpich.so.12", "libmpi.so.12"];

/// Open MPI's libraries of other languages, in whose place such a library is opened.
const SLEEVES: &[&str] = &["libmpi_mpifh.so.40", "libmpi_cxx.so.40"];

/// The variables of MPICH's library that its Fortran library wants: name, size, and the value of their first word. It writes
/// to some, and it or a program may have others by the same names that stand first: these are given the value as well, by
/// [`set_by_name`].
const VARIABLES: &[(&str, usize, &str)] = &[
    ("MPI_F_STATUS_IGNORE", 8, "0"),
    ("MPI_F_STATUSES_IGNORE", 8, "0"),
    ("MPIR_F08_MPI_STATUS_IGNORE_OBJ", 20, "0"),
    ("MPIR_F08_MPI_STATUSES_IGNORE_OBJ", 20, "0"),
    ("MPI_F08_STATUS_IGNORE", 8, "MPIR_F08_MPI_STATUS_IGNORE_OBJ"),
    (
        "MPI_F08_STATUSES_IGNORE",
        8,
        "MPIR_F08_MPI_STATUSES_IGNORE_OBJ",
    ),
    ("MPIR_F08_MPI_BOTTOM", 4, "0"),
    ("MPIR_F08_MPI_IN_PLACE", 4, "0"),
    ("MPIR_C_MPI_UNWEIGHTED", 8, "splitproc_weights"),
    ("MPIR_C_MPI_WEIGHTS_EMPTY", 8, "splitproc_weights + 8"),
];

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
    library("libsplitproc.so", Path::new("/dev/null"), &[], &needed);
    let jumps = out.join("jumps.s");
    std::fs::write(&jumps, jumps_to_canonical()).expect("OUT_DIR is writable");
    for soname in FRONTS {
        // Under a name of its own first: a running program may have the old file mapped.
        let temporary = fronts.join(format!("{soname}.tmp"));
        let flags = ["-Wl,--no-as-needed".as_ref(), needed.as_path()];
        library(soname, &jumps, &flags, &temporary);
        std::fs::rename(&temporary, fronts.join(soname)).expect("the target directory is writable");
    }
    // What a sleeve needs, in the order in which `ld.so` is to look there.
    let front = out.join("libmpi.so.40");
    library("libmpi.so.40", Path::new("/dev/null"), &[], &front);
    for soname in SLEEVES {
        let shipped = out.join(format!("{soname}.shipped"));
        library(
            &format!("{soname}.shipped"),
            Path::new("/dev/null"),
            &[],
            &shipped,
        );
        let temporary = fronts.join(format!("{soname}.tmp"));
        let flags = ["-Wl,--no-as-needed".as_ref(), front.as_path(), &shipped];
        library(soname, Path::new("/dev/null"), &flags, &temporary);
        std::fs::rename(&temporary, fronts.join(soname)).expect("the target directory is writable");
    }
    cuda(&out, &fronts);
    for (soname, file) in LINKS {
        // One that is there is the same.
        let _ = std::os::unix::fs::symlink(file, fronts.join(soname));
    }
}

/// Makes the fronts of CUDA's libraries: a jump a function, and the version that the real library's symbols have.
fn cuda(out: &Path, fronts: &Path) {
    let needed = out.join("libsplitproc_cuda.so");
    library("libsplitproc_cuda.so", Path::new("/dev/null"), &[], &needed);
    let mut all = vec![(
        "libcuda.so.1".to_owned(),
        cuda_spec::tables::driver_symbols(),
    )];
    for version in cuda_spec::VERSIONS {
        let soname = format!("libcudart.so.{version}");
        all.push((soname, cuda_spec::tables::runtime_symbols(version)));
    }
    for (soname, symbols) in all {
        let source = out.join(format!("{soname}.s"));
        let mut text = String::from(".text\n");
        for (name, target) in symbols {
            jump(&mut text, &name, &target);
        }
        std::fs::write(&source, text).expect("OUT_DIR is writable");
        let versions = out.join(format!("{soname}.map"));
        let node = format!("{soname} {{ global: *; }};\n");
        std::fs::write(&versions, node).expect("OUT_DIR is writable");
        let script = format!("-Wl,--version-script={}", versions.display());
        let temporary = fronts.join(format!("{soname}.tmp"));
        // It lies in the same folder, by a link.
        let folder = "-Wl,-rpath,$ORIGIN".as_ref();
        let mut flags = vec![folder, "-Wl,--no-as-needed".as_ref(), needed.as_path()];
        if soname.starts_with("libcudart") {
            flags.push(script.as_ref());
        }
        library(&soname, &source, &flags, &temporary);
        std::fs::rename(&temporary, fronts.join(&soname))
            .expect("the target directory is writable");
    }
}

/// Assembly of a function that is a jump to another.
fn jump(text: &mut String, name: &str, target: &str) {
    writeln!(
        text,
        ".globl {name}\n.type {name},@function\n{name}: jmp *{target}@GOTPCREL(%rip)\n.size {name},.-{name}"
    )
    .expect("a string takes all");
}

/// Assembly of a function that `ld.so` calls, and that stores a variable's own value where all libraries find it.
fn set_by_name(text: &mut String, name: &str) {
    writeln!(
        text,
        ".text\n.Lset_{name}: mov .Lown_{name}(%rip),%rax\nmov {name}@GOTPCREL(%rip),%rdx\nmov %rax,(%rdx)\nret\n\
         .section .init_array,\"aw\"\n.quad .Lset_{name}"
    )
    .expect("a string takes all");
}

/// Assembly of every function of MPI, by both its names, as a jump, and of the variables.
fn jumps_to_canonical() -> String {
    let mut text = String::from(".text\n");
    for f in mpi_spec::functions() {
        for name in [format!("{f}"), format!("P{f}")] {
            jump(&mut text, &name, &format!("splitproc_{f}"));
        }
    }
    for (name, size, value) in VARIABLES {
        writeln!(
            text,
            ".data\n.balign 8\n.globl {name}\n.type {name},@object\n.size {name},{size}\n{name}:\n.Lown_{name}: .quad {value}\n.zero 16"
        )
        .expect("a string takes all");
        if *value != "0" {
            set_by_name(&mut text, name);
        }
    }
    text
}

/// Makes a library of assembly.
fn library(soname: &str, source: &Path, flags: &[&Path], path: &Path) {
    let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let status = Command::new(&cc)
        .args(["-shared", "-nostdlib", "-x", "assembler"])
        .arg(source)
        .args(["-x", "none", "-Wl,-z,noexecstack", "-Wl,-z,now"])
        .arg(format!("-Wl,-soname,{soname}"))
        .args(flags)
        .arg("-o")
        .arg(path)
        .status()
        .expect("a C compiler is there, as Rust's linker");
    let cc = cc.to_string_lossy();
    assert!(status.success(), "{cc} could not make {soname}");
}
