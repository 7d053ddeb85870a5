//! Raw system calls: no libc, no `errno`, no thread-local storage.

use core::arch::asm;

/// Makes system call `nr`. The result is the kernel's: `-errno` on failure.
///
/// # Safety
/// As for the system call itself: it may read and write any memory that its arguments name.
#[inline(always)]
pub unsafe fn syscall6(
    nr: usize,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> isize {
    let result: isize;
    // SAFETY: the kernel clobbers rcx and r11 only; the caller answers for the call's effects.
    unsafe {
        asm!("syscall", inlateout("rax") nr as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
             in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// Whether a system call's result is an error.
#[inline(always)]
pub const fn is_err(result: isize) -> bool {
    result < 0 && result > -4096
}
