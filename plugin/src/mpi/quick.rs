//! The quick way of plain point to point, on which most messages go: predefined datatypes, nothing drained that a receive
//! could find, one thread of the program in MPI, the gate open.
//!
//! Each function does what its namesake in `p2p`, `start`, `complete` or `together` does, or gives `SLOW`. Then it has
//! done nothing, or left the model so that the namesake ends the work.

use super::abi::*;
use super::lower::{self, call_by, ix, must_by};
use super::model::request::{self, Request, COMPLETE};
use super::model::{alone, comm as comms, Comm};
use super::start::{self, Message};
use super::{complete, inside, sync, turn, unexpected};
use crate::block::Way;
use crate::gate::{self, Call};
use std::sync::atomic::Ordering::Relaxed;

/// Go the other way.
pub const SLOW: i32 = i32::MIN;

/// Runs `f` inside the gate, in a turn of the library's, with this thread's way into it.
#[inline(always)]
fn enter(f: impl FnOnce(*mut Way) -> i32) -> i32 {
    let Some(way) = lower::way() else {
        return SLOW;
    };
    if !gate::enter_quickly::<true>() {
        return SLOW;
    }
    let code = f(way);
    turn::unmark();
    gate::leave(0);
    code
}

/// The communicator, if the datatype is predefined, which is the lower half's too.
#[inline(always)]
fn plain(m: Message, comm: i32) -> Option<&'static Comm> {
    if m.t & KIND_MASK == V_DATATYPE {
        return None;
    }
    comms::get(comm).ok()
}

/// The arguments that calls about a message begin with.
macro_rules! args {
    ($m:expr, $comm:expr $(, $more:expr)*) => {
        &[
            $m.buf as u64,
            $m.n as u64,
            $m.t as u64,
            $m.peer as u64,
            $m.tag as u64,
            $comm as u64
            $(, $more as u64)*
        ]
    };
}

/// `MPI_Send`.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn send(m: Message, comm: i32) -> i32 {
    enter(|way| {
        let Some(c) = plain(m, comm).filter(|_| !sync::any()) else {
            return SLOW;
        };
        let traffic = c.traffic(m.peer);
        if let Some(traffic) = traffic {
            traffic.send();
        }
        let comm = c.lower.load(Relaxed);
        inside::about(comm, m.peer, m.tag);
        let code = must_by(way, ix::Send, args!(m, comm));
        if let (Some(traffic), true) = (traffic, code != SUCCESS) {
            traffic.unsend();
        }
        code
    })
}

/// `MPI_Isend`.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn isend(m: Message, comm: i32, out: usize) -> i32 {
    enter(|way| {
        let Some(c) = plain(m, comm).filter(|_| !sync::any()) else {
            return SLOW;
        };
        let traffic = c.traffic(m.peer);
        if let Some(traffic) = traffic {
            traffic.send();
        }
        let mut lower = REQUEST_NULL;
        let code = must_by(
            way,
            ix::Isend,
            args!(m, c.lower.load(Relaxed), &raw mut lower),
        );
        if code == SUCCESS {
            (out as *mut i32).write(match request::is_complete(lower) {
                true => COMPLETE,
                false => start::under_way(c, m.apart(), lower),
            });
        } else if let Some(traffic) = traffic {
            traffic.unsend();
        }
        code
    })
}

/// `MPI_Irecv`.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn irecv(m: Message, comm: i32, out: usize) -> i32 {
    enter(|way| {
        let Some(c) = plain(m, comm).filter(|_| !unexpected::any()) else {
            return SLOW;
        };
        let made = alone(|alone| {
            let r = request::make_receive(alone, c, m.t)?;
            start::remember(r, ix::Irecv, m);
            Some(r)
        });
        let Some(Some(r)) = made else {
            return SLOW;
        };
        let code = must_by(
            way,
            ix::Irecv,
            args!(m, c.lower.load(Relaxed), r.lower.as_ptr()),
        );
        if code == SUCCESS {
            r.active.set(true);
            (out as *mut i32).write(r.handle());
        } else {
            request::release(&super::model::lock(), r);
        }
        code
    })
}

