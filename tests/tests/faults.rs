//! Faults: what goes wrong is named, leaves the program running or the last complete generation
//! usable, and never starts half a program.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tests::{
    example, lines, moments, mpirun, newest_generation, run, splitproc, text, wait_for, Case, Done,
    Job, Moments, Scratch, LIMIT,
};

/// A job that was checkpointed once and killed.
fn checkpointed(name: &str, ranks: usize) -> Scratch {
    let scratch = Scratch::new(name);
    let case = Case::heat2d(&scratch, ranks, 1);
    let job = case.checkpointed(&scratch, 2, || case.launch(&scratch));
    job.kill();
    scratch
}

fn image(scratch: &Scratch, rank: usize) -> PathBuf {
    newest_generation(&scratch.ckpt())
        .expect("a generation")
        .join(format!("rank-{rank:04}.img"))
}

/// A restart that must be refused before the program runs.
#[track_caller]
fn refused(scratch: &Scratch, ranks: usize, words: &[&str]) {
    let done = Job::restart(scratch, ranks).finish();
    assert!(
        done.stdout.is_empty(),
        "the program ran:\n{}",
        text(&done.stdout)
    );
    done.fails_with(words);
}

/// Damages a file, sees the restart refused, and mends it.
#[track_caller]
fn damaged(scratch: &Scratch, path: &Path, words: &[&str], damage: impl FnOnce(&mut Vec<u8>)) {
    let good = std::fs::read(path).expect("the file");
    let mut bad = good.clone();
    damage(&mut bad);
    std::fs::write(path, bad).expect("the file");
    refused(scratch, 2, words);
    std::fs::write(path, good).expect("the file");
}

#[test]
fn damaged_images_are_refused_by_name() {
    let scratch = checkpointed("damaged", 2);
    let victim = image(&scratch, 1);
    let name = "rank-0001.img";
    let mut random = Moments::new();

    damaged(&scratch, &victim, &[name], |b| b.truncate(b.len() / 2));
    damaged(&scratch, &victim, &[name], |b| b.truncate(b.len() - 1));
    damaged(&scratch, &victim, &[name], |b| b.clear());
    for _ in 0..moments() {
        damaged(&scratch, &victim, &[name], |b| {
            let at = random.pick(0, b.len());
            let bit = random.pick(0, 8);
            println!("bit {bit} of byte {at}, of {}", b.len());
            b[at] ^= 1 << bit;
        });
    }
    let other = std::fs::read(image(&scratch, 0)).expect("rank 0's image");
    damaged(&scratch, &victim, &[name, "rank"], |b| *b = other);
    damaged(&scratch, &victim, &[name, "version"], |b| b[8] ^= 0x40);

    let good = std::fs::read(&victim).expect("the image");
    std::fs::remove_file(&victim).expect("the image");
    refused(&scratch, 2, &[name]);
    std::fs::write(&victim, good).expect("the image");

    // And with everything mended, it runs.
    Job::restart(&scratch, 2).finish().ok();
}

#[test]
fn the_wrong_number_of_ranks_is_refused() {
    let scratch = checkpointed("ranks", 2);
    refused(&scratch, 3, &["2", "3", "rank"]);
    refused(&scratch, 1, &["2", "1", "rank"]);
}

#[test]
fn a_generation_without_a_manifest_is_not_complete() {
    let scratch = checkpointed("no-manifest", 2);
    let generation = newest_generation(&scratch.ckpt()).expect("a generation");
    std::fs::remove_file(generation.join("manifest.json")).expect("the manifest");
    refused(&scratch, 2, &["complete"]);
}

#[test]
fn images_are_private() {
    let scratch = checkpointed("private", 1);
    let mode = |p: &Path| {
        std::fs::metadata(p)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    let file = image(&scratch, 0);
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().expect("the generation")), 0o700);
}

/// How far a checkpoint is: its folder is there, an image is being written, an image is written.
const PHASES: [fn(&Path) -> bool; 3] = [
    |_| true,
    |generation| has(generation, ".tmp"),
    |generation| has(generation, ".img"),
];

fn has(generation: &Path, end: &str) -> bool {
    let mut entries = std::fs::read_dir(generation)
        .into_iter()
        .flatten()
        .flatten();
    entries.any(|e| e.file_name().to_string_lossy().ends_with(end))
}

