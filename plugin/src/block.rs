//! A thread's switch block and the TLS hole: thread-local variables at fixed distances from FS.
//!
//! ```text
//! fs - hole[1] ..  fs - hole[0]     the hole: lower halves' static TLS, copied from their donors
//! splitproc_block                   the switch block, below
//! ```
//!
//! Both are reached without `__tls_get_addr` (initial-exec), so the code that reads them may run while
//! another half's DTV is in place, in signal handlers too. A thread that is on a borrowed TCB finds its block
//! through that TCB: see [`current`].

use crate::rest::{Rest, NESTED};
use crate::tcb;
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU8};
use lh_loader::layout::{self, Owner, MAX_HALVES};

global_asm!(
    ".section .tbss.splitproc_tls_hole,\"awT\",@nobits",
    ".p2align 6",
    ".globl splitproc_tls_hole",
    ".hidden splitproc_tls_hole",
    ".type splitproc_tls_hole, @tls_object",
    "splitproc_tls_hole:",
    ".zero {hole}",
    ".size splitproc_tls_hole, {hole}",
    ".type splitproc_block, @tls_object",
    ".globl splitproc_block",
    ".hidden splitproc_block",
    "splitproc_block:",
    ".zero 640",
    ".size splitproc_block, 640",
    ".text",
    hole = const HOLE,
);

/// Bytes of the hole.
pub const HOLE: usize = 8192;

/// What a thread is doing, for the gate.
pub const OUTSIDE: u8 = 0;
/// Inside a call whose effect may be half done.
pub const MUST_COMPLETE: u8 = 1;
/// Inside a call that may be made again.
pub const REEXECUTABLE: u8 = 2;
/// On its way to its end, which DMTCP waits for.
pub const ENDING: u8 = 3;

/// A thread waits at the closed gate like all others, if it does.
pub const NOT_ASKED: u32 = 0;
/// Others may wait for what it will do inside.
pub const WANTED: u32 = 1;
/// And it waits at the closed gate.
pub const WAITS: u32 = 2;
/// It is being let in.
pub const ADMITTING: u32 = 3;
/// It was let in.
pub const ADMITTED: u32 = 4;
/// As `WANTED` and `WAITS`, where a function that a stream of CUDA's has called may wait for the thread.
pub const WANTED_BY_STREAM: u32 = 5;
/// See above.
pub const WAITS_FOR_STREAM: u32 = 6;

/// What a thread has of the MPI library, see `mpi::turn`: it is not in there.
pub const OUT: u8 = 0;
/// It is, without the lock.
pub const MARKED: u8 = 1;
/// It is, with the lock.
pub const HOLDS: u8 = 2;

/// What a thread is doing: neighbours, which a call on the quick way sets by one store (see [`set`]). Only the thread
/// itself writes them.
#[repr(C, align(4))]
pub struct Doing {
    /// `OUTSIDE`, `MUST_COMPLETE`, `REEXECUTABLE` or `ENDING`.
    pub state: AtomicU8,
    /// `OUT`, `MARKED` or `HOLDS`.
    pub turn: AtomicU8,
    /// 1 while it has the model to itself without having locked it, see `mpi::model::lock`.
    pub model: AtomicU8,
    /// 1 once the thread is in the registry.
    pub known: AtomicU8,
}

/// What a thread in the registry is doing, for [`set`] and [`is`].
pub const fn doing(state: u8, turn: u8, model: u8) -> u32 {
    u32::from_le_bytes([state, turn, model, 1])
}

/// The thread does nothing.
pub const NOTHING: u32 = doing(OUTSIDE, OUT, 0);

/// The thread is in a call that must complete, without a turn, and has locks for what it needs.
pub const ORDINARY: u32 = doing(MUST_COMPLETE, OUT, 0);

/// A thread's way into a half.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Way {
    /// The entry in `ways`; 0: the half has not adopted the thread.
    pub entry: usize,
    /// The entry for calls with one argument more than there are registers.
    pub seven_entry: usize,
    /// The entry for calls with still more.
    pub long_entry: usize,
    /// On the shared way the thread's DTV in the half, on a borrowed one its donor's FS base.
    pub place: usize,
}

/// The way of a thread that a half has not adopted.
pub const NO_WAY: Way = Way {
    entry: 0,
    seven_entry: 0,
    long_entry: 0,
    place: 0,
};

