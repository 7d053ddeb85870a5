//! Which MPI library the lower half opens.

use super::Failure;
use restart::launcher::{self, Launcher};
use restart::libraries;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The launcher that started us.
pub fn launcher() -> Launcher {
    Launcher::of(|name| std::env::var_os(name).is_some())
}

/// The library for `--mpi`; `None`: the process has no MPI half. `needed` says that the program wants MPI.
pub fn library(wish: &str, needed: bool) -> Result<Option<PathBuf>, Failure> {
    match wish {
        "none" => Ok(None),
        "mpich" => mpich().map(Some),
        "openmpi" => open_mpi().map(Some),
        "auto" => match launcher() {
            Launcher::None if !needed => Ok(None),
            launcher => fitting(launcher).map(Some),
        },
        path => {
            let library = Path::new(path);
            if !path.contains('/') {
                return Err(Failure::new(
                    1,
                    format!("--mpi {path}: say auto, mpich, openmpi, none, or a library's path"),
                ));
            }
            let library = std::fs::canonicalize(library)
                .map_err(|e| Failure::new(1, format!("--mpi {path}: {e}; name an MPI library, like libmpich.so.12 or libmpi.so.40")))?;
            check(&library).map_err(|e| Failure::new(1, format!("--mpi {path}: {e}")))?;
            Ok(Some(library))
        }
    }
}

/// Refuses what is not an MPI library.
fn check(library: &Path) -> Result<(), String> {
    super::elf::Elf::read(library)?;
    if !super::elf::exports(library, "PMPI_Init_thread")? {
        let text = "it is not an MPI library; name one, like libmpich.so.12 or libmpi.so.40";
        return Err(text.into());
    }
    Ok(())
}

/// The library for a launcher's jobs, or how to get it.
fn fitting(launcher: Launcher) -> Result<PathBuf, Failure> {
    let found = libraries::fitting(launcher, &libraries::library_path(), "--mpi PATH");
    found.map_err(|why| Failure::new(1, why))
}

/// MPICH's library, or one of the standard's ABI, which MPICH's launcher starts too; or how to get it.
pub fn mpich() -> Result<PathBuf, Failure> {
    fitting(Launcher::Mpich)
}

/// Open MPI's library, or how to get it.
pub fn open_mpi() -> Result<PathBuf, Failure> {
    fitting(Launcher::OpenMpi)
}

/// Has the launcher end the other ranks: they would wait in MPI_Init for this one for ever.
pub fn abort_job() {
    // A launcher that is gone ends nobody; one that is there ends this process too, and would complain if it
    // had ended before.
    if launcher::abort_job(1, Duration::from_millis(50)) {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// The launcher's rank and number of ranks for this process; a job of one without a launcher.
pub fn rank_and_size() -> Result<(u32, u32), Failure> {
    let told = launcher::rank_and_size(|name| std::env::var(name).ok());
    let told = told.map_err(|why| Failure::new(1, why))?;
    Ok(told.unwrap_or((0, 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_chosen_by_name_or_path() {
        assert!(library("none", true).unwrap().is_none());
        assert!(library("mpihc", true)
            .unwrap_err()
            .error
            .to_string()
            .contains("say auto"));
        assert!(library("./no/such", true)
            .unwrap_err()
            .error
            .to_string()
            .contains("No such file"));
    }
}
