//! The end of threads: none begins to end while a checkpoint is taken.
//!
//! A thread that ends is not stopped by DMTCP, which waits until it is gone. But destructors of its thread-specific data
//! may call MPI. So such a thread is inside the gate, as in a call that must complete, from before DMTCP knows until
//! the last destructor has run, and where the gate is closed it waits before that, where it can be stopped and saved.

use super::active;
use crate::{registry, symbols};
use core::arch::{global_asm, naked_asm};
use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A thread's function.
pub type Start = extern "C" fn(*mut c_void) -> *mut c_void;

/// What a thread is to run, for `thread`: two registers.
#[repr(C)]
pub struct Wanted {
    start: Start,
    arg: *mut c_void,
}

// Runs the thread's function on the way to its end. Unwinding (`pthread_exit`, a cancellation) goes through it.
global_asm!(
    ".globl splitproc_thread",
    ".hidden splitproc_thread",
    ".type splitproc_thread, @function",
    "splitproc_thread:",
    ".cfi_startproc",
    "push rbx",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset rbx, 0",
    "call {begins}",
    "mov rdi, rdx",
    "call rax",
    "mov rbx, rax",
    "call {ends}",
    "mov rax, rbx",
    "pop rbx",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore rbx",
    "ret",
    ".cfi_endproc",
    ".size splitproc_thread, . - splitproc_thread",
    begins = sym begins,
    ends = sym ends,
);

extern "C" {
    fn splitproc_thread(wanted: *mut c_void) -> *mut c_void;
}

/// A thread's function and its argument, as they are handed to DMTCP: by way of `begins`, which frees what is
/// `kept` here.
pub struct Thread {
    /// The function.
    pub start: Start,
    /// Its argument.
    pub arg: *mut c_void,
    kept: *mut Wanted,
}

impl Thread {
    /// That runs this.
    pub fn new(start: Start, arg: *mut c_void) -> Thread {
        if !active() {
            let kept = core::ptr::null_mut();
            return Thread { start, arg, kept };
        }
        let kept = Box::into_raw(Box::new(Wanted { start, arg }));
        // SAFETY: only the type's safety differs: it is called with what it takes.
        let start = unsafe {
            core::mem::transmute::<unsafe extern "C" fn(*mut c_void) -> *mut c_void, Start>(
                splitproc_thread,
            )
        };
        Thread {
            start,
            arg: kept.cast(),
            kept,
        }
    }

    /// No such thread was made.
    pub fn forget(self) {
        if !self.kept.is_null() {
            // SAFETY: made by `new`, and nobody else has it.
            drop(unsafe { Box::from_raw(self.kept) });
        }
    }
}

unsafe extern "C" fn begins(wanted: *mut Wanted) -> Wanted {
    // SAFETY: made by `Thread::new` for this thread alone.
    *unsafe { Box::from_raw(wanted) }
}

extern "C" fn ends() {
    // A forked child's threads have no lower halves.
    if active() {
        registry::ends();
    }
}

/// The thread ends; the address of the function that ends it.
extern "C" fn exits() -> usize {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    ends();
    if REAL.load(Ordering::Relaxed) == 0 {
        let found = symbols::next(c"pthread_exit").unwrap_or(0);
        REAL.store(found, Ordering::Relaxed);
    }
    REAL.load(Ordering::Relaxed)
}

/// libc's `pthread_exit`. What it unwinds must not be a frame of ours.
///
/// # Safety
/// As libc's.
#[unsafe(naked)]
#[no_mangle]
pub unsafe extern "C" fn pthread_exit(value: *mut c_void) -> ! {
    naked_asm!(
        "push rdi",
        "call {exits}",
        "pop rdi",
        "jmp rax",
        exits = sym exits,
    )
}
