//! Memory that a file stands for and that a program may share with others: whose it is.
//!
//! A mapping of a file on disk is the file's, and is mapped again. One of a file that lies in memory (POSIX shared memory, in
//! `/dev/shm`) is the program's like its other memory: nobody else keeps its bytes. What other processes write into at the
//! same time no image can hold.

use super::maps::{self, Mapping};
use anyhow::{bail, Result};
use std::ffi::CString;
use std::path::Path;

/// File systems in memory (linux/magic.h): tmpfs, ramfs.
const IN_MEMORY: [libc::c_long; 2] = [0x0102_1994, 0x8584_58f6];
/// What MPI's shared windows are mapped from (`plugin`'s `mpi::segment`): each rank has its part, and all make it again.
const WINDOWS: &str = "/memfd:splitproc-window";

/// Is this a writable mapping of a file that has a name, and lies in memory?
pub fn is_memory(mapping: &Mapping) -> bool {
    is_writable_file(mapping) && !mapping.is_deleted() && lies_in_memory(Path::new(&mapping.name))
}

fn is_writable_file(mapping: &Mapping) -> bool {
    mapping.shared
        && mapping.inode != 0
        && mapping.prot & libc::PROT_WRITE != 0
        && mapping.name.starts_with('/')
}

fn lies_in_memory(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_encoded_bytes()) else {
        return false;
    };
    // SAFETY: plain data, which the kernel fills in.
    unsafe {
        let mut about: libc::statfs = std::mem::zeroed();
        libc::statfs(path.as_ptr(), &mut about) == 0 && IN_MEMORY.contains(&about.f_type)
    }
}

/// Refuses memory that other processes have mapped too, and that would not be the same memory after a restart: of files that
/// lie in memory, or have no name any more.
pub fn check(saved: &[Mapping]) -> Result<()> {
    let ours: Vec<&Mapping> = saved
        .iter()
        .filter(|m| is_writable_file(m) && !m.name.starts_with(WINDOWS))
        .filter(|m| !m.name.starts_with("/dev/zero") && (m.is_deleted() || is_memory(m)))
        .collect();
    if ours.is_empty() {
        return Ok(());
    }
    let own = std::process::id();
    let others = std::fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| *pid != own);
    for pid in others {
        // One that has just ended, or is another user's.
        let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/maps")) else {
            continue;
        };
        let theirs = maps::parse(&text)?;
        let same = |m: &&&Mapping| {
            theirs
                .iter()
                .any(|t| t.shared && (t.dev, t.inode) == (m.dev, m.inode))
        };
        if let Some(m) = ours.iter().find(same) {
            let Mapping { start, name, .. } = m;
            bail!("memory at {start:#x} ({name}) is shared with process {pid}: it can't be checkpointed; unmap it")
        }
    }
    Ok(())
}
