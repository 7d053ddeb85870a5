//! The program's operators: the library calls them with its own datatype, so each has a function of ours before it.

use crate::handles::existing;
use core::mem::transmute;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use mpi_abi::Kind;

/// As many as the upper half has.
const POOL: usize = 64;
static FUNCTIONS: [AtomicUsize; POOL] = [const { AtomicUsize::new(0) }; POOL];

type Function = unsafe extern "C" fn(usize, usize, usize, *mut i32);

unsafe extern "C" fn trampoline<const SLOT: usize>(a: usize, b: usize, n: usize, t: *mut usize) {
    // SAFETY: the slot holds the function that the upper half gave, and the library calls it as MPI says.
    unsafe {
        let f: Function = transmute(FUNCTIONS[SLOT].load(Relaxed));
        f(a, b, n, &mut existing(Kind::Datatype, *t));
    }
}

macro_rules! pool {
    ($($n:literal)*) => { [$(trampoline::<$n>),*] };
}
static TRAMPOLINES: [unsafe extern "C" fn(usize, usize, usize, *mut usize); POOL] = pool!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
    32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
);

/// Our function for one of the upper half's, and what `release` takes; `None`: there are too many.
pub fn claim(function: usize) -> Option<(usize, usize)> {
    let free = |f: &AtomicUsize| f.compare_exchange(0, function, Relaxed, Relaxed).is_ok();
    let slot = FUNCTIONS.iter().position(free)?;
    Some((TRAMPOLINES[slot] as usize, slot + 1))
}

/// The operator is gone.
pub fn release(claimed: usize) {
    if let Some(slot) = FUNCTIONS.get(claimed.wrapping_sub(1)) {
        slot.store(0, Relaxed);
    }
}
