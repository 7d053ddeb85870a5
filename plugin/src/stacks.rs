//! `pthread_create`, interposed: static TLS is taken from a thread's stack, so our own comes on top of the size that
//! the program asked for.

use crate::dmtcp::ends::{Start, Thread};
use crate::{raw, symbols};
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering};

/// The hole, the switch block, and what a first crossing puts on the stack.
const EXTRA: usize = crate::block::HOLE + 4096;

type Create = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    Start,
    *mut c_void,
) -> c_int;

/// libc's own function.
fn real() -> Create {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    if REAL.load(Ordering::Relaxed) == 0 {
        let found = symbols::next(c"pthread_create").unwrap_or(0);
        REAL.store(found, Ordering::Relaxed);
    }
    // SAFETY: every libc has the function, of this type.
    unsafe { core::mem::transmute(REAL.load(Ordering::Relaxed)) }
}

/// What the program calls.
///
/// # Safety
/// As `pthread_create`.
#[no_mangle]
pub unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attr: *const libc::pthread_attr_t,
    start: Start,
    arg: *mut c_void,
) -> c_int {
    let mut larger = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: as the caller says. libc only reads attributes at a creation, so that a copy, bit by bit, will do.
    unsafe {
        let mut wanted = attr;
        if raw::present() && !attr.is_null() {
            if let Some(size) = own_size(attr) {
                larger.as_mut_ptr().copy_from_nonoverlapping(attr, 1);
                if libc::pthread_attr_setstacksize(larger.as_mut_ptr(), size + EXTRA) == 0 {
                    wanted = larger.as_ptr();
                }
            }
        }
        let own = Thread::new(start, arg);
        let failed = real()(thread, wanted, own.start, own.arg);
        if failed != 0 {
            own.forget();
        }
        failed
    }
}

/// The size that is asked for; `None`: the default, or a stack that the program gives.
unsafe fn own_size(attr: *const libc::pthread_attr_t) -> Option<usize> {
    let (mut at, mut size) = (core::ptr::null_mut(), 0);
    // SAFETY: the caller gives valid attributes.
    unsafe { libc::pthread_attr_getstack(attr, &mut at, &mut size) };
    // Where no stack is given, glibc tells one that ends at address 0.
    let given = (at as usize).wrapping_add(size) != 0;
    (size != 0 && !given).then_some(size)
}
