//! Blocking collectives.

use super::super::abi::*;
use super::super::coll;
use super::super::front::finish;
use super::super::lower::{self, call_by, Fail, Outcome};
use super::super::model::{comm as comms, Comm};
use super::{leave, leave_slowly, CALLS, WAITS};
use crate::block::Way;
use crate::crossing::Restarted;
use crate::gate::{self, TURNS};
use std::sync::atomic::Ordering::Relaxed;

/// [`call_by`], for [`collective`].
///
/// # Safety
/// As `call_by`.
#[inline(always)]
pub unsafe fn call(way: *mut Way, index: usize, args: &[u64]) -> Outcome {
    match call_by(way, index, args) {
        Ok(code) => Ok(code),
        Err(Restarted) => restarted(),
    }
}

/// Stands apart, so that the usual outcome is looked at where it comes.
#[cold]
#[inline(never)]
fn restarted() -> Outcome {
    Err(Fail::Restarted)
}

/// A blocking collective, which `f` calls. What is rare goes the other way, by `coll::blocking`, with nothing done: then there
/// is no code.
#[inline(always)]
pub fn collective(
    comm: i32,
    in_place: bool,
    f: impl FnOnce(*mut Way, &Comm) -> Outcome,
) -> Option<i32> {
    let (way, c) = (lower::way()?, comms::get(comm).ok()?);
    let is_in = match in_place {
        true => gate::enter_quickly::<CALLS, TURNS>(),
        false => gate::enter_quickly::<WAITS, TURNS>(),
    };
    if !is_in {
        return None;
    }
    let Some(n) = coll::enter_unheld(c, in_place) else {
        return leave_slowly(None);
    };
    match f(way, c) {
        Ok(SUCCESS) if coll::depart(c, n, false) => {}
        outcome => return collective_ended(c, n, outcome),
    }
    Some(match in_place {
        true => leave::<CALLS, _>(SUCCESS),
        false => leave::<WAITS, _>(SUCCESS),
    })
}

/// A collective has failed or was refused, or it has not happened: there was a restart.
#[cold]
#[inline(never)]
fn collective_ended(c: &Comm, n: u64, outcome: Outcome) -> Option<i32> {
    let happened = !matches!(outcome, Ok(SUCCESS) | Err(Fail::Restarted));
    if happened && coll::over(c, n, &outcome, false) {
        leave_slowly(());
        return Some(finish(c.handle.load(Relaxed), outcome)); // an error handler may call MPI
    }
    coll::take_back(c, n);
    leave_slowly(None)
}
