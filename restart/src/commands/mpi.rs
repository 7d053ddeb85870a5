//! Which MPI library the lower half opens.

use super::Failure;
use restart::libraries::Family;
use restart::{launcher, mpich};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A launcher of MPI jobs, as its variables tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// Hydra, and others that speak PMI.
    Mpich,
    /// Open MPI's.
    OpenMpi,
    /// None.
    None,
}

/// The launcher that started us.
pub fn launcher() -> Launcher {
    launcher_of(|name| std::env::var_os(name).is_some())
}

fn launcher_of(has: impl Fn(&str) -> bool) -> Launcher {
    if ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"]
        .iter()
        .any(|v| has(v))
    {
        Launcher::OpenMpi
    } else if [
        "PMI_RANK",
        "PMI_FD",
        "PMI_PORT",
        "HYDI_CONTROL_FD",
        "PMIX_RANK",
    ]
    .iter()
    .any(|v| has(v))
    {
        Launcher::Mpich
    } else {
        Launcher::None
    }
}

/// The library for `--mpi`; `None`: the process has no MPI half. `needed` says that the program wants MPI.
pub fn library(wish: &str, needed: bool) -> Result<Option<PathBuf>, Failure> {
    match wish {
        "none" => Ok(None),
        "mpich" => mpich().map(Some),
        "openmpi" => open_mpi().map(Some),
        "auto" => match launcher() {
            Launcher::OpenMpi => open_mpi().map(Some),
            Launcher::Mpich => mpich().map(Some),
            Launcher::None if needed => mpich()
                .or_else(|none| open_mpi().map_err(|_| none))
                .map(Some),
            Launcher::None => Ok(None),
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

/// MPICH's library, or one of the standard's ABI, which MPICH's launcher starts too; or how to get it.
pub fn mpich() -> Result<PathBuf, Failure> {
    let found = Family::Mpich.find().or_else(|| Family::Standard.find());
    found.ok_or_else(|| Failure::new(1, mpich::missing("--mpi PATH")))
}

/// Open MPI's library, or how to get it.
pub fn open_mpi() -> Result<PathBuf, Failure> {
    Family::OpenMpi.find().ok_or_else(|| {
        let text = "no Open MPI library was found (libmpi.so.40); install it (Debian: apt install openmpi-bin), or name it \
                    with --mpi PATH";
        Failure::new(1, text)
    })
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
    rank_and_size_of(|name| std::env::var(name).ok())
}

fn rank_and_size_of(get: impl Fn(&str) -> Option<String>) -> Result<(u32, u32), Failure> {
    const SETS: &[(&str, &[&str])] = &[
        ("PMI_RANK", &["PMI_SIZE"]),
        ("OMPI_COMM_WORLD_RANK", &["OMPI_COMM_WORLD_SIZE"]),
        (
            "PMIX_RANK",
            &["PMIX_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"],
        ),
        ("SLURM_PROCID", &["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"]),
    ];
    for (rank_name, size_names) in SETS {
        let Some(rank) = get(rank_name) else { continue };
        let Some((size_name, size)) = size_names.iter().find_map(|n| Some((n, get(n)?))) else {
            continue;
        };
        return match (rank.parse(), size.parse()) {
            (Ok(rank), Ok(size)) if rank < size => Ok((rank, size)),
            _ => Err(Failure::new(
                1,
                format!("the launcher's {rank_name}={rank} and {size_name}={size} make no sense"),
            )),
        };
    }
    Ok((0, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_launcher_is_known_by_its_variables() {
        assert_eq!(launcher_of(|v| v == "PMI_FD"), Launcher::Mpich);
        assert_eq!(
            launcher_of(|v| v == "OMPI_COMM_WORLD_RANK" || v == "PMIX_RANK"),
            Launcher::OpenMpi
        );
        assert_eq!(launcher_of(|_| false), Launcher::None);
    }

    #[test]
    fn rank_and_size_come_from_one_launcher() {
        let of = |pairs: &[(&str, &str)]| {
            let found = |name: &str| {
                pairs
                    .iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, v)| (*v).to_owned())
            };
            rank_and_size_of(found).map_err(|f| f.error.to_string())
        };
        assert_eq!(of(&[]), Ok((0, 1)));
        assert_eq!(
            of(&[("PMI_RANK", "2"), ("PMI_SIZE", "4"), ("SLURM_PROCID", "0")]),
            Ok((2, 4))
        );
        assert_eq!(
            of(&[("SLURM_PROCID", "1"), ("SLURM_NTASKS", "3")]),
            Ok((1, 3))
        );
        assert!(of(&[("PMI_RANK", "4"), ("PMI_SIZE", "4")])
            .unwrap_err()
            .contains("PMI_RANK=4"));
    }

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
