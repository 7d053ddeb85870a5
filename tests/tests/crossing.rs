//! Threads that call lower halves (`tests/c/crossing.c`), on every way of crossing: each thread's state must be
//! its own in all halves at all times, when a checkpoint comes too, and after a restart over fresh halves.

use tests::{half_libraries, program, text, Job, Scratch, STACK_PROTECTORS};

/// The ways of `--crossing`.
const WAYS: &[&str] = &["shared", "borrowed", "borrowed-prctl"];

/// A mode of the program, on every way.
fn crossing(mode: &str, threads: usize, flags: &[&str]) {
    for way in WAYS {
        crossing_by("crossing", way, mode, threads, flags, &["one", "two"]);
    }
}

/// A mode of `tests/c/cut_short.c`, on every way.
fn cut_short(mode: &str, threads: usize) {
    for way in WAYS {
        crossing_by("cut_short", way, mode, threads, &[], &["one", "two"]);
    }
}

/// Runs a mode: ready, a checkpoint, and either on or killed and restarted; then it must find all as it should be.
fn crossing_by(
    source: &str,
    way: &str,
    mode: &str,
    threads: usize,
    flags: &[&str],
    halves: &[&str],
) {
    let dir = half_libraries();
    let name = format!("{source}{}", flags.concat());
    let app = program(source, &name, &[&[STACK_PROTECTORS], flags].concat());
    let half = dir.join("half.so").display().to_string();
    let mut options = vec!["--crossing".to_owned(), way.to_owned()];
    for name in halves {
        options.extend(["--half".to_owned(), format!("{name}={half}")]);
    }
    for restart in [false, true] {
        let scratch = Scratch::new(&format!("{source}-{mode}-{threads}-{way}"));
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
fn locks_whose_owners_the_kernel_knows() {
    crossing("locks", 6, &[]);
}

#[test]
fn a_library_with_static_tls_that_a_lower_half_opens_late() {
    crossing("late", 6, &[]);
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

#[test]
fn threads_that_wait_in_a_lower_half_call_again_after_a_restart() {
    crossing("try", 8, &[]);
}

#[test]
fn threads_that_end_after_a_restart_without_another_call() {
    crossing("idle", 8, &[]);
}

#[test]
fn no_signal_for_a_waiting_thread_is_lost() {
    cut_short("rain", 48);
}

#[test]
fn threads_that_wait_in_a_callback_call_again_after_a_restart() {
    cut_short("back", 8);
}

#[test]
fn threads_that_compute_in_a_lower_half_leave_no_numbers_in_registers() {
    cut_short("x87", 2);
}

/// The TLS hole has room for four; the others are entered on borrowed TCBs, in the same process.
#[test]
fn seven_halves_on_two_ways() {
    let names = ["a", "b", "two", "c", "d", "one", "e"];
    crossing_by("crossing", "auto", "tls", 6, &[], &names);
    crossing_by("crossing", "auto", "callbacks", 6, &[], &names);
}
