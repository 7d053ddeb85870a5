//! The quick way of plain point to point, on which most messages go: predefined datatypes, nothing drained that a receive
//! could find, one thread of the program in MPI, the gate open. And that of blocking collectives.
//!
//! Each function does what its namesake in `p2p`, `start`, `complete`, `together` or `coll` does, or hands on to it. Then it has
//! done nothing, or left the model so that the namesake ends the work. What is rare stands in functions of its own, which
//! are jumped to with the arguments where they came: nothing is stored for their sake.

use super::abi::*;
use super::front::finish;
use super::lower::{self, call_about_by, call_by, ix, must_about_by, Fail, Outcome};
use super::model::request::{self, Request, COMPLETE};
use super::model::traffic::Traffic;
use super::model::{alone, alone_by_the_gate, comm as comms, Comm};
use super::start::{self, Message};
use super::together::status_at;
use super::{coll, complete, errs, inside, p2p, turn};
use crate::block::{self, doing, Way, MARKED, MUST_COMPLETE, NOTHING, OUT, REEXECUTABLE};
use crate::crossing::About;
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

/// A receive has not been posted.
#[cold]
#[inline(never)]
fn not_posted(r: &'static Request, code: i32) -> i32 {
    turn::end();
    let comm = r.comm.get().map_or(COMM_WORLD, |c| c.handle.load(Relaxed));
    request::release(&super::model::lock(), r);
    errs::raise(comm, gate::leave(code))
}

/// The communicator, if the datatype is predefined, and the lower half's by the same handle. Only its sign is looked at:
/// pairs go the other way too.
#[inline(always)]
fn plain(m: Message, comm: i32) -> Option<&'static Comm> {
    const { assert!(V_DATATYPE < 0) };
    if m.t < 0 {
        return None;
    }
    comms::get(comm).ok()
}

/// What a call is about, for the lower half.
#[inline(always)]
fn about(m: Message, comm: i32) -> About {
    (m.buf, [m.n, m.t, m.peer, m.tag, comm])
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
    let code = must_about_by(way, ix::Send, about(m, low), None);
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
    let low = c.lower.load(Relaxed);
    let place = &raw mut lower as usize;
    let code = must_about_by(way, ix::Isend, about(m, low), Some(place));
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
    let low = c.lower.load(Relaxed);
    let place = r.lower.as_ptr() as usize;
    let code = must_about_by(way, ix::Irecv, about(m, low), Some(place));
    if code != SUCCESS {
        return not_posted(r, code);
    }
    r.posted();
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
    let at = place(status, m.peer, &mut own);
    now::<WAITS>();
    let Ok(code) = call_about_by(way, ix::Recv, about(m, low), at.given) else {
        leave_slowly(());
        return slowly!(p2p::recv_slowly, m, comm, status);
    };
    if code != SUCCESS {
        at.note(code);
    }
    if let Some(traffic) = c.traffic((*at.read).source) {
        traffic.receive(false);
    }
    if code != SUCCESS {
        return failed(c, code);
    }
    leave::<WAITS, _>(SUCCESS)
}

/// Where the lower half stores the status of a receive.
#[derive(Clone, Copy)]
struct Place {
    /// What it is given: where to store it, or that it may ignore it, which takes it less time.
    given: usize,
    /// Where it is read.
    read: *mut Status,
}

/// Where the lower half stores the status of a receive from `peer`; its source is set to what it stays if the lower half
/// says nothing else: the only one that there can be where it may ignore the status, else none.
///
/// # Safety
/// `status` must be to be ignored or a status, and `own` last as long as the place.
#[inline(always)]
unsafe fn place(status: usize, peer: i32, own: &mut Status) -> Place {
    let ignored = matches!(status, 0 | STATUS_IGNORE);
    let read = if ignored { own } else { status as *mut Status };
    let (given, source) = match ignored && peer >= 0 {
        true => (STATUS_IGNORE, peer),
        false => (read as usize, ANY_SOURCE),
    };
    (*read).source = source;
    Place { given, read }
}

impl Place {
    /// The lower half gave `code`. A truncated message was received too: it is no longer in flight. Another error is of none.
    unsafe fn note(self, code: i32) {
        if self.given == STATUS_IGNORE && !matches!(code & ERR_CLASS, SUCCESS | ERR_TRUNCATE) {
            (*self.read).source = ANY_SOURCE;
        }
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
    let Some(way) = lower::way() else {
        return false;
    };
    if !gate::enter_quickly::<PREPARES, { TURNS | SEVERAL }>() {
        return false;
    }
    let Some(r) = request::open(*handle).filter(|r| r.receives()) else {
        now::<NOTHING>();
        return false;
    };
    r.waiting.set(true);
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
    // Of a receive from nobody the lower half may say anything.
    if (*at.read).cancelled() || r.peer.get() == PROC_NULL {
        return note(r, Some(SUCCESS), at);
    }
    if let Some(traffic) = r.comm.get().and_then(|c| c.traffic((*at.read).source)) {
        traffic.receive_alone(&alone);
    }
    request::release(&alone, r);
    if error {
        (*at.read).error = SUCCESS;
    }
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
unsafe fn note(r: &'static Request, code: Option<i32>, at: Place) -> bool {
    now::<ORDINARY>();
    let guard = super::model::lock();
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
