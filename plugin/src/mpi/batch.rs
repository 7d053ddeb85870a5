//! A batch of requests that only the lower half can complete: it is asked about all of them in one call.

use super::abi::*;
use super::complete::settle;
use super::inside;
use super::lower::{self, ix, must};
use super::model::request::{self, Kind, Request, COMPLETE};
use super::model::{lock, shared, Comm, Guard};
use super::together::{put_at, put_error};
use crate::gate::{self, Call};
use std::mem::MaybeUninit;
use std::ptr::{self, null};
use std::slice::from_raw_parts;
use std::sync::atomic::Ordering::Relaxed;

/// Most requests of one.
pub const BATCH: usize = 64;

/// Requests of a batch that have been waited for, with their statuses stored.
#[derive(Clone, Copy)]
pub struct Gone(pub u64);

const _: () = assert!(BATCH <= u64::BITS as usize);

impl Gone {
    /// So has this one.
    pub fn add(&mut self, i: usize) {
        self.0 |= 1 << i;
    }

    /// Has it?
    pub fn has(self, i: usize) -> bool {
        i < BATCH && self.0 >> i & 1 != 0
    }
}

/// What one look at a batch found.
pub enum Look {
    /// All are complete; they are gone.
    Complete,
    /// Not yet.
    Pending,
    /// Each has to be looked at by itself.
    Apart,
}

/// A receive, from one source and with one tag, whose message has come.
///
/// Messages that match the same receives are received in the order of these (MPI 4.1, 3.5). So those of receives like this
/// one that were posted before it are on their way at least.
#[derive(Clone, Copy)]
pub struct Met {
    comm: *const Comm,
    peer: i32,
    tag: i32,
    serial: u64,
}

impl Met {
    /// None.
    pub const NONE: Met = Met {
        comm: null(),
        peer: 0,
        tag: 0,
        serial: 0,
    };

    /// What will be said of a receive when it has been waited for.
    pub fn of(r: &Request) -> Option<Met> {
        let (peer, tag) = (r.peer.get(), r.tag.get());
        (r.receives() && peer >= 0 && tag >= 0).then(|| Met {
            comm: comm_of(r),
            peer,
            tag,
            serial: r.serial.get(),
        })
    }

    /// Bits in which a receive like this one has none.
    #[inline(always)]
    fn differs(&self, r: &Request) -> usize {
        let kind = r.kind.get() as usize ^ Kind::Recv as usize;
        let message = (r.peer.get() ^ self.peer) | (r.tag.get() ^ self.tag);
        kind | message as usize | comm_of(r) as usize ^ self.comm as usize
    }
}

#[inline(always)]
fn comm_of(r: &Request) -> *const Comm {
    r.comm.get().map_or(null(), ptr::from_ref)
}

/// The open requests of a batch, side by side: a library is slower where there are null ones among them.
struct Batch {
    requests: [MaybeUninit<&'static Request>; BATCH],
    lower: [MaybeUninit<i32>; BATCH],
    n: usize,
    /// All are receives that have been matched.
    matched: bool,
    /// They have one peer each.
    paired: bool,
}

impl Batch {
    const EMPTY: Batch = Batch {
        requests: [const { MaybeUninit::uninit() }; BATCH],
        lower: [const { MaybeUninit::uninit() }; BATCH],
        n: 0,
        matched: true,
        paired: true,
    };

    /// Takes up to `BATCH`; false if there is one about which the lower half can't be asked.
    #[inline(always)]
    fn take(&mut self, handles: &[i32], met: Met) -> bool {
        let (mut differs, mut latest, mut peers) = (0, 0, 0);
        let mut places = self.requests.iter_mut().zip(&mut self.lower);
        for handle in handles {
            let Some(r) = request::open(*handle) else {
                if matches!(*handle, REQUEST_NULL | COMPLETE) {
                    continue;
                }
                return false;
            };
            let Some((request, lower)) = places.next() else {
                return false;
            };
            request.write(r);
            lower.write(r.lower.load(Relaxed));
            differs |= met.differs(r);
            latest = latest.max(r.serial.get());
            peers |= r.peer.get();
        }
        self.n = BATCH - places.len();
        self.matched = differs == 0 && latest < met.serial;
        self.paired = peers >= 0;
        true
    }

    /// The requests.
    #[inline(always)]
    fn requests(&self) -> &[&'static Request] {
        // SAFETY: so many have been written.
        unsafe { from_raw_parts(self.requests.as_ptr().cast(), self.n) }
    }

    /// Asks the lower half, which stores the statuses at an address or ignores them: its code, and whether all are complete.
    /// Those that have been matched are waited for: a cut waits for that, which takes no more than that the libraries go on.
    ///
    /// # Safety
    /// In a call that must complete.
    #[inline(always)]
    unsafe fn ask(&mut self, statuses: u64) -> (i32, bool) {
        let (n, at) = (self.n as u64, self.lower.as_mut_ptr() as u64);
        if self.matched && lower::waits_for_failed_requests() {
            return (must(ix::Waitall, &[n, at, statuses]), true);
        }
        let mut flag = 0i32;
        let code = must(ix::Testall, &[n, at, &raw mut flag as u64, statuses]);
        (code, flag != 0)
    }

