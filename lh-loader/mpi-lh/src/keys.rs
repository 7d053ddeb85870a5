//! `pthread_key_t`s: on the shared FS all halves share the slots of one TCB, so each takes its keys from a range
//! of its own.
//!
//! Before any constructor of the half runs, the keys below its range are taken and kept, so that the half's
//! libc hands out nothing else. The upper half has the first [`UPPER_KEYS`] of glibc's 1,024.

use core::ffi::{c_char, c_int};

/// Keys left to the upper half.
pub const UPPER_KEYS: u32 = 512;
/// Keys of each lower half.
pub const HALF_KEYS: u32 = 64;

/// `ld.so` calls this before the constructors of all libraries.
#[used]
#[link_section = ".preinit_array"]
static BURN: unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char) = burn;

unsafe extern "C" fn burn(_: c_int, _: *const *const c_char, envp: *const *const c_char) {
    // SAFETY: ld.so passes the environment (libc's own `environ` is not set yet); the loader's HalfStart and
    // its half outlive this program.
    unsafe {
        let start = crate::half_start(envp);
        if (*(*start).half).shared_fs == 0 {
            return; // its threads have TCBs, and keys, of their own
        }
        let first = UPPER_KEYS + ((*start).index - 1) * HALF_KEYS;
        let mut key: libc::pthread_key_t = 0;
        while libc::pthread_key_create(&mut key, None) == 0 && key + 1 < first {}
        (*(*start).half).keys = [first, first + HALF_KEYS];
    }
}
