//! Blocking point to point, and the counts that the drain goes by.

use super::abi::*;
use super::front::{again, finish, put_status};
use super::lower::{self, ix, Fail, Outcome};
use super::model::{bump, comm as comms, datatype, Comm};
use super::{complete, handle, inside, start, sync, unexpected};
use crate::block;
use crate::gate::{self, Call};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::OnceLock;

/// Messages sent to, and received from, each rank of the world.
pub struct Counters {
    /// Counted before the send is initiated.
    pub sent: Vec<AtomicU64>,
    /// Counted when a receive completes.
    pub received: Vec<AtomicU64>,
    /// Those that the cut's helper received: it may not write what a thread may be writing.
    pub drained: Vec<AtomicU64>,
}

static COUNTERS: OnceLock<Counters> = OnceLock::new();

/// Makes the counters.
pub fn make_counters(size: usize) {
    let zero = || (0..size).map(|_| AtomicU64::new(0)).collect();
    let _ = COUNTERS.set(Counters {
        sent: zero(),
        received: zero(),
        drained: zero(),
    });
}

/// The counters, once MPI is started.
pub fn counters() -> Option<&'static Counters> {
    COUNTERS.get()
}

/// Counts a message to `dest`, before it is sent.
#[inline(always)]
pub fn count_sent(comm: &Comm, dest: i32, by: u64) {
    if let (Some(w), Some(c)) = (comm.world_rank(dest), COUNTERS.get()) {
        bump(&c.sent[w], by);
    }
}

/// Counts a message received from `source`.
#[inline(always)]
pub fn count_received(comm: &Comm, source: i32) {
    if let (Some(w), Some(c)) = (comm.world_rank(source), COUNTERS.get()) {
        // SAFETY: the block is this thread's own.
        let helper = unsafe { (*block::mine()).exempt != 0 };
        bump(
            if helper {
                &c.drained[w]
            } else {
                &c.received[w]
            },
            1,
        );
    }
}

#[inline(always)]
unsafe fn send_with(
    index: usize,
    buf: usize,
    n: i32,
    t: i32,
    dest: i32,
    tag: i32,
    comm: i32,
) -> i32 {
    let inside = gate::enter(Call::MustComplete);
    let outcome = (|| -> Outcome {
        let c = comms::get(comm)?;
        let args = [
            buf as u64,
            n as u64,
            handle::datatype(t)?,
            dest as u64,
            tag as u64,
            c.lower.load(Relaxed) as u64,
        ];
        count_sent(c, dest, 1);
        sync::sending(c, dest, tag);
        inside::about(args[5] as i32, dest, tag);
        let r = lower::call(index, &args);
        if !matches!(r, Ok(SUCCESS)) {
            count_sent(c, dest, u64::MAX); // nothing was sent
        }
        r
    })();
    drop(inside);
    finish(comm, outcome)
}

pub unsafe fn send(buf: usize, n: i32, t: i32, dest: i32, tag: i32, comm: i32) -> i32 {
    send_with(ix::Send, buf, n, t, dest, tag, comm)
}

pub unsafe fn bsend(buf: usize, n: i32, t: i32, dest: i32, tag: i32, comm: i32) -> i32 {
    send_with(ix::Bsend, buf, n, t, dest, tag, comm)
}

pub unsafe fn ssend(buf: usize, n: i32, t: i32, dest: i32, tag: i32, comm: i32) -> i32 {
    let mut request = REQUEST_NULL;
    let code = start::issend(
        buf,
        n,
        t,
        dest,
        tag,
        comm,
        &mut request as *mut i32 as usize,
    );
    if code != SUCCESS {
        return code;
    }
    let code = complete::wait_one(&mut request, &mut Status::default());
    finish(comm, Ok(code))
}

pub unsafe fn rsend(buf: usize, n: i32, t: i32, dest: i32, tag: i32, comm: i32) -> i32 {
    send_with(ix::Rsend, buf, n, t, dest, tag, comm)
}

