//! What CUDA says when something is wrong: errors that stay, ranges that are none, processes that can't use it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use tests::{bin, cpu, cuda_program_of_both, lines, nvcc, restarted, text, Job, Scratch};

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
    let job = Job::launch_with(&scratch, 0, &cpu(), &app, ["6", "300"]);
    let (said, done) = restarted(&scratch, job, 0, 2);
    for line in text(&[said, done.stdout].concat()).lines() {
        assert!(
            line.ends_with("53 calls, 0 wrong, 0 bytes touched"),
            "{line}"
        );
    }
}

/// Names of errors in a header of CUDA's, by number: `cudaErrorX = 1,`.
fn names(header: &Path, start: &str) -> BTreeMap<i32, String> {
    let lines = std::fs::read_to_string(header).expect("a header");
    let number = |line: &str| {
        let (name, number) = line.trim().split_once('=')?;
        let number = number.trim().trim_end_matches(',').parse().ok()?;
        name.starts_with(start)
            .then(|| (number, name.trim().to_owned()))
    };
    lines.lines().filter_map(number).collect()
}

/// All names and texts are those that the headers have and NVIDIA's own library gives.
#[test]
fn errors_are_called_what_cuda_calls_them() {
    let Some(nvcc) = nvcc() else {
        println!("no nvcc here: nothing to compare with");
        return;
    };
    let home = nvcc.parent().and_then(Path::parent).expect("bin/nvcc");
    let scratch = Scratch::new("cuda-names");
    let app = cuda_program_of_both("cuda_names");
    let ours = Job::launch_with(&scratch, 0, &cpu(), &app, [""; 0]).finish();
    let ours = text(&ours.ok().stdout);
    let mut told: Vec<Vec<&str>> = ours.lines().map(|l| l.split('|').collect()).collect();
    for (header, start, column) in [
        ("driver_types.h", "cudaError", 1),
        ("cuda.h", "CUDA_ERROR_", 3),
    ] {
        let wanted = names(&home.join("include").join(header), start);
        assert!(wanted.len() >= 100, "{header}: {wanted:?}");
        for (number, name) in wanted {
            let line = told.iter().find(|l| l[0] == number.to_string());
            assert_eq!(line.expect("all numbers")[column], name);
        }
    }
    // The program has its own front's name for the library: it is to find NVIDIA's by its path.
    let theirs = Command::new(&app)
        .arg(home.join("lib/libcudart.so.13"))
        .env("LD_LIBRARY_PATH", bin("fronts"))
        .env("LD_PRELOAD", bin("libsplitproc.so"))
        .output();
    let theirs = theirs.expect("the program runs");
    assert!(theirs.status.success(), "{}", text(&theirs.stderr));
    let theirs = text(&theirs.stdout);
    for (line, ours) in theirs.lines().zip(&mut told) {
        ours[3] = "";
        assert_eq!(line, ours.join("|"));
    }
}

/// Children whose parent has initialised CUDA or not, while its threads are inside: an error at once, before and after a restart.
#[test]
fn a_forked_child_is_refused_at_once() {
    let scratch = Scratch::new("cuda-fork");
    let app = cuda_program_of_both("cuda_fork");
    let mut job = Job::launch_with(&scratch, 0, &cpu(), &app, ["5", "500"]);
    job.must_reach(3);
    // Not while there is a child: then it is told, and asked again.
    loop {
        let asked = job.try_checkpoint(&scratch);
        if asked.status.success() {
            break;
        }
        asked.fails_with(&["child"]);
    }
    let said = job.kill();
    let done = Job::restart(&scratch, 0).finish().ok();
    assert!(lines(&done.stdout) > 0);
    let told = text(&said) + &text(&done.stdout);
    assert!(told.starts_with("before: 1 of 1\n"), "{told}");
    for step in 1..=5 {
        let line = format!("step {step}: 20 of 20, the parent has its memory: 1\n");
        assert!(told.contains(&line), "{told}");
    }
}
