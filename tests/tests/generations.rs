//! The generations of a checkpoint directory: how many are kept, and which one is restarted and verified.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use tests::{program, run, splitproc, text, wait_for, Case, Done, Job, Scratch, LIMIT};

/// `fcntl`'s command that chooses the signal which tells that a lease is to end.
const F_SETSIG: i32 = 10;

/// A job that waits at its checkpoint until it may go on.
fn launch(scratch: &Scratch, options: &[&str]) -> Job {
    let app = program("state", "state", &["-lrt"]);
    let options: Vec<String> = options.iter().map(|&o| o.into()).collect();
    let go = scratch.file("go");
    let args = ["mappings".as_ref(), go.as_os_str()];
    let mut job = Job::launch_with(scratch, 0, &options, &app, args);
    job.must_reach(1);
    job
}

/// The directory's generations, complete or not.
fn generations(scratch: &Scratch) -> Vec<String> {
    let entries = std::fs::read_dir(scratch.ckpt()).expect("the checkpoint directory");
    let names = entries
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned());
    let mut found: Vec<String> = names.filter(|n| n.starts_with("gen-")).collect();
    found.sort();
    found
}

fn command(scratch: &Scratch, words: &[&str]) -> Done {
    let mut command = splitproc(words);
    command.arg(scratch.ckpt());
    run(scratch, command)
}

#[test]
fn so_many_generations_are_kept_as_were_asked_for() {
    for (options, kept) in [
        (&[][..], &["gen-0002", "gen-0003"][..]),
        (&["--keep", "1"], &["gen-0003"]),
        (
            &["--keep", "0", "--zstd", "off"],
            &["gen-0001", "gen-0002", "gen-0003"],
        ),
    ] {
        let scratch = Scratch::new("keep");
        let mut job = launch(&scratch, options);
        (0..3).for_each(|_| job.checkpoint(&scratch));
        assert_eq!(generations(&scratch), kept, "{options:?}");
        job.kill();
        // A restart counts on, and has a wish of its own.
        let mut command = splitproc(["restart", "--keep", "1"]);
        command.arg(scratch.ckpt());
        let mut job = Job::start(&scratch, command);
        job.checkpoint_once_up(&scratch);
        assert_eq!(generations(&scratch), ["gen-0004"], "{options:?}");
    }
}

#[test]
fn an_older_generation_is_restarted_when_the_newest_is_damaged() {
    let scratch = Scratch::new("older");
    let mut job = launch(&scratch, &[]);
    (0..2).for_each(|_| job.checkpoint(&scratch));
    job.kill();
    std::fs::write(scratch.file("go"), "").expect("the go file");
    let told = text(&command(&scratch, &["verify"]).ok().stdout);
    assert!(
        told.contains("generation 1: right") && told.contains("generation 2: right"),
        "{told}"
    );

    let image: PathBuf = scratch.ckpt().join("gen-0002/rank-0000.img");
    let mut bytes = std::fs::read(&image).expect("the image");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&image, bytes).expect("the image");
    let words = ["gen-0002/rank-0000.img", "damaged", "older --generation"];
    let done = command(&scratch, &["verify"]);
    assert!(text(&done.stdout).contains("generation 1: right"));
    assert!(!text(&done.stdout).contains("generation 2: right"));
    done.fails_with(&words);
    command(&scratch, &["verify", "--generation", "1"]).ok();
    command(&scratch, &["verify", "--generation", "3"]).fails_with(&["3"]);
    command(&scratch, &["restart"]).fails_with(&words);
    let done = command(&scratch, &["restart", "--generation", "1"]).ok();
    assert_eq!(text(&done.stdout), "ok\n");
}

