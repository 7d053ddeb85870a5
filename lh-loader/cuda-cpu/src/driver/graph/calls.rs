//! What programs call to make graphs, to ask them and to launch them.

use super::{change_exec, kind, of, work_of, EdgeData, Exec, Graph, Instantiate, Shared};
use crate::driver::work::Work;
use crate::driver::{all, api, get, lock, put, put_if, ready, refused, Done, Error, Handle};
use std::ffi::{c_char, c_uint};
use std::sync::{Arc, Mutex};

/// Gives a list to a caller who has room for `n`, or asks how long it is.
///
/// # Safety
/// `n` must be a number's address; if `out` isn't null it has room for so many.
unsafe fn list(found: &[Handle], out: *mut Handle, n: *mut usize) -> Done {
    // SAFETY: the caller's.
    unsafe {
        let room = *get(n)?;
        if !out.is_null() {
            for i in 0..room {
                out.add(i).write(found.get(i).copied().unwrap_or(0));
            }
        }
        put(n, found.len())
    }
}

/// Gives nodes and the data of their edges, as [`list`] does.
///
/// # Safety
/// As there; `data` as `out`.
unsafe fn list_edges(
    found: &[(Handle, EdgeData)],
    out: *mut Handle,
    data: *mut EdgeData,
    n: *mut usize,
) -> Done {
    let (nodes, told): (Vec<Handle>, Vec<EdgeData>) = found.iter().copied().unzip();
    // SAFETY: the caller's.
    unsafe {
        let mut room = *get(n)?;
        if !data.is_null() {
            list(&told, data, &mut room)?;
        }
        list(&nodes, out, n)
    }
}

/// Adds or removes edges.
///
/// # Safety
/// The lists must be null or have `n` entries.
unsafe fn edges(
    graph: Handle,
    from: *const Handle,
    to: *const Handle,
    data: *const EdgeData,
    n: usize,
    wanted: bool,
) -> Done {
    // SAFETY: the caller's.
    let (from, to, data) = unsafe {
        let data = if data.is_null() { &[] } else { all(data, n)? };
        (all(from, n)?, all(to, n)?, data)
    };
    let graph = ready()?.graphs.get(graph)?;
    let mut graph = graph.lock();
    for (i, (from, to)) in from.iter().copied().zip(to.iter().copied()).enumerate() {
        let data = data.get(i).copied().unwrap_or(0);
        // Only of a kernel other kernels may come after a part.
        let kernel = |node: &Handle| graph.nodes.get(node).is_some_and(|n| kind(&n.work) == 0);
        if data != 0 && !(kernel(&from) && kernel(&to)) {
            return Err(Error::INVALID_VALUE);
        }
        if !graph.nodes.contains_key(&from) || from == to {
            return Err(Error::INVALID_VALUE);
        }
        let node = graph.nodes.get_mut(&to).ok_or(Error::INVALID_VALUE)?;
        let changed = if wanted {
            node.after.insert(from, data).is_none()
        } else {
            node.after.remove(&from) == Some(data)
        };
        if !changed {
            return Err(Error::INVALID_VALUE);
        }
    }
    Ok(())
}

/// Makes a graph ready to be launched.
fn instantiate(graph: Handle, flags: u64) -> Result<Handle, Error> {
    /// `CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH`, and all that there are.
    const BY_KERNELS: u64 = 4;
    const ALL: u64 = 15;
    let driver = ready()?;
    match flags {
        flags if flags & !ALL != 0 => return Err(Error::INVALID_VALUE),
        flags if flags & BY_KERNELS != 0 => {
            return Err(refused::say("a graph that kernels launch"))
        }
        _ => {}
    }
    let plan = driver.graphs.get(graph)?.plan()?;
    Ok(driver.execs.add(Arc::new(Exec(Mutex::new(Arc::new(plan))))))
}

