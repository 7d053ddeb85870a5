//! Non-blocking and persistent point to point: posting.

use super::abi::*;
use super::front::{forward, put, slice};
use super::lower::{self, ix, Fail, Outcome};
use super::model::request::{self, Kind, Request};
use super::model::{comm as comms, lock, serial, Comm};
pub use super::quick::irecv;
use super::{bsend, handle, icoll, partitioned, quick, sync, unexpected};
use std::sync::atomic::Ordering::Relaxed;

/// Arguments of a send or receive as the application gave them.
#[derive(Clone, Copy)]
pub struct Message {
    /// Buffer.
    pub buf: usize,
    /// Count.
    pub n: i32,
    /// Datatype.
    pub t: i32,
    /// Destination or source.
    pub peer: i32,
    /// Tag.
    pub tag: i32,
}

impl Message {
    /// The arguments as MPI's functions have them.
    #[inline(always)]
    pub fn new(buf: usize, n: i32, t: i32, peer: i32, tag: i32) -> Message {
        Message {
            buf,
            n,
            t,
            peer,
            tag,
        }
    }

    /// What the model knows of a request.
    #[inline(always)]
    pub fn of(r: &Request) -> Message {
        Message::new(
            r.buffer.get(),
            r.count.get(),
            r.datatype.get(),
            r.peer.get(),
            r.tag.get(),
        )
    }
}

/// Notes a request's arguments.
#[inline(always)]
pub fn remember(r: &Request, function: usize, m: Message) {
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
    let m = Message::of(r);
    let comm = r.comm.get().map_or(COMM_SELF, |c| c.lower.load(Relaxed));
    call(r.function.get(), m, comm, r.lower.as_ptr())
}

#[inline(always)]
unsafe fn call(function: usize, m: Message, comm: i32, request: *mut i32) -> Outcome {
    let t = handle::datatype(m.t)?;
    let code = lower::must(
        function,
        &[
            m.buf as u64,
            m.n as u64,
            t,
            m.peer as u64,
            m.tag as u64,
            comm as u64,
            request as u64,
        ],
    );
    Ok(code)
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
    match call(function, m, c.lower.load(Relaxed), r.lower.as_ptr()) {
        Ok(SUCCESS) => Ok((h, r)),
        other => {
            request::release(&lock(), r);
            Err(other.map_or_else(|e| e, Fail::Code))
        }
    }
}

/// Posts a send in the mode of `function`.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn post_send(function: usize, c: &'static Comm, m: Message) -> Result<i32, Fail> {
    let traffic = c.traffic(m.peer);
    if let Some(traffic) = traffic {
        traffic.send();
    }
    if function != ix::Issend {
        sync::sending(c, m.peer, m.tag);
    }
    let made = if function == ix::Isend {
        send_now(c, m)
    } else {
        make(Kind::Send, function, c, m).map(|(h, r)| begun(h, r, function != ix::Issend))
    };
    if let (Some(traffic), Err(_)) = (traffic, &made) {
        traffic.unsend();
    }
    made
}

/// `MPI_Isend`: a request is only made if the message is not on its way at once.
#[inline(always)]
unsafe fn send_now(c: &'static Comm, m: Message) -> Result<i32, Fail> {
    let mut lower = REQUEST_NULL;
    match call(ix::Isend, m, c.lower.load(Relaxed), &mut lower)? {
        SUCCESS if request::is_complete(lower) => Ok(request::COMPLETE),
        SUCCESS => Ok(under_way(c, m.buf, m.n, m.t, m.peer, m.tag, lower)),
        code => Err(Fail::Code(code)),
    }
}

/// Makes a request for a send that the lower half has begun.
#[cold]
#[inline(never)]
pub fn under_way(
    c: &'static Comm,
    buf: usize,
    n: i32,
    t: i32,
    peer: i32,
    tag: i32,
    lower: i32,
) -> i32 {
    let m = Message::new(buf, n, t, peer, tag);
    let (h, r) = request::make(&lock(), Kind::Send, c, m.t);
    remember(r, ix::Isend, m);
    r.lower.store(lower, Relaxed);
    begun(h, r, true)
}

/// Posts a receive, or completes it with a drained message.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn post_recv(c: &'static Comm, m: Message) -> Result<i32, Fail> {
    if unexpected::any() {
        if let Some(h) = drained(c, m)? {
            return Ok(h);
        }
    }
    make(Kind::Recv, ix::Irecv, c, m).map(|(h, r)| begun(h, r, true))
}

/// The lower half has begun a request.
#[inline(always)]
fn begun(h: i32, r: &Request, quick: bool) -> i32 {
    r.quick.set(quick);
    r.active.set(true);
    h
}

