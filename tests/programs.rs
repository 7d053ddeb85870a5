//! Builds the programs that the tests run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The root of the repository.
pub fn repo() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A program of this workspace, as cargo built it in the tests' own profile.
pub fn bin(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps/TEST");
    let path = profile.join(name);
    assert!(
        path.exists(),
        "{} is not there: build the workspace first, in the same profile",
        path.display()
    );
    path
}

/// Where the tests keep what they build and write.
pub(crate) fn work() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let target = test.ancestors().nth(3).expect("target/PROFILE/deps/TEST");
    target.join("e2e")
}

/// An example (`examples/NAME.c`), built as its user would build it.
pub fn example(name: &str) -> PathBuf {
    compile(
        &repo().join("examples").join(format!("{name}.c")),
        name,
        &[],
    )
}

/// A test program (`tests/c/SOURCE`, which is C's unless it has an extension), built as NAME with more flags.
pub fn program(source: &str, name: &str, flags: &[&str]) -> PathBuf {
    let c = if source.contains('.') { "" } else { ".c" };
    let file = repo().join("tests/c").join(format!("{source}{c}"));
    compile(&file, name, flags)
}

/// The flag that protects every function's stack frame.
pub const STACK_PROTECTORS: &str = "-fstack-protector-all";

/// Builds the libraries that test programs' lower halves open; gives their folder. Like the programs that call
/// them they have stack protectors.
pub fn half_libraries() -> PathBuf {
    let shared = ["-shared", "-fPIC", STACK_PROTECTORS];
    program("plug", "plug.so", &shared);
    program("plug", "late.so", &[&shared[..], &["-DFIXED"]].concat());
    program("throw.cc", "throw.so", &shared);
    let half = program("half", "half.so", &shared);
    half.parent().expect("a folder").to_owned()
}

static COMPILER: Mutex<()> = Mutex::new(());

/// A program built by another compiler than its source asks for, such as that of another MPI.
pub fn built_by(compiler: &str, source: &Path, name: &str, flags: &[&str]) -> PathBuf {
    compiled(Some(compiler), source, name, flags)
}

fn compile(source: &Path, name: &str, flags: &[&str]) -> PathBuf {
    compiled(None, source, name, flags)
}

fn compiled(wish: Option<&str>, source: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let _one = COMPILER
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = work().join("bin");
    std::fs::create_dir_all(&dir).expect("a folder for programs");
    let out = dir.join(name);
    let time = |p: &Path| std::fs::metadata(p).and_then(|m| m.modified()).ok();
    let beside = source.parent().and_then(|p| std::fs::read_dir(p).ok());
    let headers = beside
        .into_iter()
        .flatten()
        .filter_map(|e| Some(e.ok()?.path()));
    let newest = headers
        .filter(|p| p.extension().is_some_and(|e| e == "h"))
        .chain([repo().join("plugin/include/splitproc.h")])
        .map(|h| time(&h))
        .max()
        .flatten();
    if time(&out) > time(source).max(newest) {
        return out;
    }
    let code = std::fs::read_to_string(source).expect("the program's source");
    let mpi = code.contains("<mpi.h>");
    let fortran = source
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("f90"));
    let (compiler, warnings) = match source.extension().and_then(|e| e.to_str()) {
        _ if fortran => ("mpif90.mpich", ["-Wall", "-Wno-unused-dummy-argument"]),
        // The headers of MPI's C++ bindings are of the time of C++98.
        Some("cc") if mpi => ("mpicxx.mpich", ["-std=gnu++98", "-Wall"]),
        Some("cc") => ("g++", ["-Wall", "-Wextra"]),
        _ if mpi => ("mpicc.mpich", ["-Wall", "-Wextra"]),
        _ => ("gcc", ["-Wall", "-Wextra"]),
    };
    let compiler = wish.unwrap_or(compiler);
    // Fortran's compiler writes modules where it is.
    let done = Command::new(compiler)
        .current_dir(&dir)
        .arg("-I")
        .arg(repo().join("plugin/include"))
        .args(warnings)
        .args(fortran.then(|| format!("-J{}", dir.display())))
        .args(["-O2", "-Wno-stringop-overflow", "-o"])
        .arg(&out)
        .arg(source)
        .args(flags)
        .args(["-lpthread", "-lm"])
        .output()
        .unwrap_or_else(|e| panic!("{compiler}: {e}"));
    assert!(
        done.status.success(),
        "{compiler}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    out
}
