//! `splitproc launch`: finds and checks everything, then becomes the loader.

use super::cli::{Half, Launch, Taking};
use super::loader::{Parts, Start};
use super::program::Program;
use super::{cuda, elf, mpi, program, replace, room, Failure, Outcome};
use nix::sys::resource::{getrlimit, setrlimit, Resource};
use restart::launcher::Launcher;
use restart::libraries::Family;
use restart::{manifest, mpich};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Most words of arguments and environment that the loader puts on the program's stack.
const MOST_WORDS: usize = 60_000;

/// Runs the command; returns only when it fails.
pub fn run(args: &Launch) -> Outcome {
    if args.again {
        return again(args);
    }
    start(args, &program::find(&args.program)?)
}

/// The program of one of our processes executes another in its place. It runs, whatever we think of it.
fn again(args: &Launch) -> Outcome {
    let Some((path, argv)) = args.program.split_first() else {
        return Err(Failure::new(2, "--again: no program was named"));
    };
    let path = Path::new(path);
    if let Some(hard) = args.open_files {
        limit_open_files(hard);
    }
    if let Err(failure) = go_on(args, path, argv) {
        eprintln!(
            "splitproc: {:#}; it is executed without splitproc: it can't be checkpointed",
            failure.error
        );
    }
    let error = replace::exec(path, argv, &replace::environment());
    Err(Failure::new(126, format!("{}: {error}", path.display())))
}

/// Lowers the hard limit of open files.
fn limit_open_files(hard: u64) {
    if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // A limit that is not lowered is the program's to raise.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard);
    }
}

/// Takes the program under splitproc; fails if that can't be. Returns without failure if it needs no help: it is
/// the `splitproc` command itself.
fn go_on(args: &Launch, path: &Path, argv: &[OsString]) -> Outcome {
    let program = program::at(path, argv)?;
    if Parts::beside_us()?.splitproc == program.exe {
        return Ok(());
    }
    let refused = |why: &str| Err(Failure::new(126, format!("{}: {why}", path.display())));
    if args.ranked && mpi::launcher() == Launcher::None {
        return refused("has not got the MPI launcher's variables in its environment");
    }
    if argv.len() + replace::environment().len() > MOST_WORDS {
        return refused("has too many arguments and variables");
    }
    start(args, &program)
}

/// Launches a program; returns only when that fails.
fn start(args: &Launch, program: &Program) -> Outcome {
    let parts = Parts::beside_us()?;
    parts.check()?;
    let needs_mpi = program.elf.needed.iter().any(|n| mpich::needed_by(n));
    let library = mpi::library(&args.taking.mpi, needs_mpi)?;
    // A runtime that is linked statically opens the driver's library itself: it is to find the front, which says what to do.
    let needs_cuda =
        program.elf.needed.iter().any(|n| cuda::needed_by(n)) || program.elf.device_code;
    let device = cuda::device(args.taking.cuda, needs_cuda)?;
    let count = usize::from(library.is_some()) + usize::from(device.is_some()) + args.half.len();
    room::for_launch(count)?;
    let (tls, at) = elf::plugin(&parts.plugin).map_err(|e| {
        let what = "build splitproc again (cargo build --release --workspace)";
        Failure::new(1, format!("{}: {e}; {what}", parts.plugin.display()))
    })?;
    let ckpt_dir = checkpoint_dir(&args.ckpt_dir)?;
    let start = Start {
        ckpt_dir: &ckpt_dir,
        taking: &args.taking,
        mpi_library: library.as_deref(),
        cuda: device,
        halves: &halves(&args.half)?,
        hole: elf::hole(program.elf.tls, tls, at),
        crossing: args.taking.crossing.unwrap_or_default(),
        restore: None,
        exe: &program.exe,
        argv: &program.argv,
        execfn: Some(&program.execfn),
        known_as: args.known_as,
    };
    Err(start.exec(&parts))
}

/// The halves asked for: names told apart, and libraries that a restart finds from another directory.
fn halves(wished: &[Half]) -> Result<Vec<(String, String)>, Failure> {
    let mut all: Vec<(String, String)> = Vec::new();
    for Half { name, library } in wished {
        if all.iter().any(|(n, _)| n == name) {
            let text = format!("--half {name}: there are two of this name; give each its own");
            return Err(Failure::new(2, text));
        }
        let mut library = library.clone();
        if library.contains('/') {
            let path = fs::canonicalize(&library).map_err(|e| {
                let text = format!("--half {name}: {library}: {e}; name a library that is there");
                Failure::new(1, text)
            })?;
            library = path.to_string_lossy().into_owned();
        }
        all.push((name.clone(), library));
    }
    Ok(all)
}

/// Makes the directory where checkpoints go, and checks that they can.
pub fn checkpoint_dir(dir: &Path) -> Result<PathBuf, Failure> {
    manifest::make_dir(dir).map_err(|e| Failure::new(1, format!("{e}; use another --ckpt-dir")))?;
    let dir = fs::canonicalize(dir)
        .map_err(|e| Failure::new(1, format!("{}: {e}; use another --ckpt-dir", dir.display())))?;
    writable(&dir)?;
    Ok(dir)
}

/// Refuses a directory that we may not write to.
fn writable(dir: &Path) -> Result<(), Failure> {
    use std::os::unix::ffi::OsStrExt;
    let refused = |why: String| {
        Failure::new(
            1,
            format!("{}: {why}; use another --ckpt-dir", dir.display()),
        )
    };
    if !dir.is_dir() {
        return Err(refused("not a directory".into()));
    }
    let name =
        std::ffi::CString::new(dir.as_os_str().as_bytes()).map_err(|e| refused(e.to_string()))?;
    // SAFETY: `name` is a NUL-terminated string that lives during the call.
    if unsafe { libc::access(name.as_ptr(), libc::W_OK | libc::X_OK) } != 0 {
        return Err(refused(format!(
            "cannot write to it: {}",
            std::io::Error::last_os_error()
        )));
    }
    Ok(())
}

/// The MPI library for a restart: as wished, else like the one that the job had.
pub fn library_for_restart(taking: &Taking, had: Option<&str>) -> Result<Option<PathBuf>, Failure> {
    let Some(had) = had else { return Ok(None) };
    match taking.mpi.as_str() {
        "none" => Err(Failure::new(
            1,
            "--mpi none: this job was checkpointed with MPI and cannot go on without it",
        )),
        "auto" => {
            let had = Path::new(had);
            // Without a launcher, what the job had is as good as any.
            let suits = had.is_file()
                && match mpi::launcher() {
                    Launcher::OpenMpi | Launcher::Pmix => Family::of(had) == Some(Family::OpenMpi),
                    Launcher::Mpich => Family::of(had) != Some(Family::OpenMpi),
                    Launcher::None => true,
                };
            if suits && mpi::launcher() == Launcher::None {
                return Ok(Some(had.into()));
            }
            match mpi::library("auto", true) {
                Err(_) if suits => Ok(Some(had.into())),
                found => found,
            }
        }
        wish => mpi::library(wish, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_directory_is_made_and_checked() {
        use std::os::unix::fs::PermissionsExt;
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("a/b");
        assert_eq!(
            checkpoint_dir(&dir).unwrap(),
            fs::canonicalize(&dir).unwrap()
        );
        assert_eq!(
            fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
            0o700
        );
        fs::write(tmp.path().join("f"), "").unwrap();
        let error = checkpoint_dir(&tmp.path().join("f"))
            .unwrap_err()
            .error
            .to_string();
        assert!(error.contains("--ckpt-dir"), "{error}");
    }
}
