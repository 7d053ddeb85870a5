//! Signal handlers under DMTCP: no router sees the upper half's system calls, so libc's functions are replaced.
//!
//! Each handler runs through `signal`'s trampoline, DMTCP's own for the signal that stops threads as well:
//! it is there that a thread which was stopped inside a lower half comes out again after a restart.

use super::active;
use crate::{raw, symbols};
use core::ffi::c_int;
use core::ptr::{null, null_mut};
use lh_loader::lhinfo;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

type Set = unsafe extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;

/// The kernel's action: handler, flags, restorer, mask.
type Action = [u64; 4];

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The signals that `siginterrupt` was asked to let interrupt system calls.
static INTERRUPTING: AtomicU64 = AtomicU64::new(0);

/// Looks libc's function up, before any handler can want it.
pub fn init() {
    next();
    if let Some(signal) = stop_signal() {
        raw::set_stop_signal(signal);
    }
}

fn next() -> Set {
    if NEXT.load(Ordering::Relaxed) == 0 {
        let found = symbols::next(c"sigaction").unwrap_or(0);
        NEXT.store(found, Ordering::Relaxed);
    }
    // SAFETY: libc has this function, and it has this type.
    unsafe { core::mem::transmute::<usize, Set>(NEXT.load(Ordering::Relaxed)) }
}

fn trampoline() -> usize {
    // SAFETY: lhInfo is mapped while the plugin is active.
    let upper = unsafe { &lhinfo::get().upper };
    upper.signal_trampoline.load(Ordering::Relaxed)
}

/// libc's `sigaction`; under DMTCP a handler is recorded, and the trampoline installed.
///
/// # Safety
/// As libc's.
#[no_mangle]
pub unsafe extern "C" fn sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    let next = next();
    // DMTCP does not let the program have its signal.
    let ours = (1..=64).contains(&signal) && signal != raw::stop_signal();
    if !active() || !ours {
        // SAFETY: the caller's.
        let result = unsafe { next(signal, new, old) };
        if ours && raw::present() && result == 0 {
            // SAFETY: null, or filled by libc; a forked child has its parent's table.
            unsafe {
                if let Some(old) = old.as_mut() {
                    show(&entry(signal).read_volatile(), old);
                }
            }
        }
        return result;
    }
    // SAFETY: the addresses are the caller's, and lhInfo is mapped.
    unsafe {
        let entry = entry(signal);
        let was = entry.read_volatile();
        let mut action: libc::sigaction;
        let mut passed = null();
        if !new.is_null() {
            action = new.read();
            if action.sa_sigaction > libc::SIG_IGN {
                let flags = action.sa_flags as u64;
                let mask = &raw mut action.sa_mask;
                entry.write_volatile([action.sa_sigaction as u64, flags, 0, *mask.cast()]);
                action.sa_sigaction = trampoline();
                action.sa_flags |= libc::SA_SIGINFO;
                libc::sigaddset(mask, raw::stop_signal()); // the trampoline itself lets it in
            }
            passed = &raw const action;
        }
        let mut found: libc::sigaction = core::mem::zeroed();
        let result = next(signal, passed, &mut found);
        if result != 0 {
            entry.write_volatile(was);
            return result;
        }
        show(&was, &mut found);
        if !old.is_null() {
            old.write(found);
        }
        0
    }
}

/// The program's handler in the place of the trampoline that stands for it.
fn show(recorded: &Action, found: &mut libc::sigaction) {
    if found.sa_sigaction == trampoline() {
        found.sa_sigaction = recorded[0] as usize;
        found.sa_flags = recorded[1] as c_int;
        // SAFETY: the mask's first word is the kernel's.
        unsafe { (&raw mut found.sa_mask).cast::<u64>().write(recorded[3]) };
    }
}

/// What the program wants of a signal.
///
/// # Safety
/// lhInfo must be mapped.
unsafe fn entry(signal: c_int) -> *mut Action {
    // SAFETY: the caller's; the table has an entry for each signal.
    unsafe { &raw mut (*lhinfo::ptr()).upper.actions[signal as usize] }
}

