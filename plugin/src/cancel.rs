//! `pthread_cancel` of a thread that is inside a lower half waits until it is out: its cancellation points are
//! another libc's, which would end a thread that is not its own and unwind through the crossing.
//!
//! The canceller marks the thread, and the gate for good, and makes the thread pass a fence (`membarrier`): then either it
//! sees that the thread is inside, or the thread sees the marks when it leaves the gate or enters it the next time.

use crate::block::{self, Block, OUTSIDE};
use crate::{gate, raw, symbols};
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
///
/// # Safety
/// `b` must be the block of a thread that has not ended.
#[inline(always)]
pub unsafe fn word<'a>(b: *mut Block) -> &'a AtomicU32 {
    // SAFETY: the block lives as long as its thread; the word is used as an atomic one where others write.
    unsafe { AtomicU32::from_ptr(&raw mut (*b).registered) }
}

/// The calling thread's own.
#[inline(always)]
pub fn own_word<'a>() -> &'a AtomicU32 {
    // SAFETY: the block is this thread's.
    unsafe { word(block::mine()) }
}

/// libc's own function.
fn real(thread: libc::pthread_t) -> c_int {
    type Cancel = unsafe extern "C" fn(libc::pthread_t) -> c_int;
    static REAL: AtomicUsize = AtomicUsize::new(0);
    if REAL.load(Ordering::Relaxed) == 0 {
        let found = symbols::next(c"pthread_cancel").unwrap_or(0);
        REAL.store(found, Ordering::Relaxed);
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
        let b = (thread as usize).wrapping_add(block::offset()) as *mut Block;
        // SAFETY: the caller says that the thread is there.
        let (mark, state) = unsafe { (word(b), &(*b).doing.state) };
        if mark.load(Ordering::Acquire) != 0 {
            mark.fetch_or(CANCELLED, Ordering::SeqCst);
            gate::heed(gate::CANCELS, true);
            gate::fence_all();
            if state.load(Ordering::SeqCst) != OUTSIDE {
                return 0;
            }
        }
    }
    real(thread)
}

/// libc's cancel signal found the thread inside, or in a callback: it is delivered when the thread is out.
///
/// # Safety
/// `b` must be the calling thread's block.
pub unsafe fn put_off(b: *mut Block) {
    // SAFETY: as the caller says.
    unsafe { word(b) }.fetch_or(CANCELLED, Ordering::Relaxed);
    gate::heed(gate::CANCELS, true);
}

/// A marked thread goes in: nothing may cancel it there.
#[cold]
#[inline(never)]
pub fn hold() {
    let mut old = 0;
    // SAFETY: the block and the state are the calling thread's own.
    unsafe {
        if (*block::mine()).cancel_state == 0 {
            pthread_setcancelstate(DISABLE, &mut old);
            (*block::mine()).cancel_state = old as u32 + 1;
        }
    }
}

/// A marked thread has come out: its state is put back, and what came while it was inside is delivered. Who has cancelled it
/// may have seen it on its way in, and have left that to it; if not, libc has noted it already and does nothing more.
#[cold]
#[inline(never)]
pub fn deliver() {
    // SAFETY: as in `hold`.
    unsafe {
        let held = core::mem::take(&mut (*block::mine()).cancel_state);
        if held != 0 {
            pthread_setcancelstate(held as c_int - 1, core::ptr::null_mut());
        }
        real(libc::pthread_self());
    }
}
