//! Guard regions: pages within readable memory that end the program when they are touched (`MADV_GUARD_INSTALL`, Linux 6.13),
//! as glibc puts them below its threads' stacks since 2.42. The list of mappings does not show them.

use super::maps::Mapping;
use anyhow::{Context, Result};
use lh_loader::layout::PAGE;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// A guard, in `/proc/self/pagemap` (Linux 6.15).
const GUARD: u64 = 1 << 58;
/// Entries that are read at a time.
const ENTRIES: usize = 1 << 16;
/// linux/mman.h.
const MADV_GUARD_INSTALL: usize = 102;

/// The guard regions of this memory, in order.
pub fn find(pagemap: &File, mapping: &Mapping) -> Result<Vec<[usize; 2]>> {
    let mut found: Vec<[usize; 2]> = Vec::new();
    let mut entries = vec![0_u8; 8 * ENTRIES.min(mapping.len() / PAGE)];
    let mut at = mapping.start;
    while at < mapping.end {
        let pages = ENTRIES.min((mapping.end - at) / PAGE);
        let bytes = &mut entries[..8 * pages];
        pagemap
            .read_exact_at(bytes, (at / PAGE * 8) as u64)
            .context("/proc/thread-self/pagemap")?;
        for entry in bytes.chunks_exact(8) {
            let guard = entry
                .try_into()
                .is_ok_and(|e| u64::from_ne_bytes(e) & GUARD != 0);
            match found.last_mut().filter(|last| last[1] == at) {
                Some(last) if guard => last[1] += PAGE,
                _ if guard => found.push([at, at + PAGE]),
                _ => {}
            }
            at += PAGE;
        }
    }
    Ok(found)
}

/// Puts guards back, or on a kernel without them makes the memory one that nobody may touch.
pub fn install(guards: &[[usize; 2]]) -> Result<()> {
    for &[start, end] in guards {
        // SAFETY: untouched memory of the program's, which does not run yet.
        let done = unsafe {
            let advise = [start, end - start, MADV_GUARD_INSTALL, 0, 0, 0];
            let protect = [start, end - start, libc::PROT_NONE as usize, 0, 0, 0];
            crate::sys::raw(libc::SYS_madvise, advise)
                .or_else(|_| crate::sys::raw(libc::SYS_mprotect, protect))
        };
        done.with_context(|| format!("the guard at {start:#x} can't be made again"))?;
    }
    Ok(())
}
