//! What the kernel is asked and told. No TLS, no allocation.

use core::sync::atomic::{AtomicU32, Ordering};
use lh_loader::arch::syscall6;
use lh_loader::futex;

/// The calling thread, as the kernel knows it.
pub fn gettid() -> u32 {
    // SAFETY: gettid has no arguments.
    unsafe { syscall6(libc::SYS_gettid as usize, 0, 0, 0, 0, 0, 0) as u32 }
}

/// Sets `word` and wakes whoever waits for it.
pub fn post(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::Release);
    futex::wake(word);
}
