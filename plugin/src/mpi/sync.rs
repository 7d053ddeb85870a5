//! Synchronous sends: one that no receive has matched yet stays incomplete across a cut.
//!
//! The drain takes the message of such a send, and the lower half then holds the send for complete. So after
//! the drain the senders tell of their incomplete synchronous sends, and the receivers which of those messages
//! lie in their queues. Such a message is marked with a number; when a receive takes it, its sender is told by
//! an empty message on a communicator of our own, with the number as its tag. The send waits for that message:
//! a request like any other, so that it can be pending at the next cut too.
//!
//! Messages of one sender with one tag are matched in the order in which they were sent. A synchronous send is
//! therefore known by how many were sent after it, counted while there are incomplete synchronous sends.

use super::abi::*;
use super::complete::poll;
use super::front::put;
use super::lower::{ix, must, Fail};
use super::model::request::{self, Kind, Request};
use super::model::{comm as comms, lock, Comm, Guard, Locked, WORLD_RANK, WORLD_SIZE};
use super::start::{self, Message};
use super::unexpected;
use crate::{gate, host};
use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::*};

/// A sender's messages that are matched in order: communicator, destination, tag.
type Line = (u64, i32, i32);

/// Number of synchronous sends that the application has not completed.
static PENDING: AtomicU32 = AtomicU32::new(0);
/// Messages sent in each line that has had a synchronous send since there was none pending.
static LINES: Locked<Option<HashMap<Line, u64>>> = Locked::new(None);
/// Our own communicator, a duplicate of `MPI_COMM_WORLD`.
static OURS: AtomicI32 = AtomicI32::new(COMM_NULL);
static NEXT: AtomicI32 = AtomicI32::new(0);
/// Tags of our messages go round below those of partitioned communication, which ends below `MPI_TAG_UB`'s least value.
const TAGS: i32 = 16384;

/// Makes the communicator.
///
/// # Safety
/// In `MPI_Init`, on all ranks.
pub unsafe fn init() -> i32 {
    let mut lower = COMM_NULL;
    let code = must(
        ix::Comm_dup,
        &[COMM_WORLD as u64, &mut lower as *mut i32 as u64],
    );
    if code == SUCCESS {
        let (rank, size) = (WORLD_RANK.load(Relaxed), WORLD_SIZE.load(Relaxed));
        let guard = lock();
        let comm = Comm::new(lower, rank, (0..size).collect(), None, 3);
        let (handle, _) = comms::register(&guard, comm);
        OURS.store(handle, Relaxed);
    }
    code
}

/// Is this a synchronous send?
pub fn is(r: &Request) -> bool {
    matches!(r.function.get(), ix::Issend | ix::Ssend_init) && r.kind.get() == Kind::Send
}

/// May the application see that this request is complete? What the lower half says of a synchronous send
/// while a checkpoint is prepared is not final.
#[inline(always)]
pub fn ready(r: &Request) -> bool {
    r.done.get() && !(any() && is(r) && gate::closed())
}

/// Are there synchronous sends that the application has not completed?
#[inline(always)]
pub fn any() -> bool {
    gate::heeds::<{ gate::SYNC }, 0>()
}

/// Counts a message, before it is sent.
#[inline(always)]
pub fn sending(comm: &Comm, dest: i32, tag: i32) {
    if any() {
        count(comm, dest, tag);
    }
}

#[cold]
fn count(comm: &Comm, dest: i32, tag: i32) {
    let guard = lock();
    let lines = LINES.get(&guard).get_or_insert_with(HashMap::new);
    if let Some(n) = lines.get_mut(&(comm.id.load(Relaxed), dest, tag)) {
        *n += 1;
    }
}

/// Notes a synchronous send, before it is sent.
#[cold]
pub fn begin(guard: &Guard, comm: &Comm, r: &Request) {
    let lines = LINES.get(guard).get_or_insert_with(HashMap::new);
    if PENDING.fetch_add(1, Relaxed) == 0 {
        gate::heed(gate::SYNC, true);
        lines.clear();
    }
    let n = lines
        .entry((comm.id.load(Relaxed), r.peer.get(), r.tag.get()))
        .or_insert(0);
    *n += 1;
    r.order.set(*n);
    r.weigh();
}

/// The application has completed, or could not begin, a synchronous send.
#[cold]
pub fn end(_guard: &Guard, r: &Request) {
    if r.order.replace(0) != 0 && PENDING.fetch_sub(1, Relaxed) == 1 {
        gate::heed(gate::SYNC, false);
    }
}

/// Number of synchronous sends that are not complete.
pub fn pending() -> u64 {
    u64::from(PENDING.load(SeqCst))
}

/// Lists of numbers, one list a send or verdict.
fn encode<const N: usize>(list: &[[u64; N]]) -> Vec<u8> {
    list.iter()
        .flatten()
        .flat_map(|w| w.to_le_bytes())
        .collect()
}

