//! What a thread needs while it borrows a TCB: signals out of the way, a lock without futexes.
//! Runs without TLS; allocates nothing.

use super::syscall6;
use core::sync::atomic::{AtomicU32, Ordering};

/// Blocks all signals; gives the mask to restore.
pub fn block_signals() -> u64 {
    set_mask(!0)
}

/// Restores a mask from [`block_signals`].
pub fn restore_signals(mask: u64) {
    set_mask(mask);
}

/// Sets the mask; gives the old one.
fn set_mask(mask: u64) -> u64 {
    let mut old = 0u64;
    // SAFETY: the kernel reads and writes one 8-byte mask.
    unsafe {
        syscall6(
            libc::SYS_rt_sigprocmask as usize,
            libc::SIG_SETMASK as usize,
            &raw const mask as usize,
            &raw mut old as usize,
            8,
            0,
            0,
        )
    };
    old
}

/// Takes a lock word.
pub fn spin_lock(lock: &AtomicU32) {
    while lock
        .compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed)
        .is_err()
    {
        // SAFETY: sched_yield has no preconditions.
        unsafe { syscall6(libc::SYS_sched_yield as usize, 0, 0, 0, 0, 0, 0) };
    }
}

/// Gives a lock word back.
pub fn spin_unlock(lock: &AtomicU32) {
    lock.store(0, Ordering::Release);
}
