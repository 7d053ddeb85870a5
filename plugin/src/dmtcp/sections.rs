//! Sections of the program in which it wants no checkpoint: from `dmtcp_disable_ckpt` to `dmtcp_enable_ckpt`.
//!
//! DMTCP keeps a checkpoint out of them by a lock, which its own thread takes after the cut: a thread inside that called MPI
//! then would be held at the gate, and DMTCP's wait for it, for ever. So a cut begins at a moment when no thread of any rank
//! is inside, and those that come after that are held before the lock. They are held for a moment only if one stays inside:
//! it may wait for another rank that is about to go in.

use super::door::{pause, Door};
use super::kvdb;
use crate::symbols;
use core::ffi::c_int;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What both functions give where there is no DMTCP.
const NOT_PRESENT: c_int = 3;
/// For so many milliseconds threads are held while others are inside.
const MOMENT: u32 = 10;
/// What a cut ends with that has found a thread inside.
pub const INSIDE: &str = "between dmtcp_disable_ckpt and dmtcp_enable_ckpt";

/// DMTCP's functions; 0 as long as they are not known.
static DISABLE: AtomicUsize = AtomicUsize::new(0);
static ENABLE: AtomicUsize = AtomicUsize::new(0);
/// Through which threads go in.
static DOOR: Door = Door::new();

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
    DOOR.shut();
    let mut left = MOMENT;
    while !DOOR.is_empty() && left != 0 {
        pause();
        left -= 1;
    }
    match kvdb::first_that(!DOOR.is_empty())? {
        Some(rank) => Err(format!("rank {rank} is {INSIDE}")),
        None => Ok(()),
    }
}

/// Threads may go in again.
pub fn open() {
    DOOR.open();
}

/// In a forked child no other thread is there.
pub fn forked() {
    DOOR.forked(DEPTH.get() != 0);
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
        DOOR.go_in(|| true);
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
        DOOR.go_out();
    }
    result
}
