//! A front is a library under the name of an MPI library, in the application's half. Its functions are generated from the
//! table: each translates its arguments to the canonical ABI, calls libsplitproc.so's function, and translates what
//! comes back. Here is what they call; what differs between ABIs is in the trait [`Front`].
//!
//! The upper half's thread runs it as it runs the application: everything is saved and restored with that.
#![no_std]

pub mod callbacks;
pub mod canonical;
pub mod hand;
pub mod temporary;

use core::ops::Range;
use mpi_abi::canonical::{ERRORS_ARE_FATAL, IN_PLACE, SUCCESS};
use mpi_abi::{error_from_canonical, Abi, Kind};

extern "C" {
    /// Has the model give errors of requests to the error handlers of their communicators.
    pub fn splitproc_errors_of_requests();
}

/// What a library of Rust's without std must have, and what a front says when it is loaded: each front's crate says this once.
#[macro_export]
macro_rules! without_std {
    () => {
        #[used]
        #[link_section = ".init_array"]
        static LOADED: unsafe extern "C" fn() = $crate::splitproc_errors_of_requests;

        // core was built to unwind; nothing of ours does.
        core::arch::global_asm!(
            ".globl rust_eh_personality",
            ".hidden rust_eh_personality",
            "rust_eh_personality: ud2",
        );

        /// A defect of ours: the job ends.
        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo) -> ! {
            // SAFETY: MPI_COMM_WORLD always is.
            unsafe { $crate::canonical::Abort(mpi_abi::canonical::COMM_WORLD, 134) };
            loop {}
        }
    };
}

/// The model's own handles, as ABIs whose handles are pointers carry them: what they are made of is never that low.
const DYNAMIC: Range<usize> = 0x8000_0000..0x1_0000_0000;

/// An ABI that an application is built for.
pub trait Front: 'static {
    /// Its numbers.
    type Abi: Abi;
    /// Its status.
    type Status: Copy + From<mpi_abi::canonical::Status> + Into<mpi_abi::canonical::Status>;
    /// The version of MPI that it is, where it is not the lower half's.
    const VERSION: Option<[i32; 2]>;
    /// The version of the standard's ABI that it has.
    const ABI_VERSION: Option<[i32; 2]>;
    /// What `MPI_Get_library_version` begins with.
    const LIBRARY: &'static str;
    /// The last error code of the ABI itself.
    const LAST_CODE: i32;
    /// Errors of a window that no error handler was set for end the program; else MPI_COMM_WORLD's has them.
    const WINDOWS_ARE_FATAL: bool;

    /// The canonical handle.
    ///
    /// # Safety
    /// `own` is a handle of this ABI.
    unsafe fn handle(own: usize) -> i32;
    /// Its handle of a predefined object.
    fn predefined(kind: Kind, canonical: i32) -> usize;
    /// Its number of a handle in Fortran.
    fn to_fortran(kind: Kind, canonical: i32) -> i32;
    /// The canonical handle of a number in Fortran.
    fn from_fortran(kind: Kind, number: i32) -> i32;
    /// Its own text of an error class.
    fn error_text(code: i32) -> Option<&'static str>;
}

/// Its handle of an object.
#[inline(always)]
pub fn own<A: Front>(kind: Kind, canonical: i32) -> usize {
    let word = canonical as u32 as usize;
    // Types of a value and an index are predefined, and have the bit too.
    if DYNAMIC.contains(&word) && word >> 24 != 0x8c {
        return word;
    }
    A::predefined(kind, canonical)
}

/// Whether a word is a handle of the model's.
#[inline(always)]
pub fn dynamic(word: usize) -> bool {
    DYNAMIC.contains(&word)
}

/// The canonical handle of a file, which is an address.
#[inline(always)]
pub fn file<A: Front>(own: usize) -> usize {
    if own == A::predefined(Kind::File, 0) {
        0
    } else {
        own
    }
}

