//! Events, whose times go on after a restart.
//!
//! The model has a clock of its own: milliseconds since an event that the lower half recorded, on from where it was at the
//! cut. An event that was recorded before a restart is known by its time on that clock.

use super::codes::*;
use super::driver::{self, check, inside, put, Class};
use super::lower::{self, ix};
use super::model::{self, Kind};
use super::{context, graph};
use std::collections::BTreeMap;
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

/// How many milliseconds a `float` tells to less than a device does.
const EXACT: f32 = 1000.0;

/// Times of lower events since `base`, of those that have one. They are measured from each other, as a `float` of all the
/// milliseconds since then is a millisecond off after some hours.
fn times(
    base: u64,
    events: &[u64],
    between: impl Fn(u64, u64) -> Result<f32, i32>,
) -> Vec<(u64, f64)> {
    let about = |event: &u64| Some((between(base, *event).ok()?, *event));
    let mut order: Vec<(f32, u64)> = events.iter().filter_map(about).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut from, mut at) = (base, 0.0);
    let exact = order.into_iter().filter_map(|(_, event)| {
        let ms = between(from, event).ok()?;
        let time = at + f64::from(ms);
        if ms > EXACT {
            (from, at) = (event, time);
        }
        Some((event, time))
    });
    exact.collect()
}

/// Notes all times, when no stream has work: the lower events may be lost.
///
/// # Safety
/// On the helper thread, with the gate closed.
pub unsafe fn save() {
    let clocks: Vec<(u64, u64, f64)> = CLOCKS.lock().unwrap_or_else(|e| e.into_inner()).clone();
    let mut said = Vec::new();
    for (context, base, offset) in clocks {
        // SAFETY: the caller's.
        let now = context::with(context, || unsafe { save_of(context, base, offset) });
        said.push((context, now.unwrap_or(offset)));
    }
    *CUT.lock().unwrap_or_else(|e| e.into_inner()) = said;
}

/// Notes the times of a context's events; gives what its clock says.
unsafe fn save_of(context: u64, base: u64, offset: f64) -> Result<f64, i32> {
    context::ensure()?;
    let timed = |e: &model::Entry| {
        let known = e.kind == Kind::Event && e.context == context && e.recorded;
        known && e.stamp.is_none() && e.record.words[1] & NO_TIMING == 0
    };
    let events: BTreeMap<u64, u64> = {
        let model = model::lock();
        let timed = model.live.values().filter(|e| timed(e));
        timed
            .filter_map(|e| Some((model::lower(Kind::Event, e.handle)?, e.handle)))
            .collect()
    };
    // SAFETY: the caller's.
    let now = unsafe { begin() }?;
    let all: Vec<u64> = events.keys().copied().chain([now]).collect();
    // SAFETY: lower events of this context.
    let times = times(base, &all, |from, to| unsafe { between(from, to) });
    // SAFETY: ours, and done.
    unsafe { lower::must(ix::cuEventDestroy_v2, &[now]) };
    let mut model = model::lock();
    let mut clock = offset;
    for (lower, ms) in times {
        match events.get(&lower) {
            None => clock = offset + ms,
            Some(event) => {
                if let Some(entry) = model.entry(Kind::Event, *event) {
                    entry.stamp = Some(offset + ms);
                }
            }
        }
    }
    Ok(clock)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Events by the microsecond that they were recorded at; a driver tells a `float` of milliseconds.
    fn float(from: u64, to: u64) -> Result<f32, i32> {
        match from == 7 || to == 7 {
            true => Err(INVALID_HANDLE),
            false => Ok(((to as f64 - from as f64) / 1000.0) as f32),
        }
    }

    #[test]
    fn times_after_hours_are_as_exact_as_at_first() {
        let base = 1_000;
        let hours = base + 5 * 3_600_000_000;
        // Out of order, some close together, one that was never recorded.
        let events = [
            hours + 300,
            hours,
            base + 40,
            7,
            hours + 2_000_000,
            hours + 2_000_300,
            hours / 2,
        ];
        let times = times(base, &events, float);
        assert_eq!(times.len(), events.len() - 1);
        let at = |event: u64| times.iter().find(|t| t.0 == event).unwrap().1;
        for (from, to, ms) in [
            (base, hours, 18_000_000.0),
            (hours, hours + 300, 0.3),
            (hours + 2_000_000, hours + 2_000_300, 0.3),
            (hours + 300, hours + 2_000_300, 2000.0),
            (base, base + 40, 0.04),
        ] {
            let from = if from == base { 0.0 } else { at(from) };
            assert_eq!((at(to) - from) as f32, ms as f32, "{to}");
        }
    }
}
