//! Notes that a program makes priority-inheritance mutexes: they hold the kernel's thread ids, and a held one
//! can't be found from outside, so that a checkpoint is refused.

use crate::{raw, symbols};
use core::sync::atomic::{AtomicUsize, Ordering};
use lh_loader::lhinfo;

type SetProtocol = unsafe extern "C" fn(*mut libc::pthread_mutexattr_t, i32) -> i32;

/// libc's function, which this one stands before.
///
/// # Safety
/// As for libc's.
#[no_mangle]
pub unsafe extern "C" fn pthread_mutexattr_setprotocol(
    attributes: *mut libc::pthread_mutexattr_t,
    protocol: i32,
) -> i32 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: the next library's function of this name has this type; lhInfo is mapped if we are present.
    unsafe {
        if NEXT.load(Ordering::Relaxed) == 0 {
            let next = symbols::next(c"pthread_mutexattr_setprotocol");
            NEXT.store(next.unwrap_or(0), Ordering::Relaxed);
        }
        let next = NEXT.load(Ordering::Relaxed);
        if next == 0 {
            return libc::ENOSYS;
        }
        if protocol == libc::PTHREAD_PRIO_INHERIT && raw::present() {
            lhinfo::get().upper.pi_mutexes.store(1, Ordering::Release);
        }
        core::mem::transmute::<usize, SetProtocol>(next)(attributes, protocol)
    }
}
