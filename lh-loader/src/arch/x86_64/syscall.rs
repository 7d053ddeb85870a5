//! Raw system calls. Runs without TLS, on any stack; allocates nothing.

use core::arch::asm;

const ARCH_SET_FS: usize = 0x1002;
const ARCH_GET_FS: usize = 0x1003;

/// System call `nr`; a negative result is `-errno`.
///
/// # Safety
/// As the system call: pointers must be what it expects, and it may change memory maps.
#[inline(always)]
pub unsafe fn syscall6(
    nr: usize,
    a1: usize,
    a2: usize,
    a3: usize,
    a4: usize,
    a5: usize,
    a6: usize,
) -> isize {
    let ret: isize;
    // SAFETY: the kernel preserves every register but rax, rcx and r11.
    unsafe {
        asm!("syscall", inlateout("rax") nr => ret, in("rdi") a1, in("rsi") a2, in("rdx") a3,
             in("r10") a4, in("r8") a5, in("r9") a6, lateout("rcx") _, lateout("r11") _,
             options(nostack));
    }
    ret
}

/// What a call gives that a checkpoint has cut short, made at one of the loader's own `syscall` instructions:
/// it has had no effect and is to be made again. The park handler writes it where the kernel wrote EINTR;
/// the kernel itself gives this number (ERESTARTSYS) to nobody.
pub const CUT_SHORT: isize = -512;

/// `syscall6` with C linkage, for `lhinfo.raw_syscall`; what a checkpoint cut short is made again.
///
/// # Safety
/// As `syscall6`.
pub unsafe extern "C" fn raw_syscall(
    nr: usize,
    a1: usize,
    a2: usize,
    a3: usize,
    a4: usize,
    a5: usize,
    a6: usize,
) -> isize {
    loop {
        // SAFETY: passed on to the caller.
        let result = unsafe { syscall6(nr, a1, a2, a3, a4, a5, a6) };
        if result != CUT_SHORT {
            return result;
        }
    }
}

/// The calling thread's FS base.
pub fn fs_base() -> usize {
    let mut base = 0usize;
    // SAFETY: the kernel writes one word to `base`.
    unsafe {
        let at = &raw mut base as usize;
        syscall6(libc::SYS_arch_prctl as usize, ARCH_GET_FS, at, 0, 0, 0, 0);
    }
    base
}

/// Sets the calling thread's FS base.
///
/// # Safety
/// Code that uses thread-local storage must find a TCB there.
pub unsafe fn set_fs_base(base: usize) {
    // SAFETY: the caller vouches for `base`.
    unsafe { syscall6(libc::SYS_arch_prctl as usize, ARCH_SET_FS, base, 0, 0, 0, 0) };
}

/// Whether a system call's result is an error.
#[inline(always)]
pub const fn is_err(result: isize) -> bool {
    result < 0 && result > -4096
}
