//! CUDA programs, in PTX or built by NVIDIA's compiler.

use crate::{bin, lines, program, repo, text, Done, Job, Moments, Scratch};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What links a program with one of CUDA's fronts.
fn with_front(name: &str) -> [String; 3] {
    let front = bin("fronts").join(name);
    let folder = front.parent().expect("a folder").display();
    [
        format!("-L{folder}"),
        format!("-l:{name}"),
        // libsplitproc.so, which the front's library needs, is the program's once it is launched.
        "-Wl,--unresolved-symbols=ignore-in-shared-libs".into(),
    ]
}

/// A C program of the driver's API in `tests/c`, linked with the front.
pub fn cuda_program(name: &str) -> PathBuf {
    let flags = with_front("libcuda.so.1");
    program(name, name, &flags.each_ref().map(String::as_str))
}

/// A C program of the runtime's.
pub fn cuda_runtime_program(name: &str) -> PathBuf {
    let flags = with_front("libcudart.so.12");
    program(name, name, &flags.each_ref().map(String::as_str))
}

/// One of both.
pub fn cuda_program_of_both(name: &str) -> PathBuf {
    let [driver, runtime] = ["libcuda.so.1", "libcudart.so.12"].map(with_front);
    let flags = [&driver[..], &runtime[..]].concat();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    program(name, name, &flags)
}

/// A fat binary with one entry: this PTX.
fn fat_binary(ptx: &[u8]) -> Vec<u8> {
    let mut text = ptx.to_vec();
    text.resize((ptx.len() + 1).next_multiple_of(8), 0);
    let mut entry = [0_u64; 8];
    // PTX, a header of 64 bytes; the size; the architecture; that it is 64-bit code.
    (entry[0], entry[1], entry[5]) = (64 << 32 | 0x101 << 16 | 1, text.len() as u64, 0x11);
    (entry[3], entry[4]) = (70 << 32 | 7 << 16, 0);
    let container = [0xba55_ed50 | 1 << 32 | 16 << 48, 64 + text.len() as u64];
    let words = container.iter().chain(&entry);
    words.flat_map(|w| w.to_le_bytes()).chain(text).collect()
}

/// A program in `tests/c`, built by clang's own CUDA mode with these flags, where there is such a clang.
pub fn clang_program(name: &str, flags: &[&str]) -> Option<PathBuf> {
    let clang = ["clang++", "clang++-19", "clang++-18", "clang++-17"]
        .into_iter()
        .find(|c| Command::new(c).arg("--version").output().is_ok())?;
    let source = repo().join(format!("tests/c/{name}.cu"));
    let folder = crate::programs::work().join("bin");
    std::fs::create_dir_all(&folder).expect("a folder for programs");
    let out = folder.join(format!("{name}{}", flags.len()));
    let [ptx, fat] = ["ptx", "fatbin"].map(|e| out.with_extension(e));
    let shown = |path: &Path| path.display().to_string();
    // No headers of CUDA's, none of its tools; the way to launch that is newer than 9.2.
    let run = |more: &[&str]| {
        let mut command = Command::new(clang);
        command.args([
            "-xcuda",
            "-nocudainc",
            "-nocudalib",
            "--cuda-gpu-arch=sm_70",
        ]);
        command.args(["-Xclang", "-target-sdk-version=12.3", "-O2"]);
        command.arg(&source).args(flags).args(["-xnone"]).args(more);
        let done = command.output().expect("clang runs");
        let told = text(&done.stderr);
        assert!(done.status.success(), "{command:?}: {told}");
    };
    run(&["--cuda-device-only", "-S", "-o", &shown(&ptx)]);
    let binary = fat_binary(&std::fs::read(&ptx).expect("the PTX"));
    std::fs::write(&fat, binary).expect("the fat binary");
    let front = with_front("libcudart.so.12");
    let include = ["-Xclang", "-fcuda-include-gpubinary", "-Xclang"];
    let (fat, out_name) = (shown(&fat), shown(&out));
    let mut last = vec!["--cuda-host-only"];
    last.extend(include);
    last.extend([&fat[..], "-o", &out_name]);
    last.extend(front.iter().map(String::as_str));
    run(&last);
    Some(out)
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

/// An example in `examples/cuda`, built as its user would build it, where there is a compiler.
pub fn cuda_example(name: &str) -> Option<PathBuf> {
    let source = repo().join("examples/cuda").join(format!("{name}.cu"));
    let flags = if name == "heat2d-cuda" {
        mpi_flags()
    } else {
        Vec::new()
    };
    built_by_nvcc(name, &[source], &flags)
}

/// A program in `tests/c` with the examples' kernels.
pub fn nvcc_program(name: &str) -> Option<PathBuf> {
    let source = repo().join("tests/c").join(format!("{name}.cu"));
    built_by_nvcc(name, &[source], &mpi_flags())
}

/// A program of several parts in `tests/c`, whose device code is linked; for these kinds of code (`sm_90`, `compute_90`).
pub fn nvcc_program_of_parts(parts: &[&str], codes: &str) -> Option<PathBuf> {
    let source = |part: &&str| repo().join("tests/c").join(format!("{part}.cu"));
    let sources: Vec<PathBuf> = parts.iter().map(source).collect();
    let codes = format!("arch=compute_90,code=[{codes}]");
    let flags = ["-rdc=true", "-gencode", &codes].map(String::from);
    built_by_nvcc(parts[0], &sources, &flags)
}

fn built_by_nvcc(name: &str, sources: &[PathBuf], flags: &[String]) -> Option<PathBuf> {
    let Some(nvcc) = nvcc() else {
        println!("skipped: no nvcc here");
        return None;
    };
    let home = nvcc.parent().and_then(Path::parent).expect("bin/nvcc");
    let compiler = ["g++-12", "g++"].into_iter().find(|c| {
        let mut version = Command::new(c);
        version.arg("--version").output().is_ok()
    });
    let out = bin("fronts").join("../..").join("e2e/bin");
    std::fs::create_dir_all(&out).expect("a folder for programs");
    let out = out.join(format!("cuda-{name}"));
    let mut command = Command::new(&nvcc);
    command.args(["-ccbin", compiler.expect("a C++ compiler")]);
    if !flags.iter().any(|f| f == "-gencode") {
        command.args(["-gencode", "arch=compute_90,code=[sm_90,compute_90]"]);
    }
    command
        .args(["-cudart", "shared"])
        .arg(format!("-L{}", home.join("lib").display()))
        .args(flags);
    let done = command.arg("-o").arg(&out).args(sources).output();
    let done = done.expect("nvcc runs");
    assert!(done.status.success(), "{}", text(&done.stderr));
    Some(out)
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

/// The same for a program without MPI.
pub fn program_survives(app: &Path, args: &[&str]) {
    let name = app.file_name().expect("a program").to_string_lossy();
    survives(&Scratch::new(&format!("survives-{name}")), 0, app, args);
}

/// Checkpointed after so many lines, killed and restarted: what the job said before, and how it went on.
pub fn restarted(scratch: &Scratch, mut job: Job, ranks: usize, after: usize) -> (Vec<u8>, Done) {
    job.must_reach(after);
    job.checkpoint(scratch);
    let said = job.kill();
    let done = Job::restart(scratch, ranks).finish().ok();
    assert!(lines(&done.stdout) > 0, "nothing came after the restart");
    (said, done)
}
