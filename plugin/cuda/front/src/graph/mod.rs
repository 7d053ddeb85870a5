//! Graphs: what the model knows of them, so that they can be built again.
//!
//! A graph has a twin in the lower half, made by the same calls. The program's questions are answered from the model. What
//! the lower half has made by itself (captured work, clones) is read from there (`read`). A graph that can be launched
//! keeps a copy of all that it does, for the graph it was made of may be changed or destroyed (`build`).

mod build;
mod capture;
mod exec;
mod generic;
mod memory;
mod mode;
mod nodes;
mod read;
mod shape;
mod work;

pub use build::{replay, Step};
pub use capture::*;
pub use exec::*;
pub use generic::*;
pub use memory::*;
pub use mode::*;
pub use nodes::*;
pub use shape::*;
pub use work::{interned, Kernel, Work};

use super::codes::*;
use super::model::{self, Kind};
use super::record::Record;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// What comes before a node, and the edge's data: `CUgraphEdgeData` as a word, 0 where the node comes after all of it.
pub type Edge = (u64, u64);

/// A node.
#[derive(Clone)]
pub struct Node {
    /// The graph that it is in.
    pub graph: u64,
    /// What it does.
    pub work: Work,
    /// What it comes after.
    pub after: Vec<Edge>,
    /// The node that it is a clone of.
    original: u64,
}

/// A graph.
#[derive(Default)]
pub struct Graph {
    /// The context that it was made in.
    context: u64,
    /// In the order in which they were made.
    pub nodes: Vec<u64>,
    /// The node that it is inside of; 0: none.
    within: u64,
}

/// A graph that can be launched.
pub struct Exec {
    /// The context that it was made in.
    context: u64,
    flags: u64,
    /// What it does, in an order that suits it.
    steps: Vec<Step>,
    /// The lower graph that it was made of at the last restart; 0: the program's graph.
    made_of: u64,
}

/// All of them, by handle.
#[derive(Default)]
pub struct Graphs {
    graphs: BTreeMap<u64, Graph>,
    nodes: BTreeMap<u64, Node>,
    execs: BTreeMap<u64, Exec>,
    /// Memory of nodes, by address.
    memory: BTreeMap<u64, Memory>,
    /// The most memory that graphs have had, by device.
    most: BTreeMap<i32, [u64; 2]>,
}

static GRAPHS: Mutex<Graphs> = Mutex::new(Graphs {
    graphs: BTreeMap::new(),
    nodes: BTreeMap::new(),
    execs: BTreeMap::new(),
    memory: BTreeMap::new(),
    most: BTreeMap::new(),
});

/// Graphs, inside the gate; locked before the model.
pub fn lock() -> MutexGuard<'static, Graphs> {
    GRAPHS.lock().unwrap_or_else(|e| e.into_inner())
}

/// A handle of the lower half for one of the program's.
fn lower_of(kind: Kind, handle: u64) -> Result<u64, i32> {
    model::lower(kind, handle).ok_or(INVALID_HANDLE)
}

fn enrol(kind: Kind, lower: u64, context: u64) -> u64 {
    model::lock().add(kind, lower, context, Record::default())
}

impl Graphs {
    /// Takes a lower graph in.
    fn add_graph(&mut self, lower: u64, context: u64, within: u64) -> u64 {
        let handle = enrol(Kind::Graph, lower, context);
        let graph = Graph {
            context,
            nodes: Vec::new(),
            within,
        };
        self.graphs.insert(handle, graph);
        handle
    }

    /// Takes a lower node in.
    fn add_node(&mut self, graph: u64, lower: u64, work: Work, after: Vec<Edge>) -> u64 {
        let context = self.graphs.get(&graph).map_or(0, |g| g.context);
        let handle = enrol(Kind::Node, lower, context);
        if let Some(graph) = self.graphs.get_mut(&graph) {
            graph.nodes.push(handle);
        }
        let node = Node {
            graph,
            work,
            after,
            original: 0,
        };
        self.nodes.insert(handle, node);
        handle
    }

