//! The application, and what it executes, see the environment that the user set.
//!
//! The vector is edited in place: a program may bring a `setenv` of its own (bash does) and read the
//! original vector.

use core::ffi::{c_char, CStr};

const PRELOAD: &[u8] = b"LD_PRELOAD=";

/// Takes our libraries out of `LD_PRELOAD`; drops it if nothing is left, and `LHINFO_PTR` stays.
///
/// # Safety
/// `envp` must be the program's environment vector with writable strings.
pub unsafe fn clean(envp: *mut *mut c_char) {
    // SAFETY: the vector ends with a null pointer and its strings with a NUL; what is written is shorter.
    unsafe {
        let mut at = envp;
        while !(*at).is_null() {
            if !CStr::from_ptr(*at).to_bytes().starts_with(PRELOAD) || shorten(*at) {
                at = at.add(1);
                continue;
            }
            let mut hole = at;
            while !(*hole).is_null() {
                *hole = *hole.add(1);
                hole = hole.add(1);
            }
        }
    }
}

/// Rewrites one `LD_PRELOAD=…` without our entries. False: nothing is left.
unsafe fn shorten(entry: *mut c_char) -> bool {
    // SAFETY: as in `clean`.
    let old = unsafe { CStr::from_ptr(entry) }.to_bytes().to_vec();
    let ours =
        |p: &[u8]| p.ends_with(b"/libsplitproc.so") || p.windows(12).any(|w| w == b"/fronts/libm");
    let kept: Vec<&[u8]> = old[PRELOAD.len()..]
        .split(|c| *c == b':' || *c == b' ')
        .filter(|p| !p.is_empty() && !ours(p))
        .collect();
    let mut new = [PRELOAD, &kept.join(&b':')].concat();
    new.push(0);
    // SAFETY: never longer than the old string.
    unsafe { core::ptr::copy_nonoverlapping(new.as_ptr().cast(), entry, new.len()) };
    !kept.is_empty()
}
