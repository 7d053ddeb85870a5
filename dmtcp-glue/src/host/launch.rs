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

/// And the number of ranks.
const SIZES: [&str; 3] = ["PMI_SIZE", "PMIX_SIZE", "OMPI_COMM_WORLD_SIZE"];

/// The host's settings.
pub struct Settings {
    /// Where checkpoints go; absolute.
    pub dir: PathBuf,
    /// Bound of waits for other ranks.
    pub timeout: Duration,
    /// Time between checkpoints that nobody asks for.
    pub interval: Option<Duration>,
    /// Signal that asks for a checkpoint; 0: none.
    pub signal: u32,
    /// SIGTERM asks for a checkpoint and the program's end.
    pub on_term: bool,
    /// zstd's level; `None`: off.
    pub level: Option<i32>,
    /// Generations to keep.
    pub keep: usize,
    /// Image to restore.
    pub restore: Option<PathBuf>,
    /// An MPI launcher started this process.
    pub mpi: bool,
    /// There is no other rank, as far as the launcher tells: the job needs no MPI to know itself.
    pub alone: bool,
    /// The rank as the launcher tells it.
    pub env_rank: u32,
    /// The other lower halves: each one's name and the library that it opens.
    pub halves: Vec<(String, String)>,
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
        let mut size: Option<u32> = None;
        for name in SIZES.iter().rev() {
            size = number(name)?.or(size);
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
        let (halves, argv) = command_line();
        Ok(Settings {
            dir: std::path::absolute(dir)?,
            timeout: Duration::from_secs(number("SPLITPROC_TIMEOUT")?.unwrap_or(60)),
            interval: number("SPLITPROC_INTERVAL")?
                .filter(|s: &f64| *s > 0.0 && s.is_finite())
                .map(Duration::from_secs_f64),
            signal: number("SPLITPROC_CKPT_SIGNAL")?.unwrap_or(0),
            on_term: number("SPLITPROC_ON_TERM")? == Some(1),
            level,
            keep: number("SPLITPROC_KEEP")?.unwrap_or(2),
            restore,
            mpi,
            alone: !mpi || size == Some(1),
            env_rank: if mpi { env_rank } else { 0 },
            launcher: Launcher::here(),
            halves,
            argv,
            started: super::now(),
        })
    }
}

impl Settings {
    /// The MPI library, if there is an MPI half.
    pub fn mpi_library(&self) -> Option<String> {
        let mpi = self.halves.iter().find(|(name, _)| name == "mpi");
        mpi.map(|(_, library)| library.clone())
    }

    /// The device of the CUDA half, if there is one.
    pub fn cuda_device(&self) -> Option<String> {
        let cuda = self.halves.iter().find(|(name, _)| name == "cuda");
        cuda.map(|(_, library)| match library.ends_with("/libcuda_cpu.so") {
            true => "cpu".into(),
            false => "gpu".into(),
        })
    }

    /// The halves that the user asked for by `--half`.
    pub fn asked_halves(&self) -> Vec<(String, String)> {
        let asked = self
            .halves
            .iter()
            .filter(|(name, _)| name != "mpi" && name != "cuda");
        asked.cloned().collect()
    }
}

/// The halves and the program's own arguments, from the loader's command line.
fn command_line() -> (Vec<(String, String)>, Vec<String>) {
    let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    let all: Vec<String> = line
        .split(|b| *b == 0)
        .map(|a| String::from_utf8_lossy(a).into_owned())
        .collect();
    let end = all.iter().position(|a| a == "--").unwrap_or(all.len());
    (halves(&all[..end]), all.into_iter().skip(end + 1).collect())
}

/// Reads each `--half NAME PROGRAM --lib LIBRARY`.
fn halves(options: &[String]) -> Vec<(String, String)> {
    options
        .windows(5)
        .filter(|w| w[0] == "--half" && w[3] == "--lib")
        .map(|w| (w[1].clone(), w[4].clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_with_libraries_are_noted() {
        let line = "l --half host /h --half mpi /m --lib /x --half b /m --lib y --hole 1 2";
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let want = [("mpi", "/x"), ("b", "y")].map(|(a, b)| (a.into(), b.into()));
        assert_eq!(halves(&words), want);
    }
}
