//! The limit of open files (`RLIMIT_NOFILE`): one number of the kernel's, two ranges of descriptors.
//!
//! Lower halves have the numbers from `lhinfo.fd_base` up, the program those below. The kernel's soft limit is
//! never higher than that base while the program runs, so that the kernel itself keeps the program below it,
//! whatever call makes the descriptor; it is raised to the hard limit for the moment in which a
//! lower half makes one ([`roomy`]). What the program has set, it is told: its own limits are in lhInfo. Hard limits
//! are only noted, for the kernel would not let lower halves raise theirs again.

use super::entry::Regs;
use super::policy::native;
use super::{ids, signals, tasks};
use crate::arch::{self, is_err, syscall6};
use crate::layout::{self, Owner};
use crate::lhinfo::{self, LhInfo};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The kernel's `struct rlimit64`: soft and hard.
type Limit = [u64; 2];

/// Held while the kernel's soft limit is not the program's.
static LOCK: AtomicU32 = AtomicU32::new(0);

fn info() -> &'static LhInfo {
    // SAFETY: lhInfo is mapped before the router runs.
    unsafe { lhinfo::get() }
}

/// The first number of the lower halves.
pub fn base() -> usize {
    info().fd_base.load(Relaxed) as usize
}

/// The kernel's limits of this process.
fn kernel() -> Limit {
    let mut now = [0; 2];
    // SAFETY: the kernel writes two words.
    unsafe { prlimit(0, &raw mut now as usize) };
    now
}

fn set(limit: Limit) -> isize {
    // SAFETY: the kernel reads two words.
    unsafe { prlimit(&raw const limit as usize, 0) }
}

unsafe fn prlimit(new: usize, old: usize) -> isize {
    let nr = libc::SYS_prlimit64 as usize;
    // SAFETY: the caller gives null or addresses of limits.
    unsafe { syscall6(nr, 0, libc::RLIMIT_NOFILE as usize, new, old, 0, 0) }
}

/// What the program has set.
fn programs() -> Limit {
    let own = &info().upper.open_files;
    [own[0].load(Relaxed), own[1].load(Relaxed)]
}

/// The kernel's soft limit while the program runs.
fn soft() -> u64 {
    programs()[0].min(base() as u64)
}

/// Shares out the numbers, before the first half runs. `attached`: the upper half's calls are not routed, and it keeps
/// its limit.
pub fn init(attached: bool) {
    let now = kernel();
    let base = layout::fd_base(now[1], attached);
    info().fd_base.store(base as u32, Relaxed);
    for (word, value) in info().upper.open_files.iter().zip(now) {
        word.store(value, Relaxed);
    }
    if !attached {
        set([soft(), now[1]]);
    }
}

/// Runs `f` alone, with every signal blocked: a thread that is parked for a checkpoint must not hold the lock.
fn locked<T>(f: impl FnOnce() -> T) -> T {
    let mask = signals::set_mask(!0);
    arch::spin_lock(&LOCK);
    let value = f();
    arch::spin_unlock(&LOCK);
    signals::set_mask(mask);
    value
}

/// Makes a descriptor of a lower half: for the moment the hard limit is the only one.
pub fn roomy(make: impl FnOnce() -> isize) -> isize {
    locked(|| {
        let now = kernel();
        set([now[1], now[1]]);
        let made = make();
        set(now);
        made
    })
}

/// Whether the call is about the limit of open files.
pub fn concerns(r: &Regs) -> bool {
    match r.rax as i64 {
        libc::SYS_getrlimit | libc::SYS_setrlimit => r.rdi == libc::RLIMIT_NOFILE as usize,
        libc::SYS_prlimit64 => {
            let me = r.rdi == 0 || ids::pid_in(r.rdi) as u32 == tasks::pid();
            me && r.rsi == libc::RLIMIT_NOFILE as usize
        }
        _ => false,
    }
}

/// Tells or sets the limit of the half that asks.
///
/// # Safety
/// As for the system call, which [`concerns`] the limit.
pub unsafe fn call(owner: Owner, r: &Regs) -> isize {
    if matches!(owner, Owner::Lower(_)) {
        // SAFETY: the caller's.
        return locked(|| unsafe { native(r) });
    }
    let (new, old) = match r.rax as i64 {
        libc::SYS_getrlimit => (0, r.rsi),
        libc::SYS_setrlimit => (r.rsi, 0),
        _ => (r.rdx, r.r10),
    };
    // A fork has a limit of its own, which it begins with as the kernel knows it.
    let fork = tasks::pid() != tasks::leader_pid();
    // SAFETY: null, or the program's addresses.
    unsafe {
        let was = match kernel() {
            changed if fork && changed[0] != soft() => changed,
            _ => programs(),
        };
        let result = match (new as *const Limit, fork) {
            (at, _) if at.is_null() => 0,
            (at, true) => set(at.read_unaligned()),
            (at, false) => locked(|| change(at.read_unaligned())),
        };
        if !is_err(result) && old != 0 {
            (old as *mut Limit).write_unaligned(was);
        }
        result
    }
}

/// The program's own limits: what the kernel would allow is noted.
fn change(new: Limit) -> isize {
    let now = kernel();
    if new[0] > new[1] {
        return -(libc::EINVAL as isize);
    }
    let raises = new[1] > programs()[1];
    if raises && !may_raise() {
        return -(libc::EPERM as isize);
    }
    let own = &info().upper.open_files;
    let hard = if raises { new[1].max(now[1]) } else { now[1] };
    let result = set([new[0].min(base() as u64), hard]);
    if !is_err(result) {
        own[0].store(new[0], Relaxed);
        own[1].store(new[1], Relaxed);
    }
    result
}

/// Whether the kernel would let this thread raise a hard limit: CAP_SYS_RESOURCE.
fn may_raise() -> bool {
    const VERSION_3: u32 = 0x2008_0522;
    const SYS_RESOURCE: u32 = 24;
    let mut header = [VERSION_3, 0];
    // Effective, permitted, inheritable; twice.
    let mut sets = [0u32; 6];
    let (header, to) = (header.as_mut_ptr() as usize, sets.as_mut_ptr() as usize);
    // SAFETY: the kernel reads the header and writes six words.
    let result = unsafe { syscall6(libc::SYS_capget as usize, header, to, 0, 0, 0, 0) };
    !is_err(result) && sets[0] >> SYS_RESOURCE & 1 != 0
}

/// The program's hard limit, where the kernel's is still higher.
pub fn lowered() -> Option<u64> {
    let [_, hard] = programs();
    (hard < kernel()[1]).then_some(hard)
}

/// Makes an `exec`: what is executed has the program's own limits, unless this process has set others. The program
/// itself keeps its lower halves' hard limit, for the call may fail.
pub fn executing(exec: impl FnOnce() -> isize) -> isize {
    let now = kernel();
    if now[0] == soft() {
        let own = programs();
        let hard = match tasks::pid() == tasks::leader_pid() {
            true => now[1],
            false => own[1].min(now[1]),
        };
        set([own[0].min(hard), hard]);
    }
    let result = exec();
    set(now);
    result
}
