//! System calls that no router sees, and futexes over them.
//!
//! Used in signal handlers and while another half's DTV is in place: no TLS, no allocation, no errno.

use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use core::time::Duration;
use lh_loader::lhinfo;

type Syscall = unsafe extern "C" fn(usize, usize, usize, usize, usize, usize, usize) -> isize;

static PRESENT: AtomicU32 = AtomicU32::new(0);

/// Notes that lhInfo is mapped: the loader started this process.
pub fn set_present() {
    PRESENT.store(1, Ordering::Relaxed);
}

/// Did our loader start this process?
pub fn present() -> bool {
    PRESENT.load(Ordering::Relaxed) != 0
}

/// A system call by the loader, unrouted; `-errno` on failure.
///
/// # Safety
/// As the system call.
pub unsafe fn syscall(nr: libc::c_long, args: [usize; 6]) -> isize {
    // SAFETY: lhInfo is mapped and names a function of this type; the rest is passed on to the caller.
    unsafe {
        let f: Syscall = core::mem::transmute(lhinfo::get().raw_syscall.load(Ordering::Relaxed));
        f(
            nr as usize,
            args[0],
            args[1],
            args[2],
            args[3],
            args[4],
            args[5],
        )
    }
}

/// Sleeps while `word` is `value`, at most this long; may wake for nothing. False: the time is up.
pub fn futex_wait(word: &AtomicU32, value: u32, longest: Option<Duration>) -> bool {
    let time = longest.map(|t| [t.as_secs() as i64, i64::from(t.subsec_nanos())]);
    let timeout = time.as_ref().map_or(0, |t| t.as_ptr() as usize);
    let op = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the word and the time outlive the call.
    let got = unsafe {
        syscall(
            libc::SYS_futex,
            [word.as_ptr() as usize, op, value as usize, timeout, 0, 0],
        )
    };
    got != -libc::ETIMEDOUT as isize
}

/// Wakes all who wait for `word`.
pub fn futex_wake(word: &AtomicU32) {
    let op = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: only the address is used.
    unsafe {
        syscall(
            libc::SYS_futex,
            [word.as_ptr() as usize, op, i32::MAX as usize, 0, 0, 0],
        )
    };
}

/// Blocks every signal, the park signal too; gives the mask to restore.
pub fn block_signals() -> u64 {
    set_mask(!0)
}

/// Restores a mask from [`block_signals`].
pub fn restore_signals(mask: u64) {
    set_mask(mask);
}

/// The signal by which the host stops threads.
static STOP: AtomicI32 = AtomicI32::new(lhinfo::PARK_SIGNAL);

/// Another host than our own has a signal of its own.
pub fn set_stop_signal(signal: i32) {
    STOP.store(signal, Ordering::Relaxed);
}

/// See [`set_stop_signal`].
pub fn stop_signal() -> i32 {
    STOP.load(Ordering::Relaxed)
}

/// The mask of splitproc's own threads in the upper half: they take the host's stop signal, and libc's two, for a
/// change of ids (`setuid`) waits until every thread that libc knows has made it. No other, but those in `more`.
pub fn take_only_own_signals(more: u64) {
    let bit = |signal: i32| 1u64 << (signal - 1);
    set_mask(!(bit(stop_signal()) | bit(32) | bit(33) | more));
}

/// Blocks the host's stop signal, or lets it in.
pub fn block_stop(on: bool) {
    let how = if on {
        libc::SIG_BLOCK
    } else {
        libc::SIG_UNBLOCK
    };
    change_mask(how, 1 << (stop_signal() - 1));
}

fn set_mask(mask: u64) -> u64 {
    change_mask(libc::SIG_SETMASK, mask)
}

fn change_mask(how: i32, mask: u64) -> u64 {
    let mut old = 0u64;
    // SAFETY: the kernel reads and writes one 8-byte mask.
    unsafe {
        let (new, old) = (&raw const mask as usize, &raw mut old as usize);
        syscall(libc::SYS_rt_sigprocmask, [how as usize, new, old, 8, 0, 0]);
    }
    old
}

/// `SA_RESTORER`, which the libc crate does not name for this target.
const SA_RESTORER: u64 = 0x0400_0000;

core::arch::global_asm!(
    ".globl splitproc_sigreturn",
    ".hidden splitproc_sigreturn",
    ".type splitproc_sigreturn, @function",
    "splitproc_sigreturn:",
    "mov eax, 15", // rt_sigreturn
    "syscall",
);

extern "C" {
    fn splitproc_sigreturn();
}

/// An action for the kernel, `[handler, flags, restorer, mask]`: calls restart, and every signal is blocked
/// while the handler runs.
pub fn action(handler: usize) -> [u64; 4] {
    let flags = (libc::SA_SIGINFO | libc::SA_RESTART) as u64 | SA_RESTORER;
    [
        handler as u64,
        flags,
        splitproc_sigreturn as *const () as u64,
        !0,
    ]
}
