//! What is given to a stream, or to a graph, and done when its turn comes.

use super::context::{self, Fault};
use super::copy::{Copy, Fill};
use super::event::Event;
use super::graph::Plan;
use super::launch::Launch;
use super::numbers::Batch;
use super::transfer::Copy3d;
use super::{driver, Driver, Error, Handle, Pointer};
use crate::engine::{Mark, LEGACY};
use crate::exec;
use std::ffi::c_void;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

/// `CUhostFn`.
pub type HostFunction = unsafe extern "C" fn(*mut c_void);
/// `CUstreamCallback`.
pub type Callback = unsafe extern "C" fn(Handle, u32, *mut c_void);

/// Something to be done.
#[derive(Clone)]
pub enum Work {
    /// Nothing: a place in the order.
    Nothing,
    /// A kernel.
    Kernel(Arc<Launch>),
    /// A copy, and its description where a graph keeps one.
    Copy(Copy, Option<Arc<Copy3d>>),
    /// Memory filled with a value.
    Fill(Fill),
    /// A function of the program's; its argument.
    Host(HostFunction, usize),
    /// A function of the program's that is told of the stream.
    Callback(Callback, Handle, usize),
    /// An event is reached.
    Record(Arc<Event>),
    /// An event is waited for: a graph's node, which becomes the next when the graph is launched.
    Wait(Arc<Event>),
    /// A place in a stream's order is waited for.
    Until(Mark),
    /// A graph's work.
    Graph(Arc<Plan>),
    /// Memory is given back.
    Free(Pointer),
    /// Numbers in memory are waited for and written.
    Numbers(Arc<Batch>),
}

impl Work {
    /// Does it, for a context with this place for a fault.
    pub fn run(&self, of: &Fault) {
        let Ok(driver) = driver() else { return };
        let fault = of.check().err();
        match self {
            Work::Record(event) => event.reach(),
            Work::Callback(call, stream, data) => {
                // SAFETY: the program has asked for it, with this argument.
                unsafe { call(*stream, fault.map_or(0, |e| e.0), *data as *mut c_void) }
            }
            // After a fault nothing is done any more.
            _ if fault.is_some() => (),
            Work::Nothing | Work::Wait(_) => (),
            Work::Kernel(launch) => driver.run(launch, of),
            Work::Copy(copy, _) => copy.run(),
            Work::Fill(fill) => fill.run(),
            // SAFETY: as above.
            Work::Host(call, data) => unsafe { call(*data as *mut c_void) },
            Work::Until(mark) => driver.engine.wait(*mark),
            Work::Graph(plan) => plan.run(of),
            Work::Free(at) => driver.free_pooled(*at),
            Work::Numbers(batch) => batch.run(of),
        }
    }
}

impl Driver {
    /// Gives a stream something to do, after what it was given before and after these. `None`: it has become part of a graph.
    pub fn submit_after(
        &self,
        stream: Handle,
        after: &[Mark],
        work: Work,
    ) -> Result<Option<Mark>, Error> {
        let stream = self.stream(stream)?;
        if stream.capture(&work)? {
            return Ok(None);
        }
        let fault = context::fault();
        let task = Box::new(move || work.run(&fault));
        let mark = self.engine.give(stream.queue, after, task);
        mark.map(Some).ok_or(Error::INVALID_HANDLE)
    }

    /// The same without others that it comes after.
    pub fn submit(&self, stream: Handle, work: Work) -> Result<Option<Mark>, Error> {
        self.submit_after(stream, &[], work)
    }

    /// Does something in the order of the legacy stream, and waits for its end.
    pub fn now(&self, work: Work) -> Result<(), Error> {
        self.refuse_legacy()?;
        let fault = context::fault();
        let task = Box::new(move || work.run(&fault));
        let mark = self
            .engine
            .give(LEGACY, &[], task)
            .ok_or(Error::INVALID_HANDLE)?;
        self.engine.wait(mark);
        self.flush();
        context::check_fault()
    }

    /// Waits for everything.
    pub fn wait_all(&self) {
        for mark in self.engine.marks() {
            self.engine.wait(mark);
        }
        self.flush();
    }

    /// Runs a kernel.
    fn run(&self, launch: &Launch, of: &Fault) {
        let program = &launch.function.module.program;
        let kernel = exec::Launch {
            program,
            kernel: launch.function.index,
            grid: launch.grid,
            block: launch.block,
            shared: launch.shared,
            parameters: &launch.parameters,
            id: self.launches.fetch_add(1, Relaxed),
            cooperative: launch.cooperative,
        };
        if let Err(fault) = exec::run(&kernel, self) {
            self.stop(&fault, of);
        }
    }
}
