//! `pthread_key_t`s: on the shared FS all halves share the slots of one TCB, so each takes its keys from a range
//! of its own.
//!
//! Before any constructor of the half runs, the keys outside its range are taken and kept, so that the half's
//! libc hands out nothing else.

use core::ffi::{c_char, c_int};
use core::sync::atomic::{AtomicU32, Ordering};
use lh_loader::lhinfo::{self, KEYS_PER_BLOCK, KEY_BLOCKS};

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

/// Offset in a TCB of the pointers to blocks of keys (`struct pthread.specific`).
static FIRST: AtomicU32 = AtomicU32::new(0);

/// Finds that offset. False: this glibc does not tell.
pub fn find_blocks() -> bool {
    // SAFETY: a table that glibc keeps for debuggers, of this type wherever it is found.
    let field = unsafe { libc::dlsym(libc::RTLD_DEFAULT, KEY_BLOCKS.as_ptr()).cast::<[u32; 3]>() };
    // SAFETY: as above; null where it is missing.
    let first = lhinfo::key_blocks(unsafe { field.as_ref() });
    FIRST.store(first.unwrap_or(0), Ordering::Relaxed);
    first.is_some()
}
