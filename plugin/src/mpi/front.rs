//! The exported functions, generated from `plugin/mpi/spec.txt`, and what they have in common.

use super::abi::*;
use super::lower::{self, ix, Fail, Outcome};
use super::model::request::Kind;
use super::start::{self, Message};
use super::{coll, errs, fileio, handle, icoll, large, p2p, persistent, quick, rma};
use crate::gate;

include!(concat!(env!("OUT_DIR"), "/exports.rs"));

/// Ends the program: a call that is not there yet is never passed through silently.
#[cold]
pub fn unsupported(name: &str) -> ! {
    refuse(&format!("MPI_{name}"))
}

/// The same for a function whose name has another beginning.
#[cold]
pub fn refuse(name: &str) -> ! {
    crate::streams::flush();
    eprintln!("splitproc: {name} is not supported yet");
    // SAFETY: ends the process.
    unsafe { libc::_exit(70) }
}

/// Turns an outcome into the code that the application gets, through the error handler.
#[inline(always)]
pub fn finish(comm: i32, outcome: Outcome) -> i32 {
    match outcome {
        Ok(SUCCESS) => SUCCESS,
        Ok(code) | Err(Fail::Code(code)) => errs::raise(comm, code),
        Err(Fail::Restarted) => errs::raise(comm, ERR_OTHER),
    }
}

/// Runs a call that has to complete before the process may stop.
#[inline(always)]
pub fn forward(comm: i32, f: impl FnOnce() -> Outcome) -> i32 {
    let inside = gate::enter(gate::Call::MustComplete);
    let outcome = f();
    drop(inside);
    finish(comm, outcome)
}

/// As `forward`, where other ranks wait inside the call until this one makes it as well.
pub fn forward_wanted(comm: i32, f: impl FnOnce() -> Outcome) -> i32 {
    let inside = gate::enter_wanted(gate::Call::MustComplete);
    let outcome = f();
    drop(inside);
    finish(comm, outcome)
}

/// Runs a re-executable call: after a restart it is translated and called again.
#[inline(always)]
pub fn again(mut f: impl FnMut() -> Outcome) -> Outcome {
    loop {
        match f() {
            Err(Fail::Restarted) => continue,
            other => return other,
        }
    }
}

/// Runs something on the model alone.
pub fn local(comm: i32, f: impl FnOnce() -> Result<(), Fail>) -> i32 {
    let inside = gate::enter(gate::Call::MustComplete);
    let outcome = f();
    drop(inside);
    finish(comm, outcome.map(|()| SUCCESS))
}

/// A query: the model is only read, so the gate need not be passed.
#[inline(always)]
pub fn query(comm: i32, f: impl FnOnce() -> Result<(), Fail>) -> i32 {
    finish(comm, f().map(|()| SUCCESS))
}

/// Stores a result where the application wants it.
///
/// # Safety
/// `at` must be a place for a `T`.
#[inline(always)]
pub unsafe fn put<T>(at: usize, value: T) {
    (at as *mut T).write(value);
}

/// Stores a status unless it is to be ignored.
///
/// # Safety
/// `at` must be `MPI_STATUS_IGNORE` or a place for a status.
#[inline(always)]
pub unsafe fn put_status(at: usize, mut status: Status) {
    if at != STATUS_IGNORE && at != 0 {
        let p = at as *mut Status;
        status.error = (*p).error; // only calls that return MPI_ERR_IN_STATUS set it
        p.write(status);
    }
}

/// Stores the empty status, its error as well, unless it is to be ignored.
///
/// # Safety
/// As `put_status`.
pub unsafe fn put_empty(at: usize) {
    if at != STATUS_IGNORE && at != 0 {
        put(at, Status::EMPTY);
    }
}

/// `n` values at an address.
///
/// # Safety
/// They must be there, and stay.
pub unsafe fn slice<'a, T>(at: usize, n: i32) -> &'a [T] {
    if n <= 0 || at == 0 {
        return &[];
    }
    std::slice::from_raw_parts(at as *const T, n as usize)
}

/// `n` places at an address.
///
/// # Safety
/// They must be there, stay, and be nobody else's.
pub unsafe fn slice_mut<'a, T>(at: usize, n: usize) -> &'a mut [T] {
    if n == 0 || at == 0 {
        return &mut [];
    }
    std::slice::from_raw_parts_mut(at as *mut T, n)
}
