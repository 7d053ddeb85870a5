//! Requests that the model itself completes, out of requests of the lower half: `MPI_Isendrecv`, partitioned communication,
//! the flush of a buffer.
//!
//! What they are made of are requests like any others, which the drain and a restart know. Such a request is only looked
//! at (`step`) by a thread of the application's that completes it.

use super::abi::*;
use super::bsend::{self, Owner};
use super::complete::test_one;
use super::front::{finish, forward, put};
use super::large;
use super::lower::{ix, Outcome};
use super::model::request::{self, Extra, Kind, Request};
use super::model::{comm as comms, lock, Comm, Guard};
use super::p2p;
use super::partitioned::{self, Partitioned};
use super::start::{self, Message};

/// What such a request is made of.
pub enum Work {
    /// A send, a receive, and the packed copy of what is sent, if it is one.
    Pair([i32; 2], Vec<u8>),
    /// All sends from a buffer up to this number.
    Flush(Owner, u64),
    /// One side of a partitioned message.
    Partitioned(Partitioned),
}

/// Makes such a request; it is active.
///
/// # Safety
/// `out` must be a place for a request.
pub unsafe fn make(c: &'static Comm, datatype: i32, work: Work) -> (i32, &'static Request) {
    let (h, r) = request::make(&lock(), Kind::Model, c, datatype);
    r.extra.set(Some(Box::new(Extra {
        work: Some(work),
        ..Extra::default()
    })));
    r.active.set(true);
    (h, r)
}

/// Does something with what a request is made of; `None` if it is not such a request.
pub fn with<T>(_guard: &Guard, r: &Request, f: impl FnOnce(&mut Work) -> T) -> Option<T> {
    let mut extra = r.extra.take();
    let done = extra.as_mut().and_then(|e| e.work.as_mut()).map(f);
    r.extra.set(extra);
    done
}

/// What a look at a request has to do.
enum Step {
    Pair([i32; 2]),
    Flush(Owner, u64),
    Partitioned,
}

/// Looks whether a request is complete; if so its status is set.
///
/// # Safety
/// As `complete::poll`, of which it is a part.
pub unsafe fn step(r: &'static Request) -> bool {
    let what = with(&lock(), r, |w| match w {
        Work::Pair(handles, _) => Step::Pair(*handles),
        Work::Flush(owner, n) => Step::Flush(*owner, *n),
        Work::Partitioned(_) => Step::Partitioned,
    });
    match what {
        Some(Step::Pair(handles)) => pair(r, handles),
        Some(Step::Flush(owner, n)) => {
            r.status.set(Status::EMPTY);
            bsend::sent(owner, n)
        }
        Some(Step::Partitioned) => partitioned::step(r),
        None => true,
    }
}

/// Tests both parts: the send's, the receive's, which has the status.
unsafe fn pair(r: &'static Request, mut handles: [i32; 2]) -> bool {
    for (i, handle) in handles.iter_mut().enumerate() {
        let mut own = Status::EMPTY;
        if *handle == REQUEST_NULL {
            continue;
        }
        if let Some(code) = test_one(handle, &mut own) {
            let failed = r.status.get().error;
            if i == 1 {
                own.error = if code == SUCCESS { failed } else { code };
                r.status.set(own);
            } else {
                let before = r.status.get();
                let error = if failed == SUCCESS { code } else { failed };
                r.status.set(Status { error, ..before });
            }
        }
    }
    with(&lock(), r, |w| {
        if let Work::Pair(own, _) = w {
            *own = handles;
        }
    });
    handles == [REQUEST_NULL; 2]
}

/// Cancels what a request is made of, as far as that can be.
///
/// # Safety
/// In a call that must complete.
pub unsafe fn cancel(r: &Request) -> i32 {
    let parts = with(&lock(), r, |w| match w {
        Work::Pair(handles, _) => *handles,
        _ => [REQUEST_NULL; 2],
    });
    for mut handle in parts.unwrap_or_default() {
        if request::get(handle).is_some() {
            super::complete::cancel(&raw mut handle as usize);
        }
    }
    SUCCESS
}

