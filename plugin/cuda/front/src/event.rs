//! Events, whose times go on after a restart.
//!
//! The model has a clock of its own: milliseconds since an event that the lower half recorded, on from where it was at the
//! cut. An event that was recorded before a restart is known by its time on that clock.

use super::codes::*;
use super::driver::{self, check, inside, put, Class};
use super::lower::{self, ix};
use super::model::{self, Kind};
use super::{context, graph};
use std::sync::Mutex;

/// `CU_EVENT_DISABLE_TIMING`.
const NO_TIMING: u64 = 2;

/// Where the clock begins, by context: the lower event, and what the clock said then.
static CLOCKS: Mutex<Vec<(u64, u64, f64)>> = Mutex::new(Vec::new());

/// It was recorded.
pub fn note(event: u64) {
    let mut model = model::lock();
    if let Some(entry) = model.entry(Kind::Event, event) {
        entry.stamp = None;
        entry.recorded = true;
    }
}

unsafe fn record(index: usize, args: &[u64]) -> i32 {
    inside(|| unsafe {
        context::ensure()?;
        if graph::capturing(args[1]) {
            return driver::forward(index, Class::Forward, args);
        }
        graph::relaxed(|| start_clock())?;
        driver::forward(index, Class::Forward, args)?;
        note(args[0]);
        Ok(())
    })
}

/// The event that this context's clock began with; it is made and recorded the first time.
///
/// # Errors
/// The driver's.
///
/// # Safety
/// Inside the gate, in a context.
pub unsafe fn start_clock() -> Result<(), i32> {
    let context = context::current();
    let mut clocks = CLOCKS.lock().unwrap_or_else(|e| e.into_inner());
    if clocks.iter().all(|(c, ..)| *c != context) {
        let event = unsafe { begin() }?;
        clocks.push((context, event, 0.0));
    }
    Ok(())
}

/// A lower event that has been recorded, in a stream where nothing else is.
unsafe fn begin() -> Result<u64, i32> {
    let (mut event, mut stream) = (0_u64, 0_u64);
    // SAFETY: places for handles, and lower handles; a stream with CU_STREAM_NON_BLOCKING.
    unsafe {
        check(lower::must(ix::cuEventCreate, &[&raw mut event as u64, 0]))?;
        check(lower::must(
            ix::cuStreamCreate,
            &[&raw mut stream as u64, 1],
        ))?;
        check(lower::must(ix::cuEventRecord, &[event, stream]))?;
        check(lower::must(ix::cuEventSynchronize, &[event]))?;
        check(lower::must(ix::cuStreamDestroy_v2, &[stream]))?;
    }
    Ok(event)
}

/// The driver has one of two, or both.
fn elapsed() -> usize {
    if lower::has(ix::cuEventElapsedTime) {
        ix::cuEventElapsedTime
    } else {
        ix::cuEventElapsedTime_v2
    }
}

unsafe fn between(from: u64, to: u64) -> Result<f32, i32> {
    let mut ms = 0_f32;
    // SAFETY: a place for a float, and lower handles.
    let args = [&raw mut ms as u64, from, to];
    check(unsafe { lower::must(elapsed(), &args) })?;
    Ok(ms)
}

/// An event's time on the model's clock.
unsafe fn time(event: u64) -> Result<f64, i32> {
    let mut model = model::lock();
    let entry = model.entry(Kind::Event, event).ok_or(INVALID_HANDLE)?;
    if let Some(stamp) = entry.stamp {
        return Ok(stamp);
    }
    let context = entry.context;
    drop(model);
    let clocks = CLOCKS.lock().unwrap_or_else(|e| e.into_inner());
    let clock = clocks.iter().find(|(c, ..)| *c == context);
    let (_, base, offset) = *clock.ok_or(INVALID_HANDLE)?;
    let lower = model::lower(Kind::Event, event).ok_or(INVALID_HANDLE)?;
    Ok(offset + f64::from(unsafe { between(base, lower) }?))
}

