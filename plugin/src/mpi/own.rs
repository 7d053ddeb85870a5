//! What the MPI library computes for the program is computed as on the program's own threads.
//!
//! A non-blocking reduction goes on in whatever call of the library comes next, and the helper and its assistant make calls.
//! An operator of the program's (`MPI_Op_create`) may use thread-local variables, a deep stack, or data that the program
//! uses too when it is not in MPI. So while such a reduction is under way neither of them calls the library: the program's
//! threads carry it on, in their calls and where they are held (see `coll`), and the cut waits until it is complete.
//! The library's own operators may run on any thread that rounds as the program does.

use super::complete::poll_all;
use super::model::request::Kind;
use crate::block;
use crate::gate::{self, Call};
use core::arch::asm;
use std::sync::atomic::{AtomicU32, Ordering::*};

/// Reductions by operators of the program's that are under way.
static UNDER_WAY: AtomicU32 = AtomicU32::new(0);
/// Threads of ours that are in the library.
static HELPERS: AtomicU32 = AtomicU32::new(0);
/// How the program's floating-point units round and what they pass over: MXCSR and the x87 control word.
static MXCSR: AtomicU32 = AtomicU32::new(0x1f80);
static X87: AtomicU32 = AtomicU32::new(0x37f);

/// A reduction by an operator of the program's is about to begin.
pub fn begins() {
    UNDER_WAY.fetch_add(1, SeqCst);
    while HELPERS.load(SeqCst) != 0 {
        std::thread::yield_now();
    }
}

/// It is complete.
pub fn ends() {
    UNDER_WAY.fetch_sub(1, SeqCst);
}

/// Is one under way?
pub fn any() -> bool {
    UNDER_WAY.load(SeqCst) != 0
}

/// Runs `f`, which calls the library, on a thread of ours; not if a reduction is under way that is the program's own.
pub fn unless_any(f: impl FnOnce()) {
    HELPERS.fetch_add(1, SeqCst);
    if !any() {
        round_alike();
        f();
    }
    HELPERS.fetch_sub(1, SeqCst);
}

/// Carries them on, on a thread of the program's that is held outside the gate.
pub fn carry_on() {
    let _inside = gate::enter(Call::MustComplete);
    // SAFETY: inside the gate, without the lock.
    unsafe { poll_all(|kind| kind == Kind::Coll) };
}

/// The calling thread gives the library something to compute. If it is one of ours, there is nothing to note.
pub fn note_rounding() {
    // SAFETY: the block is this thread's own.
    if unsafe { (*block::mine()).exempt } != 0 {
        return;
    }
    let (mut mxcsr, mut x87) = (0u32, 0u16);
    // SAFETY: both store a control word where they are told.
    unsafe {
        asm!("stmxcsr [{0}]", "fnstcw [{1}]", in(reg) &raw mut mxcsr, in(reg) &raw mut x87,
             options(nostack, preserves_flags));
    }
    MXCSR.store(mxcsr & !FLAGS, Relaxed);
    X87.store(u32::from(x87), Relaxed);
}

/// MXCSR's bits that say what has happened.
const FLAGS: u32 = 0x3f;

/// The calling thread, one of ours, rounds as the program does.
fn round_alike() {
    let (mxcsr, x87) = (MXCSR.load(Relaxed), X87.load(Relaxed) as u16);
    // SAFETY: the words were a thread's of this process, and what this thread computes for itself needs no rounding.
    unsafe {
        asm!("ldmxcsr [{0}]", "fldcw [{1}]", in(reg) &raw const mxcsr, in(reg) &raw const x87,
             options(nostack, preserves_flags));
    }
}
