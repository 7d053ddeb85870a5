//! Programs that are built for the standard ABI of MPI 5.0, over both MPI libraries: the front `libmpi_abi.so.1` translates.
//!
//! No library of that ABI is needed to build them: `tests/c/standard.h` has the constants, and the functions come from the table
//! of functions, as declarations and as a library to link with.

use mpi_spec::{Function, HANDLES};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tests::{built_by, repo, text, Case, Job, Mpi, Scratch};

/// C's type of what a letter of the table stands for.
fn c_type(letter: char) -> &'static str {
    match letter {
        'l' => "int64_t ",
        'f' => "double ",
        'C' => "MPI_Comm ",
        'D' => "MPI_Datatype ",
        'O' => "MPI_Op ",
        'G' => "MPI_Group ",
        'R' => "MPI_Request ",
        'I' => "MPI_Info ",
        'E' => "MPI_Errhandler ",
        'M' => "MPI_Message ",
        'W' => "MPI_Win ",
        'F' => "MPI_File ",
        'S' => "MPI_Session ",
        'p' | 'b' | 'd' => "const void *",
        _ => "int ",
    }
}

/// A function's declaration, without the semicolon.
fn declaration(f: &Function) -> String {
    let ret = match f.ret.as_str() {
        kind if HANDLES.contains(&kind) || kind == "l" || kind == "f" => kind.chars().next(),
        _ => None,
    };
    let list: String = f
        .letters()
        .chars()
        .map(c_type)
        .collect::<Vec<_>>()
        .join(", ");
    let list = if list.is_empty() { "void" } else { &list };
    format!("{}{f}({list})", c_type(ret.unwrap_or('i')))
}

/// A folder with `mpi.h` and, for each SONAME, a library in a folder of that name.
fn kit() -> &'static Path {
    static KIT: OnceLock<PathBuf> = OnceLock::new();
    KIT.get_or_init(|| {
        let dir = tests::bin("../e2e").join("standard");
        std::fs::create_dir_all(&dir).expect("a folder");
        let all = mpi_spec::functions();
        let constants = repo().join("tests/c/standard.h");
        let declared: String = all.iter().map(|f| declaration(f) + ";\n").collect();
        let header = format!(
            "#pragma once\n#include \"{}\"\n{declared}",
            constants.display()
        );
        std::fs::write(dir.join("mpi.h"), header).expect("the header");
        let defined: String = all
            .iter()
            .map(|f| format!("int {f}(void) {{ return 0; }}\n"))
            .collect();
        let source = dir.join("library.c");
        std::fs::write(&source, defined).expect("the library's source");
        for soname in ["libmpi_abi.so.1", "libmpi_abi.so.0"] {
            let own = dir.join(format!("for-{soname}"));
            std::fs::create_dir_all(&own).expect("a folder");
            let done = Command::new("gcc")
                .args(["-shared", "-fPIC", "-o"])
                .arg(own.join("libmpi_abi.so"))
                .arg(format!("-Wl,-soname,{soname}"))
                .arg(&source)
                .status();
            assert!(done.expect("gcc is there").success());
        }
        dir
    })
}

/// A program built for the standard ABI.
fn built(source: &Path, soname: &str) -> PathBuf {
    let name = source.file_stem().unwrap_or_default().to_string_lossy();
    let kit = kit();
    let flags = [
        format!("-I{}", kit.display()),
        format!("-L{}", kit.join(format!("for-{soname}")).display()),
        "-lmpi_abi".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    built_by("gcc", source, &format!("{name}.{soname}"), &flags)
}

/// The program goes on over `from`, and after a restart over each of `to`.
fn trapped(from: Mpi, to: &[Mpi], soname: &str) {
    let app = built(&repo().join("tests/c/trap_standard.c"), soname);
    let scratch = Scratch::new(&format!("standard-{from:?}-{soname}"));
    let go = scratch.file("go");
    let args = ["everything".as_ref(), go.as_os_str()];
    let mut job = Job::launch_over(&scratch, (from, 2), &app, args);
    job.must_reach(1);
    job.checkpoint(&scratch);
    std::fs::write(&go, "").expect("the go file");
    assert_eq!(
        text(&job.finish().ok().stdout),
        "ready\nok\n",
        "going on over {from:?}"
    );
    for mpi in to {
        let done = Job::restart_over(&scratch, *mpi, 2).finish().ok();
        assert_eq!(text(&done.stdout), "ok\n", "over {mpi:?} after {from:?}");
    }
}

#[test]
fn from_mpich_to_both() {
    trapped(Mpi::Mpich, &[Mpi::Mpich, Mpi::OpenMpi], "libmpi_abi.so.1");
}

#[test]
fn from_open_mpi_to_both() {
    trapped(Mpi::OpenMpi, &[Mpi::OpenMpi, Mpi::Mpich], "libmpi_abi.so.0");
}

/// The same numbers as the program has that is built for MPICH, over restarts too.
#[test]
fn heat2d_for_the_standard_abi() {
    let scratch = Scratch::new("heat2d-standard");
    let mut case = Case::heat2d(&scratch, 2, 1);
    case.app = built(&repo().join("examples/heat2d.c"), "libmpi_abi.so.1");
    case.at_random_moments(&scratch);
}
