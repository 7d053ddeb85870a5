//! The router's entry: from a stub, on whatever stack the program has, to `route` and back.
//!
//! All registers come back as they were except rax (the result), rcx and r11, as after `syscall`.
//! The sixteen SSE registers are saved one by one: the loader is built without AVX and uses no x87, so
//! nothing else of the vector state is ever touched, and `fxsave` costs four times as much.

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
    /// Not arguments: rbx, rbp, r12 to r15. A child on a new stack gets them.
    pub rest: [usize; 6],
    /// Address of `flags` below: these registers may be a copy.
    pub origin: usize,
    /// Flags.
    pub flags: usize,
    /// Where the stub goes on; a half's stubs are in its window.
    pub ret: usize,
}

/// What is on a new thread's stack when it starts: then the registers are popped.
#[repr(C)]
#[derive(Clone, Copy)]
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
    "push rsp", // the flags' address
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
    "sub rsp, 256",
    "and rsp, -16",
    "movaps [rsp], xmm0",
    "movaps [rsp + 16], xmm1",
    "movaps [rsp + 32], xmm2",
    "movaps [rsp + 48], xmm3",
    "movaps [rsp + 64], xmm4",
    "movaps [rsp + 80], xmm5",
    "movaps [rsp + 96], xmm6",
    "movaps [rsp + 112], xmm7",
    "movaps [rsp + 128], xmm8",
    "movaps [rsp + 144], xmm9",
    "movaps [rsp + 160], xmm10",
    "movaps [rsp + 176], xmm11",
    "movaps [rsp + 192], xmm12",
    "movaps [rsp + 208], xmm13",
    "movaps [rsp + 224], xmm14",
    "movaps [rsp + 240], xmm15",
    "mov rdi, rbp",
    "call {route}",
    "movaps xmm0, [rsp]",
    "movaps xmm1, [rsp + 16]",
    "movaps xmm2, [rsp + 32]",
    "movaps xmm3, [rsp + 48]",
    "movaps xmm4, [rsp + 64]",
    "movaps xmm5, [rsp + 80]",
    "movaps xmm6, [rsp + 96]",
    "movaps xmm7, [rsp + 112]",
    "movaps xmm8, [rsp + 128]",
    "movaps xmm9, [rsp + 144]",
    "movaps xmm10, [rsp + 160]",
    "movaps xmm11, [rsp + 176]",
    "movaps xmm12, [rsp + 192]",
    "movaps xmm13, [rsp + 208]",
    "movaps xmm14, [rsp + 224]",
    "movaps xmm15, [rsp + 240]",
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
    "lea rsp, [rsp + 8]",
    "popfq",
    "ret",
    ".size splitproc_router_entry, . - splitproc_router_entry",
    // rdi: number and six arguments; rsi: the registers, for whoever interrupts the call. Gives the result and rcx.
    ".globl splitproc_kernel, splitproc_kernel_call, splitproc_kernel_done",
    ".hidden splitproc_kernel, splitproc_kernel_call, splitproc_kernel_done",
    ".type splitproc_kernel,@function",
    "splitproc_kernel:",
    "push r12",
    "mov r12, rsi",
    "mov rax, [rdi]",
    "mov rsi, [rdi + 16]",
    "mov rdx, [rdi + 24]",
    "mov r10, [rdi + 32]",
    "mov r8, [rdi + 40]",
    "mov r9, [rdi + 48]",
    "mov rdi, [rdi + 8]",
    "splitproc_kernel_call:",
    "syscall",
    "splitproc_kernel_done:",
    "mov rdx, rcx",
    "pop r12",
    "ret",
    ".size splitproc_kernel, . - splitproc_kernel",
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
    fn splitproc_kernel(args: *const [usize; 7], regs: *const Regs) -> Outcome;
    fn splitproc_kernel_call();
    fn splitproc_kernel_done();
    /// Makes the system call `args[0]` (clone or clone3); in the child, pops the [`ChildFrame`].
    pub fn splitproc_clone_with_stack(args: *const [usize; 6]) -> isize;
}

/// What a call gave.
#[repr(C)]
pub struct Outcome {
    /// Its result.
    pub result: isize,
    /// rcx afterwards: the time, where the call was cut short (see [`crate::arch::CUT_SHORT`]).
    pub time: usize,
}

/// Makes the call `r.rax` with these arguments, where `cancel` can tell that a thread is in it.
///
/// # Safety
/// As for the system call; `r` is what the program asked for, or a copy.
pub unsafe fn kernel(r: &Regs, a: [usize; 6]) -> Outcome {
    let [a, b, c, d, e, f] = a;
    // SAFETY: the caller's.
    unsafe { splitproc_kernel(&[r.rax, a, b, c, d, e, f], r) }
}

/// The addresses of [`kernel`]'s `syscall` and of what follows it.
pub fn kernel_site() -> [usize; 2] {
    [
        splitproc_kernel_call as *const () as usize,
        splitproc_kernel_done as *const () as usize,
    ]
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
