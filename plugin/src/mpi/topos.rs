//! Topologies: the model answers; the lower half has them too, for the neighbourhood collectives.

use super::abi::*;
use super::comms::create;
use super::front::{forward, put, query, slice};
use super::lower::{self, ix, Fail, Outcome, WEIGHTS};
use super::model::comm::Topology;
use super::model::{comm as comms, lock, Comm};
use crate::gate::Inside;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// `MPI_UNWEIGHTED` and `MPI_WEIGHTS_EMPTY` of the upper half: the addresses of two words of ours.
#[export_name = "splitproc_weights"]
pub static MARKS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// A constant pointer variable of the ABI.
#[repr(transparent)]
pub struct Pointer(*const AtomicUsize);
// SAFETY: never written.
unsafe impl Sync for Pointer {}

/// `MPI_UNWEIGHTED`.
#[no_mangle]
pub static MPI_UNWEIGHTED: Pointer = Pointer(&MARKS[0]);
/// `MPI_WEIGHTS_EMPTY`.
#[no_mangle]
pub static MPI_WEIGHTS_EMPTY: Pointer = Pointer(&MARKS[1]);

/// A weights argument as the lower half wants it.
pub(super) fn weights(at: usize) -> u64 {
    let mark = MARKS.iter().position(|m| m.as_ptr() as usize == at);
    mark.map_or(at as u64, |i| WEIGHTS[i].load(Relaxed) as u64)
}

pub(super) fn unweighted(at: usize) -> bool {
    at == MARKS[0].as_ptr() as usize
}

/// The topology of a communicator.
pub fn of(c: &Comm) -> Option<Topology> {
    c.meta.get(&lock()).topology.clone()
}

/// Numbers of sources and destinations, if the communicator has a topology.
pub fn degrees(c: &Comm) -> Option<[usize; 2]> {
    Some(match of(c)? {
        Topology::Cart { dims, .. } => [2 * dims.len(); 2],
        Topology::Graph { index, edges } => [neighbours(&index, &edges, c.rank)?.len(); 2],
        Topology::Dist { sources, dests, .. } => [sources.len(), dests.len()],
    })
}

pub(super) fn neighbours<'a>(index: &[i32], edges: &'a [i32], rank: i32) -> Option<&'a [i32]> {
    let end = *index.get(rank as usize)? as usize;
    let start = if rank == 0 {
        0
    } else {
        index[rank as usize - 1] as usize
    };
    edges.get(start..end)
}

/// Gives a communicator of the lower half the topology; used by the replay.
///
/// # Safety
/// `base` must be a lower communicator of the same group.
pub unsafe fn build(t: &Topology, base: i32, out: u64) -> i32 {
    let p = |v: &Vec<i32>| v.as_ptr() as u64;
    let base = base as u64;
    match t {
        Topology::Cart { dims, periods } => lower::must(
            ix::Cart_create,
            &[base, dims.len() as u64, p(dims), p(periods), 0, out],
        ),
        Topology::Graph { index, edges } => lower::must(
            ix::Graph_create,
            &[base, index.len() as u64, p(index), p(edges), 0, out],
        ),
        Topology::Dist {
            sources,
            in_weights,
            dests,
            out_weights,
            weighted,
        } => {
            let w = |v: &Vec<i32>| match (weighted, v.is_empty()) {
                (false, _) => WEIGHTS[0].load(Relaxed) as u64,
                (true, true) => WEIGHTS[1].load(Relaxed) as u64,
                _ => p(v),
            };
            let (ns, nd) = (sources.len() as u64, dests.len() as u64);
            let args = [
                base,
                ns,
                p(sources),
                w(in_weights),
                nd,
                p(dests),
                w(out_weights),
                INFO_NULL as u64,
                0,
                out,
            ];
            lower::must(ix::Dist_graph_create_adjacent, &args)
        }
    }
}

unsafe fn with(
    comm: i32,
    out: usize,
    call: impl FnMut(&Comm, u64, &Inside) -> Outcome,
    t: Topology,
) -> i32 {
    put(out, COMM_NULL); // what stays there if it fails
    create(comm, out, call, |guard, _, new| {
        new.meta.get(guard).topology = Some(t)
    })
}

/// Makes a communicator with a topology that two lists of the application describe.
pub(super) unsafe fn make(
    index: usize,
    comm: i32,
    n: i32,
    lists: [&[i32]; 2],
    reorder: i32,
    out: usize,
    t: Topology,
) -> i32 {
    let [first, second] = lists.map(|list| list.as_ptr() as u64);
    let call = |c: &Comm, at, _: &Inside| {
        lower::call(
            index,
            &[c.low(), n as u64, first, second, reorder as u64, at],
        )
    };
    with(comm, out, call, t)
}

pub unsafe fn cart_create(
    comm: i32,
    n: i32,
    dims: usize,
    periods: usize,
    reorder: i32,
    out: usize,
) -> i32 {
    let (d, p) = (
        slice::<i32>(dims, n).to_vec(),
        slice::<i32>(periods, n).to_vec(),
    );
    let t = Topology::Cart {
        dims: d.clone(),
        periods: p.iter().map(|v| (*v != 0) as i32).collect(),
    };
    make(ix::Cart_create, comm, n, [&d, &p], reorder, out, t)
}

