//! The MPI library's mutexes are led to `lh_loader::bias`, and the plugin tells when it is to be on.

use crate::got::Imports;
use core::ffi::{c_int, CStr};
use lh_loader::bias::{self, Function};

/// The plugin's helper, which is the calling thread, will call the library (0); it will not any more (1). The calling
/// thread will do so beside the helper (2); it will not any more (3).
#[no_mangle]
extern "C" fn splitproc_bias(what: c_int) {
    match what {
        0 => bias::pause(),
        1 => bias::want(),
        what => bias::assist(what == 2),
    }
}

/// Leads the calls of the library that a function lies in to our own. A library that hands its mutexes to anything but
/// lock and unlock, as conditions do, is left alone.
///
/// # Safety
/// The library has been opened, and has not been called.
pub unsafe fn begin(function: usize) {
    let Some(imports) = Imports::of(function) else {
        return;
    };
    let strange: [&CStr; 4] = [
        c"pthread_mutex_trylock",
        c"pthread_mutex_timedlock",
        c"pthread_cond_wait",
        c"pthread_cond_timedwait",
    ];
    if strange.iter().any(|name| imports.has(name)) {
        return;
    }
    let (lock, unlock) = (c"pthread_mutex_lock", c"pthread_mutex_unlock");
    // SAFETY: libc has both, and ours do what they do.
    unsafe {
        let real = [lock, unlock].map(|name| libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()));
        if bias::begin(real[0] as usize, real[1] as usize) {
            imports.lead(lock, bias::lock as Function as usize);
            imports.lead(unlock, bias::unlock as Function as usize);
        }
    }
}