/// libc's `signal`.
///
/// # Safety
/// As libc's.
#[no_mangle]
pub unsafe extern "C" fn signal(number: c_int, handler: usize) -> usize {
    if active() && number == raw::stop_signal() {
        // DMTCP, which does not let the program have its signal, answers for it.
        if let Some(next) = symbols::next(c"signal") {
            // SAFETY: the function has this type.
            let next: unsafe extern "C" fn(c_int, usize) -> usize =
                unsafe { core::mem::transmute(next) };
            // SAFETY: the caller's.
            return unsafe { next(number, handler) };
        }
    }
    // SAFETY: an action is plain data; its mask is set by libc.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        let mut old: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = handler;
        let interrupts = INTERRUPTING.load(Ordering::Relaxed) & bit(number) != 0;
        action.sa_flags = if interrupts { 0 } else { libc::SA_RESTART };
        libc::sigaddset(&mut action.sa_mask, number);
        match sigaction(number, &action, &mut old) {
            0 => old.sa_sigaction,
            _ => libc::SIG_ERR,
        }
    }
}

/// libc's `siginterrupt`, which `signal` above has to heed as libc's own does.
///
/// # Safety
/// As libc's.
#[no_mangle]
pub unsafe extern "C" fn siginterrupt(number: c_int, interrupts: c_int) -> c_int {
    // SAFETY: an action is plain data.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        if sigaction(number, null(), &mut action) != 0 {
            return -1;
        }
        if interrupts != 0 {
            INTERRUPTING.fetch_or(bit(number), Ordering::Relaxed);
            action.sa_flags &= !libc::SA_RESTART;
        } else {
            INTERRUPTING.fetch_and(!bit(number), Ordering::Relaxed);
            action.sa_flags |= libc::SA_RESTART;
        }
        sigaction(number, &action, null_mut())
    }
}

/// A signal's place among [`INTERRUPTING`]; none of a number that no signal has.
fn bit(number: c_int) -> u64 {
    let place = u32::try_from(number.wrapping_sub(1)).unwrap_or(u32::MAX);
    1u64.checked_shl(place).unwrap_or(0)
}

/// The signal by which DMTCP stops threads. Its function takes an old error for one of its own, and then does not see which
/// signal the user wants.
fn stop_signal() -> Option<c_int> {
    let get = symbols::find(c"dmtcp_get_ckpt_signal")?;
    // SAFETY: the function has this type; errno is this thread's.
    unsafe {
        let kept = *libc::__errno_location();
        *libc::__errno_location() = 0;
        let signal = core::mem::transmute::<usize, extern "C" fn() -> c_int>(get)();
        *libc::__errno_location() = kept;
        Some(signal)
    }
}

unsafe fn kernel(signal: c_int, new: *const Action, old: *mut Action) {
    let args = [signal as usize, new as usize, old as usize, 8, 0, 0];
    // SAFETY: null, or a kernel's action.
    unsafe { raw::syscall(libc::SYS_rt_sigaction, args) };
}

/// DMTCP has installed its handler: it runs through the trampoline from now on.
pub fn take_over_stop() {
    let Some(signal) = stop_signal() else {
        return;
    };
    let mut action: Action = [0; 4];
    // SAFETY: lhInfo is mapped; DMTCP's handler does not care for the further arguments.
    unsafe {
        kernel(signal, null(), &mut action);
        if action[0] as usize != trampoline() && action[0] as usize > libc::SIG_IGN {
            (*lhinfo::ptr()).upper.actions[signal as usize] = action;
            action[0] = trampoline() as u64;
            action[1] |= libc::SA_SIGINFO as u64;
            kernel(signal, &action, null_mut());
        }
    }
}

/// DMTCP installs its handler again in a forked child, and wants to find its own there.
pub fn give_back_stop() {
    let Some(signal) = stop_signal() else {
        return;
    };
    // SAFETY: lhInfo is mapped; the action is what DMTCP had installed.
    unsafe {
        let action = (*lhinfo::ptr()).upper.actions[signal as usize];
        if action[0] as usize > libc::SIG_IGN {
            kernel(signal, &action, null_mut());
        }
    }
}
