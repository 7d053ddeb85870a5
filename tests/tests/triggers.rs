//! What makes a checkpoint: the command with `--stop`, an interval, a signal to a rank or to the launcher,
//! SIGTERM. Each for one process and for two ranks.

use std::os::unix::process::ExitStatusExt;
use tests::{lines, mpirun, program, splitproc, text, wait_for, Case, Job, Scratch, LIMIT};

/// Launches the case with more options.
fn launch(scratch: &Scratch, case: &Case, options: &[&str]) -> Job {
    let mut command = splitproc(["launch", "--ckpt-dir"]);
    command.arg(scratch.ckpt()).args(options).arg("--");
    command
        .arg(&case.app)
        .args(&case.args)
        .current_dir(scratch.path());
    Job::start(scratch, mpirun(case.ranks, command))
}

/// Complete generations, newest last.
fn complete(scratch: &Scratch) -> Vec<String> {
    let mut found: Vec<String> = std::fs::read_dir(scratch.ckpt())
        .into_iter()
        .flatten()
        .flatten()
        .filter(|e| e.path().join("manifest.json").exists())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    found
}

fn wait_for_generations(scratch: &Scratch, count: usize) {
    wait_for("a complete generation", LIMIT, || {
        (complete(scratch).len() >= count).then_some(())
    });
}

fn signal(pid: i32, number: i32) {
    // SAFETY: kill has no memory effects.
    unsafe { libc::kill(pid, number) };
}

/// A program that runs for a while, on so many ranks.
fn case(scratch: &Scratch, ranks: usize) -> Case {
    match ranks {
        0 => Case::counter_of(scratch, 300),
        n => Case::heat2d_of(scratch, n, 1, 512),
    }
}

/// The last checkpoint restarts, and the program ends as if nothing had happened.
fn restarts(scratch: &Scratch, case: &Case) {
    let done = Job::restart(scratch, case.ranks).finish().ok();
    case.check_restarted(scratch, &done.stdout);
}

fn by_interval(name: &str, ranks: usize) {
    let scratch = Scratch::new(name);
    let mut case = case(&scratch, ranks);
    // Where the machine was busy when the case was made, the program may be through before the first second is: then, if
    // need be, it is made anew.
    for attempt in 1..=20 {
        let mut job = launch(&scratch, &case, &["--interval", "1", "--keep", "0"]);
        let taken = wait_for("a complete generation, or the end", LIMIT, || {
            let taken = !complete(&scratch).is_empty();
            (taken || job.ended()).then_some(taken)
        });
        if taken {
            job.kill();
            restarts(&scratch, &case);
            return;
        }
        let done = job.finish().ok();
        case.check_restarted(&scratch, &done.stdout);
        if attempt % 3 == 0 {
            case = self::case(&scratch, ranks);
        }
    }
    panic!("the program is always through before the interval is");
}

#[test]
fn an_interval() {
    by_interval("interval", 0);
}

#[test]
fn an_interval_on_2_ranks() {
    by_interval("interval-2", 2);
}

/// A signal to each of `whom`; there is one checkpoint, and the program's output is not disturbed.
fn by_signal(name: &str, ranks: usize, whom: impl Fn(&Job) -> Vec<i32>) {
    let scratch = Scratch::new(name);
    let case = case(&scratch, ranks);
    // The one process handles USR1 itself; mpirun passes USR1 on, and not USR2.
    let (option, number) = match ranks {
        0 => ("USR2", libc::SIGUSR2),
        _ => ("USR1", libc::SIGUSR1),
    };
    let mut job = launch(&scratch, &case, &["--ckpt-signal", option, "--keep", "0"]);
    job.must_reach(3);
    for pid in whom(&job) {
        signal(pid, number);
    }
    wait_for_generations(&scratch, 1);
    let done = job.finish().ok();
    assert_eq!(text(&done.stdout), text(&case.expected));
    assert_eq!(complete(&scratch), ["gen-0001"], "one checkpoint");
    restarts(&scratch, &case);
}

#[test]
fn a_signal() {
    by_signal("signal", 0, Job::ranks);
}

#[test]
fn a_signal_to_one_of_2_ranks() {
    by_signal("signal-one", 2, |job| {
        let mut ranks = job.ranks();
        ranks.sort_unstable();
        vec![ranks[1]]
    });
}

#[test]
fn a_signal_to_both_ranks_is_one_checkpoint() {
    by_signal("signal-both", 2, Job::ranks);
}

#[test]
fn a_signal_to_the_launcher_is_one_checkpoint() {
    by_signal("signal-mpirun", 2, |job| vec![job.pid()]);
}

fn by_term(name: &str, ranks: usize, whom: impl Fn(&Job) -> Vec<i32>) {
    let scratch = Scratch::new(name);
    let case = case(&scratch, ranks);
    let mut job = launch(&scratch, &case, &["--on-term", "--keep", "0"]);
    job.must_reach(3);
    for pid in whom(&job) {
        signal(pid, libc::SIGTERM);
    }
    let done = job.finish();
    assert_eq!(done.status.code(), Some(85), "{}", text(&done.stderr));
    assert!(
        lines(&done.stdout) < lines(&case.expected),
        "it was stopped"
    );
    assert_eq!(complete(&scratch), ["gen-0001"], "one checkpoint");
    restarts(&scratch, &case);
}

#[test]
fn a_termination() {
    by_term("term", 0, Job::ranks);
}

#[test]
fn a_termination_of_one_of_2_ranks() {
    by_term("term-one", 2, |job| vec![job.ranks()[0]]);
}

#[test]
fn a_termination_of_all_ranks() {
    by_term("term-all", 2, Job::ranks);
}

#[test]
fn a_termination_of_the_launcher() {
    by_term("term-mpirun", 2, |job| vec![job.pid()]);
}

/// What can't be checkpointed is terminated as it would be without us.
#[test]
fn a_termination_without_a_checkpoint_is_the_programs() {
    let scratch = Scratch::new("term-refused");
    let app = program("state", "state", &[]);
    let mut command = splitproc(["launch", "--on-term", "--ckpt-dir"]);
    command.arg(scratch.ckpt()).arg("--").arg(app);
    command.args(["tcp", "never"]).current_dir(scratch.path());
    let mut job = Job::start(&scratch, command);
    job.must_reach(1);
    signal(job.ranks()[0], libc::SIGTERM);
    let done = job.finish();
    assert_eq!(done.status.signal(), Some(libc::SIGTERM));
    assert!(text(&done.stderr).contains("TCP"), "{}", text(&done.stderr));
}

fn by_stop(name: &str, ranks: usize) {
    let scratch = Scratch::new(name);
    let case = case(&scratch, ranks);
    let mut job = launch(&scratch, &case, &[]);
    job.must_reach(2);
    let mut command = splitproc(["checkpoint", "--wait", "--stop", "--ckpt-dir"]);
    command.arg(scratch.ckpt());
    tests::run(&scratch, command).ok();
    let done = job.finish();
    assert_eq!(done.status.code(), Some(85), "{}", text(&done.stderr));
    restarts(&scratch, &case);
}

#[test]
fn a_stop() {
    by_stop("stop", 0);
}

#[test]
fn a_stop_of_2_ranks() {
    by_stop("stop-2", 2);
}
