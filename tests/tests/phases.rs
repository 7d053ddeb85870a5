//! Checkpoints before MPI_Init and after MPI_Finalize (`tests/c/phases.c`): taken where the ranks know of each other,
//! else refused at once, however they are asked for. A job of one rank always knows itself.

use std::process::Command;
use std::time::{Duration, Instant};
use tests::{lines, mpirun, program, run, splitproc, text, wait_for, Job, Mpi, Scratch, LIMIT};

/// The job, waiting.
fn start(scratch: &Scratch, ranks: usize, phase: &str, options: &[&str]) -> Job {
    let options: Vec<String> = options.iter().map(|o| (*o).into()).collect();
    let app = program("phases", "phases", &[]);
    let go = scratch.file("go");
    let args = [phase.as_ref(), go.as_os_str()];
    let mut job = Job::launch_with(scratch, ranks, &options, &app, args);
    job.must_reach(ranks);
    job
}

fn go(scratch: &Scratch) {
    std::fs::write(scratch.file("go"), "").expect("the go file");
}

fn ask(scratch: &Scratch, options: &[&str]) -> Command {
    let mut command = splitproc(["checkpoint", "--ckpt-dir"]);
    command.arg(scratch.ckpt()).args(options);
    command
}

/// Restarted, it goes on; gives what it says.
fn restarts(scratch: &Scratch, ranks: usize) -> String {
    go(scratch);
    let done = Job::restart(scratch, ranks).finish().ok();
    assert_eq!(lines(&done.stdout), ranks);
    text(&done.stdout)
}

#[test]
fn before_init_of_1_rank() {
    let scratch = Scratch::new("before-1");
    let job = start(&scratch, 1, "before", &[]);
    run(&scratch, ask(&scratch, &["--stop"])).ok();
    assert_eq!(job.finish().status.code(), Some(85));
    assert_eq!(restarts(&scratch, 1), "ok\n");
}

#[test]
fn a_shell_of_1_rank() {
    let scratch = Scratch::new("shell-1");
    let mut command = splitproc(["launch", "--ckpt-dir"]);
    command.arg(scratch.ckpt()).args(["--", "sh", "-c"]);
    command.arg(format!(
        "echo ready; while [ ! -e {} ]; do :; done; echo ok",
        scratch.file("go").display()
    ));
    let mut job = Job::start(&scratch, mpirun(1, command));
    job.must_reach(1);
    run(&scratch, ask(&scratch, &["--stop"])).ok();
    assert_eq!(job.finish().status.code(), Some(85));
    assert_eq!(restarts(&scratch, 1), "ok\n");
}

#[test]
fn after_finalize() {
    for ranks in [1, 2] {
        let scratch = Scratch::new(&format!("after-{ranks}"));
        let job = start(&scratch, ranks, "after", &[]);
        run(&scratch, ask(&scratch, &["--wait", "--stop"])).ok();
        assert_eq!(job.finish().status.code(), Some(85));
        assert_eq!(restarts(&scratch, ranks), "ok\n".repeat(ranks));
    }
}

/// Refused, whoever asks; then the program goes on.
#[test]
fn before_init_of_2_ranks() {
    const WHY: &str = "MPI_Init";
    let scratch = Scratch::new("before-2");
    let options = ["--interval", "1", "--ckpt-signal", "USR1"];
    let job = start(&scratch, 2, "before", &options);
    let said = |times: usize| {
        wait_for("the reason", LIMIT, || {
            (text(&job.stderr()).matches(WHY).count() >= times).then_some(())
        });
    };
    said(1); // the interval
    let begun = Instant::now();
    for options in [&["--wait"][..], &["--stop"], &["--wait", "--stop"]] {
        run(&scratch, ask(&scratch, options)).fails_with(&[WHY]);
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
    for rank in job.ranks() {
        // SAFETY: kill has no memory effects.
        unsafe { libc::kill(rank, libc::SIGUSR1) };
    }
    said(2);
    go(&scratch);
    assert!(text(&job.finish().ok().stdout).ends_with("ok\nok\n"));
}

#[test]
fn a_termination_before_init_of_2_ranks_is_the_programs() {
    let scratch = Scratch::new("term-before-2");
    let job = start(&scratch, 2, "before", &["--on-term"]);
    for rank in job.ranks() {
        // SAFETY: kill has no memory effects.
        unsafe { libc::kill(rank, libc::SIGTERM) };
    }
    let done = job.finish();
    assert!(!done.status.success());
    assert!(text(&done.stderr).contains("MPI_Init"));
}

/// What becomes of a checkpoint that nobody waits for is said by the job.
#[test]
fn a_refusal_that_nobody_waits_for() {
    let scratch = Scratch::new("nobody-waits");
    let app = program("state", "state", &[]);
    let at = scratch.file("go");
    let mut job = Job::launch(&scratch, 0, &app, ["tcp".as_ref(), at.as_os_str()]);
    job.must_reach(1);
    run(&scratch, ask(&scratch, &["--stop"])).ok();
    wait_for("the reason", LIMIT, || {
        text(&job.stderr())
            .contains("connected TCP socket")
            .then_some(())
    });
    go(&scratch);
    job.finish().ok();
}

/// One rank waits in a call of which no communicator's collectives tell, and the others are late for it.
fn others_are_late(mpi: Mpi, ranks: usize) {
    const ROUNDS: usize = 24;
    let app = program("late_bridge", "late_bridge", &[]);
    let scratch = Scratch::new(&format!("late-bridge-{mpi:?}"));
    let mut job = Job::launch_over(&scratch, (mpi, ranks), &app, [ROUNDS.to_string()]);
    for moment in [2, 5] {
        job.must_reach(moment);
        job.checkpoint(&scratch);
    }
    job.kill();
    let done = Job::restart_over(&scratch, mpi, ranks).finish().ok();
    assert!(text(&done.stdout).ends_with(&format!("{}\n", ROUNDS - 1)));
}

#[test]
fn a_call_that_others_are_late_for() {
    others_are_late(Mpi::Mpich, 3);
}

/// Open MPI's own messages there are like the program's.
#[test]
fn a_call_that_others_are_late_for_over_open_mpi() {
    others_are_late(Mpi::OpenMpi, 2);
}
