//! The lower half's functions: resolved once into a static table, called by index.

use super::codes::*;
use super::model::Kind;
use super::record::{Layout, P};
use super::{fault, printed};
use crate::plugin::{self, Restarted};
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};

include!(concat!(env!("OUT_DIR"), "/cuda_table.rs"));

/// In a block's note of the function called: it is one of this table.
pub const NOTE: u32 = 1 << 30;

static TABLE: [AtomicUsize; COUNT] = [const { AtomicUsize::new(0) }; COUNT];
/// What only our own CPU device has: `int (u64 at, u64 len)`, 0 if nothing there has been touched.
static TOUCHED: AtomicUsize = AtomicUsize::new(0);
static HALF: AtomicUsize = AtomicUsize::new(usize::MAX);
/// The program has initialised CUDA.
static ACTIVE: AtomicBool = AtomicBool::new(false);

/// Has the program initialised CUDA?
pub fn active() -> bool {
    ACTIVE.load(Acquire)
}

/// From now on there is something that a checkpoint has to do.
pub fn set_active() {
    ACTIVE.store(true, Release);
}

/// Looks every function up in the half; after a restart again. False: there is no such half.
pub fn resolve() -> bool {
    let Some(half) = plugin::half() else {
        return false;
    };
    HALF.store(half, Relaxed);
    for (slot, name) in TABLE.iter().zip(NAMES) {
        slot.store(plugin::symbol(half, name), Relaxed);
    }
    let touched = plugin::symbol(half, c"splitproc_cuda_touched");
    TOUCHED.store(touched, Relaxed);
    printed::resolve(half);
    true
}

/// Has memory of the device been touched, as far as is known? What has not is zero.
pub fn touched(at: u64, len: u64) -> bool {
    match TOUCHED.load(Relaxed) {
        0 => true,
        // SAFETY: the function has this type, and reads nothing of ours.
        function => unsafe { own(function, &[at, len]) as i32 != 0 },
    }
}

/// Calls a function that is not in the table, which only our own device has.
///
/// # Safety
/// It must be one of the half's, with these arguments; the gate is entered as must-complete, or closed.
pub unsafe fn own(function: usize, args: &[u64]) -> u64 {
    let note = NOTE | COUNT as u32;
    // SAFETY: the caller's.
    unsafe { plugin::cross_must(note, HALF.load(Relaxed), function, args) }
}

/// Has the driver this function?
pub fn has(index: usize) -> bool {
    TABLE[index].load(Relaxed) != 0
}

/// What a thread's block notes of a call.
fn note(index: usize) -> u32 {
    index as u32 | NOTE
}

/// What is called in place of a function that the driver has not got.
extern "C" fn missing() -> i32 {
    NOT_SUPPORTED
}

fn function(index: usize) -> usize {
    match TABLE[index].load(Relaxed) {
        0 => {
            super::driver::say_once(&format!(
                "{:?} is not in this machine's driver",
                NAMES[index]
            ));
            missing as *const () as usize
        }
        f => f,
    }
}

/// What a call has given; that of a fault is kept.
#[inline]
fn seen(index: usize, args: &[u64], code: i32) -> i32 {
    if fault::stays(code) {
        fault::note(index, args, code);
    }
    code
}

/// Calls a function that a restart may interrupt.
///
/// # Errors
/// `Restarted`: translate and call again.
///
/// # Safety
/// The arguments must be what the function expects, handles translated.
pub unsafe fn call(index: usize, args: &[u64]) -> Result<i32, Restarted> {
    // SAFETY: the table holds the function's address; the caller answers for the arguments.
    let done = unsafe { plugin::cross(note(index), HALF.load(Relaxed), function(index), args) };
    done.map(|code| seen(index, args, code as i32))
}

/// Calls a function from a place that no restart can interrupt.
///
/// # Safety
/// As [`call`].
#[inline]
pub unsafe fn must(index: usize, args: &[u64]) -> i32 {
    // SAFETY: as in `call`.
    let code =
        unsafe { plugin::cross_must(note(index), HALF.load(Relaxed), function(index), args) };
    seen(index, args, code as i32)
}

/// The name of a function that a thread's block notes.
pub fn noted(note: u32) -> Option<&'static CStr> {
    let index = (note & NOTE != 0).then_some((note & !NOTE) as usize)?;
    NAMES.get(index).copied()
}
