//! The quick way of plain point to point, on which most messages go: predefined datatypes, nothing drained that a receive
//! could find, one thread of the program in MPI, the gate open. And that of blocking collectives.
//!
//! Each function does what its namesake in `p2p`, `start`, `complete`, `together` or `coll` does, or hands on to it. Then it has
//! done nothing, or left the model so that the namesake ends the work. What is rare stands in functions of its own, which
//! are jumped to with the arguments where they came: nothing is stored for their sake.

use super::abi::*;
use super::front::finish;
use super::lower::{self, call_by, ix, must_by, Fail, Outcome};
use super::model::request::{self, Request, COMPLETE};
use super::model::traffic::Traffic;
use super::model::{alone, alone_by_the_gate, comm as comms, Comm};
use super::start::{self, Message};
use super::{coll, complete, errs, inside, p2p, turn};
use crate::block::{self, doing, Way, MARKED, MUST_COMPLETE, NOTHING, OUT, REEXECUTABLE};
use crate::gate::{self, DRAINED, SEVERAL, SYNC, TURNS};
use std::sync::atomic::Ordering::Relaxed;

/// What the thread does: it works on the model, and has its turn to call the library.
const PREPARES: u32 = doing(MUST_COMPLETE, MARKED, 1);
/// It calls the library.
const CALLS: u32 = doing(MUST_COMPLETE, MARKED, 0);
/// It calls the library, and may be saved as if it had not.
const WAITS: u32 = doing(REEXECUTABLE, MARKED, 0);
/// It works on the model.
const CONCLUDES: u32 = doing(MUST_COMPLETE, OUT, 1);
/// It does what needs locks.
const ORDINARY: u32 = doing(MUST_COMPLETE, OUT, 0);

/// From now on the thread does this.
#[inline(always)]
fn now<const DOING: u32>() {
    // SAFETY: the block is this thread's own.
    unsafe { block::set::<DOING>(block::mine()) };
}

/// Ends the call, and with it the turn, if the thread does this and has not given way to others meanwhile.
#[inline(always)]
fn leave<const DOING: u32, T>(value: T) -> T {
    // SAFETY: the block is this thread's own.
    if unsafe { block::is::<DOING>(block::mine()) } {
        gate::leave(value)
    } else {
        leave_slowly(value)
    }
}

#[cold]
#[inline(never)]
fn leave_slowly<T>(value: T) -> T {
    turn::end();
    gate::leave(value)
}

/// The call has failed: what the error handler makes of it.
#[cold]
#[inline(never)]
fn failed(c: &Comm, code: i32) -> i32 {
    errs::raise(c.handle.load(Relaxed), leave_slowly(code))
}

/// A message that was counted has not been sent.
#[cold]
#[inline(never)]
fn unsent(c: &Comm, traffic: Option<&Traffic>, code: i32) -> i32 {
    if let Some(traffic) = traffic {
        traffic.unsend();
    }
    failed(c, code)
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

/// The namesake, with what the application gave.
macro_rules! slowly {
    ($f:path, $m:expr, $($more:expr),*) => {
        $f($m.buf, $m.n, $m.t, $m.peer, $m.tag, $($more),*)
    };
}

/// `MPI_Send`.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn send(m: Message, comm: i32) -> i32 {
    let Some(way) = lower::way() else {
        return slowly!(p2p::send_slowly, m, comm);
    };
    if !gate::enter_quickly::<CALLS, { TURNS | SYNC }>() {
        return slowly!(p2p::send_slowly, m, comm);
    }
    let Some(c) = plain(m, comm) else {
        now::<NOTHING>();
        return slowly!(p2p::send_slowly, m, comm);
    };
    let traffic = c.traffic(m.peer);
    if let Some(traffic) = traffic {
        traffic.send();
    }
    let low = c.lower.load(Relaxed);
    inside::about(low, m.peer, m.tag);
    let code = must_by(way, ix::Send, args!(m, low));
    if code != SUCCESS {
        return unsent(c, traffic, code);
    }
    leave::<CALLS, _>(SUCCESS)
}

/// `MPI_Isend`.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn isend(m: Message, comm: i32, out: usize) -> i32 {
    let Some(way) = lower::way() else {
        return slowly!(start::isend_slowly, m, comm, out);
    };
    if !gate::enter_quickly::<CALLS, { TURNS | SYNC }>() {
        return slowly!(start::isend_slowly, m, comm, out);
    }
    let Some(c) = plain(m, comm) else {
        now::<NOTHING>();
        return slowly!(start::isend_slowly, m, comm, out);
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
    if code != SUCCESS {
        return unsent(c, traffic, code);
    }
    if request::is_complete(lower) {
        (out as *mut i32).write(COMPLETE);
        return leave::<CALLS, _>(SUCCESS);
    }
    turn::end();
    (out as *mut i32).write(start::under_way(c, m.buf, m.n, m.t, m.peer, m.tag, lower));
    gate::leave(SUCCESS)
}

