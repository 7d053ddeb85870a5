//! The lower half's functions: resolved once into a static table, called by index.

use super::turn;
use crate::crossing::{self, Restarted};
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

include!(concat!(env!("OUT_DIR"), "/table.rs"));

/// Why a call into the lower half gave no result code of its own.
#[derive(Debug)]
pub enum Fail {
    /// An MPI error found by the front.
    Code(i32),
    /// The thread is in a restarted process: translate and call again.
    Restarted,
}

impl From<Restarted> for Fail {
    fn from(_: Restarted) -> Fail {
        Fail::Restarted
    }
}

/// What calls into the lower half give.
pub type Outcome = Result<i32, Fail>;

/// The functions' addresses.
pub(crate) static TABLE: [AtomicUsize; COUNT] = [const { AtomicUsize::new(0) }; COUNT];
static HALF: AtomicUsize = AtomicUsize::new(0);
static BIAS: AtomicUsize = AtomicUsize::new(0);
/// The library is Open MPI.
static OPEN_MPI: AtomicBool = AtomicBool::new(false);
/// The lower half's `MPI_UNWEIGHTED` and `MPI_WEIGHTS_EMPTY`.
pub static WEIGHTS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// Looks every function up in the half; after a restart again.
pub fn resolve() {
    let half = crossing::mpi_half();
    if half == usize::MAX {
        without();
    }
    crate::dmtcp::late::look_at_languages();
    HALF.store(half, Relaxed);
    for (slot, name) in TABLE.iter().zip(NAMES) {
        // The profiling names are the implementation; a tool in the lower half is not ours to call.
        let name = CString::new(format!("PMPI_{name}")).unwrap_or_default();
        let found = crossing::sym(half, &name);
        let missing = missing as *const () as usize;
        slot.store(if found == 0 { missing } else { found }, Relaxed);
    }
    BIAS.store(crossing::sym(half, c"splitproc_bias"), Relaxed);
    OPEN_MPI.store(crossing::sym(half, c"ompi_mpi_comm_world") != 0, Relaxed);
    for (slot, name) in WEIGHTS
        .iter()
        .zip([c"MPI_UNWEIGHTED", c"MPI_WEIGHTS_EMPTY"])
    {
        let at = crossing::sym(half, name) as *const usize;
        if !at.is_null() {
            // SAFETY: an exported pointer variable of the loaded library.
            slot.store(unsafe { *at }, Relaxed);
        }
    }
}

/// Who calls the library from now on.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Callers {
    /// The calling thread, the helper, as well as the program.
    Helper = 0,
    /// The program alone.
    Program = 1,
    /// The calling thread beside the helper.
    Assistant = 2,
    /// The calling thread no more.
    NoAssistant = 3,
}

/// The program opened MPI's library after its start, and nobody knew that it would.
#[cold]
fn without() -> ! {
    crate::streams::flush();
    eprintln!(
        "splitproc: this process has no MPI half, because its program is not linked with MPI: under DMTCP launch it with \
         SPLITPROC_LH=mpi, else with `splitproc launch --mpi mpich` (or openmpi)"
    );
    // SAFETY: ends the process.
    unsafe { libc::_exit(70) }
}

/// Tells who calls the library: its lock is ours (see `turn`), or it has locks of its own, biased to one thread of the
/// program (see `lh_loader::bias`).
///
/// # Safety
/// From a place that no restart can interrupt.
pub unsafe fn callers(to: Callers) {
    match to {
        Callers::Helper => turn::lock_is_used(),
        Callers::Program => turn::lock_is_left(),
        Callers::Assistant => turn::assist(true),
        Callers::NoAssistant => turn::assist(false),
    }
    let f = BIAS.load(Relaxed);
    if f != 0 {
        // SAFETY: the function takes an int; the caller answers for the rest.
        unsafe { crossing::cross_must(HALF.load(Relaxed), f, &[to as u64]) };
    }
}

/// What is called in place of a function that the library has not got.
extern "C" fn missing() -> i32 {
    crossing::upper(|| {
        crate::streams::flush();
        let name = NAMES.get(super::inside::noted()).unwrap_or(&"?");
        eprintln!("splitproc: MPI_{name} is not supported by this MPI library");
        // SAFETY: ends the process.
        unsafe { libc::_exit(70) }
    })
}

/// The address of function `index`, which the thread's block notes as what is called.
#[inline(always)]
fn noted(index: usize) -> usize {
    super::inside::function(index);
    TABLE[index].load(Relaxed)
}

/// Calls function `index` of the lower half.
///
/// # Safety
/// The arguments must be what the function expects, handles translated.
#[inline(always)]
pub unsafe fn call(index: usize, args: &[u64]) -> Outcome {
    let f = noted(index);
    let turn = turn::enter();
    // SAFETY: the table holds the function's address; the caller answers for the arguments.
    let r = unsafe { crossing::cross(HALF.load(Relaxed), f, args) };
    turn::leave(turn);
    match r {
        Ok(code) => Ok(code as i32),
        Err(_) => Err(Fail::Restarted),
    }
}

