//! Graphs built in the lower half of what the model knows: at a restart.

use super::nodes::add_lower;
use super::{lock, lower_of, read, Edge, Graphs, Work};
use crate::codes::*;
use crate::context;
use crate::driver::check;
use crate::lower::{self, ix};
use crate::model::{self, Kind};
use std::collections::BTreeMap;

/// A node in a copy of a graph.
#[derive(Clone)]
pub struct Step {
    /// The program's node.
    pub node: u64,
    /// The lower node by which a graph that can be launched knows it.
    pub lower: u64,
    /// What it does.
    pub work: Work,
    /// What it comes after: places of steps before it, and edges' data.
    after: Vec<(usize, u64)>,
    /// A child's steps.
    pub child: Vec<Step>,
    /// Does it do anything?
    pub enabled: bool,
}

impl Graphs {
    /// A copy of what a graph does, in an order that suits it.
    ///
    /// # Errors
    /// It goes round in a circle.
    pub fn plan(&self, graph: u64) -> Result<Vec<Step>, i32> {
        let graph = self.graphs.get(&graph).ok_or(INVALID_VALUE)?;
        let mut left: Vec<u64> = graph.nodes.clone();
        let mut places: BTreeMap<u64, usize> = BTreeMap::new();
        let mut steps = Vec::new();
        while !left.is_empty() {
            let before = left.len();
            let mut later = Vec::new();
            for handle in left {
                let node = self.nodes.get(&handle).ok_or(INVALID_VALUE)?;
                let place = |(a, data): &Edge| Some((*places.get(a)?, *data));
                let after: Option<Vec<(usize, u64)>> = node.after.iter().map(place).collect();
                let Some(after) = after else {
                    later.push(handle);
                    continue;
                };
                places.insert(handle, steps.len());
                let child = match node.work {
                    Work::Child(graph) => self.plan(graph)?,
                    _ => Vec::new(),
                };
                steps.push(Step {
                    node: handle,
                    lower: lower_of(Kind::Node, handle)?,
                    work: node.work.clone(),
                    after,
                    child,
                    enabled: true,
                });
            }
            left = later;
            if left.len() == before {
                return Err(INVALID_VALUE);
            }
        }
        Ok(steps)
    }
}

/// Builds a graph in the lower half; gives it, and its nodes in the order of the steps.
///
/// # Errors
/// The driver's; nothing is left.
///
/// # Safety
/// Inside the gate, in a context.
pub unsafe fn build(steps: &[Step]) -> Result<(u64, Vec<u64>), i32> {
    let mut graph = 0_u64;
    // SAFETY: a place for a handle, then handles that the lower half gave.
    unsafe {
        check(lower::must(ix::cuGraphCreate, &[&raw mut graph as u64, 0]))?;
        let built = fill(graph, steps);
        if built.is_err() {
            lower::must(ix::cuGraphDestroy, &[graph]);
        }
        Ok((graph, built?))
    }
}

unsafe fn fill(graph: u64, steps: &[Step]) -> Result<Vec<u64>, i32> {
    let mut nodes: Vec<u64> = Vec::new();
    for step in steps {
        let after: Vec<Edge> = step.after.iter().map(|(i, d)| (nodes[*i], *d)).collect();
        // SAFETY: handles of the lower half; a child's graph is copied by the call.
        let node = unsafe {
            let child = match step.work {
                Work::Child(_) => build(&step.child)?.0,
                _ => 0,
            };
            let added = add_lower(graph, &after, &step.work, child);
            if child != 0 {
                lower::must(ix::cuGraphDestroy, &[child]);
            }
            let node = added?;
            step.work.attributes(node)?;
            node
        };
        nodes.push(node);
    }
    Ok(nodes)
}

/// Builds all graphs again, and those that can be launched.
///
/// # Errors
/// The driver's.
///
/// # Safety
/// On the helper thread, in a fresh half that has all else.
pub unsafe fn replay() -> Result<(), i32> {
    let mut all = lock();
    let graphs: Vec<(u64, u64)> = all
        .graphs
        .iter()
        .filter(|(_, g)| g.within == 0)
        .map(|(h, g)| (*h, g.context))
        .collect();
    for (handle, of) in graphs {
        let steps = all.plan(handle)?;
        // SAFETY: the caller's.
        let (graph, nodes) = context::with(of, || unsafe {
            context::ensure()?;
            build(&steps)
        })?;
        model::lock().renew_handle(Kind::Graph, handle, graph);
        for (step, node) in steps.iter().zip(nodes) {
            model::lock().renew_handle(Kind::Node, step.node, node);
            // SAFETY: a lower node of this kind.
            unsafe { inner(step) }?;
        }
    }
    let execs: Vec<u64> = all.execs.keys().copied().collect();
    for handle in execs {
        let exec = all.exec(handle)?;
        // SAFETY: the caller's.
        let lower = context::with(exec.context, || unsafe {
            context::ensure()?;
            let (graph, nodes) = build(&exec.steps)?;
            exec.made_of = graph;
            for (step, node) in exec.steps.iter_mut().zip(nodes) {
                step.lower = node;
            }
            instantiate_lower(graph, exec.flags, &exec.steps)
        })?;
        model::lock().renew_handle(Kind::Exec, handle, lower);
    }
    Ok(())
}

/// A child's graph has its nodes in the order in which they were made.
unsafe fn inner(step: &Step) -> Result<(), i32> {
    let Work::Child(graph) = step.work else {
        return Ok(());
    };
    // SAFETY: the caller's.
    let (lower, nodes) = unsafe {
        let lower = read::inner_graph(lower_of(Kind::Node, step.node)?)?;
        (lower, read::nodes(lower)?)
    };
    model::lock().renew_handle(Kind::Graph, graph, lower);
    // It was built in the order of its steps.
    for (child, node) in step.child.iter().zip(nodes) {
        model::lock().renew_handle(Kind::Node, child.node, node);
        // SAFETY: the caller's.
        unsafe { inner(child) }?;
    }
    Ok(())
}

/// Makes a lower graph ready to be launched; nodes that do nothing do so again.
///
/// # Errors
/// The driver's.
///
/// # Safety
/// Inside the gate, in a context; the steps are this graph's.
pub unsafe fn instantiate_lower(graph: u64, flags: u64, steps: &[Step]) -> Result<u64, i32> {
    let mut exec = 0_u64;
    // SAFETY: a place for a handle, and handles of the lower half.
    unsafe {
        let args = [&raw mut exec as u64, graph, flags];
        check(lower::must(ix::cuGraphInstantiateWithFlags, &args))?;
        for step in steps.iter().filter(|s| !s.enabled) {
            check(lower::must(
                ix::cuGraphNodeSetEnabled,
                &[exec, step.lower, 0],
            ))?;
        }
    }
    Ok(exec)
}
