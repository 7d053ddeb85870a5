//! Streams.

use super::capture::Part;
use super::work::{Callback, HostFunction, Work};
use super::{
    api, context, driver, get, lock, put, put_if, ready, Done, Driver, Error, Handle, Pointer,
};
use crate::engine::{self, LEGACY};
use std::cell::RefCell;
use std::ffi::{c_int, c_uint};
use std::sync::{Arc, Mutex, OnceLock};

/// The least and the greatest priority of a stream.
pub const PRIORITIES: [c_int; 2] = [0, -5];
/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: c_uint = 1;
/// `CU_STREAM_PER_THREAD`.
const PER_THREAD: Handle = 2;
/// Attributes of streams that are kept: how to wait, priority and others, none of which changes anything here.
const ATTRIBUTES: usize = 17;

/// A stream.
pub struct Stream {
    /// Its queue.
    pub queue: engine::Stream,
    device: c_int,
    flags: c_uint,
    priority: c_int,
    /// What of a graph's capture it is.
    pub part: Mutex<Option<Part>>,
    attributes: Mutex<[[u64; 8]; ATTRIBUTES]>,
}

/// The per-thread stream of a thread, which ends with it.
#[derive(Default)]
struct OfThread(Option<Handle>);

impl Drop for OfThread {
    fn drop(&mut self) {
        if let (Some(handle), Ok(driver)) = (self.0, driver()) {
            driver.end_stream(handle).ok();
        }
    }
}

thread_local! {
    static MINE: RefCell<OfThread> = const { RefCell::new(OfThread(None)) };
}

static LEGACY_STREAM: OnceLock<Arc<Stream>> = OnceLock::new();

impl Stream {
    fn new(queue: engine::Stream, flags: c_uint, priority: c_int) -> Stream {
        Stream {
            queue,
            device: context::of_thread().unwrap_or(0),
            flags,
            priority,
            part: Mutex::default(),
            attributes: Mutex::new([[0; 8]; ATTRIBUTES]),
        }
    }

    /// Do it and the legacy stream wait for each other?
    pub fn is_blocking(&self) -> bool {
        self.flags & NON_BLOCKING == 0
    }
}

impl Driver {
    /// Makes what is there from the start.
    pub fn begin(&self) {
        LEGACY_STREAM.get_or_init(|| Arc::new(Stream::new(LEGACY, 0, 0)));
    }

    fn new_stream(&self, flags: c_uint, priority: c_int) -> Handle {
        let queue = self.engine.create(flags & NON_BLOCKING == 0, priority);
        self.streams
            .add(Arc::new(Stream::new(queue, flags, priority)))
    }

    /// The handle behind one of the special ones.
    pub fn resolve(&self, handle: Handle) -> Handle {
        match handle {
            PER_THREAD => {
                MINE.with_borrow_mut(|mine| *mine.0.get_or_insert_with(|| self.new_stream(0, 0)))
            }
            other => other,
        }
    }

    /// A stream.
    pub fn stream(&self, handle: Handle) -> Result<Arc<Stream>, Error> {
        match (handle, LEGACY_STREAM.get()) {
            (0 | 1, Some(stream)) => Ok(stream.clone()),
            _ => self.streams.get(self.resolve(handle)),
        }
    }

    fn end_stream(&self, handle: Handle) -> Done {
        let stream = self.streams.remove(handle)?;
        stream.leave();
        self.engine.destroy(stream.queue);
        Ok(())
    }

    /// All streams.
    pub fn each_stream(&self, mut f: impl FnMut(&Arc<Stream>)) {
        self.streams.find(|stream| {
            f(stream);
            false
        });
    }
}

/// A stream that is no part of a capture.
fn quiet(handle: Handle) -> Result<Arc<Stream>, Error> {
    let driver = ready()?;
    let stream = driver.stream(handle)?;
    if let Some(part) = lock(&stream.part).as_ref() {
        part.refuse()?;
    }
    if stream.queue == LEGACY {
        driver.refuse_legacy()?;
    }
    Ok(stream)
}

