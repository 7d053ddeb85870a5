//! Graphs: work, and what of it comes after what.

mod calls;

pub use calls::*;

use super::context::Fault;
use super::event::Event;
use super::work::Work;
use super::{driver, lock, ready, Done, Error, Handle};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_uint;
use std::sync::{Arc, Mutex, MutexGuard};

/// `CUgraphEdgeData`, as a word.
pub type EdgeData = u64;

/// What a node does.
#[derive(Clone)]
pub struct Node {
    /// The work.
    pub work: Work,
    /// What it comes after, and the edges' data. Whatever they are, it comes after all of it here.
    pub after: BTreeMap<Handle, EdgeData>,
    /// A child's graph, and its handle.
    pub child: Option<(Handle, Shared)>,
    /// The node that it is a clone of.
    original: Handle,
}

/// A graph.
#[derive(Default)]
pub struct Graph {
    /// In the order in which they were made.
    pub nodes: BTreeMap<Handle, Node>,
}

/// A graph that is used in several places.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Graph>>);

/// The graph that a node is of.
pub type NodeOf = Shared;

/// Work in an order that suits a graph, and which steps each comes after.
#[derive(Clone, Default)]
pub struct Plan(Vec<(Handle, Work, bool)>, Vec<Vec<usize>>);

/// A graph that can be launched.
pub struct Exec(Mutex<Arc<Plan>>);

/// `CUDA_GRAPH_INSTANTIATE_PARAMS`.
#[repr(C)]
pub struct Instantiate {
    flags: u64,
    stream: Handle,
    bad: Handle,
    result: c_uint,
}

impl Plan {
    /// How another one of a changed graph differs, as `CUgraphExecUpdateResult` has it: in its edges, or in what its nodes are.
    fn differs(&self, other: &Plan) -> Option<u64> {
        const TOPOLOGY: u64 = 2;
        const NODE_TYPE: u64 = 3;
        if self.1 != other.1 {
            return Some(TOPOLOGY);
        }
        self.0
            .iter()
            .zip(&other.0)
            .find_map(|(a, b)| match (&a.1, &b.1) {
                (Work::Graph(a), Work::Graph(b)) => a.differs(b),
                (a, b) if kind(a) != kind(b) => Some(NODE_TYPE),
                _ => None,
            })
    }

    /// Does all of it.
    pub fn run(&self, of: &Fault) {
        for (_, work, enabled) in &self.0 {
            if *enabled {
                work.run(of);
            }
        }
    }

    /// What it is when it is launched: what it waits for is what is recorded now, or has come earlier in it. Adds the
    /// events that it records.
    fn launched(&self, recorded: &mut Vec<Arc<Event>>) -> Plan {
        let steps = self.0.iter().map(|(handle, work, enabled)| {
            let work = match work {
                Work::Record(event) => {
                    recorded.push(event.clone());
                    work.clone()
                }
                Work::Wait(event) if recorded.iter().any(|e| Arc::ptr_eq(e, event)) => {
                    Work::Nothing
                }
                Work::Wait(event) => event.mark().map_or(Work::Nothing, Work::Until),
                Work::Graph(child) => Work::Graph(Arc::new(child.launched(recorded))),
                _ => work.clone(),
            };
            (*handle, work, *enabled)
        });
        Plan(steps.collect(), self.1.clone())
    }
}

impl Shared {
    /// A graph.
    pub fn new(graph: Graph) -> Shared {
        Shared(Arc::new(Mutex::new(graph)))
    }

