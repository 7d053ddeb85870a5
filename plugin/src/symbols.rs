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

/// The same in the libraries after this one. DMTCP 4 replaces `dlsym` by one that would look after itself.
pub fn next(name: &CStr) -> Option<usize> {
    type Look = unsafe extern "C" fn(*mut libc::c_void, *const libc::c_char) -> usize;
    match find(c"dmtcp_dlsym") {
        // SAFETY: the function has this type, and goes by the address that it returns to.
        Some(look) => unsafe {
            let look = core::mem::transmute::<usize, Look>(look);
            Some(look(libc::RTLD_NEXT, name.as_ptr())).filter(|found| *found != 0)
        },
        None => look(libc::RTLD_NEXT, name),
    }
}
