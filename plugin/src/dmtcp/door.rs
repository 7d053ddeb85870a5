//! A door in front of a lock of DMTCP's: while it is shut no thread goes on to the lock, and those that have are counted.

use lh_loader::arch::syscall6;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

/// The door, and how many are through.
pub struct Door {
    shut: AtomicBool,
    inside: AtomicU32,
}

impl Door {
    /// An open door.
    pub const fn new() -> Self {
        Self {
            shut: AtomicBool::new(false),
            inside: AtomicU32::new(0),
        }
    }

    /// The calling thread goes through as soon as the door is open and it `may`.
    pub fn go_in(&self, may: impl Fn() -> bool) {
        loop {
            // Counted first: who shuts the door either sees the thread, or is seen.
            self.inside.fetch_add(1, SeqCst);
            if !self.shut.load(SeqCst) && may() {
                return;
            }
            self.go_out();
            pause();
        }
    }

    /// It has come back.
    pub fn go_out(&self) {
        self.inside.fetch_sub(1, SeqCst);
    }

    /// Lets nobody in any more.
    pub fn shut(&self) {
        self.shut.store(true, SeqCst);
    }

    /// Lets threads in again.
    pub fn open(&self) {
        self.shut.store(false, SeqCst);
    }

    /// Is nobody inside?
    pub fn is_empty(&self) -> bool {
        self.inside.load(SeqCst) == 0
    }

    /// In a forked child no other thread is there.
    pub fn forked(&self, inside: bool) {
        self.open();
        self.inside.store(u32::from(inside), SeqCst);
    }
}

/// A millisecond.
pub fn pause() {
    let time = [0usize, 1_000_000];
    // SAFETY: the kernel reads the time.
    unsafe {
        let time = time.as_ptr() as usize;
        syscall6(libc::SYS_nanosleep as usize, time, 0, 0, 0, 0, 0);
    }
}
