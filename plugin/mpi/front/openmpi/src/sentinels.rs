//! What Open MPI's library has for that of Fortran, `libmpi_mpifh.so.40`: constants that are addresses, strings, and variables.

use crate::Own;
use core::ffi::{c_char, CStr};
use core::sync::atomic::{AtomicPtr, AtomicUsize};
use mpi_abi::canonical::{DATATYPE_NULL, SUCCESS};
use mpi_abi::{Kind, OpenMpiStatus};
use mpi_front::{canonical, own};

extern "C" {
    fn malloc(n: usize) -> *mut u8;
    fn calloc(n: usize, size: usize) -> *mut u8;
}

/// Variables whose addresses mean something in Fortran. A program has its own in common blocks: its dynamic linker gives us their
/// addresses.
macro_rules! sentinels {
    ($($name:ident)*) => { $(
        /// Fortran's constant of this name.
        #[no_mangle]
        pub static $name: [i32; 2] = [0; 2];
    )* };
}

sentinels! {
    mpi_fortran_bottom_ mpi_fortran_in_place_ mpi_fortran_argv_null_ mpi_fortran_argvs_null_ mpi_fortran_errcodes_ignore_
    mpi_fortran_status_ignore_ mpi_fortran_statuses_ignore_ mpi_fortran_unweighted_ mpi_fortran_weights_empty_
}

/// A pointer that C programs read.
#[repr(transparent)]
pub struct Pointer(*const [i32; 2]);
// SAFETY: it is never written, nor is what it points at.
unsafe impl Sync for Pointer {}

/// What a program in C passes on as Fortran's `MPI_STATUS_IGNORE`.
#[no_mangle]
pub static MPI_F_STATUS_IGNORE: Pointer = Pointer(&raw const mpi_fortran_status_ignore_);
/// Its `MPI_STATUSES_IGNORE`.
#[no_mangle]
pub static MPI_F_STATUSES_IGNORE: Pointer = Pointer(&raw const mpi_fortran_statuses_ignore_);

/// A message buffer of Fortran's, as C knows it.
pub fn buffer(at: usize) -> usize {
    if at == &raw const mpi_fortran_bottom_ as usize {
        0
    } else if at == &raw const mpi_fortran_in_place_ as usize {
        mpi_abi::canonical::IN_PLACE
    } else {
        at
    }
}

/// A function that is never called: its address says that nothing is to be converted.
macro_rules! conversions {
    ($($name:ident)*) => { $(
        /// `MPI_CONVERSION_FN_NULL`.
        #[no_mangle]
        pub extern "C" fn $name() {}
    )* };
}

conversions! {
    mpi_conversion_fn_null mpi_conversion_fn_null_ mpi_conversion_fn_null__ MPI_CONVERSION_FN_NULL mpi_conversion_fn_null_f
}

/// A status that says nothing.
#[no_mangle]
pub static ompi_status_empty: OpenMpiStatus = OpenMpiStatus {
    source: -1,
    tag: -1,
    error: 0,
    cancelled: 0,
    bytes: 0,
};

/// Whether arguments are looked at before they are used: never.
#[no_mangle]
pub static ompi_mpi_param_check: bool = false;
/// How far MPI has come: looked at with the arguments only.
#[no_mangle]
pub static ompi_mpi_state: i32 = 2;
/// Open MPI's own error numbers, of which we have none.
#[no_mangle]
pub static ompi_errcode_intern_lastused: i32 = 0;
/// They would be here.
#[no_mangle]
pub static ompi_errcodes_intern: [usize; 15] = [0; 15];

/// An error outside MPI's time: looked at with the arguments only.
///
/// # Safety
/// None is needed.
#[no_mangle]
pub unsafe extern "C" fn ompi_mpi_errors_are_fatal_comm_handler() {
    // SAFETY: MPI_COMM_WORLD always is.
    unsafe { canonical::Abort(mpi_abi::canonical::COMM_WORLD, 1) };
}

/// A list of Open MPI's: the libraries add data representations, which stay.
#[repr(C)]
pub struct List {
    object: [usize; 4],
    next: AtomicPtr<usize>,
    previous: AtomicPtr<usize>,
    rest: usize,
    length: AtomicUsize,
}