pub unsafe fn cuEventElapsedTime(out: u64, from: u64, to: u64) -> i32 {
    inside(|| unsafe {
        context::ensure()?;
        let stamp = |event| {
            let mut model = model::lock();
            let entry = model.entry(Kind::Event, event).ok_or(INVALID_HANDLE)?;
            Ok::<bool, i32>(entry.stamp.is_some())
        };
        if stamp(from)? || stamp(to)? {
            return put(out, (time(to)? - time(from)?) as f32);
        }
        let args = [out, from, to];
        driver::forward(elapsed(), Class::Forward, &args)
    })
}

pub unsafe fn cuEventElapsedTime_v2(out: u64, from: u64, to: u64) -> i32 {
    unsafe { cuEventElapsedTime(out, from, to) }
}

pub unsafe fn cuEventRecord(event: u64, stream: u64) -> i32 {
    unsafe { record(ix::cuEventRecord, &[event, stream]) }
}

pub unsafe fn cuEventRecordWithFlags(event: u64, stream: u64, flags: i32) -> i32 {
    unsafe { record(ix::cuEventRecordWithFlags, &[event, stream, flags as u64]) }
}

/// A context is about to end, and its clock with it.
pub fn purge(context: u64) {
    let mut clocks = CLOCKS.lock().unwrap_or_else(|e| e.into_inner());
    clocks.retain(|(c, event, _)| {
        if *c == context {
            // SAFETY: a lower event of ours; inside the gate.
            unsafe { lower::must(ix::cuEventDestroy_v2, &[*event]) };
        }
        *c != context
    });
}

/// What the clocks said at the cut.
static CUT: Mutex<Vec<(u64, f64)>> = Mutex::new(Vec::new());

/// Notes all times, when no stream has work: the lower events may be lost.
///
/// # Safety
/// On the helper thread, with the gate closed.
pub unsafe fn save() {
    let clocks: Vec<(u64, u64, f64)> = CLOCKS.lock().unwrap_or_else(|e| e.into_inner()).clone();
    let mut said = Vec::new();
    for (context, base, offset) in clocks {
        let now = context::with(context, || unsafe {
            context::ensure()?;
            let now = begin()?;
            let ms = between(base, now);
            lower::must(ix::cuEventDestroy_v2, &[now]);
            ms
        });
        said.push((context, offset + f64::from(now.unwrap_or(0.0))));
    }
    *CUT.lock().unwrap_or_else(|e| e.into_inner()) = said;
    let events: Vec<(u64, u64)> = model::lock()
        .live
        .values()
        .filter(|e| e.kind == Kind::Event && e.recorded && e.record.words[1] & NO_TIMING == 0)
        .map(|e| (e.handle, e.context))
        .collect();
    for (event, context) in events {
        let at = context::with(context, || unsafe {
            context::ensure()?;
            time(event)
        });
        let mut model = model::lock();
        if let (Ok(at), Some(entry)) = (at, model.entry(Kind::Event, event)) {
            entry.stamp = Some(at);
        }
    }
}

/// After a checkpoint that the process goes on from, the lower events are good.
pub fn forget_saved() {
    for entry in model::lock().live.values_mut() {
        if entry.kind == Kind::Event && entry.recorded {
            entry.stamp = None;
        }
    }
}

/// In a fresh half the clocks go on from where they were.
///
/// # Safety
/// On the helper thread, with contexts made again.
pub unsafe fn replay() -> Result<(), i32> {
    let mut clocks = Vec::new();
    for (context, said) in CUT.lock().unwrap_or_else(|e| e.into_inner()).iter() {
        let event = context::with(*context, || unsafe {
            context::ensure()?;
            begin()
        })?;
        clocks.push((*context, event, *said));
    }
    *CLOCKS.lock().unwrap_or_else(|e| e.into_inner()) = clocks;
    for entry in model::lock().live.values_mut() {
        entry.recorded = false;
    }
    Ok(())
}
