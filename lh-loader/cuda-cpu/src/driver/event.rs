//! Events: places in a stream's order.

use super::capture::Place;
use super::work::Work;
use super::{api, context, cu, get, lock, put, ready, Driver, Error, Handle};
use crate::engine::Mark;
use std::ffi::c_uint;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// `CU_EVENT_DISABLE_TIMING`.
const NO_TIMING: c_uint = 2;
/// `CU_EVENT_INTERPROCESS`.
const INTERPROCESS: c_uint = 4;
/// All flags.
const FLAGS: c_uint = 7;

/// An event.
pub struct Event {
    timed: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    mark: Option<Mark>,
    /// When it was reached last.
    reached: Option<Instant>,
    /// Its place in a graph that is captured.
    place: Option<Place>,
}

impl Event {
    /// Where it was recorded last.
    pub fn mark(&self) -> Option<Mark> {
        lock(&self.state).mark
    }

    /// Its place in a capture.
    pub fn place(&self) -> Option<Place> {
        lock(&self.state).place.clone()
    }

    /// It is recorded by what has this place in a stream's order.
    pub fn recorded(&self, mark: Option<Mark>) {
        let mut state = lock(&self.state);
        if mark.is_some() {
            (state.mark, state.place) = (mark, None);
        }
    }

    /// Its place in the order has come.
    pub fn reach(&self) {
        lock(&self.state).reached = Some(Instant::now());
    }

    /// Waits until it is reached.
    pub fn wait(&self) {
        if let (Ok(driver), Some(mark)) = (super::driver(), self.mark()) {
            driver.engine.wait(mark);
        }
    }
}

impl Driver {
    /// Records an event.
    pub fn record(&self, event: &Arc<Event>, stream: Handle, own_node: bool) -> Result<(), Error> {
        let source = self.stream(stream)?;
        if !own_node {
            if let Some(place) = source.place()? {
                lock(&event.state).place = Some(place);
                return Ok(());
            }
        }
        event.recorded(self.submit(stream, Work::Record(event.clone()))?);
        Ok(())
    }
}

api! {
    /// An event.
    fn cuEventCreate(out: *mut Handle, flags: c_uint) {
        let driver = ready()?;
        get(out)?;
        if flags & !FLAGS != 0 || (flags & INTERPROCESS != 0 && flags & NO_TIMING == 0) {
            return Err(Error::INVALID_VALUE);
        }
        if flags & INTERPROCESS != 0 {
            return Err(super::refused::say("cuEventCreate for several processes"));
        }
        let event = Event { timed: flags & NO_TIMING == 0, state: Mutex::default() };
        put(out, driver.events.add(Arc::new(event)))
    }

    /// Its end; who waits for it still may.
    fn cuEventDestroy_v2(event: Handle) {
        ready()?.events.remove(event).map(|_| ())
    }

    /// Takes a place in the order of a stream.
    fn cuEventRecord(event: Handle, stream: Handle) {
        let driver = ready()?;
        driver.record(&driver.events.get(event)?, stream, false)
    }

    /// The same, perhaps as a node of its own in a graph.
    fn cuEventRecordWithFlags(event: Handle, stream: Handle, flags: c_uint) {
        let driver = ready()?;
        if flags > 1 {
            return Err(Error::INVALID_VALUE);
        }
        driver.record(&driver.events.get(event)?, stream, flags == 1)
    }

    /// Is it reached?
    fn cuEventQuery(event: Handle) {
        let driver = ready()?;
        let event = driver.events.get(event)?;
        if let Some(place) = event.place() {
            return Err(place.refuse());
        }
        driver.refuse_capture()?;
        match event.mark() {
            Some(mark) if !driver.engine.is_done(mark) => Err(Error::NOT_READY),
            _ => context::check_fault(),
        }
    }

    /// Waits until it is.
    fn cuEventSynchronize(event: Handle) {
        let driver = ready()?;
        let event = driver.events.get(event)?;
        if let Some(place) = event.place() {
            return Err(place.refuse());
        }
        event.wait();
        driver.flush();
        context::check_fault()
    }

    /// Milliseconds between two, as before CUDA 13.
    fn cuEventElapsedTime(out: *mut f32, start: Handle, end: Handle) {
        cu(cuEventElapsedTime_v2(out, start, end))
    }

    /// Milliseconds between two.
    fn cuEventElapsedTime_v2(out: *mut f32, start: Handle, end: Handle) {
        let driver = ready()?;
        let (start, end) = (driver.events.get(start)?, driver.events.get(end)?);
        let [from, to] = [&start, &end].map(|event| {
            let mark = event.mark().filter(|_| event.timed).ok_or(Error::INVALID_HANDLE)?;
            match driver.engine.is_done(mark) {
                true => lock(&event.state).reached.ok_or(Error::INVALID_HANDLE),
                false => Err(Error::NOT_READY),
            }
        });
        let (from, to) = (from?, to?);
        let apart = match to.checked_duration_since(from) {
            Some(later) => later.as_secs_f64(),
            None => -from.duration_since(to).as_secs_f64(),
        };
        put(out, (apart * 1e3) as f32)
    }
}
