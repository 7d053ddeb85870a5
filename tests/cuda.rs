//! What the tests of CUDA programs have in common.

use crate::{bin, lines, program, text, Job, Moments, Scratch};
use std::path::{Path, PathBuf};

/// Fronts' folder, and what links a program to the driver's.
fn driver() -> Vec<String> {
    let front = bin("fronts/libcuda.so.1");
    let folder = front.parent().expect("a folder").display().to_string();
    vec![
        format!("-L{folder}"),
        "-l:libcuda.so.1".into(),
        // libsplitproc.so, which the front needs, is the program's once it is launched.
        "-Wl,--unresolved-symbols=ignore-in-shared-libs".into(),
    ]
}

/// A program in `tests/c`, linked with the driver's front.
pub fn built(source: &str) -> PathBuf {
    let flags = driver();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    program(source, source, &flags)
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
