//! Buffered sends. The model keeps the messages, as copies of its own; the application's buffer is only counted.
//!
//! Each is a non-blocking send of the copy, a request like any other: so the drain knows it, a restart finds it, and a
//! communicator or session can have a buffer whatever the lower half knows of that.

use super::abi::*;
use super::complete::test_one;
use super::composite::{self, Work};
use super::front::{finish, forward, local, put};
use super::lower::{ix, Fail, Outcome};
use super::model::request::{Request, COMPLETE};
use super::model::{comm as comms, datatype, lock, Comm, Guard, Locked};
use super::start::{self, Message};
use super::{large, p2p, sessions};
use crate::gate::{self, Call};

/// What a message takes of the buffer beside its bytes: `MPI_BSEND_OVERHEAD`.
const OVERHEAD: i64 = 96;
/// `MPI_BUFFER_AUTOMATIC`: as much as it takes.
const AUTOMATIC: usize = -2isize as usize;

/// Whose a buffer is.
#[derive(Clone, Copy)]
pub enum Owner {
    /// The process's.
    Process,
    /// A communicator's.
    Comm(&'static Comm),
    /// A session's, by its handle.
    Session(i32),
    /// The model's own: there is room for everything.
    Ours,
}

/// A message that is on its way.
struct Sending {
    number: u64,
    request: i32,
    bytes: Vec<u8>,
}

/// A buffer.
#[derive(Default)]
pub struct Buffer {
    /// Address and size; none is attached where the size is `None`.
    at: usize,
    size: Option<i64>,
    sending: Vec<Sending>,
    /// A thread asks the lower half about them.
    asking: bool,
    /// Number of the last message.
    last: u64,
}

static OF_PROCESS: Locked<Option<Buffer>> = Locked::new(None);
static OF_OURS: Locked<Option<Buffer>> = Locked::new(None);

/// Does something with an owner's buffer.
fn with<T>(guard: &Guard, owner: Owner, f: impl FnOnce(&mut Buffer) -> T) -> Result<T, Fail> {
    Ok(match owner {
        Owner::Process => f(OF_PROCESS.get(guard).get_or_insert_default()),
        Owner::Comm(c) => f(c.meta.get(guard).buffer.get_or_insert_default()),
        Owner::Session(h) => f(sessions::buffer(guard, h)?),
        Owner::Ours => f(OF_OURS.get(guard).get_or_insert_default()),
    })
}

/// Ends the sends that are complete: is none up to this number left?
///
/// # Safety
/// Inside the gate, without the model's lock.
pub unsafe fn sent(owner: Owner, number: u64) -> bool {
    // Taken out, so that the lock is not held while the lower half is asked.
    let taken = with(&lock(), owner, |b| match b.asking {
        true => None,
        false => {
            b.asking = true;
            Some(std::mem::take(&mut b.sending))
        }
    });
    let list = match taken {
        Ok(Some(list)) => list,
        Ok(None) => return false,
        Err(_) => return true, // a session that is gone has sent everything
    };
    let mut left = Vec::new();
    for mut s in list {
        if test_one(&mut s.request, &mut Status::default()).is_none() {
            left.push(s);
        }
    }
    let more = left.iter().any(|s| s.number <= number);
    let _ = with(&lock(), owner, |b| {
        left.append(&mut b.sending); // what another thread has sent meanwhile
        b.sending = left;
        b.asking = false;
    });
    !more
}

/// Waits until everything is sent that a buffer holds.
unsafe fn wait(owner: Owner) {
    loop {
        let inside = gate::enter(Call::MustComplete);
        let done = sent(owner, u64::MAX);
        drop(inside);
        if done {
            return;
        }
        std::thread::yield_now();
    }
}

/// The buffer that a message on a communicator goes into.
fn owner(guard: &Guard, c: &'static Comm) -> Result<Owner, Fail> {
    let session = c.meta.get(guard).session;
    for owner in [Owner::Comm(c), Owner::Session(session), Owner::Process] {
        if with(guard, owner, |b| b.size.is_some()).unwrap_or(false) {
            return Ok(owner);
        }
    }
    Err(Fail::Code(ERR_BUFFER))
}

/// Sends a message from the buffer.
unsafe fn send(m: Message, c: &'static Comm) -> Outcome {
    if m.peer == PROC_NULL {
        return Ok(SUCCESS);
    }
    let owner = owner(&lock(), c)?;
    copy(owner, m, c)
}

/// Sends a copy of a message.
///
/// # Safety
/// As `start::post_send`.
pub unsafe fn copy(owner: Owner, m: Message, c: &'static Comm) -> Outcome {
    sent(owner, u64::MAX);
    let bytes = p2p::pack(m)?;
    let need = bytes.len() as i64 + OVERHEAD;
    let room = with(&lock(), owner, |b| {
        let used = b.sending.iter().map(|s| s.bytes.len() as i64 + OVERHEAD);
        let limited = b.at != AUTOMATIC && !matches!(owner, Owner::Ours);
        !limited || used.sum::<i64>() + need <= b.size.unwrap_or(0)
    })?;
    if !room {
        return Err(Fail::Code(ERR_BUFFER));
    }
    let mut request = REQUEST_NULL;
    let buf = bytes.as_ptr() as usize;
    // A basic datatype goes as it is, another as packed bytes.
    let code = if datatype::get(m.t).is_none() {
        request = start::post_send(ix::Isend, c, Message { buf, ..m })?;
        SUCCESS
    } else {
        large::narrow(
            bytes.len() as i64,
            PACKED,
            COMM_SELF,
            |n, t| match start::post_send(ix::Isend, c, Message { buf, n, t, ..m }) {
                Ok(h) => {
                    request = h;
                    SUCCESS
                }
                Err(Fail::Code(code)) => code,
                Err(Fail::Restarted) => ERR_OTHER,
            },
        )
    };
    if code == SUCCESS && request != COMPLETE {
        with(&lock(), owner, |b| {
            b.last += 1;
            let number = b.last;
            b.sending.push(Sending {
                number,
                request,
                bytes,
            });
        })?;
    }
    Ok(code)
}

pub unsafe fn bsend(m: Message, comm: i32) -> i32 {
    forward(comm, || send(m, comms::get(comm)?))
}

pub unsafe fn ibsend(m: Message, comm: i32, out: usize) -> i32 {
    forward(comm, || {
        let code = send(m, comms::get(comm)?);
        if let Ok(SUCCESS) = code {
            put(out, COMPLETE);
        }
        code
    })
}

/// Starts a persistent buffered send: it is complete at once.
///
/// # Safety
/// In a call that must complete.
pub unsafe fn start(r: &'static Request, c: &'static Comm) -> Outcome {
    let code = send(Message::of(r), c);
    if let Ok(SUCCESS) = code {
        r.complete_at_once(Status::EMPTY);
    }
    code
}

/// Before the end of a communicator, session or process: everything is sent.
///
/// # Safety
/// Outside the gate.
pub unsafe fn end(owner: Owner) {
    if !with(&lock(), owner, |b| b.sending.is_empty()).unwrap_or(true) {
        wait(owner);
    }
}

fn attach(owner: Result<Owner, Fail>, comm: i32, at: usize, size: i64) -> i32 {
    local(comm, || {
        if size < 0 {
            return Err(Fail::Code(ERR_ARG));
        }
        with(&lock(), owner?, |b| match b.size {
            Some(_) => Err(Fail::Code(ERR_BUFFER)),
            None => {
                (b.at, b.size) = (at, Some(size));
                Ok(())
            }
        })?
    })
}

/// Gives address and size, which `wide` says the kind of.
unsafe fn detach(
    owner: Result<Owner, Fail>,
    comm: i32,
    out: usize,
    size: usize,
    wide: bool,
) -> i32 {
    let owner = match owner {
        Ok(owner) => owner,
        Err(e) => return finish(comm, Err(e)),
    };
    end(owner);
    local(comm, || {
        with(&lock(), owner, |b| {
            let (at, n) = (std::mem::take(&mut b.at), b.size.take().unwrap_or(0));
            put(out, at);
            if wide {
                put(size, n);
            } else {
                put(size, n as i32);
            }
        })
    })
}

unsafe fn flush(owner: Result<Owner, Fail>, comm: i32) -> i32 {
    match owner {
        Ok(owner) => end(owner),
        Err(e) => return finish(comm, Err(e)),
    }
    SUCCESS
}

unsafe fn iflush(owner: Result<Owner, Fail>, comm: i32, out: usize) -> i32 {
    forward(comm, || {
        let owner = owner?;
        let last = with(&lock(), owner, |b| b.last)?;
        let c = match owner {
            Owner::Comm(c) => c, // held by the request
            _ => comms::get(COMM_SELF)?,
        };
        let (h, _) = composite::make(c, DATATYPE_NULL, Work::Flush(owner, last));
        put(out, h);
        Ok(SUCCESS)
    })
}

/// A communicator's, or the error.
fn of_comm(comm: i32) -> Result<Owner, Fail> {
    comms::get(comm).map(Owner::Comm)
}

/// A session's.
fn of_session(session: i32) -> Result<Owner, Fail> {
    with(&lock(), Owner::Session(session), |_| ()).map(|()| Owner::Session(session))
}

pub unsafe fn buffer_attach(at: usize, size: i32) -> i32 {
    attach(Ok(Owner::Process), COMM_WORLD, at, i64::from(size))
}

pub unsafe fn buffer_attach_c(at: usize, size: i64) -> i32 {
    attach(Ok(Owner::Process), COMM_WORLD, at, size)
}

pub unsafe fn buffer_detach(out: usize, size: usize) -> i32 {
    detach(Ok(Owner::Process), COMM_WORLD, out, size, false)
}

pub unsafe fn buffer_detach_c(out: usize, size: usize) -> i32 {
    detach(Ok(Owner::Process), COMM_WORLD, out, size, true)
}

pub unsafe fn buffer_flush() -> i32 {
    flush(Ok(Owner::Process), COMM_WORLD)
}

pub unsafe fn buffer_iflush(out: usize) -> i32 {
    iflush(Ok(Owner::Process), COMM_WORLD, out)
}

pub unsafe fn comm_attach_buffer(comm: i32, at: usize, size: i32) -> i32 {
    attach(of_comm(comm), comm, at, i64::from(size))
}

pub unsafe fn comm_attach_buffer_c(comm: i32, at: usize, size: i64) -> i32 {
    attach(of_comm(comm), comm, at, size)
}

pub unsafe fn comm_detach_buffer(comm: i32, out: usize, size: usize) -> i32 {
    detach(of_comm(comm), comm, out, size, false)
}

pub unsafe fn comm_detach_buffer_c(comm: i32, out: usize, size: usize) -> i32 {
    detach(of_comm(comm), comm, out, size, true)
}

pub unsafe fn comm_flush_buffer(comm: i32) -> i32 {
    flush(of_comm(comm), comm)
}

pub unsafe fn comm_iflush_buffer(comm: i32, out: usize) -> i32 {
    iflush(of_comm(comm), comm, out)
}

pub unsafe fn session_attach_buffer(session: i32, at: usize, size: i32) -> i32 {
    attach(of_session(session), COMM_SELF, at, i64::from(size))
}

pub unsafe fn session_attach_buffer_c(session: i32, at: usize, size: i64) -> i32 {
    attach(of_session(session), COMM_SELF, at, size)
}

pub unsafe fn session_detach_buffer(session: i32, out: usize, size: usize) -> i32 {
    detach(of_session(session), COMM_SELF, out, size, false)
}

pub unsafe fn session_detach_buffer_c(session: i32, out: usize, size: usize) -> i32 {
    detach(of_session(session), COMM_SELF, out, size, true)
}

pub unsafe fn session_flush_buffer(session: i32) -> i32 {
    flush(of_session(session), COMM_SELF)
}

pub unsafe fn session_iflush_buffer(session: i32, out: usize) -> i32 {
    iflush(of_session(session), COMM_SELF, out)
}
