//! The thread control block (TCB) that a thread runs on: its own, or a donor's. No TLS, no allocation.
//!
//! On the borrowed way a thread runs in a lower half with its donor's FS base. Code that may run there (signal
//! handlers, callbacks) finds the thread's switch block through a word of the donor's TCB that glibc keeps for
//! a purpose it has given up ([`BLOCK`]). So GS stays the program's own, and a thread that a lower half makes
//! while it is on a borrowed TCB has a TCB of its own, with 0 in that word.
//!
//! What of a donor's TCB stays the donor's while it is lent, and what does not:
//! - *tid*: the crossing thread's. A lock's owner is then the thread that the kernel sees (priority inheritance,
//!   `pthread_kill` and affinity of oneself). The donor gets its own back before it exits.
//! - *robust list*: the donor's. The kernel knows each thread's list by the address that it registered; a robust
//!   mutex that a lower half leaves locked is marked when the donor exits.
//! - *rseq*: none. The kernel writes the crossing thread's area in its own TCB, and the donor unregisters its
//!   own, so that the half's libc asks the kernel for the processor instead of reading where the donor slept.
//! - *stack guard, pointer guard*: equal in all halves, for AT_RANDOM is.
//! - *cancellation*: the donor's, which nobody cancels.
//! - *errno, locale, malloc's cache, keys, `multiple_threads`, stack bounds*: the donor's.

use crate::raw;
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use lh_loader::lhinfo;

/// `tcbhead_t.dtv`.
const DTV: usize = 8;
/// `tcbhead_t.multiple_threads`: malloc and stdio leave out their locks where it is 0.
pub const MULTIPLE_THREADS: usize = 0x18;
/// `tcbhead_t.unused_vgetcpu_cache`: not used since glibc 2.14, and never moved.
pub const BLOCK: usize = 0x38;

const ARCH_SET_FS: usize = 0x1002;

/// Whether the FS base is changed by `wrfsbase`; by `arch_prctl` otherwise.
static WRFSBASE: AtomicU32 = AtomicU32::new(0);

/// Takes from lhInfo how the FS base is changed here; after a restart again.
pub fn init() {
    // SAFETY: lhInfo is mapped; the loader wrote the field before the upper half started.
    WRFSBASE.store(unsafe { lhinfo::get() }.wrfsbase, Relaxed);
}

/// Whether the FS base is changed by `wrfsbase`.
#[inline(always)]
pub fn has_wrfsbase() -> bool {
    WRFSBASE.load(Relaxed) != 0
}

/// The TCB that the thread is on.
#[inline(always)]
pub fn current() -> usize {
    let at: usize;
    // SAFETY: the first word of every TCB is its own address.
    unsafe { asm!("mov {0}, fs:[0]", out(reg) at, options(nostack, readonly)) };
    at
}

/// Goes to another TCB.
///
/// # Safety
/// `tcb` must be the thread's own, or one lent to it; nothing that was computed from the old one may be used.
#[inline(always)]
pub unsafe fn go(tcb: usize) {
    // SAFETY: the caller vouches for `tcb`; the instruction is only used where the kernel allows it.
    unsafe {
        if has_wrfsbase() {
            asm!("wrfsbase {0}", in(reg) tcb, options(nostack));
        } else {
            raw::syscall(libc::SYS_arch_prctl, [ARCH_SET_FS, tcb, 0, 0, 0, 0]);
        }
    }
}

/// The DTV pointer of the TCB that the thread is on.
#[inline(always)]
pub fn dtv() -> usize {
    let now: usize;
    // SAFETY: reads glibc's DTV pointer.
    unsafe { asm!("mov {0}, fs:[{1}]", out(reg) now, const DTV, options(nostack, readonly)) };
    now
}

/// Replaces the DTV pointer; gives the old one.
///
/// # Safety
/// `new` must be a DTV of this thread.
#[inline(always)]
pub unsafe fn swap_dtv(new: usize) -> usize {
    let old = dtv();
    // SAFETY: the caller vouches for `new`.
    unsafe { asm!("mov fs:[{1}], {0}", in(reg) new, const DTV, options(nostack)) };
    old
}