api! {
    /// A graph.
    fn cuGraphCreate(out: *mut Handle, flags: c_uint) {
        let driver = ready()?;
        get(out)?;
        match flags {
            0 => put(out, driver.graphs.add(Shared::new(Graph::default()))),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    /// Its end.
    fn cuGraphDestroy(graph: Handle) {
        let driver = ready()?;
        driver.graphs.remove(graph)?.end()
    }

    /// Another that is like it.
    fn cuGraphClone(out: *mut Handle, graph: Handle) {
        let driver = ready()?;
        get(out)?;
        put(out, driver.graphs.get(graph)?.enrolled_copy()?.0)
    }

    /// The node of a clone that is like this one of the original.
    fn cuGraphNodeFindInClone(out: *mut Handle, node: Handle, clone: Handle) {
        let clone = ready()?.graphs.get(clone)?;
        let clone = clone.lock();
        let found = clone.nodes.iter().find(|(_, n)| n.original == node);
        put(out, *found.ok_or(Error::INVALID_VALUE)?.0)
    }

    /// Takes a node out; what came after it comes after nothing of it any more.
    fn cuGraphDestroyNode(node: Handle) {
        let graph = of(node)?;
        let mut graph = graph.lock();
        graph.nodes.remove(&node).ok_or(Error::INVALID_HANDLE)?.end_child();
        graph.nodes.values_mut().for_each(|n| {
            n.after.remove(&node);
        });
        ready()?.nodes.remove(node).map(|_| ())
    }

    /// What a node is.
    fn cuGraphNodeGetType(node: Handle, out: *mut c_uint) {
        put(out, kind(&work_of(node)?))
    }

    /// All nodes.
    fn cuGraphGetNodes(graph: Handle, out: *mut Handle, n: *mut usize) {
        let graph = ready()?.graphs.get(graph)?;
        let found: Vec<Handle> = graph.lock().nodes.keys().copied().collect();
        list(&found, out, n)
    }

    /// Those that come after none.
    fn cuGraphGetRootNodes(graph: Handle, out: *mut Handle, n: *mut usize) {
        let graph = ready()?.graphs.get(graph)?;
        let graph = graph.lock();
        let found: Vec<Handle> = graph.nodes.iter().filter(|(_, n)| n.after.is_empty()).map(|(h, _)| *h).collect();
        list(&found, out, n)
    }

    /// What comes after what.
    fn cuGraphGetEdges_v2(graph: Handle, from: *mut Handle, to: *mut Handle, data: *mut EdgeData, n: *mut usize) {
        let graph = ready()?.graphs.get(graph)?;
        let graph = graph.lock();
        let pairs = graph.nodes.iter().flat_map(|(h, n)| n.after.iter().map(move |(a, data)| ((*a, *data), *h)));
        let (sources, targets): (Vec<(Handle, EdgeData)>, Vec<Handle>) = pairs.unzip();
        let mut room = *get(n)?;
        list_edges(&sources, from, data, &mut room)?;
        list(&targets, to, n)
    }

    /// What a node comes after.
    fn cuGraphNodeGetDependencies_v2(node: Handle, out: *mut Handle, data: *mut EdgeData, n: *mut usize) {
        let graph = of(node)?;
        let graph = graph.lock();
        let after = &graph.nodes.get(&node).ok_or(Error::INVALID_HANDLE)?.after;
        let found: Vec<(Handle, EdgeData)> = after.iter().map(|(a, d)| (*a, *d)).collect();
        list_edges(&found, out, data, n)
    }

    /// What comes after a node.
    fn cuGraphNodeGetDependentNodes_v2(node: Handle, out: *mut Handle, data: *mut EdgeData, n: *mut usize) {
        let graph = of(node)?;
        let graph = graph.lock();
        let found = graph.nodes.iter().filter_map(|(h, n)| Some((*h, *n.after.get(&node)?)));
        let found: Vec<(Handle, EdgeData)> = found.collect();
        list_edges(&found, out, data, n)
    }

    /// Adds edges.
    fn cuGraphAddDependencies_v2(graph: Handle, from: *const Handle, to: *const Handle, data: *const EdgeData, n: usize) {
        edges(graph, from, to, data, n, true)
    }

    /// Removes edges.
    fn cuGraphRemoveDependencies_v2(graph: Handle, from: *const Handle, to: *const Handle, data: *const EdgeData, n: usize) {
        edges(graph, from, to, data, n, false)
    }

    /// Makes a graph ready to be launched.
    fn cuGraphInstantiateWithFlags(out: *mut Handle, graph: Handle, flags: u64) {
        get(out)?;
        put(out, instantiate(graph, flags)?)
    }

    /// The same.
    fn cuGraphInstantiateWithParams(out: *mut Handle, graph: Handle, what: *mut Instantiate) {
        get(out)?;
        let seen = what.as_mut().ok_or(Error::INVALID_VALUE)?;
        (seen.bad, seen.result) = (0, 0);
        let exec = instantiate(graph, seen.flags);
        if exec.is_err() {
            seen.result = 1;
        }
        put(out, exec?)
    }

    /// The flags that it was made with: none has a meaning here.
    fn cuGraphExecGetFlags(exec: Handle, flags: *mut u64) {
        ready()?.execs.get(exec)?;
        put(flags, 0)
    }

    /// Takes over what another graph of the same shape does.
    fn cuGraphExecUpdate_v2(exec: Handle, graph: Handle, result: *mut [u64; 3]) {
        let driver = ready()?;
        let exec = driver.execs.get(exec)?;
        let new = driver.graphs.get(graph)?.plan()?;
        let mut plan = lock(&exec.0);
        let old = Arc::make_mut(&mut plan);
        let differs = old.differs(&new);
        put_if(result, [differs.unwrap_or(0), 0, 0]);
        if differs.is_some() {
            return Err(Error::GRAPH_EXEC_UPDATE_FAILURE);
        }
        old.0.iter_mut().zip(new.0).for_each(|(a, b)| a.1 = b.1);
        Ok(())
    }

    /// Does a node anything?
    fn cuGraphNodeSetEnabled(exec: Handle, node: Handle, enabled: c_uint) {
        change_exec(exec, node, None, Some(enabled != 0))
    }

    /// Does it?
    fn cuGraphNodeGetEnabled(exec: Handle, node: Handle, enabled: *mut c_uint) {
        let exec = ready()?.execs.get(exec)?;
        let plan = lock(&exec.0);
        let step = plan.0.iter().find(|s| s.0 == node).ok_or(Error::INVALID_VALUE)?;
        put(enabled, step.2.into())
    }

    /// Brings it to the device: it is there.
    fn cuGraphUpload(exec: Handle, stream: Handle) {
        let driver = ready()?;
        driver.execs.get(exec)?;
        driver.stream(stream).map(|_| ())
    }

    /// Does all of it, in the order of a stream.
    fn cuGraphLaunch(exec: Handle, stream: Handle) {
        let driver = ready()?;
        let exec = driver.execs.get(exec)?;
        if lock(&driver.stream(stream)?.part).is_some() {
            return Err(refused::say("cuGraphLaunch in a stream that is captured"));
        }
        let mut recorded = Vec::new();
        let plan = lock(&exec.0).launched(&mut recorded);
        let mark = driver.submit(stream, Work::Graph(Arc::new(plan)))?;
        recorded.iter().for_each(|event| event.recorded(mark));
        Ok(())
    }

    /// Its end.
    fn cuGraphExecDestroy(exec: Handle) {
        ready()?.execs.remove(exec).map(|_| ())
    }

    /// Draws a graph: a line for each node.
    fn cuGraphDebugDotPrint(graph: Handle, path: *const c_char, _flags: c_uint) {
        let graph = ready()?.graphs.get(graph)?;
        let graph = graph.lock();
        let lines = graph.nodes.iter().map(|(h, n)| {
            let edges: String = n.after.keys().map(|a| format!("\"{a:#x}\" -> \"{h:#x}\"\n")).collect();
            format!("\"{h:#x}\" [label=\"{}\"]\n{edges}", kind(&n.work))
        });
        let text = format!("digraph dot {{\n{}}}\n", lines.collect::<String>());
        std::fs::write(crate::driver::text(path)?, text).map_err(|_| Error::INVALID_VALUE)
    }
}
