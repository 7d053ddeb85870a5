//! The file creation mask: DMTCP does not bring it back.

use std::sync::atomic::{AtomicU32, Ordering};

static MASK: AtomicU32 = AtomicU32::new(0);

/// A checkpoint, while the program's threads are stopped.
pub fn save() {
    let mask = set(0);
    set(mask);
    MASK.store(mask, Ordering::Relaxed);
}

/// A restart.
pub fn restore() {
    set(MASK.load(Ordering::Relaxed));
}

fn set(mask: u32) -> u32 {
    // SAFETY: umask has no memory arguments.
    unsafe { libc::umask(mask) }
}