    /// Counts the messages of complete receives that have one peer each, and gives all requests back.
    #[inline(always)]
    fn end(&self, guard: &Guard) {
        let traffic = |r: &Request| r.comm.get().and_then(|c| c.traffic(r.peer.get()));
        match self.requests().first() {
            Some(r) if self.matched => {
                if let Some(traffic) = traffic(r) {
                    traffic.receive_several(self.n);
                }
            }
            _ => {
                let receives = self.requests().iter().filter(|r| r.receives());
                for traffic in receives.filter_map(|r| traffic(r)) {
                    traffic.receive(false);
                }
            }
        }
        for r in self.requests() {
            request::release(guard, r);
        }
    }

    /// At least one has failed. Some may be complete: those of which the lower half knows no more. Nobody wants to know more
    /// than that there is an error, so the first of them has it.
    #[cold]
    fn note_ends(&self, code: i32) {
        let guard = lock();
        // SAFETY: so many have been written.
        let lower: &[i32] = unsafe { from_raw_parts(self.lower.as_ptr().cast(), self.n) };
        let all = self.requests().iter().zip(lower);
        let ended = all.filter(|(_, lower)| **lower == REQUEST_NULL);
        for (i, (r, _)) in ended.enumerate() {
            let mut status = Status {
                source: r.peer.get(),
                ..Status::EMPTY
            };
            settle(&guard, r, &mut status, false);
            let error = if i == 0 { code } else { SUCCESS };
            r.complete(Status { error, ..status });
        }
    }

    /// At least one has failed: what the statuses say.
    #[cold]
    fn note(&self, statuses: &[Status]) {
        let guard = lock();
        for (r, status) in self.requests().iter().zip(statuses) {
            let mut status = *status;
            if status.error & ERR_CLASS != ERR_PENDING {
                settle(&guard, r, &mut status, false);
                r.complete(status);
            }
        }
    }
}

/// Looks whether all of up to `BATCH` requests are complete. `waits`: for `MPI_Waitall`, which as MPICH's sets the statuses'
/// errors too, and after which nobody can ask for statuses that it was not given. `gone`: their statuses are there. `met`:
/// see there.
///
/// Nothing says that the lower half has them but the note of the function, made before the gate is passed: as long
/// as a thread is inside with it, the drain asks about no request (see `inside::testing`). So little is stored here
/// because stores queue up behind the one that has just sent a message to another processor.
///
/// # Safety
/// The handles and, unless ignored, the statuses are the application's.
#[inline(always)]
pub unsafe fn look(
    handles: &mut [i32],
    statuses: usize,
    waits: bool,
    gone: Gone,
    met: Met,
) -> Look {
    inside::function(ix::Testall);
    let inside = gate::enter(Call::MustComplete);
    if inside.nested() || shared() {
        return Look::Apart;
    }
    let mut batch = Batch::EMPTY;
    if !batch.take(handles, met) {
        return Look::Apart;
    }
    if waits && batch.paired && matches!(statuses, 0 | STATUS_IGNORE) {
        if batch.n > 0 {
            match batch.ask(STATUS_IGNORE as u64) {
                (SUCCESS, true) => batch.end(&lock()),
                (SUCCESS, false) => return Look::Pending,
                (code, _) => {
                    batch.note_ends(code);
                    return Look::Apart;
                }
            }
        }
        handles.fill(REQUEST_NULL);
        return Look::Complete;
    }
    look_with_statuses(&mut batch, handles, statuses, waits, gone)
}

/// The same where there are statuses.
unsafe fn look_with_statuses(
    batch: &mut Batch,
    handles: &mut [i32],
    statuses: usize,
    waits: bool,
    gone: Gone,
) -> Look {
    let mut own = [const { MaybeUninit::<Status>::uninit() }; BATCH];
    if batch.n > 0 {
        let (code, done) = batch.ask(own.as_mut_ptr() as u64);
        if code != SUCCESS {
            if code & ERR_CLASS == ERR_IN_STATUS {
                // SAFETY: the library has stored all statuses.
                batch.note(from_raw_parts(own.as_ptr().cast(), batch.n));
            }
            return Look::Apart;
        }
        if !done {
            return Look::Pending;
        }
    }
    let guard = lock();
    let mut complete = batch.requests().iter().zip(&own);
    for (i, handle) in handles.iter_mut().enumerate() {
        let mut status = Status::EMPTY;
        if !matches!(*handle, REQUEST_NULL | COMPLETE) {
            let Some((r, own)) = complete.next() else {
                break;
            };
            // SAFETY: the library has stored it.
            status = own.assume_init();
            settle(&guard, r, &mut status, false);
            request::release(&guard, r);
        }
        if !gone.has(i) {
            if waits && *handle != REQUEST_NULL {
                put_error(statuses, i, SUCCESS);
            }
            put_at(statuses, i, status);
        }
        *handle = REQUEST_NULL;
    }
    Look::Complete
}