/// As they see them who look at another moment, or over a network file system that is slow to tell: ranks that restarted from
/// different generations would go on with each other's past.
#[test]
fn ranks_that_take_different_generations_are_refused() {
    let scratch = Scratch::new("generations-mixed");
    let case = Case::heat2d(&scratch, 2, 1);
    let mut job = case.launch(&scratch);
    for lines in [1, 2] {
        job.must_reach(lines);
        job.checkpoint(&scratch);
    }
    job.kill();
    let mut ranks = std::process::Command::new("mpirun.mpich");
    for generation in ["1", "2"] {
        let mut one = splitproc(["restart", "--generation", generation]);
        one.arg(scratch.ckpt());
        let so_far = ranks.get_args().count();
        ranks.args((so_far != 0).then_some(":"));
        ranks.args(["-n", "1"]).arg(one.get_program());
        ranks.args(one.get_args());
    }
    run(&scratch, ranks).fails_with(&["of different checkpoints", "restart from images of one"]);
    let done = Job::restart(&scratch, 2).finish().ok();
    case.check_restarted(&scratch, &done.stdout);
}

/// A file that nobody else opens for writing without waiting, until this is dropped.
struct Held(File);

impl Held {
    /// `None`: somebody writes it already.
    fn new(path: &Path) -> Option<Self> {
        File::options().append(true).create(true).open(path).ok()?;
        let held = Self(File::open(path).ok()?);
        // What tells of a visitor is ignored by default.
        let told = held.fcntl(F_SETSIG, libc::SIGURG) == 0;
        (told && held.fcntl(libc::F_SETLEASE, libc::F_RDLCK) == 0).then_some(held)
    }

    fn is_waited_for(&self) -> bool {
        self.fcntl(libc::F_GETLEASE, 0) != libc::F_RDLCK
    }

    fn fcntl(&self, command: i32, value: i32) -> i32 {
        // SAFETY: these commands have a number, or nothing, as their argument.
        unsafe { libc::fcntl(self.0.as_raw_fd(), command, value) }
    }
}

fn signal(pid: i32, number: i32) {
    // SAFETY: kill has no memory effects.
    unsafe { libc::kill(pid, number) };
}

/// Kills rank 1 when rank 0 commits the second generation; false if that was through before.
fn lost_at_the_commit(case: &Case, scratch: &Scratch) -> bool {
    let _ = std::fs::remove_dir_all(scratch.ckpt());
    let keep = ["--keep".into(), "1".into()];
    let launch = || Job::launch_with(scratch, 2, &keep, &case.app, &case.args);
    let mut job = case.checkpointed(scratch, 2, launch);
    let mut ranks = job.ranks();
    ranks.sort_unstable();
    let mut ask = splitproc(["checkpoint", "--wait", "--ckpt-dir"]);
    ask.arg(scratch.ckpt());
    let mut request = Job::start(scratch, ask);
    let folder = scratch.ckpt().join("gen-0002");
    let held = wait_for("the second generation", LIMIT, || {
        let there = folder
            .exists()
            .then(|| Held::new(&folder.join("manifest.json.tmp")));
        there.or_else(|| (request.ended() || job.ended()).then_some(None))
    });
    let Some(held) = held else { return false };
    let reached = wait_for("the commit", LIMIT, || {
        let ended = request.ended();
        (held.is_waited_for() || ended).then_some(!ended)
    });
    if !reached {
        return false;
    }
    // The launcher would end rank 0 for that.
    let mut launcher = job.processes();
    launcher.retain(|pid| !ranks.contains(pid));
    launcher.iter().for_each(|&pid| signal(pid, libc::SIGSTOP));
    signal(ranks[1], libc::SIGKILL);
    wait_for("rank 0 to notice", LIMIT, || {
        let told = text(&command(scratch, &["status"]).stdout);
        told.contains("lost").then_some(())
    });
    drop(held);
    request.finish().ok();
    wait_for("rank 0 to be through", LIMIT, || {
        let told = text(&command(scratch, &["status"]).ok().stdout);
        (!told.contains("checkpointing")).then_some(())
    });
    job.kill();
    true
}

#[test]
fn a_rank_that_is_lost_behind_the_commit_takes_no_generation_along() {
    let scratch = Scratch::new("lost-at-the-commit");
    let case = Case::heat2d(&scratch, 2, 1);
    assert!(
        (0..20).any(|_| lost_at_the_commit(&case, &scratch)),
        "the second checkpoint is always through before"
    );
    assert_eq!(generations(&scratch), ["gen-0001", "gen-0002"]);
    command(&scratch, &["verify"]).ok();
    let done = Job::restart(&scratch, 2).finish().ok();
    case.check_restarted(&scratch, &done.stdout);
}
