//! The system-call router: a window only holds if what a half maps for itself lands inside it.
//!
//! Every executable segment that enters a window is scanned for `syscall` instructions before it runs
//! ([`scan`]), and the sites that matter become jumps to stubs beside the segment ([`segment`], [`patch`]),
//! which call [`entry`], which asks [`policy`]. Later segments arrive through `mmap`, which is routed itself.

mod cancel;
pub mod code;
pub mod eh;
pub mod entry;
mod exec;
mod fds;
pub mod fronts;
pub mod ids;
pub mod limits;
pub mod maps;
mod memory;
pub mod patch;
mod paths;
pub mod policy;
mod program;
pub mod scan;
pub mod segment;
mod signals;
mod tasks;
mod turn;
mod waits;

#[cfg(test)]
mod call_tests;
#[cfg(test)]
mod probe_tests;
#[cfg(test)]
pub(crate) mod run_tests;
#[cfg(test)]
mod tests;

use crate::lhinfo;
use core::sync::atomic::{AtomicU8, Ordering};

/// 0 quiet, 1 sites that could not be patched, 2 segments and counts as well.
static LOG: AtomicU8 = AtomicU8::new(0);

pub use exec::init as can_execute;
pub use ids::set_parent;

/// How much is said on standard error.
pub fn log_level() -> u8 {
    LOG.load(Ordering::Relaxed)
}

/// Makes this loader the router of every patched site. lhInfo must be mapped. `attached`: to a process that already runs.
pub fn init(log: u8, attached: bool) {
    LOG.store(log, Ordering::Relaxed);
    tasks::init();
    ids::init();
    signals::init(attached);
    limits::init(attached);
    code::init();
    let entry = entry::splitproc_router_entry as *const () as usize;
    // SAFETY: the caller has mapped lhInfo.
    unsafe { lhinfo::get() }
        .router
        .store(entry, Ordering::Release);
}
