//! Signal calls: a lower half installs no handlers and its tasks take no signals; the upper half
//! never blocks or takes over the parking signal, and its handlers run through its trampoline.
//!
//! libc's own two signals (thread cancellation, change of ids in all threads) are every half's. Their
//! kernel handler is [`splitproc_libc_signal`], from before the first half to the end; it jumps to the handler
//! of the half that the thread was born in and leaves no frame, so that a cancelled thread unwinds as ever.

use super::entry::Regs;
use super::policy::native;
use super::tasks;
use crate::arch::{self, is_err, syscall6};
use crate::layout::{self, Owner, MAX_HALVES};
use crate::lhinfo::{self, LIBC_SIGNALS, LOWER_MASK, PARK_SIGNAL};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A signal's bit in a mask.
const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// The kernel's `struct sigaction`: handler, flags, restorer, mask.
type Action = [u64; 4];

/// Actions that lower halves believe to have set.
static LOWER_ACTIONS: [[[AtomicU64; 4]; 65]; MAX_HALVES] =
    [const { [const { [const { AtomicU64::new(0) }; 4] }; 65] }; MAX_HALVES];

core::arch::global_asm!(
    ".pushsection .text.splitproc_router,\"ax\",@progbits",
    ".globl splitproc_libc_signal, splitproc_libc_restorer",
    ".hidden splitproc_libc_signal, splitproc_libc_restorer",
    "splitproc_libc_signal:",
    "push rdi",
    "push rsi",
    "push rdx", // the stack is 16-byte aligned again
    "call {choose}",
    "pop rdx",
    "pop rsi",
    "pop rdi",
    "test rax, rax",
    "jz 2f",
    "jmp rax",
    "2: ret",
    // Unwinders know a signal frame by these bytes.
    "splitproc_libc_restorer: .byte 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05",
    ".popsection",
    choose = sym choose,
);

unsafe extern "C" {
    fn splitproc_libc_signal();
    fn splitproc_libc_restorer();
}

/// Installs the handler of libc's signals. `attached`: to a process that keeps its actions itself.
pub fn init(attached: bool) {
    /// `SA_RESTORER`, which the libc crate does not name for this target.
    const SA_RESTORER: u64 = 0x0400_0000;
    let flags = (libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK) as u64 | SA_RESTORER;
    let restorer = splitproc_libc_restorer as *const () as u64;
    let action: Action = [
        splitproc_libc_signal as *const () as u64,
        flags,
        restorer,
        bit(PARK_SIGNAL),
    ];
    if !attached {
        inherited();
    }
    for signal in LIBC_SIGNALS {
        let (nr, at) = (libc::SYS_rt_sigaction as usize, action.as_ptr() as usize);
        // SAFETY: the handler and its restorer stay as long as the process.
        unsafe { syscall6(nr, signal as usize, at, 0, 8, 0, 0) };
    }
}

/// Notes which signals the program was started to ignore.
fn inherited() {
    for signal in 1..=64 {
        let mut action: Action = [0; 4];
        let (nr, at) = (
            libc::SYS_rt_sigaction as usize,
            action.as_mut_ptr() as usize,
        );
        // SAFETY: only asks; the entry is this table's, and no half runs yet.
        unsafe {
            syscall6(nr, signal, 0, at, 8, 0, 0);
            if action[0] == libc::SIG_IGN as u64 {
                entry(signal as i32)[0].store(action[0], Relaxed);
            }
        }
    }
}

/// The application's own action.
fn entry(signal: i32) -> &'static [AtomicU64; 4] {
    // SAFETY: lhInfo is mapped before the router runs; an atomic word lies as a plain one.
    unsafe { &*(&raw const (*lhinfo::ptr()).upper.actions[signal as usize]).cast() }
}

/// Signals that ask for checkpoints, and that the application ignores: the kernel ignores them until this is dropped.
pub struct Unclaimed([(i32, Action); 2]);