/// Kills a rank when the second checkpoint has come so far; false if the program was through before.
fn killed_in(phase: fn(&Path) -> bool, case: &Case, scratch: &Scratch, victim: usize) -> bool {
    let _ = std::fs::remove_dir_all(scratch.ckpt());
    let mut job = case.checkpointed(scratch, 2, || case.launch(scratch));
    let complete = newest_generation(&scratch.ckpt());
    let ranks = job.ranks();

    let mut command = splitproc(["checkpoint", "--wait", "--ckpt-dir"]);
    command.arg(scratch.ckpt());
    let request = Job::start(scratch, command);
    let reached = wait_for("the second generation to come so far", LIMIT, || {
        let newest = newest_generation(&scratch.ckpt());
        let reached = newest != complete && newest.is_some_and(|newest| phase(&newest));
        (reached || job.ended()).then_some(reached)
    });
    if reached {
        // SAFETY: kill has no memory effects.
        unsafe { libc::kill(ranks[victim], libc::SIGKILL) };
    }
    request.finish(); // it may have been in time; it must not hang
    job.kill();
    reached
}

#[test]
fn a_rank_killed_in_the_middle_of_a_checkpoint() {
    let scratch = Scratch::new("rank-killed");
    let case = Case::heat2d(&scratch, 2, 1);
    let mut random = Moments::new();
    for phase in PHASES {
        let mut tries = 0..20;
        assert!(
            tries.any(|_| killed_in(phase, &case, &scratch, random.pick(0, 2))),
            "the program is always through before the second checkpoint comes"
        );
        let done = Job::restart(&scratch, 2).finish().ok();
        case.check_restarted(&scratch, &done.stdout);
    }
}

/// A folder on a small file system of its own, until it is dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `None`: the test can't be run here, and says so.
    fn mount(path: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir_all(&path).expect("a folder");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&path)
            .output();
        if done.is_ok_and(|done| done.status.success()) {
            return Some(Self(path));
        }
        println!("not run: a tmpfs cannot be mounted here");
        None
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[track_caller]
fn goes_on(mut job: Job, scratch: &Scratch, case: &Case, words: &[&str]) {
    job.must_reach(2);
    let asked: Done = job.try_checkpoint(scratch);
    let at = lines(&job.stdout());
    assert!(at < lines(&case.expected), "the program was still running");
    asked.fails_with(words);
    assert_eq!(
        text(&job.finish().ok().stdout),
        text(&case.expected),
        "the program goes on"
    );
}

#[test]
fn a_full_disk_fails_the_checkpoint_and_not_the_program() {
    let scratch = Scratch::new("full");
    let case = Case::heat2d(&scratch, 2, 1);
    let Some(_disk) = Tmpfs::mount(scratch.ckpt(), "256k") else {
        return;
    };
    let job = case.launch(&scratch);
    goes_on(job, &scratch, &case, &["space"]);
    refused(&scratch, 2, &["complete"]);
}

/// A checkpoint that does not fit leaves the one before it, from which the job restarts.
#[test]
fn a_full_disk_leaves_the_earlier_generation() {
    let scratch = Scratch::new("full-later");
    let case = Case::heat2d(&scratch, 2, 1);
    let Some(_disk) = Tmpfs::mount(scratch.ckpt(), "16m") else {
        return;
    };
    let mut job = case.launch(&scratch);
    job.must_reach(1);
    job.checkpoint(&scratch);
    let ballast = scratch.ckpt().join("ballast");
    let mut file = std::fs::File::create(ballast).expect("a file");
    while std::io::Write::write_all(&mut file, &[1; 1 << 20]).is_ok() {}
    job.try_checkpoint(&scratch).fails_with(&["space"]);
    job.kill();
    let done = Job::restart(&scratch, 2).finish().ok();
    case.check_restarted(&scratch, &done.stdout);
}

#[test]
fn a_missing_or_shorter_file_is_told() {
    let scratch = Scratch::new("missing-file");
    let app = tests::program("state", "state", &[]);
    let go = scratch.file("go");
    let mut job = Job::launch(&scratch, 0, &app, ["file".as_ref(), go.as_os_str()]);
    job.must_reach(1);
    job.checkpoint(&scratch);
    job.kill();
    let file = scratch.file("state.txt");
    std::fs::write(&file, "0123").expect("a shorter file");
    std::fs::write(&go, "").expect("the go file");
    let done = Job::restart(&scratch, 0).finish();
    let told = text(&done.stderr);
    assert!(told.contains("state.txt is shorter"), "{told}");
    std::fs::remove_file(&file).expect("the file");
    refused(&scratch, 0, &["state.txt", "No such file"]);
}