/// `MPI_Recv`.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn recv(m: Message, comm: i32, status: usize) -> i32 {
    let mut own = Status::EMPTY;
    let place = place(status, &mut own);
    enter(|way| {
        // The state comes before the look at what is drained: see `drain::take_all`.
        let Some(c) = plain(m, comm).filter(|_| !unexpected::any()) else {
            return SLOW;
        };
        let comm = c.lower.load(Relaxed);
        inside::about(comm, m.peer, m.tag);
        (*place).source = ANY_SOURCE; // stays so if there is an error and no message
        gate::set(Call::Reexecutable);
        let Ok(code) = call_by(way, ix::Recv, args!(m, comm, place)) else {
            return SLOW;
        };
        // A truncated message was received too: it is no longer in flight.
        if let Some(traffic) = c.traffic((*place).source) {
            traffic.receive(false);
        }
        code
    })
}

/// Where the lower half stores a status.
#[inline(always)]
fn place(status: usize, own: &mut Status) -> *mut Status {
    match status {
        0 | STATUS_IGNORE => own,
        at => at as *mut Status,
    }
}

/// `MPI_Wait`.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn wait(at: usize, status: usize) -> i32 {
    let handle = at as *mut i32;
    let mut own = Status::EMPTY;
    let place = place(status, &mut own);
    if *handle == COMPLETE {
        *handle = REQUEST_NULL;
        let error = (*place).error;
        *place = Status {
            error,
            ..Status::EMPTY
        };
        return SUCCESS;
    }
    enter(|way| wait_inside(way, handle, place))
}

/// `MPI_Waitall` for the first of several requests: how many are done, with their statuses.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn waitall(handles: &mut [i32], statuses: usize) -> usize {
    let ignored = matches!(statuses, 0 | STATUS_IGNORE);
    for (i, handle) in handles.iter_mut().enumerate() {
        let mut own = Status::EMPTY;
        let place = match ignored {
            true => &raw mut own,
            false => (statuses as *mut Status).add(i),
        };
        if *handle == COMPLETE {
            *handle = REQUEST_NULL;
            if !ignored {
                *place = Status::EMPTY;
            }
        } else if enter(|way| wait_inside(way, handle, place)) == SUCCESS {
            (*place).error = SUCCESS;
        } else {
            return i;
        }
    }
    handles.len()
}

/// Waits for a receive.
#[inline(always)]
unsafe fn wait_inside(way: *mut Way, handle: *mut i32, status: *mut Status) -> i32 {
    let Some(r) = request::get(*handle).filter(|r| r.open_receive()) else {
        return SLOW;
    };
    if alone(|_| r.waiting.set(true)).is_none() {
        return SLOW;
    }
    (*status).source = ANY_SOURCE; // as in `recv`
    gate::set(Call::Reexecutable);
    let outcome = call_by(way, ix::Wait, &[r.lower.as_ptr() as u64, status as u64]);
    gate::set(Call::MustComplete);
    let done = alone(|alone| {
        let Ok(SUCCESS) = outcome else { return false };
        if (*status).cancelled() || r.peer.get() == PROC_NULL {
            return false;
        }
        if let Some(traffic) = r.comm.get().and_then(|c| c.traffic((*status).source)) {
            traffic.receive_alone(alone);
        }
        r.waiting.set(false);
        request::release(alone, r);
        true
    });
    if done != Some(true) {
        note(r, outcome.ok(), *status);
        return SLOW;
    }
    *handle = REQUEST_NULL;
    SUCCESS
}

/// What the lower half said of a request, for the slow way to find: nothing, if there was a restart.
#[cold]
#[inline(never)]
unsafe fn note(r: &'static Request, code: Option<i32>, mut status: Status) {
    let guard = super::model::lock();
    r.waiting.set(false);
    if let Some(code) = code {
        complete::settle(&guard, r, &mut status, false);
        r.complete(Status {
            error: code,
            ..status
        });
    }
}
