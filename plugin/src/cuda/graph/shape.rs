//! Graphs as a whole: made, copied, destroyed, and what of them comes after what.

use super::{list, lock, lower_of, plain_edges, read, words, Graphs, Work};
use crate::cuda::codes::*;
use crate::cuda::context;
use crate::cuda::driver::{check, inside, put};
use crate::cuda::lower::{self, ix};
use crate::cuda::model::Kind;

pub unsafe fn cuGraphCreate(out: u64, flags: i32) -> i32 {
    inside(|| unsafe {
        if out == 0 {
            return Err(INVALID_VALUE);
        }
        context::ensure()?;
        let mut lower = 0_u64;
        let args = [&raw mut lower as u64, flags as u64];
        check(lower::must(ix::cuGraphCreate, &args))?;
        put(out, lock().add_graph(lower, context::current(), 0))
    })
}

pub unsafe fn cuGraphDestroy(graph: u64) -> i32 {
    inside(|| {
        context::ensure()?;
        let mut all = lock();
        if all.graph(graph)?.within != 0 {
            return Err(INVALID_VALUE);
        }
        // SAFETY: a lower handle; inside the gate.
        let args = [lower_of(Kind::Graph, graph)?];
        check(unsafe { lower::must(ix::cuGraphDestroy, &args) })?;
        all.forget_graph(graph);
        all.sweep()
    })
}

pub unsafe fn cuGraphClone(out: u64, graph: u64) -> i32 {
    inside(|| unsafe {
        if out == 0 {
            return Err(INVALID_VALUE);
        }
        context::ensure()?;
        let mut all = lock();
        all.no_memory(graph)?;
        let originals = all.graph(graph)?.nodes.clone();
        let mut lower = 0_u64;
        let args = [&raw mut lower as u64, lower_of(Kind::Graph, graph)?];
        check(lower::must(ix::cuGraphClone, &args))?;
        let taken = all.take_in(lower, 0);
        if taken.is_err() {
            lower::must(ix::cuGraphDestroy, &[lower]);
        }
        let clone = taken?;
        for original in originals {
            let mut found = 0_u64;
            let args = [
                &raw mut found as u64,
                lower_of(Kind::Node, original)?,
                lower,
            ];
            check(lower::must(ix::cuGraphNodeFindInClone, &args))?;
            let known = crate::cuda::model::lock().known(Kind::Node, found);
            all.node(known.ok_or(INVALID_HANDLE)?)?.original = original;
        }
        put(out, clone)
    })
}

pub unsafe fn cuGraphNodeFindInClone(out: u64, node: u64, graph: u64) -> i32 {
    inside(|| {
        let mut all = lock();
        let nodes = all.graph(graph)?.nodes.clone();
        let of = |n: &u64| all.nodes.get(n).is_some_and(|n| n.original == node);
        let found = nodes.into_iter().find(of).ok_or(INVALID_VALUE)?;
        // SAFETY: the program's place.
        unsafe { put(out, found) }
    })
}

pub unsafe fn cuGraphGetNodes(graph: u64, out: u64, n: u64) -> i32 {
    inside(|| unsafe { list(&lock().graph(graph)?.nodes, out, n) })
}

pub unsafe fn cuGraphGetRootNodes(graph: u64, out: u64, n: u64) -> i32 {
    inside(|| {
        let mut all = lock();
        let mut nodes = all.graph(graph)?.nodes.clone();
        nodes.retain(|n| all.nodes.get(n).is_some_and(|n| n.after.is_empty()));
        // SAFETY: the program's places.
        unsafe { list(&nodes, out, n) }
    })
}

/// All edges of a graph.
fn edges(all: &mut Graphs, graph: u64) -> Result<Vec<(u64, u64)>, i32> {
    let nodes = all.graph(graph)?.nodes.clone();
    let into = |n: u64| {
        let after = all.nodes.get(&n).map_or(Vec::new(), |n| n.after.clone());
        after.into_iter().map(move |a| (a, n))
    };
    Ok(nodes.into_iter().flat_map(into).collect())
}

/// Data of edges, all of which are plain.
unsafe fn clear(data: u64, n: u64) -> Result<(), i32> {
    if data != 0 && n != 0 {
        // SAFETY: the program's places: 8 bytes for each edge.
        unsafe { core::ptr::write_bytes(data as *mut u64, 0, (n as *const u64).read() as usize) };
    }
    Ok(())
}

pub unsafe fn cuGraphGetEdges_v2(graph: u64, from: u64, to: u64, data: u64, n: u64) -> i32 {
    inside(|| unsafe {
        if (from == 0) != (to == 0) || n == 0 {
            return Err(INVALID_VALUE);
        }
        let found = edges(&mut lock(), graph)?;
        let (sources, targets): (Vec<u64>, Vec<u64>) = found.into_iter().unzip();
        clear(data, n)?;
        let mut room = (n as *const u64).read();
        list(&sources, from, &raw mut room as u64)?;
        list(&targets, to, n)
    })
}

pub unsafe fn cuGraphGetEdges(graph: u64, from: u64, to: u64, n: u64) -> i32 {
    unsafe { cuGraphGetEdges_v2(graph, from, to, 0, n) }
}

pub unsafe fn cuGraphNodeGetDependencies_v2(node: u64, out: u64, data: u64, n: u64) -> i32 {
    inside(|| unsafe {
        clear(data, n)?;
        list(&lock().node(node)?.after, out, n)
    })
}

