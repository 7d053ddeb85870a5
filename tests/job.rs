//! A running job: the processes of one `splitproc launch` or `splitproc restart`.
//!
//! Each job's processes carry a mark in their environment, so that all of them can be found (and
//! killed) however they are grouped: a launcher puts ranks in sessions of their own. A restarted program
//! shows the environment that it was first started with: it is found by its parent.

use crate::{bin, lines, text, wait_for, Scratch, LIMIT};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const MARK: &str = "E2E_JOB";
static NEXT: AtomicU32 = AtomicU32::new(0);

/// `splitproc` with these arguments.
pub fn splitproc<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(bin("splitproc"));
    command.args(args);
    command
}

/// Whose launcher starts a job, which tells what MPI library its lower halves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mpi {
    /// `mpirun.mpich`.
    Mpich,
    /// `mpirun.openmpi`.
    OpenMpi,
    /// `mpirun.mpich` with ranks that talk over TCP, as those of several machines do: then the rest of a large message is
    /// sent in the sender's calls.
    MpichTcp,
    /// `mpirun.openmpi`, the same.
    OpenMpiTcp,
}

impl Mpi {
    fn open_mpi(self) -> bool {
        matches!(self, Mpi::OpenMpi | Mpi::OpenMpiTcp)
    }
}

/// The same command on so many ranks; 0 means without a launcher.
pub fn mpirun(ranks: usize, command: Command) -> Command {
    mpirun_of(Mpi::Mpich, ranks, command)
}

/// The same by the launcher of this MPI.
pub fn mpirun_of(mpi: Mpi, ranks: usize, command: Command) -> Command {
    if ranks == 0 {
        return command;
    }
    let mut run = Command::new(if mpi.open_mpi() {
        "mpirun.openmpi"
    } else {
        "mpirun.mpich"
    });
    if mpi.open_mpi() {
        // More ranks than processors, and root in a container, are nothing to it that must not be.
        run.args(["--oversubscribe", "--bind-to", "none"]);
        run.env("OMPI_ALLOW_RUN_AS_ROOT", "1");
        run.env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        // Without a munge daemon the launcher, and then each rank, would look for one for two seconds.
        run.env("PMIX_MCA_psec", "native");
    }
    if mpi == Mpi::MpichTcp {
        run.env("UCX_TLS", "tcp,self");
    }
    if mpi == Mpi::OpenMpiTcp {
        run.env("OMPI_MCA_btl", "tcp,self");
    }
    run.arg("-n")
        .arg(ranks.to_string())
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => run.env(name, value),
            None => run.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        run.current_dir(dir);
    }
    run
}

/// What a command left.
#[derive(Debug)]
pub struct Done {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote.
    pub stdout: Vec<u8>,
    /// What it complained about.
    pub stderr: Vec<u8>,
}

impl Done {
    /// Panics unless the command succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(
            self.status.success(),
            "{}\n--- stdout\n{}\n--- stderr\n{}",
            self.status,
            tail(&self.stdout),
            tail(&self.stderr)
        );
        self
    }

    /// Panics unless the command failed and its stderr has each of these words.
    #[track_caller]
    pub fn fails_with(self, words: &[&str]) -> Self {
        let complaint = text(&self.stderr);
        assert!(
            !self.status.success(),
            "it should have failed:\n{complaint}"
        );
        for word in words {
            assert!(
                complaint.to_lowercase().contains(&word.to_lowercase()),
                "no `{word}` in:\n{complaint}"
            );
        }
        self
    }
}

fn tail(bytes: &[u8]) -> String {
    text(&bytes[bytes.len().saturating_sub(4000)..])
}

/// Runs a command to its end, within `LIMIT`.
#[track_caller]
pub fn run(scratch: &Scratch, command: Command) -> Done {
    Job::start(scratch, command).finish()
}

/// The command that launches a program.
fn launching<S: AsRef<OsStr>>(
    scratch: &Scratch,
    options: &[String],
    app: &Path,
    args: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = splitproc(["launch", "--ckpt-dir"]);
    command.arg(scratch.ckpt()).args(options);
    command.arg("--").arg(app).args(args);
    command.current_dir(scratch.path());
    command
}

/// A job that runs.
pub struct Job {
    child: Child,
    mark: String,
    stdout: PathBuf,
    stderr: PathBuf,
    what: String,
}

