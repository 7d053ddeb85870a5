//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use lh_loader::lhinfo;
use std::ffi::OsString;
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  The program's own exit code passes through. splitproc's are:
    1  the command failed; the message says why
    2  the command line is wrong
   70  the program called an MPI function that is not supported yet
   85  the program was stopped after a checkpoint, as asked (--stop, --on-term)
  126  the program was found but cannot be run
  127  the program was not found";

/// Checkpoints and restarts programs: threaded ones and MPI jobs, unmodified.
#[derive(Debug, Parser)]
#[command(name = "splitproc", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a program so that it can be checkpointed
    #[command(after_help = EXIT_CODES)]
    Launch(Launch),
    /// Take a checkpoint of a running job
    Checkpoint(Checkpoint),
    /// Restart a job from a checkpoint, under the same number of ranks
    #[command(after_help = EXIT_CODES)]
    Restart(Restart),
    /// Restart one rank of a job from the images that DMTCP wrote: `mpirun -n N splitproc dmtcp-restart DIR`
    DmtcpRestart(DmtcpRestart),
    /// Show the jobs of checkpoint directories and their last checkpoints
    Status(Status),
    /// Show what is in a checkpoint or an image
    Inspect(Inspect),
    /// Check every checksum of a checkpoint directory, or of one image
    Verify(Verify),
    /// Check this machine, and say what to fix
    Doctor(Doctor),
    /// Print a shell's completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How checkpoints are taken; the same for a launch and a restart.
#[derive(Args, Clone, Debug)]
pub struct Taking {
    /// Take a checkpoint every so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub interval: Option<u64>,
    /// Take a checkpoint when this signal comes to a rank (USR1 also through mpirun.mpich); the program does not see it
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    pub ckpt_signal: Option<Signal>,
    /// On SIGTERM, take a checkpoint and exit with 85; if none can be taken the program gets the signal
    #[arg(long)]
    pub on_term: bool,
    /// The MPI library of the lower half: auto (whichever launcher started us, else whichever is there), mpich, openmpi, none, or a path
    #[arg(
        long,
        value_name = "auto|mpich|openmpi|none|PATH",
        default_value = "auto"
    )]
    pub mpi: String,
    /// The CUDA device of the lower half: auto (none for a program that is not linked with CUDA; else a GPU if there is one, else
    /// the processors), gpu, cpu, none. A program that opens CUDA itself later needs gpu or cpu
    #[arg(long, value_enum, default_value_t = Cuda::Auto)]
    pub cuda: Cuda,
    /// Compression of images: a zstd level, or off
    #[arg(long, value_name = "LEVEL|off", default_value = "1", value_parser = zstd_level, allow_hyphen_values = true)]
    pub zstd: String,
    /// Keep the newest N checkpoints; 0 keeps all
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub keep: u32,
    /// Give up a checkpoint that the ranks have not agreed on, or a CUDA stream or a call of MPI (60 at most) keeps waiting, after
    /// so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
    /// What to tell on stderr
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = Log::Warn)]
    pub log: Log,
    /// How threads cross into lower halves; a restart does as the launch did if it is not told
    #[arg(long, value_enum, env = "SPLITPROC_CROSSING")]
    pub crossing: Option<Crossing>,
}

/// `splitproc dmtcp-restart`.
#[derive(Args, Debug)]
pub struct DmtcpRestart {
    /// The directory with DMTCP's images (dmtcp_launch --ckptdir)
    pub dir: PathBuf,
    /// Options for dmtcp_restart; for more than one rank --join-coordinator, if none of them names a coordinator
    #[arg(last = true, value_name = "OPTION")]
    pub options: Vec<OsString>,
}

/// A signal's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(pub i32);

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Log {
    /// Only what ends the program
    Error,
    /// What the user should know
    Warn,
    /// Each checkpoint
    Info,
    /// Everything, with what could not be patched
    Debug,
}

impl Log {
    /// As the loader and the halves call it.
    pub fn name(self) -> &'static str {
        match self {
            Log::Error => "error",
            Log::Warn => "warn",
            Log::Info => "info",
            Log::Debug => "debug",
        }
    }
}

