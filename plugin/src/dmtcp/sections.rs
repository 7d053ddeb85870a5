//! Sections of the program in which it wants no checkpoint: from `dmtcp_disable_ckpt` to `dmtcp_enable_ckpt`.
//!
//! DMTCP keeps a checkpoint out of them by a lock, which its own thread takes after the cut: a thread inside that called MPI
//! then would be held at the gate, and DMTCP's wait for it, for ever. So a cut begins at a moment when no thread of any rank
//! is inside, and those that come after that are held before the lock. They are held for a moment only if one stays inside:
//! it may wait for another rank that is about to go in.

use super::{births, kvdb};
use crate::symbols;
use core::ffi::c_int;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*};

/// What both functions give where there is no DMTCP.
const NOT_PRESENT: c_int = 3;
/// For so many milliseconds threads are held while others are inside.
const MOMENT: u32 = 10;
/// What a cut ends with that has found a thread inside.
pub const INSIDE: &str = "between dmtcp_disable_ckpt and dmtcp_enable_ckpt";

/// DMTCP's functions; 0 as long as they are not known.
static DISABLE: AtomicUsize = AtomicUsize::new(0);
static ENABLE: AtomicUsize = AtomicUsize::new(0);
/// How many threads are inside, or look whether they may go in.
static THREADS: AtomicU32 = AtomicU32::new(0);
/// No thread may go in.
static CLOSED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// How many sections the thread is in, one in another.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Looks DMTCP's functions up.
pub fn init() {
    let next = |name| symbols::next(name).unwrap_or(0);
    DISABLE.store(next(c"dmtcp_disable_ckpt"), Relaxed);
    ENABLE.store(next(c"dmtcp_enable_ckpt"), Relaxed);
}

/// From now on no thread of any rank is inside, if no error is given.
pub fn close() -> Result<(), String> {
    CLOSED.store(true, SeqCst);
    let mut left = MOMENT;
    while THREADS.load(SeqCst) != 0 && left != 0 {
        births::pause();
        left -= 1;
    }
    let inside = THREADS.load(SeqCst) != 0;
    match kvdb::first_that(inside)? {
        Some(rank) => Err(format!("rank {rank} is {INSIDE}")),
        None => Ok(()),
    }
}

/// Threads may go in again.
pub fn open() {
    CLOSED.store(false, SeqCst);
}

/// In a forked child no other thread is there.
pub fn forked() {
    CLOSED.store(false, SeqCst);
    THREADS.store(u32::from(DEPTH.get() != 0), SeqCst);
}

/// DMTCP's function.
///
/// # Safety
/// It is one of the two above.
unsafe fn call(function: &AtomicUsize) -> c_int {
    match function.load(Relaxed) {
        0 => NOT_PRESENT,
        // SAFETY: it has this type.
        f => unsafe { core::mem::transmute::<usize, extern "C" fn() -> c_int>(f)() },
    }
}

/// DMTCP's `dmtcp_disable_ckpt`.
#[no_mangle]
pub extern "C" fn dmtcp_disable_ckpt() -> c_int {
    if DEPTH.replace(DEPTH.get() + 1) == 0 {
        loop {
            THREADS.fetch_add(1, SeqCst);
            if !CLOSED.load(SeqCst) {
                break;
            }
            THREADS.fetch_sub(1, SeqCst);
            births::pause();
        }
    }
    // SAFETY: one of the two.
    unsafe { call(&DISABLE) }
}

/// DMTCP's `dmtcp_enable_ckpt`.
#[no_mangle]
pub extern "C" fn dmtcp_enable_ckpt() -> c_int {
    // SAFETY: one of the two.
    let result = unsafe { call(&ENABLE) };
    if DEPTH.replace(DEPTH.get().saturating_sub(1)) == 1 {
        THREADS.fetch_sub(1, SeqCst);
    }
    result
}
