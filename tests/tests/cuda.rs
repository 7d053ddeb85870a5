//! CUDA programs on the CPU device: checkpointed, killed, restarted, alone and with MPI.

use std::path::{Path, PathBuf};
use std::process::Command;
use tests::cuda::{built, cpu, survives};
use tests::{bin, repo, text, Job, Scratch};

#[test]
fn a_program_of_the_driver_api_goes_on_after_restarts() {
    let scratch = Scratch::new("cuda-driver");
    survives(&scratch, 0, &built("cuda"), &["40", "40"]);
}

/// Graphs of every kind of node, captured ones, clones and those that can be launched; often a stream is just captured.
#[test]
fn graphs_go_on_after_restarts() {
    let scratch = Scratch::new("cuda-graph");
    survives(&scratch, 0, &built("cuda_graph"), &["40", "40"]);
}

/// A capture can't be saved half: a checkpoint waits for its end, then gives up, and the program goes on.
#[test]
fn a_checkpoint_in_a_long_capture_is_refused() {
    let scratch = Scratch::new("cuda-capture");
    let mut job = Job::launch_with(&scratch, 0, &cpu(), &built("cuda_graph"), ["hold", "7000"]);
    job.must_reach(1);
    let asked = job.try_checkpoint(&scratch);
    asked.fails_with(&["captured"]);
    let done = job.finish().ok();
    assert!(text(&done.stdout).contains("has ended"));
}

/// What the device's heap holds is not saved, so there is no checkpoint, and the program goes on.
#[test]
fn a_program_that_may_use_the_devices_heap_is_not_checkpointed() {
    let scratch = Scratch::new("cuda-heap");
    let app = built("cuda_heap");
    let launch = || Job::launch_with(&scratch, 0, &cpu(), &app, ["40", "20"]);
    let expected = launch().finish().ok().stdout;
    let mut job = launch();
    job.must_reach(1);
    let asked = job.try_checkpoint(&scratch);
    asked.fails_with(&["device's heap", "cudaMalloc"]);
    assert_eq!(text(&job.finish().ok().stdout), text(&expected));
}

#[test]
fn a_rank_waits_in_mpi_for_a_neighbour_whose_kernel_runs() {
    let scratch = Scratch::new("cuda-ranks");
    let app = built("cuda_ranks");
    // The kernel runs on rank 1 until rank 1 lets it end; rank 0 waits for rank 1's message.
    let mut job = Job::launch_with(&scratch, 2, &cpu(), &app, ["spin", "1500", "1"]);
    job.must_reach(1);
    job.checkpoint(&scratch);
    job.kill();
    let done = Job::restart(&scratch, 2).finish().ok();
    assert!(
        text(&done.stdout).contains("rank 0 has got 42"),
        "{}",
        text(&done.stdout)
    );
}

/// NVIDIA's compiler, where it is: `$NVCC`, or the one in the path.
fn nvcc() -> Option<PathBuf> {
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
fn example(nvcc: &Path, name: &str) -> PathBuf {
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

/// The runtime's functions, kernels by `<<<>>>`, 128 streams, managed memory: where there is a compiler.
#[test]
fn examples_go_on_after_restarts() {
    let Some(nvcc) = nvcc() else {
        println!("no nvcc here: the examples are not tried");
        return;
    };
    for (name, ranks, args) in [
        ("vectoradd", 0, &["40", "40"][..]),
        ("nbody", 0, &["40", "256", "40"]),
        ("managed", 0, &["40", "40"]),
        ("streams", 0, &["20", "40"]),
        ("heat2d-cuda", 2, &["64", "200", "5", "40"]),
    ] {
        let scratch = Scratch::new(&format!("cuda-{name}"));
        survives(&scratch, ranks, &example(&nvcc, name), args);
    }
}
