//! What a thread may do while streams are captured, and what spoils a capture.

use super::capture::{any, captures, open_captures, Open};
use super::words;
use crate::codes::*;
use crate::driver::{inside, put};
use crate::lower::{self, ix};
use crate::plugin::{self, Restarted};
use crate::stream;
use std::cell::Cell;
use std::thread;

/// `CU_STREAM_CAPTURE_MODE_GLOBAL` and `_RELAXED`.
const GLOBAL: u32 = 0;
const RELAXED: u32 = 2;

thread_local! {
    /// The thread's capture mode, and since which restart the lower half knows of it.
    static MODE: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

unsafe fn exchange(mut mode: u32) {
    // SAFETY: a mode's place; the old one is known.
    unsafe {
        lower::must(
            ix::cuThreadExchangeStreamCaptureMode,
            &[&raw mut mode as u64],
        )
    };
}

/// Runs what a capture elsewhere does not forbid: calls that are ours, of which the program knows nothing.
pub fn relaxed<R>(f: impl FnOnce() -> R) -> R {
    if !any() {
        return f();
    }
    // Not in the middle of it.
    let _ = tell_mode();
    // SAFETY: inside the gate.
    unsafe { exchange(RELAXED) };
    let result = f();
    // SAFETY: as above.
    unsafe { exchange(MODE.get().0) };
    result
}

/// Refuses what a driver forbids while a stream is captured, and does not see: what we do for it is allowed. As with a driver
/// that spoils the capture. Inside the gate, in a context.
///
/// # Errors
/// It is forbidden.
pub fn forbid() -> Result<(), i32> {
    let mode = MODE.get().0;
    if open_captures() == 0 || mode == RELAXED {
        return Ok(());
    }
    let me = thread::current().id();
    let forbids = |open: &Open| {
        let global = open.mode == GLOBAL && mode == GLOBAL;
        global || (open.mode != RELAXED && open.thread == me)
    };
    let streams: Vec<u64> = {
        let captures = captures();
        let forbid = captures.open.iter().filter(|(_, open)| forbids(open));
        forbid.map(|(stream, _)| *stream).collect()
    };
    if streams.is_empty() {
        return Ok(());
    }
    streams.into_iter().for_each(spoil);
    Err(STREAM_CAPTURE_UNSUPPORTED)
}

/// Spoils a stream's capture: the lower half is asked how far it is, which is forbidden.
pub fn spoil(stream: u64) {
    // SAFETY: inside the gate.
    if let Ok(stream) = unsafe { stream::lower(stream) } {
        // SAFETY: a lower handle.
        unsafe { lower::must(ix::cuStreamQuery, &[stream]) };
    }
}

/// After a restart the lower half has to be told of the thread's mode.
///
/// # Errors
/// There was another one.
#[inline]
pub fn tell_mode() -> Result<(), Restarted> {
    let (mut mode, told) = MODE.get();
    let generation = plugin::generation();
    if told != generation {
        // SAFETY: a mode's place.
        unsafe {
            lower::call(
                ix::cuThreadExchangeStreamCaptureMode,
                &[&raw mut mode as u64],
            )
        }?;
        MODE.set((MODE.get().0, generation));
    }
    Ok(())
}

pub unsafe fn cuThreadExchangeStreamCaptureMode(at: u64) -> i32 {
    inside(|| unsafe {
        let wanted = words(at, 1)?[0] as u32;
        if wanted > RELAXED {
            return Err(INVALID_VALUE);
        }
        let (before, _) = MODE.get();
        exchange(wanted);
        MODE.set((wanted, plugin::generation()));
        put(at, before)
    })
}
