//! Messages and a look for them.

use super::super::abi::*;
use super::super::lower::{call_in_place, ix, must_in_place};
use super::super::model::request::{self, Request, COMPLETE};
use super::super::model::{alone_by_the_gate, comm as comms, lock, Comm};
use super::super::start::{self, Message};
use super::super::{errs, inside, p2p, probe, turn};
use super::{failed, leave, leave_slowly, now, place, put_by, CALLS, PREPARES, WAITS};
use crate::block::NOTHING;
use crate::gate::{self, DRAINED, SEVERAL, SYNC, TURNS};
use std::sync::atomic::Ordering::Relaxed;

/// A message that was counted has not been sent.
#[cold]
#[inline(never)]
fn unsent(c: &Comm, peer: i32, code: i32) -> i32 {
    if let Some(traffic) = c.traffic(peer) {
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
    request::release(&lock(), r);
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

/// Calls a function about a message by one of the macros of `lower`, with one more argument or none.
macro_rules! about {
    ($call:ident, $index:expr $(; $more:expr)?, $m:expr, $low:expr) => {
        $call!(
            $index $(; $more)?, in("rdi") $m.buf, in("esi") $m.n, in("edx") $m.t, in("ecx") $m.peer,
            in("r8d") $m.tag, in("r9d") $low,
        )
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
    if !gate::enter_in_place::<CALLS, { TURNS | SYNC }>() {
        return slowly!(p2p::send_slowly, m, comm);
    }
    let Some(c) = plain(m, comm) else {
        now::<NOTHING>();
        return slowly!(p2p::send_slowly, m, comm);
    };
    if let Some(traffic) = c.traffic(m.peer) {
        traffic.send();
    }
    let low = c.lower.load(Relaxed);
    inside::about(low, m.peer, m.tag);
    let code = about!(must_in_place, ix::Send, m, low);
    if code != SUCCESS {
        return unsent(c, m.peer, code);
    }
    leave::<CALLS, _>(SUCCESS)
}

/// `MPI_Isend`.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn isend(m: Message, comm: i32, out: usize) -> i32 {
    if !gate::enter_in_place::<CALLS, { TURNS | SYNC }>() {
        return slowly!(start::isend_slowly, m, comm, out);
    }
    let Some(c) = plain(m, comm) else {
        now::<NOTHING>();
        return slowly!(start::isend_slowly, m, comm, out);
    };
    if let Some(traffic) = c.traffic(m.peer) {
        traffic.send();
    }
    let mut given = (m, out);
    put_by(&mut given);
    let mut lower = REQUEST_NULL;
    let low = c.lower.load(Relaxed);
    let place = &raw mut lower;
    let code = about!(must_in_place, ix::Isend; place, m, low);
    if code != SUCCESS || !request::is_built_in(lower) {
        return sent_otherwise(c, &given, code, lower);
    }
    (given.1 as *mut i32).write(COMPLETE);
    leave::<CALLS, _>(SUCCESS)
}

/// A message, for whose request there is a place, is not on its way at once.
#[cold]
#[inline(never)]
unsafe fn sent_otherwise(c: &'static Comm, given: &(Message, usize), code: i32, lower: i32) -> i32 {
    let (m, out) = *given;
    if code != SUCCESS {
        return unsent(c, m.peer, code);
    }
    turn::end();
    let request = match request::is_complete(lower) {
        true => COMPLETE,
        false => start::under_way(c, m.buf, m.n, m.t, m.peer, m.tag, lower),
    };
    (out as *mut i32).write(request);
    gate::leave(SUCCESS)
}

/// `MPI_Irecv`.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn irecv(m: Message, comm: i32, out: usize) -> i32 {
    if !gate::enter_in_place::<PREPARES, { TURNS | SEVERAL | DRAINED }>() {
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
    let code = about!(must_in_place, ix::Irecv; place, m, low);
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
    // The state comes before the look at what is drained: see `drain::take_all`.
    if !gate::enter_in_place::<CALLS, { TURNS | DRAINED }>() {
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
    let called = about!(call_in_place, ix::Recv; at.given, m, low);
    let Ok(code) = called.outcome() else {
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

/// `MPI_Iprobe`.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn iprobe(source: i32, tag: i32, comm: i32, flag: usize, status: usize) -> i32 {
    // The state comes before the look at what is drained: see `drain::take_all`.
    if !gate::enter_in_place::<CALLS, { TURNS | DRAINED }>() {
        return probe::iprobe_slowly(source, tag, comm, flag, status);
    }
    let Ok(c) = comms::get(comm) else {
        now::<NOTHING>();
        return probe::iprobe_slowly(source, tag, comm, flag, status);
    };
    let given = match status {
        0 => STATUS_IGNORE,
        status => status,
    };
    let code = must_in_place!(
        ix::Iprobe, in("edi") source, in("esi") tag, in("edx") c.lower.load(Relaxed), in("rcx") flag, in("r8") given,
    );
    match code {
        SUCCESS => leave::<CALLS, _>(SUCCESS),
        code => failed(c, code),
    }
}
