//! The MPI library's progress function, through which a blocked thread goes again and again, first lets others call the
//! library, if the plugin says so.
//!
//! This code runs on upper-half threads, on the shared FS or on a borrowed TCB: it uses no TLS and allocates nothing.

use crate::got::Imports;
use core::ffi::{c_int, c_uint, c_void, CStr};
use core::mem::transmute;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering::Relaxed};

/// What an MPICH over UCX makes progress by.
const PROGRESS: &CStr = c"ucp_worker_progress";
/// What one imports that can also go by libfabric, which is not called through imports.
const OTHERWISE: &CStr = c"fi_getinfo";

type Progress = unsafe extern "C" fn(*mut c_void) -> c_uint;

static NOBODY: AtomicU32 = AtomicU32::new(0);
/// The plugin's word: not 0 while others want to call.
static OTHERS: AtomicPtr<AtomicU32> = AtomicPtr::new(&raw const NOBODY as *mut AtomicU32);
/// The plugin's function, which lets them.
static GIVE_WAY: AtomicUsize = AtomicUsize::new(0);
/// The library's own.
static REAL: AtomicUsize = AtomicUsize::new(0);
/// A function of the MPI library, an MPICH; 0: it is another.
static LIBRARY: AtomicUsize = AtomicUsize::new(0);

/// The library that this function lies in is an MPICH.
pub fn begin(function: usize) {
    LIBRARY.store(function, Relaxed);
}

/// In the place of the library's function.
unsafe extern "C" fn progress(worker: *mut c_void) -> c_uint {
    // SAFETY: a word of the plugin's, which lives as long as the process.
    if unsafe { (*OTHERS.load(Relaxed)).load(Relaxed) } != 0 {
        // SAFETY: the plugin's function.
        unsafe { transmute::<usize, extern "C" fn()>(GIVE_WAY.load(Relaxed))() };
    }
    // SAFETY: the caller's argument for the function that it meant to call.
    unsafe { transmute::<usize, Progress>(REAL.load(Relaxed))(worker) }
}

/// From now on threads give way while `others` is not 0. 0: this library has no such function that could be led here, and
/// needs locks of its own.
///
/// # Safety
/// The library has not been started. Both arguments stay valid.
#[no_mangle]
unsafe extern "C" fn splitproc_turn(others: *mut AtomicU32, give_way: usize) -> c_int {
    let fits = |imports: &Imports| imports.has(PROGRESS) && !imports.has(OTHERWISE);
    let Some(imports) = Imports::of(LIBRARY.load(Relaxed)).filter(fits) else {
        return 0;
    };
    // SAFETY: as above.
    let real = unsafe { libc::dlsym(libc::RTLD_DEFAULT, PROGRESS.as_ptr()) };
    if real.is_null() {
        return 0;
    }
    OTHERS.store(others, Relaxed);
    GIVE_WAY.store(give_way, Relaxed);
    REAL.store(real as usize, Relaxed);
    // SAFETY: ours does what that one does, and nobody calls yet.
    unsafe { imports.lead(PROGRESS, progress as Progress as usize) };
    1
}