api! {
    /// A stream.
    fn cuStreamCreate(out: *mut Handle, flags: c_uint) {
        let driver = ready()?;
        if flags & !NON_BLOCKING != 0 {
            return Err(Error::INVALID_VALUE);
        }
        get(out)?;
        put(out, driver.new_stream(flags, 0))
    }

    /// A stream that comes before others, or after them.
    fn cuStreamCreateWithPriority(out: *mut Handle, flags: c_uint, priority: c_int) {
        let driver = ready()?;
        if flags & !NON_BLOCKING != 0 {
            return Err(Error::INVALID_VALUE);
        }
        get(out)?;
        put(out, driver.new_stream(flags, priority.clamp(PRIORITIES[1], PRIORITIES[0])))
    }

    /// Its end, when all is done that it was given.
    fn cuStreamDestroy_v2(stream: Handle) {
        let driver = ready()?;
        match stream {
            0..=2 => Err(Error::INVALID_HANDLE),
            _ => driver.end_stream(stream),
        }
    }

    /// Its priority.
    fn cuStreamGetPriority(stream: Handle, priority: *mut c_int) {
        put(priority, ready()?.stream(stream)?.priority)
    }

    /// Its flags.
    fn cuStreamGetFlags(stream: Handle, flags: *mut c_uint) {
        put(flags, ready()?.stream(stream)?.flags)
    }

    /// Its number.
    fn cuStreamGetId(stream: Handle, id: *mut u64) {
        put(id, ready()?.stream(stream)?.queue.number())
    }

    /// Its context.
    fn cuStreamGetCtx(stream: Handle, context: *mut Handle) {
        ready()?.stream(stream)?;
        put(context, super::context::current()?)
    }

    /// Its context; green ones are not there.
    fn cuStreamGetCtx_v2(stream: Handle, context: *mut Handle, green: *mut Handle) {
        ready()?.stream(stream)?;
        put_if(green, 0);
        put_if(context, super::context::current()?);
        Ok(())
    }

    /// Its device.
    fn cuStreamGetDevice(stream: Handle, device: *mut c_int) {
        let stream = ready()?.stream(stream)?;
        put(device, if stream.queue == LEGACY { context::of_thread()? } else { stream.device })
    }

    /// Is all done that it was given?
    fn cuStreamQuery(stream: Handle) {
        let driver = ready()?;
        let marks = driver.engine.marks_of(quiet(stream)?.queue);
        match marks.iter().all(|m| driver.engine.is_done(*m)) {
            true => context::check_fault(),
            false => Err(Error::NOT_READY),
        }
    }

    /// Waits until all is done that it was given.
    fn cuStreamSynchronize(stream: Handle) {
        let driver = ready()?;
        for mark in driver.engine.marks_of(quiet(stream)?.queue) {
            driver.engine.wait(mark);
        }
        driver.flush();
        context::check_fault()
    }

    /// What it is given from now on comes after an event.
    fn cuStreamWaitEvent(stream: Handle, event: Handle, flags: c_uint) {
        let driver = ready()?;
        if flags & !1 != 0 {
            return Err(Error::INVALID_VALUE);
        }
        let event = driver.events.get(event)?;
        let target = driver.stream(stream)?;
        if flags & 1 != 0 && lock(&target.part).is_some() {
            // As an own node of the graph that is captured.
            return driver.submit(stream, Work::Wait(event)).map(|_| ());
        }
        if target.join(&event)? {
            return Ok(());
        }
        match event.mark() {
            None => Ok(()),
            Some(mark) => driver.submit_after(stream, &[mark], Work::Nothing).map(|_| ()),
        }
    }

    /// Calls the program, in order.
    fn cuLaunchHostFunc(stream: Handle, call: Option<HostFunction>, data: usize) {
        let call = call.ok_or(Error::INVALID_VALUE)?;
        ready()?.submit(stream, Work::Host(call, data)).map(|_| ())
    }

    /// Calls the program, in order, and tells it of the stream.
    fn cuStreamAddCallback(stream: Handle, call: Option<Callback>, data: usize, flags: c_uint) {
        let call = call.filter(|_| flags == 0).ok_or(Error::INVALID_VALUE)?;
        quiet(stream)?;
        ready()?.submit(stream, Work::Callback(call, stream, data)).map(|_| ())
    }

    /// Says which stream uses managed memory: all of it is everybody's here.
    fn cuStreamAttachMemAsync(stream: Handle, at: Pointer, _size: usize, flags: c_uint) {
        let driver = ready()?;
        driver.stream(stream)?;
        super::memory::managed(at, 1)?;
        match flags {
            1 | 2 | 4 => Ok(()),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    /// An attribute.
    fn cuStreamGetAttribute(stream: Handle, which: c_uint, value: *mut [u64; 8]) {
        let stream = ready()?.stream(stream)?;
        let attributes = lock(&stream.attributes);
        put(value, *attributes.get(which as usize).ok_or(Error::INVALID_VALUE)?)
    }

    /// An attribute.
    fn cuStreamSetAttribute(stream: Handle, which: c_uint, value: *const [u64; 8]) {
        let stream = ready()?.stream(stream)?;
        *lock(&stream.attributes).get_mut(which as usize).ok_or(Error::INVALID_VALUE)? = *get(value)?;
        Ok(())
    }

    /// Attributes of another.
    fn cuStreamCopyAttributes(to: Handle, from: Handle) {
        let driver = ready()?;
        let attributes = *lock(&driver.stream(from)?.attributes);
        *lock(&driver.stream(to)?.attributes) = attributes;
        Ok(())
    }
}
