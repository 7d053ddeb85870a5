//! The main job: a program is checkpointed at random moments, everything is killed with SIGKILL,
//! and the restarted program's output is byte for byte that of an undisturbed run.
//!
//! What is compared: the file that the program writes through a descriptor that it holds open (the
//! restored offset makes the restarted program overwrite what the killed one wrote after the
//! checkpoint), and the restarted program's stdout, which must be the end of the undisturbed run's.

use std::path::{Path, PathBuf};
use tests::{example, lines, moments, mpirun, run, text, Job, Moments, Scratch};

/// A program with its arguments, and what it writes when nobody disturbs it.
struct Case {
    app: PathBuf,
    args: Vec<String>,
    ranks: usize,
    expected: Vec<u8>,
}

impl Case {
    fn new(scratch: &Scratch, ranks: usize, app: PathBuf, args: &[&str]) -> Self {
        let args: Vec<String> = ["-o", "out.txt"]
            .iter()
            .chain(args)
            .map(|s| s.to_string())
            .collect();
        let mut command = std::process::Command::new(&app);
        command.args(&args).current_dir(scratch.path());
        let expected = run(scratch, mpirun(ranks, command)).ok().stdout;
        let file = std::fs::read(scratch.file("out.txt")).expect("the program's file");
        assert_eq!(
            text(&file),
            text(&expected),
            "natively, the file is what is printed"
        );
        std::fs::remove_file(scratch.file("out.txt")).expect("the program's file");
        Self {
            app,
            args,
            ranks,
            expected,
        }
    }

    fn launch(&self, scratch: &Scratch) -> Job {
        Job::launch(scratch, self.ranks, &self.app, &self.args)
    }

    /// A line in the part of the run where a checkpoint is sure to find the program running.
    fn moment(&self, random: &mut Moments) -> usize {
        random.pick(1, lines(&self.expected) * 6 / 10)
    }

    #[track_caller]
    fn check_killed(&self, stdout: &[u8]) {
        assert!(
            self.expected.starts_with(stdout),
            "the launched program wrote something else:\n{}",
            text(stdout)
        );
    }

    #[track_caller]
    fn check_restarted(&self, out: &Path, stdout: &[u8]) {
        let file = std::fs::read(out).expect("the program's file");
        assert_eq!(
            text(&file),
            text(&self.expected),
            "the program's file after the restart"
        );
        assert!(
            !stdout.is_empty() && self.expected.ends_with(stdout),
            "the restarted program's stdout is not the end of the undisturbed one's:\n{}",
            text(stdout)
        );
    }

    /// Launched, checkpointed at a random moment, killed, restarted; so many times.
    fn at_random_moments(&self, scratch: &Scratch, count: usize) {
        let mut random = Moments::new();
        for n in 0..count {
            let moment = self.moment(&mut random);
            let more = random.pick(0, 4);
            println!("moment {n}: at line {moment}, killed {more} lines later");
            let _ = std::fs::remove_dir_all(scratch.ckpt());
            let mut job = self.launch(scratch);
            job.must_reach(moment);
            job.checkpoint(scratch);
            let so_far = lines(&job.stdout());
            job.reaches(so_far + more);
            self.check_killed(&job.kill());
            let done = Job::restart(scratch, self.ranks).finish().ok();
            self.check_restarted(&scratch.file("out.txt"), &done.stdout);
        }
    }
}

/// Steps enough for a run of a second or two.
const HEAT: &[&str] = &["200", "8000", "100"];

fn heat2d(name: &str, ranks: usize) {
    let scratch = Scratch::new(name);
    Case::new(&scratch, ranks, example("heat2d"), HEAT).at_random_moments(&scratch, moments());
}

#[test]
fn heat2d_without_a_launcher() {
    heat2d("heat2d-0", 0);
}

#[test]
fn heat2d_on_1_rank() {
    heat2d("heat2d-1", 1);
}

#[test]
fn heat2d_on_2_ranks() {
    heat2d("heat2d-2", 2);
}

#[test]
fn heat2d_on_4_ranks() {
    heat2d("heat2d-4", 4);
}

#[test]
fn heat2d_with_8_threads_a_rank() {
    let scratch = Scratch::new("heat2d-threads");
    let args = ["-t", "8", "128", "1500", "25"];
    Case::new(&scratch, 2, example("heat2d"), &args).at_random_moments(&scratch, moments());
}

#[test]
fn one_process_with_state_of_many_kinds() {
    let scratch = Scratch::new("counter");
    Case::new(&scratch, 0, example("counter"), &["100", "10"])
        .at_random_moments(&scratch, moments());
}

#[test]
fn one_process_with_8_threads() {
    let scratch = Scratch::new("threads");
    Case::new(&scratch, 0, example("threads"), &["8", "600"])
        .at_random_moments(&scratch, moments());
}

#[test]
fn the_program_goes_on_after_checkpoints() {
    let scratch = Scratch::new("goes-on");
    let case = Case::new(&scratch, 2, example("heat2d"), HEAT);
    let mut job = case.launch(&scratch);
    for line in [5, 15, 25] {
        job.must_reach(line);
        job.checkpoint(&scratch);
    }
    let done = job.finish().ok();
    assert_eq!(text(&done.stdout), text(&case.expected));
    case.check_restarted(&scratch.file("out.txt"), &done.stdout);
}

/// Restarts the newest checkpoint, checkpoints the restarted job, kills it, and again.
fn five_deep(name: &str, ranks: usize, app: &str, args: &[&str]) {
    let scratch = Scratch::new(name);
    let case = Case::new(&scratch, ranks, example(app), args);
    let mut random = Moments::new();
    let mut job = case.launch(&scratch);
    for generation in 0..5 {
        let more = random.pick(1, lines(&case.expected) / 12);
        println!("generation {generation}: after {more} lines");
        job.must_reach(more);
        job.checkpoint(&scratch);
        job.kill();
        job = Job::restart(&scratch, ranks);
    }
    let done = job.finish().ok();
    case.check_restarted(&scratch.file("out.txt"), &done.stdout);
}

#[test]
fn a_restart_of_a_restart_five_deep() {
    five_deep("five-deep", 2, "heat2d", HEAT);
}

#[test]
fn one_process_five_deep() {
    five_deep("five-deep-counter", 0, "counter", &["150", "5"]);
}

#[test]
fn threads_five_deep() {
    five_deep("five-deep-threads", 0, "threads", &["8", "1000"]);
}
