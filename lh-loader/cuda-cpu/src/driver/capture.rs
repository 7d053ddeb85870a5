//! A stream's work captured as a graph.

use super::event::Event;
use super::graph::{Graph, Shared};
use super::stream::Stream;
use super::work::Work;
use super::{api, driver, get, lock, put, put_if, ready, Done, Driver, Error, Handle};
use crate::engine::LEGACY;
use std::cell::Cell;
use std::ffi::c_uint;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, ThreadId};

/// `CU_STREAM_CAPTURE_MODE_*`: which calls spoil it, of all threads or of none. Between these are the thread's own.
const GLOBAL: c_uint = 0;
const RELAXED: c_uint = 2;

/// A capture.
pub struct Capture {
    /// The graph that is made, and its handle.
    graph: (Shared, Handle),
    id: u64,
    mode: c_uint,
    thread: ThreadId,
    origin: Weak<Stream>,
    /// All streams that have a part in it.
    streams: Mutex<Vec<Weak<Stream>>>,
    /// Where streams were that had a part in it and are gone.
    left: Mutex<Vec<Handle>>,
    spoilt: AtomicBool,
}

/// A stream's part in a capture: what its next work comes after.
pub struct Part {
    capture: Arc<Capture>,
    tail: Vec<Handle>,
}

/// A place in a capture.
#[derive(Clone)]
pub struct Place(Arc<Capture>, Vec<Handle>);

thread_local! {
    /// The thread's own mode: in `RELAXED` nothing is refused.
    static MODE: Cell<c_uint> = const { Cell::new(GLOBAL) };
}

impl Stream {
    /// Puts work into the graph if this stream is captured.
    pub fn capture(&self, work: &Work) -> Result<bool, Error> {
        let mut part = lock(&self.part);
        let Some(part) = part.as_mut() else {
            if self.queue == LEGACY {
                driver()?.refuse_legacy()?;
            }
            return Ok(false);
        };
        part.check()?;
        let node = part.capture.graph.0.add(work.clone(), &part.tail, None)?;
        part.tail = vec![node];
        Ok(true)
    }

    /// The place that comes next, if it is captured.
    pub fn place(&self) -> Result<Option<Place>, Error> {
        let part = lock(&self.part);
        let Some(part) = part.as_ref() else {
            return Ok(None);
        };
        part.check()?;
        Ok(Some(Place(part.capture.clone(), part.tail.clone())))
    }

    /// Waits for an event as part of a capture. False: neither has to do with one.
    pub fn join(self: &Arc<Self>, event: &Event) -> Result<bool, Error> {
        let mut part = lock(&self.part);
        match (part.as_mut(), event.place()) {
            (None, None) => Ok(false),
            (Some(part), None) => {
                if event.mark().is_none() {
                    return Ok(true);
                }
                part.capture.spoilt.store(true, Relaxed);
                Err(Error::STREAM_CAPTURE_ISOLATION)
            }
            (_, Some(_)) if self.queue == LEGACY => Err(Error::STREAM_CAPTURE_IMPLICIT),
            (None, Some(Place(capture, tail))) => {
                lock(&capture.streams).push(Arc::downgrade(self));
                *part = Some(Part { capture, tail });
                Ok(true)
            }
            (Some(part), Some(Place(capture, tail))) => {
                part.check()?;
                if !Arc::ptr_eq(&part.capture, &capture) {
                    part.capture.spoilt.store(true, Relaxed);
                    return Err(Error::STREAM_CAPTURE_MERGE);
                }
                for node in tail {
                    if !part.tail.contains(&node) {
                        part.tail.push(node);
                    }
                }
                Ok(true)
            }
        }
    }

    /// Ends in a capture, which comes to nothing if it began with this stream.
    pub fn leave(self: &Arc<Self>) {
        if let Some(Part { capture, tail }) = lock(&self.part).take() {
            match capture.began_with(self) {
                true => capture.spoilt.store(true, Relaxed),
                false => lock(&capture.left).extend(tail),
            }
        }
    }
}

impl Capture {
    fn began_with(&self, stream: &Arc<Stream>) -> bool {
        let origin = self.origin.upgrade();
        origin.is_some_and(|origin| Arc::ptr_eq(&origin, stream))
    }
}

