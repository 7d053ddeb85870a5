//! Nodes of graphs: what can be added, asked and changed, by kind.

use super::graph::{change_exec, kind, of, work_of, Source};
use super::launch::{Launch, Parameters};
use super::transfer::{copied, filled, Copy3d};
use super::work::{HostFunction, Work};
use super::{all, api, get, put, ready, refused, Done, Error, Handle, Pointer};
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
fn change(node: Handle, work: Work, source: Source) -> Done {
    let graph = of(node)?;
    let mut graph = graph.lock();
    let node = graph.nodes.get_mut(&node).ok_or(Error::INVALID_HANDLE)?;
    if kind(&node.work) != kind(&work) {
        return Err(Error::INVALID_VALUE);
    }
    (node.work, node.source) = (work, source);
    Ok(())
}

/// Adds a node, for C.
///
/// # Safety
/// As the API says of these arguments.
unsafe fn add(
    out: *mut Handle,
    graph: Handle,
    after: *const Handle,
    n: usize,
    work: Work,
    source: Source,
) -> Done {
    // SAFETY: the caller's.
    unsafe {
        get(out)?;
        let node = ready()?
            .graphs
            .get(graph)?
            .add_from(work, all(after, n)?, source)?;
        put(out, node)
    }
}

api! {
    /// Adds a kernel.
    fn cuGraphAddKernelNode_v2(out: *mut Handle, graph: Handle, after: *const Handle, n: usize, what: *const Parameters) {
        let work = Work::Kernel(Arc::new(Launch::of(get(what)?)?));
        add(out, graph, after, n, work, Source::Captured)
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
        change(node, Work::Kernel(Arc::new(Launch::of(get(what)?)?)), Source::Captured)
    }

    /// The same in a graph that can be launched.
    fn cuGraphExecKernelNodeSetParams_v2(exec: Handle, node: Handle, what: *const Parameters) {
        change_exec(exec, node, Some(Work::Kernel(Arc::new(Launch::of(get(what)?)?))), None)
    }

    /// Adds a copy.
    fn cuGraphAddMemcpyNode(out: *mut Handle, graph: Handle, after: *const Handle, n: usize, what: *const Copy3d, _context: Handle) {
        let what = get(what)?;
        add(out, graph, after, n, copied(what)?, Source::Copy(*what))
    }

    /// What it copies.
    fn cuGraphMemcpyNodeGetParams(node: Handle, out: *mut Copy3d) {
        let graph = of(node)?;
        let graph = graph.lock();
        match graph.nodes.get(&node).map(|n| &n.source) {
            Some(Source::Copy(copy)) => put(out, *copy),
            _ => Err(refused::say("cuGraphMemcpyNodeGetParams of a captured copy")),
        }
    }

    /// What it copies from now on.
    fn cuGraphMemcpyNodeSetParams(node: Handle, what: *const Copy3d) {
        let what = get(what)?;
        change(node, copied(what)?, Source::Copy(*what))
    }

    /// The same in a graph that can be launched.
    fn cuGraphExecMemcpyNodeSetParams(exec: Handle, node: Handle, what: *const Copy3d, _context: Handle) {
        change_exec(exec, node, Some(copied(get(what)?)?), None)
    }

    /// Adds a fill.
    fn cuGraphAddMemsetNode(out: *mut Handle, graph: Handle, after: *const Handle, n: usize, what: *const FillNode, _context: Handle) {
        let what = get(what)?;
        add(out, graph, after, n, what.work()?, Source::Fill(*what))
    }

    /// What it fills.
    fn cuGraphMemsetNodeGetParams(node: Handle, out: *mut FillNode) {
        let graph = of(node)?;
        let graph = graph.lock();
        match graph.nodes.get(&node).map(|n| &n.source) {
            Some(Source::Fill(fill)) => put(out, *fill),
            _ => Err(refused::say("cuGraphMemsetNodeGetParams of a captured fill")),
        }
    }

    /// What it fills from now on.
    fn cuGraphMemsetNodeSetParams(node: Handle, what: *const FillNode) {
        let what = get(what)?;
        change(node, what.work()?, Source::Fill(*what))
    }

    /// The same in a graph that can be launched.
    fn cuGraphExecMemsetNodeSetParams(exec: Handle, node: Handle, what: *const FillNode, _context: Handle) {
        change_exec(exec, node, Some(get(what)?.work()?), None)
    }

    /// Adds a call of the program.
    fn cuGraphAddHostNode(out: *mut Handle, graph: Handle, after: *const Handle, n: usize, what: *const HostNode) {
        let what = get(what)?;
        let work = Work::Host(what.call.ok_or(Error::INVALID_VALUE)?, what.data);
        add(out, graph, after, n, work, Source::Captured)
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
        change(node, Work::Host(what.call.ok_or(Error::INVALID_VALUE)?, what.data), Source::Captured)
    }

    /// The same in a graph that can be launched.
    fn cuGraphExecHostNodeSetParams(exec: Handle, node: Handle, what: *const HostNode) {
        let what = get(what)?;
        change_exec(exec, node, Some(Work::Host(what.call.ok_or(Error::INVALID_VALUE)?, what.data)), None)
    }

    /// Adds all of another graph.
    fn cuGraphAddChildGraphNode(out: *mut Handle, graph: Handle, after: *const Handle, n: usize, child: Handle) {
        let plan = ready()?.graphs.get(child)?.plan()?;
        add(out, graph, after, n, Work::Graph(Arc::new(plan)), Source::Captured)
    }

    /// Adds a place in the order.
    fn cuGraphAddEmptyNode(out: *mut Handle, graph: Handle, after: *const Handle, n: usize) {
        add(out, graph, after, n, Work::Nothing, Source::Captured)
    }

    /// Adds an event that is reached.
    fn cuGraphAddEventRecordNode(out: *mut Handle, graph: Handle, after: *const Handle, n: usize, event: Handle) {
        let work = Work::Record(ready()?.events.get(event)?);
        add(out, graph, after, n, work, Source::Captured)
    }

    /// Adds an event that is waited for.
    fn cuGraphAddEventWaitNode(out: *mut Handle, graph: Handle, after: *const Handle, n: usize, event: Handle) {
        let work = Work::Wait(ready()?.events.get(event)?);
        add(out, graph, after, n, work, Source::Captured)
    }
}
