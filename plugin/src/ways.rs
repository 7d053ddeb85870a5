//! The crossing's own instructions: one entry for each way. No TLS but the switch block; allocates nothing.
//!
//! A thread comes here from `crossing::cross` with the C arguments in their registers and
//!
//! ```text
//! r10  the lower half's function
//! r11  the `Way`
//! r12  the switch block; kept
//! r13  the `seven` entries only: one more argument
//! r14  the `long` entries only: more arguments, r15 of them
//! ```
//!
//! The frame, whose address is `block.call` while the thread is inside:
//!
//! ```text
//! [rbp]       rbp
//! [rbp - 8]   rbx
//! [rbp - 16]  the `Way`; 0 on a borrowed one
//! ```
//!
//! The result is rax, and rdx says whether a restart cut the call short. A restart comes in at
//! `splitproc_cross_restarted` with nothing but the stack pointer, on the saved rbx, so that r13 to r15 are lost.
//!
//! A handler may come in at any instruction. It tells by the TCB that the thread is on, and by `block.call`,
//! what there is to put back; so `call` is set before FS changes and cleared after it has changed back.

use crate::block::{Block, Way};
use crate::in_place;
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::ptr::null_mut;

/// The shared way in: only the DTV changes, to the half's, which is at `$place` and goes into register `$dtv`; `$frame` is the
/// frame. What need not be written is not, for a store that the next crossing's load waits for costs more than a comparison.
macro_rules! shared_in {
    ($dtv:literal, $place:literal, $frame:literal) => {
        concat!(
            "mov rax, fs:[8]\n",
            concat!("mov ", $dtv, ", [", $place, "]\n"),
            "cmp rax, [r12 + {upper_dtv}]\n",
            "jne 5f\n",
            "4:\n",
            concat!("mov [r12 + {call}], ", $frame, "\n"), // from here on a signal handler swaps
            "cmp rax, fs:[8]\n", // one that came before may have moved the DTV
            "jne 22f\n",
            concat!("mov fs:[8], ", $dtv, "\n"),
        )
    };
}

/// The shared way out, where the half's DTV has not moved; keeps rax.
macro_rules! shared_out {
    () => {
        concat!(
            "6:\n",
            "mov rcx, [r12 + {upper_dtv}]\n",
            "mov fs:[8], rcx\n",
            "cmp rcx, [r12 + {upper_dtv}]\n", // a handler that has just come may have moved the DTV
            "jne 6b\n",
        )
    };
}

/// What is rare on the shared way in; `7:`, where the half's DTV has moved, is its neighbour.
macro_rules! shared_rare {
    () => {
        concat!(
            "22:\n",
            "mov qword ptr [r12 + {call}], 0\n",
            "mov rax, fs:[8]\n",
            "5:\n",
            "mov [r12 + {upper_dtv}], rax\n",
            "jmp 4b\n",
        )
    };
}

pub(crate) use {shared_in, shared_out, shared_rare};

