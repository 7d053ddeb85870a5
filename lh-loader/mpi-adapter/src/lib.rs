//! The canonical MPI ABI (MPICH's) over a library that has Open MPI's or the standard's.
//!
//! Linked into the MPI lower half. Where the half has opened such a library, its `PMPI_` functions are looked up here:
//! `functions` has one for each, generated from the table of all functions, which translates handles, numbers and
//! statuses. It runs on the program's threads while they are in the half. No TLS; nothing is allocated but for long
//! arrays, and for what a non-blocking call reads until its end.
#![cfg_attr(not(test), no_std)]
#![allow(clippy::missing_safety_doc, clippy::too_many_arguments)]

mod accumulate;
mod errors;
mod functions;
mod handles;
mod numbers;
mod ops;
mod peers;
mod slab;
mod special;
mod statuses;

use core::ffi::{c_void, CStr};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use functions::{COUNT, NAMES};
use mpi_abi::{Abi, OpenMpi, Standard};

/// What is to be known of an ABI beside its numbers.
pub trait Library: Abi {
    /// Its status.
    type Status: Copy + Default + From<mpi_abi::canonical::Status>;

    /// A status as the canonical one.
    ///
    /// # Safety
    /// The library must have filled it, or nobody.
    unsafe fn canonical(status: &Self::Status) -> mpi_abi::canonical::Status;
}

impl Library for OpenMpi {
    type Status = mpi_abi::OpenMpiStatus;

    #[inline(always)]
    unsafe fn canonical(status: &Self::Status) -> mpi_abi::canonical::Status {
        (*status).into()
    }
}

impl Library for Standard {
    type Status = mpi_abi::StandardStatus;

    #[inline(always)]
    unsafe fn canonical(status: &Self::Status) -> mpi_abi::canonical::Status {
        (*status).into()
    }
}

/// The library's functions.
static LIBRARY: [AtomicUsize; COUNT] = [const { AtomicUsize::new(0) }; COUNT];
/// Ours; 0: the library has not got it, or the model does not need it.
static OURS: [AtomicUsize; COUNT] = [const { AtomicUsize::new(0) }; COUNT];
/// The library's `MPI_UNWEIGHTED` and `MPI_WEIGHTS_EMPTY`, which canonically are variables.
static WEIGHTS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
static ACTIVE: AtomicBool = AtomicBool::new(false);

/// The library's function of an index.
#[inline(always)]
fn library(index: usize) -> usize {
    LIBRARY[index].load(Relaxed)
}

/// What is at an address.
#[inline(always)]
unsafe fn get<T: Copy>(at: usize) -> T {
    (at as *const T).read()
}

/// Stores at an address.
#[inline(always)]
unsafe fn put<T>(at: usize, value: T) {
    (at as *mut T).write(value);
}

/// The ABI of an opened library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The canonical one: no adapter is needed.
    Canonical,
    /// Open MPI's.
    OpenMpi,
    /// The standard's.
    Standard,
}

/// The ABI of the library that the half has opened under this name. A library of the standard's ABI has the same functions
/// as another of its makers', so only its name tells.
///
/// # Safety
/// `look` must look a symbol up.
pub unsafe fn abi(path: &[u8], look: unsafe fn(&CStr) -> *mut c_void) -> Of {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
    if name.starts_with(b"libmpi_abi") {
        Of::Standard
    } else if !look(c"ompi_mpi_comm_world").is_null() {
        Of::OpenMpi
    } else {
        Of::Canonical
    }
}

/// Takes the library's functions and objects.
///
/// # Safety
/// As `abi`; before anything is called.
pub unsafe fn begin(abi: Of, look: unsafe fn(&CStr) -> *mut c_void) {
    match abi {
        Of::Canonical => return,
        Of::OpenMpi => {
            handles::begin(|object| symbol(object.symbol()?, look));
            fill::<OpenMpi>(look);
        }
        Of::Standard => {
            handles::begin(|object| object.standard().map(|n| n as usize));
            fill::<Standard>(look);
        }
    }
    ACTIVE.store(true, Relaxed);
}

/// The address of an object of the library.
unsafe fn symbol(name: &str, look: unsafe fn(&CStr) -> *mut c_void) -> Option<usize> {
    let mut text = [0u8; 64];
    text.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    let found = look(CStr::from_bytes_until_nul(&text).ok()?);
    (!found.is_null()).then_some(found as usize)
}

unsafe fn fill<A: Library>(look: unsafe fn(&CStr) -> *mut c_void) {
    let entries = functions::entries::<A>();
    for i in 0..COUNT {
        let found = look(NAMES[i]) as usize;
        LIBRARY[i].store(found, Relaxed);
        OURS[i].store(if found == 0 { 0 } else { entries[i] }, Relaxed);
    }
    for (slot, value) in WEIGHTS.iter().zip(A::WEIGHTS) {
        slot.store(value, Relaxed);
    }
    special::begin(look);
}

/// Our symbol of a name; `None`: it is no business of ours, and `Some(null)`: there is none.
pub fn find(name: &CStr) -> Option<*mut c_void> {
    if !ACTIVE.load(Relaxed) {
        return None;
    }
    let at = match name.to_bytes() {
        b"MPI_UNWEIGHTED" => WEIGHTS[0].as_ptr() as usize,
        b"MPI_WEIGHTS_EMPTY" => WEIGHTS[1].as_ptr() as usize,
        _ => {
            let found = NAMES.binary_search_by(|n| n.to_bytes().cmp(name.to_bytes()));
            OURS[found.ok()?].load(Relaxed)
        }
    };
    Some(at as *mut c_void)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_searched() {
        assert!(NAMES.windows(2).all(|w| w[0].to_bytes() < w[1].to_bytes()));
    }

    #[test]
    fn a_library_is_known_by_its_name_or_its_objects() {
        unsafe fn some(_: &CStr) -> *mut c_void {
            std::ptr::without_provenance_mut(1)
        }
        unsafe fn none(_: &CStr) -> *mut c_void {
            core::ptr::null_mut()
        }
        // SAFETY: both look nothing up.
        unsafe {
            assert_eq!(abi(b"/l/libmpi_abi.so.1", none), Of::Standard);
            assert_eq!(abi(b"/l/libmpi.so.40", some), Of::OpenMpi);
            assert_eq!(abi(b"libmpich.so.12", none), Of::Canonical);
        }
    }
}