    /// A graph.
    fn graph(&mut self, handle: u64) -> Result<&mut Graph, i32> {
        self.graphs.get_mut(&handle).ok_or(INVALID_VALUE)
    }

    /// A node.
    fn node(&mut self, handle: u64) -> Result<&mut Node, i32> {
        self.nodes.get_mut(&handle).ok_or(INVALID_VALUE)
    }

    fn exec(&mut self, handle: u64) -> Result<&mut Exec, i32> {
        self.execs.get_mut(&handle).ok_or(INVALID_VALUE)
    }

    /// Forgets a node, and the graph inside it.
    fn forget_node(&mut self, handle: u64) {
        if let Some(node) = self.nodes.remove(&handle) {
            model::lock().end(Kind::Node, handle);
            if let Work::Child(graph) = node.work {
                self.forget_graph(graph);
            }
        }
    }

    fn forget_graph(&mut self, handle: u64) {
        if let Some(graph) = self.graphs.remove(&handle) {
            model::lock().end(Kind::Graph, handle);
            for node in graph.nodes {
                self.forget_node(node);
            }
        }
    }

    fn forget_exec(&mut self, handle: u64) {
        if self.execs.remove(&handle).is_some() {
            model::lock().end(Kind::Exec, handle);
        }
    }
}

/// A context ends: its graphs are gone with it.
pub fn purge(context: u64) {
    let mut all = lock();
    all.forget_memory(context);
    let of = |c: u64| c == context;
    let graphs = all.graphs.iter().filter(|(_, g)| of(g.context));
    let graphs: Vec<u64> = graphs.map(|(h, _)| *h).collect();
    let execs = all.execs.iter().filter(|(_, e)| of(e.context));
    let execs: Vec<u64> = execs.map(|(h, _)| *h).collect();
    for graph in graphs {
        all.forget_graph(graph);
    }
    for exec in execs {
        all.forget_exec(exec);
    }
}

/// Gives a list to a caller who has room for `n`, or tells how long it is; what there is room for beyond that is 0.
///
/// # Safety
/// `n` must be 0 or a number's place, `out` 0 or a place for so many.
unsafe fn list(found: &[u64], out: u64, n: u64) -> Result<(), i32> {
    if n == 0 {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the caller's.
    unsafe {
        let room = (n as *const u64).read() as usize;
        if out != 0 {
            for i in 0..room {
                (out as *mut u64)
                    .add(i)
                    .write(found.get(i).copied().unwrap_or(0));
            }
        }
        let told = if out == 0 {
            found.len()
        } else {
            found.len().min(room)
        };
        (n as *mut u64).write(told as u64);
    }
    Ok(())
}

/// Words that the program has.
///
/// # Safety
/// `at` must be 0 or the address of so many.
unsafe fn words<'a>(at: u64, n: u64) -> Result<&'a [u64], i32> {
    // SAFETY: the caller's.
    unsafe { list_of(at, n) }
}

/// A list that the program has.
///
/// # Safety
/// `at` must be 0 or the address of so many.
unsafe fn list_of<'a, T>(at: u64, n: u64) -> Result<&'a [T], i32> {
    match (at, n) {
        (_, 0) => Ok(&[]),
        (0, _) => Err(INVALID_VALUE),
        // SAFETY: the caller's.
        _ => Ok(unsafe { core::slice::from_raw_parts(at as *const T, n as usize) }),
    }
}

/// Nodes and the data of the edges from them, for which there may be no list: then they are plain.
///
/// # Safety
/// `nodes` and `data` must be 0 or the address of so many words.
unsafe fn edges_of(nodes: u64, data: u64, n: u64) -> Result<Vec<Edge>, i32> {
    // SAFETY: the caller's.
    let nodes = unsafe { words(nodes, n) }?.iter().copied();
    Ok(match data {
        0 => nodes.map(|n| (n, 0)).collect(),
        // SAFETY: the caller's.
        _ => nodes
            .zip(unsafe { words(data, n) }?.iter().copied())
            .collect(),
    })
}
