//! A forked child can't use CUDA: the lower half's threads, and perhaps a lock of ours, are its parent's. What it calls gives the
//! error of a driver that is not initialised, as it does with NVIDIA's own, before anything is locked.

use super::codes::NOT_INITIALIZED;
use super::lower;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static FORKED: AtomicBool = AtomicBool::new(false);

/// Is this a forked child?
#[inline]
pub fn forked() -> bool {
    FORKED.load(Relaxed)
}

/// In the child, before `fork` returns there. Another thread may have had any lock.
extern "C" fn child() {
    FORKED.store(true, Relaxed);
}

/// From now on forked children know what they are.
pub fn watch() {
    // SAFETY: the function stays, and stores one word.
    unsafe { libc::pthread_atfork(None, None, Some(child)) };
}

/// What a child's call gives. Where CUDA is not initialised yet NVIDIA's driver would serve the child: it is told.
#[cold]
pub fn refused() -> i32 {
    static TOLD: AtomicBool = AtomicBool::new(false);
    const LINE: &[u8] = b"splitproc: a forked child can't use CUDA here, though its parent has not initialised it: let it execute a program\n";
    if !lower::active() && !TOLD.swap(true, Relaxed) {
        // SAFETY: writes a text; no lock of stderr's, which another thread may have had.
        unsafe { libc::write(libc::STDERR_FILENO, LINE.as_ptr().cast(), LINE.len()) };
    }
    NOT_INITIALIZED
}
