//! Probes. A blocking probe polls and comes out at the gate: the drain may take the very message that it
//! waits for.

use super::abi::*;
use super::complete;
use super::front::{finish, forward, put, put_status};
use super::lower::{self, ix, Fail, Outcome};
use super::model::objects::find;
use super::model::request::{self, Kind};
use super::model::table::Table;
use super::model::{comm as comms, lock, Comm, Guard, Locked};
use super::start::complete_now;
use super::unexpected::{self, Message};
use super::{handle, packed, quick};
use crate::gate::{self, Call};
use std::sync::atomic::Ordering::Relaxed;

/// A message that a matched probe took: still in the lower half, or drained.
pub struct Matched {
    comm: &'static Comm,
    state: Locked<Held>,
}

enum Held {
    Lower(i32, Status),
    Drained(Message),
}

/// Messages between a matched probe and its receive.
static MESSAGES: Table<Matched> = Table::new();

/// Looks for a message: its status if there is one.
///
/// # Safety
/// In a call that must complete.
pub unsafe fn look(c: &Comm, source: i32, tag: i32, own: &mut Status) -> Result<bool, Fail> {
    if unexpected::any() {
        if let Some(s) = unexpected::peek(c, source, tag) {
            *own = s;
            return Ok(true);
        }
    }
    let mut flag = 0i32;
    let args = [
        source as u64,
        tag as u64,
        c.low(),
        &mut flag as *mut i32 as u64,
        own as *mut Status as u64,
    ];
    match lower::call(ix::Iprobe, &args)? {
        SUCCESS => Ok(flag != 0),
        code => Err(Fail::Code(code)),
    }
}

#[inline(always)]
pub unsafe fn iprobe(source: i32, tag: i32, comm: i32, flag: usize, status: usize) -> i32 {
    quick::iprobe(source, tag, comm, flag, status)
}

/// Whatever the state of things.
#[cold]
#[inline(never)]
pub unsafe fn iprobe_slowly(source: i32, tag: i32, comm: i32, flag: usize, status: usize) -> i32 {
    forward(comm, || {
        let mut own = Status::EMPTY;
        let found = look(comms::get(comm)?, source, tag, &mut own)?;
        put(flag, found as i32);
        if found {
            put_status(status, own);
        }
        Ok(SUCCESS)
    })
}

/// Repeats a look until it finds something, outside the gate between two looks.
unsafe fn until(comm: i32, mut f: impl FnMut() -> Result<bool, Fail>) -> i32 {
    loop {
        let inside = gate::enter(Call::MustComplete);
        let found = f();
        drop(inside);
        match found {
            Ok(true) => return SUCCESS,
            Ok(false) => continue,
            Err(e) => return finish(comm, Err(e)),
        }
    }
}

pub unsafe fn probe(source: i32, tag: i32, comm: i32, status: usize) -> i32 {
    let mut own = Status::EMPTY;
    let code = until(comm, || look(comms::get(comm)?, source, tag, &mut own));
    put_status(status, own);
    code
}

unsafe fn take(
    comm: i32,
    source: i32,
    tag: i32,
    out: usize,
    own: &mut Status,
) -> Result<bool, Fail> {
    let c = comms::get(comm)?;
    let state = match unexpected::take(c, source, tag) {
        Some(m) => {
            *own = m.status();
            Held::Drained(m)
        }
        None => {
            let (mut flag, mut message) = (0i32, MESSAGE_NULL);
            let (f, m) = (
                &mut flag as *mut i32 as u64,
                &mut message as *mut i32 as u64,
            );
            let args = [
                source as u64,
                tag as u64,
                c.low(),
                f,
                m,
                own as *mut Status as u64,
            ];
            match lower::call(ix::Improbe, &args)? {
                SUCCESS if flag == 0 => return Ok(false),
                SUCCESS if message == MESSAGE_NO_PROC => {
                    put(out, MESSAGE_NO_PROC);
                    return Ok(true);
                }
                SUCCESS => Held::Lower(message, *own),
                code => return Err(Fail::Code(code)),
            }
        }
    };
    let guard = lock();
    c.hold(&guard);
    put(
        out,
        V_MESSAGE
            | MESSAGES.add(
                &guard,
                Matched {
                    comm: c,
                    state: Locked::new(state),
                },
            ),
    );
    Ok(true)
}

