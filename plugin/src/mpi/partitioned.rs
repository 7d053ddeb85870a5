//! Partitioned communication: one message, sent when all its partitions are ready.
//!
//! Both sides match when they are made, in order. The sender tells the receiver so in a short message, on our own
//! communicator, with a tag for the data; the receiver looks for it when it completes a request. The data then
//! goes between the two as an ordinary message with that tag, which the drain and a restart know as any other.

use super::abi::*;
use super::bsend::{self, Owner};
use super::complete::{poll, test_one};
use super::composite::{self, Work};
use super::front::{forward, put, slice};
use super::large;
use super::lower::{Fail, Outcome};
use super::model::request::{self, Request};
use super::model::{comm as comms, lock, Locked};
use super::start::{self, Message};
use super::{mail, sync};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicI32, Ordering::*};

/// Tags of our own communicator: for the data, from the first below the second, and for the word of a new send.
const FIRST: i32 = 16384;
const WORD: i32 = 32766;

/// What the sender says: the communicator's identity, its rank there, the application's tag, the tag for the data.
type Word = [u64; 4];

/// One side.
pub struct Partitioned {
    /// A send?
    send: bool,
    /// Nobody is on the other side.
    nobody: bool,
    /// Rank of the other side in the world.
    world: i32,
    /// Tag of the data, once it is known.
    tag: Option<i32>,
    /// Partitions that are ready.
    ready: Vec<bool>,
    /// The message is sent, or the receive is posted.
    posted: bool,
    inner: i32,
}

/// A receive that the sender's word has not come for.
struct Waiting {
    word: [u64; 3],
    request: i32,
}

static WAITING: Locked<Vec<Waiting>> = Locked::new(Vec::new());
/// Words that no receive was made for yet.
static WORDS: Locked<Vec<Word>> = Locked::new(Vec::new());
/// Tags in use by sends of this process.
static TAGS: Locked<Option<HashSet<i32>>> = Locked::new(None);
static NEXT: AtomicI32 = AtomicI32::new(0);

/// A tag that no send of this process has.
fn new_tag() -> Result<i32, Fail> {
    let guard = lock();
    let used = TAGS.get(&guard).get_or_insert_default();
    for _ in FIRST..WORD {
        let tag = FIRST + NEXT.fetch_add(1, Relaxed).rem_euclid(WORD - FIRST);
        if used.insert(tag) {
            return Ok(tag);
        }
    }
    Err(Fail::Code(ERR_OTHER))
}

/// What `MPI_Psend_init` and `MPI_Precv_init` are given.
struct Given {
    buf: usize,
    partitions: i32,
    count: i64,
    t: i32,
    peer: i32,
    tag: i32,
    comm: i32,
}

unsafe fn init(send: bool, given: Given, out: usize) -> i32 {
    let Given { comm, t, .. } = given;
    let all = i64::from(given.partitions.max(0)).saturating_mul(given.count);
    large::narrow(all, t, comm, |n, t| {
        forward(comm, || {
            let c = comms::get(comm)?;
            let nobody = given.peer == PROC_NULL;
            let world = match c.world_rank(given.peer) {
                Some(world) => world as i32,
                None if nobody => PROC_NULL,
                None => return Err(Fail::Code(ERR_RANK)),
            };
            let tag = match send && !nobody {
                true => Some(new_tag()?),
                false => None,
            };
            let from = if send { c.rank } else { given.peer };
            let word = [
                c.id.load(Relaxed),
                from as u64,
                given.tag as u64,
                tag.unwrap_or(0) as u64,
            ];
            let side = Partitioned {
                send,
                nobody,
                world,
                tag,
                ready: vec![false; given.partitions.max(0) as usize],
                posted: false,
                inner: REQUEST_NULL,
            };
            let (h, r) = composite::make(c, t, Work::Partitioned(side));
            r.active.set(false);
            r.persistent.set(true);
            r.weigh();
            r.buffer.set(given.buf);
            r.count.set(n);
            r.peer.set(given.peer);
            r.tag.set(given.tag);
            if send && !nobody {
                tell(&word, world)?;
            } else if !nobody {
                let word = [word[0], word[1], word[2]];
                let request = h;
                WAITING.get(&lock()).push(Waiting { word, request });
            }
            put(out, h);
            Ok(SUCCESS)
        })
    })
}