fn cart(comm: i32) -> Result<(&'static Comm, Vec<i32>, Vec<i32>), Fail> {
    let c = comms::get(comm)?;
    match of(c) {
        Some(Topology::Cart { dims, periods }) => Ok((c, dims, periods)),
        _ => Err(Fail::Code(ERR_TOPOLOGY)),
    }
}

/// Coordinates of a rank.
fn coords(dims: &[i32], rank: i32) -> Vec<i32> {
    let mut rest = rank;
    let mut v: Vec<i32> = dims
        .iter()
        .rev()
        .map(|d| {
            let x = rest % d;
            rest /= d;
            x
        })
        .collect();
    v.reverse();
    v
}

/// The rank at coordinates; `PROC_NULL` beyond an edge that is not periodic.
fn rank_at(dims: &[i32], periods: &[i32], at: &[i32]) -> i32 {
    let mut rank = 0;
    for ((d, p), x) in dims.iter().zip(periods).zip(at) {
        if *p == 0 && !(0..*d).contains(x) {
            return PROC_NULL;
        }
        rank = rank * d + x.rem_euclid(*d);
    }
    rank
}

pub(super) unsafe fn copy(list: &[i32], most: i32, out: usize) {
    let n = list.len().min(most.max(0) as usize);
    std::ptr::copy_nonoverlapping(list.as_ptr(), out as *mut i32, n);
}

pub unsafe fn cart_get(comm: i32, n: i32, dims: usize, periods: usize, at: usize) -> i32 {
    query(comm, || {
        let (c, d, p) = cart(comm)?;
        copy(&d, n, dims);
        copy(&p, n, periods);
        copy(&coords(&d, c.rank), n, at);
        Ok(())
    })
}

pub unsafe fn cartdim_get(comm: i32, out: usize) -> i32 {
    query(comm, || {
        cart(comm).map(|(_, d, _)| put(out, d.len() as i32))
    })
}

pub unsafe fn cart_rank(comm: i32, at: usize, out: usize) -> i32 {
    query(comm, || {
        let (_, d, p) = cart(comm)?;
        let rank = rank_at(&d, &p, slice(at, d.len() as i32));
        if rank == PROC_NULL {
            return Err(Fail::Code(ERR_ARG));
        }
        put(out, rank);
        Ok(())
    })
}

pub unsafe fn cart_coords(comm: i32, rank: i32, n: i32, out: usize) -> i32 {
    query(comm, || {
        let (c, d, _) = cart(comm)?;
        c.world_rank(rank).ok_or(Fail::Code(ERR_RANK))?;
        copy(&coords(&d, rank), n, out);
        Ok(())
    })
}

pub unsafe fn cart_shift(comm: i32, direction: i32, by: i32, source: usize, dest: usize) -> i32 {
    query(comm, || {
        let (c, d, p) = cart(comm)?;
        let me = coords(&d, c.rank);
        if direction < 0 || direction as usize >= d.len() {
            return Err(Fail::Code(ERR_DIMS));
        }
        let moved = |by: i32| {
            let mut at = me.clone();
            at[direction as usize] += by;
            rank_at(&d, &p, &at)
        };
        put(source, moved(-by));
        put(dest, moved(by));
        Ok(())
    })
}

pub unsafe fn cart_sub(comm: i32, remain: usize, out: usize) -> i32 {
    let (_, d, p) = match cart(comm) {
        Ok(found) => found,
        Err(e) => return super::front::finish(comm, Err(e)),
    };
    let keep = slice::<i32>(remain, d.len() as i32).to_vec();
    let only = |v: &[i32]| {
        v.iter()
            .zip(&keep)
            .filter(|(_, k)| **k != 0)
            .map(|(x, _)| *x)
            .collect()
    };
    let t = Topology::Cart {
        dims: only(&d),
        periods: only(&p),
    };
    with(
        comm,
        out,
        |c, at, _| lower::call(ix::Cart_sub, &[c.low(), keep.as_ptr() as u64, at]),
        t,
    )
}

pub unsafe fn cart_map(comm: i32, n: i32, dims: usize, periods: usize, out: usize) -> i32 {
    forward(comm, || {
        lower::call(
            ix::Cart_map,
            &[
                super::handle::comm(comm)?,
                n as u64,
                dims as u64,
                periods as u64,
                out as u64,
            ],
        )
    })
}

pub unsafe fn dims_create(nodes: i32, n: i32, dims: usize) -> i32 {
    forward(COMM_WORLD, || {
        lower::call(ix::Dims_create, &[nodes as u64, n as u64, dims as u64])
    })
}

pub unsafe fn topo_test(comm: i32, out: usize) -> i32 {
    query(comm, || {
        put(
            out,
            match of(comms::get(comm)?) {
                None => UNDEFINED,
                Some(Topology::Cart { .. }) => CART,
                Some(Topology::Graph { .. }) => GRAPH,
                Some(Topology::Dist { .. }) => DIST_GRAPH,
            },
        );
        Ok(())
    })
}
