//! Non-blocking and persistent point to point: posting.

use super::abi::*;
use super::front::{finish, forward, put, slice};
use super::lower::{self, ix, Fail, Outcome};
use super::model::request::{self, Kind, Request};
use super::model::{comm as comms, lock, serial, Comm};
use super::p2p::count_sent;
use super::{handle, sync, unexpected};
use std::sync::atomic::Ordering::Relaxed;

/// Arguments of a send or receive as the application gave them.
#[derive(Clone, Copy)]
struct Message {
    buf: usize,
    n: i32,
    t: i32,
    peer: i32,
    tag: i32,
}

#[inline(always)]
fn remember(r: &Request, function: usize, m: Message) {
    r.function.set(function);
    r.buffer.set(m.buf);
    r.count.set(m.n);
    r.peer.set(m.peer);
    r.tag.set(m.tag);
}

/// Calls the function that makes a request's lower half, from what the model knows of it.
///
/// # Safety
/// The request's arguments must still hold.
#[inline(always)]
pub unsafe fn issue(r: &Request) -> Outcome {
    let comm = r.comm.get().map_or(COMM_SELF, |c| c.lower.load(Relaxed));
    lower::call(
        r.function.get(),
        &[
            r.buffer.get() as u64,
            r.count.get() as u64,
            handle::datatype(r.datatype.get())?,
            r.peer.get() as u64,
            r.tag.get() as u64,
            comm as u64,
            r.lower.as_ptr() as u64,
        ],
    )
}

#[inline(always)]
unsafe fn make(
    kind: Kind,
    function: usize,
    c: &'static Comm,
    m: Message,
) -> Result<(i32, &'static Request), Fail> {
    let guard = lock();
    let (h, r) = request::make(&guard, kind, c, m.t);
    remember(r, function, m);
    if function == ix::Issend {
        sync::begin(&guard, c, r);
    }
    drop(guard);
    match issue(r) {
        Ok(SUCCESS) => {
            r.active.set(true);
            Ok((h, r))
        }
        other => {
            request::release(&lock(), h, r);
            Err(other.map_or_else(|e| e, Fail::Code))
        }
    }
}

/// Posts a send in the mode of `function`.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn post_send(
    function: usize,
    c: &'static Comm,
    buf: usize,
    n: i32,
    t: i32,
    peer: i32,
    tag: i32,
) -> Result<i32, Fail> {
    count_sent(c, peer, 1);
    if function != ix::Issend {
        sync::sending(c, peer, tag);
    }
    match make(
        Kind::Send,
        function,
        c,
        Message {
            buf,
            n,
            t,
            peer,
            tag,
        },
    ) {
        Ok((h, _)) => Ok(h),
        Err(e) => {
            count_sent(c, peer, u64::MAX); // nothing was sent
            Err(e)
        }
    }
}

/// Posts a receive, or completes it with a drained message.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn post_recv(
    c: &'static Comm,
    buf: usize,
    n: i32,
    t: i32,
    peer: i32,
    tag: i32,
) -> Result<i32, Fail> {
    let message = Message {
        buf,
        n,
        t,
        peer,
        tag,
    };
    if unexpected::any() {
        if let Some(m) = unexpected::take(c, peer, tag) {
            let mut status = Status::EMPTY;
            status.error = m.deliver(buf, n, t, &mut status)?;
            let (h, r) = request::make(&lock(), Kind::Recv, c, t);
            remember(r, ix::Irecv, message);
            r.status.set(status);
            r.done.set(true);
            r.active.set(true);
            return Ok(h);
        }
    }
    make(Kind::Recv, ix::Irecv, c, message).map(|(h, _)| h)
}

/// Makes a request that is complete from the start.
pub fn complete_now(c: &'static Comm, kind: Kind, status: Status) -> i32 {
    let (h, r) = request::make(&lock(), kind, c, BYTE);
    r.status.set(status);
    r.done.set(true);
    r.active.set(true);
    h
}

#[inline(always)]
unsafe fn isend_with(function: usize, m: Message, comm: i32, out: usize) -> i32 {
    forward(comm, || {
        let h = post_send(function, comms::get(comm)?, m.buf, m.n, m.t, m.peer, m.tag)?;
        put(out, h);
        Ok(SUCCESS)
    })
}

pub unsafe fn isend(buf: usize, n: i32, t: i32, peer: i32, tag: i32, comm: i32, out: usize) -> i32 {
    isend_with(
        ix::Isend,
        Message {
            buf,
            n,
            t,
            peer,
            tag,
        },
        comm,
        out,
    )
}

pub unsafe fn ibsend(
    buf: usize,
    n: i32,
    t: i32,
    peer: i32,
    tag: i32,
    comm: i32,
    out: usize,
) -> i32 {
    isend_with(
        ix::Ibsend,
        Message {
            buf,
            n,
            t,
            peer,
            tag,
        },
        comm,
        out,
    )
}