/// A request that a drained message completes, if one matches.
#[cold]
unsafe fn drained(c: &'static Comm, m: Message) -> Result<Option<i32>, Fail> {
    let Some(found) = unexpected::take(c, m.peer, m.tag) else {
        return Ok(None);
    };
    let status = found.received(m.buf, m.n, m.t)?;
    let (h, r) = request::make(&lock(), Kind::Recv, c, m.t);
    remember(r, ix::Irecv, m);
    r.complete_at_once(status);
    Ok(Some(h))
}

/// Makes a request that is complete from the start.
pub fn complete_now(c: &'static Comm, kind: Kind, status: Status) -> i32 {
    let (h, r) = request::make(&lock(), kind, c, BYTE);
    r.complete_at_once(status);
    h
}

/// A non-blocking send.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn isend(function: usize, m: Message, comm: i32, out: usize) -> i32 {
    if function != ix::Isend {
        return post(function, m, comm, out);
    }
    quick::isend(m, comm, out)
}

/// Whatever the message and the state of things. It takes what `MPI_Isend` takes, and so it is jumped to with nothing
/// stored on the quick way for its sake; the like holds for the others.
#[cold]
#[inline(never)]
pub unsafe extern "C" fn isend_slowly(
    buf: usize,
    n: i32,
    t: i32,
    peer: i32,
    tag: i32,
    comm: i32,
    out: usize,
) -> i32 {
    post(ix::Isend, Message::new(buf, n, t, peer, tag), comm, out)
}

/// Posts a send inside the gate.
#[inline(never)]
unsafe fn post(function: usize, m: Message, comm: i32, out: usize) -> i32 {
    forward(comm, || {
        put(out, post_send(function, comms::get(comm)?, m)?);
        Ok(SUCCESS)
    })
}

/// Whatever the message and the state of things.
#[cold]
#[inline(never)]
pub unsafe extern "C" fn irecv_slowly(
    buf: usize,
    n: i32,
    t: i32,
    peer: i32,
    tag: i32,
    comm: i32,
    out: usize,
) -> i32 {
    let m = Message::new(buf, n, t, peer, tag);
    forward(comm, || {
        put(out, post_recv(comms::get(comm)?, m)?);
        Ok(SUCCESS)
    })
}

/// A persistent request.
///
/// # Safety
/// As the MPI standard says of the arguments.
pub unsafe fn init(kind: Kind, function: usize, m: Message, comm: i32, out: usize) -> i32 {
    forward(comm, || {
        let (h, r) = make(kind, function, comms::get(comm)?, m)?;
        r.persistent.set(true);
        r.weigh();
        put(out, h);
        Ok(SUCCESS)
    })
}

unsafe fn begin(at: usize) -> Outcome {
    let r = request::get(*(at as *const i32)).filter(|r| r.persistent.get() && !r.active.get());
    let r = r.ok_or(Fail::Code(ERR_REQUEST))?;
    let c = r.comm.get().ok_or(Fail::Code(ERR_REQUEST))?;
    r.serial.set(serial());
    if r.kind.get() == Kind::Model {
        return partitioned::begin(r);
    }
    if r.function.get() == ix::Bsend_init {
        return bsend::start(r, c);
    }
    let traffic = c.traffic(r.peer.get());
    if r.kind.get() == Kind::Send {
        if let Some(traffic) = traffic {
            traffic.send();
        }
        if r.function.get() == ix::Ssend_init {
            sync::begin(&lock(), c, r);
        } else {
            sync::sending(c, r.peer.get(), r.tag.get());
        }
    } else if unexpected::any() {
        if let Some(m) = unexpected::take(c, r.peer.get(), r.tag.get()) {
            let status = m.received(r.buffer.get(), r.count.get(), r.datatype.get())?;
            r.complete_at_once(status);
            return Ok(SUCCESS);
        }
    }
    let outcome = lower::call(ix::Start, &[r.lower.as_ptr() as u64]);
    if let Ok(SUCCESS) = outcome {
        r.active.set(true);
    } else if r.kind.get() == Kind::Send {
        if let Some(traffic) = traffic {
            traffic.unsend();
        }
        sync::end(&lock(), r);
    }
    outcome
}

/// Starts the request at an address.
unsafe fn one(at: usize) -> i32 {
    match request::get(*(at as *const i32)) {
        Some(r) if r.persistent.get() && r.kind.get() == Kind::Coll => icoll::again(r),
        _ => forward(COMM_WORLD, || begin(at)),
    }
}

pub unsafe fn start(at: usize) -> i32 {
    one(at)
}

pub unsafe fn startall(n: i32, at: usize) -> i32 {
    for i in 0..slice::<i32>(at, n).len() {
        let code = one(at + 4 * i);
        if code != SUCCESS {
            return code;
        }
    }
    SUCCESS
}
