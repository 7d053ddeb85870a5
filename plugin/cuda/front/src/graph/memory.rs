//! Nodes that allocate and free memory.
//!
//! Their memory is the model's, in the arena, from the moment the node is made: as long as a graph has the node, or one that
//! can be launched, or the program has not freed what a launch has left it. The lower half has empty nodes in their places.

use super::{edges_of, list_of, lock, nodes, Edge, Exec, Graphs, Work};
use crate::arena::GRANULE;
use crate::codes::*;
use crate::driver::{check, inside, put, refuse};
use crate::lower::{self, ix};
use crate::memory::{Access, DEVICE};
use crate::{context, cut, peers, pool};

/// `CU_MEM_ALLOCATION_TYPE_PINNED`.
const PINNED: u32 = 1;
/// `CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH`.
const FREE_ON_LAUNCH: u64 = 1;
/// `CU_EVENT_DISABLE_TIMING`.
const NO_TIMING: u64 = 2;

/// `CUDA_MEM_ALLOC_NODE_PARAMS`, by words: the pool's properties (the kind of memory, the location), who may use the memory,
/// its size, its address.
pub type Wanted = [u64; 15];
const LOCATION: usize = 1;
const ACCESS: usize = 11;
const ACCESSES: usize = 12;
const SIZE: usize = 13;
const ADDRESS: usize = 14;

/// The description of memory on the device of the thread's context.
///
/// # Errors
/// There is none.
pub fn wanted_here(len: u64) -> Result<Wanted, i32> {
    let mut wanted = [0; 15];
    wanted[0] = u64::from(PINNED);
    wanted[LOCATION] = DEVICE as u64 | (context::device()? as u64) << 32;
    wanted[SIZE] = len;
    Ok(wanted)
}

/// Memory of a node.
pub struct Memory {
    wanted: Wanted,
    context: u64,
    /// A launch has allocated it, and nothing has freed it.
    live: bool,
    /// A lower event behind the last work that has to do with it; 0: that is over.
    event: u64,
}

/// Bytes that graphs have on a device now: as asked for, and as they are mapped.
type Usage = [u64; 2];

impl Graphs {
    /// Memory for a node, on the device that its description names.
    ///
    /// # Errors
    /// The code for the application.
    ///
    /// # Safety
    /// What the description points to must be there; inside the gate.
    pub unsafe fn allocate(&mut self, mut wanted: Wanted) -> Result<u64, i32> {
        let [kind, device] = [wanted[LOCATION] as i32, (wanted[LOCATION] >> 32) as i32];
        if wanted[0] as u32 != PINNED || wanted[SIZE] == 0 {
            return Err(INVALID_VALUE);
        }
        if kind != DEVICE || wanted[0] >> 32 != 0 {
            return Err(refuse(
                "a graph's memory that is not a device's, or that other processes can have",
            ));
        }
        let known = peers::access(device);
        // SAFETY: so many descriptions.
        let given = unsafe { list_of::<Access>(wanted[ACCESS], wanted[ACCESSES]) }?;
        let fits = |a: &Access| known.iter().any(|k| k.location == a.location);
        if !given.iter().all(fits) {
            return Err(refuse(
                "a graph's memory for a device that does not reach it by cuCtxEnablePeerAccess",
            ));
        }
        let mut contexts = cut::contexts();
        // The thread's own first.
        contexts.sort_by_key(|(_, handle)| *handle != context::current());
        let on = contexts.iter().find(|(d, _)| *d == device);
        let (_, of) = *on.ok_or(INVALID_DEVICE)?;
        let at = context::with(of, || pool::obtain(wanted[SIZE]))?;
        (wanted[ACCESS], wanted[ACCESSES], wanted[ADDRESS]) = (0, 0, at);
        let memory = Memory {
            wanted,
            context: of,
            live: false,
            event: 0,
        };
        self.memory.insert(at, memory);
        let now = self.usage(device);
        let most = self.most.entry(device).or_default();
        *most = [most[0].max(now[0]), most[1].max(now[1])];
        Ok(at)
    }

    /// Lets memory go that nothing has any more.
    ///
    /// # Errors
    /// The driver's.
    pub fn sweep(&mut self) -> Result<(), i32> {
        let in_graphs = self.nodes.values().map(|n| &n.work);
        let ready = self.execs.values().flat_map(|e| &e.steps);
        let works = in_graphs.chain(ready.map(|s| &s.work));
        let used: Vec<u64> = works
            .filter_map(|w| match w {
                Work::Allocate(at) => Some(*at),
                _ => None,
            })
            .collect();
        let unused = |(at, m): &(&u64, &Memory)| !m.live && !used.contains(at);
        let list: Vec<u64> = self
            .memory
            .iter()
            .filter(unused)
            .map(|(at, _)| *at)
            .collect();
        for at in list {
            if let Some(memory) = self.memory.remove(&at) {
                context::with(memory.context, || pool::retire(at, memory.event))?;
            }
        }
        Ok(())
    }

