//! Requests, in a pool: making and completing one is on the fast path.

use super::super::abi::*;
use super::super::composite::Work;
use super::lock::Locked;
use super::{datatype, next_serial, serial, Alone, Comm, Guard};
use std::cell::Cell;
use std::mem::offset_of;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering::*};

/// The handle of every send that was complete when it was posted: there is nothing to know of it.
pub const COMPLETE: i32 = V_REQUEST | INDEX_MASK;

/// Says the lower half's handle that a send is complete? MPICH has one request for all such, which is built in, and an
/// adapter says it plainly. There is nothing to wait for, nor to be freed.
#[inline(always)]
pub fn is_complete(lower: i32) -> bool {
    is_built_in(lower) || lower == REQUEST_NULL
}

/// Does it say so as MPICH does?
#[inline(always)]
pub fn is_built_in(lower: i32) -> bool {
    lower & KIND_MASK == BUILT_IN
}

/// The bits of handles of requests that are built in.
const BUILT_IN: i32 = 0x6c00_0000;

/// What a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A send, in one of the modes.
    Send,
    /// A receive.
    Recv,
    /// A receive of a matched message.
    MatchedRecv,
    /// A non-blocking collective.
    Coll,
    /// `MPI_Comm_idup`.
    Idup,
    /// A one-sided operation.
    Rma,
    /// An access to a file.
    File,
    /// Completed by the application.
    Generalized,
    /// Completed by the model, out of other requests: see `composite`.
    Model,
}

impl Kind {
    /// Is it carried on by nothing but waits and tests of its own?
    pub fn needs_care(self) -> bool {
        matches!(self, Kind::File | Kind::Model)
    }
}

/// Number of requests that need care.
static CARE: AtomicU32 = AtomicU32::new(0);

/// Are there requests that need care?
#[inline(always)]
pub fn care_is_needed() -> bool {
    CARE.load(Relaxed) != 0
}

/// What only some requests have.
#[derive(Default)]
pub struct Extra {
    /// A collective's arguments as the application gave them.
    pub args: Vec<u64>,
    /// Its sequence number.
    pub sequence: u64,
    /// A collective's input is overwritten.
    pub in_place: bool,
    /// The application's arrays as ints, where it gave them as 64-bit numbers.
    pub ints: Vec<Vec<i32>>,
    /// What a request of the model's is made of.
    pub work: Option<Work>,
    /// A persistent collective's communicator, and which of its duplicates this one has.
    pub slot: Option<(&'static Comm, usize)>,
    /// Translated arrays that must live as long as the request.
    pub arrays: Vec<Vec<i32>>,
    /// Datatypes held.
    pub types: Vec<i32>,
    /// Operator held; 0: none.
    pub op: i32,
    /// The new communicator of an idup.
    pub comm: Option<&'static Comm>,
    /// A generalized request's functions: query, free, cancel, extra state.
    pub functions: [usize; 4],
    /// They are Fortran's.
    pub fortran: bool,
}

/// A request. What posting and waiting touch comes first, in one line of the cache.
#[repr(C, align(64))]
pub struct Request {
    /// The lower half's handle.
    pub lower: AtomicI32,
    /// The application's handle.
    handle: Cell<i32>,
    /// What it is.
    pub kind: Cell<Kind>,
    /// In use.
    pub live: Cell<bool>,
    /// A plain send or receive: until it is `done` the lower half alone knows whether it is complete.
    pub quick: Cell<bool>,
    /// Nothing but its communicator and the request itself has to be given back.
    light: Cell<bool>,
    /// Made by `MPI_*_init`.
    pub persistent: Cell<bool>,
    /// Started and not completed.
    pub active: Cell<bool>,
    /// Complete in the model: `status` is valid and the lower half knows of it no more.
    pub done: Cell<bool>,
    /// A thread is blocked on it in the lower half.
    pub waiting: Cell<bool>,
    /// Communicator.
    pub comm: Cell<Option<&'static Comm>>,
    /// Buffer, count, datatype.
    pub buffer: Cell<usize>,
    /// Count.
    pub count: Cell<i32>,
    /// The application's datatype handle.
    pub datatype: Cell<i32>,
    /// Destination or source.
    pub peer: Cell<i32>,
    /// Tag.
    pub tag: Cell<i32>,
    /// The next free one.
    next: Cell<Option<&'static Request>>,
    /// Order in which it was started.
    pub serial: Cell<u64>,
    /// Function of the lower half that made it.
    pub function: Cell<usize>,
    /// Freed by the application while active.
    pub freed: Cell<bool>,
    /// Valid if `done`.
    pub status: Cell<Status>,
    /// A synchronous send's place among the messages that are matched in order with it; 0: none.
    pub order: Cell<u64>,
    /// The request for the answer that a drained synchronous send waits for.
    pub ack: Cell<i32>,
    /// The rest.
    pub extra: Cell<Option<Box<Extra>>>,
}

/// Four fields as one word: what a request is (`kind` to `light`), or how far it is (`persistent` to `waiting`). As such they
/// are stored and loaded on the quick way: a load of more than was stored last would wait for the stores.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Four(u32);

impl Four {
    /// A receive that lasts until it is waited for, of a predefined datatype.
    const RECEIVE: Four = Four::of([Kind::Recv as u8, 1, 1, 1]);
    /// It is not active, or gone.
    const MADE: Four = Four(0);
    /// The lower half has it.
    const POSTED: Four = Four::of([0, 1, 0, 0]);

