//! Threads back to life: the last step of a restart, run on the main kernel thread.
//!
//! The host half has put the upper half's memory and descriptors back; each saved thread now gets a
//! kernel thread of its own. A new thread starts on a small stack in the loader's window with all
//! signals blocked, puts back what the kernel keeps for a thread (FS, GS, the address where its tid
//! is cleared, robust list, rseq, name), reports itself (`Thread::state` = `ALIVE`) and leaves
//! through `rt_sigreturn` from the frame that the kernel itself wrote when the thread was parked:
//! registers, the whole XSAVE state, the signal mask and the alternate stack come back from there.
//!
//! The plugin's helper goes at once, since it serves the RESTART event; all others wait until the
//! host sets `Upper::release`.

use crate::arch::{is_err, syscall6};
use crate::futex::{wait_while, wake};
use crate::layout::LOADER_BASE;
use crate::lhinfo::{self, HalfStart, LhInfo, Thread, MAX_THREADS, RSEQ_SIGNATURE};
use crate::shown;
use core::sync::atomic::{AtomicU32, Ordering};

/// `Thread::state` of a slot whose thread has been parked and recorded.
pub const PARKED: u32 = 2;
/// `Thread::state` of a slot whose thread a restart has brought back.
pub const ALIVE: u32 = 3;

/// Stack of a thread between `clone` and `rt_sigreturn`.
const STACK: usize = 16 << 10;
/// Where those stacks are mapped: the upper part of the loader's window.
const STACKS_BASE: usize = LOADER_BASE + (1 << 39);
/// The kernel's number for "no rseq here", as glibc reads it.
const RSEQ_CPU_ID_REGISTRATION_FAILED: i32 = -2;
/// The kernel's signal set has 8 bytes.
const SIGSET: usize = 8;
const ARCH_SET_GS: usize = 0x1001;
const ARCH_SET_FS: usize = 0x1002;

/// Slot of the plugin's helper (`u32::MAX`: none).
static HELPER: AtomicU32 = AtomicU32::new(u32::MAX);

/// Makes a system call for its effect; what fails here is reported by the host, which sees that the
/// thread never came up, or does not matter (a name).
///
/// # Safety
/// As for the system call.
unsafe fn call(nr: libc::c_long, a: usize, b: usize, c: usize, d: usize) -> isize {
    // SAFETY: the caller answers for the system call.
    unsafe { syscall6(nr as usize, a, b, c, d, 0, 0) }
}

/// Says what went wrong and ends the process: there is no program to go back to.
fn fatal(message: &[u8]) -> ! {
    // SAFETY: writes a constant to stderr and exits.
    unsafe {
        call(
            libc::SYS_write,
            2,
            message.as_ptr() as usize,
            message.len(),
            0,
        );
        loop {
            call(libc::SYS_exit_group, 1, 0, 0, 0);
        }
    }
}

/// Waits for the host's `go`, brings every saved thread back and becomes the main one.
///
/// # Safety
/// Called once, on the process's first thread, in a restart; `start` is the host half's. From `go` on,
/// lhInfo and the upper half hold the image's contents.
pub unsafe fn revive(start: &HalfStart) -> ! {
    wait_while(&start.go, 0);
    // SAFETY: the host sets `go` after it has put lhInfo's contents back.
    let info = unsafe { lhinfo::get() };
    shown::show(info.upper.strings);
    let blocked = u64::MAX;
    // SAFETY: blocks every signal of this thread; threads cloned below inherit that.
    unsafe {
        call(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK as usize,
            &raw const blocked as usize,
            0,
            SIGSET,
        )
    };
    let used = (info.thread_count.load(Ordering::Acquire) as usize).min(MAX_THREADS);
    let threads = &info.threads[..used];
    let (main, helper) = roles(info, threads);
    HELPER.store(helper.map_or(u32::MAX, |i| i as u32), Ordering::Release);
    let stacks = map_stacks(used);
    for (i, thread) in threads.iter().enumerate() {
        if Some(i) != main && thread.state.load(Ordering::Acquire) == PARKED {
            // SAFETY: slot `i` has a stack of its own in the mapping made above.
            let tid = unsafe { spawn(thread, stacks + (i + 1) * STACK) };
            if is_err(tid) {
                fatal(
                    b"splitproc: a thread of the program can't be created again: see ulimit -u\n",
                );
            }
        }
    }
    match main {
        // SAFETY: the slot was recorded by the park handler and belongs to this thread alone.
        Some(i) => unsafe { live(&threads[i]) },
        // The program's first thread had ended before the checkpoint; so does this one.
        None => loop {
            // SAFETY: ends this thread only.
            unsafe { call(libc::SYS_exit, 0, 0, 0, 0) };
        },
    }
}

/// The slots of the main thread and of the plugin's helper.
fn roles(info: &LhInfo, threads: &[Thread]) -> (Option<usize>, Option<usize>) {
    let pid = info.upper.pid.load(Ordering::Acquire);
    let helper = info.upper.helper_tid.load(Ordering::Acquire);
    let parked = |t: &Thread| t.state.load(Ordering::Acquire) == PARKED;
    (
        threads
            .iter()
            .position(|t| parked(t) && t.tid.load(Ordering::Acquire) == pid),
        threads
            .iter()
            .position(|t| parked(t) && t.real_tid.load(Ordering::Acquire) == helper),
    )
}

