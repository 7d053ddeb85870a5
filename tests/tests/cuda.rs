//! CUDA programs on the CPU device: checkpointed, killed, restarted, alone and with MPI.

use tests::{
    clang_program, cpu, cuda_example, cuda_program, cuda_program_of_both, cuda_runtime_program,
    lines, nvcc_program, nvcc_program_of_parts, program, program_survives, restarted, splitproc,
    survives, text, Job, Scratch,
};

#[test]
fn a_program_of_the_driver_api_goes_on_after_restarts() {
    program_survives(&cuda_program("cuda"), &["40", "40"]);
}

/// Graphs of every kind of node, captured ones, clones and those that can be launched; often a stream is just captured.
#[test]
fn graphs_go_on_after_restarts() {
    program_survives(&cuda_program("cuda_graph"), &["40", "40"]);
}

/// Memory that graphs allocate: what a launch has left, freed in several ways or not yet.
#[test]
fn memory_of_graphs_goes_on_after_restarts() {
    program_survives(&cuda_program("cuda_graph_memory"), &["40", "40"]);
}

/// Edges with data, batches of operations on numbers in memory.
#[test]
fn edges_with_data_and_batches_go_on_after_restarts() {
    program_survives(&cuda_program("cuda_edges"), &["40", "40"]);
}

/// Kernels by a host function's address and cudaLaunchKernel, as compilers before CUDA 13 do it, in threads' own streams too.
#[test]
fn kernels_launched_by_host_functions_go_on_after_restarts() {
    program_survives(&cuda_runtime_program("cuda_launch"), &["40", "20"]);
}

/// What clang makes of a CUDA program, with the usual default stream and with one for each thread.
#[test]
fn programs_of_clang_go_on_after_restarts() {
    for flags in [&[][..], &["-Xclang", "-fgpu-default-stream=per-thread"]] {
        let Some(app) = clang_program("cuda_clang", flags) else {
            println!("skipped: no clang");
            return;
        };
        program_survives(&app, &["40", "20"]);
    }
}

/// What kernels read through textures is compared with what the host computes, and a surface goes on from what it was.
#[test]
fn textures_and_surfaces_go_on_after_restarts() {
    program_survives(&cuda_program("cuda_texture"), &["40", "40"]);
}

/// A capture can't be saved half: a checkpoint waits for its end, then gives up, and the program goes on.
#[test]
fn a_checkpoint_in_a_long_capture_is_refused() {
    let scratch = Scratch::new("cuda-capture");
    let app = cuda_program("cuda_graph");
    let mut job = Job::launch_with(&scratch, 0, &cpu(), &app, ["hold", "7000"]);
    job.must_reach(1);
    let asked = job.try_checkpoint(&scratch);
    asked.fails_with(&["captured"]);
    let done = job.finish().ok();
    assert!(text(&done.stdout).contains("has ended"));
}

/// A stream that has work for longer than a checkpoint waits is named, and the program goes on.
#[test]
fn a_checkpoint_of_a_stream_with_long_work_is_refused() {
    let scratch = Scratch::new("cuda-busy");
    let options = ["--cuda", "cpu", "--timeout", "1"].map(String::from);
    let app = cuda_program("cuda");
    let mut job = Job::launch_with(&scratch, 0, &options, &app, ["spin", "6000"]);
    job.must_reach(1);
    let asked = job.try_checkpoint(&scratch);
    asked.fails_with(&["stream 0 of device 0", "for 1 s", "--timeout"]);
    let done = job.finish().ok();
    assert!(text(&done.stdout).contains("the kernel has ended"));
}

/// A host function that waits for a thread which calls CUDA; what kernels print, which comes out where the program waits for it.
#[test]
fn host_functions_and_printed_lines_go_on_after_restarts() {
    let app = cuda_program("cuda_host_function");
    let scratch = Scratch::new("cuda-host-function");
    let done = Job::launch_with(&scratch, 0, &cpu(), &app, ["3"]).finish();
    let step = |i| {
        let kernel = format!("kernel {i} of 3\n");
        format!(
            "host {i}, {i} called\n{kernel}{kernel}so far {i} and {}\n",
            2 * i
        )
    };
    assert_eq!(text(&done.ok().stdout), [1, 2, 3].map(step).concat());
    drop(scratch);
    program_survives(&app, &["40", "60"]);
}

