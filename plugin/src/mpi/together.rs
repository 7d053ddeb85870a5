//! Completing all of several requests: `MPI_Waitall`, `MPI_Testall`.
//!
//! Requests that only the lower half can complete are asked about in one call, `MPI_Testall`, again and again. Between
//! two looks the thread passes the gate, so that a cut can test each by itself: in a wait for all of them it could not
//! learn which are complete.

use super::abi::*;
use super::batch::{look, Gone, Look, Met, BATCH};
use super::complete::{blamed, poll, wait_one};
use super::front::{finish, put, put_status, slice_mut};
use super::model::request::{self, Kind, Request, COMPLETE};
use super::{errs, quick, sync};
use crate::gate::{self, Call};

/// So few are waited for one after the other, which costs less than a look at them.
const FEW: usize = 2;
/// Looks in a row after which the processor is offered to others: they may be who is waited for.
const PATIENCE: u32 = 1000;

/// The place of status `i`, if the application wants statuses.
#[inline(always)]
pub fn status_at(statuses: usize, i: usize) -> usize {
    match statuses {
        0 | STATUS_IGNORE => STATUS_IGNORE,
        _ => statuses + i * size_of::<Status>(),
    }
}

/// Stores status `i`, but for the error, which is set when one request failed.
///
/// # Safety
/// `statuses` must be to be ignored, or have a place `i`.
#[inline(always)]
pub unsafe fn put_at(statuses: usize, i: usize, s: Status) {
    put_status(status_at(statuses, i), s);
}

/// Sets the error of status `i`.
///
/// # Safety
/// As `put_at`.
pub unsafe fn put_error(statuses: usize, i: usize, code: i32) {
    let at = status_at(statuses, i);
    if at != STATUS_IGNORE {
        (*(at as *mut Status)).error = code;
    }
}

/// The first request, as they are numbered, that has failed: its number, its code, whose error handler has that.
#[derive(Default)]
pub struct Failed(Option<(usize, i32, i32)>);

impl Failed {
    /// Takes note of a code.
    #[inline(always)]
    pub fn note(&mut self, i: usize, code: i32, blamed: i32) {
        if code != SUCCESS && self.0.is_none_or(|(first, ..)| i < first) {
            self.0 = Some((i, code, blamed));
        }
    }

    /// Has one?
    pub fn any(&self) -> bool {
        self.0.is_some()
    }

    /// What the call gives.
    pub fn finish(self) -> i32 {
        match self.0 {
            None => SUCCESS,
            Some(_) if !errs::of_requests() => finish(COMM_WORLD, Ok(ERR_IN_STATUS)),
            Some((_, code, blamed)) => match errs::raise(blamed, code) {
                SUCCESS => SUCCESS,
                _ => ERR_IN_STATUS,
            },
        }
    }
}

/// Waits until they are complete, or gives those that are when each other one has to be waited for by itself.
///
/// Messages mostly come in the order of their receives. So the last receive is waited for, then one look mostly finds all
/// complete; if it does not, twice as many are waited for before the next one.
unsafe fn wait_batch(handles: &mut [i32], statuses: usize) -> Result<(), Gone> {
    let mut gone = Gone(0);
    let (mut waits, mut looks) = (1, 0u32);
    let mut met = Met::NONE;
    loop {
        let mut left = (0..handles.len()).rev();
        for _ in 0..waits {
            let open = |i: &usize| !matches!(handles[*i], REQUEST_NULL | COMPLETE);
            let Some(i) = left.find(open) else { break };
            let last = request::open(handles[i]).and_then(Met::of);
            if !quick::wait_in(&mut handles[i], status_at(statuses, i)) {
                waits = 0;
                break;
            }
            gone.add(i);
            met = last.unwrap_or(met);
        }
        waits *= 2;
        match look(handles, statuses, true, gone, met) {
            Look::Complete => return Ok(()),
            Look::Apart => return Err(gone),
            Look::Pending => looks = looks.wrapping_add(1),
        }
        if looks > PATIENCE && looks.is_multiple_of(16) {
            std::thread::yield_now();
        }
    }
}