/// Runs something on a request's side.
fn side<T>(r: &Request, f: impl FnOnce(&mut Partitioned) -> T) -> Result<T, Fail> {
    let found = composite::with(&lock(), r, |w| match w {
        Work::Partitioned(p) => Some(f(p)),
        _ => None,
    });
    found.flatten().ok_or(Fail::Code(ERR_REQUEST))
}

/// Says to the receiver that a send was made.
unsafe fn tell(word: &Word, world: i32) -> Outcome {
    let bytes: Vec<u8> = word.iter().flat_map(|w| w.to_le_bytes()).collect();
    mail::send(world, WORD, &bytes)
}

/// Takes words that have come from a rank of the world, or from any, up to one for which there is a receive, and gives each to
/// the first receive that it is for.
unsafe fn listen(source: i32) -> Result<(), Fail> {
    let outcome = mail::take(source, WORD, |_, bytes| {
        let mut word: Word = [0; 4];
        for (w, b) in word.iter_mut().zip(bytes.chunks_exact(8)) {
            *w = u64::from_le_bytes(b.try_into().unwrap_or_default());
        }
        let guard = lock();
        WORDS.get(&guard).push(word);
        match WAITING.get(&guard).iter().any(|w| w.word == word[..3]) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    let guard = lock();
    let waiting = WAITING.get(&guard);
    WORDS.get(&guard).retain(|word| {
        let Some(i) = waiting.iter().position(|w| w.word == word[..3]) else {
            return true;
        };
        let found = request::get(waiting.remove(i).request);
        found.map(|r| {
            composite::with(&guard, r, |w| {
                if let Work::Partitioned(p) = w {
                    p.tag = Some(word[3] as i32);
                }
            })
        });
        false
    });
    outcome
}

/// At the end: words that no receive was made for are taken.
///
/// # Safety
/// In a call that must complete.
pub unsafe fn finish() {
    let waiting = || WAITING.get(&lock()).len();
    let mut before = usize::MAX;
    // It stops at each word for a receive that was never completed.
    while waiting() < before {
        before = waiting();
        let _ = listen(ANY_SOURCE);
    }
}

/// Sends the data, or posts the receive for it.
///
/// What is sent is a copy: so a sender does not wait for a receiver, who may be where it does not look for words.
unsafe fn post(r: &Request) -> Outcome {
    let (send, peer, tag) = side(r, |p| (p.send, p.world, p.tag))?;
    let m = Message {
        peer,
        tag: tag.ok_or(Fail::Code(ERR_REQUEST))?,
        ..Message::of(r)
    };
    let mut inner = REQUEST_NULL;
    let code = match send {
        true => bsend::copy(Owner::Ours, m, sync::comm()?)?,
        false => {
            inner = start::post_recv(sync::comm()?, m)?;
            SUCCESS
        }
    };
    side(r, |p| (p.inner, p.posted) = (inner, true))?;
    Ok(code)
}

/// Looks whether a request is complete.
///
/// # Safety
/// As `composite::step`.
pub unsafe fn step(r: &'static Request) -> bool {
    match try_step(r) {
        Ok(done) => done,
        Err(e) => {
            let error = match e {
                Fail::Code(code) => code,
                Fail::Restarted => ERR_OTHER,
            };
            r.status.set(Status {
                error,
                ..Status::EMPTY
            });
            true
        }
    }
}

unsafe fn try_step(r: &'static Request) -> Result<bool, Fail> {
    let (send, nobody, known, world) = side(r, |p| (p.send, p.nobody, p.tag.is_some(), p.world))?;
    if nobody {
        let ready = side(r, |p| !p.send || p.ready.iter().all(|r| *r))?;
        let source = PROC_NULL;
        r.status.set(Status {
            source,
            ..Status::EMPTY
        });
        return Ok(ready);
    }
    if !send && !known {
        listen(world)?;
    }
    let (known, posted) = side(r, |p| (p.tag.is_some(), p.posted))?;
    if send {
        r.status.set(Status::EMPTY);
        return Ok(posted);
    }
    if !known {
        return Ok(false);
    }
    if !posted {
        post(r)?;
    }
    let mut inner = side(r, |p| p.inner)?;
    let mut own = Status::EMPTY;
    let done = test_one(&mut inner, &mut own);
    side(r, |p| p.inner = inner)?;
    let Some(code) = done else {
        return Ok(false);
    };
    (own.source, own.tag) = (r.peer.get(), r.tag.get());
    own.error = code;
    r.status.set(own);
    Ok(true)
}

/// Starts a request.
///
/// # Safety
/// In a call that must complete.
pub unsafe fn begin(r: &'static Request) -> Outcome {
    if r.active.get() {
        return Err(Fail::Code(ERR_REQUEST));
    }
    let now = side(r, |p| {
        p.posted = false;
        p.ready.fill(false);
        p.send && !p.nobody && p.ready.is_empty()
    })?;
    r.done.set(false);
    if now {
        post(r)?;
    }
    r.active.set(true);
    Ok(SUCCESS)
}

/// A request is freed: its tag, and its place among those that wait.
pub fn gone(guard: &super::model::Guard, handle: i32, r: &Request) {
    WAITING.get(guard).retain(|w| w.request != handle);
    let tag = composite::with(guard, r, |w| match w {
        Work::Partitioned(p) if p.send => p.tag,
        _ => None,
    });
    if let Some(tag) = tag.flatten() {
        TAGS.get(guard).get_or_insert_default().remove(&tag);
    }
}

/// Marks partitions as ready; the last one sends the message.
unsafe fn mark(handle: i32, list: impl Iterator<Item = i32>) -> i32 {
    forward(COMM_WORLD, || {
        let r = request::get(handle).ok_or(Fail::Code(ERR_REQUEST))?;
        if !r.active.get() {
            return Err(Fail::Code(ERR_REQUEST));
        }
        let all = side(r, |p| {
            for i in list {
                match p.ready.get_mut(i as usize) {
                    Some(ready) if p.send && !*ready => *ready = true,
                    _ => return Err(Fail::Code(ERR_ARG)),
                }
            }
            Ok(!p.nobody && !p.posted && p.ready.iter().all(|r| *r))
        })??;
        match all {
            true => post(r),
            false => Ok(SUCCESS),
        }
    })
}

pub unsafe fn pready(partition: i32, request: i32) -> i32 {
    mark(request, std::iter::once(partition))
}

pub unsafe fn pready_range(first: i32, last: i32, request: i32) -> i32 {
    mark(request, first..=last)
}

pub unsafe fn pready_list(n: i32, list: usize, request: i32) -> i32 {
    mark(request, slice::<i32>(list, n).iter().copied())
}

pub unsafe fn parrived(request: i32, partition: i32, flag: usize) -> i32 {
    forward(COMM_WORLD, || {
        let r = request::get(request).ok_or(Fail::Code(ERR_REQUEST))?;
        let there = side(r, |p| !p.send && (partition as usize) < p.ready.len())?;
        if !there {
            return Err(Fail::Code(ERR_ARG));
        }
        put(flag, i32::from(!r.active.get() || poll(r)));
        Ok(SUCCESS)
    })
}

pub unsafe fn psend_init(
    buf: usize,
    partitions: i32,
    count: i64,
    t: i32,
    peer: i32,
    tag: i32,
    comm: i32,
    _info: i32,
    out: usize,
) -> i32 {
    let given = Given {
        buf,
        partitions,
        count,
        t,
        peer,
        tag,
        comm,
    };
    init(true, given, out)
}

pub unsafe fn precv_init(
    buf: usize,
    partitions: i32,
    count: i64,
    t: i32,
    peer: i32,
    tag: i32,
    comm: i32,
    _info: i32,
    out: usize,
) -> i32 {
    let given = Given {
        buf,
        partitions,
        count,
        t,
        peer,
        tag,
        comm,
    };
    init(false, given, out)
}