impl Job {
    /// Starts a command in a session of its own.
    #[track_caller]
    pub fn start(scratch: &Scratch, mut command: Command) -> Self {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}.{n}", std::process::id());
        let stdout = scratch.file(format!("stdout-{n}"));
        let stderr = scratch.file(format!("stderr-{n}"));
        let what = format!("{command:?}");
        command
            .env(MARK, &mark)
            // Ours, and hidden from a program under splitproc as all of its variables are.
            .env_remove("SPLITPROC_MOMENTS")
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).expect("a file for stdout"))
            .stderr(File::create(&stderr).expect("a file for stderr"));
        // SAFETY: setsid is async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                Ok(())
            });
        }
        let child = command.spawn().unwrap_or_else(|e| panic!("{what}: {e}"));
        Self {
            child,
            mark,
            stdout,
            stderr,
            what,
        }
    }

    /// `splitproc launch` of a program on so many ranks (0: no launcher).
    #[track_caller]
    pub fn launch<S: AsRef<OsStr>>(
        scratch: &Scratch,
        ranks: usize,
        app: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::launch_with(scratch, ranks, &[], app, args)
    }

    /// The same with more options for `splitproc launch`.
    #[track_caller]
    pub fn launch_with<S: AsRef<OsStr>>(
        scratch: &Scratch,
        ranks: usize,
        options: &[String],
        app: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::launch_over_with(scratch, (Mpi::Mpich, ranks), options, app, args)
    }

    /// The same, without options, by the launcher of this MPI.
    #[track_caller]
    pub fn launch_over<S: AsRef<OsStr>>(
        scratch: &Scratch,
        by: (Mpi, usize),
        app: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::launch_over_with(scratch, by, &[], app, args)
    }

    /// The same with them.
    #[track_caller]
    pub fn launch_over_with<S: AsRef<OsStr>>(
        scratch: &Scratch,
        (mpi, ranks): (Mpi, usize),
        options: &[String],
        app: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::start(
            scratch,
            mpirun_of(mpi, ranks, launching(scratch, options, app, args)),
        )
    }

    /// `splitproc restart` of the scratch folder's newest checkpoint.
    #[track_caller]
    pub fn restart(scratch: &Scratch, ranks: usize) -> Self {
        Self::restart_over(scratch, Mpi::Mpich, ranks)
    }

    /// The same by the launcher of this MPI.
    #[track_caller]
    pub fn restart_over(scratch: &Scratch, mpi: Mpi, ranks: usize) -> Self {
        let mut command = splitproc(["restart"]);
        command.arg(scratch.ckpt());
        Self::start(scratch, mpirun_of(mpi, ranks, command))
    }

    /// `splitproc checkpoint --wait`, which must succeed. A program may be running for a moment before its job can
    /// be found: that is waited for.
    #[track_caller]
    pub fn checkpoint(&mut self, scratch: &Scratch) {
        let done = wait_for("the job to be found", LIMIT, || {
            let ended = self.ended();
            let done = self.try_checkpoint(scratch);
            let early = text(&done.stderr).contains("no job runs");
            (ended || !early).then_some(done)
        });
        if !done.status.success() {
            panic!(
                "checkpoint: {}\n{}\n--- the job's stderr\n{}",
                done.status,
                tail(&done.stderr),
                tail(&self.stderr())
            );
        }
    }

    /// The checkpoint of a restarted job: until it is up, nobody answers.
    #[track_caller]
    pub fn checkpoint_once_up(&mut self, scratch: &Scratch) {
        assert!(self.is_checkpointed_once_up(scratch), "it is through");
    }

    /// The same, unless the program is through before.
    #[track_caller]
    pub fn is_checkpointed_once_up(&mut self, scratch: &Scratch) -> bool {
        wait_for("the restarted program's checkpoint", LIMIT, || {
            let ended = self.ended();
            let done = self.try_checkpoint(scratch);
            let why = text(&done.stderr);
            if done.status.success() {
                return Some(true);
            }
            if ended || why.contains("MPI_Finalize") {
                return Some(false);
            }
            assert!(why.contains("does not answer"), "{why}");
            None
        })
    }

    /// `splitproc checkpoint --wait`, however it ends.
    #[track_caller]
    pub fn try_checkpoint(&mut self, scratch: &Scratch) -> Done {
        let mut command = splitproc(["checkpoint", "--wait", "--ckpt-dir"]);
        command.arg(scratch.ckpt());
        run(scratch, command)
    }

    /// Has it ended?
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }

    /// What the job has written so far.
    pub fn stdout(&self) -> Vec<u8> {
        std::fs::read(&self.stdout).unwrap_or_default()
    }

    /// What the job has complained about so far.
    pub fn stderr(&self) -> Vec<u8> {
        std::fs::read(&self.stderr).unwrap_or_default()
    }

    /// Waits until the job has written so many lines; false if it ended before.
    #[track_caller]
    pub fn reaches(&mut self, count: usize) -> bool {
        let deadline = Instant::now() + LIMIT;
        loop {
            let ended = self.ended();
            if lines(&self.stdout()) >= count {
                return true;
            }
            if ended {
                return false;
            }
            assert!(
                Instant::now() < deadline,
                "{} wrote {} lines, not {count}, in {LIMIT:?}\n{}",
                self.what,
                lines(&self.stdout()),
                tail(&self.stderr())
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the job has written so many lines, and panics if it ends before.
    #[track_caller]
    pub fn must_reach(&mut self, count: usize) {
        if !self.reaches(count) {
            panic!(
                "{} ended early: {:?}\n--- stdout\n{}\n--- stderr\n{}",
                self.what,
                self.child.try_wait(),
                tail(&self.stdout()),
                tail(&self.stderr())
            );
        }
    }

    /// Waits for the job's end.
    #[track_caller]
    pub fn finish(mut self) -> Done {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return Done {
                    status,
                    stdout: self.stdout(),
                    stderr: self.stderr(),
                };
            }
            assert!(
                Instant::now() < deadline,
                "{} did not end in {LIMIT:?}\n--- stdout\n{}\n--- stderr\n{}",
                self.what,
                tail(&self.stdout()),
                tail(&self.stderr())
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Pids of all the job's processes, the launcher's too.
    pub fn processes(&self) -> Vec<i32> {
        let wanted = format!("{MARK}={}", self.mark);
        let marked = |pid: i32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|&b| b == 0)
                .any(|v| v == wanted.as_bytes())
        };
        let own = std::process::id() as i32;
        let is_child = |pid, parent| pid == self.pid() && parent == own;
        let (mut found, mut others): (Vec<_>, Vec<_>) = living()
            .into_iter()
            .partition(|&(pid, parent)| marked(pid) || is_child(pid, parent));
        // Their children, and those of these.
        loop {
            let known: Vec<i32> = found.iter().map(|p| p.0).collect();
            let (more, rest): (Vec<_>, Vec<_>) =
                others.into_iter().partition(|p| known.contains(&p.1));
            if more.is_empty() {
                return known;
            }
            found.extend(more);
            others = rest;
        }
    }

    /// Pid of the process that was started: the launcher's, or the only rank's.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Pids of the processes that the application runs in.
    pub fn ranks(&self) -> Vec<i32> {
        let loader = |pid: &i32| {
            std::fs::read_link(format!("/proc/{pid}/exe"))
                .is_ok_and(|exe| exe.file_name() == Some(OsStr::new("lh-loader")))
        };
        self.processes().into_iter().filter(loader).collect()
    }

    /// SIGKILL to every process of the job, until none is left; what it had written is returned.
    pub fn kill(mut self) -> Vec<u8> {
        self.kill_all();
        self.stdout()
    }

    fn kill_all(&mut self) {
        // Those whose parents die are known no more.
        let mut left = self.processes();
        let _ = self.child.kill();
        let _ = self.child.wait();
        wait_for("the job's processes to end", LIMIT, || {
            let all = living();
            left.retain(|pid| all.iter().any(|p| p.0 == *pid));
            left.extend(self.processes());
            for &pid in &left {
                signal(pid, libc::SIGKILL);
            }
            left.is_empty().then_some(())
        });
    }
}

/// All processes that have not ended: pid and parent.
fn living() -> Vec<(i32, i32)> {
    let stat = |pid: i32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = text.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then_some((pid, parent))
    };
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter_map(stat).collect()
}

/// Sends a signal.
pub(crate) fn signal(pid: i32, number: i32) {
    // SAFETY: kill has no memory effects.
    unsafe { libc::kill(pid, number) };
}

impl Drop for Job {
    fn drop(&mut self) {
        self.kill_all();
    }
}
