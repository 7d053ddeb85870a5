//! Collectives: sequence numbers, and the hold while a cut is taken.

use super::abi::*;
use super::front::finish;
use super::lower::{Fail, Outcome};
use super::model::comm::{self as comms, MUST};
use super::model::{datatype, Comm};
use super::{own, turn};
use crate::gate::{self, Call, Inside};
use crate::raw;
use std::mem::MaybeUninit;
use std::sync::atomic::{compiler_fence, AtomicU32, Ordering::*};
use std::time::Duration;

/// Non-zero while a cut is taken; counts up at each change of a target, so that it can be waited on.
pub static CUT: AtomicU32 = AtomicU32::new(0);

/// So often a thread that is held carries the program's own reductions on.
const A_MOMENT: Duration = Duration::from_micros(200);

/// Enters the next collective of a communicator; held in the upper half if a cut is being taken and the
/// collective lies beyond its target. The sequence number.
#[inline(always)]
pub fn enter(c: &Comm, must: bool, call: Call, blocking: bool) -> (Inside, u64) {
    loop {
        let inside = gate::enter(call);
        let n = number(c, must, blocking);
        if CUT.load(Relaxed) == 0 || n <= c.target.load(SeqCst) {
            return (inside, n);
        }
        hold(c, n, inside);
    }
}

/// Enters the next, blocking collective of a communicator, inside the gate: its sequence number, if no cut is being taken.
#[inline(always)]
pub fn enter_unheld(c: &Comm, must: bool) -> Option<u64> {
    let n = number(c, must, true);
    if CUT.load(Relaxed) == 0 {
        return Some(n);
    }
    take_back(c, n);
    None
}

/// Says that the next collective is entered, before it is looked whether a cut is being taken: who takes one makes all
/// threads pass a fence, so the number is seen, or the cut is seen here.
#[inline(always)]
fn number(c: &Comm, must: bool, blocking: bool) -> u64 {
    let n = c.entered.load(Relaxed) + 1;
    if blocking {
        c.blocking.store(n | if must { MUST } else { 0 }, Relaxed);
    }
    c.entered.store(n, Relaxed);
    compiler_fence(SeqCst);
    n
}

/// A blocking collective was not entered after all, or has not happened in this process: it will be entered again.
#[cold]
pub fn take_back(c: &Comm, n: u64) {
    c.blocking.store(0, SeqCst);
    c.entered.store(n - 1, SeqCst);
}

#[cold]
fn hold(c: &Comm, n: u64, inside: Inside) {
    take_back(c, n);
    c.held.store(n, SeqCst);
    drop(inside);
    loop {
        let seen = CUT.load(SeqCst);
        if seen == 0 || n <= c.target.load(SeqCst) {
            break;
        }
        let carries_on = own::any();
        if carries_on {
            own::carry_on();
        }
        raw::futex_wait(&CUT, seen, carries_on.then_some(A_MOMENT));
    }
    c.held.store(0, SeqCst);
}

/// Leaves a blocking collective.
#[inline(always)]
pub fn leave(c: &Comm, n: u64) {
    c.left.store(n, Relaxed);
    c.blocking.store(0, Release);
}

/// Leaves a blocking collective that may be called again, unless the process may be saved with other members before it:
/// where the gate is closed, the calling thread stays until it is opened. False: there was a restart, and the collective has
/// not happened.
///
/// It has left before it is looked whether the gate is closed: who closes that makes all threads pass a fence, so this is
/// seen (`cut::overtaken`), or the closed gate is seen here. `nested`: in a call within another, which is waited for.
#[inline(always)]
pub fn depart(c: &Comm, n: u64, nested: bool) -> bool {
    let before = c.left.load(Relaxed);
    leave(c, n);
    compiler_fence(SeqCst);
    !gate::closed() || nested || depart_late(c, n, before)
}

#[cold]
#[inline(never)]
fn depart_late(c: &Comm, n: u64, before: u64) -> bool {
    while gate::closed() && beyond(c, n) {
        c.blocking.store(n, SeqCst);
        c.left.store(before, SeqCst);
        turn::end();
        if !gate::stay(Call::Reexecutable) {
            return false;
        }
        leave(c, n);
        compiler_fence(SeqCst);
    }
    true
}

/// Is a cut being taken that has this collective after it?
pub fn beyond(c: &Comm, n: u64) -> bool {
    CUT.load(SeqCst) != 0 && n > c.target.load(SeqCst)
}

