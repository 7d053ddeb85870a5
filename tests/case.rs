//! A program with its arguments, and what it writes when nobody disturbs it.

use crate::{example, lines, moments, mpirun_of, text, Job, Moments, Mpi, Scratch};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// How long an undisturbed run is to take from its first line to its last, at least: long enough for a checkpoint to find it
/// running. What a launcher and the library take to start and to end does not count: Open MPI takes seconds on some machines.
const LONG_ENOUGH: Duration = Duration::from_secs(1);

/// A program, its arguments, its number of ranks (0: no launcher) and its undisturbed output.
pub struct Case {
    /// The program.
    pub app: PathBuf,
    /// Its arguments; the first two are `-o out.txt`.
    pub args: Vec<String>,
    /// Number of ranks, or 0 to do without a launcher.
    pub ranks: usize,
    /// What it prints, and writes to `out.txt`, when nobody disturbs it.
    pub expected: Vec<u8>,
}

impl Case {
    /// heat2d with so many steps that a run takes a second or two on this machine: ranks that share
    /// a processor are slower by orders of magnitude.
    pub fn heat2d(scratch: &Scratch, ranks: usize, threads: usize) -> Self {
        Self::heat2d_of(scratch, ranks, threads, 128)
    }

    /// The same with `side` rows and columns: the more there are, the less its time depends on what else runs.
    pub fn heat2d_of(scratch: &Scratch, ranks: usize, threads: usize, side: usize) -> Self {
        Self::long_enough(scratch, (Mpi::Mpich, ranks), &example("heat2d"), |n| {
            let every = (n / 50).max(1);
            vec![
                "-t".into(),
                threads.to_string(),
                side.to_string(),
                n.to_string(),
                every.to_string(),
            ]
        })
    }

    /// threads, with 8 threads and as many rounds.
    pub fn threads(scratch: &Scratch) -> Self {
        let rounds = |n: usize| vec!["8".into(), n.to_string()];
        Self::long_enough(scratch, (Mpi::Mpich, 0), &example("threads"), rounds)
    }

    /// A test program that takes the number of its steps and every how many of them it writes a line.
    pub fn steps(scratch: &Scratch, ranks: usize, app: &Path) -> Self {
        Self::steps_of(Mpi::Mpich, scratch, ranks, app)
    }

    /// The same for a program that was built for this MPI.
    pub fn steps_of(mpi: Mpi, scratch: &Scratch, ranks: usize, app: &Path) -> Self {
        let args = |n: usize| vec![n.to_string(), (n / 50).max(1).to_string()];
        Self::long_enough(scratch, (mpi, ranks), app, args)
    }

    /// counter, which takes its time by itself.
    pub fn counter(scratch: &Scratch) -> Self {
        Self::counter_of(scratch, 150)
    }

    /// The same with so many counts, each of which takes 10 ms.
    pub fn counter_of(scratch: &Scratch, counts: usize) -> Self {
        let args = [counts.to_string(), "10".into()];
        Self::new(scratch, (Mpi::Mpich, 0), &example("counter"), &args)
    }

    fn long_enough(
        scratch: &Scratch,
        native: (Mpi, usize),
        app: &Path,
        args: impl Fn(usize) -> Vec<String>,
    ) -> Self {
        let mut n = 250;
        loop {
            let (case, took) = Self::timed(scratch, native, app, &args(n));
            if took >= LONG_ENOUGH {
                println!("{}: {:?}, {took:?} undisturbed", app.display(), case.args);
                return case;
            }
            let short = 1.5 * LONG_ENOUGH.as_secs_f64() / took.as_secs_f64().max(0.001);
            n *= short.clamp(2.0, 64.0) as usize;
        }
    }

    fn new(scratch: &Scratch, native: (Mpi, usize), app: &Path, args: &[String]) -> Self {
        Self::timed(scratch, native, app, args).0
    }

    /// A case, and the time between the program's first line and its last.
    fn timed(
        scratch: &Scratch,
        (mpi, ranks): (Mpi, usize),
        app: &Path,
        args: &[String],
    ) -> (Self, Duration) {
        let mut all = vec!["-o".to_string(), "out.txt".to_string()];
        all.extend_from_slice(args);
        let mut command = Command::new(app);
        command.args(&all).current_dir(scratch.path());
        let mut job = Job::start(scratch, mpirun_of(mpi, ranks, command));
        job.reaches(1);
        let first = SystemTime::now();
        let expected = job.finish().ok().stdout;
        let file = std::fs::read(scratch.file("out.txt")).expect("the program's file");
        let last = std::fs::metadata(scratch.file("out.txt")).and_then(|it| it.modified());
        // The clock of files is behind by some milliseconds.
        let took = last
            .expect("its time")
            .duration_since(first)
            .unwrap_or_default();
        assert_eq!(
            text(&file),
            text(&expected),
            "natively, the file is what is printed"
        );
        std::fs::remove_file(scratch.file("out.txt")).expect("the program's file");
        let case = Self {
            app: app.to_owned(),
            args: all,
            ranks,
            expected,
        };
        (case, took)
    }

