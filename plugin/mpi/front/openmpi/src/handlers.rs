//! Error handlers that are functions in Fortran or C++.

use crate::{Object, Own};
use core::mem::{offset_of, transmute};
use core::sync::atomic::Ordering::Relaxed;
use mpi_abi::canonical::SUCCESS;
use mpi_abi::Kind;
use mpi_front::callbacks::{handled, handler, kept, HANDLED};
use mpi_front::hand::{errhandler_create, to_fortran, File_c2f};
use mpi_front::{code, own};

extern "C" {
    fn calloc(n: usize, size: usize) -> *mut u8;
    fn abort() -> !;
}

/// An error handler of C++'s as the library sees it: it stores its own function in it. Its address is the handle, and its first
/// word the canonical one, as for predefined objects.
#[repr(C)]
struct Handler {
    object: Object<{ 0x78 - 8 }>,
    dispatch: usize,
    function: usize,
}

const _: () = assert!(offset_of!(Handler, dispatch) == 0x78);

unsafe extern "C" fn handler_of_cxx(kind: i32, at: *mut i32, error: *mut i32, record: usize) {
    type Dispatch = unsafe extern "C" fn(*mut usize, *mut i32, *const u8, usize);
    // SAFETY: the model passes what it was given.
    unsafe {
        let h = &*(record as *const Handler);
        let (mut object, mut value) = (handled::<Own>(kind, at), code::<Own>(*error));
        let text = c"an MPI call failed".as_ptr().cast();
        transmute::<usize, Dispatch>(h.dispatch)(&mut object, &mut value, text, h.function);
    }
}

unsafe extern "C" fn handler_of_fortran(kind: i32, at: *mut i32, error: *mut i32, function: usize) {
    type Function = unsafe extern "C" fn(*mut i32, *mut i32, ...);
    // SAFETY: the model passes what it was given.
    unsafe {
        let object = handled::<Own>(kind, at);
        let kind = HANDLED[kind as usize];
        let mut object = match kind {
            Kind::File => File_c2f::<Own>(object),
            kind => to_fortran::<Own>(kind, object),
        };
        let mut value = code::<Own>(*error);
        transmute::<usize, Function>(function)(&mut object, &mut value);
    }
}

/// Makes an error handler of a function in C (0), C++ (1) or Fortran (2); the null one if there can be none.
///
/// # Safety
/// The function is one.
#[no_mangle]
pub unsafe extern "C" fn ompi_errhandler_create(_of: i32, function: usize, language: i32) -> usize {
    let mut new = 0i32;
    // SAFETY: the caller's; the record stays.
    unsafe {
        match language {
            1 => {
                let record = calloc(1, size_of::<Handler>()).cast::<Handler>();
                if record.is_null() {
                    abort();
                }
                (*record).function = function;
                if errhandler_create(record as usize, handler_of_cxx, &mut new) == SUCCESS {
                    (*record).object.canonical.store(new, Relaxed);
                    return record as usize;
                }
            }
            2 => drop(errhandler_create(function, handler_of_fortran, &mut new)),
            _ => drop(errhandler_create(function, handler::<Own>, &mut new)),
        }
    }
    own::<Own>(Kind::Errhandler, new)
}

unsafe extern "C" fn thrower(kind: i32, at: *mut i32, error: *mut i32, record: usize) {
    // SAFETY: the record has a function of C for each kind of object.
    unsafe {
        handler::<Own>(
            kind,
            at,
            error,
            (*(record as *const [usize; 3]))[kind as usize],
        )
    };
}

/// Gives `MPI::ERRORS_THROW_EXCEPTIONS` its functions for communicators, files and windows.
///
/// # Safety
/// It is that object.
#[no_mangle]
pub unsafe extern "C" fn ompi_cxx_errhandler_set_callbacks(
    object: *const Object<8>,
    comm: usize,
    file: usize,
    window: usize,
) {
    let mut new = 0i32;
    // SAFETY: the caller's.
    unsafe {
        if errhandler_create(kept([comm, file, window]), thrower, &mut new) == SUCCESS {
            (*object).canonical.store(new, Relaxed);
        }
    }
}

/// Applies an object's error handler to an error; gives the error.
///
/// # Safety
/// The object is a communicator or a file.
#[no_mangle]
pub unsafe extern "C" fn ompi_errhandler_invoke(
    _handler: usize,
    object: usize,
    _of: i32,
    error: i32,
) -> i32 {
    // SAFETY: the caller's.
    unsafe {
        if object == &raw const crate::ompi_mpi_file_null as usize {
            crate::functions::mpi_file_call_errhandler(object, error);
        } else {
            crate::functions::mpi_comm_call_errhandler(object, error);
        }
    }
    error
}
