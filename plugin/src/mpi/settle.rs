//! One-sided operations in a checkpoint and a restart.
//!
//! Nobody issues operations once the gate is closed, so a flush of what is open completes them all. It waits for
//! other ranks to make progress, and so may not be made by the helper, which does that: a thread of ours
//! makes it while the helpers drain. In a restart windows are made again, and the locks that were held are taken again.

use super::abi::*;
use super::lower::{ix, must};
use super::model::window::{self, epoch, target, Memory, Window};
use super::model::{lock, Guard, WORLD_RANK};
use super::{errs, windows};
use crate::gate::{self, Call};
use crate::{block, raw, registry};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Mutex;
use std::thread::{Builder, JoinHandle};

/// The flush of this checkpoint.
enum Flush {
    Wanted,
    /// The thread, and whether it was made for an earlier checkpoint, which gave up waiting for it.
    Running(JoinHandle<()>, bool),
    Done,
}

static FLUSH: Mutex<Flush> = Mutex::new(Flush::Done);

/// A checkpoint begins.
pub fn begin() {
    let mut flush = FLUSH.lock().unwrap_or_else(|e| e.into_inner());
    match &mut *flush {
        Flush::Running(_, stale) => *stale = true,
        other => *other = Flush::Wanted,
    }
}

/// Completes what is in flight: what is still waited for, in words.
pub fn flushing() -> Option<String> {
    let mut flush = FLUSH.lock().unwrap_or_else(|e| e.into_inner());
    let rank = WORLD_RANK.load(Relaxed);
    match std::mem::replace(&mut *flush, Flush::Done) {
        Flush::Done => return None,
        Flush::Wanted if !window::all(&lock()).into_iter().any(open) => return None,
        Flush::Wanted => {
            let mask = raw::block_signals();
            let name = "splitproc".into();
            let made = Builder::new().name(name).stack_size(1 << 18).spawn(run);
            raw::restore_signals(mask);
            match made {
                Ok(thread) => *flush = Flush::Running(thread, false),
                Err(e) => {
                    *flush = Flush::Wanted;
                    return Some(format!("rank {rank} can't make a thread: {e}"));
                }
            }
        }
        Flush::Running(thread, stale) if thread.is_finished() => {
            // Only a panic could end it early.
            if thread.join().is_ok() && !stale {
                return None;
            }
            *flush = Flush::Wanted;
        }
        running => *flush = running,
    }
    Some(format!(
        "rank {rank} has one-sided operations that are not complete"
    ))
}

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

/// The thread: flushes every window.
fn run() {
    // SAFETY: the block is this thread's own.
    unsafe { (*block::mine()).exempt = 1 };
    registry::register();
    let _inside = gate::enter(Call::MustComplete);
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

/// Lets the lower half get on with other ranks' operations on this one's windows: a thread that would may be held.
///
/// # Safety
/// On the helper thread, between `MPI_Init` and `MPI_Finalize`.
pub unsafe fn progress() {
    if window::all(&lock()).is_empty() {
        return;
    }
    let (mut flag, mut status) = (0i32, Status::EMPTY);
    let (any, tag) = (ANY_SOURCE as u64, ANY_TAG as u64);
    let (flag, status) = (&raw mut flag as u64, &raw mut status as u64);
    must(ix::Iprobe, &[any, tag, COMM_SELF as u64, flag, status]);
}
