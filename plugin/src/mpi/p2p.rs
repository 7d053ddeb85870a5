//! Blocking point to point.

use super::abi::*;
use super::front::{again, finish, forward, put_status};
use super::lower::{self, ix, Fail, Outcome};
use super::model::{comm as comms, datatype, Comm};
pub use super::quick::recv;
use super::start::Message;
use super::{complete, handle, inside, large, packed, quick, start, sync, unexpected};
use crate::gate::{self, Call, Inside};
use std::sync::atomic::Ordering::Relaxed;

/// Sends on a communicator, inside the gate: the code of the lower half.
#[inline(always)]
unsafe fn send_on(index: usize, c: &Comm, m: Message) -> Outcome {
    let t = handle::datatype(m.t)?;
    let comm = c.lower.load(Relaxed);
    let traffic = c.traffic(m.peer);
    if let Some(traffic) = traffic {
        traffic.send();
    }
    sync::sending(c, m.peer, m.tag);
    inside::about(comm, m.peer, m.tag);
    let code = lower::must(
        index,
        &[
            m.buf as u64,
            m.n as u64,
            t,
            m.peer as u64,
            m.tag as u64,
            comm as u64,
        ],
    );
    if let (Some(traffic), true) = (traffic, code != SUCCESS) {
        traffic.unsend();
    }
    Ok(code)
}

/// A blocking send.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn send(index: usize, m: Message, comm: i32) -> i32 {
    if index != ix::Send {
        return send_in(index, m, comm);
    }
    quick::send(m, comm)
}

/// Whatever the message and the state of things; see `start::isend_slowly`.
#[cold]
#[inline(never)]
pub unsafe extern "C" fn send_slowly(
    buf: usize,
    n: i32,
    t: i32,
    peer: i32,
    tag: i32,
    comm: i32,
) -> i32 {
    send_in(ix::Send, Message::new(buf, n, t, peer, tag), comm)
}

/// Sends in the mode of the function, inside the gate.
#[inline(never)]
unsafe fn send_in(index: usize, m: Message, comm: i32) -> i32 {
    forward(comm, || send_on(index, comms::get(comm)?, m))
}

/// `MPI_Ssend`: when it is complete is more than the lower half knows, see `sync`.
///
/// # Safety
/// As the MPI standard says of the arguments.
pub unsafe fn ssend(m: Message, comm: i32) -> i32 {
    let mut request = REQUEST_NULL;
    let code = start::isend(ix::Issend, m, comm, &raw mut request as usize);
    if code != SUCCESS {
        return code;
    }
    let code = complete::wait_one(&mut request, &mut Status::default());
    finish(comm, Ok(code))
}

/// `MPI_Recv`, whatever the message and the state of things.
#[cold]
#[inline(never)]
pub unsafe extern "C" fn recv_slowly(
    buf: usize,
    n: i32,
    t: i32,
    peer: i32,
    tag: i32,
    comm: i32,
    status: usize,
) -> i32 {
    let m = Message::new(buf, n, t, peer, tag);
    let inside = gate::enter(Call::Reexecutable);
    let mut own = Status::EMPTY;
    let outcome = again(|| {
        let c = comms::get(comm)?;
        if unexpected::any() {
            if let Some(code) = recv_drained(&inside, c, m, &mut own)? {
                return Ok(code);
            }
        }
        let t = handle::datatype(m.t)?;
        let comm = c.lower.load(Relaxed);
        inside::about(comm, m.peer, m.tag);
        let r = lower::call(
            ix::Recv,
            &[
                m.buf as u64,
                m.n as u64,
                t,
                m.peer as u64,
                m.tag as u64,
                comm as u64,
                &raw mut own as u64,
            ],
        );
        if r.is_ok() {
            // A truncated message was received too: it is no longer in flight.
            if let Some(traffic) = c.traffic(own.source) {
                traffic.receive(false);
            }
        }
        r
    });
    drop(inside);
    put_status(status, own);
    finish(comm, outcome)
}

/// Receives a drained message, if one matches.
#[cold]
unsafe fn recv_drained(
    inside: &Inside,
    c: &Comm,
    m: Message,
    own: &mut Status,
) -> Result<Option<i32>, Fail> {
    inside.set(Call::MustComplete);
    if let Some(found) = unexpected::take(c, m.peer, m.tag) {
        return found.deliver(m.buf, m.n, m.t, own).map(Some);
    }
    inside.set(Call::Reexecutable);
    Ok(None)
}

/// `MPI_Sendrecv`.
///
/// # Safety
/// As the MPI standard says of the arguments.
pub unsafe fn sendrecv(sent: Message, received: Message, comm: i32, status: usize) -> i32 {
    // Two requests and a wait, as the library does itself: a process that stops while it waits for
    // its message is saved with the send done and the receive posted.
    let mut requests = [REQUEST_NULL; 2];
    let inside = gate::enter(Call::MustComplete);
    let outcome = (|| -> Outcome {
        let c = comms::get(comm)?;
        requests[0] = start::post_recv(c, received)?;
        requests[1] = start::post_send(ix::Isend, c, sent)?;
        Ok(SUCCESS)
    })();
    drop(inside);
    if !matches!(outcome, Ok(SUCCESS)) {
        if requests[0] != REQUEST_NULL {
            complete::cancel(&mut requests[0] as *mut i32 as usize);
            complete::wait_one(&mut requests[0], &mut Status::default());
        }
        return finish(comm, outcome);
    }
    let mut own = Status::EMPTY;
    let first = complete::wait_one(&mut requests[1], &mut Status::default());
    let second = complete::wait_one(&mut requests[0], &mut own);
    put_status(status, own);
    finish(comm, Ok(if second != SUCCESS { second } else { first }))
}

/// `MPI_Sendrecv_replace`.
///
/// # Safety
/// As the MPI standard says of the arguments.
pub unsafe fn sendrecv_replace(
    sent: Message,
    source: i32,
    rtag: i32,
    comm: i32,
    status: usize,
) -> i32 {
    let packed = match pack(sent) {
        Ok(bytes) => bytes,
        Err(Fail::Code(code)) => return finish(comm, Ok(code)),
        Err(Fail::Restarted) => return finish(comm, Ok(ERR_OTHER)),
    };
    let received = Message {
        peer: source,
        tag: rtag,
        ..sent
    };
    large::narrow(packed.len() as i64, PACKED, comm, |n, t| {
        let buf = packed.as_ptr() as usize;
        sendrecv(Message { buf, n, t, ..sent }, received, comm, status)
    })
}

/// Packs a message.
///
/// # Safety
/// As the MPI standard says of it.
pub unsafe fn pack(m: Message) -> Result<Vec<u8>, Fail> {
    let _inside = gate::enter(Call::MustComplete);
    let size = datatype::sizes(m.t)?.size;
    let mut bytes = vec![0u8; (size * m.n.max(0) as i64) as usize];
    match packed::pack(m.buf, m.n, handle::datatype(m.t)?, &mut bytes) {
        SUCCESS => Ok(bytes),
        code => Err(Fail::Code(code)),
    }
}
