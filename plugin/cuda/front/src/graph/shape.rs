//! Graphs as a whole: made, copied, destroyed, and what of them comes after what.

use super::{edges_of, list, lock, lower_of, read, words, Edge, Graphs, Work};
use crate::codes::*;
use crate::context;
use crate::driver::{check, inside, put};
use crate::lower::{self, ix};
use crate::model::Kind;

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
            let known = crate::model::lock().known(Kind::Node, found);
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

/// All edges of a graph: from, to, data.
fn edges(all: &mut Graphs, graph: u64) -> Result<Vec<[u64; 3]>, i32> {
    let nodes = all.graph(graph)?.nodes.clone();
    let into = |n: u64| {
        let after = all.nodes.get(&n).map_or(Vec::new(), |n| n.after.clone());
        after.into_iter().map(move |(a, data)| [a, n, data])
    };
    Ok(nodes.into_iter().flat_map(into).collect())
}

/// Gives the data of edges to a caller who has room for `n`. Who wants the nodes alone must not miss any.
unsafe fn tell_data(found: &[u64], nodes: u64, data: u64, n: u64) -> Result<(), i32> {
    if data == 0 && nodes != 0 && found.iter().any(|d| *d != 0) {
        return Err(LOSSY_QUERY);
    }
    if data == 0 || n == 0 {
        return Ok(());
    }
    // SAFETY: the program's places.
    unsafe {
        let mut room = (n as *const u64).read();
        list(found, data, &raw mut room as u64)
    }
}

pub unsafe fn cuGraphGetEdges_v2(graph: u64, from: u64, to: u64, data: u64, n: u64) -> i32 {
    inside(|| unsafe {
        if (from == 0) != (to == 0) || n == 0 {
            return Err(INVALID_VALUE);
        }
        let found = edges(&mut lock(), graph)?;
        let column = |i: usize| found.iter().map(|e| e[i]).collect::<Vec<u64>>();
        tell_data(&column(2), from, data, n)?;
        let mut room = (n as *const u64).read();
        list(&column(0), from, &raw mut room as u64)?;
        list(&column(1), to, n)
    })
}

pub unsafe fn cuGraphGetEdges(graph: u64, from: u64, to: u64, n: u64) -> i32 {
    unsafe { cuGraphGetEdges_v2(graph, from, to, 0, n) }
}

/// Nodes at other ends of edges, with their data.
unsafe fn tell_edges(found: Vec<Edge>, out: u64, data: u64, n: u64) -> Result<(), i32> {
    let (nodes, told): (Vec<u64>, Vec<u64>) = found.into_iter().unzip();
    // SAFETY: the program's places.
    unsafe {
        tell_data(&told, out, data, n)?;
        list(&nodes, out, n)
    }
}

pub unsafe fn cuGraphNodeGetDependencies_v2(node: u64, out: u64, data: u64, n: u64) -> i32 {
    inside(|| unsafe {
        let after = lock().node(node)?.after.clone();
        tell_edges(after, out, data, n)
    })
}

pub unsafe fn cuGraphNodeGetDependencies(node: u64, out: u64, n: u64) -> i32 {
    unsafe { cuGraphNodeGetDependencies_v2(node, out, 0, n) }
}

pub unsafe fn cuGraphNodeGetDependentNodes_v2(node: u64, out: u64, data: u64, n: u64) -> i32 {
    inside(|| unsafe {
        let mut all = lock();
        let graph = all.node(node)?.graph;
        let found = edges(&mut all, graph)?.into_iter();
        let found = found.filter(|e| e[0] == node).map(|e| (e[1], e[2]));
        tell_edges(found.collect(), out, data, n)
    })
}

pub unsafe fn cuGraphNodeGetDependentNodes(node: u64, out: u64, n: u64) -> i32 {
    unsafe { cuGraphNodeGetDependentNodes_v2(node, out, 0, n) }
}

/// Adds edges between lower nodes, or removes them. Before 12.3 the functions took no data of edges.
///
/// # Errors
/// The driver's.
///
/// # Safety
/// The handles must be the lower half's, the data as many; inside the gate.
pub unsafe fn connect(
    graph: u64,
    from: &[u64],
    to: &[u64],
    data: &[u64],
    wanted: bool,
) -> Result<(), i32> {
    let (new, old) = match wanted {
        true => (ix::cuGraphAddDependencies_v2, ix::cuGraphAddDependencies),
        false => (
            ix::cuGraphRemoveDependencies_v2,
            ix::cuGraphRemoveDependencies,
        ),
    };
    let (n, plain) = (from.len() as u64, data.iter().all(|d| *d == 0));
    let [from, to, data] = [from, to, data].map(|list| list.as_ptr() as u64);
    // SAFETY: the caller's.
    check(unsafe {
        if lower::has(new) || !plain {
            let data = if plain { 0 } else { data };
            lower::must(new, &[graph, from, to, data, n])
        } else {
            lower::must(old, &[graph, from, to, n])
        }
    })
}

unsafe fn change(graph: u64, from: u64, to: u64, data: u64, n: u64, wanted: bool) -> i32 {
    inside(|| unsafe {
        let (sources, targets) = (edges_of(from, data, n)?, words(to, n)?);
        let mut all = lock();
        if !wanted {
            all.no_memory(graph)?;
        }
        let inside =
            |all: &Graphs, node: &u64| all.nodes.get(node).is_some_and(|n| n.graph == graph);
        let mut nodes = sources.iter().map(|e| &e.0).chain(targets);
        if !nodes.all(|n| inside(&all, n)) {
            return Err(INVALID_VALUE);
        }
        let lower = |node: &u64| lower_of(Kind::Node, *node);
        let a: Result<Vec<u64>, i32> = sources.iter().map(|e| lower(&e.0)).collect();
        let b: Result<Vec<u64>, i32> = targets.iter().map(lower).collect();
        let data: Vec<u64> = sources.iter().map(|e| e.1).collect();
        context::ensure()?;
        connect(lower_of(Kind::Graph, graph)?, &a?, &b?, &data, wanted)?;
        for (edge, to) in sources.into_iter().zip(targets) {
            let after = &mut all.node(*to)?.after;
            after.retain(|a| *a != edge);
            if wanted {
                after.push(edge);
            }
        }
        Ok(())
    })
}

pub unsafe fn cuGraphAddDependencies_v2(graph: u64, from: u64, to: u64, data: u64, n: u64) -> i32 {
    unsafe { change(graph, from, to, data, n, true) }
}

pub unsafe fn cuGraphAddDependencies(graph: u64, from: u64, to: u64, n: u64) -> i32 {
    unsafe { change(graph, from, to, 0, n, true) }
}

pub unsafe fn cuGraphRemoveDependencies_v2(
    graph: u64,
    from: u64,
    to: u64,
    data: u64,
    n: u64,
) -> i32 {
    unsafe { change(graph, from, to, data, n, false) }
}

pub unsafe fn cuGraphRemoveDependencies(graph: u64, from: u64, to: u64, n: u64) -> i32 {
    unsafe { change(graph, from, to, 0, n, false) }
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
            all.node(other)?.after.retain(|(a, _)| *a != node);
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
