//! System calls that no router sees, for what the host does on the upper half's behalf.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

type RawSyscall = unsafe extern "C" fn(usize, usize, usize, usize, usize, usize, usize) -> isize;

/// The loader's function, once `init` has run; 0 in a process without a loader.
static RAW: AtomicUsize = AtomicUsize::new(0);

/// Notes the loader's function (`lhinfo.raw_syscall`).
pub fn init(raw: usize) {
    RAW.store(raw, Ordering::Release);
}

/// The first descriptor number that is not the application's.
pub fn fd_base() -> i32 {
    match RAW.load(Ordering::Acquire) {
        0 => lh_loader::layout::LOWER_FD_BASE,
        // SAFETY: the loader has mapped lhInfo.
        _ => unsafe { lh_loader::lhinfo::get() }
            .fd_base
            .load(Ordering::Relaxed) as i32,
    }
}

/// Makes a system call that is not routed.
///
/// # Safety
/// As for the system call.
pub unsafe fn raw(nr: libc::c_long, args: [usize; 6]) -> io::Result<usize> {
    let [a, b, c, d, e, f] = args;
    let result = match RAW.load(Ordering::Acquire) {
        // SAFETY: the caller's.
        0 => unsafe { lh_loader::arch::syscall6(nr as usize, a, b, c, d, e, f) },
        at => {
            // SAFETY: `init` was given the address of a function of this type.
            let call = unsafe { std::mem::transmute::<usize, RawSyscall>(at) };
            // SAFETY: the caller's.
            unsafe { call(nr as usize, a, b, c, d, e, f) }
        }
    };
    if (-4095..0).contains(&result) {
        return Err(io::Error::from_raw_os_error(-result as i32));
    }
    Ok(result as usize)
}

/// Makes a libc call's result a `Result`.
pub fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
