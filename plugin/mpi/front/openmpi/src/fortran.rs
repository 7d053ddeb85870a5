//! Functions of Open MPI's library of Fortran that look inside Open MPI's objects. The library is otherwise translation alone, and
//! runs over this front; these stand before its own (`lh-loader/src/route/fronts.rs`), under each of their names.
//!
//! Each argument is an address.

use crate::sentinels::buffer;
use crate::Own;
use core::mem::transmute;
use mpi_abi::canonical::{Status, IN_PLACE, SUCCESS};
use mpi_abi::{error_to_canonical, numbers, Kind, OpenMpi, OpenMpiStatus};
use mpi_front::callbacks::{generalized, Generalized};
use mpi_front::hand::{op_create as make_op, peers, predefined};
use mpi_front::temporary::Ints;
use mpi_front::{canonical, code, Front};

use crate::attributes::Integer;
pub use crate::requests::{test, testall, testany, testsome, wait, waitall, waitany, waitsome};

extern "C" {
    fn MPII_Comm_get_attr(o: i32, key: i32, out: usize, flag: usize, given: i32) -> i32;
    fn MPII_Type_get_attr(o: i32, key: i32, out: usize, flag: usize, given: i32) -> i32;
    fn MPII_Win_get_attr(o: i32, key: i32, out: usize, flag: usize, given: i32) -> i32;
}

unsafe fn int(at: usize) -> i32 {
    // SAFETY: the caller's.
    unsafe { *(at as *const i32) }
}

unsafe fn handle(kind: Kind, at: usize) -> i32 {
    // SAFETY: the caller's.
    Own::from_fortran(kind, unsafe { int(at) })
}

/// Stores what a call has made, and its code, which may be left out.
unsafe fn end(kind: Kind, new: i32, out: usize, answer: i32, error: usize) {
    // SAFETY: the caller's.
    unsafe {
        if answer == SUCCESS {
            *(out as *mut i32) = Own::to_fortran(kind, new);
        }
        end_of(answer, error);
    }
}

/// Stores a call's code, which may be left out.
///
/// # Safety
/// There is room for it.
pub unsafe fn end_of(answer: i32, error: usize) {
    // SAFETY: the caller's.
    if let Some(error) = unsafe { (error as *mut i32).as_mut() } {
        *error = code::<Own>(answer);
    }
}

/// Declares functions of addresses.
macro_rules! functions {
    ($($name:ident($($p:ident),*) $body:block)*) => { $(
        /// The function of this name.
        /// # Safety
        /// As the MPI standard says of its arguments.
        #[allow(clippy::too_many_arguments)]
        pub unsafe fn $name($($p: usize),*) {
            // SAFETY: the caller's.
            unsafe { $body }
        }
    )* };
}

type Get = unsafe extern "C" fn(i32, i32, usize, usize, i32) -> i32;

/// Gets an attribute as an integer.
unsafe fn attribute<N: Integer>(get: Get, object: i32, [key, out, flag, error]: [usize; 4]) {
    let (mut value, mut found) = (0usize, 0i32);
    // SAFETY: the caller's; there is room for a word and an int.
    unsafe {
        let key = numbers::KEYVAL.to_canonical::<OpenMpi>(int(key));
        let at = &raw mut value as usize;
        let answer = get(object, key, at, &raw mut found as usize, N::GIVEN);
        if answer == SUCCESS {
            *(flag as *mut i32) = found;
            if found != 0 {
                let own = predefined::<Own>(key, value as i32);
                *(out as *mut N) = N::of(own.map_or(value, |(_, own)| own as usize));
            }
        }
        end_of(answer, error);
    }
}

