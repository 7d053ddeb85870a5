//! CUDA programs on the CPU device: checkpointed, killed, restarted, alone and with MPI.

use std::path::Path;
use tests::{cuda_example, cuda_program, lines, nvcc, text, Job, Moments, Scratch};

/// The options that give a program the CPU device.
fn cpu() -> Vec<String> {
    ["--cuda", "cpu"].map(String::from).to_vec()
}

/// Launched, and restarted again and again from random moments: its output is as if nothing had happened.
fn survives(scratch: &Scratch, ranks: usize, app: &Path, args: &[&str]) {
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

#[test]
fn a_program_of_the_driver_api_goes_on_after_restarts() {
    let scratch = Scratch::new("cuda-driver");
    survives(&scratch, 0, &cuda_program("cuda"), &["40", "40"]);
}

/// What the device's heap holds is not saved, so there is no checkpoint, and the program goes on.
#[test]
fn a_program_that_may_use_the_devices_heap_is_not_checkpointed() {
    let scratch = Scratch::new("cuda-heap");
    let app = cuda_program("cuda_heap");
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
    let app = cuda_program("cuda_ranks");
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
        survives(&scratch, ranks, &cuda_example(&nvcc, name), args);
    }
}
