//! Blocking collectives.

use super::super::abi::*;
use super::super::coll;
use super::super::front::finish;
use super::super::lower::{self, call_by, Fail, Outcome};
use super::super::model::{comm as comms, Comm};
use super::{leave, leave_slowly, now, CALLS, WAITS};
use crate::block::Way;
use crate::gate::{self, TURNS};
use std::sync::atomic::Ordering::Relaxed;

/// The lower half's communicator, as an argument.
#[inline(always)]
pub fn lower_comm(c: &Comm) -> u64 {
    c.lower.load(Relaxed) as u64
}

/// [`call_by`], for [`collective`].
///
/// # Safety
/// As `call_by`.
#[inline(always)]
pub unsafe fn call(way: *mut Way, index: usize, args: &[u64]) -> Outcome {
    Ok(call_by(way, index, args)?)
}

/// A blocking collective, which `f` calls: what is rare goes to `slowly`, the same by `coll::blocking`, with nothing done.
#[inline(always)]
pub fn collective(
    comm: i32,
    in_place: bool,
    f: impl FnOnce(*mut Way, &Comm) -> Outcome,
    slowly: impl FnOnce() -> i32,
) -> i32 {
    let (Some(way), Ok(c)) = (lower::way(), comms::get(comm)) else {
        return slowly();
    };
    if !gate::enter_quickly::<CALLS, TURNS>() {
        return slowly();
    }
    if !in_place {
        now::<WAITS>();
    }
    let Some(n) = coll::enter_unheld(c, in_place) else {
        leave_slowly(());
        return slowly();
    };
    match f(way, c) {
        Ok(SUCCESS) if coll::depart(c, n, false) => {}
        Ok(SUCCESS) | Err(Fail::Restarted) => {
            coll::take_back(c, n);
            leave_slowly(());
            return slowly();
        }
        outcome => return collective_failed(c, n, outcome, slowly),
    }
    match in_place {
        true => leave::<CALLS, _>(SUCCESS),
        false => leave::<WAITS, _>(SUCCESS),
    }
}

/// A collective has failed, or was refused.
#[cold]
#[inline(never)]
fn collective_failed(c: &Comm, n: u64, outcome: Outcome, slowly: impl FnOnce() -> i32) -> i32 {
    let over = coll::over(c, n, &outcome, false);
    if !over {
        coll::take_back(c, n);
    }
    leave_slowly(());
    match over {
        true => finish(c.handle.load(Relaxed), outcome),
        false => slowly(),
    }
}
