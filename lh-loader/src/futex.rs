//! Waiting in the kernel for a word to change, and a lock by it.
//!
//! Runs in the router, in the restorer and on a half's donors, on any thread: no TLS, no allocation.

use crate::arch::syscall6;
use core::sync::atomic::{AtomicU32, Ordering::*};

/// States of a lock: free, held, held and waited for.
const FREE: u32 = 0;
const HELD: u32 = 1;
const WANTED: u32 = 2;

fn futex(word: &AtomicU32, operation: i32, value: u32) {
    let (nr, at) = (libc::SYS_futex as usize, word.as_ptr() as usize);
    let operation = (operation | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: waits on a word that the caller has borrowed, or wakes who waits there.
    unsafe { syscall6(nr, at, operation, value as usize, 0, 0, 0) };
}

/// Waits while the word has this value; it may come back earlier.
pub fn wait(word: &AtomicU32, value: u32) {
    futex(word, libc::FUTEX_WAIT, value);
}

/// Waits until the word has another value.
pub fn wait_while(word: &AtomicU32, value: u32) {
    while word.load(Acquire) == value {
        wait(word, value);
    }
}

/// Wakes all who wait for the word.
pub fn wake(word: &AtomicU32) {
    futex(word, libc::FUTEX_WAKE, i32::MAX as u32);
}

/// Takes a lock. Whoever it is taken from on a busy machine sleeps, and so lets the holder run.
pub fn lock(word: &AtomicU32) {
    if word.compare_exchange(FREE, HELD, Acquire, Relaxed).is_ok() {
        return;
    }
    while word.swap(WANTED, Acquire) != FREE {
        wait(word, WANTED);
    }
}

/// Gives it back.
pub fn unlock(word: &AtomicU32) {
    if word.swap(FREE, Release) == WANTED {
        wake(word);
    }
}
