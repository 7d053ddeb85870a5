//! Numbers that each ABI has its own for, and buffers.

use crate::functions::ix;
use crate::handles::Array;
use crate::{get, library, put, Library};
use core::mem::transmute;
use mpi_abi::canonical;
pub use mpi_abi::numbers::*;
use mpi_abi::Numbers;

/// A buffer: `MPI_IN_PLACE` is another address.
#[inline(always)]
pub fn buffer<A: Library>(at: usize) -> usize {
    if at == canonical::IN_PLACE {
        A::IN_PLACE
    } else {
        at
    }
}

/// What a function has returned.
#[inline(always)]
pub fn code<A: Library>(code: i32) -> i32 {
    if code == 0 {
        0
    } else {
        failed::<A>(code)
    }
}

/// The canonical class of an error. Of a code that is no class itself the library knows the class.
#[cold]
fn failed<A: Library>(code: i32) -> i32 {
    let mut class = code;
    let f = library(ix::Error_class);
    if f != 0 && !ERROR.rows.iter().any(|row| A::number(row) == Some(code)) {
        // SAFETY: it is the library's MPI_Error_class, which may be called at any time.
        unsafe {
            let f: unsafe extern "C" fn(i32, *mut i32) -> i32 = transmute(f);
            if f(code, &mut class) != 0 {
                class = code;
            }
        }
    }
    mpi_abi::error_to_canonical::<A>(class)
}

/// Makes the library's number of a canonical one.
#[inline(always)]
pub fn from<A: Library>(all: &'static Numbers) -> impl Fn(i32) -> i32 {
    move |value| all.from_canonical::<A>(value)
}

/// Makes the canonical number of one of the library's.
#[inline(always)]
pub fn to<A: Library>(all: &'static Numbers) -> impl Fn(i32) -> i32 {
    move |value| all.to_canonical::<A>(value)
}

/// A displacement of a file's view.
#[inline(always)]
pub fn displacement<A: Library>(at: i64) -> i64 {
    if at == canonical::DISPLACEMENT_CURRENT {
        A::DISPLACEMENT_CURRENT
    } else {
        at
    }
}

/// The library's numbers of the `n` canonical ones at `at`, or just room for them.
///
/// # Safety
/// They must be there if they are to be read.
pub unsafe fn read_numbers(
    at: usize,
    n: usize,
    read: bool,
    one: impl Fn(i32) -> i32,
) -> Array<i32> {
    let mut array = Array::new(if at == 0 { 0 } else { n }, 0);
    if read {
        for (i, v) in array.all().iter_mut().enumerate() {
            *v = one(get(at + 4 * i));
        }
    }
    array
}

/// Stores the canonical ones.
///
/// # Safety
/// There must be places for as many at `at`.
pub unsafe fn write_numbers(at: usize, mut array: Array<i32>, one: impl Fn(i32) -> i32) {
    for (i, v) in array.all().iter().enumerate() {
        put(at + 4 * i, one(*v));
    }
}
