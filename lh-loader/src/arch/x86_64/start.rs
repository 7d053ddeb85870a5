//! The jump into a half's `ld.so`, and the way back when the half is up.

use core::arch::naked_asm;

/// Where the loader goes on when a half calls `ready`: its stack pointer, with the callee-saved
/// registers and the return address above it.
#[repr(C)]
pub struct Context {
    sp: usize,
}

impl Context {
    /// A context that nothing was saved in yet.
    pub const fn new() -> Self {
        Context { sp: 0 }
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

/// Saves the loader's place in `context` and jumps to `entry` on the half's own stack, as the kernel
/// starts a program. Returns when [`load_context`] is called with the same context.
///
/// # Safety
/// `stack` must hold argc, argv, envp and auxv; `entry` must be the half's entry point.
#[unsafe(naked)]
pub unsafe extern "C" fn enter_half(context: *mut Context, entry: usize, stack: usize) {
    naked_asm!(
        "push rbp", // the callee-saved registers wait on the loader's stack
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi], rsp", // context.sp
        "mov rsp, rdx",   // the half's stack: argc is at its top
        "xor edx, edx",   // no function for the program's atexit
        "xor ebp, ebp",   // the outermost frame
        "jmp rsi",        // ld.so's (or a static program's) _start
    )
}

/// Goes back to where `context` was saved.
///
/// # Safety
/// The stack on which it was saved must be as it was left.
#[unsafe(naked)]
pub unsafe extern "C" fn load_context(context: *const Context) -> ! {
    naked_asm!(
        "mov rsp, [rdi]",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret", // out of enter_half
    )
}
