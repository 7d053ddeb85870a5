//! `splitproc dmtcp-restart`: finds this rank's image among those that DMTCP wrote, and becomes `dmtcp_restart`.
//!
//! DMTCP names images by process ids; at each checkpoint the plugin makes a link `rank-R-of-N.dmtcp` to a rank's.

use super::cli::DmtcpRestart;
use super::{mpi, Failure, Outcome};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Options of dmtcp_restart by which the user says which coordinator is meant.
const COORDINATOR: [&str; 3] = [
    "--join-coordinator",
    "--new-coordinator",
    "--any-coordinator",
];

/// Runs the command; returns only when it fails.
pub fn run(args: &DmtcpRestart) -> Outcome {
    let (rank, size) = mpi::rank_and_size()?;
    let image = image(&args.dir, rank, size)?;
    let mut command = Command::new("dmtcp_restart");
    let chosen = |o: &OsString| COORDINATOR.iter().any(|c| o.to_str() == Some(c));
    if size > 1 && !args.options.iter().any(chosen) {
        // Each rank would start a coordinator of its own.
        command.arg("--join-coordinator");
    }
    command.args(&args.options).arg(&image);
    let error = command.exec();
    let text = match error.kind() {
        std::io::ErrorKind::NotFound => {
            "dmtcp_restart is not on PATH: install DMTCP 4.2 or 5.0".into()
        }
        _ => format!("dmtcp_restart can't be run: {error}"),
    };
    Err(Failure::new(1, text))
}

/// The rank's image. Every rank looks whether all are there: one that came alone would wait for the others.
fn image(dir: &Path, rank: u32, size: u32) -> Result<PathBuf, Failure> {
    let link = |rank| dir.join(format!("rank-{rank}-of-{size}.dmtcp"));
    let Some(missing) = (0..size).map(link).find(|link| !link.is_file()) else {
        return Ok(link(rank));
    };
    let sizes: Vec<u32> = std::fs::read_dir(dir)
        .map_err(|e| Failure::new(1, format!("{}: {e}", dir.display())))?
        .filter_map(|entry| job_size(&entry.ok()?.file_name().into_string().ok()?))
        .collect();
    let other = sizes.iter().find(|s| **s != size);
    let text = if let Ok(image) = std::fs::read_link(&missing) {
        format!(
            "{} names {}, which is not there: the image of a rank is lost",
            missing.display(),
            image.display()
        )
    } else if sizes.contains(&size) {
        format!(
            "{} is not there: the image of a rank is lost",
            missing.display()
        )
    } else if let Some(other) = other {
        format!(
            "{} holds a job of {other} rank(s), but {size} were started; start it with `mpirun -n {other} splitproc \
             dmtcp-restart {}`, by the mpirun of MPICH (`mpirun.mpich`)",
            dir.display(),
            dir.display()
        )
    } else {
        format!(
            "{} is not there; name the directory that dmtcp_launch was given with --ckptdir",
            missing.display()
        )
    };
    Err(Failure::new(1, text))
}

/// N of `rank-R-of-N.dmtcp`.
fn job_size(name: &str) -> Option<u32> {
    let (_, size) = name.strip_prefix("rank-")?.split_once("-of-")?;
    size.strip_suffix(".dmtcp")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_finds_its_image_or_says_why_not() {
        let tmp = tempfile::tempdir().unwrap();
        let text = |rank, size| image(tmp.path(), rank, size).unwrap_err().error.to_string();
        assert!(text(0, 2).contains("--ckptdir"));
        for rank in 0..2 {
            std::fs::write(tmp.path().join(format!("rank-{rank}-of-2.dmtcp")), "").unwrap();
        }
        assert!(image(tmp.path(), 1, 2)
            .unwrap()
            .ends_with("rank-1-of-2.dmtcp"));
        assert!(text(0, 4).contains("a job of 2 rank(s), but 4 were started"));
        std::fs::remove_file(tmp.path().join("rank-1-of-2.dmtcp")).unwrap();
        assert!(text(0, 2).contains("rank-1-of-2.dmtcp is not there"));
        std::os::unix::fs::symlink("gone.dmtcp", tmp.path().join("rank-1-of-2.dmtcp")).unwrap();
        assert!(text(0, 2).contains("gone.dmtcp, which is not there"));
    }
}
