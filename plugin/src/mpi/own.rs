//! What the MPI library computes for the program is computed as on the program's own threads.
//!
//! A non-blocking reduction goes on in whatever call of the library comes next, and the helper and its assistant make calls.
//! An operator of the program's (`MPI_Op_create`) may use thread-local variables, a deep stack, or data that the program
//! uses too when it is not in MPI. So while such a reduction is under way neither of them calls the library: the program's
//! threads carry it on, in their calls and where they are held (see `coll`), and the cut waits until it is complete.
//! The library's own operators may run on any thread that rounds as the program does.
//!
//! As long as an operator of the program's computes, a library that has one caller at a time lets nobody in (see `turn`). So
//! then, too, neither of them calls it, and while one of them is inside no such operator begins.

use super::complete::poll_all;
use super::lower::NAMES;
use super::model::request::Kind;
use super::model::WORLD_RANK;
use super::{cut, turn};
use crate::block;
use crate::gate::{self, Call};
use core::arch::asm;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::{Duration, Instant};

/// Reductions by operators of the program's that are under way.
static UNDER_WAY: AtomicU32 = AtomicU32::new(0);
/// Threads of ours that are in the library.
static HELPERS: AtomicU32 = AtomicU32::new(0);
/// Operators of the program's that compute.
static COMPUTING: AtomicU32 = AtomicU32::new(0);
/// The function, by its index, in which the last of them does.
static COMPUTES_IN: AtomicU32 = AtomicU32::new(0);
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

/// Runs an operator of the program's, which the library has called.
pub fn computes(f: impl FnOnce()) {
    // SAFETY: the block is this thread's own.
    let b = unsafe { &*block::mine() };
    COMPUTES_IN.store(b.function.load(Relaxed), Relaxed);
    COMPUTING.fetch_add(1, SeqCst);
    // Who is inside may wait for this thread's turn. If a reduction is under way the library may be half done here.
    while b.exempt == 0 && turn::is_serialized() && !any() && HELPERS.load(SeqCst) != 0 {
        turn::give_way_if_wanted();
        std::thread::yield_now();
    }
    f();
    COMPUTING.fetch_sub(1, SeqCst);
}

/// Is there an operator of the program's that computes and keeps others out of the library?
pub fn keeps_out() -> bool {
    turn::is_serialized() && COMPUTING.load(SeqCst) != 0
}

/// Does an operator of the program's compute? In words.
pub fn computing() -> Option<String> {
    if COMPUTING.load(SeqCst) == 0 {
        return None;
    }
    let (me, function) = (WORLD_RANK.load(Relaxed), COMPUTES_IN.load(Relaxed));
    let name = NAMES.get(function as usize).unwrap_or(&"?");
    Some(format!(
        "rank {me} computes with an operator of the program's in MPI_{name}"
    ))
}

/// Runs `f`, which calls the library, on a thread of ours; not if a reduction is under way that is the program's own, or its
/// operator keeps others out.
pub fn unless_any(f: impl FnOnce()) {
    inside(|| !any(), f);
}

/// Runs `f`, which calls the library, on a thread of ours, as soon as no operator of the program's keeps others out.
///
/// # Errors
/// One does, for longer than a cut waits.
pub fn between<R>(mut f: impl FnMut() -> R) -> Result<R, String> {
    let begin = Instant::now();
    loop {
        if let Some(done) = inside(|| true, &mut f) {
            return Ok(done);
        }
        match computing() {
            Some(what) if begin.elapsed() > cut::patience() => return Err(what),
            _ => std::thread::sleep(Duration::from_micros(100)),
        }
    }
}

/// Runs `f` on a thread of ours that is inside, if it may and no operator of the program's keeps it out.
fn inside<R>(may: impl FnOnce() -> bool, f: impl FnOnce() -> R) -> Option<R> {
    HELPERS.fetch_add(1, SeqCst);
    let done = (!keeps_out() && may()).then(|| {
        round_alike();
        f()
    });
    HELPERS.fetch_sub(1, SeqCst);
    done
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
