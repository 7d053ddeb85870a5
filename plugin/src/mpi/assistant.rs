//! The assistant: a thread of ours that lives while a checkpoint is prepared, and lets the MPI library get on.
//!
//! The helper waits for the other ranks outside MPI (`host::exchange`), or inside for one of them: for the rest of a large
//! message that it drains, for its part of a new communicator. Over a network neither comes before the other rank's library
//! is called. So while the helper waits, the assistant calls it. It also completes one-sided operations (see `settle`), for
//! which it may have to wait itself.

use super::abi::*;
use super::lower::{self, ix, must};
use super::model::{comm as comms, lock, window, WORLD_RANK};
use super::promises::HIGHEST_TAG;
use super::{own, settle};
use crate::dmtcp::maker;
use crate::{block, raw, registry};
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::sync::{Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// What it does: it makes progress, flushes, has flushed and makes progress, or ends.
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

fn windows() -> bool {
    !window::all(&lock()).is_empty()
}

/// Makes it, if there is anything to wait for: other ranks, or one's own operations.
fn engage(place: &mut Option<JoinHandle<()>>) -> Result<(), String> {
    let alone = comms::get(COMM_WORLD).is_ok_and(|world| world.size() == 1);
    if place.is_some() || (alone && !windows()) {
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

/// Waits for it to be gone.
fn dismiss(place: &mut Option<JoinHandle<()>>) {
    if let Some(thread) = place.take() {
        // A panic of its would have been told; there is nothing to add.
        let _ = thread.join();
    }
}

/// Is it there no more?
pub fn gone() -> bool {
    assistant().as_ref().is_none_or(JoinHandle::is_finished)
}

fn waits_for() -> String {
    let rank = WORLD_RANK.load(Relaxed);
    format!("rank {rank} has one-sided operations that are not complete")
}

/// With the gate closed: has one-sided operations that are in flight completed. What is still waited for, in words.
pub fn flushing() -> Option<String> {
    if !windows() {
        return None;
    }
    let mut place = assistant();
    if let Err(why) = engage(&mut place) {
        return Some(why);
    }
    if TASK.compare_exchange(WAIT, FLUSH, SeqCst, SeqCst) == Err(FLUSHED) {
        return None;
    }
    Some(waits_for())
}

/// The checkpoint is prepared, or given up: then the assistant may be in a flush, also one of an earlier checkpoint, and is
/// left to it.
pub fn end() {
    if !matches!(TASK.swap(END, SeqCst), FLUSH | END) {
        dismiss(&mut assistant());
    }
}

/// What it runs.
fn assist() {
    // SAFETY: the block is this thread's own.
    unsafe { (*block::mine()).exempt = 1 };
    registry::register();
    // SAFETY: MPI does not end, and no restart comes, while a checkpoint is prepared.
    unsafe { lower::callers(lower::Callers::Assistant) };
    loop {
        match TASK.load(SeqCst) {
            END => break,
            FLUSH => {
                settle::flush();
                // Unless it is to end.
                let _ = TASK.compare_exchange(FLUSH, FLUSHED, SeqCst, SeqCst);
            }
            _ => own::unless_any(progress),
        }
        std::thread::sleep(PAUSE);
    }
    // SAFETY: as above; if the checkpoint was given up this may be later, and the bias is not on until then.
    unsafe { lower::callers(lower::Callers::NoAssistant) };
}

/// Lets the lower half get on with what other ranks wait for: it looks for a message of this rank's own, which will hardly
/// be there. It must be on a communicator of all ranks, and a look that finds one is no progress, in MPICH.
fn progress() {
    let (mut flag, mut status) = (0i32, Status::EMPTY);
    let (flag, status) = (&raw mut flag as u64, &raw mut status as u64);
    let (own, tag) = (WORLD_RANK.load(Relaxed) as u64, HIGHEST_TAG as u64);
    // SAFETY: these are the arguments of MPI_Iprobe, and MPI does not end while a checkpoint is prepared.
    unsafe { must(ix::Iprobe, &[own, tag, COMM_WORLD as u64, flag, status]) };
}
