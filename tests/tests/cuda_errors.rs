//! What CUDA says when something is wrong: errors that stay, ranges that are none, processes that can't use it.

use tests::{cpu, cuda_program_of_both, lines, text, Job, Scratch};

/// A fault is every later call's error until the device is reset. What is left of a context with a fault is not saved; after the
/// reset it is.
#[test]
fn a_fault_stays_until_the_device_is_reset() {
    let scratch = Scratch::new("cuda-sticky");
    let app = cuda_program_of_both("cuda_sticky");
    let launch = || Job::launch_with(&scratch, 0, &cpu(), &app, ["4", "1500"]);
    let mut job = launch();
    // Odd lines come before a reset, even ones after it.
    job.must_reach(1);
    let asked = job.try_checkpoint(&scratch);
    asked.fails_with(&["illegal memory access", "device 0", "cudaDeviceReset"]);
    job.must_reach(2);
    job.checkpoint(&scratch);
    let said = job.kill();
    let done = Job::restart(&scratch, 0).finish().ok();
    let told = text(&said) + &text(&done.stdout);
    assert!(lines(&done.stdout) >= 6, "{told}");
    for step in 1..5 {
        let faulty = format!("step {step} faulty: 44 calls, 0 wrong, 7\n");
        assert!(told.contains(&faulty), "{faulty}{told}");
        assert!(told.contains(&format!("step {step} reset: 7\n")), "{told}");
    }
}

/// Copies and fills beyond an allocation are refused, before and after a restart, though its neighbour is mapped with it.
#[test]
fn copies_beyond_an_allocation_are_refused() {
    let scratch = Scratch::new("cuda-ranges");
    let app = cuda_program_of_both("cuda_ranges");
    let mut job = Job::launch_with(&scratch, 0, &cpu(), &app, ["6", "300"]);
    job.must_reach(2);
    job.checkpoint(&scratch);
    let said = job.kill();
    let done = Job::restart(&scratch, 0).finish().ok();
    assert!(lines(&done.stdout) > 0);
    for line in text(&[said, done.stdout].concat()).lines() {
        assert!(line.ends_with("53 calls, 0 wrong, 0 bytes touched"), "{line}");
    }
}
