//! libmpi.so.40: the front of Open MPI's ABI, as versions 4 and 5 have it.
//!
//! A predefined object is a variable that we export; its address is the handle, and its first word the canonical handle. A
//! program that was linked without PIC has a copy of the variable in itself, made by its dynamic linker: the copy
//! has the same first word, and the linker gives us the copy's address. Other handles are the model's own.
#![no_std]
#![allow(non_upper_case_globals, non_snake_case)]

pub mod attributes;
pub mod cxx;
mod errors;
pub mod fortran;
pub mod handlers;
pub mod internal;
pub mod requests;
pub mod sentinels;

use core::sync::atomic::{AtomicI32, Ordering::Relaxed};
use mpi_abi::{
    error_from_canonical, error_to_canonical, numbers, Abi, Kind, OpenMpi, OpenMpiStatus,
};
use mpi_front::temporary::{Ints, One, Statuses};
use mpi_front::*;

/// A predefined object, as large as Open MPI's: its libraries of other languages read and write in some.
#[repr(C, align(8))]
pub struct Object<const REST: usize> {
    /// The canonical handle.
    pub canonical: AtomicI32,
    gap: i32,
    rest: [u8; REST],
}

impl<const REST: usize> Object<REST> {
    const fn new(canonical: i32) -> Self {
        Object {
            canonical: AtomicI32::new(canonical),
            gap: 0,
            rest: [0; REST],
        }
    }
}

include!(concat!(env!("OUT_DIR"), "/objects.rs"));

/// What is no address of an object.
const LOWEST: usize = 4096;

/// The front.
#[derive(Clone, Copy, Debug)]
pub enum Own {}

type Its = OpenMpi;

impl Front for Own {
    type Abi = OpenMpi;
    type Status = OpenMpiStatus;
    const VERSION: Option<[i32; 2]> = Some([3, 1]);
    const ABI_VERSION: Option<[i32; 2]> = None;
    const LIBRARY: &'static str = "Open MPI v4.1.4, as splitproc's front over: ";
    const LAST_CODE: i32 = 92;
    const WINDOWS_ARE_FATAL: bool = true;

    #[inline(always)]
    unsafe fn handle(own: usize) -> i32 {
        if dynamic(own) {
            return own as i32;
        }
        if own < LOWEST {
            return 0; // wrong in every kind
        }
        // SAFETY: a handle that is not the model's is the address of an object.
        unsafe { (*(own as *const AtomicI32)).load(Relaxed) }
    }

    fn predefined(kind: Kind, canonical: i32) -> usize {
        // The two that come back often.
        if kind == Kind::Request && canonical == mpi_abi::canonical::REQUEST_NULL {
            return &raw const ompi_request_null as usize;
        }
        let found = table(kind).iter().find(|row| row.0 == canonical);
        // What is not in the table has no name in this ABI: the null object, which is first.
        let row = found.or(table(kind).first());
        row.map_or(0, |row| row.2.as_ptr() as usize)
    }

    fn to_fortran(kind: Kind, canonical: i32) -> i32 {
        let found = table(kind).iter().find(|row| row.0 == canonical);
        found.map_or(canonical, |row| row.1)
    }

    fn from_fortran(kind: Kind, number: i32) -> i32 {
        let found = table(kind).iter().find(|row| row.1 == number);
        // A negative number is the model's.
        let null = table(kind).first().map_or(0, |row| row.0);
        found.map_or(if number < 0 { number } else { null }, |row| row.0)
    }

    fn error_text(code: i32) -> Option<&'static str> {
        errors::TEXTS.get(usize::try_from(code).ok()?).copied()
    }
}

/// The functions.
#[allow(
    clippy::let_and_return,
    clippy::redundant_closure,
    clippy::too_many_arguments
)]
pub mod functions {
    use super::*;

    include!(concat!(env!("OUT_DIR"), "/exports.rs"));
    include!(concat!(env!("OUT_DIR"), "/fortran.rs"));
}
