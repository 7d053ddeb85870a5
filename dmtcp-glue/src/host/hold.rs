//! One running job in a checkpoint directory: two would mix their generations.
//!
//! Rank 0's host holds a lock on a file there for as long as its process lives. A POSIX lock: children do not
//! get it, the kernel lets go of it however the process ends, and it reaches over network file systems.

use super::net::JobFile;
use anyhow::{bail, Context, Result};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The file's name.
const FILE: &str = "lock";
/// A job that was just ended may take a moment to be gone.
const PATIENCE: Duration = Duration::from_secs(3);

/// Holds the directory until the file is dropped, or says who has it. `None`: in a restart, from a directory that
/// is not written to.
pub fn hold(dir: &Path, restart: bool) -> Result<Option<File>> {
    restart::manifest::make_dir(dir)?;
    let path = dir.join(FILE);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = match options.open(&path) {
        Err(error) if restart && is_read_only(&error) => return Ok(None),
        opened => opened.with_context(|| format!("{}: can't be opened", path.display()))?,
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match lock(&file) {
            Ok(()) => return Ok(Some(file)),
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
                super::say(&format!(
                    "warning: {}: {error}: see to it that no other job uses this directory",
                    path.display()
                ));
                return Ok(Some(file));
            }
            Err(_) if Instant::now() >= deadline => bail!(
                "{}: {} uses this checkpoint directory: give another --ckpt-dir, or end that job first",
                dir.display(),
                holder(dir)
            ),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn is_read_only(error: &io::Error) -> bool {
    let errors = [libc::EROFS, libc::EACCES, libc::EPERM];
    error.raw_os_error().is_some_and(|e| errors.contains(&e))
}

fn lock(file: &File) -> io::Result<()> {
    // SAFETY: all zeros is a valid `flock`: from the file's beginning to its end, however long it is.
    let mut wanted: libc::flock = unsafe { std::mem::zeroed() };
    wanted.l_type = libc::F_WRLCK as i16;
    wanted.l_whence = libc::SEEK_SET as i16;
    // SAFETY: `wanted` lives during the call, which only reads it.
    crate::sys::check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const wanted) })?;
    Ok(())
}

/// Who has it, as its job.json tells.
fn holder(dir: &Path) -> String {
    let text = std::fs::read(dir.join("job.json")).unwrap_or_default();
    match serde_json::from_slice::<JobFile>(&text) {
        Ok(job) => format!("a running job ({}, pid {})", job.program, job.pid),
        Err(_) => "another job, which is just starting,".into(),
    }
}
