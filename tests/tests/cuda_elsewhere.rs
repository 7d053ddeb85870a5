//! A restart on another kind of device: it works, or is refused and possible on the old one. The other kind is the CPU device
//! under another name, which is of the next generation, and places variables and managed memory elsewhere.

use std::path::Path;
use tests::{cuda_example, cuda_program, lines, splitproc, Job, Scratch};

/// Checkpointed and killed; gives what an undisturbed run says.
fn killed(scratch: &Scratch, app: &Path, args: &[&str]) -> Vec<u8> {
    let options = ["--cuda", "cpu"].map(String::from);
    let launch = || Job::launch_with(scratch, 0, &options, app, args);
    let expected = launch().finish().ok().stdout;
    let mut job = launch();
    job.must_reach(3);
    job.checkpoint(scratch);
    job.kill();
    expected
}

/// A restart where the device is another.
fn elsewhere(scratch: &Scratch) -> Job {
    let mut command = splitproc(["restart"]);
    let other = "another device";
    command
        .arg(scratch.ckpt())
        .env("SPLITPROC_CUDA_CPU_NAME", other);
    Job::start(scratch, command)
}

fn goes_on(job: Job, expected: &[u8]) {
    let done = job.finish().ok();
    assert!(lines(&done.stdout) > 0 && expected.ends_with(&done.stdout));
}

#[test]
fn what_has_only_ptx_and_memory_goes_on_elsewhere() {
    let scratch = Scratch::new("cuda-elsewhere");
    let expected = killed(&scratch, &cuda_program("cuda_move"), &["sm_70", "40", "20"]);
    goes_on(elsewhere(&scratch), &expected);
}

#[test]
fn nbody_goes_on_elsewhere() {
    let Some(app) = cuda_example("nbody") else {
        return;
    };
    let scratch = Scratch::new("cuda-elsewhere-nbody");
    let expected = killed(&scratch, &app, &["40", "256", "20"]);
    goes_on(elsewhere(&scratch), &expected);
}

#[test]
fn what_another_device_has_not_is_refused_and_goes_on_where_it_was() {
    for (name, args, words) in [
        // What the driver places.
        (
            "cuda_large",
            ["8", "40", "20"],
            &["variable \"first\"", "another device"][..],
        ),
        // What only some devices have.
        (
            "cuda_move",
            ["sm_90a", "40", "20"],
            &["sm_90a", "10.0", "another device"],
        ),
    ] {
        let scratch = Scratch::new(&format!("cuda-refused-{name}"));
        let expected = killed(&scratch, &cuda_program(name), &args);
        elsewhere(&scratch).finish().fails_with(words);
        goes_on(Job::restart(&scratch, 0), &expected);
    }
}
