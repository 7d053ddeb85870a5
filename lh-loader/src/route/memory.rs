//! Memory calls: what a half maps lies in its window.

use super::entry::Regs;
use super::policy::native;
use super::{maps, segment};
use crate::arch::{is_err, syscall6};
use crate::layout::{self, page_up, Owner, MAX_HALVES, UPPER_BASE, UPPER_LEN};
use crate::{lhinfo, window};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Room of a half's program break.
const BRK_ROOM: usize = 1 << 30;

/// `mmap`.
///
/// # Safety
/// As for the system call.
pub unsafe fn mmap(owner: Owner, r: &Regs) -> isize {
    let (hint, len, prot, flags, fd) = (r.rdi, r.rsi, r.rdx, r.r10 as i32, r.r8 as i32);
    let upper = owner == Owner::Upper;
    let fixed = flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) != 0;
    // SAFETY: the caller's.
    unsafe {
        let mut result = -(libc::EEXIST as isize);
        if fixed || (upper && flags & libc::MAP_32BIT != 0) {
            result = native(r);
        } else {
            let in_window =
                hint >= UPPER_BASE && hint < UPPER_BASE + UPPER_LEN - len.min(UPPER_LEN);
            if upper && in_window {
                let wish = flags | libc::MAP_FIXED_NOREPLACE;
                let at = layout::page_down(hint);
                result = syscall6(r.rax, at, len, prot, wish as usize, r.r8, r.r9);
            }
            if is_err(result) {
                result = window::map(owner, len, prot, flags as usize, r.r8, r.r9);
            }
        }
        let file = flags & libc::MAP_ANONYMOUS == 0;
        if !is_err(result) && file && prot as i32 & libc::PROT_EXEC != 0 {
            let (at, offset, prot) = (result as usize, r.r9 as u64, prot as i32);
            match flags & libc::MAP_TYPE {
                libc::MAP_PRIVATE => segment::map_exec(at, len, fd, offset, owner, prot),
                _ => segment::refuse_shared(at, fd, offset),
            };
        }
        result
    }
}

/// `shmat`: a System V segment without a wish goes to the window.
///
/// # Safety
/// As for the system call.
pub unsafe fn shmat(owner: Owner, r: &Regs) -> isize {
    if r.rsi != 0 {
        // SAFETY: the caller's.
        return unsafe { native(r) };
    }
    // SAFETY: the kernel writes one shmid_ds; the range is reserved before the segment replaces it.
    unsafe {
        let mut about: libc::shmid_ds = core::mem::zeroed();
        let at = &raw mut about as usize;
        let result = syscall6(
            libc::SYS_shmctl as usize,
            r.rdi,
            libc::IPC_STAT as usize,
            at,
            0,
            0,
            0,
        );
        if is_err(result) {
            return result;
        }
        match window::reserve(owner, about.shm_segsz) {
            Err(e) => -e,
            Ok(place) => {
                let flags = r.rdx | libc::SHM_REMAP as usize;
                let result = syscall6(r.rax, r.rdi, place, flags, 0, 0, 0);
                if is_err(result) {
                    syscall6(
                        libc::SYS_munmap as usize,
                        place,
                        about.shm_segsz,
                        0,
                        0,
                        0,
                        0,
                    );
                    window::free(owner, place, about.shm_segsz);
                }
                result
            }
        }
    }
}

/// `shmdt`: the segment's range is free again.
///
/// # Safety
/// As for the system call.
pub unsafe fn shmdt(r: &Regs) -> isize {
    let segment = maps::find(r.rdi).filter(|m| m.start == r.rdi);
    // SAFETY: the caller's.
    let result = unsafe { native(r) };
    if let Some(m) = segment.filter(|_| result == 0) {
        window::free(layout::owner(m.start), m.start, m.end - m.start);
    }
    result
}

/// `mprotect` and `pkey_mprotect`: code of a file that may run from now on is scanned now.
///
/// # Safety
/// As for the system call.
pub unsafe fn mprotect(owner: Owner, r: &Regs) -> isize {
    let (from, len, prot) = (r.rdi, page_up(r.rsi), r.rdx as i32);
    let mut at = from;
    // SAFETY: the caller's; code that could not run before is run by nobody yet.
    unsafe {
        if prot & libc::PROT_EXEC == 0 || len == 0 {
            return native(r);
        }
        let end = from.saturating_add(len);
        while at < end {
            let Some(m) = maps::find(at) else { break };
            let result = syscall6(r.rax, at, m.end.min(end) - at, r.rdx, r.r10, 0, 0);
            if is_err(result) {
                return result;
            }
            if m.is_private_file() && !m.executable {
                if let Some(file) = m.open() {
                    let offset = m.offset + (at - m.start) as u64;
                    let len = m.end.min(end) - at;
                    segment::map_exec(at, len, file.number(), offset, owner, prot);
                }
            }
            at = m.end;
        }
        // What is left is not mapped: the kernel says so, or the range was empty.
        if at < end {
            syscall6(r.rax, at, end - at, r.rdx, r.r10, 0, 0)
        } else {
            0
        }
    }
}