fn decode<const N: usize>(bytes: &[u8]) -> Vec<[u64; N]> {
    let words: Vec<u64> = bytes
        .chunks_exact(8)
        .map(|b| u64::from_le_bytes(b.try_into().unwrap_or_default()))
        .collect();
    words
        .chunks_exact(N)
        .filter_map(|w| w.try_into().ok())
        .collect()
}

/// After the drain: which synchronous sends are still to be matched?
///
/// # Safety
/// The gate is closed everywhere and everything is drained; on the helper thread.
pub unsafe fn settle() -> Result<(), String> {
    let me = WORLD_RANK.load(Relaxed) as u64;
    let mut asked = Vec::new();
    let mut list = Vec::new();
    {
        let guard = lock();
        let lines = LINES.get(&guard).get_or_insert_with(HashMap::new);
        for (_, r) in request::all(&guard) {
            let Some(c) = r.comm.get() else { continue };
            let open = is(r) && r.active.get() && r.ack.get() == REQUEST_NULL;
            let (Some(world), true) = (c.world_rank(r.peer.get()), open) else {
                continue;
            };
            let id = c.id.load(Relaxed);
            let sent = lines.get(&(id, r.peer.get(), r.tag.get())).copied();
            let later = sent.unwrap_or(0) - r.order.get();
            let number = NEXT.fetch_add(1, Relaxed) % TAGS;
            let from = c.rank as u64;
            asked.push([
                world as u64,
                id,
                from,
                r.tag.get() as u64,
                later,
                number as u64,
            ]);
            list.push((number as u64, r));
        }
    }
    let said = host::exchange(&encode(&asked)).map_err(|e| e.message)?;
    let mut lies = Vec::new();
    for (sender, bytes) in said.iter().enumerate() {
        for [to, id, source, tag, later, number] in decode(bytes) {
            let ack = (sender as i32, number as i32);
            if to == me && unexpected::mark(id, source as i32, tag as i32, later as usize, ack) {
                lies.push([sender as u64, to, number]);
            }
        }
    }
    let said = host::exchange(&encode(&lies)).map_err(|e| e.message)?;
    let ours = comms::get(OURS.load(Relaxed)).map_err(|_| "no communicator of our own")?;
    for [sender, to, number] in said.iter().flat_map(|b| decode(b)) {
        let found = list.iter().find(|(n, _)| *n == number && sender == me);
        if let Some((_, r)) = found {
            // The drain has taken the message, so the lower half completes the send.
            while !r.done.get() && !r.waiting.get() {
                poll(r);
            }
            let answer = Message {
                buf: 0,
                n: 0,
                t: BYTE,
                peer: to as i32,
                tag: number as i32,
            };
            let posted = start::post_recv(ours, answer);
            r.ack
                .set(posted.map_err(|_| "a receive of our own can't be posted")?);
            r.status.set(Status::EMPTY);
            r.done.set(false);
        }
    }
    Ok(())
}

/// A receive takes a message that was marked: its sender is told.
///
/// # Safety
/// Inside the gate, without the model's lock.
pub unsafe fn matched((sender, number): (i32, i32)) {
    let Ok(ours) = comms::get(OURS.load(Relaxed)) else {
        return;
    };
    if let Some(traffic) = ours.traffic(sender) {
        traffic.send();
    }
    let comm = ours.lower.load(Relaxed) as u64;
    let args = [0, 0, BYTE as u64, sender as u64, number as u64, comm];
    must(ix::Send, &args);
}

/// The lower half has completed a send that a thread waited for. Whether the drain took its message is known
/// when the gate is open again.
pub fn completed(r: &Request, code: i32) {
    if r.ack.get() == REQUEST_NULL {
        let error = code;
        r.complete(Status {
            error,
            ..Status::EMPTY
        });
    }
}

/// Is the answer to a send there? Then the send is complete.
///
/// # Safety
/// As `poll`, of which it is a part.
pub unsafe fn answered(r: &'static Request) -> bool {
    let handle = r.ack.get();
    let Some(ack) = request::get(handle) else {
        return false;
    };
    if !poll(ack) {
        return false;
    }
    request::release(&lock(), ack);
    r.ack.set(REQUEST_NULL);
    true
}

/// Our own communicator.
pub fn comm() -> Result<&'static Comm, Fail> {
    comms::get(OURS.load(Relaxed))
}

/// Our own communicator and this process's rank in it, for what this process sends to itself: see `packed`.
pub fn ours() -> Option<(u64, i32)> {
    let c = comms::get(OURS.load(Relaxed)).ok()?;
    Some((c.low(), c.rank))
}

/// Frees the communicator.
///
/// # Safety
/// In `MPI_Finalize`, on all ranks.
pub unsafe fn finish() {
    if let Ok(c) = comms::get(OURS.load(Relaxed)) {
        c.release(&lock());
    }
    put(OURS.as_ptr() as usize, COMM_NULL);
}