/// The kernel is told of signals that ask for checkpoints what the application has told us, as far as the next
/// program inherits it.
pub fn unclaim() -> Unclaimed {
    let mut unclaimed = Unclaimed([(0, [0; 4]); 2]);
    // SAFETY: lhInfo is mapped before the router runs.
    let upper = unsafe { &lhinfo::get().upper };
    let claimed = [&upper.ckpt_signal, &upper.term_signal].map(|s| s.load(Relaxed) as i32);
    for (signal, kept) in claimed.into_iter().zip(&mut unclaimed.0) {
        let ignored = |signal| entry(signal)[0].load(Relaxed) == libc::SIG_IGN as u64;
        if (1..=64).contains(&signal) && ignored(signal) {
            kept.0 = signal;
            let ignore: Action = [libc::SIG_IGN as u64, 0, 0, 0];
            let (nr, old) = (
                libc::SYS_rt_sigaction as usize,
                kept.1.as_mut_ptr() as usize,
            );
            // SAFETY: both are live actions.
            unsafe { syscall6(nr, signal as usize, ignore.as_ptr() as usize, old, 8, 0, 0) };
        }
    }
    unclaimed
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        for (signal, action) in self.0.iter().filter(|(signal, _)| *signal != 0) {
            let (nr, at) = (libc::SYS_rt_sigaction as usize, action.as_ptr() as usize);
            // SAFETY: the action that was there.
            unsafe { syscall6(nr, *signal as usize, at, 0, 8, 0, 0) };
        }
    }
}

/// The handler that a libc signal is for; 0 for none.
unsafe extern "C" fn choose(
    signal: i32,
    _info: *const libc::siginfo_t,
    context: *mut libc::ucontext_t,
) -> usize {
    // SAFETY: the kernel passes the context.
    unsafe { super::cancel::leave(context) };
    let n = signal as usize;
    let handler = if tasks::is_lower_task() {
        match layout::owner(arch::fs_base()) {
            Owner::Lower(i) => LOWER_ACTIONS[i][n][0].load(Relaxed) as usize,
            _ => 0,
        }
    } else {
        // SAFETY: lhInfo is mapped; an atomic word lies as a plain one.
        let upper = unsafe { &lhinfo::get().upper };
        let trampoline = upper.signal_trampoline.load(Relaxed);
        match upper.actions[n][0] as usize {
            own if own > libc::SIG_IGN && trampoline != 0 => trampoline,
            own => own,
        }
    };
    if handler > libc::SIG_IGN {
        handler
    } else {
        0
    }
}

/// `tgkill` of a lower half. Its libc takes threads that were not born there for its own (its main one, and
/// those whose block it uses): its signals are not for them, and it goes on without when they do not exist.
///
/// # Safety
/// As for the system call.
pub unsafe fn tgkill(r: &Regs) -> isize {
    if LIBC_SIGNALS.contains(&(r.rdx as i32)) && !tasks::registered(r.rsi as u32) {
        return -(libc::ESRCH as isize);
    }
    // SAFETY: the caller's.
    unsafe { native(r) }
}

/// Sets the calling thread's mask and returns the old one.
pub fn set_mask(mask: u64) -> u64 {
    let mut old = 0u64;
    let nr = libc::SYS_rt_sigprocmask as usize;
    let (new_at, old_at) = (&raw const mask as usize, &raw mut old as usize);
    // SAFETY: both are live 8-byte masks.
    unsafe { syscall6(nr, libc::SIG_SETMASK as usize, new_at, old_at, 8, 0, 0) };
    old
}