/// `munmap`.
///
/// # Safety
/// As for the system call.
pub unsafe fn munmap(r: &Regs) -> isize {
    // SAFETY: the caller's.
    let result = unsafe { native(r) };
    if result == 0 {
        window::free(layout::owner(r.rdi), r.rdi, r.rsi);
    }
    result
}

/// `mremap`: in place if it can, else to a new range of the window.
///
/// # Safety
/// As for the system call.
pub unsafe fn mremap(owner: Owner, r: &Regs) -> isize {
    let (old, old_len, new_len, flags) = (r.rdi, r.rsi, r.rdx, r.r10 as i32);
    // SAFETY: the caller's; the new range is one that `window::map` has just reserved.
    unsafe {
        if flags & libc::MREMAP_MAYMOVE == 0 || flags & libc::MREMAP_FIXED != 0 {
            return native(r);
        }
        if flags & libc::MREMAP_DONTUNMAP == 0 && old_len != 0 {
            let stay = (flags & !libc::MREMAP_MAYMOVE) as usize;
            let result = syscall6(r.rax, old, old_len, new_len, stay, 0, 0);
            if result != -(libc::ENOMEM as isize) {
                if !is_err(result) {
                    window::grown(layout::owner(old), old.saturating_add(new_len));
                }
                return result;
            }
        }
        let reserve = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as usize;
        let to = window::map(owner, new_len, 0, reserve, usize::MAX, 0);
        if is_err(to) {
            return to;
        }
        let to = to as usize;
        let moving = (flags | libc::MREMAP_FIXED) as usize;
        let result = syscall6(r.rax, old, old_len, new_len, moving, to, 0);
        if is_err(result) {
            syscall6(libc::SYS_munmap as usize, to, new_len, 0, 0, 0, 0);
            window::free(owner, to, new_len);
        } else if flags & libc::MREMAP_DONTUNMAP == 0 && old_len != 0 {
            window::free(layout::owner(old), old, old_len);
        }
        result
    }
}

/// Base, current and end of each lower half's break.
static BREAKS: [[AtomicUsize; 3]; MAX_HALVES] =
    [const { [const { AtomicUsize::new(0) }; 3] }; MAX_HALVES];

/// `brk`, in room of the window's.
///
/// # Safety
/// As for the system call.
pub unsafe fn brk(owner: Owner, wish: usize) -> isize {
    let words: &[AtomicUsize; 3] = match owner {
        Owner::Lower(i) => &BREAKS[i],
        // SAFETY: lhInfo is mapped; an atomic word lies as a plain one, and only this writes there.
        _ => unsafe { &*(&raw const (*lhinfo::ptr()).upper.brk).cast() },
    };
    let map_flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    if words[0].load(Relaxed) == 0 {
        // SAFETY: a fresh reservation.
        let at = unsafe { window::map(owner, BRK_ROOM, 0, map_flags as usize, usize::MAX, 0) };
        if is_err(at) {
            return 0;
        }
        words[2].store(at as usize + BRK_ROOM, Relaxed);
        words[1].store(at as usize, Relaxed);
        words[0].store(at as usize, Relaxed);
    }
    let [base, now, end] = [0, 1, 2].map(|i: usize| words[i].load(Relaxed));
    if wish < base || wish > end {
        return now as isize;
    }
    let (had, wants) = (page_up(now), page_up(wish));
    let mut result = 0;
    // SAFETY: both ranges lie in the room reserved above, beyond what the program holds after this call.
    unsafe {
        if wants > had {
            let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
            result = syscall6(libc::SYS_mprotect as usize, had, wants - had, prot, 0, 0, 0);
        } else if wants < had {
            let flags = (map_flags | libc::MAP_FIXED) as usize;
            result = syscall6(
                libc::SYS_mmap as usize,
                wants,
                had - wants,
                0,
                flags,
                usize::MAX,
                0,
            );
        }
    }
    if is_err(result) {
        return now as isize;
    }
    words[1].store(wish, Relaxed);
    wish as isize
}
