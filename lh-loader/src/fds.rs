//! The launcher's descriptors: moved into the lower halves' range before anything else is opened.

use crate::arch::syscall6;
use crate::route::limits::{self, roomy};
use core::ffi::CStr;
use core::sync::atomic::{AtomicU32, Ordering};

/// Where PMI_FD went; 0 while it has not been moved.
static PMI_FD: AtomicU32 = AtomicU32::new(0);

/// The launcher's descriptor, if there was one.
pub fn launcher() -> Option<u32> {
    Some(PMI_FD.load(Ordering::Relaxed)).filter(|&fd| fd != 0)
}

/// The number, at or above [`limits::base`], that the inherited descriptor `fd` (decimal digits) now has.
///
/// Moved once, on the first call. A descriptor that can't be moved keeps its number.
pub fn moved(fd: &CStr) -> u32 {
    let known = PMI_FD.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let old: u32 = fd.to_str().ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    // SAFETY: fcntl and close on a number; nothing else runs yet.
    let new = unsafe {
        let (fcntl, how) = (libc::SYS_fcntl as usize, libc::F_DUPFD as usize);
        let new = roomy(|| syscall6(fcntl, old as usize, how, limits::base(), 0, 0, 0));
        if new >= 0 {
            syscall6(libc::SYS_close as usize, old as usize, 0, 0, 0, 0, 0);
        }
        new
    };
    let new = if new >= 0 { new as u32 } else { old };
    PMI_FD.store(new, Ordering::Relaxed);
    new
}
