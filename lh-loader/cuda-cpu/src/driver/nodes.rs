//! Nodes of graphs: what can be added, asked and changed, by kind.

use super::copy::Fill;
use super::graph::{change_exec, child_of, kind, of, work_of};
use super::launch::{Launch, Parameters};
use super::transfer::{copied, filled, Copy3d};
use super::work::{HostFunction, Work};
use super::{all, api, get, put, ready, Done, Error, Handle, Pointer};
use std::ffi::c_uint;
use std::sync::Arc;

/// `CUDA_MEMSET_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FillNode {
    to: Pointer,
    pitch: usize,
    value: c_uint,
    bytes: c_uint,
    width: usize,
    height: usize,
}

/// `CUDA_HOST_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HostNode {
    call: Option<HostFunction>,
    data: usize,
}

impl FillNode {
    fn of(fill: &Fill) -> FillNode {
        FillNode {
            to: fill.to.start,
            pitch: fill.to.pitch as usize,
            value: fill.value,
            bytes: fill.bytes,
            width: fill.size[0] as usize,
            height: fill.size[1] as usize,
        }
    }

    fn work(&self) -> Result<Work, Error> {
        filled(
            self.to,
            self.pitch,
            self.value,
            self.bytes,
            [self.width, self.height],
        )
    }
}

/// Gives a node other work, of the same kind.
pub(super) fn change(node: Handle, work: Work) -> Done {
    let graph = of(node)?;
    let mut graph = graph.lock();
    let node = graph.nodes.get_mut(&node).ok_or(Error::INVALID_HANDLE)?;
    if kind(&node.work) != kind(&work) {
        return Err(Error::INVALID_VALUE);
    }
    node.work = work;
    Ok(())
}

/// Adds a node, for C.
///
/// # Safety
/// As the API says of these arguments.
pub(super) unsafe fn add(
    out: *mut Handle,
    graph: Handle,
    after: *const Handle,
    n: usize,
    work: Work,
) -> Done {
    // SAFETY: the caller's.
    unsafe {
        get(out)?;
        let node = ready()?
            .graphs
            .get(graph)?
            .add(work, all(after, n)?, None)?;
        put(out, node)
    }
}