pub unsafe fn recv(
    buf: usize,
    n: i32,
    t: i32,
    source: i32,
    tag: i32,
    comm: i32,
    status: usize,
) -> i32 {
    let inside = gate::enter(Call::Reexecutable);
    let mut own = Status::EMPTY;
    let outcome = again(|| {
        let c = comms::get(comm)?;
        if unexpected::any() {
            inside.set(Call::MustComplete);
            if let Some(m) = unexpected::take(c, source, tag) {
                let code = m.deliver(buf, n, t, &mut own)?;
                return Ok(code);
            }
            inside.set(Call::Reexecutable);
        }
        let place = &mut own as *mut Status;
        let lower_comm = c.lower.load(Relaxed) as u64;
        inside::about(lower_comm as i32, source, tag);
        let r = lower::call(
            ix::Recv,
            &[
                buf as u64,
                n as u64,
                handle::datatype(t)?,
                source as u64,
                tag as u64,
                lower_comm,
                place as u64,
            ],
        );
        if let Ok(code) = r {
            // A truncated message was received too: it is no longer in flight.
            if code == SUCCESS || own.source >= 0 {
                count_received(c, own.source);
            }
        }
        r
    });
    drop(inside);
    put_status(status, own);
    finish(comm, outcome)
}

pub unsafe fn sendrecv(
    sbuf: usize,
    sn: i32,
    st: i32,
    dest: i32,
    stag: i32,
    rbuf: usize,
    rn: i32,
    rt: i32,
    source: i32,
    rtag: i32,
    comm: i32,
    status: usize,
) -> i32 {
    // Two requests and a wait, as the library does itself: a process that stops while it waits for
    // its message is saved with the send done and the receive posted.
    let mut requests = [REQUEST_NULL; 2];
    let inside = gate::enter(Call::MustComplete);
    let outcome = (|| -> Outcome {
        let c = comms::get(comm)?;
        requests[0] = start::post_recv(c, rbuf, rn, rt, source, rtag)?;
        requests[1] = start::post_send(ix::Isend, c, sbuf, sn, st, dest, stag)?;
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
    let mut received = Status::EMPTY;
    let first = complete::wait_one(&mut requests[1], &mut Status::default());
    let second = complete::wait_one(&mut requests[0], &mut received);
    put_status(status, received);
    finish(comm, Ok(if second != SUCCESS { second } else { first }))
}

pub unsafe fn sendrecv_replace(
    buf: usize,
    n: i32,
    t: i32,
    dest: i32,
    stag: i32,
    source: i32,
    rtag: i32,
    comm: i32,
    status: usize,
) -> i32 {
    let packed = match pack(buf, n, t, comm) {
        Ok(bytes) => bytes,
        Err(Fail::Code(code)) => return finish(comm, Ok(code)),
        Err(Fail::Restarted) => return finish(comm, Ok(ERR_OTHER)),
    };
    const PACKED: i32 = 0x4c00_010f;
    sendrecv(
        packed.as_ptr() as usize,
        packed.len() as i32,
        PACKED,
        dest,
        stag,
        buf,
        n,
        t,
        source,
        rtag,
        comm,
        status,
    )
}

/// Packs a message.
unsafe fn pack(buf: usize, n: i32, t: i32, comm: i32) -> Result<Vec<u8>, Fail> {
    let _inside = gate::enter(Call::MustComplete);
    let size = datatype::sizes(t)?.size;
    let mut bytes = vec![0u8; (size * n.max(0) as i64) as usize];
    let mut position = 0i32;
    let args = [
        buf as u64,
        n as u64,
        handle::datatype(t)?,
        bytes.as_mut_ptr() as u64,
        bytes.len() as u64,
        &mut position as *mut i32 as u64,
        handle::comm(comm)?,
    ];
    match lower::must(ix::Pack, &args) {
        SUCCESS => Ok(bytes),
        code => Err(Fail::Code(code)),
    }
}
