//! A Java machine as the upper half: a program with a just-in-time compiler, a garbage collector and a dozen
//! threads that nobody here wrote.

use std::path::Path;
use std::process::Command;
use tests::{repo, run, text, wait_for, Job, Scratch, LIMIT};

#[test]
fn a_threaded_java_program_survives_restarts() {
    let scratch = Scratch::new("java");
    let go = scratch.file("go");
    let classes = repo().join("tests/java");
    let args = [
        "-cp".as_ref(),
        classes.as_os_str(),
        "Threads".as_ref(),
        "4".as_ref(),
        "3000".as_ref(),
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
    for _ in 0..3 {
        // A job that is still being restarted takes none.
        wait_for("a checkpoint", LIMIT, || {
            let asked = job.try_checkpoint(&scratch);
            asked.status.success().then_some(())
        });
        job.kill();
        job = Job::restart(&scratch, 0);
    }
    std::fs::write(&go, "").expect("the go file");
    let done = job.finish().ok();
    assert_eq!(format!("ready\n{}", text(&done.stdout)), expected);
}
