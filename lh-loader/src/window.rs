//! Address ranges inside the windows.
//!
//! Every window has a cursor that only rises (a random start keeps ASLR) and a small table of ranges
//! that were unmapped, for reuse. Both are hints: a range is taken by `MAP_FIXED_NOREPLACE`, so the
//! kernel has the last word and a wrong hint costs a retry. Where they find nothing the list of what is mapped is read for
//! a gap. Nothing here ever waits for a lock, for a
//! signal handler may come in at any instruction. The upper half's cursor lives in lhInfo and
//! survives a restart.

use crate::arch::{is_err, syscall6};
use crate::layout::{lower_window, page_up, Owner, MAX_HALVES, PAGE};
use crate::layout::{UPPER_BASE, UPPER_LEN, WINDOW_LEN};
use crate::lhinfo;
use crate::route::maps;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// Huge pages. Mappings are aligned to them as the kernel's own placement does: private anonymous ones if their size is, and
/// large private ones of files. If all large arrays of a program began at such an address, equal places in them would share
/// sets of the TLB.
const HUGE: usize = 2 << 20;
/// Ranges remembered for reuse, a window.
const FREE: usize = 64;
/// Random start: up to this far into the window, the upper quarter is never reached by it.
const RANDOM_SPAN: usize = 1 << 36;
/// The beginning of a window, which is left to fixed placements by the loader.
const FIXED: usize = 4 << 30;
/// Tries before the list of what is mapped is read, and after that, before a window counts as full.
const TRIES: usize = 64;

struct Window {
    cursor: AtomicUsize,
    busy: AtomicBool,
    free: [(AtomicUsize, AtomicUsize); FREE],
}

static WINDOWS: [Window; MAX_HALVES + 1] = [const {
    Window {
        cursor: AtomicUsize::new(0),
        busy: AtomicBool::new(false),
        free: [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; FREE],
    }
}; MAX_HALVES + 1];

/// How long a window is.
fn length(owner: Owner) -> usize {
    match owner {
        Owner::Lower(_) => WINDOW_LEN,
        _ => UPPER_LEN,
    }
}

/// A window, its base and its cursor.
fn of(owner: Owner) -> (&'static Window, usize, &'static AtomicUsize) {
    match owner {
        Owner::Lower(i) => (&WINDOWS[i], lower_window(i), &WINDOWS[i].cursor),
        // SAFETY: lhInfo is mapped before the router runs.
        _ => (&WINDOWS[MAX_HALVES], UPPER_BASE, unsafe {
            &lhinfo::get().upper.cursor
        }),
    }
}

/// The first cursor of a window: its base and a random number of pages.
fn start(base: usize, cursor: &AtomicUsize) -> usize {
    let now = cursor.load(Relaxed);
    if now != 0 {
        return now;
    }
    let at = base + FIXED + (random() % RANDOM_SPAN) / PAGE * PAGE;
    match cursor.compare_exchange(0, at, Relaxed, Relaxed) {
        Ok(_) => at,
        Err(other) => other,
    }
}

/// The kernel's random number.
pub fn random() -> usize {
    let mut bytes = [0u8; 8];
    let at = bytes.as_mut_ptr() as usize;
    // SAFETY: getrandom writes 8 bytes.
    unsafe { syscall6(libc::SYS_getrandom as usize, at, bytes.len(), 0, 0, 0, 0) };
    usize::from_ne_bytes(bytes)
}

/// One range of `len` bytes from the cursor.
fn bump(owner: Owner, len: usize, align: usize) -> Option<usize> {
    let (_, base, cursor) = of(owner);
    let mut now = start(base, cursor);
    loop {
        let at = now.checked_add(align - 1)? & !(align - 1);
        let end = at.checked_add(len)?;
        if end > base + length(owner) {
            return None;
        }
        match cursor.compare_exchange_weak(now, end, Relaxed, Relaxed) {
            Ok(_) => return Some(at),
            Err(other) => now = other,
        }
    }
}

/// A mapping has grown in place up to `end`: what comes next comes behind it.
pub fn grown(owner: Owner, end: usize) {
    let (_, base, cursor) = of(owner);
    if cursor.load(Relaxed) != 0 && end > base && end <= base + length(owner) {
        cursor.fetch_max(page_up(end), Relaxed);
    }
}

/// A remembered free range that has room, taken out of the table.
fn reuse(owner: Owner, len: usize, align: usize) -> Option<usize> {
    let (w, ..) = of(owner);
    if w.busy.swap(true, core::sync::atomic::Ordering::Acquire) {
        return None;
    }
    let mut best: Option<(usize, usize)> = None;
    for (i, (a, l)) in w.free.iter().enumerate() {
        let (a, l) = (a.load(Relaxed), l.load(Relaxed));
        if l >= len && a & (align - 1) == 0 && best.is_none_or(|(_, b)| l < b) {
            best = Some((i, l));
        }
    }
    let found = best.map(|(i, l)| {
        let (slot_at, slot_len) = &w.free[i];
        let at = slot_at.load(Relaxed);
        slot_at.store(at + len, Relaxed);
        slot_len.store(l - len, Relaxed);
        at
    });
    w.busy.store(false, core::sync::atomic::Ordering::Release);
    found
}

