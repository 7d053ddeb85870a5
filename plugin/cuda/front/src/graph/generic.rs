//! The functions that take `CUgraphNodeParams`, whatever the node is.

use super::exec::change_exec;
use super::nodes::{add_after, batch, change, copy, fill, host, kernel};
use super::{add_allocation, edges_of, Work};
use crate::codes::*;
use crate::driver::{inside, refuse};

/// `CU_GRAPH_NODE_TYPE_MEM_ALLOC`, whose structure gets the memory's address.
const ALLOCATE: u32 = 10;
/// Where the structure of the node's kind begins.
const UNION: u64 = 16;

/// The work that the structure describes.
unsafe fn work(at: u64, name: &str) -> Result<Work, i32> {
    if at == 0 {
        return Err(INVALID_VALUE);
    }
    let inner = at + UNION;
    // SAFETY: the caller's.
    unsafe {
        let word = |i: u64| ((inner + 8 * i) as *const u64).read();
        match (at as *const u32).read() {
            0 => kernel(inner),
            // CUDA_MEMCPY_NODE_PARAMS: flags, a context, the copy.
            1 => copy(inner + 16, word(1)),
            2 => fill(inner, word(5)),
            3 => host(inner),
            // The program keeps the graph.
            4 if word(1) as u32 == 0 => Ok(Work::Child(word(0))),
            5 => Ok(Work::Empty),
            6 => Ok(Work::Wait(word(0))),
            7 => Ok(Work::Record(word(0))),
            11 => Ok(Work::Free(word(0))),
            12 => batch(inner),
            other => Err(refuse(&format!("{name} for a node of type {other}"))),
        }
    }
}

pub unsafe fn cuGraphAddNode_v2(
    out: u64,
    graph: u64,
    after: u64,
    edges: u64,
    n: u64,
    what: u64,
) -> i32 {
    inside(|| unsafe {
        let after = edges_of(after, edges, n)?;
        if what != 0 && (what as *const u32).read() == ALLOCATE {
            return add_allocation(out, graph, after, what + UNION);
        }
        add_after(out, graph, after, work(what, "cuGraphAddNode")?)
    })
}

pub unsafe fn cuGraphAddNode(out: u64, graph: u64, after: u64, n: u64, what: u64) -> i32 {
    unsafe { cuGraphAddNode_v2(out, graph, after, 0, n, what) }
}

pub unsafe fn cuGraphNodeSetParams(node: u64, what: u64) -> i32 {
    inside(|| unsafe { change(node, work(what, "cuGraphNodeSetParams")?) })
}

pub unsafe fn cuGraphExecNodeSetParams(exec: u64, node: u64, what: u64) -> i32 {
    inside(|| unsafe { change_exec(exec, node, work(what, "cuGraphExecNodeSetParams")?) })
}
