//! A Java machine as the upper half: a program with a just-in-time compiler, a garbage collector and a dozen
//! threads that nobody here wrote.

use std::path::Path;
use std::process::Command;
use tests::{repo, run, text, Job, Scratch};

#[test]
fn a_threaded_java_program_survives_a_restart() {
    let scratch = Scratch::new("java");
    let go = scratch.file("go");
    let classes = repo().join("tests/java");
    let args = [
        "-cp".as_ref(),
        classes.as_os_str(),
        "Threads".as_ref(),
        "4".as_ref(),
        "500".as_ref(),
        go.as_os_str(),
    ];
    std::fs::write(&go, "").expect("the go file");
    let mut native = Command::new("java");
    native.args(args);
    let expected = text(&run(&scratch, native).ok().stdout);
    assert!(expected.starts_with("ready\nsum "), "{expected}");

    std::fs::remove_file(&go).expect("the go file");
    let mut job = Job::launch(&scratch, 0, Path::new("java"), args);
    job.must_reach(1);
    job.checkpoint(&scratch);
    job.kill();
    std::fs::write(&go, "").expect("the go file");
    let done = Job::restart(&scratch, 0).finish().ok();
    assert_eq!(format!("ready\n{}", text(&done.stdout)), expected);
}
