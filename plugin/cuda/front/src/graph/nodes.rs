//! Nodes: added, asked, changed.

use super::work::Act;
use super::{connect, edges_of, list_of, lock, lower_of, take_child, words, Edge, Kernel, Work};
use crate::codes::*;
use crate::context;
use crate::driver::{check, inside, put};
use crate::lower::{self, ix};
use crate::model::{self, Kind};
use crate::ranges;

/// Words of `CUDA_KERNEL_NODE_PARAMS` before 12.0, and since.
const OLD: usize = 7;
const NEW: usize = 9;

/// Adds a node.
///
/// # Errors
/// The code for the application.
///
/// # Safety
/// The program's places and handles; inside the gate.
pub unsafe fn add(out: u64, graph: u64, after: u64, n: u64, work: Work) -> Result<(), i32> {
    // SAFETY: the caller's.
    unsafe { add_after(out, graph, edges_of(after, 0, n)?, work) }
}

/// Adds a node after others, by edges that may have data.
///
/// # Errors
/// The code for the application.
///
/// # Safety
/// The program's place; inside the gate.
pub unsafe fn add_after(out: u64, graph: u64, after: Vec<Edge>, work: Work) -> Result<(), i32> {
    if out == 0 {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the caller's; then handles of the lower half, and a place for one.
    unsafe {
        context::ensure()?;
        let mut all = lock();
        all.graph(graph)?;
        let known = |(a, _): &Edge| all.nodes.get(a).is_some_and(|n| n.graph == graph);
        if !after.iter().all(known) {
            return Err(INVALID_VALUE);
        }
        match work {
            Work::Free(at) => all.may_free(graph, at)?,
            Work::Child(child) => all.no_memory(child)?,
            _ => {}
        }
        let lowers: Result<Vec<Edge>, i32> = after
            .iter()
            .map(|(a, data)| Ok((lower_of(Kind::Node, *a)?, *data)))
            .collect();
        let lowers = lowers?;
        let child = match work {
            Work::Child(child) => lower_of(Kind::Graph, child)?,
            _ => 0,
        };
        let node = add_lower(lower_of(Kind::Graph, graph)?, &lowers, &work, child)?;
        let work = match work {
            Work::Child(_) => Work::Child(take_child(&mut all, node)?),
            work => work,
        };
        let inner = match work {
            Work::Child(inner) => Some(inner),
            _ => None,
        };
        let handle = all.add_node(graph, node, work, after);
        if let Some(inner) = inner {
            all.graph(inner)?.within = handle;
        }
        put(out, handle)
    }
}

/// Adds a lower node; gives it. Edges with data come after the node, for the functions that add one take none.
///
/// # Errors
/// The driver's; nothing is left.
///
/// # Safety
/// Handles of the lower half's; inside the gate, in a context.
pub unsafe fn add_lower(graph: u64, after: &[Edge], work: &Work, child: u64) -> Result<u64, i32> {
    let (plain, other): (Vec<Edge>, Vec<Edge>) = after.iter().partition(|(_, data)| *data == 0);
    let plain: Vec<u64> = plain.into_iter().map(|(node, _)| node).collect();
    let (from, data): (Vec<u64>, Vec<u64>) = other.into_iter().unzip();
    let mut node = 0_u64;
    let act = Act::Add([
        &raw mut node as u64,
        graph,
        plain.as_ptr() as u64,
        plain.len() as u64,
    ]);
    // SAFETY: a place for a handle; the caller's.
    unsafe {
        work.lowered(act, child)?;
        if !from.is_empty() {
            let to = vec![node; from.len()];
            let connected = connect(graph, &from, &to, &data, true);
            if connected.is_err() {
                lower::must(ix::cuGraphDestroyNode, &[node]);
            }
            connected?;
        }
    }
    Ok(node)
}

/// Gives a node other parameters, of the same kind.
///
/// # Errors
/// The code for the application.
///
/// # Safety
/// Inside the gate.
pub unsafe fn change(node: u64, mut work: Work) -> Result<(), i32> {
    context::ensure()?;
    let mut all = lock();
    let known = all.node(node)?;
    if known.work.number() != work.number() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: a lower node of this kind.
    unsafe { work.lowered(Act::Set([lower_of(Kind::Node, node)?]), 0) }?;
    keep_attributes(&mut work, &known.work);
    known.work = work;
    Ok(())
}

/// Attributes of a launch stay when its parameters change.
pub fn keep_attributes(work: &mut Work, old: &Work) {
    if let (Work::Kernel(new), Work::Kernel(old)) = (work, old) {
        new.attributes = old.attributes.clone();
    }
}

/// The function of a launch that a node describes.
fn function(given: u64) -> Result<u64, i32> {
    let known = [Kind::Kernel, Kind::Function];
    let found = known.iter().any(|k| model::object(*k, given).is_some());
    found.then_some(given).ok_or(INVALID_HANDLE)
}

/// The work of a structure for a launch of so many words.
///
/// # Errors
/// The code for the application.
///
/// # Safety
/// It must be one.
pub unsafe fn kernel_of(at: u64, n: usize) -> Result<Work, i32> {
    // SAFETY: the caller's.
    unsafe {
        let words = words(at, n as u64)?;
        let (kernel, context) = match n {
            NEW => (words[7], words[8]),
            _ => (0, 0),
        };
        let given = if words[0] == 0 { kernel } else { words[0] };
        context::ensure()?;
        Kernel::new(function(given)?, words, context).map(Work::Kernel)
    }
}

/// The work of a structure for a launch, as it is since 12.0.
///
/// # Errors
/// The code for the application.
///
/// # Safety
/// It must be one.
pub unsafe fn kernel(at: u64) -> Result<Work, i32> {
    unsafe { kernel_of(at, NEW) }
}

/// The work of a `CUDA_MEMCPY3D`.
///
/// # Errors
/// There is none.
///
/// # Safety
/// It must be one.
pub unsafe fn copy(at: u64, context: u64) -> Result<Work, i32> {
    let words = unsafe { words(at, 25) }?;
    let copy = words.try_into().map_err(|_| INVALID_VALUE)?;
    ranges::solid(&copy)?;
    Ok(Work::Copy(copy, context))
}

/// The work of a `CUDA_MEMSET_NODE_PARAMS`.
///
/// # Errors
/// There is none.
///
/// # Safety
/// It must be one.
pub unsafe fn fill(at: u64, context: u64) -> Result<Work, i32> {
    let words = unsafe { words(at, 5) }?;
    let fill = words.try_into().map_err(|_| INVALID_VALUE)?;
    ranges::node(&fill)?;
    Ok(Work::Fill(fill, context))
}

/// The work of a `CUDA_HOST_NODE_PARAMS`.
///
/// # Errors
/// There is none.
///
/// # Safety
/// It must be one.
pub unsafe fn host(at: u64) -> Result<Work, i32> {
    match unsafe { words(at, 2) }? {
        [0, _] => Err(INVALID_VALUE),
        [function, data] => Ok(Work::Host([*function, *data])),
        _ => Err(INVALID_VALUE),
    }
}

/// The work of a `CUDA_BATCH_MEM_OP_NODE_PARAMS`.
///
/// # Errors
/// There is none.
///
/// # Safety
/// It must be one.
pub unsafe fn batch(at: u64) -> Result<Work, i32> {
    // SAFETY: the caller's: a context, a number of operations, where they are, flags.
    unsafe {
        let [context, n, operations, flags] =
            *list_of::<[u64; 4]>(at, 1)?.first().ok_or(INVALID_VALUE)?;
        Ok(Work::Batch {
            context,
            flags: flags & 0xffff_ffff,
            operations: list_of(operations, n & 0xffff_ffff)?.to_vec(),
        })
    }
}

/// `CUDA_BATCH_MEM_OP_NODE_PARAMS` of a node. The operations lie in the model as long as the node has them.
fn told_batch(work: &mut Work) -> Option<[u64; 4]> {
    match work {
        Work::Batch {
            context,
            flags,
            operations,
        } => Some([
            *context,
            operations.len() as u64,
            operations.as_ptr() as u64,
            *flags,
        ]),
        _ => None,
    }
}

/// Functions that add a node, change one and ask for its parameters, by kind of node.
macro_rules! nodes {
    ($($add:ident $set:ident $get:ident: $n:literal, $of:expr, $told:expr;)*) => {$(
        pub unsafe fn $add(out: u64, graph: u64, after: u64, n: u64, what: u64) -> i32 {
            inside(|| unsafe { add(out, graph, after, n, ($of)(what)?) })
        }

        pub unsafe fn $set(node: u64, what: u64) -> i32 {
            inside(|| unsafe { change(node, ($of)(what)?) })
        }

        pub unsafe fn $get(node: u64, out: u64) -> i32 {
            inside(|| unsafe {
                let mut all = lock();
                let words: [u64; $n] = ($told)(&mut all.node(node)?.work).ok_or(INVALID_VALUE)?;
                put(out, words)
            })
        }
    )*};
}

/// `CUDA_KERNEL_NODE_PARAMS` of a node. The list of pointers lies in the model as long as the parameters do.
fn told<const N: usize>(work: &mut Work) -> Option<[u64; N]> {
    let Work::Kernel(kernel) = work else {
        return None;
    };
    let [a, b, c, d] = kernel.shape;
    let words = [
        kernel.function,
        a,
        b,
        c,
        d,
        kernel.list(),
        0,
        0,
        kernel.context,
    ];
    words[..N].try_into().ok()
}

nodes! {
    cuGraphAddKernelNode cuGraphKernelNodeSetParams cuGraphKernelNodeGetParams:
        7, |at| kernel_of(at, OLD), told::<OLD>;
    cuGraphAddKernelNode_v2 cuGraphKernelNodeSetParams_v2 cuGraphKernelNodeGetParams_v2:
        9, kernel, told::<NEW>;
    cuGraphAddBatchMemOpNode cuGraphBatchMemOpNodeSetParams cuGraphBatchMemOpNodeGetParams:
        4, batch, told_batch;
    cuGraphAddHostNode cuGraphHostNodeSetParams cuGraphHostNodeGetParams:
        2, host, |w: &mut Work| match w { Work::Host(words) => Some(*words), _ => None };
    cuGraphAddEventRecordNode cuGraphEventRecordNodeSetEvent cuGraphEventRecordNodeGetEvent:
        1, |e| Ok::<Work, i32>(Work::Record(e)), |w: &mut Work| match w { Work::Record(e) => Some([*e]), _ => None };
    cuGraphAddEventWaitNode cuGraphEventWaitNodeSetEvent cuGraphEventWaitNodeGetEvent:
        1, |e| Ok::<Work, i32>(Work::Wait(e)), |w: &mut Work| match w { Work::Wait(e) => Some([*e]), _ => None };
}

pub unsafe fn cuGraphAddMemcpyNode(
    out: u64,
    graph: u64,
    after: u64,
    n: u64,
    what: u64,
    context: u64,
) -> i32 {
    inside(|| unsafe { add(out, graph, after, n, copy(what, context)?) })
}

pub unsafe fn cuGraphAddMemsetNode(
    out: u64,
    graph: u64,
    after: u64,
    n: u64,
    what: u64,
    context: u64,
) -> i32 {
    inside(|| unsafe { add(out, graph, after, n, fill(what, context)?) })
}

/// The context of a node that copies or fills.
fn context_of(node: u64) -> Result<u64, i32> {
    match lock().node(node)?.work {
        Work::Copy(_, context) | Work::Fill(_, context) => Ok(context),
        _ => Err(INVALID_VALUE),
    }
}

pub unsafe fn cuGraphMemcpyNodeSetParams(node: u64, what: u64) -> i32 {
    inside(|| unsafe { change(node, copy(what, context_of(node)?)?) })
}

pub unsafe fn cuGraphMemsetNodeSetParams(node: u64, what: u64) -> i32 {
    inside(|| unsafe { change(node, fill(what, context_of(node)?)?) })
}

pub unsafe fn cuGraphMemcpyNodeGetParams(node: u64, out: u64) -> i32 {
    inside(|| unsafe {
        match &lock().node(node)?.work {
            Work::Copy(words, _) => put(out, *words),
            _ => Err(INVALID_VALUE),
        }
    })
}

pub unsafe fn cuGraphMemsetNodeGetParams(node: u64, out: u64) -> i32 {
    inside(|| unsafe {
        match &lock().node(node)?.work {
            Work::Fill(words, _) => put(out, *words),
            _ => Err(INVALID_VALUE),
        }
    })
}

pub unsafe fn cuGraphAddEmptyNode(out: u64, graph: u64, after: u64, n: u64) -> i32 {
    inside(|| unsafe { add(out, graph, after, n, Work::Empty) })
}

pub unsafe fn cuGraphAddChildGraphNode(
    out: u64,
    graph: u64,
    after: u64,
    n: u64,
    child: u64,
) -> i32 {
    inside(|| unsafe { add(out, graph, after, n, Work::Child(child)) })
}

/// Bytes of an attribute's value.
type Value = [u64; 8];

pub unsafe fn cuGraphKernelNodeSetAttribute(node: u64, which: i32, value: u64) -> i32 {
    inside(|| unsafe {
        let value: Value = words(value, 8)?.try_into().map_err(|_| INVALID_VALUE)?;
        context::ensure()?;
        let mut all = lock();
        let Work::Kernel(kernel) = &mut all.node(node)?.work else {
            return Err(INVALID_VALUE);
        };
        let args = [
            lower_of(Kind::Node, node)?,
            which as u64,
            value.as_ptr() as u64,
        ];
        check(lower::must(ix::cuGraphKernelNodeSetAttribute, &args))?;
        kernel.attributes.insert(which as u32, value);
        Ok(())
    })
}

pub unsafe fn cuGraphKernelNodeGetAttribute(node: u64, which: i32, out: u64) -> i32 {
    inside(|| unsafe {
        context::ensure()?;
        let args = [lower_of(Kind::Node, node)?, which as u64, out];
        check(lower::must(ix::cuGraphKernelNodeGetAttribute, &args))
    })
}

pub unsafe fn cuGraphKernelNodeCopyAttributes(to: u64, from: u64) -> i32 {
    let given = |node: u64| match &lock().node(node)?.work {
        Work::Kernel(kernel) => Ok(kernel.attributes.clone()),
        _ => Err(INVALID_VALUE),
    };
    inside(|| {
        let attributes = given(from)?;
        given(to)?;
        for (which, value) in attributes {
            // SAFETY: a value.
            let at = value.as_ptr() as u64;
            check(unsafe { cuGraphKernelNodeSetAttribute(to, which as i32, at) })?;
        }
        Ok(())
    })
}
