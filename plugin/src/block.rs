//! A thread's switch block and the TLS hole: thread-local variables at fixed distances from FS.
//!
//! ```text
//! fs - hole[1] ..  fs - hole[0]     the hole: lower halves' static TLS, copied from their donors
//! splitproc_block                   the switch block, below
//! ```
//!
//! Both are reached without `__tls_get_addr` (initial-exec), so the code that reads them may run while
//! another half's DTV is in place, in signal handlers too.

use core::arch::{asm, global_asm};
use core::sync::atomic::AtomicU32;
use lh_loader::layout::MAX_HALVES;

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
    ".zero 512",
    ".size splitproc_block, 512",
    ".text",
    hole = const HOLE,
);

/// Bytes of the hole.
pub const HOLE: usize = 8192;

/// What a thread is doing, for the gate.
pub const OUTSIDE: u32 = 0;
/// Inside a call whose effect may be half done.
pub const MUST_COMPLETE: u32 = 1;
/// Inside a call that may be made again.
pub const REEXECUTABLE: u32 = 2;

/// The switch block. The assembly in `crossing` knows the first four fields' offsets.
#[repr(C)]
pub struct Block {
    /// Frame pointer of the crossing that the thread is in; 0 in the upper half.
    pub call: usize,
    /// The upper half's DTV while the thread is in a lower half.
    pub upper_dtv: usize,
    /// The thread's DTV in each half; 0: not adopted there.
    pub dtv: [usize; MAX_HALVES],
    /// Offset from FS of the `dtv` entry in use.
    pub slot: usize,
    /// `OUTSIDE`, `MUST_COMPLETE` or `REEXECUTABLE`.
    pub state: AtomicU32,
    /// 1 once the thread is in the registry; see also `cancel::CANCELLED`.
    pub registered: u32,
    /// 1 for the helper thread: the gate does not hold it.
    pub exempt: u32,
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
}

const _: () = assert!(size_of::<Block>() <= 512);

/// The calling thread's block.
#[inline(always)]
pub fn mine() -> *mut Block {
    let at: usize;
    // SAFETY: reads FS:0 (the TCB's own address) and a GOT entry; the block lives as long as the thread.
    unsafe {
        asm!("mov {0}, qword ptr fs:[0]", "add {0}, qword ptr [rip + splitproc_block@gottpoff]",
             out(reg) at, options(nostack, pure, readonly));
    }
    at as *mut Block
}

/// The block of the thread with this FS base.
pub fn of(fs: usize) -> *mut Block {
    let own = lh_loader::arch::fs_base();
    (mine() as usize - own + fs) as *mut Block
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
