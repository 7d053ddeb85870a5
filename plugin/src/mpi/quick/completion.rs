//! Receives that are waited for or tested.

use super::super::abi::*;
use super::super::front::put_status;
use super::super::lower::{call_in_place, ix, must_in_place, Called};
use super::super::model::request::{self, Request, COMPLETE};
use super::super::model::{alone, lock, Alone};
use super::super::together::status_at;
use super::super::{complete, turn};
use super::{now, place, still, Place, CALLS, CONCLUDES, PREPARES, WAITS};
use crate::block::{NOTHING, ORDINARY};
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

/// `MPI_Waitall` for the last of `n` requests: how many are left, before those that are done, with their statuses.
///
/// From the last one on, for that mostly is a send: what there is to do about it is done while the message is on its way that
/// the first one is for.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn waitall(n: usize, at: *mut i32, statuses: usize) -> usize {
    for i in (0..n).rev() {
        let (handle, status) = (&mut *at.add(i), status_at(statuses, i));
        if *handle == COMPLETE {
            *handle = REQUEST_NULL;
            if status != STATUS_IGNORE {
                *(status as *mut Status) = Status::EMPTY;
            }
        } else if !wait_in(handle, status) {
            return i + 1;
        }
    }
    0
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
    let Some(r) = claim(*handle) else {
        return false;
    };
    if matches!(status, 0 | STATUS_IGNORE) && r.peer.get() >= 0 {
        return wait_ignoring(handle, r);
    }
    let mut own = Status::EMPTY;
    let at = place(status, r.peer.get(), &mut own);
    now::<WAITS>();
    let called = call_in_place!(ix::Wait, in("rdi") r.lower.as_ptr(), in("rsi") at.given,);
    if !called.succeeded() || !still::<WAITS>() {
        return note(r, called.outcome().ok(), at);
    }
    now::<CONCLUDES>();
    let Some(alone) = alone() else {
        return note(r, Some(SUCCESS), at);
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

/// Waits for a receive from one process whose status nobody wants to know. As much as can be is done before: what comes
/// after the message is what a program waits for.
#[inline(always)]
unsafe fn wait_ignoring(handle: *mut i32, r: &'static Request) -> bool {
    let traffic = r.comm.get().and_then(|c| c.traffic(r.peer.get()));
    now::<WAITS>();
    let called = call_in_place!(ix::Wait, in("rdi") r.lower.as_ptr(), in("rsi") STATUS_IGNORE,);
    if !called.succeeded() || !still::<WAITS>() {
        return note_ignored(r, called);
    }
    now::<CONCLUDES>();
    let Some(alone) = alone() else {
        return note_ignored(r, called);
    };
    if let Some(traffic) = traffic {
        traffic.receive_alone(&alone);
    }
    request::release(&alone, r);
    *handle = REQUEST_NULL;
    gate::leave(true)
}

/// [`note`] where the status is ignored.
#[cold]
#[inline(never)]
unsafe fn note_ignored(r: &'static Request, called: Called) -> bool {
    let mut own = Status::EMPTY;
    let at = place(STATUS_IGNORE, r.peer.get(), &mut own);
    note(r, called.outcome().ok(), at)
}

/// The receive that a handle names, if only the lower half can say whether it is complete: no other thread looks at it from
/// now on, and the calling one is inside the gate, and works on the model.
#[inline(always)]
unsafe fn claim(handle: i32) -> Option<&'static Request> {
    if !gate::enter_in_place::<PREPARES, { TURNS | SEVERAL }>() {
        return None;
    }
    let Some(r) = request::open_receive(handle) else {
        now::<NOTHING>();
        return None;
    };
    r.waiting.set(true);
    Some(r)
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
    let Some(r) = claim(*handle) else {
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
    let code = must_in_place!(
        ix::Test, in("rdi") r.lower.as_ptr(), in("rsi") &raw mut done, in("rdx") place.given,
    );
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
    turn::end_but_for_mark();
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
