//! Mutexes with priority inheritance, interposed for the half's libraries: they are made ordinary ones.
//!
//! The kernel reads the owner's tid in such a mutex. After a restart an adopted thread has another tid than the
//! one in its TCB, which the application knows: the kernel would find no owner, and libc waits for ever then.
//! Who holds the mutex, and who comes next, is the same without it; only priorities are not lent.

use core::ffi::c_int;
use core::sync::atomic::{AtomicUsize, Ordering};

type SetProtocol = unsafe extern "C" fn(*mut libc::pthread_mutexattr_t, c_int) -> c_int;

/// What the half's libraries call.
#[no_mangle]
unsafe extern "C" fn pthread_mutexattr_setprotocol(
    attributes: *mut libc::pthread_mutexattr_t,
    protocol: c_int,
) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    let protocol = match protocol {
        libc::PTHREAD_PRIO_INHERIT => libc::PTHREAD_PRIO_NONE,
        other => other,
    };
    // SAFETY: libc, which comes after this program, has a function of this name and type.
    unsafe {
        if REAL.load(Ordering::Relaxed) == 0 {
            let name = c"pthread_mutexattr_setprotocol";
            let found = libc::dlsym(libc::RTLD_NEXT, name.as_ptr());
            REAL.store(found as usize, Ordering::Relaxed);
        }
        let real: SetProtocol = core::mem::transmute(REAL.load(Ordering::Relaxed));
        real(attributes, protocol)
    }
}