pub unsafe fn cuGraphNodeGetDependencies(node: u64, out: u64, n: u64) -> i32 {
    unsafe { cuGraphNodeGetDependencies_v2(node, out, 0, n) }
}

pub unsafe fn cuGraphNodeGetDependentNodes_v2(node: u64, out: u64, data: u64, n: u64) -> i32 {
    inside(|| unsafe {
        clear(data, n)?;
        let mut all = lock();
        let graph = all.node(node)?.graph;
        let mut found = edges(&mut all, graph)?;
        found.retain(|(from, _)| *from == node);
        let found: Vec<u64> = found.into_iter().map(|(_, to)| to).collect();
        list(&found, out, n)
    })
}

pub unsafe fn cuGraphNodeGetDependentNodes(node: u64, out: u64, n: u64) -> i32 {
    unsafe { cuGraphNodeGetDependentNodes_v2(node, out, 0, n) }
}

/// Adds or removes edges. Before 12.3 the functions took no data of edges.
unsafe fn change(
    functions: [usize; 2],
    graph: u64,
    from: u64,
    to: u64,
    n: u64,
    wanted: bool,
) -> i32 {
    inside(|| unsafe {
        let (sources, targets) = (words(from, n)?, words(to, n)?);
        let mut all = lock();
        if !wanted {
            all.no_memory(graph)?;
        }
        let inside =
            |all: &Graphs, node: &u64| all.nodes.get(node).is_some_and(|n| n.graph == graph);
        if !sources.iter().chain(targets).all(|n| inside(&all, n)) {
            return Err(INVALID_VALUE);
        }
        let lowers = |of: &[u64]| -> Result<Vec<u64>, i32> {
            of.iter().map(|n| lower_of(Kind::Node, *n)).collect()
        };
        let (a, b) = (lowers(sources)?, lowers(targets)?);
        let graph = lower_of(Kind::Graph, graph)?;
        context::ensure()?;
        let (a, b) = (a.as_ptr() as u64, b.as_ptr() as u64);
        check(if lower::has(functions[0]) {
            lower::must(functions[0], &[graph, a, b, 0, n])
        } else {
            lower::must(functions[1], &[graph, a, b, n])
        })?;
        for (from, to) in sources.iter().zip(targets) {
            let after = &mut all.node(*to)?.after;
            after.retain(|a| a != from);
            if wanted {
                after.push(*from);
            }
        }
        Ok(())
    })
}

pub unsafe fn cuGraphAddDependencies_v2(graph: u64, from: u64, to: u64, data: u64, n: u64) -> i32 {
    match unsafe { plain_edges(data, n) } {
        Ok(()) => unsafe { cuGraphAddDependencies(graph, from, to, n) },
        Err(code) => code,
    }
}

pub unsafe fn cuGraphAddDependencies(graph: u64, from: u64, to: u64, n: u64) -> i32 {
    let functions = [ix::cuGraphAddDependencies_v2, ix::cuGraphAddDependencies];
    unsafe { change(functions, graph, from, to, n, true) }
}

pub unsafe fn cuGraphRemoveDependencies_v2(
    graph: u64,
    from: u64,
    to: u64,
    data: u64,
    n: u64,
) -> i32 {
    match unsafe { plain_edges(data, n) } {
        Ok(()) => unsafe { cuGraphRemoveDependencies(graph, from, to, n) },
        Err(code) => code,
    }
}

pub unsafe fn cuGraphRemoveDependencies(graph: u64, from: u64, to: u64, n: u64) -> i32 {
    let functions = [
        ix::cuGraphRemoveDependencies_v2,
        ix::cuGraphRemoveDependencies,
    ];
    unsafe { change(functions, graph, from, to, n, false) }
}

pub unsafe fn cuGraphDestroyNode(node: u64) -> i32 {
    inside(|| {
        let mut all = lock();
        let graph = all.node(node)?.graph;
        all.no_memory(graph)?;
        context::ensure()?;
        // SAFETY: a lower handle; inside the gate.
        let args = [lower_of(Kind::Node, node)?];
        check(unsafe { lower::must(ix::cuGraphDestroyNode, &args) })?;
        all.forget_node(node);
        all.graph(graph)?.nodes.retain(|n| *n != node);
        for other in all.graph(graph)?.nodes.clone() {
            all.node(other)?.after.retain(|a| *a != node);
        }
        Ok(())
    })
}

pub unsafe fn cuGraphNodeGetType(node: u64, out: u64) -> i32 {
    inside(|| unsafe { put(out, lock().node(node)?.work.number()) })
}

pub unsafe fn cuGraphChildGraphNodeGetGraph(node: u64, out: u64) -> i32 {
    inside(|| unsafe {
        match lock().node(node)?.work {
            Work::Child(graph) => put(out, graph),
            _ => Err(INVALID_VALUE),
        }
    })
}

/// Takes the graph inside a new node in.
///
/// # Errors
/// The driver's.
///
/// # Safety
/// A child's node of the lower half; inside the gate.
pub unsafe fn take_child(all: &mut Graphs, node: u64) -> Result<u64, i32> {
    // SAFETY: the caller's.
    let lower = unsafe { read::inner_graph(node) }?;
    all.take_in(lower, u64::MAX)
}
