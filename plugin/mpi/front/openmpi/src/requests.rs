//! Completing requests in Fortran: Open MPI's library reads the number that a request has there in the object itself, also of a
//! persistent one, which is still there.

use crate::fortran::end_of;
use crate::sentinels::{mpi_fortran_status_ignore_, mpi_fortran_statuses_ignore_};
use crate::Own;
use mpi_abi::canonical::{SUCCESS, UNDEFINED};
use mpi_abi::Kind;
use mpi_front::temporary::{Ints, One, Statuses};
use mpi_front::{canonical, Front};

/// So many requests of Fortran's, and where it has them.
struct Requests {
    own: Ints,
    at: *mut i32,
    n: i32,
}

impl Requests {
    /// # Safety
    /// They are there.
    unsafe fn new(n: i32, at: usize) -> Requests {
        let request = |number| Own::from_fortran(Kind::Request, number);
        // SAFETY: the caller's.
        let own = unsafe { Ints::numbers(at, i64::from(n), request) };
        let at = at as *mut i32;
        Requests { own, at, n }
    }

    /// Their address.
    fn words(&mut self) -> usize {
        self.own.at()
    }

    /// Stores what has become of them.
    ///
    /// # Safety
    /// As `new`.
    unsafe fn put(&mut self) {
        let own = self.own.at() as *const i32;
        for i in 0..self.n.max(0) as usize {
            // SAFETY: there are `n` here and there.
            unsafe {
                *self.at.add(i) = Own::to_fortran(Kind::Request, *own.add(i));
            }
        }
    }
}

/// A status or several at an address of Fortran's, as C knows it: null where they are ignored.
fn heeded(at: usize) -> usize {
    let ignored = [
        &raw const mpi_fortran_status_ignore_,
        &raw const mpi_fortran_statuses_ignore_,
    ];
    match ignored.contains(&(at as *const [i32; 2])) {
        true => 0,
        false => at,
    }
}

unsafe fn int(at: usize) -> i32 {
    // SAFETY: the caller's.
    unsafe { *(at as *const i32) }
}

/// Fortran counts from one.
///
/// # Safety
/// There are `n`.
unsafe fn count_from_one(indices: usize, n: i32) {
    for i in 0..n.max(0) as usize {
        // SAFETY: the caller's.
        unsafe {
            let index = (indices as *mut i32).add(i);
            if *index != UNDEFINED {
                *index += 1;
            }
        }
    }
}

/// Completes one request.
///
/// # Safety
/// As the MPI standard says of the arguments; `call` is given the addresses of a request and a status.
unsafe fn one(request: usize, status: usize, error: usize, call: impl FnOnce(usize, usize) -> i32) {
    // SAFETY: the caller's.
    unsafe {
        let mut all = Requests::new(1, request);
        let mut status = One::new::<Own>(heeded(status));
        let answer = call(all.words(), status.at());
        all.put();
        status.put::<Own>();
        end_of(answer, error);
    }
}

/// Completes any request of `n`: `call` is given their address and a status's.
///
/// # Safety
/// As `one`.
unsafe fn any(
    [n, requests, index, status, error]: [usize; 5],
    call: impl FnOnce(i32, usize, usize) -> i32,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut all = Requests::new(int(n), requests);
        let mut status = One::new::<Own>(heeded(status));
        let answer = call(int(n), all.words(), status.at());
        all.put();
        if answer == SUCCESS {
            count_from_one(index, 1);
        }
        status.put::<Own>();
        end_of(answer, error);
    }
}

/// Completes several requests of `n`: `call` is given their address and that of as many statuses, and says which are done,
/// where that is not told by the program's own places.
///
/// # Safety
/// As `one`.
unsafe fn many(
    [n, requests, statuses, error]: [usize; 4],
    call: impl FnOnce(i32, usize, usize) -> i32,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut all = Requests::new(int(n), requests);
        let mut statuses = Statuses::new::<Own>(heeded(statuses), i64::from(int(n)));
        let answer = call(int(n), all.words(), statuses.at());
        all.put();
        statuses.put::<Own>();
        end_of(answer, error);
    }
}

/// Completes some requests: `call` is also given the addresses of how many and which they are.
///
/// # Safety
/// As `one`.
unsafe fn some(
    [n, requests, count, indices, statuses, error]: [usize; 6],
    call: unsafe extern "C" fn(i32, usize, usize, usize, usize) -> i32,
) {
    // SAFETY: the caller's.
    unsafe {
        many([n, requests, statuses, error], |n, requests, statuses| {
            let answer = call(n, requests, count, indices, statuses);
            if answer == SUCCESS {
                count_from_one(indices, int(count));
            }
            answer
        });
    }
}

/// Declares functions of addresses.
macro_rules! functions {
    ($($name:ident($($p:ident),*) $body:block)*) => { $(
        /// The function of this name.
        /// # Safety
        /// As the MPI standard says of its arguments.
        pub unsafe fn $name($($p: usize),*) {
            // SAFETY: the caller's.
            unsafe { $body }
        }
    )* };
}

functions! {
    wait(request, status, error) { one(request, status, error, |r, s| canonical::Wait(r, s)) }
    test(request, flag, status, error) { one(request, status, error, |r, s| canonical::Test(r, flag, s)) }
    waitany(n, requests, index, status, error) {
        any([n, requests, index, status, error], |n, r, s| canonical::Waitany(n, r, index, s));
    }
    testany(n, requests, index, flag, status, error) {
        any([n, requests, index, status, error], |n, r, s| canonical::Testany(n, r, index, flag, s));
    }
    waitall(n, requests, statuses, error) {
        many([n, requests, statuses, error], |n, r, s| canonical::Waitall(n, r, s));
    }
    testall(n, requests, flag, statuses, error) {
        many([n, requests, statuses, error], |n, r, s| canonical::Testall(n, r, flag, s));
    }
    waitsome(n, requests, count, indices, statuses, error) {
        some([n, requests, count, indices, statuses, error], canonical::Waitsome);
    }
    testsome(n, requests, count, indices, statuses, error) {
        some([n, requests, count, indices, statuses, error], canonical::Testsome);
    }
}