pub unsafe fn issend(
    buf: usize,
    n: i32,
    t: i32,
    peer: i32,
    tag: i32,
    comm: i32,
    out: usize,
) -> i32 {
    isend_with(
        ix::Issend,
        Message {
            buf,
            n,
            t,
            peer,
            tag,
        },
        comm,
        out,
    )
}

pub unsafe fn irsend(
    buf: usize,
    n: i32,
    t: i32,
    peer: i32,
    tag: i32,
    comm: i32,
    out: usize,
) -> i32 {
    isend_with(
        ix::Irsend,
        Message {
            buf,
            n,
            t,
            peer,
            tag,
        },
        comm,
        out,
    )
}

pub unsafe fn irecv(buf: usize, n: i32, t: i32, peer: i32, tag: i32, comm: i32, out: usize) -> i32 {
    forward(comm, || {
        let h = post_recv(comms::get(comm)?, buf, n, t, peer, tag)?;
        put(out, h);
        Ok(SUCCESS)
    })
}

unsafe fn persistent(kind: Kind, function: usize, m: Message, comm: i32, out: usize) -> i32 {
    forward(comm, || {
        let (h, r) = make(kind, function, comms::get(comm)?, m)?;
        r.persistent.set(true);
        r.active.set(false);
        put(out, h);
        Ok(SUCCESS)
    })
}

pub unsafe fn send_init(
    buf: usize,
    n: i32,
    t: i32,
    peer: i32,
    tag: i32,
    comm: i32,
    out: usize,
) -> i32 {
    persistent(
        Kind::Send,
        ix::Send_init,
        Message {
            buf,
            n,
            t,
            peer,
            tag,
        },
        comm,
        out,
    )
}

pub unsafe fn bsend_init(
    buf: usize,
    n: i32,
    t: i32,
    peer: i32,
    tag: i32,
    comm: i32,
    out: usize,
) -> i32 {
    persistent(
        Kind::Send,
        ix::Bsend_init,
        Message {
            buf,
            n,
            t,
            peer,
            tag,
        },
        comm,
        out,
    )
}

pub unsafe fn ssend_init(
    buf: usize,
    n: i32,
    t: i32,
    peer: i32,
    tag: i32,
    comm: i32,
    out: usize,
) -> i32 {
    persistent(
        Kind::Send,
        ix::Ssend_init,
        Message {
            buf,
            n,
            t,
            peer,
            tag,
        },
        comm,
        out,
    )
}

pub unsafe fn rsend_init(
    buf: usize,
    n: i32,
    t: i32,
    peer: i32,
    tag: i32,
    comm: i32,
    out: usize,
) -> i32 {
    persistent(
        Kind::Send,
        ix::Rsend_init,
        Message {
            buf,
            n,
            t,
            peer,
            tag,
        },
        comm,
        out,
    )
}

pub unsafe fn recv_init(
    buf: usize,
    n: i32,
    t: i32,
    peer: i32,
    tag: i32,
    comm: i32,
    out: usize,
) -> i32 {
    persistent(
        Kind::Recv,
        ix::Recv_init,
        Message {
            buf,
            n,
            t,
            peer,
            tag,
        },
        comm,
        out,
    )
}

unsafe fn begin(at: usize) -> Outcome {
    let r = request::get(*(at as *const i32)).filter(|r| r.persistent.get() && !r.active.get());
    let r = r.ok_or(Fail::Code(ERR_REQUEST))?;
    let c = r.comm.get().ok_or(Fail::Code(ERR_REQUEST))?;
    r.serial.set(serial());
    if r.kind.get() == Kind::Send {
        count_sent(c, r.peer.get(), 1);
        if r.function.get() == ix::Ssend_init {
            sync::begin(&lock(), c, r);
        } else {
            sync::sending(c, r.peer.get(), r.tag.get());
        }
    } else if unexpected::any() {
        if let Some(m) = unexpected::take(c, r.peer.get(), r.tag.get()) {
            let mut status = Status::EMPTY;
            status.error =
                m.deliver(r.buffer.get(), r.count.get(), r.datatype.get(), &mut status)?;
            r.status.set(status);
            r.done.set(true);
            r.active.set(true);
            return Ok(SUCCESS);
        }
    }
    let outcome = lower::call(ix::Start, &[r.lower.as_ptr() as u64]);
    if let Ok(SUCCESS) = outcome {
        r.active.set(true);
    } else if r.kind.get() == Kind::Send {
        count_sent(c, r.peer.get(), u64::MAX);
        sync::end(r);
    }
    outcome
}

pub unsafe fn start(at: usize) -> i32 {
    forward(COMM_WORLD, || begin(at))
}

pub unsafe fn startall(n: i32, at: usize) -> i32 {
    for i in 0..slice::<i32>(at, n).len() {
        let code = forward(COMM_WORLD, || begin(at + 4 * i));
        if code != SUCCESS {
            return finish(COMM_WORLD, Ok(code));
        }
    }
    SUCCESS
}
