//! Statuses.

use crate::handles::Array;
use crate::{get, put, Library};
use core::mem::size_of;
use mpi_abi::canonical::{Status, STATUS_IGNORE};

/// Is the status at this address to be ignored?
#[inline(always)]
fn ignored(at: usize) -> bool {
    at == STATUS_IGNORE || at == 0
}

/// Where the library puts a status.
#[inline(always)]
pub fn place<A: Library>(at: usize, own: &mut A::Status) -> usize {
    if ignored(at) {
        A::STATUS_IGNORE
    } else {
        own as *mut A::Status as usize
    }
}

/// Stores a status.
///
/// # Safety
/// `at` must be to be ignored, or a place for one.
#[inline(always)]
pub unsafe fn store<A: Library>(at: usize, own: &A::Status) {
    if !ignored(at) {
        put(at, A::canonical(own));
    }
}

/// The library's form of a status.
///
/// # Safety
/// There must be one at `at`.
pub unsafe fn load<A: Library>(at: usize) -> A::Status {
    get::<Status>(at).into()
}

/// An array of them.
pub struct Statuses<A: Library>(Option<Array<A::Status>>);

impl<A: Library> Statuses<A> {
    /// Room for `n`, unless they are to be ignored.
    pub fn new(at: usize, n: usize) -> Self {
        Statuses((!ignored(at)).then(|| Array::new(n, A::Status::default())))
    }

    /// Its address.
    pub fn at(&mut self) -> usize {
        self.0.as_mut().map_or(A::STATUS_IGNORE, Array::at)
    }

    /// Stores the first `n`.
    ///
    /// # Safety
    /// As `store`, for so many.
    pub unsafe fn write(mut self, at: usize, n: i64) {
        let all = self.0.as_mut().map_or(&mut [][..], Array::all);
        for (i, s) in all.iter().take(n.max(0) as usize).enumerate() {
            put(at + i * size_of::<Status>(), A::canonical(s));
        }
    }
}
