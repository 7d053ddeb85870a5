//! What the program has written to its files comes to the disk before its image counts: after a power failure a restart
//! would go on behind bytes that are not there. MPI's own files are the plugin's (`reopen.rs`).

use super::maps::{self, Mapping};
use crate::resources::numbers;
use crate::sys::{check, raw};
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::io;
use std::os::fd::RawFd;

/// What is open for writing, and what is mapped so.
pub struct Written {
    descriptors: Vec<RawFd>,
    mappings: Vec<Mapping>,
}

impl Written {
    /// Looks for it. That opens files for a moment, at numbers of the program's: nobody may look at those meanwhile.
    pub fn find() -> Result<Self> {
        let mut seen = HashSet::new();
        let mut descriptors = numbers()?;
        descriptors.retain(|fd| inode(*fd).is_some_and(|inode| seen.insert(inode)));
        let mut mappings = maps::own()?;
        mappings.retain(|m| m.is_saved() && m.shared && m.inode != 0 && !m.is_deleted());
        mappings.retain(|m| m.prot & libc::PROT_WRITE != 0);
        Ok(Written {
            descriptors,
            mappings,
        })
    }

    /// Writes it out. The program may run: its threads then find less to wait for when they are stopped and this is done
    /// again.
    ///
    /// # Errors
    /// Names the file.
    pub fn sync(&self) -> Result<()> {
        self.descriptors.iter().try_for_each(|fd| descriptor(*fd))?;
        self.mappings.iter().try_for_each(mapping)
    }
}

/// Device and inode of a regular file that is open for writing. The bytes of one without a name are in the image.
fn inode(fd: RawFd) -> Option<(u64, u64)> {
    // SAFETY: only asks; the kernel fills one structure, for which zeroes are valid.
    let (flags, stat) = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        check(libc::fstat(fd, &raw mut stat)).ok()?;
        (libc::fcntl(fd, libc::F_GETFL), stat)
    };
    let writes = flags & libc::O_ACCMODE != libc::O_RDONLY && flags & libc::O_PATH == 0;
    let regular = stat.st_mode & libc::S_IFMT == libc::S_IFREG;
    (writes && regular && stat.st_nlink > 0).then_some((stat.st_dev, stat.st_ino))
}

fn descriptor(fd: RawFd) -> Result<()> {
    // SAFETY: changes nothing. It is the program's own descriptor, for closing another one drops its record locks.
    outcome(check(unsafe { libc::fdatasync(fd) })).with_context(|| {
        let link = std::fs::read_link(format!("/proc/thread-self/fd/{fd}")).unwrap_or_default();
        format!("fd {fd}: {} can't be written to disk", link.display())
    })
}

fn mapping(mapping: &Mapping) -> Result<()> {
    let flags = libc::MS_SYNC as usize;
    let args = [mapping.start, mapping.len(), flags, 0, 0, 0];
    // SAFETY: changes no memory.
    let done = unsafe { raw(libc::SYS_msync, args) };
    outcome(done).with_context(|| format!("{} can't be written to disk", mapping.name))
}

/// A program that runs may just have closed or unmapped it, and there are file systems that know no such call.
fn outcome<T>(done: io::Result<T>) -> io::Result<()> {
    const NOTHING: [i32; 4] = [libc::EBADF, libc::ENOMEM, libc::EINVAL, libc::EROFS];
    match done {
        Err(error) if !error.raw_os_error().is_some_and(|e| NOTHING.contains(&e)) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_disk_counts() {
        let of = |code| outcome::<()>(Err(io::Error::from_raw_os_error(code)));
        assert!(of(libc::EIO).is_err() && of(libc::ENOSPC).is_err());
        assert!(of(libc::EBADF).is_ok() && of(libc::ENOMEM).is_ok());
    }
}
