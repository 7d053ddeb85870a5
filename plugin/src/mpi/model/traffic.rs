//! Counts of messages, which the drain goes by.

use super::{bump, Alone};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::OnceLock;

/// Messages sent to, and received from, one rank of the world.
#[derive(Default)]
pub struct Traffic {
    /// Counted before the send is initiated.
    pub sent: AtomicU64,
    /// Counted when a receive completes.
    pub received: AtomicU64,
    /// Those that the cut's helper received: it may not write what a thread may be writing.
    pub drained: AtomicU64,
}

static ALL: OnceLock<Box<[Traffic]>> = OnceLock::new();

/// Makes the counts for a world of `size` ranks.
pub fn make(size: usize) {
    let _ = ALL.set((0..size).map(|_| Traffic::default()).collect());
}

/// The counts by rank of the world; empty before `MPI_Init`.
pub fn all() -> &'static [Traffic] {
    ALL.get().map_or(&[], |all| all)
}

impl Traffic {
    /// A message will be sent.
    #[inline(always)]
    pub fn send(&self) {
        bump(&self.sent, 1);
    }

    /// A message has been received by the one thread that receives.
    #[inline(always)]
    pub fn receive_alone(&self, _alone: &Alone) {
        self.received
            .store(self.received.load(Relaxed) + 1, Relaxed);
    }

    /// Several messages have been received.
    #[inline(always)]
    pub fn receive_several(&self, n: usize) {
        bump(&self.received, n as u64);
    }

    /// It was not sent after all.
    pub fn unsend(&self) {
        bump(&self.sent, u64::MAX);
    }

    /// A message has been received; `helper`: by the cut's helper.
    #[inline(always)]
    pub fn receive(&self, helper: bool) {
        bump(
            if helper {
                &self.drained
            } else {
                &self.received
            },
            1,
        );
    }
}
