//! The crossing: calls from the upper half into a lower half, on the shared FS.
//!
//! The thread keeps its TCB; only the DTV pointer (`fs:8`) is the half's while it is inside. Between the two
//! swaps no upper-half code runs but signal handlers, which `signal` wraps.

use crate::block::{self, Block};
use crate::{adopt, raw};
use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicUsize, Ordering};
use lh_loader::lhinfo;
use std::ffi::CStr;

/// The thread was saved inside this call and is now in a restarted process: every lower-half handle is
/// new, and the call has not happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restarted;

/// `cross_asm`'s result: rax, and in rdx whether the call was cut short by a restart.
#[repr(C)]
struct Outcome {
    value: u64,
    restarted: u64,
}

/// Swaps the DTV, calls, swaps back. `stack` holds `stack_len` more arguments.
#[unsafe(naked)]
unsafe extern "C" fn cross_asm(
    f: usize,
    half: usize,
    registers: *const [u64; 6],
    stack: *const u64,
    stack_len: usize,
) -> Outcome {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8", // 16-byte aligned
        "mov rbx, [rip + splitproc_block@gottpoff]",
        "lea r13, [rbx + rsi*8 + 16]", // offset of block.dtv[half]
        "mov r14, rdi",                // f
        "mov r12, rdx",                // the first six arguments
        "test r8, r8",
        "jz 3f",
        "test r8, 1", // an odd number of stack arguments: keep the alignment
        "jz 2f",
        "sub rsp, 8",
        "2:",
        "push qword ptr [rcx + r8*8 - 8]", // last argument first
        "dec r8",
        "jnz 2b",
        "3:",
        "mov rax, fs:[8]",
        "mov fs:[rbx + 8], rax",  // block.upper_dtv
        "mov fs:[rbx + 80], r13", // block.slot
        "mov fs:[rbx], rbp",      // block.call: from here on a signal handler swaps
        "mov rax, fs:[r13]",
        "mov fs:[8], rax", // the half's DTV
        "mov rdi, [r12]",
        "mov rsi, [r12 + 8]",
        "mov rdx, [r12 + 16]",
        "mov rcx, [r12 + 24]",
        "mov r8, [r12 + 32]",
        "mov r9, [r12 + 40]",
        "xor eax, eax", // no vector arguments, should f be variadic
        "call r14",
        "mov rcx, fs:[8]", // __tls_get_addr may have moved the DTV
        "mov fs:[r13], rcx",
        "mov rcx, fs:[rbx + 8]",
        "mov fs:[8], rcx",
        "mov qword ptr fs:[rbx], 0",
        "xor edx, edx",
        "lea rsp, [rbp - 40]",
        "jmp 5f",
        // A restart comes in here: rsp is block.call - 40, nothing else is known.
        ".globl splitproc_cross_restarted",
        ".hidden splitproc_cross_restarted",
        "splitproc_cross_restarted:",
        "mov rbx, [rip + splitproc_block@gottpoff]",
        "mov rcx, fs:[rbx + 8]",
        "mov fs:[8], rcx",
        "mov qword ptr fs:[rbx], 0",
        "mov edx, 1",
        "5:",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        ".globl splitproc_cross_end",
        ".hidden splitproc_cross_end",
        "splitproc_cross_end:",
    )
}

const _: () = assert!(core::mem::offset_of!(Block, slot) == 80);

/// Where a thread that was saved in a call comes in after a restart.
pub fn reentry() -> usize {
    let at: usize;
    // SAFETY: takes a label's address.
    unsafe {
        asm!("lea {0}, [rip + splitproc_cross_restarted]", out(reg) at, options(nostack, pure, nomem))
    };
    at
}

/// Distance from `block.call` down to the saved registers.
pub const SAVED: usize = 40;

/// Is this address inside the crossing's own instructions?
pub fn contains(rip: usize) -> bool {
    let end: usize;
    // SAFETY: takes a label's address.
    unsafe {
        asm!("lea {0}, [rip + splitproc_cross_end]", out(reg) end, options(nostack, pure, nomem))
    };
    (cross_asm as *const () as usize..end).contains(&rip)
}

/// Calls `f` in lower half `half`. Integer and pointer arguments only.
///
/// # Errors
/// [`Restarted`], only inside a gate entered as re-executable: translate all handles and call again.
///
/// # Safety
/// `f` must be a function of that half that takes these arguments.
#[inline]
pub unsafe fn cross(half: usize, f: usize, args: &[u64]) -> Result<u64, Restarted> {
    // SAFETY: the block is this thread's own.
    if unsafe { (*block::mine()).dtv[half] } == 0 {
        adopt::adopt(half);
    }
    let mut registers = [0u64; 6];
    let n = args.len().min(6);
    registers[..n].copy_from_slice(&args[..n]);
    let rest = &args[n..];
    // SAFETY: the thread is adopted; the caller vouches for `f` and its arguments.
    let out = unsafe { cross_asm(f, half, &registers, rest.as_ptr(), rest.len()) };
    if out.restarted == 0 {
        Ok(out.value)
    } else {
        Err(Restarted)
    }
}

/// Runs `body` as the upper half, on a thread that a lower half has called back.
///
/// On a thread that is not inside a crossing this is a plain call.
pub fn upper<R>(body: impl FnOnce() -> R) -> R {
    let b = block::mine();
    // SAFETY: the block is this thread's own; fs:8 is its DTV, the half's on entry. Each crossing made by
    // `body` leaves the fields as it found them, but for the DTVs themselves, which are read back.
    unsafe {
        let (call, slot) = ((*b).call, (*b).slot);
        if call == 0 {
            return body();
        }
        let fs = lh_loader::arch::fs_base();
        let half_dtv = fs.wrapping_add(slot) as *mut usize;
        *half_dtv = dtv_swap((*b).upper_dtv);
        (*b).call = 0;
        let result = body();
        (*b).slot = slot;
        (*b).call = call;
        (*b).upper_dtv = dtv_swap(*half_dtv);
        result
    }
}

/// Replaces the thread's DTV pointer; gives the old one.
///
/// # Safety
/// `new` must be a DTV of this thread.
pub unsafe fn dtv_swap(new: usize) -> usize {
    let old: usize;
    // SAFETY: fs:8 is glibc's DTV pointer; the caller vouches for `new`.
    unsafe {
        asm!("mov {0}, fs:[8]", "mov fs:[8], {1}", out(reg) old, in(reg) new, options(nostack))
    };
    old
}

/// The index of the MPI lower half; `usize::MAX` if there is none.
pub fn mpi_half() -> usize {
    static INDEX: AtomicUsize = AtomicUsize::new(usize::MAX);
    let known = INDEX.load(Ordering::Relaxed);
    if known != usize::MAX || !raw::present() {
        return known;
    }
    // SAFETY: lhInfo is present; names are set before the upper half starts.
    let info = unsafe { lhinfo::get() };
    let found = (0..info.half_count as usize).find(|&i| info.halves[i].name.starts_with(b"mpi\0"));
    INDEX.store(found.unwrap_or(usize::MAX), Ordering::Relaxed);
    found.unwrap_or(usize::MAX)
}

/// Looks a function of a lower half up; 0 if it has none of this name.
pub fn sym(half: usize, name: &CStr) -> usize {
    // SAFETY: the half is ready; its entry takes a C string.
    unsafe {
        let f = lhinfo::get().halves[half].dlsym;
        cross(half, f, &[name.as_ptr() as u64]).map_or(0, |p| p as usize)
    }
}