    /// Forgets what a context had, whose memory is gone.
    pub fn forget_memory(&mut self, context: u64) {
        self.memory.retain(|_, m| m.context != context);
    }

    /// May a graph have a node that frees this?
    ///
    /// # Errors
    /// It is no memory of a graph's, or is freed already: once in its own graph, or in others.
    pub fn may_free(&self, graph: u64, at: u64) -> Result<(), i32> {
        self.memory.get(&at).ok_or(INVALID_VALUE)?;
        let of = |work: fn(&Work) -> Option<u64>| {
            let all = self.nodes.values();
            all.filter(move |n| work(&n.work) == Some(at))
                .map(|n| n.graph)
        };
        let owner = of(|w| match w {
            Work::Allocate(at) => Some(*at),
            _ => None,
        })
        .next();
        let mut freed = of(|w| match w {
            Work::Free(at) => Some(*at),
            _ => None,
        });
        match freed.any(|g| g == graph || Some(g) == owner || Some(graph) == owner) {
            true => Err(INVALID_VALUE),
            false => Ok(()),
        }
    }

    /// Has a graph such nodes? It can't be copied then, be part of another, or lose nodes.
    ///
    /// # Errors
    /// It has.
    pub fn no_memory(&self, graph: u64) -> Result<(), i32> {
        let graph = self.graphs.get(&graph).ok_or(INVALID_VALUE)?;
        let mut works = graph.nodes.iter().filter_map(|n| self.nodes.get(n));
        match works.any(|n| n.work.is_memory()) {
            true => Err(NOT_SUPPORTED),
            false => Ok(()),
        }
    }

    /// Memory that another graph which can be launched has already.
    ///
    /// # Errors
    /// There is some.
    pub fn no_second(&self, steps: &[super::Step]) -> Result<(), i32> {
        let of = |s: &super::Step| match s.work {
            Work::Allocate(at) => Some(at),
            _ => None,
        };
        let mut there = self.execs.values().flat_map(|e| &e.steps).filter_map(of);
        let new: Vec<u64> = steps.iter().filter_map(of).collect();
        match there.any(|at| new.contains(&at)) {
            true => Err(NOT_SUPPORTED),
            false => Ok(()),
        }
    }

    /// What is live after a launch, by address.
    ///
    /// # Errors
    /// It would allocate what is live, or free what is not.
    pub fn launch(&self, exec: &Exec) -> Result<Vec<(u64, bool)>, i32> {
        let mut after: Vec<(u64, bool)> = Vec::new();
        for step in &exec.steps {
            let (at, live) = match step.work {
                Work::Allocate(at) => (at, true),
                Work::Free(at) => (at, false),
                _ => continue,
            };
            let known = self.memory.get(&at).ok_or(INVALID_VALUE)?;
            let seen = after.iter().rev().find(|(a, _)| *a == at);
            let again = live && seen.is_none() && exec.flags & FREE_ON_LAUNCH != 0;
            if seen.map_or(known.live, |s| s.1) == live && !again {
                return Err(INVALID_VALUE);
            }
            after.retain(|(a, _)| *a != at);
            after.push((at, live));
        }
        Ok(after)
    }

    /// A launch has been given to a lower stream: this is live after it.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// Inside the gate, in a context.
    pub unsafe fn launched(&mut self, after: Vec<(u64, bool)>, stream: u64) -> Result<(), i32> {
        for (at, live) in &after {
            if let Some(memory) = self.memory.get_mut(at) {
                memory.live = *live;
                // SAFETY: the caller's.
                unsafe { memory.mark(stream) }?;
            }
        }
        self.sweep()
    }

    fn usage(&self, device: i32) -> Usage {
        let all = self.memory.values();
        let sizes = all
            .filter(|m| context::device_of(m.context) == Some(device))
            .map(|m| m.wanted[SIZE]);
        sizes.fold([0; 2], |[used, mapped], size| {
            [used + size, mapped + size.next_multiple_of(GRANULE)]
        })
    }
}

impl Memory {
    /// Remembers the place that a stream has come to.
    unsafe fn mark(&mut self, stream: u64) -> Result<(), i32> {
        // SAFETY: a place for a handle, and lower handles.
        unsafe {
            if self.event == 0 {
                let args = [&raw mut self.event as u64, NO_TIMING];
                check(lower::must(ix::cuEventCreate, &args))?;
            }
            check(lower::must(ix::cuEventRecord, &[self.event, stream]))
        }
    }
}