/// What CUDA programs run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Cuda {
    /// What is there, if the program wants it
    #[default]
    Auto,
    /// The machine's GPU, through its own driver
    Gpu,
    /// The processors
    Cpu,
    /// Nothing
    None,
}

impl Cuda {
    /// As the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Cuda::Auto => "auto",
            Cuda::Gpu => "gpu",
            Cuda::Cpu => "cpu",
            Cuda::None => "none",
        }
    }
}

/// The ways of crossing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Crossing {
    /// The first that works, for each half
    #[default]
    Auto,
    /// With one FS base for all halves: costs nothing; needs room in the program's thread-local storage and one build of glibc
    Shared,
    /// On the thread control block of one of the half's own threads: always works
    Borrowed,
    /// The same, by system calls, as on a machine without FSGSBASE
    BorrowedPrctl,
}

impl Crossing {
    /// As the loader calls it.
    pub fn name(self) -> &'static str {
        lhinfo::CROSSINGS[self as usize]
    }
}

/// A lower half that the user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Half {
    /// What the program calls it.
    pub name: String,
    /// What it opens: a path, or a name for `dlopen` to find.
    pub library: String,
}

/// A process and its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The process.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
}

/// `splitproc launch`
#[derive(Args, Debug)]
pub struct Launch {
    /// Where checkpoints go
    #[arg(long, value_name = "DIR", default_value = "./splitproc-ckpt")]
    pub ckpt_dir: PathBuf,
    /// Load LIBRARY in a lower half of its own, which the program calls by NAME (see docs/halves.md); may be repeated
    #[arg(long, value_name = "NAME=LIBRARY", value_parser = half)]
    pub half: Vec<Half>,
    #[command(flatten)]
    pub taking: Taking,
    /// The process is one of ours, whose program executes another in its place: PROGRAM is a path, and its
    /// arguments begin with `argv[0]`
    #[arg(long, hide = true)]
    pub again: bool,
    /// With --again: a launcher started the process
    #[arg(long, hide = true)]
    pub ranked: bool,
    /// With --again: the process and its parent as the program knows them, where the kernel has other numbers
    #[arg(long, hide = true, value_name = "PID,PARENT", value_parser = ids)]
    pub known_as: Option<Ids>,
    /// With --again: the hard limit of open files that the program has set
    #[arg(long, hide = true, value_name = "N")]
    pub open_files: Option<u64>,
    /// The program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PROGRAM"
    )]
    pub program: Vec<OsString>,
}

/// `splitproc checkpoint`
#[derive(Args, Debug)]
pub struct Checkpoint {
    /// The job: its checkpoint directory
    #[arg(value_name = "DIR", conflicts_with = "ckpt_dir")]
    pub job: Option<PathBuf>,
    /// The job's checkpoint directory
    #[arg(long, value_name = "DIR", default_value = "./splitproc-ckpt")]
    pub ckpt_dir: PathBuf,
    /// Wait until the checkpoint is on disk, and print what it is
    #[arg(long)]
    pub wait: bool,
    /// End the program once the checkpoint is on disk; it exits with 85
    #[arg(long)]
    pub stop: bool,
    /// With --wait: give up after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
}

/// `splitproc restart`
#[derive(Args, Debug)]
pub struct Restart {
    /// The checkpoint directory
    #[arg(value_name = "DIR", default_value = "./splitproc-ckpt")]
    pub dir: PathBuf,
    /// Restart from this generation instead of the newest complete one
    #[arg(long, value_name = "G")]
    pub generation: Option<u64>,
    /// Where new checkpoints go, if not to the same directory: it may be read-only then
    #[arg(long, value_name = "DIR")]
    pub ckpt_dir: Option<PathBuf>,
    /// Restart although the program or a library has changed or gone since: what runs is the code that was in memory. A file
    /// that the program has mapped, shared and read-only, is read as it is now
    #[arg(long)]
    pub accept_changed: bool,
    #[command(flatten)]
    pub taking: Taking,
}