/// Its handle of a file.
#[inline(always)]
pub fn own_file<A: Front>(canonical: usize) -> usize {
    match canonical {
        0 => A::predefined(Kind::File, 0),
        other => other,
    }
}

/// A message buffer.
#[inline(always)]
pub fn buffer<A: Front>(at: usize) -> usize {
    if at == <A::Abi>::IN_PLACE {
        IN_PLACE
    } else {
        at
    }
}

/// The canonical `MPI_BUFFER_AUTOMATIC`.
const AUTOMATIC: usize = usize::MAX - 1;

/// A buffer for buffered sends.
#[inline(always)]
pub fn attached<A: Front>(at: usize) -> usize {
    if <A::Abi>::BUFFER_AUTOMATIC == Some(at) {
        AUTOMATIC
    } else {
        at
    }
}

/// The buffer that was detached.
///
/// # Safety
/// `at` points to an address, unless the call failed.
pub unsafe fn detached<A: Front>(code: i32, at: usize) {
    let p = at as *mut usize;
    if let (SUCCESS, Some(automatic)) = (code, <A::Abi>::BUFFER_AUTOMATIC) {
        // SAFETY: the caller's.
        unsafe {
            if p.read_unaligned() == AUTOMATIC {
                p.write_unaligned(automatic);
            }
        }
    }
}

extern "C" {
    #[link_name = "splitproc_weights"]
    static WEIGHTS: [usize; 2];
}

/// Weights of a graph's edges.
#[inline(always)]
pub fn weights<A: Front>(at: usize) -> usize {
    match <A::Abi>::WEIGHTS.iter().position(|w| *w == at) {
        // SAFETY: only the address of libsplitproc.so's variable is taken.
        Some(i) => unsafe { (&raw const WEIGHTS).cast::<usize>().add(i) as usize },
        None => at,
    }
}

/// The code that the application gets.
#[inline(always)]
pub fn code<A: Front>(canonical: i32) -> i32 {
    match canonical {
        SUCCESS => SUCCESS,
        other => failed::<A>(other),
    }
}

#[cold]
fn failed<A: Front>(canonical: i32) -> i32 {
    error_from_canonical::<A::Abi>(canonical)
}

/// Translates the number behind a pointer that a call has written, if it has.
///
/// # Safety
/// `at` points to a number, unless the call failed.
#[inline(always)]
pub unsafe fn written(code: i32, at: usize, own: impl Fn(i32) -> i32) {
    if code == SUCCESS {
        let p = at as *mut i32;
        // SAFETY: the caller's.
        unsafe { p.write_unaligned(own(p.read_unaligned())) };
    }
}

/// As [`written`] for many.
///
/// # Safety
/// There are `n` numbers there, unless the call failed.
pub unsafe fn all_written(code: i32, at: usize, n: i64, own: impl Fn(i32) -> i32) {
    for i in 0..n.max(0) as usize {
        // SAFETY: the caller's.
        unsafe { written(code, at + 4 * i, &own) };
    }
}

/// The handle that is behind a pointer.
///
/// # Safety
/// There is one.
#[inline(always)]
pub unsafe fn behind<A: Front>(at: usize) -> i32 {
    // SAFETY: the caller's.
    unsafe { A::handle((at as *const usize).read()) }
}

/// Stores a handle. No handle is 0: the call has left it as it was.
///
/// # Safety
/// `at` is a place for one.
#[inline(always)]
pub unsafe fn put<A: Front>(at: usize, kind: Kind, canonical: i32) {
    if canonical != 0 {
        // SAFETY: the caller's.
        unsafe { (at as *mut usize).write(own::<A>(kind, canonical)) };
        if kind == Kind::Window && A::WINDOWS_ARE_FATAL && dynamic(canonical as u32 as usize) {
            // SAFETY: it has just been made.
            unsafe { canonical::Win_set_errhandler(canonical, ERRORS_ARE_FATAL) };
        }
    }
}
