//! What the host was told: its environment, and what the program looked like when it started.

use crate::resources::Launcher;
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::time::Duration;

/// Variables by which MPI launchers tell a process its rank.
const RANKS: [&str; 4] = [
    "PMI_RANK",
    "PMIX_RANK",
    "OMPI_COMM_WORLD_RANK",
    "SLURM_PROCID",
];

/// The host's settings.
pub struct Settings {
    /// Where checkpoints go; absolute.
    pub dir: PathBuf,
    /// Bound of waits for other ranks.
    pub timeout: Duration,
    /// Time between checkpoints that nobody asks for.
    pub interval: Option<Duration>,
    /// zstd's level; `None`: off.
    pub level: Option<i32>,
    /// Generations to keep.
    pub keep: usize,
    /// Image to restore.
    pub restore: Option<PathBuf>,
    /// An MPI launcher started this process.
    pub mpi: bool,
    /// The rank as the launcher tells it.
    pub env_rank: u32,
    /// The MPI library of the lower half.
    pub mpi_library: Option<String>,
    /// Descriptors that the launcher gave us.
    pub launcher: Launcher,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// When it was started, seconds since 1970.
    pub started: u64,
}

/// A number from the environment.
fn number<T: std::str::FromStr>(name: &str) -> Result<Option<T>> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => {
            let bad = || format!("{name}={text} is not a number");
            text.parse().ok().with_context(bad).map(Some)
        }
        _ => Ok(None),
    }
}

impl Settings {
    /// Reads the environment.
    pub fn from_env(restart: bool) -> Result<Self> {
        let path = |name| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let mpi = RANKS[..3]
            .iter()
            .any(|name| std::env::var_os(name).is_some());
        let mut env_rank = 0;
        for name in RANKS.iter().rev() {
            env_rank = number(name)?.unwrap_or(env_rank);
        }
        let level = match number("SPLITPROC_ZSTD_LEVEL")?.unwrap_or(1) {
            0 => None,
            level => Some(level),
        };
        let dir = path("SPLITPROC_CKPT_DIR").unwrap_or_else(|| PathBuf::from("ckpt"));
        let restore = path("SPLITPROC_RESTORE").filter(|_| restart);
        if restart && restore.is_none() {
            anyhow::bail!("a restart without an image");
        }
        Ok(Settings {
            dir: std::path::absolute(dir)?,
            timeout: Duration::from_secs(number("SPLITPROC_TIMEOUT")?.unwrap_or(60)),
            interval: number("SPLITPROC_INTERVAL")?
                .filter(|s: &f64| *s > 0.0 && s.is_finite())
                .map(Duration::from_secs_f64),
            level,
            keep: number("SPLITPROC_KEEP")?.unwrap_or(2),
            restore,
            mpi,
            env_rank: if mpi { env_rank } else { 0 },
            mpi_library: path("SPLITPROC_MPI_LIB").map(|p| p.to_string_lossy().into_owned()),
            launcher: Launcher::here(),
            argv: program_args(),
            started: super::now(),
        })
    }
}

/// The program's own arguments: what stands behind `--` on the loader's command line.
fn program_args() -> Vec<String> {
    let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let mut args = line
        .split(|b| *b == 0)
        .map(|a| String::from_utf8_lossy(a).into_owned());
    let found = args.by_ref().any(|a| a == "--");
    let mut rest: Vec<String> = args.collect();
    if rest.last().is_some_and(String::is_empty) {
        rest.pop();
    }
    if found {
        rest
    } else {
        Vec::new()
    }
}
