//! Graph topologies, general and distributed.

use super::abi::*;
use super::comms::create;
use super::front::{forward, put, query, slice};
use super::lower::{self, ix, Fail, Outcome, WEIGHTS};
use super::model::comm::Topology;
use super::model::{comm as comms, Comm};
use super::topos::{copy, make, neighbours, of, unweighted, weights};
use crate::gate::Inside;
use std::sync::atomic::Ordering::Relaxed;

pub unsafe fn graph_create(
    comm: i32,
    n: i32,
    index: usize,
    edges: usize,
    reorder: i32,
    out: usize,
) -> i32 {
    let i = slice::<i32>(index, n).to_vec();
    let e = slice::<i32>(edges, i.last().copied().unwrap_or(0)).to_vec();
    let t = Topology::Graph {
        index: i.clone(),
        edges: e.clone(),
    };
    make(ix::Graph_create, comm, n, [&i, &e], reorder, out, t)
}

fn graph(comm: i32) -> Result<(Vec<i32>, Vec<i32>), Fail> {
    match of(comms::get(comm)?) {
        Some(Topology::Graph { index, edges }) => Ok((index, edges)),
        _ => Err(Fail::Code(ERR_TOPOLOGY)),
    }
}

pub unsafe fn graphdims_get(comm: i32, nodes: usize, edges: usize) -> i32 {
    query(comm, || {
        let (i, e) = graph(comm)?;
        put(nodes, i.len() as i32);
        put(edges, e.len() as i32);
        Ok(())
    })
}

pub unsafe fn graph_get(comm: i32, ni: i32, ne: i32, index: usize, edges: usize) -> i32 {
    query(comm, || {
        let (i, e) = graph(comm)?;
        copy(&i, ni, index);
        copy(&e, ne, edges);
        Ok(())
    })
}

pub unsafe fn graph_map(comm: i32, n: i32, index: usize, edges: usize, out: usize) -> i32 {
    forward(comm, || {
        lower::call(
            ix::Graph_map,
            &[
                super::handle::comm(comm)?,
                n as u64,
                index as u64,
                edges as u64,
                out as u64,
            ],
        )
    })
}

pub unsafe fn graph_neighbors_count(comm: i32, rank: i32, out: usize) -> i32 {
    query(comm, || {
        let (i, e) = graph(comm)?;
        put(
            out,
            neighbours(&i, &e, rank).ok_or(Fail::Code(ERR_RANK))?.len() as i32,
        );
        Ok(())
    })
}

pub unsafe fn graph_neighbors(comm: i32, rank: i32, most: i32, out: usize) -> i32 {
    query(comm, || {
        let (i, e) = graph(comm)?;
        copy(
            neighbours(&i, &e, rank).ok_or(Fail::Code(ERR_RANK))?,
            most,
            out,
        );
        Ok(())
    })
}

/// Records what the lower half says the neighbours of a distributed graph are.
unsafe fn record(new: &Comm, weighted: bool) -> Topology {
    let (mut i, mut o, mut w) = (0i32, 0i32, 0i32);
    let at = |p: &mut i32| p as *mut i32 as u64;
    lower::must(
        ix::Dist_graph_neighbors_count,
        &[new.low(), at(&mut i), at(&mut o), at(&mut w)],
    );
    let blank = |n: i32| vec![0i32; n.max(0) as usize];
    let (mut sources, mut in_weights, mut dests, mut out_weights) =
        (blank(i), blank(i), blank(o), blank(o));
    let p = |v: &mut Vec<i32>| v.as_mut_ptr() as u64;
    let (iw, ow) = if weighted {
        (p(&mut in_weights), p(&mut out_weights))
    } else {
        (
            WEIGHTS[0].load(Relaxed) as u64,
            WEIGHTS[0].load(Relaxed) as u64,
        )
    };
    lower::must(
        ix::Dist_graph_neighbors,
        &[
            new.low(),
            i as u64,
            p(&mut sources),
            iw,
            o as u64,
            p(&mut dests),
            ow,
        ],
    );
    Topology::Dist {
        sources,
        in_weights,
        dests,
        out_weights,
        weighted,
    }
}

unsafe fn dist(
    comm: i32,
    out: usize,
    weighted: bool,
    call: impl FnMut(&Comm, u64, &Inside) -> Outcome,
) -> i32 {
    create(comm, out, call, |guard, _, new| {
        new.meta.get(guard).topology = Some(record(new, weighted))
    })
}

pub unsafe fn dist_graph_create_adjacent(
    comm: i32,
    ni: i32,
    sources: usize,
    iw: usize,
    no: i32,
    dests: usize,
    ow: usize,
    _info: i32,
    reorder: i32,
    out: usize,
) -> i32 {
    dist(comm, out, !unweighted(iw), |c, at, _| {
        let (iw, ow, info) = (weights(iw), weights(ow), INFO_NULL as u64);
        let args = [
            c.low(),
            ni as u64,
            sources as u64,
            iw,
            no as u64,
            dests as u64,
            ow,
            info,
            reorder as u64,
            at,
        ];
        lower::call(ix::Dist_graph_create_adjacent, &args)
    })
}

pub unsafe fn dist_graph_create(
    comm: i32,
    n: i32,
    sources: usize,
    degrees: usize,
    dests: usize,
    w: usize,
    _info: i32,
    reorder: i32,
    out: usize,
) -> i32 {
    dist(comm, out, !unweighted(w), |c, at, _| {
        let (w, info) = (weights(w), INFO_NULL as u64);
        let args = [
            c.low(),
            n as u64,
            sources as u64,
            degrees as u64,
            dests as u64,
            w,
            info,
            reorder as u64,
            at,
        ];
        lower::call(ix::Dist_graph_create, &args)
    })
}

pub unsafe fn dist_graph_neighbors_count(comm: i32, i: usize, o: usize, w: usize) -> i32 {
    query(comm, || match of(comms::get(comm)?) {
        Some(Topology::Dist {
            sources,
            dests,
            weighted,
            ..
        }) => {
            put(i, sources.len() as i32);
            put(o, dests.len() as i32);
            put(w, weighted as i32);
            Ok(())
        }
        _ => Err(Fail::Code(ERR_TOPOLOGY)),
    })
}

pub unsafe fn dist_graph_neighbors(
    comm: i32,
    ni: i32,
    s: usize,
    iw: usize,
    no: i32,
    d: usize,
    ow: usize,
) -> i32 {
    query(comm, || match of(comms::get(comm)?) {
        Some(Topology::Dist {
            sources,
            in_weights,
            dests,
            out_weights,
            weighted,
        }) => {
            copy(&sources, ni, s);
            copy(&dests, no, d);
            if weighted {
                copy(&in_weights, ni, iw);
                copy(&out_weights, no, ow);
            }
            Ok(())
        }
        _ => Err(Fail::Code(ERR_TOPOLOGY)),
    })
}
