//! What the libraries of Fortran and C++ want of MPICH beside MPI's own functions.
//!
//! Both libraries (`libmpichfort.so.12`, `libmpichcxx.so.12`, and `libmpifort`, `libmpicxx` of the same ABI) are translation
//! alone: they are the system's own, in the upper half, and call the front. Their calls here say in which language a
//! function of the application's is written; handles are the same in all languages. The variables that they want are in
//! the front.

use super::front::refuse;
use super::model::objects::Given;
use super::{attrs, codes, errs, ops, status, win_attrs};

/// `MPII_Keyval_set_proxy`: functions that call the functions of a key.
///
/// # Safety
/// They must be `MPII_Attr_copy_proxy` and `MPII_Attr_delete_proxy`.
#[no_mangle]
pub unsafe extern "C" fn MPII_Keyval_set_proxy(key: i32, copy: usize, delete: usize) {
    attrs::set_proxy(key, copy, delete);
}

/// `MPII_Comm_set_attr`: sets an attribute, given as the last argument says.
///
/// # Safety
/// As `MPI_Comm_set_attr`.
#[no_mangle]
pub unsafe extern "C" fn MPII_Comm_set_attr(comm: i32, key: i32, value: usize, given: i32) -> i32 {
    attrs::set(comm, key, value, Given::of(given))
}

/// `MPII_Comm_get_attr`: gets an attribute as the last argument says.
///
/// # Safety
/// As `MPI_Comm_get_attr`.
#[no_mangle]
pub unsafe extern "C" fn MPII_Comm_get_attr(
    comm: i32,
    key: i32,
    out: usize,
    flag: usize,
    wanted: i32,
) -> i32 {
    attrs::get_of_comm(comm, key, out, flag, Given::of(wanted))
}

/// `MPII_Type_set_attr`.
///
/// # Safety
/// As `MPI_Type_set_attr`.
#[no_mangle]
pub unsafe extern "C" fn MPII_Type_set_attr(t: i32, key: i32, value: usize, given: i32) -> i32 {
    attrs::set(t, key, value, Given::of(given))
}

/// `MPII_Type_get_attr`.
///
/// # Safety
/// As `MPI_Type_get_attr`.
#[no_mangle]
pub unsafe extern "C" fn MPII_Type_get_attr(
    t: i32,
    key: i32,
    out: usize,
    flag: usize,
    wanted: i32,
) -> i32 {
    attrs::get(t, key, out, flag, Given::of(wanted))
}

/// `MPII_Win_set_attr`.
///
/// # Safety
/// As `MPI_Win_set_attr`.
#[no_mangle]
pub unsafe extern "C" fn MPII_Win_set_attr(win: i32, key: i32, value: usize, given: i32) -> i32 {
    attrs::set(win, key, value, Given::of(given))
}

/// `MPII_Win_get_attr`.
///
/// # Safety
/// As `MPI_Win_get_attr`.
#[no_mangle]
pub unsafe extern "C" fn MPII_Win_get_attr(
    win: i32,
    key: i32,
    out: usize,
    flag: usize,
    wanted: i32,
) -> i32 {
    win_attrs::get(win, key, out, flag, Given::of(wanted))
}

/// `MPII_Grequest_set_lang_f77`: the functions of a generalized request are Fortran's.
#[no_mangle]
pub extern "C" fn MPII_Grequest_set_lang_f77(request: i32) {
    status::set_fortran(request);
}

/// `MPII_Op_set_cxx`: an operator's function is called by `caller`.
///
/// # Safety
/// It must be the C++ library's `MPIR_Call_op_fn`.
#[no_mangle]
pub unsafe extern "C" fn MPII_Op_set_cxx(op: i32, caller: usize) {
    ops::set_caller(op, caller, None);
}

/// A front's: the same, with another function, or its own (0); the one that it was before.
///
/// # Safety
/// It must be a caller of operators.
#[no_mangle]
pub unsafe extern "C" fn splitproc_op_caller(op: i32, caller: usize, function: usize) -> usize {
    ops::set_caller(op, caller, Some(function).filter(|f| *f != 0))
}

/// `MPII_Errhandler_set_cxx`: an error handler's function is called by `caller`. In C++ an error is an exception, never a
/// code.
///
/// # Safety
/// It must be the C++ library's `MPIR_Call_errhandler_function`.
#[no_mangle]
pub unsafe extern "C" fn MPII_Errhandler_set_cxx(handler: i32, caller: usize) {
    errs::set_caller(handler, caller, true);
}

/// A front's: an error handler's function is called by `caller`.
///
/// # Safety
/// It must be a caller of error handlers.
#[no_mangle]
pub unsafe extern "C" fn splitproc_errhandler_caller(handler: i32, caller: usize) {
    errs::set_caller(handler, caller, false);
}

/// A front's, when it is loaded: errors of requests are their communicators'.
#[no_mangle]
pub extern "C" fn splitproc_errors_of_requests() {
    errs::set_of_requests();
}

/// Is there memory of a kind of device that MPI can be given? Not through a front.
///
/// # Safety
/// `out` must be a place for an int.
#[no_mangle]
pub unsafe extern "C" fn MPIX_GPU_query_support(_kind: i32, out: *mut i32) -> i32 {
    out.write(0);
    super::abi::SUCCESS
}

/// `PMPIX_GPU_query_support`.
///
/// # Safety
/// As `MPIX_GPU_query_support`.
#[no_mangle]
pub unsafe extern "C" fn PMPIX_GPU_query_support(kind: i32, out: *mut i32) -> i32 {
    MPIX_GPU_query_support(kind, out)
}

/// Functions under MPICH's names whose arguments are not looked at.
macro_rules! named {
    ($($names:ident)* => $answer:expr) => {
        $(#[doc = concat!("`", stringify!($names), "`.")]
        #[no_mangle]
        pub extern "C" fn $names() -> i32 {
            $answer(stringify!($names))
        })*
    };
}

named!(MPIX_Query_cuda_support PMPIX_Query_cuda_support MPIX_Query_hip_support PMPIX_Query_hip_support
       MPIX_Query_ze_support PMPIX_Query_ze_support => |_| 0);
named!(MPIX_Comm_agree PMPIX_Comm_agree MPIX_Comm_revoke PMPIX_Comm_revoke MPIX_Comm_shrink PMPIX_Comm_shrink
       MPIX_Comm_failure_ack PMPIX_Comm_failure_ack MPIX_Comm_failure_get_acked PMPIX_Comm_failure_get_acked
       => |name| refuse(name));

/// MPI 4.1's functions, by the names that MPICH had for them before.
macro_rules! removals {
    ($($names:ident)* => $function:path) => {
        $(#[doc = concat!("`", stringify!($names), "`.")]
        #[no_mangle]
        pub extern "C" fn $names(number: i32) -> i32 {
            // SAFETY: a number is all that it is given.
            unsafe { $function(number) }
        })*
    };
}

removals!(MPIX_Delete_error_class PMPIX_Delete_error_class => codes::remove_error_class);
removals!(MPIX_Delete_error_code PMPIX_Delete_error_code => codes::remove_error_code);
removals!(MPIX_Delete_error_string PMPIX_Delete_error_string => codes::remove_error_string);