functions! {
    attr_get(comm, key, out, flag, error) {
        attribute::<i32>(MPII_Comm_get_attr, handle(Kind::Comm, comm), [key, out, flag, error]);
    }
    comm_get_attr(comm, key, out, flag, error) {
        attribute::<isize>(MPII_Comm_get_attr, handle(Kind::Comm, comm), [key, out, flag, error]);
    }
    type_get_attr(datatype, key, out, flag, error) {
        let datatype = handle(Kind::Datatype, datatype);
        attribute::<isize>(MPII_Type_get_attr, datatype, [key, out, flag, error]);
    }
    win_get_attr(window, key, out, flag, error) {
        attribute::<isize>(MPII_Win_get_attr, handle(Kind::Window, window), [key, out, flag, error]);
    }
    op_create(function, commute, out, error) {
        let mut new = 0;
        let answer = make_op(function, (int(commute) != 0) as i32, operator, &mut new);
        end(Kind::Op, new, out, answer, error);
    }
    grequest_start(query_fn, free_fn, cancel_fn, extra, out, error) {
        let functions = Generalized { query: query_fn, free: free_fn, cancel: cancel_fn, extra };
        let callers = [query as *const () as usize, release as *const () as usize, cancel as *const () as usize];
        let mut new = 0;
        let answer = generalized(functions, callers, &mut new);
        end(Kind::Request, new, out, answer, error);
    }
    group_incl(group, n, ranks, out, error) { some(canonical::Group_incl, group, n, ranks, out, error) }
    group_excl(group, n, ranks, out, error) { some(canonical::Group_excl, group, n, ranks, out, error) }
    group_range_incl(group, n, ranges, out, error) {
        some(canonical::Group_range_incl, group, n, ranges, out, error)
    }
    group_range_excl(group, n, ranges, out, error) {
        some(canonical::Group_range_excl, group, n, ranges, out, error)
    }
    group_union(a, b, out, error) { both(canonical::Group_union, a, b, out, error) }
    group_intersection(a, b, out, error) { both(canonical::Group_intersection, a, b, out, error) }
    group_difference(a, b, out, error) { both(canonical::Group_difference, a, b, out, error) }
    alltoallw(s, sc, sd, st, r, rc, rd, rt, comm, error) {
        let mut all = Exchange::new(s, st, r, rt, comm, false);
        let [s, st, r, rt] = all.words();
        end_of(canonical::Alltoallw(s, sc, sd, st, r, rc, rd, rt, all.comm), error);
    }
    neighbor_alltoallw(s, sc, sd, st, r, rc, rd, rt, comm, error) {
        let mut all = Exchange::new(s, st, r, rt, comm, true);
        let [s, st, r, rt] = all.words();
        end_of(canonical::Neighbor_alltoallw(s, sc, sd, st, r, rc, rd, rt, all.comm), error);
    }
    ialltoallw(s, sc, sd, st, r, rc, rd, rt, comm, out, error) {
        let mut all = Exchange::new(s, st, r, rt, comm, false);
        let [s, st, r, rt] = all.words();
        let mut new = 0i32;
        let answer = canonical::Ialltoallw(s, sc, sd, st, r, rc, rd, rt, all.comm, &raw mut new as usize);
        end(Kind::Request, new, out, answer, error);
    }
    ineighbor_alltoallw(s, sc, sd, st, r, rc, rd, rt, comm, out, error) {
        let mut all = Exchange::new(s, st, r, rt, comm, true);
        let [s, st, r, rt] = all.words();
        let mut new = 0i32;
        let answer = canonical::Ineighbor_alltoallw(s, sc, sd, st, r, rc, rd, rt, all.comm, &raw mut new as usize);
        end(Kind::Request, new, out, answer, error);
    }
    alltoallw_init(s, sc, sd, st, r, rc, rd, rt, comm, info, out, error) {
        let mut all = Exchange::new(s, st, r, rt, comm, false);
        let [s, st, r, rt] = all.words();
        let (info, mut new) = (handle(Kind::Info, info), 0i32);
        let at = &raw mut new as usize;
        let answer = canonical::Alltoallw_init(s, sc, sd, st, r, rc, rd, rt, all.comm, info, at);
        end(Kind::Request, new, out, answer, error);
    }
    neighbor_alltoallw_init(s, sc, sd, st, r, rc, rd, rt, comm, info, out, error) {
        let mut all = Exchange::new(s, st, r, rt, comm, true);
        let [s, st, r, rt] = all.words();
        let (info, mut new) = (handle(Kind::Info, info), 0i32);
        let at = &raw mut new as usize;
        let answer = canonical::Neighbor_alltoallw_init(s, sc, sd, st, r, rc, rd, rt, all.comm, info, at);
        end(Kind::Request, new, out, answer, error);
    }
}