/// `MPI_Irecv`.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn irecv(m: Message, comm: i32, out: usize) -> i32 {
    let Some(way) = lower::way() else {
        return slowly!(start::irecv_slowly, m, comm, out);
    };
    if !gate::enter_quickly::<PREPARES, { TURNS | SEVERAL | DRAINED }>() {
        return slowly!(start::irecv_slowly, m, comm, out);
    }
    let Some(c) = plain(m, comm) else {
        now::<NOTHING>();
        return slowly!(start::irecv_slowly, m, comm, out);
    };
    let Some(r) = request::make_receive(&alone_by_the_gate(), c, m.t) else {
        now::<NOTHING>();
        return slowly!(start::irecv_slowly, m, comm, out);
    };
    start::remember(r, ix::Irecv, m);
    now::<CALLS>();
    let code = must_by(
        way,
        ix::Irecv,
        args!(m, c.lower.load(Relaxed), r.lower.as_ptr()),
    );
    if code != SUCCESS {
        turn::end();
        request::release(&super::model::lock(), r);
        return failed(c, code);
    }
    r.active.set(true);
    (out as *mut i32).write(r.handle());
    leave::<CALLS, _>(SUCCESS)
}

/// `MPI_Recv`.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn recv(m: Message, comm: i32, status: usize) -> i32 {
    let mut own = Status::EMPTY;
    let place = place(status, &mut own);
    let Some(way) = lower::way() else {
        return slowly!(p2p::recv_slowly, m, comm, status);
    };
    // The state comes before the look at what is drained: see `drain::take_all`.
    if !gate::enter_quickly::<CALLS, { TURNS | DRAINED }>() {
        return slowly!(p2p::recv_slowly, m, comm, status);
    }
    let Some(c) = plain(m, comm) else {
        now::<NOTHING>();
        return slowly!(p2p::recv_slowly, m, comm, status);
    };
    let low = c.lower.load(Relaxed);
    inside::about(low, m.peer, m.tag);
    (*place).source = ANY_SOURCE; // stays so if there is an error and no message
    now::<WAITS>();
    let Ok(code) = call_by(way, ix::Recv, args!(m, low, place)) else {
        leave_slowly(());
        return slowly!(p2p::recv_slowly, m, comm, status);
    };
    // A truncated message was received too: it is no longer in flight.
    if let Some(traffic) = c.traffic((*place).source) {
        traffic.receive(false);
    }
    if code != SUCCESS {
        return failed(c, code);
    }
    leave::<WAITS, _>(SUCCESS)
}

/// Where the lower half stores a status.
#[inline(always)]
fn place(status: usize, own: &mut Status) -> *mut Status {
    match status {
        0 | STATUS_IGNORE => own,
        at => at as *mut Status,
    }
}

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
    let mut own = Status::EMPTY;
    wait_for(handle, place(status, &mut own))
}

/// `MPI_Waitall` for the first of `n` requests: how many are done, with their statuses.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn waitall(n: usize, at: *mut i32, statuses: usize) -> usize {
    let ignored = matches!(statuses, 0 | STATUS_IGNORE);
    let mut own = Status::EMPTY;
    for i in 0..n {
        let handle = at.add(i);
        let place = match ignored {
            true => &raw mut own,
            false => (statuses as *mut Status).add(i),
        };
        if *handle == COMPLETE {
            *handle = REQUEST_NULL;
            if !ignored {
                *place = Status::EMPTY;
            }
        } else if wait_for(handle, place) {
            (*place).error = SUCCESS;
        } else {
            return i;
        }
    }
    n
}

/// Waits for a receive; false if this has to go the other way.
#[inline(always)]
unsafe fn wait_for(handle: *mut i32, status: *mut Status) -> bool {
    let Some(way) = lower::way() else {
        return false;
    };
    if !gate::enter_quickly::<PREPARES, { TURNS | SEVERAL }>() {
        return false;
    }
    let Some(r) = request::get(*handle).filter(|r| r.open_receive()) else {
        now::<NOTHING>();
        return false;
    };
    r.waiting.set(true);
    (*status).source = ANY_SOURCE; // as in `recv`
    now::<WAITS>();
    let outcome = call_by(way, ix::Wait, &[r.lower.as_ptr() as u64, status as u64]);
    turn::end_but_for_mark();
    now::<CONCLUDES>();
    let (Ok(SUCCESS), Some(alone)) = (outcome, alone()) else {
        return note(r, outcome.ok(), status);
    };
    if (*status).cancelled() || r.peer.get() == PROC_NULL {
        return note(r, Some(SUCCESS), status);
    }
    if let Some(traffic) = r.comm.get().and_then(|c| c.traffic((*status).source)) {
        traffic.receive_alone(&alone);
    }
    r.waiting.set(false);
    request::release(&alone, r);
    *handle = REQUEST_NULL;
    gate::leave(true)
}

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

/// Notes what the lower half said of a request, for the other way to find: nothing, if there was a restart.
#[cold]
#[inline(never)]
unsafe fn note(r: &'static Request, code: Option<i32>, status: *const Status) -> bool {
    now::<ORDINARY>();
    let guard = super::model::lock();
    r.waiting.set(false);
    if let Some(error) = code {
        let mut status = *status;
        complete::settle(&guard, r, &mut status, false);
        r.complete(Status { error, ..status });
    }
    drop(guard);
    gate::leave(false)
}