    const fn of(fields: [u8; 4]) -> Four {
        Four(u32::from_ne_bytes(fields))
    }
}

const _: () = {
    assert!(offset_of!(Request, kind) == 8 && offset_of!(Request, live) == 9);
    assert!(offset_of!(Request, quick) == 10 && offset_of!(Request, light) == 11);
    assert!(offset_of!(Request, persistent) == 12 && offset_of!(Request, active) == 13);
    assert!(offset_of!(Request, done) == 14 && offset_of!(Request, waiting) == 15);
};

// SAFETY: a request is used by the one thread that completes it; the cut's helper takes the model's
// lock and leaves alone those that a thread waits on.
unsafe impl Sync for Request {}

const CHUNK: usize = 256;
const CHUNKS: usize = 16384;
static POOL: [AtomicPtr<[Request; CHUNK]>; CHUNKS] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS];
static MADE: AtomicU32 = AtomicU32::new(0);
static FREE: Locked<Option<&'static Request>> = Locked::new(None);

const fn blank() -> Request {
    Request {
        lower: AtomicI32::new(REQUEST_NULL),
        handle: Cell::new(REQUEST_NULL),
        next: Cell::new(None),
        kind: Cell::new(Kind::Send),
        live: Cell::new(false),
        quick: Cell::new(false),
        light: Cell::new(false),
        persistent: Cell::new(false),
        active: Cell::new(false),
        done: Cell::new(false),
        waiting: Cell::new(false),
        freed: Cell::new(false),
        function: Cell::new(0),
        comm: Cell::new(None),
        buffer: Cell::new(0),
        count: Cell::new(0),
        datatype: Cell::new(0),
        peer: Cell::new(0),
        tag: Cell::new(0),
        serial: Cell::new(0),
        status: Cell::new(Status::EMPTY),
        order: Cell::new(0),
        ack: Cell::new(REQUEST_NULL),
        extra: Cell::new(None),
    }
}

#[inline(always)]
fn at(index: i32) -> Option<&'static Request> {
    let chunk = POOL.get(index as usize / CHUNK)?.load(Acquire);
    // SAFETY: chunks are leaked boxes.
    unsafe { chunk.as_ref() }.map(|c| &c[index as usize % CHUNK])
}

/// The request at a handle's place, live or not.
#[inline(always)]
fn named(handle: i32) -> Option<&'static Request> {
    if handle & !INDEX_MASK == V_REQUEST {
        at(handle & INDEX_MASK)
    } else {
        None
    }
}

/// The live request that a handle names.
#[inline(always)]
pub fn get(handle: i32) -> Option<&'static Request> {
    named(handle).filter(|r| r.live.get())
}

/// The request that a handle names, if only the lower half can say whether it is complete, and no thread waits for it.
#[inline(always)]
pub fn open(handle: i32) -> Option<&'static Request> {
    open_but_for(handle, [u8::MAX, 0, 0, u8::MAX])
}

/// The same for a receive.
#[inline(always)]
pub fn open_receive(handle: i32) -> Option<&'static Request> {
    open_but_for(handle, [0, 0, 0, u8::MAX])
}

/// The request that a handle names, if it is as a receive that the lower half has and no thread waits for, but for the
/// bits of `any` in what it is.
#[inline(always)]
fn open_but_for(handle: i32, any: [u8; 4]) -> Option<&'static Request> {
    let any = Four::of(any).0;
    let r = named(handle)?;
    let same = r.what().get().0 | any == Four::RECEIVE.0 | any;
    (same && r.stage().get() == Four::POSTED).then_some(r)
}

/// Makes a request; the communicator and datatype are held. It is not active before the lower half has it: the
/// cut tests active requests.
#[inline(always)]
pub fn make(
    guard: &Guard,
    kind: Kind,
    comm: &'static Comm,
    datatype: i32,
) -> (i32, &'static Request) {
    let r = free(guard).unwrap_or_else(|| grow(guard));
    r.kind.set(kind);
    r.live.set(true);
    r.quick.set(false);
    let light = datatype::get(datatype).is_none();
    r.light
        .set(light && matches!(kind, Kind::Send | Kind::Recv));
    r.persistent.set(false);
    r.active.set(false);
    r.done.set(false);
    r.waiting.set(false);
    r.freed.set(false);
    r.comm.set(Some(comm));
    r.datatype.set(datatype);
    r.serial.set(serial());
    comm.hold(guard);
    if !light {
        datatype::hold(datatype);
    }
    if kind.needs_care() {
        CARE.fetch_add(1, Relaxed);
    }
    (r.handle.get(), r)
}

