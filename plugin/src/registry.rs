//! The threads that have ever passed the gate: a list of switch blocks.

use crate::adopt;
use crate::block::{self, Block};
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::OnceLock;

static HEAD: AtomicPtr<Block> = AtomicPtr::new(null_mut());
static LOCK: AtomicU32 = AtomicU32::new(0);
static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();

/// glibc runs key destructors in up to four rounds; ours leaves in the last.
const LAST_ROUND: u32 = 3;

/// Enters the calling thread, once.
pub fn register() {
    let b = block::mine();
    // SAFETY: the block is this thread's own until it is in the list.
    unsafe {
        if (*b).registered != 0 {
            return;
        }
        let key = KEY.get_or_init(|| {
            let mut key = 0;
            libc::pthread_key_create(&mut key, Some(thread_ends));
            key
        });
        libc::pthread_setspecific(*key, b as *const c_void);
        (*b).fs = lh_loader::arch::fs_base();
        lh_loader::arch::spin_lock(&LOCK);
        (*b).next = HEAD.load(Ordering::Relaxed);
        HEAD.store(b, Ordering::Relaxed);
        (*b).registered = 1;
        lh_loader::arch::spin_unlock(&LOCK);
    }
}

/// The end-of-thread destructor. Other destructors may still call into a lower half, so it puts itself off
/// to the last round.
unsafe extern "C" fn thread_ends(value: *mut c_void) {
    let b: *mut Block = value.cast();
    // SAFETY: runs in the ending thread, whose block this is.
    unsafe {
        if (*b).rearmed < LAST_ROUND {
            (*b).rearmed += 1;
            if let Some(key) = KEY.get() {
                libc::pthread_setspecific(*key, value);
            }
            return;
        }
        adopt::leave();
        lh_loader::arch::spin_lock(&LOCK);
        let mut at = HEAD.as_ptr();
        while !(*at).is_null() {
            if *at == b {
                *at = (*b).next;
                break;
            }
            at = &raw mut (**at).next;
        }
        (*b).registered = 0;
        lh_loader::arch::spin_unlock(&LOCK);
    }
}

/// Calls `f` for every registered thread's block.
pub fn each(mut f: impl FnMut(*mut Block)) {
    lh_loader::arch::spin_lock(&LOCK);
    let mut at = HEAD.load(Ordering::Relaxed);
    while !at.is_null() {
        f(at);
        // SAFETY: blocks leave the list under the lock only.
        at = unsafe { (*at).next };
    }
    lh_loader::arch::spin_unlock(&LOCK);
}

/// After a restart: no thread is known to the fresh halves.
pub fn forget_adoptions() {
    each(|b| {
        // SAFETY: every other thread is held until the replay is done.
        unsafe {
            (*b).dtv = [0; lh_loader::layout::MAX_HALVES];
            (*b).lent = [0; lh_loader::layout::MAX_HALVES];
            (*b).donors = [0; lh_loader::layout::MAX_HALVES];
        }
    });
}