api! {
    /// Adds a kernel.
    fn cuGraphAddKernelNode_v2(out: *mut Handle, graph: Handle, after: *const Handle, n: usize, what: *const Parameters) {
        let work = Work::Kernel(Arc::new(Launch::of(get(what)?)?));
        add(out, graph, after, n, work)
    }

    /// What it launches.
    fn cuGraphKernelNodeGetParams_v2(node: Handle, out: *mut Parameters) {
        match work_of(node)? {
            Work::Kernel(launch) => put(out, launch.parameters()),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    /// What it launches from now on.
    fn cuGraphKernelNodeSetParams_v2(node: Handle, what: *const Parameters) {
        change(node, Work::Kernel(Arc::new(Launch::of(get(what)?)?)))
    }

    /// The same in a graph that can be launched.
    fn cuGraphExecKernelNodeSetParams_v2(exec: Handle, node: Handle, what: *const Parameters) {
        change_exec(exec, node, Some(Work::Kernel(Arc::new(Launch::of(get(what)?)?))), None)
    }

    /// Adds a copy.
    fn cuGraphAddMemcpyNode(out: *mut Handle, graph: Handle, after: *const Handle, n: usize, what: *const Copy3d, _context: Handle) {
        let what = get(what)?;
        add(out, graph, after, n, copied(what)?)
    }

    /// What it copies.
    fn cuGraphMemcpyNodeGetParams(node: Handle, out: *mut Copy3d) {
        match work_of(node)? {
            Work::Copy(_, Some(described)) => put(out, *described),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    /// What it copies from now on.
    fn cuGraphMemcpyNodeSetParams(node: Handle, what: *const Copy3d) {
        let what = get(what)?;
        change(node, copied(what)?)
    }

    /// The same in a graph that can be launched.
    fn cuGraphExecMemcpyNodeSetParams(exec: Handle, node: Handle, what: *const Copy3d, _context: Handle) {
        change_exec(exec, node, Some(copied(get(what)?)?), None)
    }

    /// Adds a fill.
    fn cuGraphAddMemsetNode(out: *mut Handle, graph: Handle, after: *const Handle, n: usize, what: *const FillNode, _context: Handle) {
        let what = get(what)?;
        add(out, graph, after, n, what.work()?)
    }

    /// What it fills.
    fn cuGraphMemsetNodeGetParams(node: Handle, out: *mut FillNode) {
        match work_of(node)? {
            Work::Fill(fill) => put(out, FillNode::of(&fill)),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    /// What it fills from now on.
    fn cuGraphMemsetNodeSetParams(node: Handle, what: *const FillNode) {
        let what = get(what)?;
        change(node, what.work()?)
    }

    /// The same in a graph that can be launched.
    fn cuGraphExecMemsetNodeSetParams(exec: Handle, node: Handle, what: *const FillNode, _context: Handle) {
        change_exec(exec, node, Some(get(what)?.work()?), None)
    }

    /// Adds a call of the program.
    fn cuGraphAddHostNode(out: *mut Handle, graph: Handle, after: *const Handle, n: usize, what: *const HostNode) {
        let what = get(what)?;
        let work = Work::Host(what.call.ok_or(Error::INVALID_VALUE)?, what.data);
        add(out, graph, after, n, work)
    }

    /// What it calls.
    fn cuGraphHostNodeGetParams(node: Handle, out: *mut HostNode) {
        match work_of(node)? {
            Work::Host(call, data) => put(out, HostNode { call: Some(call), data }),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    /// What it calls from now on.
    fn cuGraphHostNodeSetParams(node: Handle, what: *const HostNode) {
        let what = get(what)?;
        change(node, Work::Host(what.call.ok_or(Error::INVALID_VALUE)?, what.data))
    }

    /// The same in a graph that can be launched.
    fn cuGraphExecHostNodeSetParams(exec: Handle, node: Handle, what: *const HostNode) {
        let what = get(what)?;
        change_exec(exec, node, Some(Work::Host(what.call.ok_or(Error::INVALID_VALUE)?, what.data)), None)
    }

    /// Adds all of another graph.
    fn cuGraphAddChildGraphNode(out: *mut Handle, graph: Handle, after: *const Handle, n: usize, child: Handle) {
        get(out)?;
        let driver = ready()?;
        let child = driver.graphs.get(child)?;
        child.plan()?;
        let node = driver.graphs.get(graph)?.add(Work::Graph(Arc::default()), all(after, n)?, Some(&child))?;
        put(out, node)
    }

    /// The graph inside a node.
    fn cuGraphChildGraphNodeGetGraph(node: Handle, out: *mut Handle) {
        put(out, child_of(node)?.0)
    }

    /// What a child does in a graph that can be launched.
    fn cuGraphExecChildGraphNodeSetParams(exec: Handle, node: Handle, child: Handle) {
        let plan = ready()?.graphs.get(child)?.plan()?;
        change_exec(exec, node, Some(Work::Graph(Arc::new(plan))), None)
    }

    /// Adds a place in the order.
    fn cuGraphAddEmptyNode(out: *mut Handle, graph: Handle, after: *const Handle, n: usize) {
        add(out, graph, after, n, Work::Nothing)
    }

    /// An attribute of a launch.
    fn cuGraphKernelNodeGetAttribute(node: Handle, which: c_uint, value: *mut [u64; 8]) {
        match work_of(node)? {
            Work::Kernel(launch) => put(value, launch.attribute(which)),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    /// An attribute of a launch.
    fn cuGraphKernelNodeSetAttribute(node: Handle, which: c_uint, value: *const [u64; 8]) {
        match work_of(node)? {
            Work::Kernel(launch) => change(node, Work::Kernel(Arc::new(launch.with(which, get(value)?)?))),
            _ => Err(Error::INVALID_VALUE),
        }
    }
}

/// Nodes of events, by what is done to them: added, changed, changed in a graph that can be launched, asked.
macro_rules! events {
    ($($add:ident $set:ident $exec:ident $get:ident: $work:ident;)*) => {
        api! {$(
            /// Adds an event.
            fn $add(out: *mut Handle, graph: Handle, after: *const Handle, n: usize, event: Handle) {
                add(out, graph, after, n, Work::$work(ready()?.events.get(event)?))
            }

            /// Which event it is from now on.
            fn $set(node: Handle, event: Handle) {
                change(node, Work::$work(ready()?.events.get(event)?))
            }

            /// The same in a graph that can be launched.
            fn $exec(exec: Handle, node: Handle, event: Handle) {
                change_exec(exec, node, Some(Work::$work(ready()?.events.get(event)?)), None)
            }

            /// Which event it is.
            fn $get(node: Handle, out: *mut Handle) {
                match work_of(node)? {
                    Work::$work(event) => {
                        let found = ready()?.events.find(|e| Arc::ptr_eq(e, &event));
                        put(out, found.ok_or(Error::INVALID_HANDLE)?)
                    }
                    _ => Err(Error::INVALID_VALUE),
                }
            }
        )*}
    };
}

events! {
    cuGraphAddEventRecordNode cuGraphEventRecordNodeSetEvent cuGraphExecEventRecordNodeSetEvent cuGraphEventRecordNodeGetEvent: Record;
    cuGraphAddEventWaitNode cuGraphEventWaitNodeSetEvent cuGraphExecEventWaitNodeSetEvent cuGraphEventWaitNodeGetEvent: Wait;
}
