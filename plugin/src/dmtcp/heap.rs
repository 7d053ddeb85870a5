//! The heap after a restart.
//!
//! `dmtcp_restart` has the kernel's break where its own heap ended. Where that is above the program's, libc's next `brk` says
//! that it has grown the heap, by memory that nobody has mapped, and `malloc` ends with SIGSEGV. So libc is told where the
//! kernel's break is: it takes that for memory that somebody else has taken. Below the program's break nothing has to be
//! done: the heap is in the way, `brk` fails, and `malloc` maps memory elsewhere.

extern "C" {
    /// Where libc thinks that the break is; null before it has asked.
    static mut __curbrk: *mut libc::c_void;
}

/// Before the program, or we, allocate anything; after DMTCP, which takes libc's word for the break and maps memory up to there.
pub fn go_on() {
    // SAFETY: the system call asks; libc's word is a pointer that `sbrk` alone uses, and no thread runs but this one.
    unsafe {
        let kernels = libc::syscall(libc::SYS_brk, 0usize) as *mut libc::c_void;
        if !__curbrk.is_null() && kernels > __curbrk {
            __curbrk = kernels;
        }
    }
}