/// `rt_sigprocmask`.
///
/// # Safety
/// As for the system call.
pub unsafe fn sigprocmask(owner: Owner, r: &Regs) -> isize {
    let how = r.rdi as i32;
    let known = [libc::SIG_BLOCK, libc::SIG_UNBLOCK, libc::SIG_SETMASK].contains(&how);
    // By a wrong `how` programs ask the kernel whether an address can be read.
    if r.rsi == 0 || r.r10 != 8 || !known {
        // SAFETY: the caller's.
        return unsafe { native(r) };
    }
    // SAFETY: the program gave the address of a mask.
    let mut set = unsafe { (r.rsi as *const u64).read_unaligned() };
    if matches!(owner, Owner::Lower(_)) && tasks::is_lower_task() {
        match how {
            libc::SIG_SETMASK => set |= LOWER_MASK,
            libc::SIG_UNBLOCK => set &= !LOWER_MASK,
            _ => {}
        }
    } else if how != libc::SIG_UNBLOCK {
        set &= !bit(PARK_SIGNAL);
    }
    // SAFETY: the caller's; the mask is our copy.
    unsafe { syscall6(r.rax, r.rdi, &raw const set as usize, r.rdx, 8, 0, 0) }
}

/// `rt_sigaction`.
///
/// # Safety
/// As for the system call.
pub unsafe fn sigaction(owner: Owner, r: &Regs) -> isize {
    let signal = r.rdi as i32;
    if !(1..=64).contains(&signal) || r.r10 != 8 {
        return -(libc::EINVAL as isize);
    }
    let (new, old) = (r.rsi as *const Action, r.rdx as *mut Action);
    // SAFETY: addresses of actions that the program gave, where they are not null.
    unsafe {
        match owner {
            Owner::Lower(i) => pretend(&LOWER_ACTIONS[i][signal as usize], new, old),
            _ => upper_action(r, signal, new, old),
        }
    }
}

/// Keeps an action in a table and leaves the kernel's alone.
unsafe fn pretend(entry: &[AtomicU64; 4], new: *const Action, old: *mut Action) -> isize {
    let was = [0, 1, 2, 3].map(|i: usize| entry[i].load(Relaxed));
    // SAFETY: null, or the program's.
    unsafe {
        if !new.is_null() {
            for (word, value) in entry.iter().zip(new.read_unaligned()) {
                word.store(value, Relaxed);
            }
        }
        if !old.is_null() {
            old.write_unaligned(was);
        }
    }
    0
}

/// An upper-half action: recorded, and installed with the trampoline in the handler's place.
unsafe fn upper_action(r: &Regs, signal: i32, new: *const Action, old: *mut Action) -> isize {
    // SAFETY: lhInfo is mapped; an atomic word lies as a plain one. Addresses are the program's.
    unsafe {
        // The child of a posix_spawn shares this memory, and what it sets is not the application's.
        if tasks::pid() != tasks::owner_pid() {
            return native(r);
        }
        let upper = &lhinfo::get().upper;
        let entry = entry(signal);
        if signal == PARK_SIGNAL {
            let park = upper.park_handler.load(Relaxed) as u64;
            if park != 0 && !new.is_null() && new.read_unaligned()[0] == park {
                return native(r);
            }
            return pretend(entry, new, old);
        }
        // A signal that asks for checkpoints stays the plugin's, which sets it without us.
        let asks = [&upper.ckpt_signal, &upper.term_signal]
            .iter()
            .any(|claimed| claimed.load(Relaxed) == signal as u32);
        if asks || LIBC_SIGNALS.contains(&signal) {
            return pretend(entry, new, old);
        }
        let trampoline = upper.signal_trampoline.load(Relaxed) as u64;
        let was = [0, 1, 2, 3].map(|i: usize| entry[i].load(Relaxed));
        let mut kernel_old: Action = [0; 4];
        let mut kernel_new = if new.is_null() {
            [0; 4]
        } else {
            new.read_unaligned()
        };
        let mut new_at = 0;
        if !new.is_null() {
            for (word, value) in entry.iter().zip(kernel_new) {
                word.store(value, Relaxed);
            }
            if kernel_new[0] > 1 && trampoline != 0 {
                kernel_new[0] = trampoline;
                kernel_new[1] |= libc::SA_SIGINFO as u64;
            }
            // The trampoline itself lets it in, where the thread can be parked.
            if trampoline != 0 && kernel_new[0] == trampoline {
                kernel_new[3] |= bit(PARK_SIGNAL);
            } else {
                kernel_new[3] &= !bit(PARK_SIGNAL);
            }
            new_at = &raw const kernel_new as usize;
        }
        let result = syscall6(r.rax, r.rdi, new_at, &raw mut kernel_old as usize, 8, 0, 0);
        if is_err(result) {
            for (word, value) in entry.iter().zip(was) {
                word.store(value, Relaxed);
            }
            return result;
        }
        if !old.is_null() {
            let ours = trampoline != 0 && kernel_old[0] == trampoline;
            old.write_unaligned(if ours { was } else { kernel_old });
        }
        0
    }
}

