//! A checkpoint and an `exec` keep out of each other's way: the parking signal would end the new program, and a
//! half-written image would be left.

use super::tasks;
use crate::futex;
use crate::lhinfo::{self, TURN_EXEC, TURN_FREE};
use core::sync::atomic::{AtomicU32, Ordering::*};

/// The thread that has the turn.
static HOLDER: AtomicU32 = AtomicU32::new(0);

/// The program's turn, until this is dropped.
pub struct Turn {
    /// The thread had it already: a signal's handler executes a program in the middle of it.
    nested: bool,
}

fn word() -> &'static AtomicU32 {
    // SAFETY: lhInfo is mapped before the router runs.
    &unsafe { lhinfo::get() }.upper.turn
}

/// Waits for the end of a checkpoint that is being taken, and keeps others away. The host bounds a checkpoint.
pub fn take() -> Turn {
    let own = tasks::tid();
    if HOLDER.load(Relaxed) == own {
        return Turn { nested: true };
    }
    while let Err(seen) = word().compare_exchange(TURN_FREE, TURN_EXEC, AcqRel, Acquire) {
        futex::wait(word(), seen);
    }
    HOLDER.store(own, Relaxed);
    Turn { nested: false }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.nested {
            HOLDER.store(0, Relaxed);
            word().store(TURN_FREE, Release);
            futex::wake(word());
        }
    }
}
