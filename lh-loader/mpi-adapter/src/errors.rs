//! Error classes and codes that the program adds. They get the numbers that MPICH 4.0 gives, and are kept here: the library's
//! own could be those of canonical classes.
// The functions stand in a table that is made for an ABI, whether they need it or not.
#![allow(clippy::extra_unused_type_parameters)]

use crate::functions::ix;
use crate::{library, numbers, put, Library};
use core::ffi::{c_char, CStr};
use core::mem::transmute;
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering::*};
use mpi_abi::canonical::{ERR_ARG, ERR_CLASS, ERR_OTHER, SUCCESS};

/// Most additions.
const MOST: usize = 4096;
/// The bit that new classes have.
const NEW: i32 = 0x4000_0000;
/// `MPI_MAX_ERROR_STRING`.
const LONGEST: usize = 512;

/// What MPICH says of each class: a program that goes on over another library hears the same.
#[rustfmt::skip]
static TEXTS: [&str; 62] = [
    "No MPI error",
    "Invalid buffer pointer",
    "Invalid count",
    "Invalid datatype",
    "Invalid tag",
    "Invalid communicator",
    "Invalid rank",
    "Invalid root",
    "Invalid group",
    "Invalid MPI_Op",
    "Invalid topology",
    "Invalid dimension argument",
    "Invalid argument",
    "Unknown error.  Please file a bug report.",
    "Message truncated",
    "Other MPI error",
    "Internal MPI error!",
    "See the MPI_ERROR field in MPI_Status for the error code",
    "Pending request (no error)",
    "Request pending due to failure",
    "Access denied to file",
    "Invalid amode value in MPI_File_open ",
    "Invalid file name",
    "An error occurred in a user-defined data conversion function",
    "The requested datarep name has already been specified to MPI_REGISTER_DATAREP",
    "File exists",
    "File in use by some process",
    "Invalid MPI_File",
    "Invalid MPI_Info",
    "Invalid key for MPI_Info ",
    "Invalid MPI_Info value ",
    "MPI_Info key is not defined ",
    "Other I/O error ",
    "Invalid service name (see MPI_Publish_name)",
    "Unable to allocate memory for MPI_Alloc_mem",
    "Inconsistent arguments to collective routine ",
    "Not enough space for file ",
    "File does not exist",
    "Invalid port",
    "Quota exceeded for files",
    "Read-only file or filesystem name",
    "Attempt to lookup an unknown service name ",
    "Error in spawn call",
    "Unsupported datarep passed to MPI_File_set_view ",
    "Unsupported file operation ",
    "Invalid MPI_Win",
    "Invalid base address",
    "Invalid locktype argument",
    "Invalid keyval",
    "Conflicting accesses to window ",
    "Wrong synchronization of RMA calls ",
    "Invalid size argument in RMA call",
    "Invalid displacement argument in RMA call ",
    "Invalid assert argument",
    "Process failed",
    "Target memory is not contained within the window",
    "Memory cannot be attached",
    "Memory cannot be shared",
    "Incorrect window flavor",
    "Communication object revoked",
    "Operation could not be issued (EAGAIN)",
    "failure occurred while allocating memory for a request object",
];
/// And of all other numbers that a class may have.
const UNKNOWN: &str = "Unknown error class";

/// A class or code that was added.
struct Added {
    number: AtomicI32,
    class: AtomicI32,
    text: AtomicPtr<c_char>,
}

static ADDED: [Added; MOST] = [const {
    Added {
        number: AtomicI32::new(0),
        class: AtomicI32::new(0),
        text: AtomicPtr::new(core::ptr::null_mut()),
    }
}; MOST];
static COUNT: AtomicUsize = AtomicUsize::new(0);
static CLASSES: AtomicI32 = AtomicI32::new(0);
static CODES: AtomicI32 = AtomicI32::new(0);

fn find(number: i32) -> Option<&'static Added> {
    let all = ADDED.iter().take(COUNT.load(Acquire));
    all.into_iter().find(|a| a.number.load(Acquire) == number)
}

unsafe fn add(number: i32, class: i32, out: usize) -> i32 {
    let Some(place) = ADDED.get(COUNT.fetch_add(1, AcqRel)) else {
        COUNT.store(MOST, Release);
        return ERR_OTHER;
    };
    place.class.store(class, Release);
    place.number.store(number, Release);
    put(out, number);
    SUCCESS
}