/// Data representations that the libraries have made.
#[no_mangle]
pub static ompi_registered_datareps: List = List {
    object: [0; 4],
    next: AtomicPtr::new(ENDS),
    previous: AtomicPtr::new(ENDS),
    rest: 0,
    length: AtomicUsize::new(0),
};
/// The item that is first and last of an empty list: two words behind its beginning.
const ENDS: *mut usize = (&raw const ompi_registered_datareps)
    .cast::<usize>()
    .wrapping_add(2)
    .cast_mut();

/// Makes a string of C of Fortran's, without the blanks around it.
///
/// # Safety
/// There are so many characters, and a place for the string.
#[no_mangle]
pub unsafe extern "C" fn ompi_fortran_string_f2c(at: *const u8, n: i32, out: *mut *mut u8) -> i32 {
    const OUT_OF_RESOURCE: i32 = -2;
    // SAFETY: the caller's.
    unsafe {
        let text = core::slice::from_raw_parts(at, n.max(0) as usize);
        let first = text.iter().position(|c| *c != b' ').unwrap_or(text.len());
        let last = text
            .iter()
            .rposition(|c| *c != b' ')
            .map_or(first, |i| i + 1);
        let text = &text[first..last];
        let new = malloc(text.len() + 1);
        if new.is_null() {
            return OUT_OF_RESOURCE;
        }
        new.copy_from_nonoverlapping(text.as_ptr(), text.len());
        new.add(text.len()).write(0);
        out.write(new);
    }
    SUCCESS
}

/// Stores a string of C as Fortran's, with blanks behind it.
///
/// # Safety
/// There is room for so many characters.
#[no_mangle]
pub unsafe extern "C" fn ompi_fortran_string_c2f(text: *const c_char, at: *mut u8, n: i32) -> i32 {
    // SAFETY: the caller's.
    unsafe {
        let text = CStr::from_ptr(text).to_bytes();
        let n = n.max(0) as usize;
        let used = text.len().min(n);
        at.copy_from_nonoverlapping(text.as_ptr(), used);
        at.add(used).write_bytes(b' ', n - used);
    }
    SUCCESS
}

/// Arguments for processes that MPI is to start, which is refused: none.
///
/// # Safety
/// There is a place for the list.
#[no_mangle]
pub unsafe extern "C" fn ompi_fortran_argv_blank_f2c(
    _at: usize,
    _n: i32,
    _next: i32,
    out: *mut usize,
) -> i32 {
    // SAFETY: the caller's.
    unsafe { out.write(0) };
    SUCCESS
}

/// The same for so many strings.
///
/// # Safety
/// There is a place for the list.
#[no_mangle]
pub unsafe extern "C" fn ompi_fortran_argv_count_f2c(
    _at: usize,
    _count: i32,
    _n: i32,
    _next: i32,
    out: *mut usize,
) -> i32 {
    // SAFETY: the caller's.
    unsafe { out.write(0) };
    SUCCESS
}

/// The same for so many programs.
///
/// # Safety
/// There is a place for the lists.
#[no_mangle]
pub unsafe extern "C" fn ompi_fortran_multiple_argvs_f2c(
    count: i32,
    _at: usize,
    _n: i32,
    out: *mut *mut u8,
) -> i32 {
    // SAFETY: the caller's.
    unsafe { out.write(calloc(count.max(1) as usize, size_of::<usize>())) };
    SUCCESS
}

/// The datatype of Fortran's with numbers of a kind, in so many bytes; the null one if there is none.
#[no_mangle]
pub extern "C" fn ompi_datatype_match_size(size: i32, kind: u16, _language: u16) -> usize {
    const INTEGER: u16 = 0x1000;
    const REAL: u16 = 0x2000;
    let class = match kind {
        INTEGER => 2,
        REAL => 1,
        _ => 3,
    };
    let mut found = DATATYPE_NULL;
    // SAFETY: there is room for a handle.
    unsafe { canonical::Type_match_size(class, size, &raw mut found as usize) };
    own::<Own>(Kind::Datatype, found)
}
