//! Helpers for the end-to-end tests: real programs are built, launched, checkpointed, killed and
//! restarted, through the `splitproc` command alone.
//!
//! Every wait has a deadline, and a wait is for a condition, never for a time to pass.

mod case;
mod cuda;
mod dmtcp;
mod job;
mod programs;

pub use case::Case;
pub use cuda::{
    clang_program, cpu, cuda_example, cuda_program, cuda_program_of_both, cuda_runtime_program,
    limit_memory, nvcc, nvcc_program, nvcc_program_of_parts, program_survives, restarted, survives,
};
pub use dmtcp::{areas, dmtcp_is_there, Dmtcp};
pub use job::{mpirun, mpirun_of, run, splitproc, Done, Job, Mpi};
pub use programs::{bin, built_by, example, half_libraries, program, repo, STACK_PROTECTORS};

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest that anything in these tests may take.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Waits until `condition` holds; panics with `what` when it does not come true in time.
#[track_caller]
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

static TURN: Mutex<()> = Mutex::new(());

thread_local! {
    /// Has this test the turn?
    static MINE: Cell<bool> = const { Cell::new(false) };
}

/// A test's own folder, and its turn: MPI ranks poll, so that tests side by side only slow each
/// other down. Kept, and named, when the test fails.
pub struct Scratch {
    path: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Scratch {
    /// A new, empty folder.
    pub fn new(name: &str) -> Self {
        assert!(!MINE.replace(true), "a test has one folder at a time");
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let path = programs::work().join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self { path, _turn: turn }
    }

    /// A path in the folder.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The checkpoint folder that `Job::launch` uses.
    pub fn ckpt(&self) -> PathBuf {
        self.file("ckpt")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        MINE.set(false);
        if std::thread::panicking() {
            eprintln!("the test's files are kept in {}", self.path.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Random moments from a seed that is printed, so that a failure can be repeated
/// (`SPLITPROC_SEED=N`).
pub struct Moments(u64);

impl Moments {
    /// Seeded from `SPLITPROC_SEED`, or the clock.
    pub fn new() -> Self {
        let seed = match std::env::var("SPLITPROC_SEED") {
            Ok(seed) => seed.parse().expect("SPLITPROC_SEED is a number"),
            Err(_) => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(1, |d| d.as_micros() as u64 % 1_000_000_007),
        };
        println!("SPLITPROC_SEED={seed}");
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number in `[from, to)`.
    pub fn pick(&mut self, from: usize, to: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        from + (self.0 >> 11) as usize % (to - from).max(1)
    }
}

impl Default for Moments {
    fn default() -> Self {
        Self::new()
    }
}

/// How many random moments to try: `SPLITPROC_MOMENTS`, or 3.
pub fn moments() -> usize {
    std::env::var("SPLITPROC_MOMENTS")
        .map_or(3, |n| n.parse().expect("SPLITPROC_MOMENTS is a number"))
}

/// Number of lines in a text.
pub fn lines(text: &[u8]) -> usize {
    text.iter().filter(|&&b| b == b'\n').count()
}

/// The bytes as text for a message.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The newest generation's folder in a checkpoint folder, complete or not.
pub fn newest_generation(ckpt: &Path) -> Option<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(ckpt)
        .ok()?
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| {
            p.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with("gen-"))
        })
        .collect();
    all.sort();
    all.pop()
}
