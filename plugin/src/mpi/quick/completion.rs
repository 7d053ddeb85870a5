//! Receives that are waited for or tested.

use super::super::abi::*;
use super::super::front::put_status;
use super::super::lower::{self, call_by, ix, must_by};
use super::super::model::request::{self, Request, COMPLETE};
use super::super::model::{alone, lock, Alone};
use super::super::together::status_at;
use super::super::{complete, turn};
use super::{now, place, Place, CALLS, CONCLUDES, ORDINARY, PREPARES, WAITS};
use crate::block::{Way, NOTHING};
use crate::gate::{self, SEVERAL, TURNS};

/// `MPI_Wait`: false if this has to go the other way.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn wait(at: usize, status: usize) -> bool {
    let handle = at as *mut i32;
    if *handle == COMPLETE {
        *handle = REQUEST_NULL;
        if !matches!(status, 0 | STATUS_IGNORE) {
            let place = status as *mut Status;
            let error = (*place).error;
            *place = Status {
                error,
                ..Status::EMPTY
            };
        }
        return true;
    }
    wait_for(handle, status, false)
}

/// `MPI_Waitall` for the first of `n` requests: how many are done, with their statuses.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn waitall(n: usize, at: *mut i32, statuses: usize) -> usize {
    for i in 0..n {
        let (handle, status) = (&mut *at.add(i), status_at(statuses, i));
        if *handle == COMPLETE {
            *handle = REQUEST_NULL;
            if status != STATUS_IGNORE {
                *(status as *mut Status) = Status::EMPTY;
            }
        } else if !wait_in(handle, status) {
            return i;
        }
    }
    n
}

/// Waits for one of several receives; false if this has to go the other way.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn wait_in(handle: &mut i32, status: usize) -> bool {
    wait_for(handle, status, true)
}

/// Waits for a receive; false if this has to go the other way. `error`: of the status the error is set too.
#[inline(always)]
unsafe fn wait_for(handle: *mut i32, status: usize, error: bool) -> bool {
    let Some((way, r)) = claim(*handle) else {
        return false;
    };
    let mut own = Status::EMPTY;
    let at = place(status, r.peer.get(), &mut own);
    now::<WAITS>();
    let args = [r.lower.as_ptr() as u64, at.given as u64];
    let outcome = call_by(way, ix::Wait, &args);
    turn::end_but_for_mark();
    now::<CONCLUDES>();
    let (Ok(SUCCESS), Some(alone)) = (outcome, alone()) else {
        return note(r, outcome.ok(), at);
    };
    if !concludes(r, at, &alone) {
        return note(r, Some(SUCCESS), at);
    }
    if error {
        (*at.read).error = SUCCESS;
    }
    *handle = REQUEST_NULL;
    gate::leave(true)
}

/// The receive that a handle names, if only the lower half can say whether it is complete, with the way there: no other
/// thread looks at it from now on, and the calling one is inside the gate, and works on the model.
#[inline(always)]
unsafe fn claim(handle: i32) -> Option<(*mut Way, &'static Request)> {
    let way = lower::way()?;
    if !gate::enter_quickly::<PREPARES, { TURNS | SEVERAL }>() {
        return None;
    }
    let Some(r) = request::open(handle).filter(|r| r.receives()) else {
        now::<NOTHING>();
        return None;
    };
    r.waiting.set(true);
    Some((way, r))
}

/// Counts a message that was received, and gives its request back; not if there may be none.
#[inline(always)]
unsafe fn concludes(r: &'static Request, at: Place, alone: &Alone) -> bool {
    // Of a receive from nobody the lower half may say anything.
    if (*at.read).cancelled() || r.peer.get() == PROC_NULL {
        return false;
    }
    if let Some(traffic) = r.comm.get().and_then(|c| c.traffic((*at.read).source)) {
        traffic.receive_alone(alone);
    }
    request::release(alone, r);
    true
}

/// `MPI_Test`: false if this has to go the other way.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn test(at: usize, flag: usize, status: usize) -> bool {
    let handle = at as *mut i32;
    let Some((way, r)) = claim(*handle) else {
        return false;
    };
    // The application's stays as it is as long as nothing has come.
    let (mut own, mut found, mut done) = (Status::EMPTY, Status::EMPTY, 0i32);
    let to = match status {
        0 | STATUS_IGNORE => STATUS_IGNORE,
        _ => &raw mut found as usize,
    };
    let place = place(to, r.peer.get(), &mut own);
    now::<CALLS>();
    let (lower, done_at) = (r.lower.as_ptr() as u64, &raw mut done as u64);
    let code = must_by(way, ix::Test, &[lower, done_at, place.given as u64]);
    turn::end_but_for_mark();
    now::<CONCLUDES>();
    let (SUCCESS, Some(alone)) = (code, alone()) else {
        return note(r, (code != SUCCESS || done != 0).then_some(code), place);
    };
    (flag as *mut i32).write(done);
    if done == 0 {
        r.waiting.set(false);
        return gate::leave(true);
    }
    if !concludes(r, place, &alone) {
        return note(r, Some(SUCCESS), place);
    }
    put_status(status, found);
    *handle = REQUEST_NULL;
    gate::leave(true)
}

/// Notes what the lower half said of a request, for the other way to find: nothing, if there was a restart.
#[cold]
#[inline(never)]
unsafe fn note(r: &'static Request, code: Option<i32>, at: Place) -> bool {
    now::<ORDINARY>();
    let guard = lock();
    r.waiting.set(false);
    if let Some(error) = code {
        at.note(error);
        let mut status = *at.read;
        complete::settle(&guard, r, &mut status, false);
        r.complete(Status { error, ..status });
    }
    drop(guard);
    gate::leave(false)
}