/// `sigaltstack` of a lower half: there is none, and setting one is believed.
///
/// # Safety
/// As for the system call.
pub unsafe fn no_altstack(r: &Regs) -> isize {
    if r.rsi != 0 {
        // SAFETY: the address of a stack_t: stack pointer, flags, size.
        unsafe { (r.rsi as *mut [usize; 3]).write_unaligned([0, libc::SS_DISABLE as usize, 0]) };
    }
    0
}

/// `rt_sigreturn` from a generic site: on the stack that the program had.
///
/// # Safety
/// `r` must be where the entry pushed it: the program's stack pointer is past it and the red zone.
pub unsafe fn sigreturn(r: &Regs) -> isize {
    let sp = core::ptr::from_ref(r) as usize + core::mem::size_of::<Regs>() + 128;
    // SAFETY: the kernel takes the signal frame at the program's stack pointer and does not return.
    unsafe {
        core::arch::asm!("mov rsp, {sp}", "syscall", sp = in(reg) sp,
            in("rax") libc::SYS_rt_sigreturn, options(noreturn));
    }
}

/// Calls that wait with a mask of their own, or for the signals in one.
pub fn waits_with_mask(nr: i64) -> bool {
    matches!(
        nr,
        libc::SYS_rt_sigsuspend
            | libc::SYS_rt_sigtimedwait
            | libc::SYS_signalfd
            | libc::SYS_signalfd4
            | libc::SYS_ppoll
            | libc::SYS_pselect6
            | libc::SYS_epoll_pwait
            | libc::SYS_epoll_pwait2
    )
}

/// Such a call, with the parking signal taken out of its mask.
///
/// # Safety
/// As for the system call.
pub unsafe fn wait_with_mask(r: &Regs) -> isize {
    let mut r = *r;
    // SAFETY: the addresses are the program's; the copies outlive the call.
    unsafe {
        let mut pair = [0usize; 2];
        let at = match r.rax as i64 {
            libc::SYS_rt_sigsuspend | libc::SYS_rt_sigtimedwait => &mut r.rdi,
            libc::SYS_signalfd | libc::SYS_signalfd4 => &mut r.rsi,
            libc::SYS_ppoll => &mut r.r10,
            libc::SYS_pselect6 if r.r9 != 0 => {
                pair = (r.r9 as *const [usize; 2]).read_unaligned();
                &mut pair[0]
            }
            libc::SYS_pselect6 => return super::waits::call(&r),
            _ => &mut r.r8,
        };
        let mut mask = 0u64;
        if *at != 0 {
            mask = (*at as *const u64).read_unaligned() & !bit(PARK_SIGNAL);
            *at = &raw const mask as usize;
        }
        if r.rax as i64 == libc::SYS_pselect6 {
            r.r9 = &raw const pair as usize;
        }
        let result = super::waits::call(&r);
        core::hint::black_box((&mask, &pair));
        if r.rax as i64 == libc::SYS_rt_sigtimedwait && !is_err(result) {
            super::ids::sender_out(r.rsi);
        }
        result
    }
}
