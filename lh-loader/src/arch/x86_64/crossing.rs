//! A call on a borrowed TCB. Runs without a TLS of its own: between the two `arch_prctl`s the thread's
//! FS base is the lower half's, and signals must be blocked.

use core::arch::naked_asm;

/// Calls `f(a, b, c)` with FS base `tcb` and gives its result; `own` is put back afterwards.
///
/// # Safety
/// All signals must be blocked, `tcb` must be a TCB of the half that `f` belongs to that no other thread
/// uses meanwhile, and `own` the calling thread's FS base.
#[unsafe(naked)]
pub unsafe extern "C" fn call_on_tcb(
    f: usize,
    tcb: usize,
    own: usize,
    a: usize,
    b: usize,
    c: usize,
) -> usize {
    naked_asm!(
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",        // five pushes: the stack is 16-byte aligned again
        "mov rbx, rdi",    // f
        "mov r12, rdx",    // own
        "mov r13, rcx",    // a
        "mov r14, r8",     // b
        "mov r15, r9",     // c
        "mov edi, 0x1002", // ARCH_SET_FS; rsi is the borrowed TCB
        "mov eax, 158",    // arch_prctl
        "syscall",
        "mov rdi, r13",
        "mov rsi, r14",
        "mov rdx, r15",
        "call rbx",
        "mov rbx, rax", // the result, while FS goes back
        "mov edi, 0x1002",
        "mov rsi, r12",
        "mov eax, 158",
        "syscall",
        "mov rax, rbx",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "ret",
    )
}
