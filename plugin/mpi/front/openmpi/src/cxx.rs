//! What Open MPI's library of C++, `libmpi_cxx.so.40`, has of Open MPI's own. It is translation alone, and runs over this
//! front; what it would look up inside an object is found out here in another way. Its error handlers are in `handlers`.

use crate::Own;
use core::mem::transmute;
use mpi_abi::canonical::{CART, GRAPH};
use mpi_abi::Kind;
use mpi_front::callbacks::{kept, operator, splitproc_op_caller};
use mpi_front::{canonical, own, Front};

/// What kind of communicator it is, as Open MPI's C++ library numbers them.
///
/// # Safety
/// It is a handle.
#[no_mangle]
pub unsafe extern "C" fn ompi_cxx_comm_get_type(comm: usize) -> i32 {
    let (mut kind, mut inter) = (0i32, 0i32);
    // SAFETY: the caller's; both store ints.
    unsafe {
        let comm = Own::handle(comm);
        canonical::Topo_test(comm, &raw mut kind as usize);
        canonical::Comm_test_inter(comm, &raw mut inter as usize);
    }
    match (kind, inter) {
        (GRAPH, _) => 4,
        (CART, _) => 3,
        (_, 0) => 1,
        _ => 2,
    }
}

/// Calls a C++ operator: its record has the library's function and the application's.
unsafe extern "C" fn operator_of_cxx(a: usize, b: usize, count: i32, datatype: i32, record: usize) {
    type Intercept = unsafe extern "C" fn(usize, usize, *mut i32, *mut usize, usize);
    let (mut count, mut datatype) = (count, own::<Own>(Kind::Datatype, datatype));
    // SAFETY: the model passes what it was given.
    unsafe {
        let [intercept, function, _] = *(record as *const [usize; 3]);
        transmute::<usize, Intercept>(intercept)(a, b, &mut count, &mut datatype, function);
    }
}

/// Makes an operator one of C++'s: its function so far is the library's, which calls `function`.
///
/// # Safety
/// It is a handle of an operator.
#[no_mangle]
pub unsafe extern "C" fn ompi_op_set_cxx_callback(op: usize, function: usize) {
    // SAFETY: the caller's.
    unsafe {
        let op = Own::handle(op);
        let intercept = splitproc_op_caller(op, operator::<Own, i32>, 0);
        let record = kept([intercept, function, 0]);
        splitproc_op_caller(op, operator_of_cxx, record);
    }
}