/// The switch block.
#[repr(C)]
pub struct Block {
    /// Frame pointer of the crossing that the thread is in; 0 in the upper half.
    pub call: usize,
    /// The upper half's DTV while the thread is in a lower half.
    pub upper_dtv: usize,
    /// How the thread goes into each half.
    pub ways: [Way; MAX_HALVES],
    /// What the thread is doing.
    pub doing: Doing,
    /// 1 once the thread is in the registry; see also `cancel::CANCELLED`.
    pub registered: u32,
    /// 1 for the helper thread: the gate does not hold it.
    pub exempt: u32,
    /// DMTCP waits for the thread's end, which has so many rounds of destructors yet.
    pub ending: u32,
    /// While a cancelled thread is inside: its cancellation state before, plus 1.
    pub cancel_state: u32,
    /// The thread's donor in each half.
    pub donors: [usize; MAX_HALVES],
    /// The thread's FS base.
    pub fs: usize,
    /// The next block of the registry.
    pub next: *mut Block,
    /// The last call that a handler of the application's interrupted with EINTR: where, its stack pointer, when.
    pub interrupted: [usize; 3],
    /// Transfers that go on after a checkpoint.
    pub rests: [Rest; NESTED],
    /// The front's function that the thread is in or was in last, by its index in the front's table.
    pub function: AtomicU32,
    /// What it is about: the lower half's communicator, peer, tag.
    pub about: [AtomicI32; 3],
    /// From `NOT_ASKED` to `WAITS_FOR_STREAM`.
    pub admission: AtomicU32,
    /// So many handlers of the application's run that have interrupted the kernel's vDSO, which a restart does not bring back, or
    /// the trampoline of another handler.
    pub interrupts: u32,
    /// 1 while the MPI half has adopted the thread on the shared way, so that it may cross in place.
    pub in_place: AtomicU32,
}

const _: () = assert!(size_of::<Block>() <= 640);

/// The blocks' distance from FS.
#[inline(always)]
pub fn offset() -> usize {
    let at: usize;
    // SAFETY: reads a GOT entry that never changes.
    unsafe {
        asm!("mov {0}, qword ptr [rip + splitproc_block@gottpoff]",
             out(reg) at, options(nostack, pure, nomem, preserves_flags));
    }
    at
}

/// The calling thread's block. The thread must be on its own TCB.
#[inline(always)]
pub fn mine() -> *mut Block {
    let at: usize;
    // SAFETY: reads FS:0 (the TCB's own address), which is one value for the thread's life; so is the result.
    unsafe {
        asm!("mov {0}, qword ptr fs:[0]", out(reg) at,
             options(nostack, pure, nomem, preserves_flags));
    }
    at.wrapping_add(offset()) as *mut Block
}

/// Sets what a thread is doing, all at once and after all that came before.
///
/// # Safety
/// `b` must be the calling thread's block.
#[inline(always)]
pub unsafe fn set<const DOING: u32>(b: *mut Block) {
    // SAFETY: one store into the thread's own block. The bytes are read one by one elsewhere, which Rust's atomics don't
    // provide for and the processor does; it keeps stores in their order, and the compiler can't look into this.
    unsafe {
        asm!("mov dword ptr [{b} + {at}], {doing}", b = in(reg) b, at = const offset_of!(Block, doing),
             doing = const DOING, options(nostack, preserves_flags));
    }
}

/// Is this what the thread is doing?
///
/// # Safety
/// `b` must be the calling thread's block.
#[inline(always)]
pub unsafe fn is<const DOING: u32>(b: *mut Block) -> bool {
    // SAFETY: as in `set`: one load of bytes that the thread itself writes.
    unsafe {
        asm!("cmp dword ptr [{b} + {at}], {doing}", "jne {not}", b = in(reg) b, at = const offset_of!(Block, doing),
             doing = const DOING, not = label { return false }, options(nostack, readonly));
    }
    true
}

/// The calling thread's block, whichever TCB the thread is on; null for a thread born in a lower half.
#[inline(always)]
pub fn current() -> *mut Block {
    let tcb = tcb::current();
    match layout::owner(tcb) {
        // SAFETY: a TCB of a lower half: the word is 0, or set when the TCB was lent.
        Owner::Lower(_) => unsafe { *((tcb + tcb::BLOCK) as *const *mut Block) },
        _ => tcb.wrapping_add(offset()) as *mut Block,
    }
}

/// The hole's distances below FS: `[fs - .1, fs - .0)`.
pub fn hole() -> (u32, u32) {
    let top: usize;
    // SAFETY: reads a GOT entry: the hole's (negative) offset from FS.
    unsafe {
        asm!("mov {0}, qword ptr [rip + splitproc_tls_hole@gottpoff]", out(reg) top,
             options(nostack, pure, readonly));
    }
    let end = top.wrapping_neg() as u32;
    (end - HOLE as u32, end)
}