/// Calls an operator in Fortran.
unsafe extern "C" fn operator(a: usize, b: usize, count: i32, datatype: i32, function: usize) {
    type Function = unsafe extern "C" fn(usize, usize, *mut i32, *mut i32);
    let (mut count, mut datatype) = (count, Own::to_fortran(Kind::Datatype, datatype));
    // SAFETY: the model passes what it was given.
    unsafe { transmute::<usize, Function>(function)(a, b, &mut count, &mut datatype) };
}

unsafe extern "C" fn query(g: *const Generalized, status: *mut Status) -> i32 {
    type Function = unsafe extern "C" fn(usize, *mut OpenMpiStatus, *mut i32);
    let mut error = SUCCESS;
    // SAFETY: the record is ours; the model passes a status, which is the same in Fortran.
    unsafe {
        let mut own: OpenMpiStatus = (*status).into();
        transmute::<usize, Function>((*g).query)((*g).extra, &mut own, &mut error);
        *status = own.into();
    }
    error_to_canonical::<OpenMpi>(error)
}

unsafe extern "C" fn release(g: *mut Generalized) -> i32 {
    type Function = unsafe extern "C" fn(usize, *mut i32);
    let mut error = SUCCESS;
    // SAFETY: the record is ours, and this is its last use.
    unsafe {
        transmute::<usize, Function>((*g).free)((*g).extra, &mut error);
        Generalized::end(g);
    }
    error_to_canonical::<OpenMpi>(error)
}

unsafe extern "C" fn cancel(g: *const Generalized, complete: i32) -> i32 {
    type Function = unsafe extern "C" fn(usize, *mut i32, *mut i32);
    let (mut complete, mut error) = (complete, SUCCESS);
    // SAFETY: the record is ours.
    unsafe { transmute::<usize, Function>((*g).cancel)((*g).extra, &mut complete, &mut error) };
    error_to_canonical::<OpenMpi>(error)
}

type Some = unsafe extern "C" fn(i32, i32, usize, usize) -> i32;

/// A group of some of a group's ranks.
unsafe fn some(make: Some, group: usize, n: usize, ranks: usize, out: usize, error: usize) {
    let mut new = 0i32;
    // SAFETY: the caller's.
    unsafe {
        let group = handle(Kind::Group, group);
        let answer = make(group, int(n), ranks, &raw mut new as usize);
        end(Kind::Group, new, out, answer, error);
    }
}

/// A group of two.
unsafe fn both(
    make: unsafe extern "C" fn(i32, i32, usize) -> i32,
    a: usize,
    b: usize,
    out: usize,
    error: usize,
) {
    let mut new = 0i32;
    // SAFETY: the caller's.
    unsafe {
        let [a, b] = [a, b].map(|group| handle(Kind::Group, group));
        let answer = make(a, b, &raw mut new as usize);
        end(Kind::Group, new, out, answer, error);
    }
}

/// The buffers and datatypes of an exchange with each peer.
struct Exchange {
    comm: i32,
    buffers: [usize; 2],
    types: [Ints; 2],
}

impl Exchange {
    unsafe fn new(s: usize, st: usize, r: usize, rt: usize, comm: usize, near: bool) -> Exchange {
        let datatype = |number| Own::from_fortran(Kind::Datatype, number);
        let buffers = [buffer(s), buffer(r)];
        // SAFETY: there is a datatype for each peer; what is sent in place has none.
        unsafe {
            let comm = handle(Kind::Comm, comm);
            let sent = match buffers[0] {
                IN_PLACE => 0,
                _ => peers(comm, near, false),
            };
            let types = [
                Ints::numbers(st, sent, datatype),
                Ints::numbers(rt, peers(comm, near, true), datatype),
            ];
            Exchange {
                comm,
                buffers,
                types,
            }
        }
    }

    /// The buffers, each with its datatypes.
    fn words(&mut self) -> [usize; 4] {
        let [s, r] = self.buffers;
        let [st, rt] = &mut self.types;
        [s, st.at(), r, rt.at()]
    }
}
