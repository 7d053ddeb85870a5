//! Capture: a stream's work becomes a graph. The lower half does it; what came of it is read from there.

use super::nodes::add_lower;
use super::{edges_of, lock, lower_of, wanted_here, Edge, Graphs, Work};
use crate::codes::*;
use crate::driver::{check, inside, put};
use crate::lower::{self, ix};
use crate::model::{self, Kind};
use crate::{context, stream};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Mutex;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// `CU_STREAM_SET_CAPTURE_DEPENDENCIES`.
const ALONE: u64 = 1;
/// `CU_STREAM_CAPTURE_STATUS_NONE` and `_ACTIVE`.
const NONE: u32 = 0;
const ACTIVE: u32 = 1;

/// A capture that has begun.
pub(super) struct Open {
    /// The lower half's number for it.
    id: u64,
    /// Its graph, as far as it is known.
    graph: u64,
    /// The program has given it.
    given: bool,
    /// The mode that it began in.
    pub mode: u32,
    /// The thread that it began in.
    pub thread: ThreadId,
}

#[derive(Default)]
pub(super) struct Captures {
    /// By the stream that they began with.
    pub open: BTreeMap<u64, Open>,
    /// What each stream's next work comes after, as it was told last: nodes, and edges' data.
    told: BTreeMap<u64, [Vec<u64>; 2]>,
}

static CAPTURES: Mutex<Captures> = Mutex::new(Captures {
    open: BTreeMap::new(),
    told: BTreeMap::new(),
});
/// How many have begun and not ended.
static COUNT: AtomicUsize = AtomicUsize::new(0);

pub(super) fn captures() -> std::sync::MutexGuard<'static, Captures> {
    CAPTURES.lock().unwrap_or_else(|e| e.into_inner())
}

/// May a stream be captured now?
pub(super) fn any() -> bool {
    COUNT.load(Relaxed) > 0
}

impl Captures {
    fn count(&mut self) {
        // A stream that is destroyed takes its capture with it.
        let alive = |stream: &u64| model::object(Kind::Stream, *stream).is_some();
        self.open.retain(|stream, _| alive(stream));
        if self.open.is_empty() {
            self.told.clear();
        }
        COUNT.store(self.open.len(), Relaxed);
    }
}

/// How many captures have begun and not ended.
pub fn open_captures() -> usize {
    if any() {
        captures().count();
    }
    COUNT.load(Relaxed)
}

