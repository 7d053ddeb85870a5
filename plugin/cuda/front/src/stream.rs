//! Streams. The per-thread default stream is one of the model's own for each thread and context.

use super::codes::*;
use super::context;
use super::driver::{self, inside, put, Class};
use super::lower::ix;
use super::model::{self, Kind};
use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;

/// `CU_STREAM_LEGACY`.
pub const LEGACY: u64 = 1;
/// `CU_STREAM_PER_THREAD`.
pub const PER_THREAD: u64 = 2;

/// Contexts of which a thread can have a default stream.
const CONTEXTS: usize = 8;

/// A context, the thread's stream in it, and that stream's place in the order of making: its handle may be used again.
type OwnStream = (u64, u64, u64);

struct Own(Cell<[OwnStream; CONTEXTS]>);

fn serial(stream: u64) -> Option<u64> {
    model::object(Kind::Stream, stream).map(|o| o.serial.load(Relaxed))
}

impl Drop for Own {
    fn drop(&mut self) {
        let own = self.0.get();
        for (_, stream, _) in own.iter().filter(|o| serial(o.1) == Some(o.2)) {
            // SAFETY: a stream that this thread made.
            unsafe { driver::cuStreamDestroy_v2(*stream) };
        }
    }
}

thread_local! {
    /// What stream 0 means.
    static DEFAULT: Cell<u64> = const { Cell::new(LEGACY) };
    /// The thread's own streams, by context.
    static OWN: Own = const { Own(Cell::new([(0, 0, 0); CONTEXTS])) };
}

/// Runs a call in which stream 0 is the thread's own.
pub fn per_thread<R>(f: impl FnOnce() -> R) -> R {
    let before = DEFAULT.replace(PER_THREAD);
    let result = f();
    DEFAULT.set(before);
    result
}

/// Is this a stream that everything waits for? Then it is told which one: 0 is whichever the call says.
pub fn named(given: u64) -> u64 {
    if given == 0 {
        DEFAULT.get()
    } else {
        given
    }
}

/// The handle of the stream meant: the thread's own one for `PER_THREAD`.
///
/// # Errors
/// It can't be made.
pub unsafe fn resolve(given: u64) -> Result<u64, i32> {
    match named(given) {
        PER_THREAD => unsafe { own() },
        other => Ok(other),
    }
}

/// The lower half's handle.
///
/// # Errors
/// There is no such stream.
pub unsafe fn lower(given: u64) -> Result<u64, i32> {
    match unsafe { resolve(given) }? {
        LEGACY => Ok(LEGACY),
        handle => model::lower(Kind::Stream, handle).ok_or(INVALID_HANDLE),
    }
}

unsafe fn own() -> Result<u64, i32> {
    let context = context::current();
    let Ok(mut all) = OWN.try_with(|own| own.0.get()) else {
        return Ok(LEGACY); // the thread ends
    };
    let mut known = all.iter();
    if let Some((_, stream, _)) = known.find(|o| o.0 == context && serial(o.1) == Some(o.2)) {
        return Ok(*stream);
    }
    let mut stream = 0_u64;
    // SAFETY: a place for a handle.
    let args = [&raw mut stream as u64, 0];
    unsafe { driver::forward(ix::cuStreamCreate, Class::Make, &args) }?;
    let free = all.iter().position(|o| o.0 == context || o.1 == 0);
    all[free.unwrap_or(0)] = (context, stream, serial(stream).unwrap_or(0));
    let _ = OWN.try_with(|own| own.0.set(all));
    Ok(stream)
}

pub unsafe fn cuStreamGetId(stream: u64, out: u64) -> i32 {
    inside(|| unsafe {
        let id = match resolve(stream)? {
            LEGACY => LEGACY,
            handle => {
                let object = model::object(Kind::Stream, handle).ok_or(INVALID_HANDLE)?;
                object.serial.load(Relaxed) + PER_THREAD
            }
        };
        put(out, id)
    })
}
