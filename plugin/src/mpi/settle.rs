//! One-sided operations in a checkpoint and a restart.
//!
//! Nobody issues operations once the gate is closed, so a flush of what is open completes them all. It waits for other
//! ranks to make progress, and a library may let no other thread of the process in meanwhile. So the helper, which all
//! ranks wait for, must not make it: an *assistant* does, a thread of ours that lives while a checkpoint is
//! prepared, and makes progress before and after. In a restart windows are made again, and the locks that
//! were held are taken again.

use super::abi::*;
use super::lower::{ix, must};
use super::model::window::{self, epoch, target, Memory, Window};
use super::model::{lock, Guard, WORLD_RANK};
use super::{errs, windows};
use crate::dmtcp::maker;
use crate::{block, raw, registry};
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::sync::{Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// What the assistant does: it makes progress, flushes, has flushed and makes progress, or ends.
static TASK: AtomicU32 = AtomicU32::new(WAIT);
const WAIT: u32 = 0;
const FLUSH: u32 = 1;
const FLUSHED: u32 = 2;
const END: u32 = 3;
/// How long it waits before it makes progress again.
const PAUSE: Duration = Duration::from_micros(50);

static ASSISTANT: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);

fn assistant() -> MutexGuard<'static, Option<JoinHandle<()>>> {
    ASSISTANT.lock().unwrap_or_else(|e| e.into_inner())
}

/// Makes the assistant, if there are windows.
fn engage(place: &mut Option<JoinHandle<()>>) -> Result<(), String> {
    if place.is_some() || window::all(&lock()).is_empty() {
        return Ok(());
    }
    TASK.store(WAIT, SeqCst);
    let mask = raw::block_signals();
    let builder = Builder::new().name("splitproc".into());
    let made = maker::spawn(builder.stack_size(1 << 18), assist);
    raw::restore_signals(mask);
    *place = Some(made.map_err(|e| format!("a thread can't be made: {e}"))?);
    Ok(())
}

/// A checkpoint begins.
///
/// # Errors
/// An earlier one gave up, and what it waited for is still under way.
pub fn begin() -> Result<(), String> {
    let mut place = assistant();
    if place.as_ref().is_some_and(|thread| !thread.is_finished()) {
        return Err(waits_for());
    }
    dismiss(&mut place);
    engage(&mut place)
}

/// Waits for the assistant to be gone.
fn dismiss(place: &mut Option<JoinHandle<()>>) {
    if let Some(thread) = place.take() {
        // A panic of its would have been told; there is nothing to add.
        let _ = thread.join();
    }
}

fn waits_for() -> String {
    let rank = WORLD_RANK.load(Relaxed);
    format!("rank {rank} has one-sided operations that are not complete")
}

/// With the gate closed: has what is in flight completed. What is still waited for, in words.
pub fn flushing() -> Option<String> {
    let mut place = assistant();
    if let Err(why) = engage(&mut place) {
        return Some(why);
    }
    place.as_ref()?;
    if TASK.compare_exchange(WAIT, FLUSH, SeqCst, SeqCst) == Err(FLUSHED) {
        return None;
    }
    Some(waits_for())
}

/// The checkpoint is prepared, or given up: then the assistant may be in a flush, and is left to it.
pub fn end(prepared: bool) {
    TASK.store(END, SeqCst);
    if prepared {
        dismiss(&mut assistant());
    }
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

/// The assistant.
fn assist() {
    // SAFETY: the block is this thread's own.
    unsafe { (*block::mine()).exempt = 1 };
    registry::register();
    loop {
        match TASK.load(SeqCst) {
            END => return,
            FLUSH => {
                flush();
                // Unless it is to end.
                let _ = TASK.compare_exchange(FLUSH, FLUSHED, SeqCst, SeqCst);
            }
            _ => progress(),
        }
        std::thread::sleep(PAUSE);
    }
}

/// Lets the lower half get on with other ranks' operations on this one's windows.
fn progress() {
    let (mut flag, mut status) = (0i32, Status::EMPTY);
    let (any, tag) = (ANY_SOURCE as u64, ANY_TAG as u64);
    let (flag, status) = (&raw mut flag as u64, &raw mut status as u64);
    // SAFETY: these are the arguments of MPI_Iprobe, and MPI does not end while a checkpoint is prepared.
    unsafe { must(ix::Iprobe, &[any, tag, COMM_SELF as u64, flag, status]) };
}

/// Completes all operations.
fn flush() {
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