/// Waits until no stream is captured, for so long at the most.
pub fn wait_for_captures(limit: Duration) {
    let begin = Instant::now();
    while open_captures() > 0 && begin.elapsed() < limit {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn status(stream: u64) -> Result<u32, i32> {
    let mut status = NONE;
    // SAFETY: a lower handle, and a place for a number; inside the gate.
    unsafe {
        let args = [stream::lower(stream)?, &raw mut status as u64];
        check(lower::must(ix::cuStreamIsCapturing, &args))?;
    }
    Ok(status)
}

/// Is this stream captured? Inside the gate, in a context.
pub fn capturing(stream: u64) -> bool {
    any() && status(stream).is_ok_and(|s| s != NONE)
}

unsafe fn begun(stream: u64, graph: u64, mode: i32) -> Result<(), i32> {
    // SAFETY: the caller's.
    let id = unsafe { info(stream) }?.id;
    let mut captures = captures();
    let open = Open {
        id,
        graph,
        given: graph != 0,
        mode: mode as u32,
        thread: thread::current().id(),
    };
    captures.open.insert(stream, open);
    captures.count();
    Ok(())
}

/// How a stream's capture stands, in the lower half's handles.
struct Info {
    status: u32,
    id: u64,
    graph: u64,
    /// What its next work comes after.
    after: Vec<Edge>,
}

unsafe fn info(stream: u64) -> Result<Info, i32> {
    let [mut status, mut id, mut graph, mut list, mut data, mut len] = [0_u64; 6];
    let [a, b, c, d, e] = [&mut status, &mut id, &mut graph, &mut list, &mut len];
    let [a, b, c, d, e] = [a, b, c, d, e].map(|place| core::ptr::from_mut(place) as u64);
    // SAFETY: a lower handle, and places for what is told; the list stays until the stream's next work.
    unsafe {
        let lowered = stream::lower(stream)?;
        check(if lower::has(ix::cuStreamGetCaptureInfo_v3) {
            let data = &raw mut data as u64;
            let args = [lowered, a, b, c, d, data, e];
            lower::must(ix::cuStreamGetCaptureInfo_v3, &args)
        } else {
            lower::must(ix::cuStreamGetCaptureInfo_v2, &[lowered, a, b, c, d, e])
        })?;
        let active = status as u32 == ACTIVE;
        Ok(Info {
            status: status as u32,
            id,
            graph,
            after: edges_of(list, data, if active { len } else { 0 })?,
        })
    }
}

/// The graph that a capture makes, with all that it has now.
unsafe fn graph_of(all: &mut Graphs, info: &Info) -> Result<u64, i32> {
    // SAFETY: the caller's.
    let known = unsafe { known_graph(all, info.graph) }?;
    let mut captures = captures();
    let open = captures.open.values_mut();
    open.filter(|o| o.id == info.id)
        .for_each(|o| o.graph = known);
    Ok(known)
}

/// The program's nodes for lower ones.
fn known_nodes(lowers: &[Edge]) -> Result<Vec<Edge>, i32> {
    let model = model::lock();
    let known = |(n, data): &Edge| Some((model.known(Kind::Node, *n)?, *data));
    let nodes: Option<Vec<Edge>> = lowers.iter().map(known).collect();
    nodes.ok_or(INVALID_HANDLE)
}

/// Captures what the lower half knows nothing of: it gets an empty node.
unsafe fn capture(
    stream: u64,
    work: impl FnOnce(&mut Graphs, u64) -> Result<Work, i32>,
) -> Result<(), i32> {
    let mut all = lock();
    // SAFETY: places for handles, and handles of the lower half; the caller's.
    unsafe {
        let info = info(stream)?;
        if info.status != ACTIVE {
            return Err(STREAM_CAPTURE_INVALIDATED);
        }
        let graph = graph_of(&mut all, &info)?;
        let after = known_nodes(&info.after)?;
        let work = work(&mut all, graph)?;
        let added = add_lower(info.graph, &info.after, &Work::Empty, 0);
        let added = added.and_then(|node| {
            depend(stream::lower(stream)?, &[(node, 0)], ALONE)?;
            Ok(node)
        });
        if added.is_err() {
            all.sweep()?;
        }
        all.add_node(graph, added?, work, after);
    }
    Ok(())
}

/// Captures an allocation; gives its address.
///
/// # Errors
/// The code for the application.
///
/// # Safety
/// Inside the gate, in a context; the stream is captured.
pub unsafe fn capture_allocation(stream: u64, len: u64) -> Result<u64, i32> {
    let mut at = 0;
    // SAFETY: the caller's.
    unsafe {
        capture(stream, |all, _| {
            at = all.allocate(wanted_here(len)?)?;
            Ok(Work::Allocate(at))
        })
    }?;
    Ok(at)
}

/// Captures that a graph's memory is freed.
///
/// # Errors
/// As [`capture_allocation`].
///
/// # Safety
/// As there.
pub unsafe fn capture_free(stream: u64, at: u64) -> Result<(), i32> {
    // SAFETY: the caller's.
    unsafe {
        capture(stream, |all, graph| {
            all.may_free(graph, at)?;
            Ok(Work::Free(at))
        })
    }
}

pub unsafe fn cuStreamBeginCapture_v2(stream: u64, mode: i32) -> i32 {
    inside(|| unsafe {
        context::ensure()?;
        let stream = stream::resolve(stream)?;
        let args = [stream::lower(stream)?, mode as u64];
        check(lower::must(ix::cuStreamBeginCapture_v2, &args))?;
        begun(stream, 0, mode)
    })
}

/// Lower nodes for the program's.
unsafe fn lowers(after: u64, edges: u64, n: u64) -> Result<Vec<Edge>, i32> {
    // SAFETY: the caller's.
    let after = unsafe { edges_of(after, edges, n) }?.into_iter();
    after
        .map(|(a, data)| Ok((lower_of(Kind::Node, a)?, data)))
        .collect()
}

/// Nodes and edges' data as two lists; the second's address is 0 if all edges are plain.
fn lists(after: &[Edge]) -> ([Vec<u64>; 2], u64) {
    let (nodes, data): (Vec<u64>, Vec<u64>) = after.iter().copied().unzip();
    let at = match data.iter().all(|d| *d == 0) {
        true => 0,
        false => data.as_ptr() as u64,
    };
    ([nodes, data], at)
}

pub unsafe fn cuStreamBeginCaptureToGraph(
    stream: u64,
    graph: u64,
    after: u64,
    edges: u64,
    n: u64,
    mode: i32,
) -> i32 {
    inside(|| unsafe {
        context::ensure()?;
        let stream = stream::resolve(stream)?;
        let (after, data) = lists(&lowers(after, edges, n)?);
        let args = [
            stream::lower(stream)?,
            lower_of(Kind::Graph, graph)?,
            after[0].as_ptr() as u64,
            data,
            n,
            mode as u64,
        ];
        check(lower::must(ix::cuStreamBeginCaptureToGraph, &args))?;
        begun(stream, graph, mode)
    })
}

/// The graph that a capture makes, with all that it has now.
unsafe fn known_graph(all: &mut Graphs, lower: u64) -> Result<u64, i32> {
    let known = model::lock().known(Kind::Graph, lower);
    match known {
        Some(graph) => {
            // SAFETY: its lower graph.
            unsafe { all.sync(graph, lower) }?;
            Ok(graph)
        }
        None => all.take_in(lower, 0),
    }
}

pub unsafe fn cuStreamEndCapture(stream: u64, out: u64) -> i32 {
    inside(|| unsafe {
        if out == 0 {
            return Err(INVALID_VALUE);
        }
        context::ensure()?;
        put(out, 0_u64)?;
        let stream = stream::resolve(stream)?;
        let mut lower = 0_u64;
        let args = [stream::lower(stream)?, &raw mut lower as u64];
        let ended = check(lower::must(ix::cuStreamEndCapture, &args));
        let over = status(stream) == Ok(NONE);
        let open = {
            let mut captures = captures();
            let open = over.then(|| captures.open.remove(&stream)).flatten();
            captures.count();
            open
        };
        let mut all = lock();
        let graph = ended.and_then(|()| known_graph(&mut all, lower));
        if let (
            Err(_),
            Some(Open {
                graph,
                given: false,
                ..
            }),
        ) = (graph, open)
        {
            // What was known of it is gone with it.
            all.forget_graph(graph);
            all.sweep()?;
            if lower != 0 {
                lower::must(ix::cuGraphDestroy, &[lower]);
            }
        }
        put(out, graph?)
    })
}

pub unsafe fn cuStreamGetCaptureInfo_v3(
    stream: u64,
    told: u64,
    id: u64,
    graph: u64,
    after: u64,
    edges: u64,
    n: u64,
) -> i32 {
    inside(|| unsafe {
        if told == 0 {
            return Err(INVALID_VALUE);
        }
        context::ensure()?;
        let stream = stream::resolve(stream)?;
        let info = info(stream)?;
        put(told, info.status)?;
        if info.status != ACTIVE {
            return Ok(());
        }
        if id != 0 {
            put(id, info.id)?;
        }
        if graph != 0 || after != 0 {
            let known = graph_of(&mut lock(), &info)?;
            let (told, data) = lists(&known_nodes(&info.after)?);
            if data != 0 && after != 0 && edges == 0 {
                return Err(LOSSY_QUERY);
            }
            let nodes = told[0].as_ptr() as u64;
            // The lists stay until they are asked for again.
            captures().told.insert(stream, told);
            if graph != 0 {
                put(graph, known)?;
            }
            if after != 0 {
                put(after, nodes)?;
            }
            if edges != 0 {
                put(edges, data)?;
            }
        }
        if n != 0 {
            put(n, info.after.len())?;
        }
        Ok(())
    })
}

pub unsafe fn cuStreamGetCaptureInfo_v2(
    stream: u64,
    status: u64,
    id: u64,
    graph: u64,
    after: u64,
    n: u64,
) -> i32 {
    unsafe { cuStreamGetCaptureInfo_v3(stream, status, id, graph, after, 0, n) }
}

pub unsafe fn cuStreamGetCaptureInfo(stream: u64, status: u64, id: u64) -> i32 {
    unsafe { cuStreamGetCaptureInfo_v3(stream, status, id, 0, 0, 0, 0) }
}

pub unsafe fn cuStreamUpdateCaptureDependencies_v2(
    stream: u64,
    after: u64,
    edges: u64,
    n: u64,
    flags: i32,
) -> i32 {
    inside(|| unsafe {
        context::ensure()?;
        let after = lowers(after, edges, n)?;
        depend(stream::lower(stream)?, &after, flags as u64)
    })
}

/// Tells the lower half what a stream's next work comes after.
unsafe fn depend(stream: u64, after: &[Edge], flags: u64) -> Result<(), i32> {
    let (after, data) = lists(after);
    let (list, n) = (after[0].as_ptr() as u64, after[0].len() as u64);
    // SAFETY: handles of the lower half; the caller's.
    check(unsafe {
        if lower::has(ix::cuStreamUpdateCaptureDependencies_v2) || data != 0 {
            let args = [stream, list, data, n, flags];
            lower::must(ix::cuStreamUpdateCaptureDependencies_v2, &args)
        } else {
            let args = [stream, list, n, flags];
            lower::must(ix::cuStreamUpdateCaptureDependencies, &args)
        }
    })
}

pub unsafe fn cuStreamUpdateCaptureDependencies(
    stream: u64,
    after: u64,
    n: u64,
    flags: i32,
) -> i32 {
    unsafe { cuStreamUpdateCaptureDependencies_v2(stream, after, 0, n, flags) }
}
