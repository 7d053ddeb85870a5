//! Functions that are more than translation.

use crate::functions::ix;
use crate::handles::{canonical, keep, native, set_extra, Kept};
use crate::{get, library, numbers, ops, put, Library};
use core::ffi::{c_void, CStr};
use core::mem::transmute;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use mpi_abi::canonical::{COMM_NULL, REQUEST_NULL};
use mpi_abi::Kind;

/// Open MPI's request of what was complete at once; 0 in another library.
static COMPLETE: AtomicUsize = AtomicUsize::new(0);

/// Takes what is looked up by name.
pub unsafe fn begin(look: unsafe fn(&CStr) -> *mut c_void) {
    COMPLETE.store(look(c"ompi_request_empty") as usize, Relaxed);
}

/// Is it Open MPI?
pub fn open_mpi() -> bool {
    COMPLETE.load(Relaxed) != 0
}

/// `MPI_Isend`, but that the request is `MPI_REQUEST_NULL` if the send is complete: short messages' are, and all share one
/// request of the library's.
pub unsafe extern "C" fn mpi_isend<A: Library>(
    buf: usize,
    n: i32,
    t: i32,
    dest: i32,
    tag: i32,
    comm: i32,
    request: usize,
) -> i32 {
    type Isend = unsafe extern "C" fn(usize, i32, usize, i32, i32, usize, *mut usize) -> i32;
    let f: Isend = transmute(library(ix::Isend));
    let mut made = 0;
    let code = f(
        buf,
        n,
        native(Kind::Datatype, t),
        A::rank_from_canonical(dest),
        tag,
        native(Kind::Comm, comm),
        &mut made,
    );
    if code != 0 {
        return numbers::code::<A>(code);
    }
    if made == COMPLETE.load(Relaxed) {
        put(request, REQUEST_NULL);
    } else {
        put(request, canonical(Kind::Request, made));
    }
    0
}

/// `MPI_Op_create`.
pub unsafe extern "C" fn mpi_op_create<A: Library>(
    function: usize,
    commute: i32,
    op: usize,
) -> i32 {
    const ERR_OTHER: i32 = mpi_abi::canonical::ERR_OTHER;
    let Some((ours, claimed)) = ops::claim(function) else {
        return ERR_OTHER;
    };
    type Create = unsafe extern "C" fn(usize, i32, *mut usize) -> i32;
    let f: Create = transmute(library(ix::Op_create));
    let mut made = 0;
    let code = f(ours, commute, &mut made);
    if code != 0 {
        ops::release(claimed);
        return numbers::code::<A>(code);
    }
    let handle = canonical(Kind::Op, made);
    set_extra(Kind::Op, handle, claimed);
    put(op, handle);
    0
}

/// What duplicates: the new communicator's handle is the library's to fill until the request is complete.
unsafe fn duplicate<A: Library>(
    comm: usize,
    request: usize,
    f: impl FnOnce(*mut usize, *mut usize) -> i32,
) -> i32 {
    put(comm, COMM_NULL);
    let kept = Kept::new(comm, 0);
    let mut made = 0;
    let code = f(&raw mut (*kept).comm, &mut made);
    if code != 0 {
        libc::free(kept.cast());
        return numbers::code::<A>(code);
    }
    let handle = canonical(Kind::Request, made);
    put(request, handle);
    keep(handle, kept);
    0
}

/// `MPI_Comm_idup`.
pub unsafe extern "C" fn mpi_comm_idup<A: Library>(comm: i32, new: usize, request: usize) -> i32 {
    type Idup = unsafe extern "C" fn(usize, *mut usize, *mut usize) -> i32;
    let f: Idup = transmute(library(ix::Comm_idup));
    duplicate::<A>(new, request, |n, r| f(native(Kind::Comm, comm), n, r))
}

/// `MPI_Comm_idup_with_info`.
pub unsafe extern "C" fn mpi_comm_idup_with_info<A: Library>(
    comm: i32,
    info: i32,
    new: usize,
    request: usize,
) -> i32 {
    type Idup = unsafe extern "C" fn(usize, usize, *mut usize, *mut usize) -> i32;
    let f: Idup = transmute(library(ix::Comm_idup_with_info));
    let (comm, info) = (native(Kind::Comm, comm), native(Kind::Info, info));
    duplicate::<A>(new, request, |n, r| f(comm, info, n, r))
}

/// `MPI_Comm_get_attr` of a predefined key; some values are ranks.
pub unsafe extern "C" fn mpi_comm_get_attr<A: Library>(
    comm: i32,
    key: i32,
    value: usize,
    flag: usize,
) -> i32 {
    static RANKS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    const HOST: i32 = 0x6440_0003;
    const IO: i32 = 0x6440_0005;
    type Get = unsafe extern "C" fn(usize, i32, usize, usize) -> i32;
    let f: Get = transmute(library(ix::Comm_get_attr));
    let code = f(
        native(Kind::Comm, comm),
        numbers::KEYVAL.from_canonical::<A>(key),
        value,
        flag,
    );
    if code == 0 && matches!(key, HOST | IO) && get::<i32>(flag) != 0 {
        let rank = A::rank_to_canonical(get(get(value)));
        let place = &RANKS[usize::from(key == IO)];
        place.store(rank as u32 as usize, Relaxed);
        put(value, place.as_ptr());
    }
    numbers::code::<A>(code)
}

/// `MPI_Win_get_attr` of a predefined key; some values are numbers that each ABI has its own for.
pub unsafe extern "C" fn mpi_win_get_attr<A: Library>(
    window: i32,
    key: i32,
    value: usize,
    flag: usize,
) -> i32 {
    static MODEL: AtomicUsize = AtomicUsize::new(0);
    const OF_MODEL: i32 = 0x6600_0009;
    type Get = unsafe extern "C" fn(usize, i32, usize, usize) -> i32;
    let f: Get = transmute(library(ix::Win_get_attr));
    let code = f(
        native(Kind::Window, window),
        numbers::KEYVAL.from_canonical::<A>(key),
        value,
        flag,
    );
    if code == 0 && key == OF_MODEL && get::<i32>(flag) != 0 {
        let model = numbers::MODEL.to_canonical::<A>(get(get(value)));
        MODEL.store(model as u32 as usize, Relaxed);
        put(value, MODEL.as_ptr());
    }
    numbers::code::<A>(code)
}
