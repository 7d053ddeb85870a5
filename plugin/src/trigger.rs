//! Signals that ask for a checkpoint: noted in lhInfo for the host, unseen by the application.
//!
//! The handler uses no TLS but the switch block and allocates nothing. The router keeps the application's own
//! action for such a signal in lhInfo and leaves the kernel's alone.

use crate::{interrupt, raw, signal};
use core::sync::atomic::{AtomicU64, Ordering};
use lh_loader::lhinfo::{self, Upper, ASKED_CHECKPOINT, ASKED_STOP};

/// Signals whose kernel action is ours.
static CLAIMED: AtomicU64 = AtomicU64::new(0);

fn upper() -> &'static Upper {
    // SAFETY: lhInfo is mapped.
    &unsafe { lhinfo::get() }.upper
}

/// The signals that the host claims.
fn wanted() -> u64 {
    [&upper().ckpt_signal, &upper().term_signal]
        .map(|s| s.load(Ordering::Acquire))
        .iter()
        .filter(|s| (1..=64).contains(*s))
        .fold(0, |mask, s| mask | 1 << (s - 1))
}

/// Claims the signals that the host asks for, at the start and after a restart. Gives their mask: the helper
/// lets them through, so that there is always a thread that takes them.
pub fn init() -> u64 {
    let wanted = wanted();
    let had = CLAIMED.swap(wanted, Ordering::AcqRel);
    for number in 1..=64_usize {
        let bit = 1_u64 << (number - 1);
        if wanted & bit != 0 {
            let action = raw::action(handler as *const () as usize);
            // SAFETY: the kernel reads 32 bytes of `action`.
            unsafe {
                let at = action.as_ptr() as usize;
                raw::syscall(libc::SYS_rt_sigaction, [number, at, 0, 8, 0, 0]);
            }
        } else if had & bit != 0 {
            // SAFETY: routed: the application's action gets into the kernel as if it set it now.
            unsafe {
                let action = (&raw const (*lhinfo::ptr()).upper.actions[number]).read_volatile();
                libc::syscall(libc::SYS_rt_sigaction, number, action.as_ptr(), 0, 8);
            }
        }
    }
    wanted
}

unsafe extern "C" fn handler(
    number: i32,
    info: *mut libc::siginfo_t,
    context: *mut libc::ucontext_t,
) {
    // SAFETY: the kernel passes valid structures; lhInfo is mapped.
    unsafe {
        let upper = upper();
        let term = upper.term_signal.load(Ordering::Relaxed) == number as u32;
        if !ours(upper) || (term && upper.pass_term.swap(0, Ordering::AcqRel) == 1) {
            return pass(number, info, context);
        }
        let what = if term { ASKED_STOP } else { ASKED_CHECKPOINT };
        upper.asked.fetch_or(what, Ordering::AcqRel);
        raw::futex_wake(&upper.asked);
        interrupt::mend(context);
    }
}

/// Is this the process that is checkpointed, and not a fork of it?
fn ours(upper: &Upper) -> bool {
    // SAFETY: getpid has no preconditions.
    let pid = unsafe { raw::syscall(libc::SYS_getpid, [0; 6]) } as u32;
    let real = upper.real_pid.load(Ordering::Relaxed);
    pid == if real != 0 {
        real
    } else {
        upper.pid.load(Ordering::Relaxed)
    }
}

/// Does with the signal what the application wants done.
unsafe fn pass(number: i32, info: *mut libc::siginfo_t, context: *mut libc::ucontext_t) {
    // SAFETY: as in `handler`; the default action is set for a signal that is blocked until we return.
    unsafe {
        let at = &raw const (*lhinfo::ptr()).upper.actions[number as usize][0];
        match at.read_volatile() as usize {
            libc::SIG_IGN => {}
            libc::SIG_DFL => {
                let default = [0_u64; 4];
                let (n, at) = (number as usize, default.as_ptr() as usize);
                raw::syscall(libc::SYS_rt_sigaction, [n, at, 0, 8, 0, 0]);
                let pid = raw::syscall(libc::SYS_getpid, [0; 6]) as usize;
                let tid = raw::syscall(libc::SYS_gettid, [0; 6]) as usize;
                raw::syscall(libc::SYS_tgkill, [pid, tid, n, 0, 0, 0]);
            }
            _ => signal::trampoline(number, info, context.cast()),
        }
    }
}
