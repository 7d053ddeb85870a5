//! The router's entry: from a stub, on whatever stack the program has, to `route` and back.
//!
//! All registers come back as they were except rax (the result), rcx and r11, as after `syscall`.
//! The SSE and x87 state is saved by `fxsave`; the loader is built without AVX, so the upper halves of
//! the vector registers are never touched.

use super::policy;
use crate::layout::{owner, Owner};
use crate::lhinfo;
use core::sync::atomic::Ordering::Relaxed;

/// The program's registers at a system call, as the entry pushed them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Regs {
    /// Number at entry, result at exit.
    pub rax: usize,
    /// First argument.
    pub rdi: usize,
    /// Second.
    pub rsi: usize,
    /// Third.
    pub rdx: usize,
    /// Fourth.
    pub r10: usize,
    /// Fifth.
    pub r8: usize,
    /// Sixth.
    pub r9: usize,
    /// Not arguments; a child on a new stack gets them.
    pub rest: [usize; 6],
    /// Flags.
    pub flags: usize,
    /// Where the stub goes on; a half's stubs are in its window.
    pub ret: usize,
}

/// What is on a new thread's stack when it starts: then the registers are popped.
#[repr(C)]
pub struct ChildFrame {
    /// What the child does first: see [`policy`]'s tasks.
    pub kind: usize,
    /// Its signal mask.
    pub mask: u64,
    /// Its registers; `ret` is the stub's continuation.
    pub regs: Regs,
}

core::arch::global_asm!(
    ".pushsection .text.splitproc_router,\"ax\",@progbits",
    ".globl splitproc_router_entry",
    ".hidden splitproc_router_entry",
    ".type splitproc_router_entry,@function",
    "splitproc_router_entry:",
    "pushfq",
    "cld",
    "push r15",
    "push r14",
    "push r13",
    "push r12",
    "push rbp",
    "push rbx",
    "push r9",
    "push r8",
    "push r10",
    "push rdx",
    "push rsi",
    "push rdi",
    "push rax",
    "mov rbp, rsp",
    "sub rsp, 512",
    "and rsp, -64",
    "fxsave64 [rsp]",
    "mov rdi, rbp",
    "call {route}",
    "fxrstor64 [rsp]",
    "mov rsp, rbp",
    "2:",
    "pop rax",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "pop r10",
    "pop r8",
    "pop r9",
    "pop rbx",
    "pop rbp",
    "pop r12",
    "pop r13",
    "pop r14",
    "pop r15",
    "popfq",
    "ret",
    ".size splitproc_router_entry, . - splitproc_router_entry",
    // rdi: number and five arguments. The child's stack pointer is its ChildFrame.
    ".globl splitproc_clone_with_stack",
    ".hidden splitproc_clone_with_stack",
    ".type splitproc_clone_with_stack,@function",
    "splitproc_clone_with_stack:",
    "mov rax, [rdi]",
    "mov rsi, [rdi + 16]",
    "mov rdx, [rdi + 24]",
    "mov r10, [rdi + 32]",
    "mov r8, [rdi + 40]",
    "mov rdi, [rdi + 8]",
    "syscall",
    "test rax, rax",
    "jz 3f",
    "ret",
    "3:",
    "mov rbx, rsp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {child}",
    "lea rsp, [rbx + 16]",
    "jmp 2b",
    ".size splitproc_clone_with_stack, . - splitproc_clone_with_stack",
    ".popsection",
    route = sym route,
    child = sym super::tasks::child_start,
);

unsafe extern "C" {
    /// The word at `lhinfo.router` is its address; only stubs call it.
    pub fn splitproc_router_entry();
    /// Makes the system call `args[0]` (clone or clone3); in the child, pops the [`ChildFrame`].
    pub fn splitproc_clone_with_stack(args: *const [usize; 6]) -> isize;
}

/// Decides what a system call does, does it, and leaves the result in `rax`.
extern "C" fn route(regs: &mut Regs) {
    if super::log_level() > 1 {
        // SAFETY: lhInfo is mapped before any site is patched.
        unsafe { lhinfo::get() }.routed.fetch_add(1, Relaxed);
    }
    let who = match owner(regs.ret) {
        Owner::Lower(i) => Owner::Lower(i),
        _ => Owner::Upper,
    };
    // SAFETY: the registers are those of a program that asks for this system call.
    regs.rax = unsafe { policy::call(who, regs) } as usize;
}
