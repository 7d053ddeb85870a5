//! `pthread_key_t`s: on the shared FS all halves share the slots of one TCB, so each takes its keys from a range
//! of its own.
//!
//! Before any constructor of the half runs, the keys outside its range are taken and kept, so that the half's
//! libc hands out nothing else.

use core::ffi::{c_char, c_int};
use core::sync::atomic::{AtomicU32, Ordering};
use lh_loader::lhinfo::{self, KEYS_PER_BLOCK};

/// A key of our own; 0: none, on the borrowed way.
static OWN: AtomicU32 = AtomicU32::new(0);

/// `ld.so` calls this before the constructors of all libraries.
#[used]
#[link_section = ".preinit_array"]
static BURN: unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char) = burn;

unsafe extern "C" fn burn(_: c_int, _: *const *const c_char, envp: *const *const c_char) {
    // SAFETY: ld.so passes the environment (libc's own `environ` is not set yet); the loader's HalfStart and
    // its half outlive this program, and lhInfo is mapped.
    unsafe {
        let start = crate::half_start(envp);
        if (*(*start).half).shared_fs == 0 {
            return; // its threads have TCBs, and keys, of their own
        }
        let range = lhinfo::keys((*start).index, lhinfo::get().half_count);
        let mut key: libc::pthread_key_t = 0;
        while libc::pthread_key_create(&mut key, None) == 0 {}
        for key in range[0]..range[1] {
            libc::pthread_key_delete(key);
        }
        libc::pthread_key_create(&mut key, None);
        OWN.store(key, Ordering::Relaxed);
        (*(*start).half).keys = range;
    }
}

/// Makes the calling thread, one of this half's, run the destructors of values that it is given.
pub fn use_destructors() {
    let (own, any) = (OWN.load(Ordering::Relaxed), (&raw const OWN).cast());
    if own != 0 {
        // SAFETY: the key is ours; libc looks at a thread's values only if the thread has set one itself.
        unsafe { libc::pthread_setspecific(own, any) };
    }
}

/// Empties the slots of this half's keys in the TCB at `to`: what is there is of another generation.
pub unsafe fn clear(to: usize) {
    for slot in blocks() {
        // SAFETY: the caller says that `to` is a TCB; it is not in this half yet.
        unsafe { *((to + slot) as *mut usize) = 0 };
    }
}

/// Moves the second-level blocks of this half's keys from one TCB to another.
pub unsafe fn give(from: usize, to: usize) {
    for slot in blocks() {
        // SAFETY: both are TCBs of the same glibc build, and neither runs in this half meanwhile.
        unsafe { *((to + slot) as *mut usize) = ((from + slot) as *mut usize).replace(0) };
    }
}

/// Offsets in a TCB of the pointers to this half's second-level blocks.
fn blocks() -> impl Iterator<Item = usize> {
    let first = FIRST.load(Ordering::Relaxed) as usize;
    // SAFETY: the half's entry is valid.
    let keys = unsafe { (*crate::half()).keys };
    (keys[0] / KEYS_PER_BLOCK..keys[1] / KEYS_PER_BLOCK)
        .map(move |block| first + 8 * block as usize)
}

/// Offset of `struct pthread.specific`: pointers to blocks of 32 keys.
static FIRST: AtomicU32 = AtomicU32::new(0);

/// Finds that offset by setting a key and looking where its block went, because the structure is private.
/// Called on the half's main thread.
pub fn find_blocks() {
    let fs = lh_loader::arch::fs_base();
    let key = OWN.load(Ordering::Relaxed);
    // SAFETY: the scan stays inside struct pthread (2,304 bytes in glibc 2.36, and larger since), and the key
    // is ours.
    let at = unsafe {
        let mut before = [0usize; 256];
        core::ptr::copy_nonoverlapping(fs as *const usize, before.as_mut_ptr(), 256);
        libc::pthread_setspecific(key, fs as *const _);
        let inner = 16 * (key % KEYS_PER_BLOCK) as usize + 8;
        let at = (0..256).find(|&i| {
            let now = *((fs + 8 * i) as *const usize);
            now != before[i] && now > 4096 && *((now + inner) as *const usize) == fs
        });
        libc::pthread_setspecific(key, core::ptr::null());
        at
    };
    match at {
        Some(at) => {
            let first = 8 * (at - (key / KEYS_PER_BLOCK) as usize);
            FIRST.store(first as u32, Ordering::Relaxed);
        }
        None => lh_loader::die!(
            134,
            "this glibc keeps thread-specific data where splitproc can't find it"
        ),
    }
}
