//! Under DMTCP: the plugin in a program that `dmtcp_launch` started, and images that `dmtcp_restart` brings back.
//!
//! Each test says that it is skipped where there is no DMTCP on PATH.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::SystemTime;
use tests::{
    bin, lines, mpirun, program, run, splitproc, text, wait_for, Case, Done, Job, Moments, Scratch,
    LIMIT,
};

/// heat2d's rows and columns: so many that the program is sure to run when the coordinator hears of a checkpoint.
const SIDE: usize = 2048;

/// A coordinator, and what its job is run with.
struct Dmtcp<'a> {
    scratch: &'a Scratch,
    port: String,
}

/// Is DMTCP there?
fn there() -> bool {
    let found = Command::new("dmtcp_launch")
        .arg("--version")
        .output()
        .is_ok();
    if !found {
        println!("skipped: dmtcp_launch is not on PATH");
    }
    found
}

impl<'a> Dmtcp<'a> {
    fn new(scratch: &'a Scratch) -> Self {
        let file = scratch.file("port");
        let mut command = Command::new("dmtcp_coordinator");
        command.args(["--daemon", "-q", "-q", "--coord-port", "0", "--port-file"]);
        command.arg(&file).current_dir(scratch.path());
        // Not a job of ours: what is killed is the program.
        let status = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.is_ok_and(|s| s.success()), "dmtcp_coordinator");
        let port = std::fs::read_to_string(&file).expect("the coordinator's port");
        Self {
            scratch,
            port: port.trim().into(),
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.surround(&mut command);
        command.args(["-q", "-q"]);
        command
    }

    fn surround(&self, command: &mut Command) {
        command
            .env("DMTCP_COORD_PORT", &self.port)
            .env("DMTCP_COORD_HOST", "localhost");
        command
            .env("DMTCP_QUIET", "2")
            .current_dir(self.scratch.path());
    }

    fn launch(&self, case: &Case, halves: &str, options: &[&str]) -> Job {
        let mut command = self.command("dmtcp_launch");
        command.env("SPLITPROC_LH", halves);
        command
            .args(["--join-coordinator", "--ckptdir"])
            .arg(self.scratch.ckpt());
        command
            .args(options)
            .arg("--with-plugin")
            .arg(bin("libsplitproc.so"));
        command.arg(&case.app).args(&case.args);
        Job::start(self.scratch, mpirun(case.ranks, command))
    }

    /// A checkpoint of so many processes. `--bcheckpoint` of DMTCP 4.2 does not wait, and does nothing while a restart
    /// goes on: the whole job and new images are waited for.
    #[track_caller]
    fn checkpoint(&self, processes: usize) {
        wait_for("the whole job to run", LIMIT, || {
            let mut command = self.command("dmtcp_command");
            command.arg("--status");
            let status = text(&run(self.scratch, command).stdout);
            status.contains("RUNNING=yes").then_some(())
        });
        let before = self.stamps();
        let mut command = self.command("dmtcp_command");
        command.arg("--bcheckpoint");
        run(self.scratch, command).ok();
        wait_for("DMTCP's images", LIMIT, || {
            let new = self.stamps().into_iter().filter(|s| !before.contains(s));
            (new.count() >= processes).then_some(())
        });
    }

    fn images(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.scratch.ckpt()).into_iter().flatten();
        let files = entries.filter_map(|e| Some(e.ok()?.path()));
        let image = |p: &PathBuf| {
            p.to_string_lossy().contains("ckpt_") && p.to_string_lossy().ends_with(".dmtcp")
        };
        files.filter(image).collect()
    }

    /// Which images there are: a new one takes the old one's name, but is another file.
    fn stamps(&self) -> Vec<(u64, SystemTime)> {
        let stamp = |image: PathBuf| {
            let about = std::fs::metadata(image).ok()?;
            Some((about.ino(), about.modified().ok()?))
        };
        self.images().into_iter().filter_map(stamp).collect()
    }

    /// With a launcher by `splitproc dmtcp-restart`, without one by plain `dmtcp_restart`.
    fn restart(&self, ranks: usize) -> Job {
        let command = if ranks == 0 {
            let mut command = self.command("dmtcp_restart");
            command.arg("--join-coordinator").args(self.images());
            command
        } else {
            let mut command = splitproc(["dmtcp-restart"]);
            command.arg(self.scratch.ckpt());
            self.surround(&mut command);
            command
        };
        Job::start(self.scratch, mpirun(ranks, command))
    }
}

impl Drop for Dmtcp<'_> {
    fn drop(&mut self) {
        // A coordinator that is gone is no error.
        let _ = self.command("dmtcp_command").arg("--quit").output();
    }
}

/// Launched, checkpointed at a random moment, all killed, restarted: the output is an undisturbed run's.
fn killed_and_restarted(scratch: &Scratch, case: &Case, halves: &str, options: &[&str]) {
    let mut random = Moments::new();
    let dmtcp = Dmtcp::new(scratch);
    let mut job = dmtcp.launch(case, halves, options);
    job.must_reach(case.moment(&mut random));
    dmtcp.checkpoint(case.ranks.max(1));
    let so_far = lines(&job.stdout());
    job.reaches(so_far + 2);
    case.check_killed(&job.kill());
    let done = Dmtcp::new(scratch).restart(case.ranks).finish().ok();
    case.check_restarted(scratch, &done.stdout);
}

