//! The main job: a program is checkpointed at random moments, everything is killed with SIGKILL,
//! and the restarted program's output is byte for byte that of an undisturbed run.
//!
//! What is compared: the file that the program writes through a descriptor that it holds open (the
//! restored offset makes the restarted program overwrite what the killed one wrote after the
//! checkpoint), and the restarted program's stdout, which must be the end of the undisturbed run's.

use tests::{lines, text, Case, Job, Moments, Scratch};

fn heat2d(name: &str, ranks: usize, threads: usize) {
    let scratch = Scratch::new(name);
    Case::heat2d(&scratch, ranks, threads).at_random_moments(&scratch);
}

#[test]
fn heat2d_without_a_launcher() {
    heat2d("heat2d-0", 0, 1);
}

#[test]
fn heat2d_on_1_rank() {
    heat2d("heat2d-1", 1, 1);
}

#[test]
fn heat2d_on_2_ranks() {
    heat2d("heat2d-2", 2, 1);
}

#[test]
fn heat2d_on_4_ranks() {
    heat2d("heat2d-4", 4, 1);
}

#[test]
fn heat2d_on_2_ranks_with_8_threads_each() {
    heat2d("heat2d-threads", 2, 8);
}

#[test]
fn one_process_with_state_of_many_kinds() {
    let scratch = Scratch::new("counter");
    Case::counter(&scratch).at_random_moments(&scratch);
}

#[test]
fn one_process_with_8_threads() {
    let scratch = Scratch::new("threads");
    Case::threads(&scratch).at_random_moments(&scratch);
}

#[test]
fn the_program_goes_on_after_checkpoints() {
    let scratch = Scratch::new("goes-on");
    let case = Case::heat2d(&scratch, 2, 1);
    let mut job = case.checkpointed(&scratch, 2, || case.launch(&scratch));
    for line in [8, 16] {
        if job.reaches(line) {
            println!("again: {:?}", job.try_checkpoint(&scratch));
        }
    }
    let done = job.finish().ok();
    assert_eq!(text(&done.stdout), text(&case.expected));
    case.check_restarted(&scratch, &done.stdout);
}

/// Restarts the newest checkpoint, checkpoints the restarted job, kills it, and again.
fn five_deep(scratch: &Scratch, case: &Case) {
    let mut random = Moments::new();
    for generation in 0..5 {
        let more = random.pick(1, lines(&case.expected) / 12);
        println!("generation {generation}: after {more} lines");
        let start = || match generation {
            0 => case.launch(scratch),
            _ => Job::restart(scratch, case.ranks),
        };
        case.checkpointed(scratch, more, start).kill();
    }
    let done = Job::restart(scratch, case.ranks).finish().ok();
    case.check_restarted(scratch, &done.stdout);
}

#[test]
fn a_restart_of_a_restart_five_deep() {
    let scratch = Scratch::new("five-deep");
    five_deep(&scratch, &Case::heat2d(&scratch, 2, 1));
}

#[test]
fn one_process_five_deep() {
    let scratch = Scratch::new("five-deep-counter");
    five_deep(&scratch, &Case::counter_of(&scratch, 400));
}

#[test]
fn threads_five_deep() {
    let scratch = Scratch::new("five-deep-threads");
    five_deep(&scratch, &Case::threads(&scratch));
}
