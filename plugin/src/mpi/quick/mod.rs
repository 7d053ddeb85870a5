//! The quick way of plain point to point, on which most messages go: predefined datatypes, nothing drained that a receive
//! could find, one thread of the program in MPI, the gate open. And that of blocking collectives.
//!
//! Each function does what its namesake in `p2p`, `start`, `complete`, `together` or `coll` does, or hands on to it. Then it has
//! done nothing, or left the model so that the namesake ends the work. What is rare stands in functions of its own, which
//! are jumped to with the arguments where they came: nothing is stored for their sake.

mod collectives;
mod completion;
mod messages;

pub use collectives::collective;
pub use completion::{test, wait, wait_in, waitall};
pub use messages::{iprobe, irecv, isend, recv, send};

use super::abi::*;
use super::errs;
use super::model::Comm;
use super::turn;
use crate::block::{self, doing, MARKED, MUST_COMPLETE, OUT, REEXECUTABLE};
use crate::gate;
use std::arch::asm;
use std::sync::atomic::Ordering::Relaxed;

/// What the thread does: it works on the model, and has its turn to call the library.
const PREPARES: u32 = doing(MUST_COMPLETE, MARKED, 1);
/// It calls the library.
const CALLS: u32 = doing(MUST_COMPLETE, MARKED, 0);
/// It calls the library, and may be saved as if it had not.
const WAITS: u32 = doing(REEXECUTABLE, MARKED, 0);
/// It works on the model.
const CONCLUDES: u32 = doing(MUST_COMPLETE, OUT, 1);

/// From now on the thread does this.
#[inline(always)]
fn now<const DOING: u32>() {
    // SAFETY: the block is this thread's own.
    unsafe { block::set::<DOING>(block::mine()) };
}

/// Does the thread still do this? Then it has not given way to others meanwhile, nor was there a restart.
#[inline(always)]
fn still<const DOING: u32>() -> bool {
    // SAFETY: the block is this thread's own.
    unsafe { block::is::<DOING>(block::mine()) }
}

/// Ends the call, and with it the turn, if the thread does this and has not given way to others meanwhile.
#[inline(always)]
fn leave<const DOING: u32, T>(value: T) -> T {
    if still::<DOING>() {
        gate::leave(value)
    } else {
        leave_slowly(value)
    }
}

/// Ends the call, and with it the turn, whatever the thread does, and whether there was a restart or not.
#[cold]
#[inline(never)]
fn leave_slowly<T>(value: T) -> T {
    turn::end();
    gate::leave(value)
}

/// The call has failed: what the error handler makes of it.
#[cold]
#[inline(never)]
fn failed(c: &Comm, code: i32) -> i32 {
    errs::raise(c.handle.load(Relaxed), leave_slowly(code))
}

/// What only the other way needs is put by in memory: else it would be kept in registers, which have to be saved for that.
#[inline(always)]
fn put_by<T>(given: &mut T) {
    // SAFETY: does nothing, of which the compiler does not know.
    unsafe { asm!("/* {0} */", in(reg) given, options(nostack, preserves_flags)) };
}

/// Where the lower half stores the status of a receive.
#[derive(Clone, Copy)]
struct Place {
    /// What it is given: where to store it, or that it may ignore it, which takes it less time.
    given: usize,
    /// Where it is read.
    read: *mut Status,
}

/// Where the lower half stores the status of a receive from `peer`; its source is set to what it stays if the lower half
/// says nothing else: the only one that there can be where it may ignore the status, else none.
///
/// # Safety
/// `status` must be to be ignored or a status, and `own` last as long as the place.
#[inline(always)]
unsafe fn place(status: usize, peer: i32, own: &mut Status) -> Place {
    let ignored = matches!(status, 0 | STATUS_IGNORE);
    let read = if ignored { own } else { status as *mut Status };
    let (given, source) = match ignored && peer >= 0 {
        true => (STATUS_IGNORE, peer),
        false => (read as usize, ANY_SOURCE),
    };
    (*read).source = source;
    Place { given, read }
}

impl Place {
    /// The lower half gave `code`. A truncated message was received too: it is no longer in flight. Another error is of none.
    unsafe fn note(self, code: i32) {
        if self.given == STATUS_IGNORE && !matches!(code & ERR_CLASS, SUCCESS | ERR_TRUNCATE) {
            (*self.read).source = ANY_SOURCE;
        }
    }
}