    /// Launches the program under splitproc.
    #[track_caller]
    pub fn launch(&self, scratch: &Scratch) -> Job {
        Job::launch(scratch, self.ranks, &self.app, &self.args)
    }

    /// A number of lines in the part of the run where a checkpoint is sure to find it running.
    pub fn moment(&self, random: &mut Moments) -> usize {
        random.pick(1, lines(&self.expected) * 6 / 10)
    }

    /// Starts a job and takes a checkpoint when it has written so many lines.
    ///
    /// On a machine that was busy when the case was made and no longer is, the program can be through before
    /// the checkpoint comes: then it is started again.
    #[track_caller]
    pub fn checkpointed(&self, scratch: &Scratch, moment: usize, start: impl Fn() -> Job) -> Job {
        for _ in 0..20 {
            let mut job = start();
            if job.reaches(moment) {
                let asked = job.try_checkpoint(scratch);
                if asked.status.success() {
                    return job;
                }
                println!("no checkpoint: {}", text(&asked.stderr));
            }
            let done = job.finish().ok();
            self.check_restarted(scratch, &done.stdout);
        }
        panic!("the program is always through before the checkpoint comes");
    }

    /// Launched, checkpointed at a random moment, killed, restarted; so many times.
    #[track_caller]
    pub fn at_random_moments(&self, scratch: &Scratch) {
        let mut random = Moments::new();
        for n in 0..moments() {
            let moment = self.moment(&mut random);
            let more = random.pick(0, 4);
            println!("moment {n}: at line {moment}, killed {more} lines later");
            let _ = std::fs::remove_dir_all(scratch.ckpt());
            let mut job = self.checkpointed(scratch, moment, || self.launch(scratch));
            let so_far = lines(&job.stdout());
            job.reaches(so_far + more);
            self.check_killed(&job.kill());
            let done = Job::restart(scratch, self.ranks).finish().ok();
            self.check_restarted(scratch, &done.stdout);
        }
    }

    /// Launched over the first of these MPI libraries, and checkpointed at a random moment, killed and restarted over each
    /// of the others in turn.
    #[track_caller]
    pub fn across(&self, scratch: &Scratch, all: &[Mpi]) {
        let mut random = Moments::new();
        let first = random.pick(1, lines(&self.expected) * 6 / 10 / all.len());
        println!("{all:?}: at line {first}");
        for _ in 0..20 {
            let _ = std::fs::remove_dir_all(scratch.ckpt());
            if self.gets_across(scratch, all, first) {
                return;
            }
        }
        panic!("the program is always through before it is across");
    }

    /// The same at this line; false if the program was through early, as in `checkpointed`.
    #[track_caller]
    fn gets_across(&self, scratch: &Scratch, all: &[Mpi], first: usize) -> bool {
        let mut job = self.checkpointed(scratch, first, || {
            Job::launch_over(scratch, (all[0], self.ranks), &self.app, &self.args)
        });
        let mut in_time = true;
        for (n, &mpi) in all.iter().enumerate().skip(1) {
            self.check_part(&job.kill());
            job = Job::restart_over(scratch, mpi, self.ranks);
            if n + 1 < all.len() && !(job.reaches(first) && job.is_checkpointed_once_up(scratch)) {
                in_time = false;
                break;
            }
        }
        let done = job.finish().ok();
        self.check_restarted(scratch, &done.stdout);
        in_time
    }

    /// What a program prints until it is killed is part of the undisturbed output.
    #[track_caller]
    fn check_part(&self, stdout: &[u8]) {
        assert!(
            text(&self.expected).contains(&text(stdout)),
            "the program wrote something else:\n{}",
            text(stdout)
        );
    }

    /// What a killed program had printed must be the beginning of the undisturbed output.
    #[track_caller]
    pub fn check_killed(&self, stdout: &[u8]) {
        assert!(
            self.expected.starts_with(stdout),
            "the launched program wrote something else:\n{}",
            text(stdout)
        );
    }

    /// The file must be that of an undisturbed run, and what the restarted program printed its end.
    #[track_caller]
    pub fn check_restarted(&self, scratch: &Scratch, stdout: &[u8]) {
        let file = std::fs::read(scratch.file("out.txt")).expect("the program's file");
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
}
