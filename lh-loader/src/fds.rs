//! The launcher's descriptors: moved into the lower halves' range before anything else is opened.

use crate::arch::syscall6;
use crate::route::limits::{self, roomy};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Where PMI_FD went; 0 while it has not been moved.
static PMI_FD: AtomicU32 = AtomicU32::new(0);

/// Inode of the launcher's socket, which is never used for another one while it is open.
static INODE: AtomicU64 = AtomicU64::new(0);

/// The launcher's descriptor, if there was one: MPI closes it at its end, and the number may be another's now.
pub fn launcher() -> Option<u32> {
    let fd = Some(PMI_FD.load(Ordering::Relaxed)).filter(|&fd| fd != 0)?;
    (inode(fd)? == INODE.load(Ordering::Relaxed)).then_some(fd)
}

/// An open descriptor's inode.
fn inode(fd: u32) -> Option<u64> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    let (nr, to) = (libc::SYS_fstat as usize, stat.as_mut_ptr() as usize);
    // SAFETY: `stat` is large enough, and was zero before.
    unsafe {
        let result = syscall6(nr, fd as usize, to, 0, 0, 0, 0);
        (result == 0).then_some(stat.assume_init().st_ino)
    }
}

/// Moves a descriptor up; `None`: it can't be.
fn up(old: u32) -> Option<u32> {
    // SAFETY: fcntl and close on a number; nothing else runs yet.
    unsafe {
        let (fcntl, how) = (libc::SYS_fcntl as usize, libc::F_DUPFD as usize);
        let new = roomy(|| syscall6(fcntl, old as usize, how, limits::base(), 0, 0, 0));
        if new < 0 {
            return None;
        }
        syscall6(libc::SYS_close as usize, old as usize, 0, 0, 0, 0, 0);
        Some(new as u32)
    }
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
    // What an executed program inherits has such a number already.
    let new = if old as usize >= limits::base() {
        old
    } else {
        up(old).unwrap_or(old)
    };
    INODE.store(inode(new).unwrap_or(0), Ordering::Relaxed);
    PMI_FD.store(new, Ordering::Relaxed);
    new
}
