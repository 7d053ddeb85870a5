//! Collectives: sequence numbers, and the hold while a cut is taken.

use super::abi::*;
use super::front::{again, finish};
use super::lower::{Fail, Outcome};
use super::model::comm::{self as comms, MUST};
use super::model::Comm;
use super::own;
use crate::gate::{self, Call, Inside};
use crate::raw;
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

/// Was a collective refused for its arguments, before anything was sent? The other members need not have called it, so it
/// does not count.
pub fn refused(outcome: &Outcome) -> bool {
    match outcome {
        Ok(code) | Err(Fail::Code(code)) => (ERR_BUFFER..=ERR_ARG).contains(&(code & ERR_CLASS)),
        Err(Fail::Restarted) => false,
    }
}

/// Ends a blocking collective: leaves it, or takes back that it was entered.
#[inline(always)]
pub fn end(c: &Comm, n: u64, outcome: &Outcome) {
    if refused(outcome) {
        c.entered.store(n - 1, Relaxed);
        c.blocking.store(0, Release);
    } else {
        leave(c, n);
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
    let outcome = match f() {
        Ok(SUCCESS) => {
            leave(c, n);
            drop(inside);
            return SUCCESS;
        }
        Err(Fail::Restarted) => repeat(f),
        other => other,
    };
    end(c, n, &outcome);
    drop(inside);
    finish(comm, outcome)
}

/// Calls a collective again after a restart.
#[cold]
#[inline(never)]
fn repeat(f: impl Fn() -> Outcome) -> Outcome {
    again(f)
}