/// One that does not return is named.
#[test]
fn a_host_function_that_takes_long_is_named() {
    let scratch = Scratch::new("cuda-host-function-long");
    let options = ["--cuda", "cpu", "--timeout", "1"].map(String::from);
    let app = cuda_program("cuda_host_function");
    let mut job = Job::launch_with(&scratch, 0, &options, &app, ["hold", "5000"]);
    job.must_reach(1);
    let asked = job.try_checkpoint(&scratch);
    asked.fails_with(&[
        "stream 1 of device 0",
        "for 1 s",
        "the program's function",
        "cuda_host_function+0x",
        "--timeout",
    ]);
    let done = job.finish().ok();
    assert!(text(&done.stdout).contains("it has ended"));
}

/// What spoils a capture, from the thread itself and from others; a thread's mode stays over a restart.
#[test]
fn forbidden_calls_spoil_captures() {
    let scratch = Scratch::new("cuda-forbidden");
    let app = cuda_program("cuda_capture");
    let job = Job::launch_with(&scratch, 0, &cpu(), &app, ["8", "300"]);
    let (said, done) = restarted(&scratch, job, 0, 4);
    // What each call gives; what the capture is then, and what its end gives: a graph (+), or none.
    let own = " 900 901 901 2/901; 401 900 2/901; 900 2/901; 900 2/901; 900 2/901; 900 2/901; 900 2/901; 906 2/901; 900 2/901; \
               907 2/901; 907 2/901;";
    let rest = [
        " own: 0 0 1/0+; 0 0 1/0+; 906 1/0+;",
        " others: 900900 2/901; 0 1/0+; 0 1/0+; 0 1/0+; 0 1/0+; 0 1/0+; 0 1/0+; 0 1/0+; 0 1/0+;",
    ];
    let told = text(&[said, done.stdout].concat());
    for (i, line) in told.lines().enumerate() {
        match i % 3 {
            0 => assert_eq!(line.split_once(':').map(|l| l.1), Some(own), "{told}"),
            n => assert_eq!(line, rest[n - 1], "{told}"),
        }
    }
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

/// Errors of each thread, occupancy, attributes, a full device, late kernels; what is refused by name; an instruction that the
/// CPU device has not, by name and line. All the same after a restart.
#[test]
fn what_cuda_says_is_the_same_after_a_restart() {
    let scratch = Scratch::new("cuda-claims");
    let app = cuda_program_of_both("cuda_claims");
    let launch = || Job::launch_with(&scratch, 0, &cpu(), &app, ["12", "100"]);
    let expected = launch().finish().ok();
    let said = text(&expected.stdout);
    assert!(
        said.starts_with(
            "runtime 12090, a short pitch 12 12\nmemory 0 -2 (nil), bus 0 0 101, flags 1\n"
        ),
        "{said}"
    );
    assert!(said.contains("step 1: full 2, last 2 2 0, other thread 0, aligned 1; "));
    assert!(
        said.contains("100000 shared; 32 9; refused 801 801 801, 1, last 801; 1, wanted 10 11\n")
    );
    for name in [
        "cudaIpcGetMemHandle",
        "cuIpcGetMemHandle",
        "cudaGraphicsMapResources",
        "cuGetExportTable",
    ] {
        let lines = text(&expected.stderr);
        let told = lines.lines().filter(|l| l.contains(&format!(" {name} ")));
        assert_eq!(told.count(), 1, "{name}: {lines}");
    }
    let (_, done) = restarted(&scratch, launch(), 0, 3);
    assert!(expected.stdout.ends_with(&done.stdout));
    let told = text(&done.stderr);
    assert!(
        told.contains("odd, line 6: wgmma.fence.sync.aligned"),
        "{told}"
    );
}

/// It names no library of CUDA's, but has device code: a statically linked runtime looks for the driver like this.
#[test]
fn a_static_runtime_is_told_to_be_linked_again() {
    let scratch = Scratch::new("cuda-static");
    let app = program("cuda_static", "cuda_static", &["-ldl"]);
    let done = Job::launch(&scratch, 0, &app, [""; 0]).finish().ok();
    assert_eq!(text(&done.stdout), "801\n");
    assert!(
        text(&done.stderr).contains("link the program with -cudart shared"),
        "{}",
        text(&done.stderr)
    );
}

#[test]
fn kernels_compute_what_the_host_computes() {
    let Some(app) = nvcc_program("cuda_kernels") else {
        return;
    };
    let scratch = Scratch::new("cuda-kernels");
    let done = Job::launch_with(&scratch, 0, &cpu(), &app, [""; 0]).finish();
    let done = done.ok();
    let told = text(&done.stdout);
    println!("{told}{}", text(&done.stderr));
    assert_eq!(told.matches(": as the host\n").count(), 9);
    assert!(told.contains("512 by 512 within 5 s: yes"));
}

/// Votes of parts of warps, divisions of 128 bits, rounding and conversions where numbers end.
#[test]
fn numbers_and_votes_are_as_the_host_computes_them() {
    let Some(app) = nvcc_program("cuda_numbers") else {
        return;
    };
    let scratch = Scratch::new("cuda-numbers");
    let done = Job::launch_with(&scratch, 0, &cpu(), &app, [""; 0]).finish();
    let told = text(&done.stdout);
    println!("{told}{}", text(&done.stderr));
    assert_eq!(told.matches(": as the host\n").count(), 4);
    done.ok();
}

/// One module for threads that need it at once; textures and managed memory that threads end and make again.
#[test]
fn threads_at_once_lose_nothing() {
    let Some(app) = nvcc_program("cuda_threads") else {
        return;
    };
    let scratch = Scratch::new("cuda-threads");
    let launch = |steps| Job::launch_with(&scratch, 0, &cpu(), &app, [steps, "40"]);
    let wanted = ": 16 16 of 16 threads, 16 textures, 0 wrong in 16 managed, variables 13 2";
    let all_well = |said: &[u8], n: usize| {
        let told = text(said);
        assert!(told.lines().all(|l| l.ends_with(wanted)), "{told}");
        assert_eq!(lines(said), n);
    };
    // Who comes first is chance.
    for _ in 0..8 {
        all_well(&launch("1").finish().ok().stdout, 1);
    }
    let (said, done) = restarted(&scratch, launch("20"), 0, 2);
    assert!(text(&done.stdout).contains("step 20"));
    all_well(&said, lines(&said));
    all_well(&done.stdout, lines(&done.stdout));
}

/// Pipelines, barriers in shared memory and asynchronous copies, as CUDA's headers make them.
#[test]
fn asynchronous_copies_go_on_after_restarts() {
    if let Some(app) = nvcc_program("cuda_async") {
        program_survives(&app, &["20", "40"]);
    }
}

/// Products of matrices by a warp, as mma.h makes them.
#[test]
fn products_of_matrices_go_on_after_restarts() {
    if let Some(app) = nvcc_program("cuda_matrices") {
        program_survives(&app, &["20", "40"]);
    }
}

/// Device code that nvcc links (`-rdc=true`): on this device by its PTX, which may be there alone.
#[test]
fn device_code_of_several_parts_goes_on_after_restarts() {
    for codes in ["sm_90,compute_90", "compute_90"] {
        if let Some(app) = nvcc_program_of_parts(&["cuda_parts", "cuda_parts_other"], codes) {
            program_survives(&app, &["20", "40"]);
        }
    }
}

/// The driver's linker.
#[test]
fn texts_that_the_program_links_go_on_after_restarts() {
    program_survives(&cuda_program("cuda_link"), &["40", "40"]);
}

/// Variables of modules that stayed when earlier ones were unloaded are where they were.
#[test]
fn modules_unloaded_in_any_order_leave_the_others_where_they_are() {
    program_survives(&cuda_program("cuda_unload"), &["70", "40"]);
}

/// A program that never comes to an end of unloading what later modules were loaded after is refused, and goes on.
#[test]
fn too_many_unloaded_modules_are_refused() {
    let scratch = Scratch::new("cuda-unload-many");
    let app = cuda_program("cuda_unload_many");
    let mut job = Job::launch_with(&scratch, 0, &cpu(), &app, ["400", "1000"]);
    job.must_reach(1);
    let asked = job.try_checkpoint(&scratch);
    asked.fails_with(&["\"counter\"", "elsewhere", "at most 256", "unload"]);
    let (_, done) = restarted(&scratch, job, 0, 2);
    assert!(text(&done.stdout).ends_with("the end: 7\n"));
}

/// What pools say is used and reserved, and the most of both.
#[test]
fn pools_know_how_much_they_had() {
    let scratch = Scratch::new("cuda-pool");
    let app = cuda_program_of_both("cuda_pool");
    let job = Job::launch_with(&scratch, 0, &cpu(), &app, ["8", "300"]);
    let (said, done) = restarted(&scratch, job, 0, 2);
    let line = "kinds 801 801 801 101 801 1; limited 2 2, its own 1; three 5244380/5244380 used, 8/8 MiB reserved; default 3145728/3145728 used, 4/4 MiB reserved; one left 500/5244380 used, \
                2/8 MiB reserved; forgotten 500/500 used, 2/2 MiB reserved; none 0/500 used, 0/2 MiB reserved; default 0/3145728 used, \
                0/4 MiB reserved;";
    for told in text(&[said, done.stdout].concat()).lines() {
        assert!(told.ends_with(line), "{told}");
    }
}

#[test]
fn a_gpu_is_asked_for_where_there_is_none() {
    let scratch = Scratch::new("cuda-no-gpu");
    let app = cuda_program("cuda");
    let launch = |device: &str| {
        let options = ["--cuda", device].map(String::from);
        Job::launch_with(&scratch, 0, &options, &app, ["12", "100"])
    };
    let asked = launch("gpu").finish();
    if asked.status.success() {
        println!("skipped: there is one");
        return;
    }
    asked.fails_with(&["--cuda gpu", "--cuda cpu"]);
    launch("none").finish().fails_with(&["CUDA"]);
    // The device that is there; and a restart, which is refused on others and then works.
    let expected = launch("auto").finish().ok().stdout;
    let mut job = launch("auto");
    job.must_reach(3);
    job.checkpoint(&scratch);
    job.kill();
    for device in ["gpu", "none"] {
        let mut restart = splitproc(["restart", "--cuda", device]);
        restart.arg(scratch.ckpt());
        Job::start(&scratch, restart)
            .finish()
            .fails_with(&[&format!("--cuda {device}")]);
    }
    let done = Job::restart(&scratch, 0).finish().ok();
    assert!(lines(&done.stdout) > 0 && expected.ends_with(&done.stdout));
}

#[test]
fn a_rank_waits_in_mpi_for_a_neighbour_whose_kernel_runs() {
    let scratch = Scratch::new("cuda-ranks");
    let app = cuda_program("cuda_ranks");
    // The kernel runs on rank 1 until rank 1 lets it end; rank 0 waits for rank 1's message.
    let job = Job::launch_with(&scratch, 2, &cpu(), &app, ["spin", "1500", "1"]);
    let (_, done) = restarted(&scratch, job, 2, 1);
    assert!(
        text(&done.stdout).contains("rank 0 has got 42"),
        "{}",
        text(&done.stdout)
    );
}

/// The runtime's functions, kernels by `<<<>>>`, 128 streams, managed memory: where there is a compiler.
#[test]
fn examples_go_on_after_restarts() {
    for (name, ranks, args) in [
        ("vectoradd", 0, &["40", "40"][..]),
        ("nbody", 0, &["40", "256", "40"]),
        ("managed", 0, &["40", "40"]),
        ("streams", 0, &["20", "40"]),
        ("heat2d-cuda", 0, &["32", "100", "5", "40"]),
        ("heat2d-cuda", 2, &["64", "200", "5", "40"]),
        ("heat2d-cuda", 4, &["64", "200", "10", "80"]),
    ] {
        let Some(app) = cuda_example(name) else {
            return;
        };
        let scratch = Scratch::new(&format!("cuda-{name}"));
        survives(&scratch, ranks, &app, args);
    }
}
