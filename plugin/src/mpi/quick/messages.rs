//! Messages and a look for them.

use super::super::abi::*;
use super::super::lower::{self, call_about_by, ix, must_about_by, must_by};
use super::super::model::request::{self, Request, COMPLETE};
use super::super::model::traffic::Traffic;
use super::super::model::{alone_by_the_gate, comm as comms, lock, Comm};
use super::super::start::{self, Message};
use super::super::{errs, inside, p2p, probe, turn};
use super::{failed, leave, leave_slowly, now, place, CALLS, PREPARES, WAITS};
use crate::block::NOTHING;
use crate::crossing::About;
use crate::gate::{self, DRAINED, SEVERAL, SYNC, TURNS};
use std::sync::atomic::Ordering::Relaxed;

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

/// `MPI_Iprobe`.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn iprobe(source: i32, tag: i32, comm: i32, flag: usize, status: usize) -> i32 {
    let Some(way) = lower::way() else {
        return probe::iprobe_slowly(source, tag, comm, flag, status);
    };
    // The state comes before the look at what is drained: see `drain::take_all`.
    if !gate::enter_quickly::<CALLS, { TURNS | DRAINED }>() {
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
    let args = [
        source as u64,
        tag as u64,
        c.low(),
        flag as u64,
        given as u64,
    ];
    match must_by(way, ix::Iprobe, &args) {
        SUCCESS => leave::<CALLS, _>(SUCCESS),
        code => failed(c, code),
    }
}