/// Calls a function from a place that no restart can interrupt; an MPI code either way.
///
/// # Safety
/// As `call`.
#[inline(always)]
pub unsafe fn must(index: usize, args: &[u64]) -> i32 {
    let f = noted(index);
    let turn = turn::enter();
    // SAFETY: the table holds the function's address; the caller answers for the rest.
    let code = unsafe { crossing::cross_must(HALF.load(Relaxed), f, args) as i32 };
    turn::leave(turn);
    code
}

/// What a call gave that may be saved.
#[derive(Clone, Copy)]
pub struct Called {
    /// Its code.
    pub code: i32,
    /// Not 0: none, there was a restart, and the call has not happened.
    pub restarted: i32,
}

impl Called {
    /// Has it happened, without an error?
    #[inline(always)]
    pub fn succeeded(self) -> bool {
        self.code | self.restarted == 0
    }

    /// As other calls say it.
    #[inline(always)]
    pub fn outcome(self) -> Outcome {
        match self.restarted {
            0 => Ok(self.code),
            _ => Err(Fail::Restarted),
        }
    }
}

/// Calls a function by a crossing in place, in a turn that began at the gate and is to be ended: its index, then up to six
/// arguments, each by the register that C has for it, an int by its lower half, so that nothing has to be done to the upper
/// one. With a semicolon before it, the seventh argument. What it is gives [`Called`].
///
/// # Safety
/// As [`call`]; the thread has come through `gate::enter_in_place`.
macro_rules! call_in_place {
    ($index:expr, $($argument:tt)*) => {
        $crate::mpi::lower::call_in_place!(@ "sub rsp, 8", $index, $($argument)*)
    };
    ($index:expr; $seventh:expr, $($argument:tt)*) => {
        $crate::mpi::lower::call_in_place!(@ "push r10", $index, in("r10") $seventh, $($argument)*)
    };
    (@ $store:literal, $index:expr, $($argument:tt)*) => {{
        $crate::mpi::inside::function($index);
        let (code, restarted): (i32, i32);
        $crate::in_place::may_be_saved!($crate::mpi::lower::TABLE, $index, $store, $crate::block::mine(),
            $($argument)* lateout("eax") code, lateout("r10d") restarted,);
        $crate::mpi::lower::Called { code, restarted }
    }};
}

/// The same in a call that must complete: its code.
///
/// # Safety
/// As [`must`]; the thread has come through `gate::enter_in_place`.
macro_rules! must_in_place {
    ($index:expr, $($argument:tt)*) => {
        $crate::mpi::lower::must_in_place!(@ 16, "", $index, $($argument)*)
    };
    ($index:expr; $seventh:expr, $($argument:tt)*) => {
        $crate::mpi::lower::must_in_place!(@ 32, "mov [rsp], r10", $index, in("r10") $seventh, $($argument)*)
    };
    (@ $room:literal, $store:literal, $index:expr, $($argument:tt)*) => {{
        $crate::mpi::inside::function($index);
        let code: i32;
        $crate::in_place::must!($crate::mpi::lower::TABLE, $index, $room, $store, $crate::block::mine(),
            $($argument)* lateout("eax") code,);
        code
    }};
}

pub(crate) use {call_in_place, must_in_place};

/// [`call`] in a turn that began at the gate and is to be ended, with any number of arguments.
///
/// # Safety
/// As `call`.
#[inline(always)]
pub unsafe fn call_marked(index: usize, args: &[u64]) -> Called {
    let f = noted(index);
    // SAFETY: as in `call`.
    match unsafe { crossing::cross(HALF.load(Relaxed), f, args) } {
        Ok(code) => Called {
            code: code as i32,
            restarted: 0,
        },
        Err(Restarted) => Called {
            code: 0,
            restarted: 1,
        },
    }
}

/// Before the library is started: will it have one caller at a time? See `turn`.
///
/// # Safety
/// No thread of the program calls the library meanwhile.
pub unsafe fn serialized(asked_for_one: bool) -> bool {
    // SAFETY: the caller's.
    unsafe { turn::begin(HALF.load(Relaxed), asked_for_one) }
}

/// May requests of files be under way while several threads call the library? Open MPI's (4.1) are in a list that every
/// call goes through without a lock: two threads complete a request twice, and it crashes.
pub fn file_requests_are_safe() -> bool {
    !OPEN_MPI.load(Relaxed)
}

/// Does the library's `MPI_Waitall` come back where a request has failed before? Open MPI's (4.1) waits for ever, if it has
/// locks.
#[inline(always)]
pub fn waits_for_failed_requests() -> bool {
    !OPEN_MPI.load(Relaxed)
}

/// Has the library this function?
pub fn has(index: usize) -> bool {
    TABLE[index].load(Relaxed) != missing as *const () as usize
}