fn heat2d(ranks: usize, threads: usize, options: &[&str]) {
    if there() {
        let scratch = Scratch::new(&format!("dmtcp-heat2d-{ranks}-{threads}"));
        let case = Case::heat2d_of(&scratch, ranks, threads, SIDE);
        killed_and_restarted(&scratch, &case, "", options);
    }
}

#[test]
fn heat2d_without_a_launcher() {
    heat2d(0, 1, &[]);
}

#[test]
fn heat2d_on_1_rank() {
    heat2d(1, 1, &["--no-gzip"]);
}

#[test]
fn heat2d_on_2_ranks() {
    heat2d(2, 1, &["--no-gzip"]);
}

#[test]
fn heat2d_on_4_ranks() {
    heat2d(4, 1, &[]);
}

#[test]
fn threads_beside_a_lower_half() {
    if there() {
        let scratch = Scratch::new("dmtcp-threads");
        let case = Case::threads(&scratch);
        killed_and_restarted(&scratch, &case, "mpi", &["--no-gzip"]);
    }
}

#[test]
fn a_restart_of_a_restart_five_deep() {
    if !there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-deep");
    let case = Case::heat2d_of(&scratch, 2, 1, SIDE);
    let mut random = Moments::new();
    let mut dmtcp = Dmtcp::new(&scratch);
    let mut job = dmtcp.launch(&case, "", &["--no-gzip"]);
    for generation in 0..5 {
        let more = random.pick(1, lines(&case.expected) / 12);
        println!("generation {generation}: after {more} lines");
        job.must_reach(more);
        dmtcp.checkpoint(case.ranks);
        job.kill();
        dmtcp = Dmtcp::new(&scratch);
        job = dmtcp.restart(case.ranks);
    }
    case.check_restarted(&scratch, &job.finish().ok().stdout);
}

/// The start addresses of an uncompressed image's areas: each stands in a page of its own before its bytes.
fn areas(image: &std::path::Path) -> Vec<u64> {
    let bytes = std::fs::read(image).expect("the image");
    let word = |page: &[u8], i: usize| {
        u64::from_le_bytes(page[8 * i..8 * i + 8].try_into().expect("8 bytes"))
    };
    let area = |page: &[u8]| {
        let (start, end, size) = (word(page, 0), word(page, 1), word(page, 2));
        (start != 0 && size != 0 && start.checked_add(size) == Some(end) && start % 4096 == 0)
            .then_some(start)
    };
    bytes.chunks_exact(4096).filter_map(area).collect()
}

#[test]
fn an_image_holds_no_lower_half() {
    if !there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-image");
    let case = Case::heat2d_of(&scratch, 0, 1, SIDE);
    let dmtcp = Dmtcp::new(&scratch);
    let mut job = dmtcp.launch(&case, "", &["--no-gzip"]);
    job.must_reach(2);
    dmtcp.checkpoint(1);
    job.kill();
    let starts = areas(&dmtcp.images()[0]);
    let within = |from: u64, to: u64| starts.iter().filter(|s| (from..to).contains(s)).count();
    assert!(
        within(0x2f00_0000_0000, 0x2f80_0000_0000) > 0,
        "lhInfo is saved"
    );
    assert_eq!(
        within(0x1000_0000_0000, 0x2800_0000_0000),
        0,
        "the loader and the lower halves are not"
    );
}

fn refused(scratch: &Scratch, halves: &str, env: &[(&str, &str)]) -> Done {
    let dmtcp = Dmtcp::new(scratch);
    let mut command = dmtcp.command("dmtcp_launch");
    command
        .env("SPLITPROC_LH", halves)
        .envs(env.iter().copied());
    command
        .args(["--join-coordinator", "--with-plugin"])
        .arg(bin("libsplitproc.so"))
        .arg("true");
    run(scratch, command)
}

#[test]
fn what_cannot_be_loaded_is_named_and_the_code_is_dmtcps() {
    if !there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-refused");
    for (halves, env, words) in [
        (
            "mpi",
            &[("SPLITPROC_MPI", "/no/such/lib.so")][..],
            &["no mpich library", "splitproc_mpi"][..],
        ),
        ("cuda", &[], &["splitproc_lh: cuda", "name=library"]),
    ] {
        let done = refused(&scratch, halves, env);
        assert_eq!(done.status.code(), Some(99), "{}", text(&done.stderr));
        done.fails_with(words);
    }
}

#[test]
fn a_forked_child_that_calls_mpi_is_told_why_it_cannot() {
    if !there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-forks");
    let dmtcp = Dmtcp::new(&scratch);
    let mut command = dmtcp.command("dmtcp_launch");
    command
        .args(["--join-coordinator", "--with-plugin"])
        .arg(bin("libsplitproc.so"))
        .arg(program("forks", "forks", &[]));
    let done = run(&scratch, command).ok();
    assert_eq!(text(&done.stdout), "plain 3 calls 70\n");
    assert!(
        text(&done.stderr).contains("a forked child can't use MPI"),
        "{}",
        text(&done.stderr)
    );
}
