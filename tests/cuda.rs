//! CUDA programs, in PTX or built by NVIDIA's compiler.

use crate::{bin, lines, program, repo, text, Job, Moments, Scratch};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A C program of the driver's API in `tests/c`, linked with the front.
pub fn cuda_program(name: &str) -> PathBuf {
    let front = bin("fronts/libcuda.so.1");
    let folder = format!("-L{}", front.parent().expect("a folder").display());
    let flags = [
        &folder[..],
        "-l:libcuda.so.1",
        // libsplitproc.so, which the front needs, is the program's once it is launched.
        "-Wl,--unresolved-symbols=ignore-in-shared-libs",
    ];
    program(name, name, &flags)
}

/// NVIDIA's compiler, where it is: `$NVCC`, or the one in the path.
pub fn nvcc() -> Option<PathBuf> {
    let given = std::env::var_os("NVCC").map(PathBuf::from);
    let path = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("nvcc"));
    given.or_else(|| found.find(|p| p.is_file()))
}

/// What `mpicc` gives the compiler and the linker.
fn mpi_flags() -> Vec<String> {
    let shown = Command::new("mpicc.mpich").arg("-show").output();
    let shown = text(&shown.expect("mpicc.mpich").stdout);
    let wanted = |w: &&str| w.starts_with("-I") || w.starts_with("-L") || w.starts_with("-l");
    shown
        .split_whitespace()
        .filter(wanted)
        .map(String::from)
        .collect()
}

/// An example in `examples/cuda`, built as its user would build it.
pub fn cuda_example(nvcc: &Path, name: &str) -> PathBuf {
    let home = nvcc.parent().and_then(Path::parent).expect("bin/nvcc");
    let compiler = ["g++-12", "g++"].into_iter().find(|c| {
        let mut version = Command::new(c);
        version.arg("--version").output().is_ok()
    });
    let library = format!("-L{}", home.join("lib").display());
    let flags = [
        "-gencode",
        "arch=compute_90,code=[sm_90,compute_90]",
        "-cudart",
        "shared",
        &library,
    ];
    let source = repo().join("examples/cuda").join(format!("{name}.cu"));
    let compiler = ["-ccbin", compiler.expect("a C++ compiler")];
    let mpi = mpi_flags();
    let mpi: Vec<&str> = mpi.iter().map(String::as_str).collect();
    let mpi = if name == "heat2d-cuda" { &mpi[..] } else { &[] };
    built_by_nvcc(nvcc, &source, name, &[&compiler[..], &flags, mpi].concat())
}

fn built_by_nvcc(nvcc: &Path, source: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let out = bin("fronts").join("../..").join("e2e/bin");
    std::fs::create_dir_all(&out).expect("a folder for programs");
    let out = out.join(format!("cuda-{name}"));
    let done = Command::new(nvcc)
        .args(flags)
        .arg("-o")
        .arg(&out)
        .arg(source)
        .output();
    let done = done.expect("nvcc runs");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    out
}

/// Limits a process's address space to what it has, and so much more; `None`: to nothing.
pub fn limit_memory(pid: i32, more: Option<u64>) {
    let limit = more.map_or(libc::RLIM_INFINITY, |more| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
        let size = status.lines().find_map(|l| l.strip_prefix("VmSize:"));
        let kib = size.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
        (kib.expect("VmSize") << 10) + more
    });
    let new = libc::rlimit {
        rlim_cur: limit,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the structure is there for the call.
    let done = unsafe { libc::prlimit(pid, libc::RLIMIT_AS, &new, std::ptr::null_mut()) };
    assert_eq!(done, 0, "prlimit: {}", std::io::Error::last_os_error());
}

/// The options that give a program the CPU device.
pub fn cpu() -> Vec<String> {
    ["--cuda", "cpu"].map(String::from).to_vec()
}

/// Launched, and restarted again and again from random moments: its output is as if nothing had happened.
pub fn survives(scratch: &Scratch, ranks: usize, app: &Path, args: &[&str]) {
    let launch = || Job::launch_with(scratch, ranks, &cpu(), app, args);
    let expected = launch().finish().ok().stdout;
    println!("{}: {} lines", app.display(), lines(&expected));
    let mut random = Moments::new();
    let mut job = launch();
    let mut said = Vec::new();
    for generation in 0..3 {
        let more = random.pick(1, lines(&expected) / 5);
        println!("generation {generation}: after {more} lines");
        job.must_reach(more);
        job.checkpoint(scratch);
        said = job.kill();
        job = Job::restart(scratch, ranks);
    }
    let done = job.finish().ok();
    assert!(lines(&said) > 0);
    assert!(
        expected.ends_with(&done.stdout),
        "after the restarts:\n{}\nexpected:\n{}",
        text(&done.stdout),
        text(&expected)
    );
    assert!(lines(&done.stdout) > 0, "nothing came after the restarts");
}
