//! The system-call router: a window only holds if what a half maps for itself lands inside it.
//!
//! Every executable segment that enters a window is scanned for `syscall` instructions before it runs
//! ([`scan`]), and the sites that matter become jumps to stubs beside the segment ([`patch`]), which
//! call [`entry`], which asks [`policy`]. Later segments arrive through `mmap`, which is routed itself.

pub mod decode;
pub mod eh;
pub mod entry;
mod fds;
mod ids;
mod memory;
pub mod patch;
pub mod policy;
pub mod scan;
mod signals;
mod tasks;
mod waits;

#[cfg(test)]
mod probe_tests;
#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod tests;

use crate::arch::{is_err, syscall6};
use crate::layout::{page_down, page_up, Owner};
use crate::{lhinfo, window};
use core::sync::atomic::{AtomicU8, Ordering};

/// 0 quiet, 1 sites that could not be patched, 2 segments and counts as well.
static LOG: AtomicU8 = AtomicU8::new(0);

/// How much is said on standard error.
pub fn log_level() -> u8 {
    LOG.load(Ordering::Relaxed)
}

/// Makes this loader the router of every patched site. lhInfo must be mapped.
pub fn init(log: u8) {
    LOG.store(log, Ordering::Relaxed);
    tasks::init();
    let entry = entry::splitproc_router_entry as *const () as usize;
    // SAFETY: the caller has mapped lhInfo.
    unsafe { lhinfo::get() }
        .router
        .store(entry, Ordering::Release);
}

/// Told of each site that matters and cannot be patched: address, number, reason.
pub type Report<'a> = &'a mut dyn FnMut(usize, Option<u32>, patch::Refusal);

/// Scans and patches an executable mapping of an ELF file, whose text is readable and executable
/// afterwards. Returns how many sites were patched.
///
/// # Safety
/// `[addr, addr+len)` maps `fd` from `offset`, privately, and no thread runs in it yet.
pub unsafe fn map_exec(addr: usize, len: usize, fd: i32, offset: u64, owner: Owner) -> usize {
    let prot = (libc::PROT_READ | libc::PROT_EXEC) as usize;
    // SAFETY: the caller's.
    unsafe { map_exec_prot(addr, len, fd, offset, owner, prot) }
}

/// [`map_exec`], with the protection that the text gets back; refusals go to the log.
unsafe fn map_exec_prot(
    addr: usize,
    len: usize,
    fd: i32,
    offset: u64,
    owner: Owner,
    prot: usize,
) -> usize {
    let mut report = |at: usize, nr: Option<u32>, reason: patch::Refusal| {
        if log_level() > 0 {
            let why = match reason {
                patch::Refusal::NoRoom => b"splitproc: route: no room at ".as_slice(),
                patch::Refusal::NoStub => b"splitproc: route: no stub for ".as_slice(),
                patch::Refusal::TooFar => b"splitproc: route: stub too far from ".as_slice(),
            };
            log(why, &[at, nr.map_or(usize::MAX, |n| n as usize)]);
        }
    };
    // SAFETY: the caller's.
    let patched = unsafe { patch_mapping(addr, len, fd, offset, owner, prot, &mut report) };
    if log_level() > 1 {
        log(
            b"splitproc: route: segment, length, sites: ",
            &[addr, len, patched],
        );
    }
    patched
}

/// Does the work of [`map_exec`] and reports what it refuses.
///
/// # Safety
/// As for [`map_exec`].
pub unsafe fn patch_mapping(
    addr: usize,
    len: usize,
    fd: i32,
    offset: u64,
    owner: Owner,
    prot: usize,
    report: Report,
) -> usize {
    // The headers and the table of functions are read through a mapping: a `pread` for each step of each
    // search made the scan of libc take 15 ms. It is gone before the program goes on.
    let mut stat = [0u64; 18];
    let mut nr = libc::SYS_fstat as usize;
    // SAFETY: a `struct stat` is 144 bytes; the mapping is private, read-only and of our choosing.
    let (size, file) = unsafe {
        if is_err(syscall6(
            nr,
            fd as usize,
            stat.as_mut_ptr() as usize,
            0,
            0,
            0,
            0,
        )) {
            return 0;
        }
        nr = libc::SYS_mmap as usize;
        let size = stat[6] as usize;
        let (prot, flags) = (libc::PROT_READ as usize, libc::MAP_PRIVATE as usize);
        (size, syscall6(nr, 0, size, prot, flags, fd as usize, 0))
    };
    if is_err(file) {
        return 0;
    }
    // SAFETY: mapped above, up to the file's size.
    let bytes = unsafe { core::slice::from_raw_parts(file as *const u8, size) };
    let read = |at: u64, b: &mut [u8]| match bytes
        .get(at as usize..(at as usize).saturating_add(b.len()))
    {
        Some(from) => {
            b.copy_from_slice(from);
            true
        }
        None => false,
    };
    // SAFETY: the caller's.
    let patched = unsafe { patch_elf(&read, addr, len, offset, owner, prot, report) };
    // SAFETY: nothing refers to the mapping any more.
    unsafe { syscall6(libc::SYS_munmap as usize, file as usize, size, 0, 0, 0, 0) };
    patched
}

