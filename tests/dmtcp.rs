//! Jobs under DMTCP: a coordinator, `dmtcp_launch` with the plugin, and `dmtcp_restart`.

use crate::{bin, mpirun_of, splitproc, text, wait_for, Case, Job, Mpi, Scratch, LIMIT};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

/// A coordinator, and what its job is run with.
pub struct Dmtcp<'a> {
    scratch: &'a Scratch,
    port: String,
    mpi: Mpi,
}

/// Is DMTCP there? If not, says that the test is skipped.
pub fn dmtcp_is_there() -> bool {
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
    /// Starts a coordinator.
    pub fn new(scratch: &'a Scratch) -> Self {
        // A coordinator that ends removes its file, perhaps when the next one is there.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let file = scratch.file(format!("port-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        // That of DMTCP 4.2 dies of SIGPIPE, without us too, where a child ends as a checkpoint begins.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' PIPE; exec dmtcp_coordinator \"$@\"", "sh"]);
        command.args(["--daemon", "-q", "-q", "--coord-port", "0", "--port-file"]);
        command.arg(&file).current_dir(scratch.path());
        // Not a job of ours: what is killed is the program.
        let status = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.is_ok_and(|s| s.success()), "dmtcp_coordinator");
        let port = wait_for("the coordinator's port", LIMIT, || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            text.trim().parse::<u16>().ok()
        });
        Self {
            scratch,
            port: port.to_string(),
            mpi: Mpi::Mpich,
        }
    }

    /// Jobs are started by this MPI's launcher.
    pub fn by(mut self, mpi: Mpi) -> Self {
        self.mpi = mpi;
        self
    }

    /// One of DMTCP's programs, which finds the coordinator.
    pub fn command(&self, program: &str) -> Command {
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

    /// A program under DMTCP with the plugin.
    pub fn launch(&self, case: &Case, halves: &str, options: &[&str]) -> Job {
        let mut app = vec![case.app.to_str().expect("a path")];
        app.extend(case.args.iter().map(String::as_str));
        self.start(case.ranks, &[("SPLITPROC_LH", halves)], options, &app)
    }

    /// The same for any program, with more variables.
    pub fn start(&self, ranks: usize, env: &[(&str, &str)], options: &[&str], app: &[&str]) -> Job {
        self.start_with(&[bin("libsplitproc.so")], ranks, env, options, app)
    }

    /// The same with these plugins; with none it is DMTCP alone.
    pub fn start_with(
        &self,
        plugins: &[PathBuf],
        ranks: usize,
        env: &[(&str, &str)],
        options: &[&str],
        app: &[&str],
    ) -> Job {
        let plugins: Vec<_> = plugins.iter().map(|p| p.display().to_string()).collect();
        let mut command = self.command("dmtcp_launch");
        command
            .envs(env.iter().copied())
            .args(["--join-coordinator", "--ckptdir"])
            .arg(self.scratch.ckpt())
            .args(options);
        if !plugins.is_empty() {
            command.args(["--with-plugin", &plugins.join(":")]);
        }
        command.args(app);
        Job::start(self.scratch, mpirun_of(self.mpi, ranks, command))
    }

    /// A checkpoint of so many processes. `--bcheckpoint` is refused while a restart or a checkpoint goes on, and that
    /// of DMTCP 4.2 does not wait: it is asked for again, and new images are waited for.
    #[track_caller]
    pub fn checkpoint(&self, processes: usize) {
        let before = self.written();
        wait_for("a checkpoint to be possible", LIMIT, || {
            let mut status = self.command("dmtcp_command");
            status.arg("--status");
            let status = text(&status.output().expect("dmtcp_command").stdout);
            let peers = status
                .lines()
                .find_map(|l| l.trim().strip_prefix("NUM_PEERS="));
            let all = peers.and_then(|n| n.parse().ok()) >= Some(processes);
            if !all || !status.contains("RUNNING=yes") {
                return None;
            }
            let mut command = self.command("dmtcp_command");
            command.arg("--bcheckpoint");
            let asked = command.output().expect("dmtcp_command");
            asked.status.success().then_some(())
        });
        wait_for("all of DMTCP's images", LIMIT, || {
            (self.written() != before).then_some(())
        });
    }

    /// When the coordinator has last been told of all images: it writes how to restart them.
    fn written(&self) -> Option<SystemTime> {
        let script = self.scratch.file("dmtcp_restart_script.sh");
        std::fs::metadata(script).ok()?.modified().ok()
    }

    /// The images that there are.
    pub fn images(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.scratch.ckpt()).into_iter().flatten();
        let files = entries.filter_map(|e| Some(e.ok()?.path()));
        let image = |p: &PathBuf| {
            let name = p.file_name().map(|n| n.to_string_lossy().into_owned());
            name.is_some_and(|n| n.starts_with("ckpt_") && n.ends_with(".dmtcp"))
        };
        files.filter(image).collect()
    }

    /// With a launcher by `splitproc dmtcp-restart`, without one by plain `dmtcp_restart`.
    pub fn restart(&self, ranks: usize) -> Job {
        self.restart_with(ranks, &[])
    }

    /// The same with more variables.
    pub fn restart_with(&self, ranks: usize, env: &[(&str, &str)]) -> Job {
        let mut command = if ranks == 0 {
            let mut command = self.command("dmtcp_restart");
            command.arg("--join-coordinator").args(self.images());
            command
        } else {
            let mut command = splitproc(["dmtcp-restart"]);
            command.arg(self.scratch.ckpt());
            self.surround(&mut command);
            command
        };
        command.envs(env.iter().copied());
        Job::start(self.scratch, mpirun_of(self.mpi, ranks, command))
    }
}

impl Drop for Dmtcp<'_> {
    fn drop(&mut self) {
        // A coordinator that is gone is no error.
        let _ = self.command("dmtcp_command").arg("--quit").output();
    }
}

/// An uncompressed image's areas, by start address and name: each stands in a page of its own before its bytes.
pub fn areas(image: &Path) -> Vec<(u64, String)> {
    const NAME: usize = 88;
    let bytes = std::fs::read(image).expect("the image");
    let word = |page: &[u8], i: usize| {
        u64::from_le_bytes(page[8 * i..8 * i + 8].try_into().expect("8 bytes"))
    };
    let area = |page: &[u8]| {
        let (start, end, size) = (word(page, 0), word(page, 1), word(page, 2));
        let name = page[NAME..].split(|b| *b == 0).next().unwrap_or(&[]);
        (start != 0 && size != 0 && start.checked_add(size) == Some(end) && start % 4096 == 0)
            .then(|| (start, text(name)))
    };
    bytes.chunks_exact(4096).filter_map(area).collect()
}