#[test]
fn a_missing_mpi_library_is_named() {
    let scratch = checkpointed("no-library", 1);
    let mut command = splitproc(["restart", "--mpi", "/no/such/libmpich.so.12"]);
    command.arg(scratch.ckpt());
    let done = run(&scratch, mpirun(1, command));
    assert!(done.stdout.is_empty());
    done.fails_with(&["/no/such/libmpich.so.12"]);
}

#[test]
fn an_unwritable_folder_is_named_before_the_program_runs() {
    let scratch = Scratch::new("unwritable");
    let file = scratch.file("a-file");
    std::fs::write(&file, "").expect("a file");
    let mut command = splitproc(["launch", "--ckpt-dir"]);
    command
        .arg(file.join("ckpt"))
        .arg("--")
        .arg(example("counter"))
        .args(["1", "1"]);
    let done = run(&scratch, command);
    assert!(done.stdout.is_empty());
    done.fails_with(&["a-file/ckpt"]);
}

#[test]
fn a_folder_that_becomes_read_only_fails_the_checkpoint_and_not_the_program() {
    let scratch = Scratch::new("read-only");
    let case = Case::heat2d(&scratch, 2, 1);
    let Some(_disk) = Tmpfs::mount(scratch.ckpt(), "64m") else {
        return;
    };
    let mut job = case.launch(&scratch);
    job.must_reach(1);
    let done = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(scratch.ckpt())
        .output()
        .expect("mount");
    if !done.status.success() {
        println!("not run: {}", text(&done.stderr));
        return;
    }
    goes_on(job, &scratch, &case, &["read-only"]);
}

/// A checkpoint that can't be written to is restarted from; the new ones go elsewhere, or are refused.
#[test]
fn a_restart_from_a_read_only_folder() {
    let scratch = Scratch::new("read-only-restart");
    let case = Case::heat2d_of(&scratch, 2, 1, 1024);
    let Some(_disk) = Tmpfs::mount(scratch.ckpt(), "64m") else {
        return;
    };
    let mut job = case.launch(&scratch);
    job.must_reach(1);
    job.checkpoint(&scratch);
    job.kill();
    let mut remount = Command::new("mount");
    remount.args(["-o", "remount,ro"]).arg(scratch.ckpt());
    if !remount.status().expect("mount").success() {
        println!("not run: the tmpfs cannot be made read-only");
        return;
    }
    let job = Job::restart(&scratch, 2);
    wait_for("the reason why no checkpoints can be taken", LIMIT, || {
        text(&job.stderr()).contains("Read-only").then_some(())
    });
    let done = job.finish().ok();
    case.check_restarted(&scratch, &done.stdout);

    let elsewhere = scratch.file("elsewhere");
    let restart = |from: &Path| {
        let mut command = splitproc(["restart", "--ckpt-dir"]);
        command.arg(&elsewhere).arg(from);
        Job::start(&scratch, mpirun(2, command))
    };
    let job = restart(&scratch.ckpt());
    let ask = || {
        let mut command = splitproc(["checkpoint", "--wait", "--ckpt-dir"]);
        command.arg(&elsewhere);
        let done = run(&scratch, command);
        done.status.success().then_some(())
    };
    wait_for("the restarted job's checkpoint", LIMIT, ask);
    job.kill();
    let done = restart(&elsewhere).finish().ok();
    assert!(!text(&done.stderr).contains("Read-only"));
    case.check_restarted(&scratch, &done.stdout);
}

fn signal(pid: i32, number: i32) {
    // SAFETY: kill has no memory effects.
    unsafe { libc::kill(pid, number) };
}

/// A rank that does not take part is named within the bound, the others go on, and once it is back the next
/// checkpoint is taken.
#[test]
fn a_rank_that_never_arrives_at_a_checkpoint_is_named() {
    let scratch = Scratch::new("absent");
    let case = Case::heat2d(&scratch, 2, 1);
    let mut command = splitproc(["launch", "--timeout", "8", "--ckpt-dir"]);
    command.arg(scratch.ckpt()).arg("--").arg(&case.app);
    command.args(&case.args).current_dir(scratch.path());
    let mut job = Job::start(&scratch, mpirun(2, command));
    job.must_reach(2);
    job.checkpoint(&scratch);
    let mut ranks = job.ranks();
    ranks.sort_unstable();
    let begun = Instant::now();
    signal(ranks[1], libc::SIGSTOP);
    job.try_checkpoint(&scratch)
        .fails_with(&["no answer from rank 1"]);
    let took = begun.elapsed();
    signal(ranks[1], libc::SIGCONT);
    assert!(took < Duration::from_secs(40), "it took {took:?}");
    wait_for("a checkpoint with the rank that is back", LIMIT, || {
        let done = job.try_checkpoint(&scratch);
        println!("{}", text(&done.stderr));
        done.status.success().then_some(())
    });
    job.kill();
    let done = Job::restart(&scratch, 2).finish().ok();
    case.check_restarted(&scratch, &done.stdout);
}

