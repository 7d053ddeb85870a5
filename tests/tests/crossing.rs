//! Threads that call lower halves (`tests/c/crossing.c`), on every way of crossing: each thread's state must be
//! its own in all halves at all times, when a checkpoint comes too, and after a restart over fresh halves.

use std::path::PathBuf;
use tests::{program, text, Job, Scratch};

/// The ways of `--crossing`.
const WAYS: &[&str] = &["shared"];

/// Everything here has stack protectors, in all halves.
const PROTECTED: &str = "-fstack-protector-all";

/// Builds the libraries that halves open; gives their folder.
fn libraries() -> PathBuf {
    let shared = ["-shared", "-fPIC", PROTECTED];
    let half = program("half", "half.so", &shared);
    program("plug", "plug.so", &shared);
    program("plug", "late.so", &[&shared[..], &["-DFIXED"]].concat());
    program("throw", "throw.so", &shared);
    half.parent().expect("a folder").to_owned()
}

/// Runs a mode: ready, a checkpoint, and either on or killed and restarted; then it must find all as it should be.
fn crossing(mode: &str, threads: usize, flags: &[&str]) {
    let dir = libraries();
    let name = format!("crossing{}", flags.concat());
    let app = program("crossing", &name, &[&[PROTECTED], flags].concat());
    for way in WAYS {
        for restart in [false, true] {
            let scratch = Scratch::new(&format!("crossing-{mode}-{threads}-{way}"));
            let half = dir.join("half.so").display().to_string();
            let mut options = vec!["--crossing".to_owned(), way.to_string()];
            for name in ["one", "two"] {
                options.extend(["--half".to_owned(), format!("{name}={half}")]);
            }
            let go = scratch.file("go");
            let count = threads.to_string();
            let args = [
                mode.as_ref(),
                go.as_os_str(),
                dir.as_os_str(),
                count.as_ref(),
            ];
            let mut job = Job::launch_with(&scratch, 0, &options, &app, args);
            job.must_reach(1);
            job.checkpoint(&scratch);
            let mut before = "ready\n";
            if restart {
                job.kill();
                job = Job::restart(&scratch, 0);
                before = "";
            }
            std::fs::write(&go, "").expect("the go file");
            let done = job.finish().ok();
            assert_eq!(
                text(&done.stdout),
                format!("{before}ok\n"),
                "{way}, restart: {restart}"
            );
        }
    }
}

#[test]
fn three_threads_of_which_one_uses_no_lower_storage() {
    crossing("tls", 3, &[]);
}

#[test]
fn sixty_four_threads() {
    crossing("tls", 64, &[]);
}

#[test]
fn a_program_with_100_kib_of_thread_local_storage() {
    crossing("tls", 6, &["-DBIG_TLS=102400"]);
}

#[test]
fn a_program_that_is_not_position_independent() {
    crossing("tls", 3, &["-no-pie", "-fno-pie"]);
}

#[test]
fn hundreds_of_keys_in_all_halves_and_their_destructors() {
    crossing("keys", 5, &[]);
}

#[test]
fn ten_thousand_short_lived_threads() {
    crossing("short", 8, &[]);
}

#[test]
fn stacks_of_16_kib() {
    crossing("small", 4, &[]);
}

#[test]
fn exceptions_inside_each_half() {
    crossing("throw", 6, &[]);
}

#[test]
fn callbacks_between_the_halves() {
    crossing("callbacks", 6, &[]);
}

#[test]
fn a_storm_of_signals() {
    crossing("signals", 4, &[]);
}

#[test]
fn a_cancelled_thread_comes_out_first() {
    crossing("cancel", 1, &[]);
}
