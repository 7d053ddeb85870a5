//! A thread that waits does not notice a checkpoint (`tests/c/waits.c`): no call ends with EINTR, none
//! ends early, and a time limit is not begun anew. Nor does one end with a part of its work done.

use tests::{program, text, Job, Scratch};

#[test]
fn waits_outlast_checkpoints() {
    let scratch = Scratch::new("waits");
    let app = program("waits", "waits", &[]);
    let go = scratch.file("go");
    let limit = 3000;
    std::env::set_var("STRICT", "1");
    let mut job = Job::launch(
        &scratch,
        0,
        &app,
        [limit.to_string().as_ref(), go.as_os_str()],
    );
    job.must_reach(1);
    let begin = std::time::Instant::now();
    let mut checkpoints = 0;
    // Two thirds of the limit: had one begun anew, it would last much longer than it should.
    while begin.elapsed().as_millis() < limit * 2 / 3 {
        job.checkpoint(&scratch);
        checkpoints += 1;
    }
    let stopped = begin.elapsed().as_millis();
    std::fs::write(&go, "").expect("the go file");
    let done = job.finish().ok();
    let out = text(&done.stdout);
    let longest: u128 = out
        .lines()
        .nth(1)
        .and_then(|l| l.parse().ok())
        .expect("the longest wait");
    println!(
        "{checkpoints} checkpoints in {stopped} ms; the longest wait took {longest} ms of {limit}"
    );
    assert!(out.ends_with("ok\n"));
    assert!(
        longest < limit + limit / 2,
        "a wait of {limit} ms took {longest} ms"
    );
}

#[test]
fn waits_go_on_after_a_restart() {
    let scratch = Scratch::new("waits-restart");
    let app = program("waits", "waits", &[]);
    let go = scratch.file("go");
    std::env::remove_var("STRICT");
    let mut job = Job::launch(&scratch, 0, &app, ["2000".as_ref(), go.as_os_str()]);
    job.must_reach(1);
    job.checkpoint(&scratch);
    job.kill();
    // Once more, from the restarted program: its waits are not in the first one's system calls.
    let mut job = Job::restart(&scratch, 0);
    job.checkpoint_once_up(&scratch);
    job.kill();
    std::fs::write(&go, "").expect("the go file");
    let done = Job::restart(&scratch, 0).finish().ok();
    assert!(text(&done.stdout).ends_with("ok\n"));
}

/// A write of more than a pipe holds is not seen to be short, nor is a receive of all (`tests/c/transfers.c`).
#[test]
fn transfers_are_whole() {
    let scratch = Scratch::new("transfers");
    let app = program("transfers", "transfers", &[]);
    let go = scratch.file("go");
    let mut job = Job::launch(&scratch, 0, &app, ["5000".as_ref(), go.as_os_str()]);
    job.must_reach(1);
    for _ in 0..5 {
        job.checkpoint(&scratch);
    }
    job.kill();
    let mut job = Job::restart(&scratch, 0);
    job.checkpoint_once_up(&scratch);
    job.kill();
    std::fs::write(&go, "").expect("the go file");
    let done = Job::restart(&scratch, 0).finish().ok();
    assert_eq!(text(&done.stdout), "ok\n");
}
