//! CUDA programs under DMTCP, on the CPU device: checkpointed, killed, restarted.
//!
//! Each test says that it is skipped where there is no DMTCP on PATH, and the examples where there is no nvcc.

use std::path::Path;
use tests::{
    bin, cuda_example, cuda_program, dmtcp_is_there, limit_memory, lines, text, wait_for, Dmtcp,
    Job, Moments, Scratch, LIMIT,
};

/// Where the program finds CUDA's libraries, and which device it has.
fn environment() -> [(&'static str, String); 2] {
    let fronts = bin("fronts/libcuda.so.1");
    let fronts = fronts.parent().expect("a folder").display().to_string();
    [
        ("LD_LIBRARY_PATH", fronts),
        ("SPLITPROC_CUDA", "cpu".into()),
    ]
}

/// Launched, checkpointed, killed and restarted once: the output is as if nothing had happened.
fn survives(scratch: &Scratch, ranks: usize, app: &Path, args: &[&str]) {
    let environment = environment();
    let environment: Vec<_> = environment.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let options = ["--cuda", "cpu"].map(String::from);
    let expected = Job::launch_with(scratch, ranks, &options, app, args);
    let expected = expected.finish().ok().stdout;
    let mut words = vec![app.to_str().expect("a path")];
    words.extend(args);
    let dmtcp = Dmtcp::new(scratch);
    let mut job = dmtcp.start(ranks, &environment, &["--no-gzip"], &words);
    job.must_reach(Moments::new().pick(1, lines(&expected) / 2));
    dmtcp.checkpoint(ranks.max(1));
    let so_far = lines(&job.stdout());
    job.must_reach(so_far + 1);
    job.kill();
    let dmtcp = Dmtcp::new(scratch);
    let done = dmtcp.restart_with(ranks, &environment).finish().ok();
    assert!(
        lines(&done.stdout) > 0 && expected.ends_with(&done.stdout),
        "after the restart:\n{}\nexpected:\n{}",
        text(&done.stdout),
        text(&expected)
    );
}

#[test]
fn a_program_of_the_driver_api_goes_on_after_a_restart() {
    if dmtcp_is_there() {
        let scratch = Scratch::new("cuda-dmtcp-driver");
        survives(&scratch, 0, &cuda_program("cuda"), &["40", "40"]);
    }
}

/// DMTCP stops threads after the cut: what they write until then belongs to the checkpoint.
#[test]
fn managed_memory_that_the_host_writes_meanwhile() {
    if dmtcp_is_there() {
        let scratch = Scratch::new("cuda-dmtcp-host-writes");
        survives(&scratch, 0, &cuda_program("cuda_host_writes"), &["4000"]);
    }
}

/// Memory that nobody has touched, and a variable that is zero but was not at first. DMTCP saves what is in the process, so
/// the checkpoint waits until there is room for a copy.
#[test]
fn much_device_memory_is_saved_once_there_is_room_for_a_copy() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("cuda-dmtcp-large");
    let app = cuda_program("cuda_large");
    let args = ["96", "80", "40"];
    let options = ["--cuda", "cpu"].map(String::from);
    let expected = Job::launch_with(&scratch, 0, &options, &app, args).finish();
    let expected = expected.ok().stdout;
    let environment = environment();
    let environment: Vec<_> = environment.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let words = [app.to_str().expect("a path"), args[0], args[1], args[2]];
    let dmtcp = Dmtcp::new(&scratch);
    let mut job = dmtcp.start(0, &environment, &["--no-gzip"], &words);
    job.must_reach(3);
    limit_memory(job.pid(), Some(70 << 20));
    std::thread::scope(|scope| {
        scope.spawn(|| dmtcp.checkpoint(1));
        wait_for("the refusal", LIMIT, || {
            let told = text(&job.stderr());
            told.contains("have to be copied into this process")
                .then_some(())
        });
        let now = lines(&job.stdout());
        job.must_reach(now + 2);
        limit_memory(job.pid(), None);
    });
    let told = text(&job.stderr());
    assert!(told.contains("the checkpoint waits") && told.contains("MiB of memory are available"));
    job.kill();
    let dmtcp = Dmtcp::new(&scratch);
    let done = dmtcp.restart_with(0, &environment).finish().ok();
    assert!(lines(&done.stdout) > 0 && expected.ends_with(&done.stdout));
}

#[test]
fn examples_go_on_after_a_restart() {
    if !dmtcp_is_there() {
        return;
    }
    for (name, ranks, args) in [
        ("vectoradd", 0, &["40", "40"][..]),
        ("nbody", 0, &["40", "256", "40"]),
        ("managed", 0, &["40", "40"]),
        ("streams", 0, &["20", "40"]),
        ("heat2d-cuda", 2, &["64", "200", "5", "40"]),
        ("heat2d-cuda", 4, &["64", "200", "10", "80"]),
    ] {
        println!("{name}");
        let Some(app) = cuda_example(name) else {
            return;
        };
        let scratch = Scratch::new(&format!("cuda-dmtcp-{name}"));
        survives(&scratch, ranks, &app, args);
    }
}
