//! The model of what is alive in MPI: everything that a restart needs to rebuild the lower half.

pub mod comm;
pub mod datatype;
pub mod file;
pub mod ghosts;
pub mod lock;
pub mod objects;
pub mod request;
pub mod table;
pub mod traffic;
pub mod window;

pub use comm::Comm;
pub use datatype::Datatype;
pub use lock::{alone, alone_by_the_gate, lock, shared, Alone, Guard, Locked};
pub use request::Request;
pub use window::Window;

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};

static SERIAL: AtomicU64 = AtomicU64::new(1);
/// `MPI_COMM_WORLD`'s size; 0 before `MPI_Init`.
pub static WORLD_SIZE: AtomicI32 = AtomicI32::new(0);
/// This process's rank in `MPI_COMM_WORLD`.
pub static WORLD_RANK: AtomicI32 = AtomicI32::new(0);

/// The next creation number.
#[inline(always)]
pub fn serial() -> u64 {
    if shared() {
        return SERIAL.fetch_add(1, Relaxed);
    }
    let n = SERIAL.load(Relaxed);
    SERIAL.store(n + 1, Relaxed);
    n
}

/// The same for a thread that is alone.
#[inline(always)]
pub fn next_serial(_alone: &Alone) -> u64 {
    let n = SERIAL.load(Relaxed);
    SERIAL.store(n + 1, Relaxed);
    n
}

/// Adds to a counter that one thread writes, or several if the model is shared.
#[inline(always)]
pub fn bump(counter: &AtomicU64, by: u64) {
    if shared() {
        less_usual();
        counter.fetch_add(by, Relaxed);
    } else {
        counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
    }
}

/// Tells the compiler that what comes after another branch is to come first.
#[cold]
#[inline(never)]
fn less_usual() {}