/// Remembers that `[addr, addr+len)` was unmapped.
pub fn free(owner: Owner, addr: usize, len: usize) {
    let (w, base, _) = of(owner);
    let len = page_up(len);
    let inside = addr >= base && addr.saturating_add(len) <= base + length(owner);
    if len == 0 || !inside || w.busy.swap(true, core::sync::atomic::Ordering::Acquire) {
        return;
    }
    let (mut at, mut size) = (addr, len);
    let mut hole: Option<(usize, usize)> = None;
    for (i, (a, l)) in w.free.iter().enumerate() {
        let (fa, fl) = (a.load(Relaxed), l.load(Relaxed));
        if fl != 0 && fa <= at + size && at <= fa + fl {
            // Touching or overlapping: one range, kept in the table once.
            let end = (at + size).max(fa + fl);
            at = at.min(fa);
            size = end - at;
            l.store(0, Relaxed);
            hole = Some((i, 0));
        } else if hole.is_none_or(|(_, smallest)| fl < smallest) {
            hole = Some((i, fl));
        }
    }
    if let Some((i, smallest)) = hole {
        if smallest < size {
            w.free[i].0.store(at, Relaxed);
            w.free[i].1.store(size, Relaxed);
        }
    }
    w.busy.store(false, core::sync::atomic::Ordering::Release);
}

/// A gap between what is mapped in the window, which another thread may take first; the highest, for low in the upper half is
/// the room that its stack grows in.
fn gap(owner: Owner, len: usize, align: usize) -> Option<usize> {
    let (_, base, _) = of(owner);
    maps::gap([base + FIXED, base + length(owner)], len, align)
}

/// Maps memory at a free place of the owner's window. `flags` must not hold `MAP_FIXED`.
/// The result is the kernel's: the address, or `-errno`.
///
/// # Safety
/// As for `mmap`.
pub unsafe fn map(
    owner: Owner,
    len: usize,
    prot: usize,
    flags: usize,
    fd: usize,
    off: usize,
) -> isize {
    if len == 0 || len > length(owner) {
        return if len == 0 {
            -(libc::EINVAL as isize)
        } else {
            -(libc::ENOMEM as isize)
        };
    }
    let mut size = page_up(len);
    let private = flags & libc::MAP_TYPE as usize == libc::MAP_PRIVATE as usize;
    let anonymous = flags & libc::MAP_ANONYMOUS as usize != 0;
    let huge = private && size >= HUGE && (!anonymous || size.is_multiple_of(HUGE));
    let mut align = if huge { HUGE } else { PAGE };
    if flags & libc::MAP_HUGETLB as usize != 0 {
        let shift = (flags >> 26) & 63;
        align = if shift == 0 { HUGE } else { 1 << shift };
        size = (size + align - 1) & !(align - 1);
    }
    let drop = (libc::MAP_32BIT | libc::MAP_FIXED) as usize;
    let flags = flags & !drop | libc::MAP_FIXED_NOREPLACE as usize;
    for attempt in 0..2 * TRIES {
        let hint = match attempt {
            0..4 => reuse(owner, size, align),
            _ => None,
        };
        let next = || bump(owner, size, align).filter(|_| attempt < TRIES);
        let Some(at) = hint.or_else(next).or_else(|| gap(owner, size, align)) else {
            break;
        };
        // SAFETY: NOREPLACE touches nothing that is mapped; the rest is the caller's.
        let r = unsafe { syscall6(libc::SYS_mmap as usize, at, len, prot, flags, fd, off) };
        if !is_err(r) || -r != libc::EEXIST as isize {
            if is_err(r) {
                free(owner, at, size);
            }
            return r;
        }
    }
    -(libc::ENOMEM as isize)
}

/// Maps `len` bytes of zeros, readable and writable, within 1.9 GiB of `near`: for stubs.
///
/// # Safety
/// None beyond the address space: only free ranges are taken.
pub unsafe fn map_near(near: usize, len: usize) -> isize {
    const REACH: usize = 1900 << 20;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE) as usize;
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let (mut step, mut distance) = (PAGE, 0);
    while distance < REACH {
        for at in [near.checked_add(distance), near.checked_sub(distance)] {
            let Some(at) = at.map(crate::layout::page_down).filter(|&a| a >= 1 << 16) else {
                continue;
            };
            // SAFETY: NOREPLACE touches nothing that is mapped.
            let r =
                unsafe { syscall6(libc::SYS_mmap as usize, at, len, prot, flags, usize::MAX, 0) };
            if !is_err(r) {
                return r;
            }
            if -r != libc::EEXIST as isize {
                continue;
            }
        }
        distance += step;
        step = (step + step / 2).min(16 << 20) & !(PAGE - 1);
        step = step.max(PAGE * 2);
    }
    -(libc::ENOMEM as isize)
}

/// Reserves `len` bytes without access at a free place of the owner's window.
///
/// # Errors
/// The kernel's error number.
pub fn reserve(owner: Owner, len: usize) -> Result<usize, isize> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at a free place.
    let at = unsafe {
        map(
            owner,
            len,
            libc::PROT_NONE as usize,
            flags as usize,
            usize::MAX,
            0,
        )
    };
    if is_err(at) {
        return Err(-at);
    }
    Ok(at as usize)
}