/// Takes a request that is free.
#[inline(always)]
fn free(guard: &Guard) -> Option<&'static Request> {
    let head = FREE.get(guard);
    let r = (*head)?;
    *head = r.next.get();
    Some(r)
}

/// Makes a request for a receive of a predefined datatype; `None` if there is none free.
#[inline(always)]
pub fn make_receive(alone: &Alone, comm: &'static Comm, datatype: i32) -> Option<&'static Request> {
    let r = free(alone)?;
    comm.hold(alone);
    r.what().set(Four::RECEIVE);
    r.stage().set(Four::MADE);
    r.comm.set(Some(comm));
    r.datatype.set(datatype);
    r.serial.set(next_serial(alone));
    Some(r)
}

#[cold]
fn grow(guard: &Guard) -> &'static Request {
    let n = MADE.load(Relaxed);
    let chunk: &'static _ = Box::leak(Box::new([const { blank() }; CHUNK]));
    POOL[n as usize / CHUNK].store(&raw const *chunk as *mut _, Release);
    MADE.store(n + CHUNK as u32, Relaxed);
    for (i, r) in chunk.iter().enumerate() {
        r.handle.set(V_REQUEST | (n as i32 + i as i32));
        r.next.set(chunk.get(i + 1));
    }
    *FREE.get(guard) = chunk[0].next.get();
    &chunk[0]
}

/// Gives a request back.
#[inline(always)]
pub fn release(guard: &Guard, r: &'static Request) {
    r.live.set(false);
    r.stage().set(Four::MADE);
    if !r.light.get() {
        give_back(guard, r);
    }
    if let Some(c) = r.comm.take() {
        c.release(guard);
    }
    r.next.set(FREE.get(guard).replace(r));
}

fn give_back(guard: &Guard, r: &'static Request) {
    if r.kind.get().needs_care() {
        CARE.fetch_sub(1, Relaxed);
    }
    if r.freed.replace(false) {
        FREED.fetch_sub(1, Relaxed);
    }
    super::super::sync::end(guard, r);
    datatype::release(guard, r.datatype.get());
    if let Some(extra) = r.extra.take() {
        for t in extra.types {
            datatype::release(guard, t);
        }
        super::super::ops::release(guard, extra.op);
        if let Some(slot) = extra.slot {
            super::super::persistent::gone(guard, slot);
        }
    }
}

impl Request {
    /// The application's handle.
    #[inline(always)]
    pub fn handle(&self) -> i32 {
        self.handle.get()
    }

    /// Is it a receive?
    #[inline(always)]
    pub fn receives(&self) -> bool {
        self.kind.get() == Kind::Recv
    }

    /// The lower half has this receive.
    #[inline(always)]
    pub fn posted(&self) {
        self.stage().set(Four::POSTED);
    }

    #[inline(always)]
    fn what(&self) -> &Cell<Four> {
        self.four(offset_of!(Request, kind))
    }

    #[inline(always)]
    fn stage(&self) -> &Cell<Four> {
        self.four(offset_of!(Request, persistent))
    }

    #[inline(always)]
    fn four(&self, at: usize) -> &Cell<Four> {
        // SAFETY: four fields one after the other, as is asserted above, each a cell of a byte. What is stored here are
        // values that they may have.
        unsafe { &*(self as *const Request).byte_add(at).cast() }
    }

    /// It is complete, with this status.
    #[inline(always)]
    pub fn complete(&self, status: Status) {
        self.status.set(status);
        self.done.set(true);
    }

    /// It was complete when it was started.
    pub fn complete_at_once(&self, status: Status) {
        self.complete(status);
        self.active.set(true);
    }

    /// There is more to give back than the request itself.
    pub fn weigh(&self) {
        self.light.set(false);
    }
}

/// All live requests, in the order they were started.
pub fn all(_guard: &Guard) -> Vec<(i32, &'static Request)> {
    let n = MADE.load(Relaxed) as i32;
    let mut list: Vec<_> = (0..n)
        .filter_map(|i| Some((V_REQUEST | i, at(i).filter(|r| r.live.get())?)))
        .collect();
    list.sort_by_key(|(_, r)| r.serial.get());
    list
}

/// Requests that the application freed while they were active.
pub fn freed(guard: &Guard) -> Vec<(i32, &'static Request)> {
    if FREED.load(Relaxed) == 0 {
        return Vec::new();
    }
    all(guard)
        .into_iter()
        .filter(|(_, r)| r.freed.get())
        .collect()
}

/// Number of those.
pub static FREED: AtomicU32 = AtomicU32::new(0);
