//! What the kernel knows of a mapping besides its bytes: memory that can't be saved, and advice.

use super::maps::Mapping;
use anyhow::{bail, Context, Result};
use restart::mpich;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Advice that is put back: the letters in `VmFlags`, and `madvise`'s number.
const ADVICE: [(&str, i32); 8] = [
    ("rr", libc::MADV_RANDOM),
    ("sr", libc::MADV_SEQUENTIAL),
    ("dc", libc::MADV_DONTFORK),
    ("dd", libc::MADV_DONTDUMP),
    ("mg", libc::MADV_MERGEABLE),
    ("hg", libc::MADV_HUGEPAGE),
    ("nh", libc::MADV_NOHUGEPAGE),
    ("wf", libc::MADV_WIPEONFORK),
];
/// Locked in memory; grows towards lower addresses.
const LOCKED: &str = "lo";
const GROWS: &str = "gd";
/// Flags of memory that can't be saved, and what it is.
const FOREIGN: [(&str, &str); 5] = [
    ("ht", "huge pages (MAP_HUGETLB)"),
    ("io", "a device's memory"),
    ("pf", "a device's memory"),
    ("um", "memory that userfaultfd serves"),
    ("uw", "memory that userfaultfd write-protects"),
];

/// Flags of one range of memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    start: usize,
    end: usize,
    flags: Vec<String>,
}

/// Refuses memory that is not the process's own, by what it is.
pub fn check(mapping: &Mapping) -> Result<()> {
    let Mapping { start, name, .. } = mapping;
    let what = if name.starts_with("/SYSV") {
        "a System V shared memory segment; detach it (shmdt)"
    } else if name.starts_with("/[aio]") {
        "an asynchronous I/O context; end it (io_destroy)"
    } else if name.starts_with("/anon_hugepage") {
        "huge pages (MAP_HUGETLB); unmap them"
    } else if name.starts_with("/dev/")
        && !name.starts_with("/dev/zero")
        && !name.starts_with("/dev/shm/")
    {
        "a device's memory; unmap it"
    } else if mapping.inode != 0 && !name.starts_with('/') {
        "memory of a kernel object; unmap it"
    } else if mapping.shared
        && mapping.inode != 0
        && !mapping.is_deleted()
        && std::fs::metadata(name).is_err()
    {
        "a shared mapping of what has no name; unmap it"
    } else if mapping.prot & libc::PROT_EXEC != 0 && mpich::is_real(Path::new(name)) {
        "an MPI library in the program itself; launch it with --mpi mpich, and let it open the library by its SONAME, like libmpi.so.40"
    } else {
        return Ok(());
    };
    bail!("memory at {start:#x} ({name}) is {what}: it can't be checkpointed")
}

/// The advice that saved memory has; refuses what can't be saved.
pub fn capture(saved: &[Mapping]) -> Result<Vec<Advice>> {
    let text = match std::fs::read_to_string("/proc/thread-self/smaps") {
        Ok(text) => text,
        // Kernels can be built without it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context("/proc/thread-self/smaps"),
    };
    let mut found = Vec::new();
    let mut range = (0, 0);
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(new) = bounds(word) {
            range = new;
        } else if let "VmFlags:" | "ProtectionKey:" = word {
            let (start, end) = range;
            if saved.iter().any(|m| m.start <= start && start < m.end) {
                if word == "ProtectionKey:" && rest.trim() != "0" {
                    bail!("memory at {start:#x} has a protection key: it can't be checkpointed");
                }
                found.extend(advice(start, end, rest)?);
            }
        }
    }
    Ok(found)
}

/// `start-end` in hexadecimal.
fn bounds(word: &str) -> Option<(usize, usize)> {
    let (start, end) = word.split_once('-')?;
    let hex = |text| usize::from_str_radix(text, 16).ok();
    Some((hex(start)?, hex(end)?))
}

fn advice(start: usize, end: usize, flags: &str) -> Result<Option<Advice>> {
    let has = |flag: &str| flags.split_whitespace().any(|f| f == flag);
    if let Some((_, what)) = FOREIGN.iter().find(|(flag, _)| has(flag)) {
        bail!("memory at {start:#x} is {what}: it can't be checkpointed; unmap it");
    }
    let known = ADVICE.iter().map(|(flag, _)| *flag).chain([LOCKED, GROWS]);
    let flags: Vec<String> = known.filter(|f| has(f)).map(str::to_owned).collect();
    Ok((!flags.is_empty()).then_some(Advice { start, end, flags }))
}

/// Whether the region at `start` grows towards lower addresses: it must be mapped so.
pub fn grows(all: &[Advice], start: usize) -> bool {
    all.iter()
        .any(|a| a.start <= start && start < a.end && a.flags.iter().any(|f| f == GROWS))
}

/// Gives all advice again, once memory is back.
pub fn advise(all: &[Advice], warn: &mut dyn FnMut(String)) {
    for Advice { start, end, flags } in all {
        let len = end - start;
        for flag in flags {
            let result = match ADVICE.iter().find(|(name, _)| name == flag) {
                // SAFETY: memory of the program's, which does not run yet; its bytes stay as they are.
                Some((_, number)) => unsafe {
                    let args = [*start, len, *number as usize, 0, 0, 0];
                    crate::sys::raw(libc::SYS_madvise, args)
                },
                // SAFETY: as above.
                None if flag == LOCKED => unsafe {
                    crate::sys::raw(libc::SYS_mlock, [*start, len, 0, 0, 0, 0])
                },
                None => continue,
            };
            if let Err(error) = result {
                warn(format!(
                    "memory at {start:#x} can't be set to `{flag}` again: {error}"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_kept_or_refused() {
        let kept = advice(4096, 8192, "rd wr mr mw me ac lo dc nr").unwrap();
        let flags = ["dc", "lo"].map(str::to_owned).to_vec();
        let (start, end) = (4096, 8192);
        assert_eq!(kept, Some(Advice { start, end, flags }));
        assert_eq!(advice(0, 1, "rd wr mr mw me ac sd").unwrap(), None);
        let refused = advice(0x5000, 0x6000, "rd ht").unwrap_err().to_string();
        assert!(refused.contains("0x5000") && refused.contains("huge"));
        let gd = advice(4096, 8192, "rd wr gd").unwrap().unwrap();
        let all = [gd];
        assert!(grows(&all, 4096) && !grows(&all, 8192));
    }

    #[test]
    fn foreign_memory_is_named() {
        let mut mapping = Mapping {
            start: 4096,
            end: 8192,
            prot: 3,
            shared: true,
            offset: 0,
            dev: (0, 1),
            inode: 7,
            name: "/SYSV00000000 (deleted)".into(),
        };
        assert!(check(&mapping)
            .unwrap_err()
            .to_string()
            .contains("System V"));
        mapping.name = "anon_inode:[io_uring]".into();
        assert!(check(&mapping)
            .unwrap_err()
            .to_string()
            .contains("io_uring"));
        mapping.name = "/dev/zero (deleted)".into();
        check(&mapping).unwrap();
        mapping.name = "/dev/nvidia0".into();
        assert!(check(&mapping).is_err());
    }
}
