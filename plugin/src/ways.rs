//! The crossing's own instructions: one entry for each way. No TLS but the switch block; allocates nothing.
//!
//! A thread comes here from `crossing::cross` with the C arguments in their registers and
//!
//! ```text
//! r10  the lower half's function
//! r11  shared way: FS offset of block.dtv[half]; borrowed ways: the donor's FS base
//! r14  more arguments, r15 of them
//! ```
//!
//! r12 to r15 are the caller's to lose. The frame is `[rbp] = rbp, [rbp - 8] = rbx`, and its address is
//! `block.call` while the thread is inside: a restart comes in at `splitproc_cross_restarted` with nothing
//! but the stack pointer on that frame. The result is rax, and rdx says whether a restart cut the call short.
//!
//! A handler may come in at any instruction. It tells by the TCB that the thread is on, and by `block.call`,
//! what there is to put back; so `call` is set before FS changes and cleared after it has changed back.

use crate::block::Block;
use core::arch::global_asm;

global_asm!(
    ".pushsection .text.splitproc_cross,\"ax\",@progbits",
    ".p2align 6",
    ".macro splitproc_cross_begin",
    "push rbp",
    "mov rbp, rsp",
    "push rbx",
    "sub rsp, 8", // 16-byte aligned
    "mov r12, [rip + splitproc_block@gottpoff]",
    "test r15, r15",
    "jz 3f",
    "test r15, 1", // an odd number of stack arguments: keep the alignment
    "jz 2f",
    "sub rsp, 8",
    "2:",
    "push qword ptr [r14 + r15*8 - 8]", // last argument first
    "dec r15",
    "jnz 2b",
    "3:",
    ".endm",
    ".macro splitproc_cross_return",
    "xor edx, edx",
    "lea rsp, [rbp - 8]",
    "pop rbx",
    "pop rbp",
    "ret",
    ".endm",
    // Shared: only the DTV changes. What need not be written is not, for a store that the next crossing's
    // load waits for costs more than a comparison.
    ".globl splitproc_cross_shared",
    ".hidden splitproc_cross_shared",
    ".type splitproc_cross_shared, @function",
    "splitproc_cross_shared:",
    "splitproc_cross_begin",
    "mov r13, r11",
    "mov rax, fs:[8]",
    "mov r14, fs:[r11]", // the half's DTV
    "cmp rax, fs:[r12 + {upper_dtv}]",
    "jne 5f",
    "4:",
    "mov fs:[r12 + {slot}], r11",
    "mov fs:[r12 + {call}], rbp", // from here on a signal handler swaps
    "mov fs:[8], r14",
    "xor eax, eax", // no vector arguments, should the function be variadic
    "call r10",
    "cmp r14, fs:[8]", // __tls_get_addr may have moved the DTV
    "jne 7f",
    "6:",
    "mov rcx, fs:[r12 + {upper_dtv}]",
    "mov fs:[8], rcx",
    "mov qword ptr fs:[r12 + {call}], 0",
    "splitproc_cross_return",
    "5:",
    "mov fs:[r12 + {upper_dtv}], rax",
    "jmp 4b",
    "7:",
    "mov rcx, fs:[8]",
    "mov fs:[r13], rcx",
    "jmp 6b",
    // Borrowed, with the instruction.
    ".globl splitproc_cross_wrfsbase",
    ".hidden splitproc_cross_wrfsbase",
    ".type splitproc_cross_wrfsbase, @function",
    ".p2align 5",
    "splitproc_cross_wrfsbase:",
    "splitproc_cross_begin",
    "mov r13, fs:[0]",
    "mov rax, fs:[8]",
    "mov fs:[r12 + {upper_dtv}], rax",
    "mov qword ptr fs:[r12 + {slot}], 0",
    "mov fs:[r12 + {call}], rbp",
    "wrfsbase r11",
    "xor eax, eax",
    "call r10",
    "wrfsbase r13",
    "mov qword ptr fs:[r12 + {call}], 0",
    "splitproc_cross_return",
    // Borrowed, by the kernel: arch_prctl(ARCH_SET_FS).
    ".globl splitproc_cross_prctl",
    ".hidden splitproc_cross_prctl",
    ".type splitproc_cross_prctl, @function",
    ".p2align 5",
    "splitproc_cross_prctl:",
    "splitproc_cross_begin",
    "mov r13, fs:[0]",
    "mov rax, fs:[8]",
    "mov fs:[r12 + {upper_dtv}], rax",
    "mov qword ptr fs:[r12 + {slot}], 0",
    "mov fs:[r12 + {call}], rbp",
    "mov rbx, rdi", // the call takes rax, rcx, rdi, rsi and r11
    "mov r14, rsi",
    "mov r15, rcx",
    "mov edi, 0x1002",
    "mov rsi, r11",
    "mov eax, 158",
    "syscall",
    "mov rdi, rbx",
    "mov rsi, r14",
    "mov rcx, r15",
    "xor eax, eax",
    "call r10",
    "mov rbx, rax",
    "mov edi, 0x1002",
    "mov rsi, r13",
    "mov eax, 158",
    "syscall",
    "mov rax, rbx",
    "mov qword ptr fs:[r12 + {call}], 0",
    "splitproc_cross_return",
    ".globl splitproc_cross_restarted",
    ".hidden splitproc_cross_restarted",
    "splitproc_cross_restarted:", // FS is the thread's own; the DTV may be a half's that is gone
    "mov r12, [rip + splitproc_block@gottpoff]",
    "mov rcx, fs:[r12 + {upper_dtv}]",
    "mov fs:[8], rcx",
    "mov qword ptr fs:[r12 + {call}], 0",
    "mov edx, 1",
    "pop rbx",
    "pop rbp",
    "ret",
    ".globl splitproc_cross_end",
    ".hidden splitproc_cross_end",
    "splitproc_cross_end:",
    ".purgem splitproc_cross_begin",
    ".purgem splitproc_cross_return",
    ".popsection",
    call = const core::mem::offset_of!(Block, call),
    upper_dtv = const core::mem::offset_of!(Block, upper_dtv),
    slot = const core::mem::offset_of!(Block, slot),
);

extern "C" {
    /// The shared way in.
    pub fn splitproc_cross_shared();
    /// The borrowed way in, where the kernel lets programs use `wrfsbase`.
    pub fn splitproc_cross_wrfsbase();
    /// The borrowed way in elsewhere.
    pub fn splitproc_cross_prctl();
    fn splitproc_cross_restarted();
    fn splitproc_cross_end();
}

/// Distance from `block.call` down to where the stack pointer must be at [`reentry`].
pub const SAVED: usize = 8;

/// Where a thread that was saved in a call comes in after a restart.
pub fn reentry() -> usize {
    splitproc_cross_restarted as *const () as usize
}

/// Is this address inside the crossing's own instructions?
pub fn contains(rip: usize) -> bool {
    let start = splitproc_cross_shared as *const () as usize;
    (start..splitproc_cross_end as *const () as usize).contains(&rip)
}
