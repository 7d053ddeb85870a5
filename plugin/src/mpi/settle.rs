//! One-sided operations in a checkpoint and a restart.
//!
//! Nobody issues operations once the gate is closed, so a flush of what is open completes them all. It waits for other
//! ranks to make progress, and a library may let no other thread of the process in meanwhile. So the helper, which all
//! ranks wait for, must not make it: the `assistant` does. In a restart windows are made again, and the locks that
//! were held are taken again.

use super::abi::*;
use super::lower::{ix, must};
use super::model::window::{self, epoch, target, Memory, Window};
use super::model::{lock, Guard};
use super::{errs, windows};
use std::sync::atomic::Ordering::*;

/// May operations be in flight?
fn open(w: &Window) -> bool {
    w.covered.load(Relaxed) || matches!(w.access(), epoch::LOCK | epoch::LOCK_ALL)
}

/// The ranks whose locks are held, and how.
fn locks(w: &Window) -> Vec<(u64, u8)> {
    let targets = w.targets.iter().map(|t| t.load(Relaxed));
    let held = (0u64..).zip(targets);
    held.filter(|(_, t)| t & target::LOCKED != 0).collect()
}

/// Completes all operations; on the assistant, with the gate closed.
pub fn flush() {
    let windows = window::all(&lock());
    for w in windows.into_iter().filter(|w| open(w)) {
        // SAFETY: locks are held, so a flush is allowed; the gate is closed, so nobody gives them back. A flush that fails
        // has its operations fail for the application too.
        unsafe {
            if w.covered.load(Relaxed) || w.access() == epoch::LOCK_ALL {
                must(ix::Win_flush_all, &[w.low()]);
            } else {
                for (rank, _) in locks(w) {
                    must(ix::Win_flush, &[rank, w.low()]);
                }
            }
        }
    }
}

fn check(what: &str, code: i32) -> Result<(), String> {
    if code == SUCCESS {
        return Ok(());
    }
    Err(format!("{what} failed at restart: {}", errs::text(code)))
}

/// Makes the windows again, in one order on all ranks, with the locks that were held.
///
/// # Errors
/// Why one can't be made.
///
/// # Safety
/// In a restart, on the helper thread of all ranks, with communicators made.
pub unsafe fn replay(guard: &Guard) -> Result<(), String> {
    let list = window::all(guard);
    for w in &list {
        if let Memory::Shared(segment) = &w.memory {
            segment.again(w.comm).map_err(|e| {
                format!(
                    "memory that {} ranks share can't be shared again ({e}): they must be on one machine",
                    w.comm.group.len()
                )
            })?;
        }
        check("making a window", windows::establish(w, w.size))?;
        for (base, size) in &w.meta.get(guard).attached {
            let args = [w.low(), *base as u64, *size as u64];
            check("MPI_Win_attach", must(ix::Win_attach, &args))?;
        }
    }
    for w in &list {
        if w.covered.load(Relaxed) {
            let all = must(ix::Win_lock_all, &[MODE_NOCHECK as u64, w.low()]);
            check("MPI_Win_lock_all", all)?;
        } else if w.access() == epoch::LOCK_ALL {
            let assert = w.all.load(Relaxed) as u64;
            check(
                "MPI_Win_lock_all",
                must(ix::Win_lock_all, &[assert, w.low()]),
            )?;
        }
        for (rank, held) in locks(w) {
            let kind = match held & target::EXCLUSIVE {
                0 => LOCK_SHARED,
                _ => LOCK_EXCLUSIVE,
            };
            let assert = match held & target::NOCHECK {
                0 => 0,
                _ => MODE_NOCHECK,
            };
            let args = [kind as u64, rank, assert as u64, w.low()];
            check("MPI_Win_lock", must(ix::Win_lock, &args))?;
        }
    }
    // No thread may ask for a lock before those that were held are.
    check("MPI_Barrier", must(ix::Barrier, &[COMM_WORLD as u64]))
}
