//! The threads that have ever passed the gate: a list of switch blocks.

use crate::block::{self, Block};
use crate::{adopt, gate, keys, raw};
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use lh_loader::arch;
use std::sync::OnceLock;

static HEAD: AtomicPtr<Block> = AtomicPtr::new(null_mut());
static LOCK: AtomicU32 = AtomicU32::new(0);
static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();
/// How often libc looks for thread-specific data with a destructor (`PTHREAD_DESTRUCTOR_ITERATIONS`).
const ROUNDS: u32 = 4;

/// Makes the key whose destructor notes a thread's end: early, so that its number is low.
pub fn init() {
    key();
}

fn key() -> libc::pthread_key_t {
    *KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: makes a key.
        unsafe { libc::pthread_key_create(&mut key, Some(thread_ends)) };
        key
    })
}

/// Enters the calling thread, once.
pub fn register() {
    let b = block::mine();
    // SAFETY: the block is this thread's own until it is in the list.
    unsafe {
        if (*b).registered != 0 {
            return;
        }
        libc::pthread_setspecific(key(), b as *const c_void);
        (*b).fs = arch::fs_base();
        locked(|| {
            if (*b).registered != 0 {
                return; // by a handler that has just come
            }
            (*b).next = HEAD.load(Ordering::Relaxed);
            HEAD.store(b, Ordering::Relaxed);
            (*b).registered = 1;
            (*b).doing.known.store(1, Ordering::Relaxed);
        });
    }
}

/// The calling thread is about to end, and DMTCP, which will not stop it any more, to wait until it is gone: it is
/// inside the gate until its last destructor has run. Waits here while the gate is closed.
pub fn ends() {
    // SAFETY: the block is the calling thread's own.
    unsafe { (*block::mine()).ending = ROUNDS };
    core::mem::forget(gate::enter_wanted(gate::Call::Ending));
}

/// The end-of-thread destructor. Its key's number is low, so that it runs before libc has looked at (and
/// emptied) the slots of the lower halves' keys. A later destructor that calls a lower half makes the thread
/// known again, and with that puts another call of this one into the next round.
unsafe extern "C" fn thread_ends(value: *mut c_void) {
    let b: *mut Block = value.cast();
    // SAFETY: runs in the ending thread, whose block this is.
    unsafe {
        let inside = gate::enter(gate::Call::MustComplete);
        adopt::leave();
        drop(inside);
        if (*b).ending > 1 {
            (*b).ending -= 1;
            libc::pthread_setspecific(key(), value);
            return;
        }
        locked(|| {
            let mut at = HEAD.as_ptr();
            while !(*at).is_null() {
                if *at == b {
                    *at = (*b).next;
                    break;
                }
                at = &raw mut (**at).next;
            }
            (*b).registered = 0;
            (*b).doing.known.store(0, Ordering::Relaxed);
        });
    }
}

/// Runs `f` under the lock. With signals blocked: a thread that is parked for a checkpoint must not hold it.
fn locked(f: impl FnOnce()) {
    let mask = raw::block_signals();
    arch::spin_lock(&LOCK);
    f();
    arch::spin_unlock(&LOCK);
    raw::restore_signals(mask);
}

/// Calls `f` for every registered thread's block.
pub fn each(mut f: impl FnMut(*mut Block)) {
    locked(|| {
        let mut at = HEAD.load(Ordering::Relaxed);
        while !at.is_null() {
            f(at);
            // SAFETY: blocks leave the list under the lock only.
            at = unsafe { (*at).next };
        }
    });
}

/// After a restart: no thread is known to the fresh halves.
pub fn forget_adoptions() {
    each(|b| {
        // SAFETY: every other thread is held until the replay is done.
        unsafe {
            (*b).ways = [block::NO_WAY; lh_loader::layout::MAX_HALVES];
            (*b).in_place.store(0, Ordering::Relaxed);
            (*b).donors = [0; lh_loader::layout::MAX_HALVES];
            keys::forget((*b).fs);
        }
    });
}
