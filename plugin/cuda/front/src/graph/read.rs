//! What the lower half has made by itself, read from there: captured work, clones, children's graphs.

use super::{list_of, Edge, Graphs, Kernel, Work};
use crate::codes::*;
use crate::driver::{check, refuse};
use crate::launch;
use crate::lower::{self, ix};
use crate::model::{self, Kind};
use std::collections::BTreeSet;

/// Attributes of a launch that are kept: where memory should stay, cooperation, clusters, priority, memory domains, shared
/// memory.
const ATTRIBUTES: [u32; 9] = [1, 2, 4, 5, 8, 9, 10, 11, 14];
/// `CU_MEMORYTYPE_ARRAY`.
const ARRAY: u64 = 3;

/// A list that a function gives after it was asked how long it is.
unsafe fn listed(ask: impl Fn(u64, u64) -> i32) -> Result<Vec<u64>, i32> {
    let mut n = 0_u64;
    check(ask(0, &raw mut n as u64))?;
    let mut all = vec![0_u64; n as usize];
    if n > 0 {
        check(ask(all.as_mut_ptr() as u64, &raw mut n as u64))?;
    }
    all.truncate(n as usize);
    Ok(all)
}

/// A lower graph's nodes.
///
/// # Errors
/// The driver's.
///
/// # Safety
/// It must be one; inside the gate.
pub unsafe fn nodes(graph: u64) -> Result<Vec<u64>, i32> {
    // SAFETY: places as the function wants them.
    unsafe { listed(|out, n| lower::must(ix::cuGraphGetNodes, &[graph, out, n])) }
}

/// What a lower node comes after.
unsafe fn before(node: u64) -> Result<Vec<Edge>, i32> {
    // SAFETY: places as the functions want them; before 12.3 there was none for data of edges.
    unsafe {
        if !lower::has(ix::cuGraphNodeGetDependencies_v2) {
            let nodes =
                listed(|out, n| lower::must(ix::cuGraphNodeGetDependencies, &[node, out, n]))?;
            return Ok(nodes.into_iter().map(|n| (n, 0)).collect());
        }
        let ask = |out: u64, data: u64, n: u64| {
            lower::must(ix::cuGraphNodeGetDependencies_v2, &[node, out, data, n])
        };
        let mut n = 0_u64;
        check(ask(0, 0, &raw mut n as u64))?;
        let (mut nodes, mut data) = (vec![0_u64; n as usize], vec![0_u64; n as usize]);
        if n > 0 {
            let places = [nodes.as_mut_ptr(), data.as_mut_ptr()].map(|at| at as u64);
            check(ask(places[0], places[1], &raw mut n as u64))?;
        }
        Ok(nodes.into_iter().zip(data).take(n as usize).collect())
    }
}

/// The graph inside a lower node.
///
/// # Errors
/// The driver's.
///
/// # Safety
/// It must be a child's node; inside the gate.
pub unsafe fn inner_graph(node: u64) -> Result<u64, i32> {
    let mut graph = 0_u64;
    // SAFETY: a place for a handle.
    let args = [node, &raw mut graph as u64];
    check(unsafe { lower::must(ix::cuGraphChildGraphNodeGetGraph, &args) })?;
    Ok(graph)
}

/// The program's function for a lower one that a launch named.
fn function(given: u64, kernel: u64) -> Result<u64, i32> {
    let model = model::lock();
    let known = |kind, lower| (lower != 0).then(|| model.known(kind, lower)).flatten();
    let found = known(Kind::Kernel, kernel)
        .or_else(|| known(Kind::Kernel, given))
        .or_else(|| known(Kind::Function, given));
    if let Some(found) = found {
        return Ok(found);
    }
    // The function behind one of the kernels.
    let kernels: Vec<u64> = model.of_kind(Kind::Kernel).collect();
    drop(model);
    for handle in kernels {
        let (mut behind, lower) = (0_u64, model::lower(Kind::Kernel, handle).unwrap_or(0));
        let args = [&raw mut behind as u64, lower];
        // SAFETY: a place for a handle, and a lower kernel; inside the gate.
        if unsafe { lower::must(ix::cuKernelGetFunction, &args) } == SUCCESS && behind == given {
            return Ok(handle);
        }
    }
    Err(INVALID_HANDLE)
}

/// Parameters of a lower node, as so many words.
unsafe fn words<const N: usize>(index: usize, node: u64) -> Result<[u64; N], i32> {
    let mut words = [0_u64; N];
    // SAFETY: a place for the structure, and a node of this kind.
    let args = [node, words.as_mut_ptr() as u64];
    check(unsafe { lower::must(index, &args) })?;
    Ok(words)
}

unsafe fn kernel(node: u64) -> Result<Work, i32> {
    // SAFETY: a kernel's node; the driver's pointers hold as long as it does.
    unsafe {
        let words: [u64; 9] = words(ix::cuGraphKernelNodeGetParams_v2, node)?;
        let mut kernel = Kernel::new(function(words[0], words[7])?, &words, 0)?;
        for which in ATTRIBUTES {
            let mut value = [0_u64; 8];
            let args = [node, u64::from(which), value.as_mut_ptr() as u64];
            let asked = lower::must(ix::cuGraphKernelNodeGetAttribute, &args);
            if asked == SUCCESS && value != [0; 8] {
                kernel.attributes.insert(which, value);
            }
        }
        Ok(Work::Kernel(kernel))
    }
}

