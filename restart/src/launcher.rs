//! The launcher of an MPI job: which it is, what it tells a rank, and what is said to it.

use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};
use std::{fs::File, io::Write, os::fd::FromRawFd};

/// A launcher of MPI jobs, as its variables tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// Hydra, and others that speak PMI.
    Mpich,
    /// Open MPI's.
    OpenMpi,
    /// One that speaks PMIx alone (`srun --mpi=pmix`, `prterun`), as Open MPI does.
    Pmix,
    /// None.
    None,
}

impl Launcher {
    /// The launcher of a process that has these variables.
    pub fn of(has: impl Fn(&str) -> bool) -> Launcher {
        const OPEN_MPI: [&str; 2] = ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"];
        const MPICH: [&str; 4] = ["PMI_RANK", "PMI_FD", "PMI_PORT", "HYDI_CONTROL_FD"];
        if OPEN_MPI.iter().any(|v| has(v)) {
            Launcher::OpenMpi
        } else if MPICH.iter().any(|v| has(v)) {
            Launcher::Mpich
        } else if has("PMIX_RANK") {
            Launcher::Pmix
        } else {
            Launcher::None
        }
    }
}

/// The rank and the number of ranks that a launcher's variables name.
///
/// # Errors
/// They make no sense.
pub fn rank_and_size(get: impl Fn(&str) -> Option<String>) -> Result<Option<(u32, u32)>, String> {
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
            (Ok(rank), Ok(size)) if rank < size => Ok(Some((rank, size))),
            _ => Err(format!(
                "the launcher's {rank_name}={rank} and {size_name}={size} make no sense"
            )),
        };
    }
    Ok(None)
}

/// The launcher takes what a rank wrote to stderr within this.
const READING: Duration = Duration::from_secs(2);

/// Tells the launcher to end the other ranks too, and with which code: when a rank just exits, the others may wait
/// in MPI_Init for ever, or be killed before they give a code of their own. `pause` goes by before that, once the
/// launcher has read this rank's last words: it forgets what it has not passed on. False: nobody was told.
///
/// PMI-1's `abort` on the inherited descriptor; other launchers end a job whose rank exits with an error.
pub fn abort_job(code: i32, pause: Duration) -> bool {
    let fd = std::env::var("PMI_FD").ok().and_then(|fd| fd.parse().ok());
    let Some(fd) = fd else { return false };
    let deadline = Instant::now() + READING;
    while unread(libc::STDERR_FILENO) > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(pause);
    // SAFETY: the launcher gave us the descriptor; a closed one gives an error. Not closed here.
    let mut launcher = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    let order = format!("cmd=abort exitcode={code}\n");
    launcher.write_all(order.as_bytes()).is_ok()
}

/// Bytes in a pipe that its reader has not taken; 0 for anything else.
fn unread(fd: i32) -> i32 {
    let mut unread = 0;
    // SAFETY: both calls write to live variables of the type that they expect.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        if libc::fstat(fd, &mut stat) == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFIFO {
            libc::ioctl(fd, libc::FIONREAD, &mut unread);
        }
    }
    unread
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn the_launcher_is_known_by_its_variables() {
        assert_eq!(Launcher::of(|v| v == "PMI_FD"), Launcher::Mpich);
        assert_eq!(
            Launcher::of(|v| v == "OMPI_COMM_WORLD_RANK" || v == "PMIX_RANK"),
            Launcher::OpenMpi
        );
        assert_eq!(Launcher::of(|v| v == "PMIX_RANK"), Launcher::Pmix);
        let both = |v: &str| v == "PMIX_RANK" || v == "PMI_RANK";
        assert_eq!(Launcher::of(both), Launcher::Mpich);
        assert_eq!(Launcher::of(|_| false), Launcher::None);
    }

    #[test]
    fn rank_and_size_come_from_one_launcher() {
        let of = |pairs: &[(&str, &str)]| {
            let found = |name: &str| pairs.iter().find(|(n, _)| *n == name);
            rank_and_size(|name| found(name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(
            of(&[("PMI_RANK", "2"), ("PMI_SIZE", "4"), ("SLURM_PROCID", "0")]),
            Ok(Some((2, 4)))
        );
        assert_eq!(
            of(&[("SLURM_PROCID", "1"), ("SLURM_NTASKS", "3")]),
            Ok(Some((1, 3)))
        );
        assert!(of(&[("PMI_RANK", "4"), ("PMI_SIZE", "4")])
            .unwrap_err()
            .contains("PMI_RANK=4"));
    }

    #[test]
    fn only_what_waits_in_a_pipe_counts() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        assert_eq!(unread(writer.as_raw_fd()), 0);
        writer.write_all(b"last words").unwrap();
        assert_eq!(unread(writer.as_raw_fd()), 10);
        drop(reader);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"last words").unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        assert_eq!(unread(file.as_raw_fd()), 0);
    }
}