global_asm!(
    ".pushsection .text.splitproc_cross,\"ax\",@progbits",
    ".p2align 6",
    ".hidden splitproc_cross_begin",
    ".globl splitproc_cross_begin",
    "splitproc_cross_begin:",
    // One way: `\enter` ends with rax and r11 free and rbx the way's own, `\leave` keeps rax.
    ".macro splitproc_way name, place, enter, leave",
    ".globl \\name",
    ".hidden \\name",
    ".type \\name, @function",
    ".p2align 5",
    "\\name:",
    "push rbp",
    "mov rbp, rsp",
    "push rbx",
    "push \\place", // 16-byte aligned
    "\\name\\()_go:",
    "\\enter",
    "xor eax, eax", // no vector arguments, should the function be variadic
    "call r10",
    "\\leave",
    "mov qword ptr [r12 + {call}], 0",
    "xor edx, edx",
    "lea rsp, [rbp - 8]",
    "pop rbx",
    "pop rbp",
    "ret",
    // The same with one argument on the stack.
    ".globl \\name\\()_seven",
    ".hidden \\name\\()_seven",
    ".type \\name\\()_seven, @function",
    "\\name\\()_seven:",
    "push rbp",
    "mov rbp, rsp",
    "push rbx",
    "push \\place",
    "push rax", // keeps the alignment
    "push r13",
    "jmp \\name\\()_go",
    // And with several.
    ".globl \\name\\()_long",
    ".hidden \\name\\()_long",
    ".type \\name\\()_long, @function",
    "\\name\\()_long:",
    "push rbp",
    "mov rbp, rsp",
    "push rbx",
    "push \\place",
    "test r15, 1", // an odd number: keep the alignment
    "jz 2f",
    "push rax",
    "2:",
    "push qword ptr [r14 + r15*8 - 8]", // last argument first
    "dec r15",
    "jnz 2b",
    "jmp \\name\\()_go",
    ".endm",
    ".macro splitproc_enter_shared",
    shared_in!("rbx", "r11 + {place}", "rbp"),
    ".endm",
    ".macro splitproc_leave_shared",
    "cmp rbx, fs:[8]", // __tls_get_addr may have moved the DTV
    "jne 7f",
    shared_out!(),
    ".endm",
    // Borrowed: first of all the thread's own FS base is kept, in rbx.
    ".macro splitproc_enter_wrfsbase",
    "mov rbx, fs:[0]",
    "mov r11, [r11 + {place}]",
    "3:",
    "mov rax, fs:[8]",
    "mov [r12 + {upper_dtv}], rax",
    "mov [r12 + {call}], rbp",
    "cmp rax, fs:[8]",
    "jne 3b",
    "wrfsbase r11",
    ".endm",
    ".macro splitproc_leave_wrfsbase",
    "wrfsbase rbx",
    ".endm",
    // By the kernel: arch_prctl(ARCH_SET_FS), which takes rax, rcx and r11.
    ".macro splitproc_enter_prctl",
    "mov rbx, fs:[0]",
    "3:",
    "mov rax, fs:[8]",
    "mov [r12 + {upper_dtv}], rax",
    "mov [r12 + {call}], rbp",
    "cmp rax, fs:[8]",
    "jne 3b",
    "push rdi",
    "push rsi",
    "push rcx",
    "mov edi, 0x1002",
    "mov rsi, [r11 + {place}]",
    "mov eax, 158",
    "syscall",
    "pop rcx",
    "pop rsi",
    "pop rdi",
    ".endm",
    ".macro splitproc_leave_prctl",
    "push rax",
    "mov edi, 0x1002",
    "mov rsi, rbx",
    "mov eax, 158",
    "syscall",
    "pop rax",
    ".endm",
    "splitproc_way splitproc_cross_shared, r11, splitproc_enter_shared, splitproc_leave_shared",
    shared_rare!(),
    "7:",
    "mov rcx, fs:[8]",
    "mov rdx, [rbp - 16]",
    "mov [rdx + {place}], rcx",
    "jmp 6b",
    "splitproc_way splitproc_cross_wrfsbase, 0, splitproc_enter_wrfsbase, splitproc_leave_wrfsbase",
    "splitproc_way splitproc_cross_prctl, 0, splitproc_enter_prctl, splitproc_leave_prctl",
    ".globl splitproc_cross_restarted",
    ".hidden splitproc_cross_restarted",
    "splitproc_cross_restarted:", // FS is the thread's own; the DTV may be a half's that is gone
    "cld",
    "emms", // the half may have been computing with long doubles: its x87 registers are not ours to keep
    "mov r12, fs:[0]",
    "add r12, [rip + splitproc_block@gottpoff]",
    "mov rcx, [r12 + {upper_dtv}]",
    "mov fs:[8], rcx",
    "mov qword ptr [r12 + {call}], 0",
    "mov edx, 1",
    "pop rbx",
    "pop rbp",
    "ret",
    ".globl splitproc_cross_end",
    ".hidden splitproc_cross_end",
    "splitproc_cross_end:",
    ".purgem splitproc_way",
    ".purgem splitproc_enter_shared",
    ".purgem splitproc_leave_shared",
    ".purgem splitproc_enter_wrfsbase",
    ".purgem splitproc_leave_wrfsbase",
    ".purgem splitproc_enter_prctl",
    ".purgem splitproc_leave_prctl",
    ".popsection",
    call = const offset_of!(Block, call),
    upper_dtv = const offset_of!(Block, upper_dtv),
    place = const offset_of!(Way, place),
);