impl Part {
    fn check(&self) -> Done {
        match self.capture.spoilt.load(Relaxed) {
            true => Err(Error::STREAM_CAPTURE_INVALIDATED),
            false => Ok(()),
        }
    }

    /// Refuses to say how far the stream is, which spoils the capture.
    pub fn refuse(&self) -> Done {
        self.check()?;
        self.capture.spoilt.store(true, Relaxed);
        Err(Error::STREAM_CAPTURE_UNSUPPORTED)
    }
}

impl Place {
    /// The event there was asked for, which spoils the capture.
    pub fn refuse(&self) -> Error {
        self.0.spoilt.store(true, Relaxed);
        Error::CAPTURED_EVENT
    }
}

impl Driver {
    /// Captures for which it is true.
    fn captures(&self, which: impl Fn(&Stream, &Capture) -> bool) -> Vec<Arc<Capture>> {
        let mut found = Vec::new();
        self.each_stream(|stream| {
            let part = lock(&stream.part);
            let part = part.as_ref().filter(|part| which(stream, &part.capture));
            found.extend(part.map(|part| part.capture.clone()));
        });
        found
    }

    /// Refuses a call that must not be made while a graph is captured, and that spoils it.
    pub fn refuse_capture(&self) -> Done {
        let me = thread::current().id();
        let mode = MODE.get();
        if mode == RELAXED {
            return Ok(());
        }
        let forbid = |_: &Stream, c: &Capture| {
            let global = c.mode == GLOBAL && mode == GLOBAL;
            global || (c.mode != RELAXED && c.thread == me)
        };
        spoil(&self.captures(forbid), Error::STREAM_CAPTURE_UNSUPPORTED)
    }

    /// Refuses work of the legacy stream, for which a captured stream would have to wait: that is spoilt.
    pub fn refuse_legacy(&self) -> Done {
        let blocking = self.captures(|stream, _| stream.is_blocking());
        spoil(&blocking, Error::STREAM_CAPTURE_IMPLICIT)
    }

    /// How the legacy stream stands can't be told while one is captured that waits for it.
    fn ask_legacy(&self) -> Done {
        match self.captures(|stream, _| stream.is_blocking()).is_empty() {
            true => Ok(()),
            false => Err(Error::STREAM_CAPTURE_IMPLICIT),
        }
    }
}

/// What was done spoils these captures, and is an error if there are any.
fn spoil(captures: &[Arc<Capture>], error: Error) -> Done {
    for capture in captures {
        capture.spoilt.store(true, Relaxed);
    }
    match captures {
        [] => Ok(()),
        _ => Err(error),
    }
}

/// Begins a capture into a graph.
fn begin(handle: Handle, graph: (Shared, Handle), after: &[Handle], mode: c_uint) -> Done {
    let driver = ready()?;
    static IDS: AtomicU64 = AtomicU64::new(1);
    let stream = driver.stream(handle)?;
    if mode > RELAXED {
        return Err(Error::INVALID_VALUE);
    }
    if stream.queue == LEGACY {
        return Err(Error::STREAM_CAPTURE_UNSUPPORTED);
    }
    let mut part = lock(&stream.part);
    if part.is_some() {
        return Err(Error::ILLEGAL_STATE);
    }
    let capture = Capture {
        graph,
        id: IDS.fetch_add(1, Relaxed),
        mode,
        thread: thread::current().id(),
        origin: Arc::downgrade(&stream),
        streams: Mutex::new(vec![Arc::downgrade(&stream)]),
        left: Mutex::default(),
        spoilt: AtomicBool::new(false),
    };
    *part = Some(Part {
        capture: Arc::new(capture),
        tail: after.to_vec(),
    });
    Ok(())
}

