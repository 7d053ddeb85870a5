//! Blocking collectives.

use super::super::abi::*;
use super::super::coll;
use super::super::front::finish;
use super::super::lower::Called;
use super::super::model::{comm as comms, Comm};
use super::{leave, leave_slowly, put_by, CALLS, WAITS};
use crate::gate::{self, TURNS};
use std::sync::atomic::Ordering::Relaxed;

/// A blocking collective, which `f` calls. What is rare goes the other way, by `coll::blocking`, with nothing done: then there
/// is no code. So do those with datatypes or an operator of the program's, whose handles, all in `kinds`, are negative.
/// `given`: what the other way takes.
#[inline(always)]
pub fn collective<T>(
    comm: i32,
    in_place: bool,
    kinds: i32,
    given: &mut T,
    f: impl FnOnce(&Comm) -> Called,
) -> Option<i32> {
    const { assert!(V_DATATYPE < 0 && V_OP < 0) }
    put_by(given);
    if kinds < 0 {
        return None;
    }
    let c = comms::get(comm).ok()?;
    let is_in = match in_place {
        true => gate::enter_in_place::<CALLS, TURNS>(),
        false => gate::enter_in_place::<WAITS, TURNS>(),
    };
    if !is_in {
        return None;
    }
    let Some(n) = coll::enter_unheld(c, in_place) else {
        return leave_slowly(None);
    };
    let called = f(c);
    if !called.succeeded() {
        return collective_ended(c, n, called);
    }
    if !coll::depart(c, n, false) {
        return take_back(c, n);
    }
    Some(match in_place {
        true => leave::<CALLS, _>(SUCCESS),
        false => leave::<WAITS, _>(SUCCESS),
    })
}

/// A collective has failed or was refused, or it has not happened: there was a restart.
#[cold]
#[inline(never)]
fn collective_ended(c: &Comm, n: u64, called: Called) -> Option<i32> {
    let outcome = called.outcome();
    if coll::over(c, n, &outcome, false) {
        leave_slowly(());
        return Some(finish(c.handle.load(Relaxed), outcome)); // an error handler may call MPI
    }
    take_back(c, n)
}

/// A collective has not happened.
#[cold]
#[inline(never)]
fn take_back(c: &Comm, n: u64) -> Option<i32> {
    coll::take_back(c, n);
    leave_slowly(None)
}
