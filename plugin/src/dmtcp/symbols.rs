//! Functions that are looked up at run time.

use std::ffi::CStr;

fn look(handle: *mut libc::c_void, name: &CStr) -> Option<usize> {
    // SAFETY: a pseudo-handle and a C string.
    let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
    (!found.is_null()).then_some(found as usize)
}

/// A function of whatever is loaded.
pub fn find(name: &CStr) -> Option<usize> {
    look(libc::RTLD_DEFAULT, name)
}

/// The same in the libraries after this one.
pub fn next(name: &CStr) -> Option<usize> {
    look(libc::RTLD_NEXT, name)
}