/// A rank that does not come up at a restart ends it within the bound, and is named.
#[test]
fn a_rank_that_never_arrives_at_a_restart_is_named() {
    let scratch = checkpointed("absent-restart", 2);
    let wrapper = scratch.file("one-late");
    let script = "#!/bin/sh\n[ \"$PMI_RANK\" = 1 ] && exec sleep 600\nexec \"$@\"\n";
    std::fs::write(&wrapper, script).expect("a script");
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).expect("a script");
    let mut command = Command::new(&wrapper);
    command.arg(tests::bin("splitproc"));
    command
        .args(["restart", "--timeout", "3"])
        .arg(scratch.ckpt());
    let begun = Instant::now();
    let done = run(&scratch, mpirun(2, command));
    assert!(done.stdout.is_empty());
    done.fails_with(&["rank 1", "3 s"]);
    assert!(begun.elapsed() < Duration::from_secs(30));
    Job::restart(&scratch, 2).finish().ok();
}

#[test]
fn what_is_wrong_for_all_ranks_is_said_once() {
    let scratch = checkpointed("said-once", 2);
    std::fs::remove_file(image(&scratch, 1)).expect("the image");
    let done = Job::restart(&scratch, 2)
        .finish()
        .fails_with(&["rank-0001.img"]);
    let complaint = text(&done.stderr);
    assert_eq!(complaint.matches("No such file").count(), 1, "{complaint}");
}

#[test]
fn a_directory_has_one_running_job() {
    for ranks in [0, 2] {
        let scratch = Scratch::new("two-jobs");
        let case = match ranks {
            0 => Case::counter(&scratch),
            _ => Case::heat2d(&scratch, ranks, 1),
        };
        let mut job = case.launch(&scratch);
        job.must_reach(2);
        job.checkpoint(&scratch);
        // It does not end meanwhile.
        let pids = job.ranks();
        assert!(!pids.is_empty());
        pids.iter().for_each(|&pid| signal(pid, libc::SIGSTOP));
        for second in [case.launch(&scratch), Job::restart(&scratch, ranks)] {
            let done = second.finish();
            assert!(done.stdout.is_empty(), "it ran:\n{}", text(&done.stdout));
            done.fails_with(&["running job", "--ckpt-dir", "ckpt"]);
        }
        pids.iter().for_each(|&pid| signal(pid, libc::SIGCONT));
        // It is still the first one's, and once that is gone the directory is free.
        job.checkpoint(&scratch);
        job.kill();
        Job::restart(&scratch, ranks).finish().ok();
    }
}

#[test]
fn a_restart_that_waits_ends_on_sigterm() {
    let scratch = checkpointed("told-to-end", 2);
    let mut command = Command::new("mpirun.mpich");
    command.args(["-n", "1"]).arg(tests::bin("splitproc"));
    command.arg("restart").arg(scratch.ckpt());
    // The other rank never comes up, and does not mind signals.
    command.args([":", "-n", "1", "sh", "-c", "trap '' TERM; exec sleep 1000"]);
    let job = Job::start(&scratch, command);
    let arrived = scratch.ckpt().join("arrived-0000");
    // Once the program's threads are back they block signals, and the host looks for those that are to end it.
    let blocked = |task: PathBuf| {
        let status = std::fs::read_to_string(task.join("status")).unwrap_or_default();
        let mask = status.lines().find_map(|l| l.strip_prefix("SigBlk:"));
        let mask = mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok());
        mask.is_some_and(|m| m >> (libc::SIGTERM - 1) & 1 == 1)
    };
    wait_for("rank 0 to come up", LIMIT, || {
        let ranks = job.ranks();
        let tasks = |pid: &i32| std::fs::read_dir(format!("/proc/{pid}/task"));
        let waits = |pid| tasks(pid).is_ok_and(|all| all.flatten().all(|t| blocked(t.path())));
        (arrived.exists() && !ranks.is_empty() && ranks.iter().all(waits)).then_some(())
    });
    job.ranks()
        .iter()
        .for_each(|&pid| signal(pid, libc::SIGTERM));
    let begun = Instant::now();
    job.finish().fails_with(&["signal", "rank 1"]);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "only --timeout ended it"
    );
}