pub unsafe fn waitall(n: i32, at: usize, statuses: usize) -> i32 {
    if request::care_is_needed() {
        return waitall_with_care(n, at, statuses);
    }
    if n as usize > FEW {
        return waitall_of_many(n, at, statuses);
    }
    let left = quick::waitall(n as usize, at as *mut i32, statuses);
    if left == 0 {
        return SUCCESS;
    }
    few(left, at, statuses)
}

/// Asks about each in turn, so that all are carried on: what a wait for one alone waits for may be that another is.
#[cold]
#[inline(never)]
unsafe fn waitall_with_care(n: i32, at: usize, statuses: usize) -> i32 {
    let handles = slice_mut::<i32>(at, n.max(0) as usize);
    let mut looks = 0u32;
    while !ready(handles) {
        looks = looks.wrapping_add(1);
        if looks > PATIENCE && looks.is_multiple_of(16) {
            std::thread::yield_now();
        }
    }
    apart(0, handles, statuses, Gone(0))
}

/// More of them than a few, or a negative number.
#[inline(never)]
unsafe fn waitall_of_many(n: i32, at: usize, statuses: usize) -> i32 {
    let handles = slice_mut::<i32>(at, n.max(0) as usize);
    for from in (0..handles.len()).step_by(BATCH) {
        let to = handles.len().min(from + BATCH);
        if let Err(gone) = wait_batch(&mut handles[from..to], status_at(statuses, from)) {
            return apart(from, handles, statuses, gone);
        }
    }
    SUCCESS
}

/// Waits for each of the rest by itself: for the sends first, which may be complete before anything has been received.
#[cold]
#[inline(never)]
unsafe fn few(n: usize, at: usize, statuses: usize) -> i32 {
    let handles = slice_mut::<i32>(at, n);
    let mut failed = Failed::default();
    let mut sends = 0u32;
    for i in 0..handles.len() {
        let send = |r: &Request| r.kind.get() == Kind::Send;
        if handles[i] == COMPLETE || request::get(handles[i]).is_some_and(send) {
            sends |= 1 << i;
            one(i, handles, statuses, &mut failed);
        }
    }
    for i in 0..handles.len() {
        if sends & 1 << i == 0 {
            one(i, handles, statuses, &mut failed);
        }
    }
    failed.finish()
}

/// Waits for each by itself, from number `from` on, but for those that are gone.
unsafe fn apart(from: usize, handles: &mut [i32], statuses: usize, gone: Gone) -> i32 {
    let mut failed = Failed::default();
    for i in (from..handles.len()).filter(|i| !gone.has(i - from)) {
        one(i, handles, statuses, &mut failed);
    }
    failed.finish()
}

/// Waits for number `i`. Statuses of null requests have their errors set when another has failed.
#[inline(always)]
unsafe fn one(i: usize, handles: &mut [i32], statuses: usize, failed: &mut Failed) {
    let active = handles[i] != REQUEST_NULL;
    let (blamed, mut own) = (blamed(handles[i]), Status::EMPTY);
    let code = wait_one(&mut handles[i], &mut own);
    put_at(statuses, i, own);
    if code != SUCCESS && !failed.any() {
        (0..handles.len()).for_each(|j| put_error(statuses, j, SUCCESS));
    }
    failed.note(i, code, blamed);
    if active {
        put_error(statuses, i, code);
    }
}

pub unsafe fn testall(n: i32, at: usize, flag: usize, statuses: usize) -> i32 {
    let handles = slice_mut::<i32>(at, n.max(0) as usize);
    if handles.len() <= BATCH {
        let found = look(handles, statuses, false, Gone(0), Met::NONE);
        put(flag, matches!(found, Look::Complete) as i32);
        if !matches!(found, Look::Apart) {
            return SUCCESS;
        }
    }
    let ready = ready(handles);
    put(flag, ready as i32);
    if ready {
        apart(0, handles, statuses, Gone(0))
    } else {
        SUCCESS
    }
}

/// Asks about each by itself: are all complete in the model?
unsafe fn ready(handles: &[i32]) -> bool {
    let _inside = gate::enter(Call::MustComplete);
    let mut ready = true;
    for r in handles.iter().filter_map(|h| request::get(*h)) {
        let asks = r.active.get() && !sync::ready(r);
        let done = asks && r.kind.get() != Kind::Generalized && poll(r);
        ready &= !asks || (done && sync::ready(r));
    }
    ready
}
