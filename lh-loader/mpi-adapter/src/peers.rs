//! How many blocks an all-to-all has.

use crate::functions::ix;
use crate::library;
use core::mem::transmute;
use mpi_abi::{numbers, Abi};

/// Which ones.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One for each other member.
    All,
    /// One for each neighbour that is sent to.
    To,
    /// One for each neighbour that is received from.
    From,
}

type Ask = unsafe extern "C" fn(usize, *mut i32) -> i32;

/// An answer about a communicator.
unsafe fn ask(index: usize, comm: usize) -> i32 {
    let mut answer = 0;
    let f: Ask = transmute(library(index));
    f(comm, &mut answer);
    answer
}

/// The number of blocks for one of the library's communicators.
///
/// # Safety
/// The library must be started.
pub unsafe fn peers<A: Abi>(comm: usize, way: Way) -> usize {
    let inter = || ask(ix::Comm_test_inter, comm) != 0;
    let n = if way == Way::All {
        let size = if inter() {
            ix::Comm_remote_size
        } else {
            ix::Comm_size
        };
        ask(size, comm)
    } else {
        match numbers::TOPO.to_canonical::<A>(ask(ix::Topo_test, comm)) {
            mpi_abi::canonical::CART => 2 * ask(ix::Cartdim_get, comm),
            mpi_abi::canonical::DIST_GRAPH => {
                type Count = unsafe extern "C" fn(usize, *mut i32, *mut i32, *mut i32) -> i32;
                let f: Count = transmute(library(ix::Dist_graph_neighbors_count));
                let (mut from, mut to, mut weighted) = (0, 0, 0);
                f(comm, &mut from, &mut to, &mut weighted);
                if way == Way::To {
                    to
                } else {
                    from
                }
            }
            _ => {
                type Count = unsafe extern "C" fn(usize, i32, *mut i32) -> i32;
                let f: Count = transmute(library(ix::Graph_neighbors_count));
                let mut n = 0;
                f(comm, ask(ix::Comm_rank, comm), &mut n);
                n
            }
        }
    };
    n.max(0) as usize
}
