//! Nodes of graphs whose descriptions are the runtime's own: kernels, copies, and those that may be any.

use super::super::codes::*;
use super::super::context;
use super::super::driver::{self, check, put};
use super::copy::{cube, line, part, uncube};
use super::register::{host_of, kernel};
use super::with_context;

/// Words of `cudaKernelNodeParams`, which are those of the driver's but for the function.
const KERNEL: usize = 7;
/// Words of `cudaGraphNodeParams`, and where the structure of the node's kind begins.
const GENERIC: usize = 32;
const UNION: usize = 2;

type Launch = [u64; KERNEL];

/// The driver's description of a launch.
unsafe fn launch(at: u64) -> Result<Launch, i32> {
    if at == 0 {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the program's structure.
    let mut words = unsafe { (at as *const Launch).read() };
    words[0] = kernel(words[0])?;
    Ok(words)
}

pub unsafe fn cudaGraphAddKernelNode(out: u64, g: u64, after: u64, n: u64, what: u64) -> i32 {
    with_context(|| unsafe {
        let words = launch(what)?;
        let at = words.as_ptr() as u64;
        check(driver::cuGraphAddKernelNode(out, g, after, n, at))
    })
}

pub unsafe fn cudaGraphKernelNodeSetParams(node: u64, what: u64) -> i32 {
    with_context(|| unsafe {
        let words = launch(what)?;
        check(driver::cuGraphKernelNodeSetParams(
            node,
            words.as_ptr() as u64,
        ))
    })
}

pub unsafe fn cudaGraphExecKernelNodeSetParams(exec: u64, node: u64, what: u64) -> i32 {
    with_context(|| unsafe {
        let words = launch(what)?;
        let at = words.as_ptr() as u64;
        check(driver::cuGraphExecKernelNodeSetParams(exec, node, at))
    })
}

pub unsafe fn cudaGraphKernelNodeGetParams(node: u64, out: u64) -> i32 {
    with_context(|| unsafe {
        let mut words: Launch = [0; KERNEL];
        let at = words.as_mut_ptr() as u64;
        check(driver::cuGraphKernelNodeGetParams(node, at))?;
        words[0] = host_of(words[0]);
        put(out, words)
    })
}

/// Adds a copy.
unsafe fn add(out: u64, g: u64, after: u64, n: u64, copy: Result<[u64; 25], i32>) -> i32 {
    with_context(|| unsafe {
        let (copy, of) = (copy?, context::current());
        let at = copy.as_ptr() as u64;
        check(driver::cuGraphAddMemcpyNode(out, g, after, n, at, of))
    })
}

unsafe fn set(node: u64, copy: Result<[u64; 25], i32>) -> i32 {
    with_context(|| unsafe {
        let copy = copy?;
        check(driver::cuGraphMemcpyNodeSetParams(
            node,
            copy.as_ptr() as u64,
        ))
    })
}

unsafe fn set_exec(exec: u64, node: u64, copy: Result<[u64; 25], i32>) -> i32 {
    with_context(|| unsafe {
        let (copy, of) = (copy?, context::current());
        let at = copy.as_ptr() as u64;
        check(driver::cuGraphExecMemcpyNodeSetParams(exec, node, at, of))
    })
}

fn into_symbol(v: u64, from: u64, n: u64, at: u64, kind: i32) -> Result<[u64; 25], i32> {
    line(part(v, n, at)?, from, n, kind)
}

fn out_of_symbol(to: u64, v: u64, n: u64, at: u64, kind: i32) -> Result<[u64; 25], i32> {
    line(to, part(v, n, at)?, n, kind)
}

/// A copy's descriptions: of any shape, in a line, to and from a variable; each can be added and set in both kinds of graph.
macro_rules! copies {
    ($($add:ident $set:ident $exec:ident($($a:ident: $t:ty),*) $make:expr;)*) => {$(
        pub unsafe fn $add(out: u64, g: u64, after: u64, count: u64, $($a: $t),*) -> i32 {
            unsafe { add(out, g, after, count, $make($($a),*)) }
        }

        pub unsafe fn $set(node: u64, $($a: $t),*) -> i32 {
            unsafe { set(node, $make($($a),*)) }
        }

        pub unsafe fn $exec(exec: u64, node: u64, $($a: $t),*) -> i32 {
            unsafe { set_exec(exec, node, $make($($a),*)) }
        }
    )*};
}

copies! {
    cudaGraphAddMemcpyNode cudaGraphMemcpyNodeSetParams cudaGraphExecMemcpyNodeSetParams
        (what: u64) cube;
    cudaGraphAddMemcpyNode1D cudaGraphMemcpyNodeSetParams1D cudaGraphExecMemcpyNodeSetParams1D
        (to: u64, from: u64, n: u64, kind: i32) line;
    cudaGraphAddMemcpyNodeToSymbol cudaGraphMemcpyNodeSetParamsToSymbol cudaGraphExecMemcpyNodeSetParamsToSymbol
        (v: u64, from: u64, n: u64, at: u64, kind: i32) into_symbol;
    cudaGraphAddMemcpyNodeFromSymbol cudaGraphMemcpyNodeSetParamsFromSymbol cudaGraphExecMemcpyNodeSetParamsFromSymbol
        (to: u64, v: u64, n: u64, at: u64, kind: i32) out_of_symbol;
}

pub unsafe fn cudaGraphMemcpyNodeGetParams(node: u64, out: u64) -> i32 {
    with_context(|| unsafe {
        let mut copy = [0_u64; 25];
        let at = copy.as_mut_ptr() as u64;
        check(driver::cuGraphMemcpyNodeGetParams(node, at))?;
        put(out, uncube(&copy)?)
    })
}

pub unsafe fn cudaGraphAddMemsetNode(out: u64, g: u64, after: u64, n: u64, what: u64) -> i32 {
    with_context(|| unsafe {
        let of = context::current();
        check(driver::cuGraphAddMemsetNode(out, g, after, n, what, of))
    })
}

pub unsafe fn cudaGraphExecMemsetNodeSetParams(exec: u64, node: u64, what: u64) -> i32 {
    with_context(|| unsafe {
        let of = context::current();
        check(driver::cuGraphExecMemsetNodeSetParams(exec, node, what, of))
    })
}

/// `CUgraphNodeParams` for a `cudaGraphNodeParams`.
unsafe fn generic(at: u64) -> Result<[u64; GENERIC], i32> {
    if at == 0 {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the program's structure.
    let mut words = unsafe { (at as *const [u64; GENERIC]).read() };
    let inner = at + 8 * UNION as u64;
    match words[0] as u32 {
        0 => {
            // SAFETY: a kernel's description.
            words[UNION..UNION + KERNEL].copy_from_slice(&unsafe { launch(inner) }?);
            words[UNION + KERNEL..].fill(0);
        }
        1 => {
            // Flags, nothing, the copy.
            // SAFETY: a copy's description.
            let copy = unsafe { cube(inner + 16) }?;
            words[UNION..].fill(0);
            words[UNION + 1] = context::current();
            words[UNION + 2..UNION + 27].copy_from_slice(&copy);
        }
        2 => words[UNION + 5] = context::current(),
        _ => {}
    }
    Ok(words)
}

pub unsafe fn cudaGraphAddNode(out: u64, g: u64, after: u64, edges: u64, n: u64, what: u64) -> i32 {
    with_context(|| unsafe {
        let mut words = generic(what)?;
        let at = words.as_mut_ptr() as u64;
        check(driver::cuGraphAddNode_v2(out, g, after, edges, n, at))?;
        // The address of memory that a node allocates.
        match words[0] as u32 {
            10 => put(what + 8 * (UNION + 14) as u64, words[UNION + 14]),
            _ => Ok(()),
        }
    })
}

pub unsafe fn cudaGraphAddNode_12(out: u64, g: u64, after: u64, n: u64, what: u64) -> i32 {
    unsafe { cudaGraphAddNode(out, g, after, 0, n, what) }
}

pub unsafe fn cudaGraphNodeSetParams(node: u64, what: u64) -> i32 {
    with_context(|| unsafe {
        let words = generic(what)?;
        check(driver::cuGraphNodeSetParams(node, words.as_ptr() as u64))
    })
}

pub unsafe fn cudaGraphExecNodeSetParams(exec: u64, node: u64, what: u64) -> i32 {
    with_context(|| unsafe {
        let words = generic(what)?;
        let at = words.as_ptr() as u64;
        check(driver::cuGraphExecNodeSetParams(exec, node, at))
    })
}