    /// What it holds.
    pub fn lock(&self) -> MutexGuard<'_, Graph> {
        lock(&self.0)
    }

    /// Adds a node, or a child that is a copy of another graph.
    pub fn add(
        &self,
        work: Work,
        after: &[Handle],
        child: Option<&Shared>,
    ) -> Result<Handle, Error> {
        let child = child.map(Shared::enrolled_copy).transpose()?;
        let mut graph = self.lock();
        if after.iter().any(|node| !graph.nodes.contains_key(node)) {
            return Err(Error::INVALID_VALUE);
        }
        let handle = driver()?.nodes.add(self.clone());
        graph.nodes.insert(
            handle,
            Node {
                work,
                after: after.iter().map(|a| (*a, 0)).collect(),
                child,
                original: 0,
            },
        );
        Ok(handle)
    }

    /// These nodes, and all that come before them.
    pub fn before(&self, nodes: &[Handle]) -> BTreeSet<Handle> {
        let graph = self.lock();
        let mut found = BTreeSet::new();
        let mut left = nodes.to_vec();
        while let Some(node) = left.pop() {
            if found.insert(node) {
                left.extend(
                    graph
                        .nodes
                        .get(&node)
                        .into_iter()
                        .flat_map(|n| n.after.keys()),
                );
            }
        }
        found
    }

    /// The work in order; none if it goes round in a circle.
    pub fn plan(&self) -> Result<Plan, Error> {
        let graph = self.lock();
        let (mut plan, mut done) = (Plan::default(), BTreeMap::new());
        while done.len() < graph.nodes.len() {
            let next = graph.nodes.iter().find(|(h, n)| {
                !done.contains_key(*h) && n.after.keys().all(|a| done.contains_key(a))
            });
            let (handle, node) = next.ok_or(Error::INVALID_VALUE)?;
            let work = match &node.child {
                Some((_, child)) => Work::Graph(Arc::new(child.plan()?)),
                None => node.work.clone(),
            };
            let mut after: Vec<usize> = node.after.keys().map(|a| done[a]).collect();
            after.sort_unstable();
            done.insert(*handle, plan.0.len());
            plan.0.push((*handle, work, true));
            plan.1.push(after);
        }
        Ok(plan)
    }

    fn copy(&self) -> Result<Shared, Error> {
        let graph = self.lock();
        let copy = Shared::new(Graph::default());
        let mut names = BTreeMap::new();
        for handle in graph.nodes.keys() {
            names.insert(*handle, driver()?.nodes.add(copy.clone()));
        }
        for (handle, node) in &graph.nodes {
            let named = |(a, data): (&Handle, &EdgeData)| Some((*names.get(a)?, *data));
            let after = node.after.iter().filter_map(named);
            let child = node.child.as_ref().map(|(_, c)| c.enrolled_copy());
            let node = Node {
                work: node.work.clone(),
                after: after.collect(),
                child: child.transpose()?,
                original: *handle,
            };
            copy.lock().nodes.insert(names[handle], node);
        }
        Ok(copy)
    }

    /// A copy, with a handle.
    fn enrolled_copy(&self) -> Result<(Handle, Shared), Error> {
        let copy = self.copy()?;
        Ok((driver()?.graphs.add(copy.clone()), copy))
    }

    /// Ends the handles of what is in it.
    fn end(&self) -> Done {
        let driver = driver()?;
        for (handle, node) in &self.lock().nodes {
            driver.nodes.remove(*handle).ok();
            node.end_child();
        }
        Ok(())
    }
}

impl Node {
    fn end_child(&self) {
        if let (Some((handle, child)), Ok(driver)) = (&self.child, driver()) {
            driver.graphs.remove(*handle).ok();
            child.end().ok();
        }
    }
}

/// The graph of a node.
pub fn of(node: Handle) -> Result<Shared, Error> {
    ready()?.nodes.get(node)
}

/// A child's graph, and its handle.
pub fn child_of(node: Handle) -> Result<(Handle, Shared), Error> {
    let graph = of(node)?;
    let graph = graph.lock();
    let node = graph.nodes.get(&node).ok_or(Error::INVALID_HANDLE)?;
    node.child.clone().ok_or(Error::INVALID_VALUE)
}

/// A node's work.
pub fn work_of(node: Handle) -> Result<Work, Error> {
    let graph = of(node)?;
    let graph = graph.lock();
    graph
        .nodes
        .get(&node)
        .map(|n| n.work.clone())
        .ok_or(Error::INVALID_HANDLE)
}

/// Gives a node of a graph that can be launched other work of the same kind, or has it do nothing.
pub fn change_exec(exec: Handle, node: Handle, work: Option<Work>, enabled: Option<bool>) -> Done {
    let exec = ready()?.execs.get(exec)?;
    let mut plan = lock(&exec.0);
    let step = Arc::make_mut(&mut plan)
        .0
        .iter_mut()
        .find(|s| s.0 == node)
        .ok_or(Error::INVALID_VALUE)?;
    if let Some(work) = work {
        if kind(&step.1) != kind(&work) {
            return Err(Error::INVALID_VALUE);
        }
        step.1 = work;
    }
    step.2 = enabled.unwrap_or(step.2);
    Ok(())
}

/// `CUgraphNodeType`.
pub fn kind(work: &Work) -> c_uint {
    match work {
        Work::Kernel(_) => 0,
        Work::Copy(..) => 1,
        Work::Fill(_) => 2,
        Work::Host(..) | Work::Callback(..) => 3,
        Work::Graph(_) => 4,
        Work::Nothing => 5,
        Work::Wait(_) | Work::Until(_) => 6,
        Work::Record(_) => 7,
        Work::Free(_) => 11,
        Work::Numbers(_) => 12,
    }
}
