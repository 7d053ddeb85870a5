//! Which ranks have come up at a restart.
//!
//! Until MPI stands again the ranks know of each other only through the checkpoint directory: each puts a
//! file there when its memory is back, and takes it away once all have met. A rank that waits in vain can
//! so say for whom.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Files are left behind by restarts that were killed: one that is older does not count.
const FRESH: Duration = Duration::from_secs(600);

/// This rank's file; taken away when this is dropped.
pub struct Arrival {
    dir: PathBuf,
    rank: u32,
    size: u32,
    /// The file could be written.
    told: bool,
}

fn path(dir: &Path, rank: u32) -> PathBuf {
    dir.join(format!("arrived-{rank:04}"))
}

impl Arrival {
    /// Says that this rank is there.
    pub fn announce(dir: &Path, rank: u32, size: u32) -> Self {
        let mut told = false;
        if size > 1 {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let _ = fs::remove_file(path(dir, rank));
            told = options.open(path(dir, rank)).is_ok();
        }
        let dir = dir.to_owned();
        Arrival {
            dir,
            rank,
            size,
            told,
        }
    }

    /// The ranks that are not there; none in a directory that can't be written to, where nobody knows.
    pub fn missing(&self) -> Vec<u32> {
        if !self.told {
            return Vec::new();
        }
        let there = |rank: &u32| {
            let made = fs::metadata(path(&self.dir, *rank)).and_then(|m| m.modified());
            made.is_ok_and(|at| at + FRESH > SystemTime::now())
        };
        (0..self.size).filter(|rank| !there(rank)).collect()
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if self.size > 1 {
            let _ = fs::remove_file(path(&self.dir, self.rank));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_missing_is_known() {
        let dir = std::env::temp_dir().join(format!("splitproc-arrival-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let zero = Arrival::announce(&dir, 0, 3);
        assert_eq!(zero.missing(), [1, 2]);
        let two = Arrival::announce(&dir, 2, 3);
        assert_eq!(zero.missing(), [1]);
        drop(two);
        assert_eq!(zero.missing(), [1, 2]);
        drop(zero);
        fs::remove_dir(&dir).unwrap();
    }
}
