//! The checkpoint's turn: meanwhile the program does not execute another in its place, and the other way round.

use super::mailbox::{futex_wait, futex_wake};
use anyhow::{bail, Result};
use lh_loader::lhinfo::{self, TURN_CHECKPOINT, TURN_FREE};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// An `exec` has failed within this, or has ended this process.
const PATIENCE: Duration = Duration::from_secs(10);

/// The turn, until this is dropped.
pub struct Turn(());

fn word() -> &'static AtomicU32 {
    // SAFETY: the loader mapped lhInfo before it started the host.
    &unsafe { lhinfo::get() }.upper.turn
}

/// Takes the turn, if the program has not taken it for long.
pub fn take() -> Result<Turn> {
    let until = Instant::now() + PATIENCE;
    let free = |to| word().compare_exchange(TURN_FREE, to, Ordering::AcqRel, Ordering::Acquire);
    while let Err(seen) = free(TURN_CHECKPOINT) {
        if Instant::now() >= until {
            bail!("the program is just being replaced by another (exec): try again");
        }
        futex_wait(word(), seen, Duration::from_millis(50));
    }
    Ok(Turn(()))
}

impl Drop for Turn {
    fn drop(&mut self) {
        word().store(TURN_FREE, Ordering::Release);
        futex_wake(word());
    }
}