/// Maps `count` stacks and gives the address of the lowest.
fn map_stacks(count: usize) -> usize {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: a new mapping in the loader's own window, which replaces nothing.
    let at = unsafe {
        syscall6(
            libc::SYS_mmap as usize,
            STACKS_BASE,
            (count.max(1)) * STACK,
            (libc::PROT_READ | libc::PROT_WRITE) as usize,
            flags as usize,
            usize::MAX,
            0,
        )
    };
    if at as usize != STACKS_BASE {
        fatal(b"splitproc: no room for the stacks that threads are brought back on\n");
    }
    STACKS_BASE
}

/// Clones a thread that runs `live(thread)` on the stack that ends at `top`.
///
/// # Safety
/// `top` is the 16-byte aligned end of a stack that nothing else uses.
unsafe fn spawn(thread: &Thread, top: usize) -> isize {
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM;
    let result: isize;
    // SAFETY: the child starts behind the same `syscall` with the stack `top` and calls `start_thread`,
    // which never returns; the parent goes on at label 2 with its own stack untouched.
    unsafe {
        core::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call {start}",
            "ud2",
            "2:",
            start = sym start_thread,
            inlateout("rax") libc::SYS_clone as isize => result,
            in("rdi") flags as usize,
            in("rsi") top,
            in("rdx") 0usize,
            in("r10") 0usize,
            in("r8") 0usize,
            in("r12") core::ptr::from_ref(thread),
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// First function of a cloned thread.
unsafe extern "C" fn start_thread(thread: *const Thread) -> ! {
    // SAFETY: `spawn` passes a slot of lhInfo that belongs to this thread alone.
    unsafe { live(&*thread) }
}

/// Turns this kernel thread into the saved one.
///
/// # Safety
/// `thread` was recorded by the park handler, its memory is back, and no other thread uses the slot.
unsafe fn live(thread: &Thread) -> ! {
    // SAFETY: the region is mapped for the life of the process.
    let info = unsafe { lhinfo::get() };
    let index = (core::ptr::from_ref(thread) as usize - info.threads.as_ptr() as usize)
        / core::mem::size_of::<Thread>();
    let is_helper = HELPER.load(Ordering::Acquire) == index as u32;
    // SAFETY: each call puts back, for this thread only, what the park handler read from the kernel.
    let tid = unsafe {
        call(libc::SYS_arch_prctl, ARCH_SET_FS, thread.fs, 0, 0);
        call(libc::SYS_arch_prctl, ARCH_SET_GS, thread.gs, 0, 0);
        call(
            libc::SYS_prctl,
            libc::PR_SET_NAME as usize,
            thread.name.as_ptr() as usize,
            0,
            0,
        );
        let [death, no_new_privileges] = thread.settings.map(|n| n as usize);
        call(
            libc::SYS_prctl,
            libc::PR_SET_PDEATHSIG as usize,
            death,
            0,
            0,
        );
        call(
            libc::SYS_prctl,
            libc::PR_SET_TIMERSLACK as usize,
            thread.slack,
            0,
            0,
        );
        if no_new_privileges != 0 {
            call(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0);
        }
        if thread.robust[0] != 0 {
            let [head, len] = thread.robust;
            call(libc::SYS_set_robust_list, head, len, 0, 0);
        }
        if thread.rseq[0] != 0 {
            register_rseq(thread.rseq[0], thread.rseq[1]);
        }
        call(libc::SYS_set_tid_address, thread.clear_tid, 0, 0, 0)
    } as u32;
    thread.real_tid.store(tid, Ordering::Release);
    if is_helper {
        info.upper.helper_tid.store(tid, Ordering::Release);
    }
    thread.state.store(ALIVE, Ordering::Release);
    wake(&thread.state);
    if !is_helper {
        wait_while(&info.upper.release, 0);
    }
    // SAFETY: `frame` is where the kernel's signal frame lies on the thread's own restored stack.
    unsafe {
        core::arch::asm!(
            "mov rsp, {frame}",
            "mov eax, 15",
            "syscall",
            "ud2",
            frame = in(reg) thread.frame,
            options(noreturn),
        )
    }
}

/// Registers a thread's rseq area, or marks it as unregistered so that nobody trusts it.
///
/// # Safety
/// `area` is the thread's own rseq area, restored.
unsafe fn register_rseq(area: usize, len: usize) {
    // SAFETY: registers the area for this thread; a failure changes nothing.
    let result = unsafe { call(libc::SYS_rseq, area, len, 0, RSEQ_SIGNATURE) };
    if is_err(result) {
        // SAFETY: `cpu_id` is the second word of the area.
        unsafe { ((area + 4) as *mut i32).write_volatile(RSEQ_CPU_ID_REGISTRATION_FAILED) };
    }
}
