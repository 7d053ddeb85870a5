//! `MPI_Isend` and, if the message is on its way already, the end of the request, in one crossing.
//!
//! A short message is, nearly always: then there is no request to be kept in the upper half, nor to be waited for.
//! MPICH's handle tells: all such sends share one request that is built in, not allocated.

use core::ffi::{c_int, CStr};
use core::sync::atomic::{AtomicUsize, Ordering};

type Isend = unsafe extern "C" fn(usize, c_int, c_int, c_int, c_int, c_int, *mut c_int) -> c_int;
type Wait = unsafe extern "C" fn(*mut c_int, usize) -> c_int;

/// `MPI_STATUS_IGNORE` of the MPICH ABI.
const IGNORE: usize = 1;
/// The bits of an MPICH handle that tell what it names, and how it was allocated.
const KIND: c_int = 0xfc00_0000_u32 as c_int;
/// A request that is built in.
const BUILT_IN: c_int = 0x6c00_0000;

/// The library's function.
fn find(cache: &AtomicUsize, name: &CStr) -> usize {
    if cache.load(Ordering::Relaxed) == 0 {
        // SAFETY: a lookup by name.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        cache.store(found as usize, Ordering::Relaxed);
    }
    cache.load(Ordering::Relaxed)
}

/// As `MPI_Isend` of the MPICH ABI, but that the request is `MPI_REQUEST_NULL` if the send is complete.
///
/// # Safety
/// As the MPI standard says of `MPI_Isend`.
#[no_mangle]
unsafe extern "C" fn splitproc_isend(
    buf: usize,
    n: c_int,
    datatype: c_int,
    dest: c_int,
    tag: c_int,
    comm: c_int,
    request: *mut c_int,
) -> c_int {
    static ISEND: AtomicUsize = AtomicUsize::new(0);
    static WAIT: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: the front has looked for these functions, which have these types, before it looked for this one.
    unsafe {
        let isend: Isend = core::mem::transmute(find(&ISEND, c"PMPI_Isend"));
        let wait: Wait = core::mem::transmute(find(&WAIT, c"PMPI_Wait"));
        match isend(buf, n, datatype, dest, tag, comm, request) {
            0 if *request & KIND == BUILT_IN => wait(request, IGNORE),
            code => code,
        }
    }
}