const _: () = assert!(offset_of!(Way, entry) == 0 && offset_of!(Way, seven_entry) == 8);
const _: () = assert!(offset_of!(Way, long_entry) == 16);

extern "C" {
    fn splitproc_cross_shared();
    fn splitproc_cross_shared_seven();
    fn splitproc_cross_shared_long();
    fn splitproc_cross_wrfsbase();
    fn splitproc_cross_wrfsbase_seven();
    fn splitproc_cross_wrfsbase_long();
    fn splitproc_cross_prctl();
    fn splitproc_cross_prctl_seven();
    fn splitproc_cross_prctl_long();
    fn splitproc_cross_begin();
    fn splitproc_cross_restarted();
    fn splitproc_cross_end();
}

/// The three entries of a way: for calls with up to six arguments, with seven, and with more.
pub type Entries = [unsafe extern "C" fn(); 3];

/// The shared way.
pub const SHARED: Entries = [
    splitproc_cross_shared,
    splitproc_cross_shared_seven,
    splitproc_cross_shared_long,
];
/// The borrowed way, where the kernel lets programs use `wrfsbase`.
pub const WRFSBASE: Entries = [
    splitproc_cross_wrfsbase,
    splitproc_cross_wrfsbase_seven,
    splitproc_cross_wrfsbase_long,
];
/// The borrowed way elsewhere.
pub const PRCTL: Entries = [
    splitproc_cross_prctl,
    splitproc_cross_prctl_seven,
    splitproc_cross_prctl_long,
];

/// The shared way's first entry.
#[inline(always)]
pub fn shared() -> usize {
    let at: usize;
    // SAFETY: takes an address.
    unsafe {
        asm!("lea {0}, [rip + splitproc_cross_shared]", out(reg) at,
             options(nostack, pure, nomem, preserves_flags));
    }
    at
}

/// Distance from `block.call` down to where the stack pointer must be at [`reentry`].
pub const SAVED: usize = 8;

/// Where a thread that was saved in a call comes in after a restart.
pub fn reentry() -> usize {
    splitproc_cross_restarted as *const () as usize
}

/// Comes in there, out of a function that a lower half had called which is gone.
///
/// # Safety
/// `call` must be the frame of the call that the thread was in, and no longer be needed what is on the stack below it.
pub unsafe fn reenter(call: usize) -> ! {
    // SAFETY: the caller's; the frame is laid out as above.
    unsafe {
        asm!("mov rsp, {0}", "jmp splitproc_cross_restarted", in(reg) call - SAVED, options(noreturn));
    }
}

/// Where the DTV of the half is kept that the thread is in, for the frame at `call`; null on a borrowed way.
///
/// # Safety
/// `call` must be a crossing's frame.
pub unsafe fn shared_place(call: usize) -> *mut usize {
    // SAFETY: the frame is laid out as above.
    let way = unsafe { *((call - 16) as *const *mut Way) };
    if way.is_null() {
        return null_mut();
    }
    // SAFETY: it is one of the thread's own block.
    unsafe { &raw mut (*way).place }
}

/// Is this address inside the crossing's own instructions?
pub fn contains(rip: usize) -> bool {
    let start = splitproc_cross_begin as *const () as usize;
    (start..splitproc_cross_end as *const () as usize).contains(&rip) || in_place::contains(rip)
}