pub unsafe fn improbe(
    source: i32,
    tag: i32,
    comm: i32,
    flag: usize,
    out: usize,
    status: usize,
) -> i32 {
    forward(comm, || {
        let mut own = Status::EMPTY;
        let found = take(comm, source, tag, out, &mut own)?;
        put(flag, found as i32);
        if found {
            put_status(status, own);
        }
        Ok(SUCCESS)
    })
}

pub unsafe fn mprobe(source: i32, tag: i32, comm: i32, out: usize, status: usize) -> i32 {
    let mut own = Status::EMPTY;
    let code = until(comm, || take(comm, source, tag, out, &mut own));
    put_status(status, own);
    code
}

unsafe fn receive(buf: usize, n: i32, t: i32, at: usize, request: usize) -> Outcome {
    let h = *(at as *const i32);
    if h == MESSAGE_NO_PROC {
        put(at, MESSAGE_NULL);
        let status = Status {
            source: PROC_NULL,
            ..Status::EMPTY
        };
        put(
            request,
            complete_now(comms::get(COMM_SELF)?, Kind::MatchedRecv, status),
        );
        return Ok(SUCCESS);
    }
    let m = find(&MESSAGES, V_MESSAGE, h).ok_or(Fail::Code(ERR_REQUEST))?;
    let guard = lock();
    let made = match m.state.get(&guard) {
        Held::Drained(message) => {
            let status = message.received(buf, n, t)?;
            let (rh, r) = request::make(&guard, Kind::MatchedRecv, m.comm, t);
            r.complete_at_once(status);
            rh
        }
        Held::Lower(lower, _) => {
            let (rh, r) = request::make(&guard, Kind::MatchedRecv, m.comm, t);
            let args = [
                buf as u64,
                n as u64,
                handle::datatype(t)?,
                lower as *mut i32 as u64,
                r.lower.as_ptr() as u64,
            ];
            let code = lower::must(ix::Imrecv, &args);
            if code != SUCCESS {
                request::release(&guard, r);
                return Ok(code);
            }
            r.active.set(true);
            rh
        }
    };
    m.comm.release(&guard);
    MESSAGES.remove(&guard, h & INDEX_MASK);
    put(at, MESSAGE_NULL);
    put(request, made);
    Ok(SUCCESS)
}

pub unsafe fn imrecv(buf: usize, n: i32, t: i32, at: usize, request: usize) -> i32 {
    forward(COMM_WORLD, || receive(buf, n, t, at, request))
}

pub unsafe fn mrecv(buf: usize, n: i32, t: i32, at: usize, status: usize) -> i32 {
    let mut request = REQUEST_NULL;
    let code = imrecv(buf, n, t, at, &mut request as *mut i32 as usize);
    if code != SUCCESS {
        return code;
    }
    let mut own = Status::EMPTY;
    let code = complete::wait_one(&mut request, &mut own);
    put_status(status, own);
    finish(COMM_WORLD, Ok(code))
}

/// Takes a matched message out of the lower half as packed bytes.
///
/// # Safety
/// On the cut's helper; `message` must be one of the lower half.
pub unsafe fn drain_message(c: &Comm, message: &mut i32, status: &Status) -> Message {
    let mut bytes = vec![0u8; status.count() as usize];
    let mut done = Status::EMPTY;
    let at = &mut done as *mut Status as u64;
    let to = bytes.as_mut_ptr() as u64;
    let message = message as *mut i32 as u64;
    match i32::try_from(bytes.len()) {
        Ok(n) => lower::must(ix::Mrecv, &[to, n as u64, BYTE as u64, message, at]),
        Err(_) => packed::of_bytes(bytes.len(), |t| {
            lower::must(ix::Mrecv, &[to, 1, t, message, at])
        }),
    };
    if let Some(traffic) = c.traffic(status.source) {
        traffic.receive(true);
    }
    Message {
        comm: c.id.load(Relaxed),
        source: status.source,
        tag: status.tag,
        bytes,
        ack: None,
    }
}

/// Takes the messages of all matched probes out of the lower half.
///
/// # Safety
/// With the gate closed.
pub unsafe fn drain_matched(guard: &Guard) {
    for (_, m) in MESSAGES.all(guard) {
        let state = m.state.get(guard);
        if let Held::Lower(lower, status) = state {
            let status = *status;
            *state = Held::Drained(drain_message(m.comm, lower, &status));
        }
    }
}