/// The mapping's parts that are code by the file's headers.
unsafe fn patch_elf(
    read: eh::Read,
    addr: usize,
    len: usize,
    offset: u64,
    owner: Owner,
    prot: usize,
    report: Report,
) -> usize {
    // Mapped but not ELF: somebody's own just-in-time code, which is left alone.
    let Some(elf) = eh::Elf::open(read) else {
        return 0;
    };
    let mut patched = 0;
    elf.code_parts(offset, len as u64, &mut |at, vaddr, size| {
        let start = addr + (at - offset) as usize;
        // A header may promise more than the file holds; touching that would be fatal.
        let mut last = [0u8];
        if !read(at + size - 1, &mut last) {
            return;
        }
        // SAFETY: mapped, backed by the file, and nobody else's yet.
        patched += unsafe { patch_part(start, size as usize, vaddr, &elf, owner, prot, report) };
    });
    patched
}

/// Whether the site matters to its owner.
fn matters(owner: Owner, nr: Option<u32>) -> bool {
    nr.is_none_or(|n| policy::routed(owner, n))
}

/// Patches one piece of code.
unsafe fn patch_part(
    start: usize,
    len: usize,
    vaddr: u64,
    elf: &eh::Elf,
    owner: Owner,
    prot: usize,
    report: Report,
) -> usize {
    let slot = lhinfo::LHINFO_ROUTER;
    let (low, high) = (page_down(start), page_up(start + len));
    let (mut count, mut from) = (0, 0);
    // SAFETY: the code is mapped; while it is written it is not executable, and nobody runs in it.
    unsafe {
        let code = core::slice::from_raw_parts(start as *const u8, len);
        while let Some(site) = scan::next(code, vaddr, Some(elf), from) {
            count += usize::from(matters(owner, site.nr));
            from = site.at + 2;
        }
        if count == 0 {
            return 0;
        }
        let room = page_up(count * 80);
        let base = window::map_near(high, room);
        if is_err(base) {
            report(start, None, patch::Refusal::NoStub);
            return 0;
        }
        let mut page = patch::StubPage {
            base: base as usize,
            len: room,
            used: 0,
        };
        let protect = |at: usize, n: usize, prot: usize| {
            syscall6(libc::SYS_mprotect as usize, at, n, prot, 0, 0, 0)
        };
        let (writable, runnable) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::PROT_READ | libc::PROT_EXEC,
        );
        if is_err(protect(low, high - low, writable as usize)) {
            syscall6(libc::SYS_munmap as usize, page.base, room, 0, 0, 0, 0);
            report(start, None, patch::Refusal::NoStub);
            return 0;
        }
        let code = core::slice::from_raw_parts_mut(start as *mut u8, len);
        let (mut patched, mut from) = (0, 0);
        while let Some(site) = scan::next(code, vaddr, Some(elf), from) {
            from = site.at + 2;
            if matters(owner, site.nr) {
                match patch::patch(code, start, &site, slot, &mut page) {
                    Ok(w) => {
                        from = w.end;
                        patched += 1;
                    }
                    Err(why) => report(start + site.at, site.nr, why),
                }
            }
        }
        protect(low, high - low, prot);
        protect(page.base, room, runnable as usize);
        patched
    }
}

/// Writes a message and numbers in hexadecimal to standard error.
fn log(message: &[u8], numbers: &[usize]) {
    let mut line = [0u8; 128];
    let mut n = message.len().min(64);
    line[..n].copy_from_slice(&message[..n]);
    for &v in numbers.iter().take(3) {
        for shift in (0..16).rev() {
            let digit = v >> (4 * shift);
            if digit != 0 || shift == 0 {
                line[n] = b"0123456789abcdef"[digit & 15];
                n += 1;
            }
        }
        line[n] = b' ';
        n += 1;
    }
    line[n - 1] = b'\n';
    // SAFETY: writes the line's bytes.
    unsafe {
        syscall6(
            libc::SYS_write as usize,
            2,
            line.as_ptr() as usize,
            n,
            0,
            0,
            0,
        )
    };
}