/// Posts a receive and a send.
unsafe fn post(
    sent: Message,
    received: Message,
    comm: i32,
    packed: Vec<u8>,
    out: usize,
) -> Outcome {
    let c = comms::get(comm)?;
    let receive = start::post_recv(c, received)?;
    let send = match start::post_send(ix::Isend, c, sent) {
        Ok(send) => send,
        Err(e) => {
            let mut handle = receive;
            super::complete::cancel(&raw mut handle as usize);
            while test_one(&mut handle, &mut Status::default()).is_none() {}
            return Err(e);
        }
    };
    let (h, r) = make(c, DATATYPE_NULL, Work::Pair([send, receive], packed));
    r.status.set(Status::EMPTY);
    put(out, h);
    Ok(SUCCESS)
}

pub unsafe fn isendrecv(sent: Message, received: Message, comm: i32, out: usize) -> i32 {
    forward(comm, || post(sent, received, comm, Vec::new(), out))
}

pub unsafe fn isendrecv_replace(
    sent: Message,
    source: i32,
    rtag: i32,
    comm: i32,
    out: usize,
) -> i32 {
    let packed = match p2p::pack(sent) {
        Ok(bytes) => bytes,
        Err(e) => return finish(comm, Err(e)),
    };
    let received = Message {
        peer: source,
        tag: rtag,
        ..sent
    };
    large::narrow(packed.len() as i64, PACKED, comm, |n, t| {
        let buf = packed.as_ptr() as usize;
        forward(comm, || {
            post(Message { buf, n, t, ..sent }, received, comm, packed, out)
        })
    })
}

/// Looks at one request without ending it.
unsafe fn look(handle: i32, own: &mut Status) -> Option<i32> {
    let mut flag = 0i32;
    let at = own as *mut Status as usize;
    let code = super::complete::request_get_status(handle, &raw mut flag as usize, at);
    (flag != 0 || code != SUCCESS).then_some(code)
}

pub unsafe fn request_get_status_all(n: i32, at: usize, flag: usize, statuses: usize) -> i32 {
    let handles = super::front::slice::<i32>(at, n);
    let mut found = Vec::with_capacity(handles.len());
    for h in handles {
        let mut own = Status::EMPTY;
        match look(*h, &mut own) {
            Some(SUCCESS) => found.push(own),
            Some(code) => return code,
            None => {}
        }
    }
    let all = found.len() == handles.len();
    put(flag, i32::from(all));
    if all {
        for (i, s) in found.into_iter().enumerate() {
            super::together::put_at(statuses, i, s);
        }
    }
    SUCCESS
}

pub unsafe fn request_get_status_any(
    n: i32,
    at: usize,
    index: usize,
    flag: usize,
    status: usize,
) -> i32 {
    put(index, UNDEFINED);
    let mut active = false;
    for (i, h) in super::front::slice::<i32>(at, n).iter().enumerate() {
        if super::complete::idle(*h) {
            continue;
        }
        active = true;
        let mut own = Status::EMPTY;
        if let Some(code) = look(*h, &mut own) {
            put(index, i as i32);
            put(flag, 1);
            super::front::put_status(status, own);
            return code;
        }
    }
    put(flag, i32::from(!active));
    if !active {
        super::front::put_status(status, Status::EMPTY);
    }
    SUCCESS
}

pub unsafe fn request_get_status_some(
    n: i32,
    at: usize,
    count: usize,
    indices: usize,
    statuses: usize,
) -> i32 {
    let (mut active, mut done) = (false, 0usize);
    for (i, h) in super::front::slice::<i32>(at, n).iter().enumerate() {
        if super::complete::idle(*h) {
            continue;
        }
        active = true;
        let mut own = Status::EMPTY;
        match look(*h, &mut own) {
            Some(SUCCESS) => {
                put(indices + 4 * done, i as i32);
                super::together::put_at(statuses, done, own);
                done += 1;
            }
            Some(code) => return code,
            None => {}
        }
    }
    put(count, if active { done as i32 } else { UNDEFINED });
    SUCCESS
}
