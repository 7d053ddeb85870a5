//! One-sided operations: the lower half's, on its own window.

use super::abi::*;
use super::epochs;
use super::front::{finish, put};
use super::lower::{Fail, Outcome};
use super::model::lock;
use super::model::request::{self, Kind};
use super::model::window::{self, Window};
use crate::gate::{self, Call};

/// An operation on rank `rank`'s part of a window.
///
/// # Safety
/// `f` is the call, with its other arguments translated.
#[inline(always)]
pub unsafe fn operation(win: i32, rank: i32, f: impl FnOnce(&Window) -> Outcome) -> i32 {
    let inside = gate::enter(Call::MustComplete);
    let outcome = on(win, rank).and_then(f);
    drop(inside);
    match outcome {
        Ok(SUCCESS) => SUCCESS,
        other => finish(win, other),
    }
}

/// The window, if an operation on this rank may be begun.
#[inline(always)]
unsafe fn on(win: i32, rank: i32) -> Result<&'static Window, Fail> {
    let w = window::get(win)?;
    epochs::admit(w, rank)?;
    Ok(w)
}

/// An operation that makes a request, whose lower handle `f` has written.
///
/// # Safety
/// As [`operation`]; `out` is a place for a request.
pub unsafe fn request(
    index: usize,
    win: i32,
    rank: i32,
    out: usize,
    f: impl FnOnce(&Window, u64) -> Outcome,
) -> i32 {
    let inside = gate::enter(Call::MustComplete);
    let outcome = on(win, rank).and_then(|w| {
        let (h, r) = request::make(&lock(), Kind::Rma, w.comm, DATATYPE_NULL);
        r.function.set(index);
        match f(w, r.lower.as_ptr() as u64) {
            Ok(SUCCESS) => {
                r.quick.set(true);
                r.active.set(true);
                put(out, h);
                Ok(SUCCESS)
            }
            other => {
                request::release(&lock(), r);
                other
            }
        }
    });
    drop(inside);
    finish(win, outcome)
}