unsafe fn copy(node: u64) -> Result<Work, i32> {
    let mut copy: [u64; 25] = unsafe { words(ix::cuGraphMemcpyNodeGetParams, node) }?;
    for side in [0, 11] {
        if copy[side + 4] & 0xffff_ffff == ARRAY {
            let array = model::lock().known(Kind::Array, copy[side + 7]);
            copy[side + 7] = array.ok_or(INVALID_HANDLE)?;
        }
        copy[side + 8] = 0;
    }
    Ok(Work::Copy(copy, crate::context::current()))
}

unsafe fn event(index: usize, node: u64) -> Result<u64, i32> {
    let [lower] = unsafe { words(index, node) }?;
    let found = model::lock().known(Kind::Event, lower);
    found.ok_or(INVALID_HANDLE)
}

unsafe fn batch(node: u64) -> Result<Work, i32> {
    // SAFETY: a batch's node; the driver's list holds as long as it does.
    unsafe {
        let [_, n, at, flags] = words(ix::cuGraphBatchMemOpNodeGetParams, node)?;
        Ok(Work::Batch {
            context: crate::context::current(),
            flags: flags & 0xffff_ffff,
            operations: list_of(at, n & 0xffff_ffff)?.to_vec(),
        })
    }
}

/// What a lower node does; the graph of a child is another matter.
unsafe fn work(node: u64) -> Result<Work, i32> {
    // SAFETY: a lower node, of the kind that it says it is.
    unsafe {
        let [kind] = words(ix::cuGraphNodeGetType, node)?;
        Ok(match kind as u32 {
            0 => kernel(node)?,
            1 => copy(node)?,
            2 => Work::Fill(
                words(ix::cuGraphMemsetNodeGetParams, node)?,
                crate::context::current(),
            ),
            3 => {
                let [function, data] = words(ix::cuGraphHostNodeGetParams, node)?;
                Work::Host(launch::held(function, data).ok_or(INVALID_HANDLE)?)
            }
            4 => Work::Child(0),
            5 => Work::Empty,
            6 => Work::Wait(event(ix::cuGraphEventWaitNodeGetEvent, node)?),
            7 => Work::Record(event(ix::cuGraphEventRecordNodeGetEvent, node)?),
            12 => batch(node)?,
            13 => return Err(refuse("a graph with conditional nodes")),
            _ => return Err(refuse("a graph with nodes of external semaphores")),
        })
    }
}

impl Graphs {
    /// Takes in the nodes of a graph that the model does not know yet.
    ///
    /// # Errors
    /// The driver's, or that there is one that can't be kept.
    ///
    /// # Safety
    /// Inside the gate, in a context; `lower` must be the graph's.
    pub unsafe fn sync(&mut self, graph: u64, lower: u64) -> Result<(), i32> {
        // SAFETY: the caller's.
        let all = unsafe { nodes(lower) }?;
        let known = self.graph(graph)?.nodes.iter();
        let known: BTreeSet<u64> = known.filter_map(|n| model::lower(Kind::Node, *n)).collect();
        let new: Vec<u64> = all.into_iter().filter(|n| !known.contains(n)).collect();
        for node in &new {
            // SAFETY: a node of the graph.
            let mut work = unsafe { work(*node) }?;
            if let Work::Child(child) = &mut work {
                // SAFETY: a child's node.
                let inner = unsafe { inner_graph(*node) }?;
                *child = self.take_in(inner, u64::MAX)?;
            }
            let handle = self.add_node(graph, *node, work.clone(), Vec::new());
            if let Work::Child(child) = work {
                self.graph(child)?.within = handle;
            }
        }
        for node in new {
            let handle = model::lock()
                .known(Kind::Node, node)
                .ok_or(INVALID_HANDLE)?;
            // SAFETY: a node of the graph.
            let before = unsafe { before(node) }?;
            let model = model::lock();
            let known = |(b, data): &Edge| Some((model.known(Kind::Node, *b)?, *data));
            let after: Option<Vec<Edge>> = before.iter().map(known).collect();
            drop(model);
            self.node(handle)?.after = after.ok_or(INVALID_HANDLE)?;
        }
        Ok(())
    }

    /// Takes in a whole lower graph.
    ///
    /// # Errors
    /// As [`Graphs::sync`]; nothing is left in the model.
    pub fn take_in(&mut self, lower: u64, within: u64) -> Result<u64, i32> {
        let handle = self.add_graph(lower, crate::context::current(), within);
        // SAFETY: as the caller of `sync` says.
        match unsafe { self.sync(handle, lower) } {
            Ok(()) => Ok(handle),
            Err(code) => {
                self.forget_graph(handle);
                Err(code)
            }
        }
    }
}