/// Ends one; gives the graph's handle.
fn end(handle: Handle) -> Result<Handle, Error> {
    let stream = ready()?.stream(handle)?;
    let capture = match lock(&stream.part).as_ref() {
        Some(part) => part.capture.clone(),
        None => return Err(Error::ILLEGAL_STATE),
    };
    if !capture.began_with(&stream) {
        capture.spoilt.store(true, Relaxed);
        return Err(Error::STREAM_CAPTURE_UNMATCHED);
    }
    let tail = lock(&stream.part)
        .take()
        .map_or(Vec::new(), |part| part.tail);
    let before = capture.graph.0.before(&tail);
    let mut joined = lock(&capture.left).iter().all(|n| before.contains(n));
    for other in lock(&capture.streams).iter().filter_map(Weak::upgrade) {
        let mut part = lock(&other.part);
        if part
            .as_ref()
            .is_some_and(|p| Arc::ptr_eq(&p.capture, &capture))
        {
            joined &= part
                .take()
                .is_some_and(|p| p.tail.iter().all(|node| before.contains(node)));
        }
    }
    if capture.spoilt.load(Relaxed) {
        return Err(Error::STREAM_CAPTURE_INVALIDATED);
    }
    match joined {
        true => Ok(capture.graph.1),
        false => Err(Error::STREAM_CAPTURE_UNJOINED),
    }
}

api! {
    /// Begins to capture a stream's work.
    fn cuStreamBeginCapture_v2(stream: Handle, mode: c_uint) {
        let graph = Shared::new(Graph::default());
        let handle = ready()?.graphs.add(graph.clone());
        begin(stream, (graph, handle), &[], mode)
    }

    /// The same into a graph that is there.
    fn cuStreamBeginCaptureToGraph(stream: Handle, graph: Handle, after: *const Handle, edges: *const u8, n: usize, mode: c_uint) {
        if !edges.is_null() {
            return Err(super::refused::say("cuStreamBeginCaptureToGraph with data of edges"));
        }
        let after = super::all(after, n)?;
        begin(stream, (ready()?.graphs.get(graph)?, graph), after, mode)
    }

    /// Ends it; the graph is what was captured.
    fn cuStreamEndCapture(stream: Handle, out: *mut Handle) {
        get(out)?;
        let ended = end(stream);
        put(out, *ended.as_ref().unwrap_or(&0))?;
        ended.map(|_| ())
    }

    /// Is it captured?
    fn cuStreamIsCapturing(stream: Handle, status: *mut c_uint) {
        let driver = ready()?;
        let stream = driver.stream(stream)?;
        if stream.queue == LEGACY {
            driver.ask_legacy()?;
        }
        let part = lock(&stream.part);
        put(status, part.as_ref().map_or(0, |p| if p.check().is_ok() { 1 } else { 2 }))
    }

    /// How its capture stands.
    fn cuStreamGetCaptureInfo_v3(stream: Handle, status: *mut c_uint, id: *mut u64, graph: *mut Handle, after: *mut *const Handle, edges: *mut *const u8, n: *mut usize) {
        let driver = ready()?;
        let stream = driver.stream(stream)?;
        if stream.queue == LEGACY {
            driver.ask_legacy()?;
        }
        let part = lock(&stream.part);
        put_if(edges, std::ptr::null());
        let Some(part) = part.as_ref() else { return put(status, 0) };
        put(status, if part.check().is_ok() { 1 } else { 2 })?;
        put_if(id, part.capture.id);
        put_if(graph, part.capture.graph.1);
        // The list stays as long as the stream's part does not change.
        put_if(after, part.tail.as_ptr());
        put_if(n, part.tail.len());
        Ok(())
    }

    /// Says what its next work comes after: these too, or these alone.
    fn cuStreamUpdateCaptureDependencies_v2(stream: Handle, after: *const Handle, edges: *const u8, n: usize, flags: c_uint) {
        if !edges.is_null() {
            return Err(super::refused::say("cuStreamUpdateCaptureDependencies with data of edges"));
        }
        let stream = ready()?.stream(stream)?;
        let mut part = lock(&stream.part);
        let part = part.as_mut().ok_or(Error::ILLEGAL_STATE)?;
        part.check()?;
        let after = super::all(after, n)?;
        match flags {
            0 => part.tail.extend(after),
            1 => part.tail = after.to_vec(),
            _ => return Err(Error::INVALID_VALUE),
        }
        Ok(())
    }

    /// The thread's capture mode.
    fn cuThreadExchangeStreamCaptureMode(mode: *mut c_uint) {
        driver()?;
        let wanted = *get(mode)?;
        if wanted > RELAXED {
            return Err(Error::INVALID_VALUE);
        }
        put(mode, MODE.replace(wanted))
    }
}