/// `MPI_Add_error_class`.
pub unsafe extern "C" fn mpi_add_error_class<A: Library>(out: usize) -> i32 {
    let class = NEW | (CLASSES.fetch_add(1, Relaxed) + 1);
    add(class, class, out)
}

/// `MPI_Add_error_code`.
pub unsafe extern "C" fn mpi_add_error_code<A: Library>(class: i32, out: usize) -> i32 {
    let number = class & (NEW | ERR_CLASS) | (CODES.fetch_add(1, Relaxed) + 1) << 8;
    add(number, class, out)
}

/// `MPI_Add_error_string`.
pub unsafe extern "C" fn mpi_add_error_string<A: Library>(code: i32, text: usize) -> i32 {
    let Some(added) = find(code) else {
        return ERR_ARG;
    };
    let old = added.text.swap(libc::strdup(text as *const c_char), AcqRel);
    libc::free(old.cast());
    SUCCESS
}

/// `MPI_Error_class`.
pub unsafe extern "C" fn mpi_error_class<A: Library>(code: i32, class: usize) -> i32 {
    let added = find(code).map(|a| a.class.load(Acquire));
    put(class, added.unwrap_or(code & ERR_CLASS));
    SUCCESS
}

/// `MPI_Error_string`.
pub unsafe extern "C" fn mpi_error_string<A: Library>(code: i32, text: usize, len: usize) -> i32 {
    let own = match (find(code), usize::try_from(code)) {
        (Some(added), _) => {
            let own = added.text.load(Acquire);
            let own = if own.is_null() {
                c""
            } else {
                CStr::from_ptr(own)
            };
            Some(own.to_bytes())
        }
        (None, Ok(class)) if class <= ERR_CLASS as usize => {
            Some(TEXTS.get(class).unwrap_or(&UNKNOWN).as_bytes())
        }
        _ => None,
    };
    if let Some(own) = own {
        let n = own.len().min(LONGEST - 1);
        core::ptr::copy_nonoverlapping(own.as_ptr(), text as *mut u8, n);
        put(text + n, 0u8);
        put(len, n as i32);
        return SUCCESS;
    }
    type Text = unsafe extern "C" fn(i32, usize, usize) -> i32;
    let f: Text = transmute(library(ix::Error_string));
    numbers::code::<A>(f(mpi_abi::error_from_canonical::<A>(code), text, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpi_abi::OpenMpi;

    #[test]
    fn additions_have_the_numbers_of_mpich() {
        let (mut numbers, mut class) = ([0i32; 5], 0i32);
        let at = |n: &mut i32| n as *mut i32 as usize;
        let mut text = [1u8; LONGEST];
        // SAFETY: places for what is stored.
        unsafe {
            mpi_add_error_class::<OpenMpi>(at(&mut numbers[0]));
            mpi_add_error_code::<OpenMpi>(14, at(&mut numbers[1]));
            mpi_add_error_class::<OpenMpi>(at(&mut numbers[2]));
            mpi_add_error_code::<OpenMpi>(numbers[2], at(&mut numbers[3]));
            mpi_add_error_code::<OpenMpi>(numbers[0], at(&mut numbers[4]));
            assert_eq!(
                numbers,
                [0x4000_0001, 0x10e, 0x4000_0002, 0x4000_0202, 0x4000_0301]
            );
            mpi_error_class::<OpenMpi>(numbers[4], at(&mut class));
            assert_eq!(class, numbers[0]);
            mpi_error_class::<OpenMpi>(0x1234_050e, at(&mut class));
            assert_eq!(class, 14);
            assert_eq!(
                mpi_add_error_string::<OpenMpi>(5, c"x".as_ptr() as usize),
                ERR_ARG
            );
            mpi_add_error_string::<OpenMpi>(numbers[3], c"mine".as_ptr() as usize);
            mpi_error_string::<OpenMpi>(numbers[3], text.as_mut_ptr() as usize, at(&mut class));
            assert_eq!((class, &text[..5]), (4, &b"mine\0"[..]));
        }
    }
}
