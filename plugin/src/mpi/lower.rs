//! The lower half's functions: resolved once into a static table, called by index.

use super::turn;
use crate::block::{self, Block, Way};
use crate::crossing::{self, About, Restarted};
use lh_loader::layout::MAX_HALVES;
use std::ffi::CString;
use std::mem::offset_of;
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

static TABLE: [AtomicUsize; COUNT] = [const { AtomicUsize::new(0) }; COUNT];
static HALF: AtomicUsize = AtomicUsize::new(0);
/// Where in a block the way into the half is.
static WAY: AtomicUsize = AtomicUsize::new(offset_of!(Block, ways));
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
    let ways = offset_of!(Block, ways);
    WAY.store(ways + half % MAX_HALVES * size_of::<Way>(), Relaxed);
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

/// The calling thread's way into the half, if that has adopted it.
#[inline(always)]
pub fn way() -> Option<*mut Way> {
    // SAFETY: a place in this thread's own block.
    unsafe {
        let way: *mut Way = block::mine().byte_add(WAY.load(Relaxed)).cast();
        ((*way).entry != 0).then_some(way)
    }
}

/// [`call`] by this way, in a turn that began at the gate and is to be ended.
///
/// # Safety
/// As `call`; the way is this thread's own.
#[inline(always)]
pub unsafe fn call_by(way: *mut Way, index: usize, args: &[u64]) -> Result<i32, Restarted> {
    let f = noted(index);
    // SAFETY: as in `call`.
    unsafe { crossing::cross_by(way, f, args) }.map(|code| code as i32)
}

/// [`must`] by this way, in a turn that began at the gate and is to be ended.
///
/// # Safety
/// As `must`; the way is this thread's own.
#[inline(always)]
pub unsafe fn must_by(way: *mut Way, index: usize, args: &[u64]) -> i32 {
    let f = noted(index);
    // SAFETY: as in `must`.
    unsafe { crossing::cross_must_by(way, f, args) as i32 }
}

/// [`call_by`] about a message, with one more argument.
///
/// # Safety
/// As `call`; the way is this thread's own.
#[inline(always)]
pub unsafe fn call_about_by(
    way: *mut Way,
    index: usize,
    about: About,
    more: usize,
) -> Result<i32, Restarted> {
    let f = noted(index);
    // SAFETY: as in `call`.
    unsafe { crossing::cross_about_by(way, f, about, more) }
}

/// [`must_by`] about a message, with one more argument or none.
///
/// # Safety
/// As `must`; the way is this thread's own.
#[inline(always)]
pub unsafe fn must_about_by(way: *mut Way, index: usize, about: About, more: Option<usize>) -> i32 {
    let f = noted(index);
    // SAFETY: as in `must`.
    unsafe { crossing::cross_must_about_by(way, f, about, more) }
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
