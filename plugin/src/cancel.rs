//! `pthread_cancel` of a thread that is inside a lower half waits until it is out: its cancellation points are
//! another libc's, which would end a thread that is not its own and unwind through the crossing.
//!
//! The canceller marks the thread and makes it pass a fence (`membarrier`): then either it sees that the thread
//! is inside, or the thread sees the mark when it leaves the gate or enters it the next time.

use crate::block::{self, Block, OUTSIDE};
use crate::{gate, raw};
use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// In `Block::registered`: somebody has cancelled the thread.
pub const CANCELLED: u32 = 2;
/// `PTHREAD_CANCEL_DISABLE`.
const DISABLE: c_int = 1;

extern "C" {
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}

/// The word in a block that has the mark.
pub fn word<'a>(b: *mut Block) -> &'a AtomicU32 {
    // SAFETY: a block lives as long as its thread; the word is only used as an atomic one where others write.
    unsafe { AtomicU32::from_ptr(&raw mut (*b).registered) }
}

/// libc's own function.
fn real(thread: libc::pthread_t) -> c_int {
    type Cancel = unsafe extern "C" fn(libc::pthread_t) -> c_int;
    static REAL: AtomicUsize = AtomicUsize::new(0);
    if REAL.load(Ordering::Relaxed) == 0 {
        // SAFETY: searches the libraries after this one.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_cancel".as_ptr()) };
        REAL.store(found as usize, Ordering::Relaxed);
    }
    // SAFETY: every libc has the function, of this type; the thread is the caller's.
    unsafe { core::mem::transmute::<usize, Cancel>(REAL.load(Ordering::Relaxed))(thread) }
}

/// What the program calls.
///
/// # Safety
/// As `pthread_cancel`.
#[no_mangle]
pub unsafe extern "C" fn pthread_cancel(thread: libc::pthread_t) -> c_int {
    if raw::present() {
        // A pthread_t is the thread's TCB.
        let b = block::of(thread as usize);
        let mark = word(b);
        if mark.load(Ordering::Acquire) != 0 {
            mark.fetch_or(CANCELLED, Ordering::SeqCst);
            gate::fence_all();
            // SAFETY: the caller says that the thread is there.
            if unsafe { (*b).state.load(Ordering::SeqCst) } != OUTSIDE {
                return 0;
            }
        }
    }
    real(thread)
}

/// A marked thread goes in: nothing may cancel it there.
pub fn hold(b: *mut Block) {
    let mut old = 0;
    // SAFETY: the block and the state are the calling thread's own.
    unsafe {
        pthread_setcancelstate(DISABLE, &mut old);
        (*b).cancel_state = old as u32 + 1;
    }
}

/// A marked thread has come out: puts its state back, or delivers what came while it was inside.
pub fn deliver(b: *mut Block) {
    // SAFETY: as in `hold`.
    unsafe {
        match core::mem::take(&mut (*b).cancel_state) {
            0 => {
                real(libc::pthread_self());
            }
            state => {
                pthread_setcancelstate(state as c_int - 1, core::ptr::null_mut());
            }
        }
    }
}
