//! The program's operators: the library calls them with its own datatype, so each has a function of ours before it.

use crate::handles::existing;
use core::mem::transmute;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use mpi_abi::{Kind, OPERATORS};

static FUNCTIONS: [AtomicUsize; OPERATORS] = [const { AtomicUsize::new(0) }; OPERATORS];

type Function = unsafe extern "C" fn(usize, usize, usize, *mut i32);

mpi_abi::thunks!(thunks: OPERATORS => operator);

/// Calls the upper half's function for the operator whose thunk is at `at`.
unsafe extern "C" fn operator(a: usize, b: usize, n: usize, t: *mut usize, at: usize) {
    // SAFETY: the slot holds the function that the upper half gave, and the library calls it as MPI says.
    unsafe {
        let f: Function = transmute(FUNCTIONS[thunks::number(at)].load(Relaxed));
        f(a, b, n, &mut existing(Kind::Datatype, *t));
    }
}

/// Our function for one of the upper half's, and what `release` takes; `None`: there are too many.
pub fn claim(function: usize) -> Option<(usize, usize)> {
    let free = |f: &AtomicUsize| f.compare_exchange(0, function, Relaxed, Relaxed).is_ok();
    let slot = FUNCTIONS.iter().position(free)?;
    Some((thunks::address(slot), slot + 1))
}

/// The operator is gone.
pub fn release(claimed: usize) {
    if let Some(slot) = FUNCTIONS.get(claimed.wrapping_sub(1)) {
        slot.store(0, Relaxed);
    }
}