/// Frees what a launch has left the program, in the order of a lower stream, or now. False: it is no memory of a graph's.
///
/// # Errors
/// It is not live, or the driver's.
///
/// # Safety
/// Inside the gate, in a context.
pub unsafe fn free(at: u64, stream: Option<u64>) -> Result<bool, i32> {
    let mut all = lock();
    let Some(memory) = all.memory.get_mut(&at) else {
        return Ok(false);
    };
    if !memory.live {
        return Err(INVALID_VALUE);
    }
    if let Some(stream) = stream {
        // SAFETY: the caller's.
        unsafe { memory.mark(stream) }?;
    }
    memory.live = false;
    all.sweep()?;
    Ok(true)
}

/// Before a checkpoint, when no stream has work: no event is needed.
pub fn settle() {
    for memory in lock().memory.values_mut().filter(|m| m.event != 0) {
        let event = std::mem::take(&mut memory.event);
        // SAFETY: a lower event of ours; on the helper thread, with the gate closed.
        unsafe { lower::must(ix::cuEventDestroy_v2, &[event]) };
    }
}

/// Adds a node that allocates memory.
///
/// # Errors
/// The code for the application; nothing is left.
///
/// # Safety
/// The program's places and handles; inside the gate.
pub unsafe fn add_allocation(out: u64, graph: u64, after: Vec<Edge>, what: u64) -> Result<(), i32> {
    if what == 0 {
        return Err(INVALID_VALUE);
    }
    context::ensure()?;
    // SAFETY: the caller's.
    unsafe {
        let at = lock().allocate((what as *const Wanted).read())?;
        let added = nodes::add_after(out, graph, after, Work::Allocate(at));
        if added.is_err() {
            lock().sweep()?;
        }
        added?;
        put(what + 8 * ADDRESS as u64, at)
    }
}

pub unsafe fn cuGraphAddMemAllocNode(out: u64, graph: u64, after: u64, n: u64, what: u64) -> i32 {
    inside(|| unsafe { add_allocation(out, graph, edges_of(after, 0, n)?, what) })
}

pub unsafe fn cuGraphAddMemFreeNode(out: u64, graph: u64, after: u64, n: u64, at: u64) -> i32 {
    inside(|| unsafe { nodes::add(out, graph, after, n, Work::Free(at)) })
}

pub unsafe fn cuGraphMemAllocNodeGetParams(node: u64, out: u64) -> i32 {
    inside(|| {
        let mut all = lock();
        let Work::Allocate(at) = all.node(node)?.work else {
            return Err(INVALID_VALUE);
        };
        let wanted = all.memory.get(&at).ok_or(INVALID_VALUE)?.wanted;
        // SAFETY: the program's place.
        unsafe { put(out, wanted) }
    })
}

pub unsafe fn cuGraphMemFreeNodeGetParams(node: u64, out: u64) -> i32 {
    inside(|| match lock().node(node)?.work {
        // SAFETY: the program's place.
        Work::Free(at) => unsafe { put(out, at) },
        _ => Err(INVALID_VALUE),
    })
}

/// Is there such a device?
fn known(device: i32) -> Result<(), i32> {
    let all = crate::model::lock().devices.len() as i32;
    (0..all)
        .contains(&device)
        .then_some(())
        .ok_or(INVALID_DEVICE)
}

pub unsafe fn cuDeviceGetGraphMemAttribute(device: i32, which: i32, out: u64) -> i32 {
    inside(|| {
        known(device)?;
        let all = lock();
        let most = all.most.get(&device).copied().unwrap_or_default();
        let value = match which {
            0 => all.usage(device)[0],
            1 => most[0],
            2 => all.usage(device)[1],
            3 => most[1],
            _ => return Err(INVALID_VALUE),
        };
        // SAFETY: the program's place.
        unsafe { put(out, value) }
    })
}

pub unsafe fn cuDeviceSetGraphMemAttribute(device: i32, which: i32, value: u64) -> i32 {
    inside(|| {
        known(device)?;
        // SAFETY: the program's number, which must be 0: the most from now on.
        if value == 0 || ![1, 3].contains(&which) || unsafe { (value as *const u64).read() } != 0 {
            return Err(INVALID_VALUE);
        }
        let mut all = lock();
        let now = all.usage(device);
        let which = which as usize / 2;
        all.most.entry(device).or_default()[which] = now[which];
        Ok(())
    })
}

pub unsafe fn cuDeviceGraphMemTrim(device: i32) -> i32 {
    inside(|| {
        known(device)?;
        context::ensure()?;
        pool::reap(false)
    })
}