/// Was a collective refused for its arguments, before anything was sent? The other members need not have called it, so it
/// does not count.
fn refused(outcome: &Outcome) -> bool {
    match outcome {
        Ok(code) | Err(Fail::Code(code)) => (ERR_BUFFER..=ERR_ARG).contains(&(code & ERR_CLASS)),
        Err(Fail::Restarted) => false,
    }
}

/// Takes back that a collective was entered, if it was refused. The cut is told after that: what it has aimed at for its
/// sake may never come.
pub fn take_back_if_refused(c: &Comm, n: u64, outcome: &Outcome) -> bool {
    let refused = refused(outcome);
    if refused {
        take_back(c, n);
        c.refused.fetch_add(1, SeqCst);
    }
    refused
}

/// Ends a blocking collective: leaves it, or takes back that it was entered.
pub fn end(c: &Comm, n: u64, outcome: &Outcome) {
    if !take_back_if_refused(c, n, outcome) {
        leave(c, n);
    }
}

/// As [`end`], for one that may be called again. False: it is to be, after a restart.
#[inline(always)]
pub fn over(c: &Comm, n: u64, outcome: &Outcome, nested: bool) -> bool {
    match outcome {
        Err(Fail::Restarted) => false,
        Ok(SUCCESS) => depart(c, n, nested),
        failed => take_back_if_refused(c, n, failed) || depart(c, n, nested),
    }
}

/// Runs a blocking collective. In place means that its input is overwritten: then it cannot be called again.
#[inline(always)]
pub fn blocking(comm: i32, in_place: bool, f: impl Fn() -> Outcome + Copy) -> i32 {
    let c = match comms::get(comm) {
        Ok(c) => c,
        Err(e) => return finish(comm, Err(e)),
    };
    let call = if in_place {
        Call::MustComplete
    } else {
        Call::Reexecutable
    };
    let (inside, n) = enter(c, in_place, call, true);
    let mut outcome = f();
    while !over(c, n, &outcome, inside.nested()) {
        outcome = repeat(f);
    }
    drop(inside);
    finish(comm, outcome)
}

/// A blocking reduction of `n` of the datatype, in place or not. In place it overwrites its input, at `at`: if that is short
/// a copy is kept, so that the reduction can be called again like any other, and no checkpoint waits for a late rank.
///
/// # Safety
/// As the MPI standard says of the arguments.
#[inline(always)]
pub unsafe fn reduction(
    comm: i32,
    in_place: bool,
    (at, n, t): (usize, i32, i32),
    f: impl Fn() -> Outcome + Copy,
) -> i32 {
    let kept = match in_place {
        true => Kept::of(at, n, t),
        false => None,
    };
    let call = || {
        if let Some(kept) = &kept {
            kept.put_back();
        }
        f()
    };
    blocking(comm, in_place && kept.is_none(), call)
}

/// So many bytes of input are kept: it costs little beside a reduction of them.
const KEPT: usize = 1024;

/// A copy of a reduction's input, on the thread's stack, which a checkpoint saves.
struct Kept {
    at: *mut u8,
    len: usize,
    bytes: MaybeUninit<[u8; KEPT]>,
}

impl Kept {
    /// Of `n` of a predefined datatype that has no holes; `None` if there is too much, or if there is no buffer: the
    /// library says what is wrong, or does not look at it.
    ///
    /// # Safety
    /// They must be there.
    unsafe fn of(at: usize, n: i32, t: i32) -> Option<Kept> {
        if t & KIND_MASK == V_DATATYPE || matches!(at, 0 | IN_PLACE) {
            return None;
        }
        let sizes = datatype::sizes(t).ok()?;
        let len = usize::try_from(sizes.size.checked_mul(n.into())?).ok()?;
        if len > KEPT || sizes.size != sizes.extent {
            return None;
        }
        let mut kept = Kept {
            at: at as *mut u8,
            len,
            bytes: MaybeUninit::uninit(),
        };
        // SAFETY: the caller's, and there is room for them.
        unsafe { kept.at.copy_to(kept.bytes.as_mut_ptr().cast(), len) };
        Some(kept)
    }

    /// Puts the input where it was; before the first call it still is there.
    fn put_back(&self) {
        // SAFETY: it was copied from there, and is the reduction's until that returns.
        unsafe { self.at.copy_from(self.bytes.as_ptr().cast(), self.len) };
    }
}

/// Calls a collective again after a restart.
#[cold]
#[inline(never)]
fn repeat(f: impl Fn() -> Outcome) -> Outcome {
    f()
}