/// `splitproc status`
#[derive(Args, Debug)]
pub struct Status {
    /// Checkpoint directories
    #[arg(value_name = "DIR", default_value = "./splitproc-ckpt")]
    pub dirs: Vec<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `splitproc inspect`
#[derive(Args, Debug)]
pub struct Inspect {
    /// A checkpoint directory, or an image
    #[arg(value_name = "DIR|IMAGE", default_value = "./splitproc-ckpt")]
    pub path: PathBuf,
    /// This generation instead of the newest complete one
    #[arg(long, value_name = "G")]
    pub generation: Option<u64>,
    /// List every memory region
    #[arg(long)]
    pub regions: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `splitproc verify`
#[derive(Args, Debug)]
pub struct Verify {
    /// A checkpoint directory, or an image
    #[arg(value_name = "DIR|IMAGE", default_value = "./splitproc-ckpt")]
    pub path: PathBuf,
    /// Only this generation
    #[arg(long, value_name = "G")]
    pub generation: Option<u64>,
}

/// `splitproc doctor`
#[derive(Args, Debug)]
pub struct Doctor {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Reads a value of `--half`.
fn half(text: &str) -> Result<Half, String> {
    let (name, library) = restart::half::parse(text)?;
    Ok(Half { name, library })
}

/// Reads a value of `--known-as`.
fn ids(text: &str) -> Result<Ids, String> {
    let numbers = text.split_once(',').and_then(|(pid, parent)| {
        let (pid, parent) = (pid.parse().ok()?, parent.parse().ok()?);
        Some(Ids { pid, parent })
    });
    numbers.ok_or_else(|| "say PID,PARENT".into())
}

/// Reads a value of `--ckpt-signal`: a name with or without SIG, or a number.
fn signal(text: &str) -> Result<Signal, String> {
    const NAMES: [(&str, i32); 9] = [
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("ALRM", libc::SIGALRM),
        ("URG", libc::SIGURG),
        ("WINCH", libc::SIGWINCH),
        ("PWR", libc::SIGPWR),
    ];
    let bare = text.strip_prefix("SIG").unwrap_or(text);
    let number = text.parse().ok();
    let found = NAMES
        .iter()
        .find(|(name, n)| *name == bare || Some(*n) == number);
    // Real-time signals but libc's own two and the one that stops threads.
    let real_time = number.filter(|n| (34..=62).contains(n));
    match found.map(|(_, n)| *n).or(real_time) {
        Some(n) => Ok(Signal(n)),
        None => {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            Err(format!(
                "say one of {}, or a number from 34 to 62",
                names.join(", ")
            ))
        }
    }
}

/// Checks a value of `--zstd`.
fn zstd_level(text: &str) -> Result<String, String> {
    let range = zstd::compression_level_range();
    match text.parse::<i32>() {
        Ok(level) if level != 0 && range.contains(&level) => Ok(text.into()),
        Err(_) if text == "off" => Ok(text.into()),
        _ => Err(format!("say off, or a level from -50 to {}", range.end())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["splitproc"], line].concat())
    }

    #[test]
    fn everything_after_the_program_is_the_programs() {
        for line in [
            &["launch", "--", "prog", "--keep", "9"][..],
            &["launch", "prog", "--keep", "9"],
        ] {
            let Command::Launch(l) = parse(line).unwrap().command else {
                panic!()
            };
            assert_eq!(l.program, ["prog", "--keep", "9"]);
            assert_eq!(
                (l.taking.keep, l.ckpt_dir.to_str()),
                (2, Some("./splitproc-ckpt"))
            );
        }
        assert!(parse(&["launch"]).is_err());
    }

    #[test]
    fn crossings_are_called_as_the_loader_calls_them() {
        for (name, number) in lhinfo::CROSSINGS.iter().zip(0..) {
            let way = Crossing::from_str(name, false).unwrap();
            assert_eq!((way.name(), way as u32), (*name, number));
        }
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [("USR1", 10), ("SIGUSR2", 12), ("12", 12), ("40", 40)] {
            assert_eq!(signal(text), Ok(Signal(number)), "{text}");
        }
        for bad in ["TERM", "KILL", "9", "15", "32", "63", "64", "usr", ""] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn compression_is_a_level_or_off() {
        for good in ["off", "1", "19", "-5"] {
            assert!(
                parse(&["launch", "--zstd", good, "--", "p"]).is_ok(),
                "{good}"
            );
        }
        for bad in ["0", "fast", "99", ""] {
            assert!(
                parse(&["launch", "--zstd", bad, "--", "p"]).is_err(),
                "{bad}"
            );
        }
    }
}
