//! Futex waits and the half's main lock. No TLS, no allocation.

use core::sync::atomic::{AtomicU32, Ordering};
use lh_loader::arch::syscall6;

/// The calling thread, as the kernel knows it.
pub fn gettid() -> u32 {
    // SAFETY: gettid has no arguments.
    unsafe { syscall6(libc::SYS_gettid as usize, 0, 0, 0, 0, 0, 0) as u32 }
}

/// Sleeps while `word` is `value`.
pub fn wait(word: &AtomicU32, value: u32) {
    while word.load(Ordering::Acquire) == value {
        // SAFETY: the word outlives the call; a spurious return only loops.
        unsafe { futex(word, libc::FUTEX_WAIT, value) };
    }
}

/// Sets `word` and wakes whoever waits for it.
pub fn post(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::Release);
    // SAFETY: as above.
    unsafe { futex(word, libc::FUTEX_WAKE, u32::MAX >> 1) };
}

unsafe fn futex(word: &AtomicU32, op: i32, value: u32) {
    let op = (op | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the caller keeps `word` alive.
    unsafe {
        let at = word.as_ptr() as usize;
        syscall6(libc::SYS_futex as usize, at, op, value as usize, 0, 0, 0)
    };
}
