//! libmpi_abi.so.1: the front of the standard ABI of MPI 5.0. Its predefined handles are numbers below 1024, each of one
//! object; others are the model's own.
#![no_std]

use mpi_abi::{
    error_from_canonical, error_to_canonical, numbers, Abi, Kind, Standard, StandardStatus, KINDS,
};
use mpi_front::temporary::{Ints, One, Statuses};
use mpi_front::*;

/// Predefined handles are below.
const NUMBERS: usize = 1024;

/// Canonical handles by the standard's.
static CANONICAL: [i32; NUMBERS] = {
    let mut all = [0; NUMBERS];
    let mut k = 0;
    while k < KINDS.len() {
        let objects = KINDS[k].predefined();
        let mut i = 0;
        while i < objects.len() {
            if let Some(number) = objects[i].standard() {
                all[number as usize] = objects[i].canonical;
            }
            i += 1;
        }
        k += 1;
    }
    all
};

/// The front.
#[derive(Clone, Copy, Debug)]
pub enum Own {}

type Its = Standard;

impl Front for Own {
    type Abi = Standard;
    type Status = StandardStatus;
    const VERSION: Option<[i32; 2]> = Some([5, 0]);
    const ABI_VERSION: Option<[i32; 2]> = Some([1, 0]);
    const LIBRARY: &'static str = "";
    const LAST_CODE: i32 = 0x3fff;
    const WINDOWS_ARE_FATAL: bool = false;

    #[inline(always)]
    unsafe fn handle(own: usize) -> i32 {
        match CANONICAL.get(own) {
            Some(handle) => *handle,
            None => own as i32,
        }
    }

    fn predefined(kind: Kind, canonical: i32) -> usize {
        let found = kind.canonical(canonical);
        // What has no number in this ABI: the null object, which is first.
        let object = found.or(kind.predefined().first());
        object.and_then(|p| p.standard()).unwrap_or(0) as usize
    }

    fn to_fortran(kind: Kind, canonical: i32) -> i32 {
        let number = kind.canonical(canonical).and_then(|p| p.standard());
        number.unwrap_or(canonical)
    }

    fn from_fortran(kind: Kind, number: i32) -> i32 {
        kind.standard(number).map_or(number, |p| p.canonical)
    }

    fn error_text(_: i32) -> Option<&'static str> {
        None
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
}

mpi_front::without_std!();
