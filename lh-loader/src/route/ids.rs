//! What the upper half believes to be: its pid, its tids, its parent, its program. After a restart they are
//! not the kernel's, and are translated both ways.
//!
//! Process groups and sessions are the new launcher's and are left alone, but where one is named after
//! this process it goes by the pid that the application knows. The parent goes by the number of the first
//! one as long as the process that started this restart lives; once it is gone, as by the kernel's.
//! Not translated: ids in memory that user space shares with the kernel (priority-inheritance futexes,
//! which the host refuses to save), and those that come with `read` (`signalfd`) or socket credentials.

use super::entry::Regs;
use super::policy::native;
use super::{paths, tasks};
use crate::arch::syscall6;
use crate::lhinfo::{self, LhInfo, Thread, MAX_THREADS};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The parent when the loader started.
static PARENT: AtomicU32 = AtomicU32::new(0);

/// `struct f_owner_ex`: type and id.
type Owner = [i32; 2];
/// `F_OWNER_TID`: the id is a thread's.
const F_OWNER_TID: i32 = 0;
const F_SETOWN: i32 = 8;
const F_GETOWN: i32 = 9;
const F_SETOWN_EX: i32 = 15;
const F_GETOWN_EX: i32 = 16;
/// `IOPRIO_WHO_PROCESS`; one more: a group.
const IOPRIO_WHO_PROCESS: usize = 1;

/// Which of the first two arguments of a call are ids of processes or threads.
fn arguments(nr: i64) -> [bool; 2] {
    match nr {
        libc::SYS_kill
        | libc::SYS_rt_sigqueueinfo
        | libc::SYS_getpgid
        | libc::SYS_getsid
        | libc::SYS_pidfd_open
        | libc::SYS_tkill
        | libc::SYS_sched_setaffinity
        | libc::SYS_sched_getaffinity
        | libc::SYS_sched_setparam
        | libc::SYS_sched_getparam
        | libc::SYS_sched_setscheduler
        | libc::SYS_sched_getscheduler
        | libc::SYS_sched_rr_get_interval
        | libc::SYS_sched_setattr
        | libc::SYS_sched_getattr
        | libc::SYS_get_robust_list
        | libc::SYS_prlimit64
        | libc::SYS_process_vm_readv
        | libc::SYS_process_vm_writev
        | libc::SYS_migrate_pages
        | libc::SYS_move_pages => [true, false],
        libc::SYS_tgkill | libc::SYS_rt_tgsigqueueinfo | libc::SYS_setpgid | libc::SYS_kcmp => {
            [true, true]
        }
        libc::SYS_ptrace | libc::SYS_perf_event_open => [false, true],
        _ => [false, false],
    }
}

/// Whether the call's first argument is a clock, and nothing else is an id. glibc asks `clock_getres` whether a process
/// has a clock. See also `waits` (`clock_nanosleep`).
fn has_clock(nr: i64) -> bool {
    matches!(
        nr,
        libc::SYS_clock_gettime | libc::SYS_clock_getres | libc::SYS_clock_settime
    )
}

/// Whether the call names or returns ids, or a path that may do so.
pub fn routed(nr: i64) -> bool {
    arguments(nr) != [false, false]
        || paths::routed(nr)
        || matches!(
            nr,
            libc::SYS_getpid
                | libc::SYS_gettid
                | libc::SYS_getppid
                | libc::SYS_getpgrp
                | libc::SYS_set_tid_address
                | libc::SYS_wait4
                | libc::SYS_waitid
                | libc::SYS_getpriority
                | libc::SYS_setpriority
                | libc::SYS_ioprio_get
                | libc::SYS_ioprio_set
                | libc::SYS_capget
                | libc::SYS_capset
                | libc::SYS_fcntl
                | libc::SYS_timer_create
        )
        || has_clock(nr)
}

fn info() -> &'static LhInfo {
    // SAFETY: lhInfo is mapped before the router runs.
    unsafe { lhinfo::get() }
}

/// Whether ids differ from the kernel's: in a restart, and in processes forked there.
pub fn restarted() -> bool {
    info().upper.generation.load(Relaxed) > 0
}

/// Notes the parent, before the first half runs.
pub fn init() {
    // SAFETY: getppid has no preconditions.
    let parent = unsafe { syscall6(libc::SYS_getppid as usize, 0, 0, 0, 0, 0, 0) };
    PARENT.store(parent as u32, Relaxed);
    // In a restart the image brings the first parent's.
    info().upper.ppid.store(parent as u32, Relaxed);
}

/// The recorded threads of a process that was restarted; none in another.
fn threads() -> &'static [Thread] {
    if !restarted() {
        return &[];
    }
    let i = info();
    &i.threads[..(i.thread_count.load(Relaxed) as usize).min(MAX_THREADS)]
}

/// A real tid as the application knows it.
fn tid_out(real: isize) -> isize {
    let found = threads()
        .iter()
        .find(|t| t.real_tid.load(Relaxed) as isize == real);
    found
        .map(|t| t.tid.load(Relaxed) as isize)
        .filter(|&t| t != 0)
        .unwrap_or(real)
}

/// An application's tid as the kernel knows it.
pub fn tid_in(tid: usize) -> usize {
    let tid = tid as i32;
    let known =
        |t: &&Thread| tid > 0 && t.tid.load(Relaxed) == tid as u32 && t.real_tid.load(Relaxed) != 0;
    threads()
        .iter()
        .find(known)
        .map_or(tid as usize, |t| t.real_tid.load(Relaxed) as usize)
}

/// Whether a thread that is alive goes by this number, though the kernel would give it to another.
pub fn taken(tid: u32) -> bool {
    let goes_by = |t: &Thread| t.tid.load(Relaxed) == tid && t.real_tid.load(Relaxed) != 0;
    restarted() && (info().upper.pid.load(Relaxed) == tid || threads().iter().any(goes_by))
}

/// The application's pid, in a restarted process and its forks.
fn known_pid() -> Option<i32> {
    let pid = info().upper.pid.load(Relaxed) as i32;
    (restarted() && pid != 0).then_some(pid)
}

/// The application's pid, if this is that process and it is not the kernel's.
pub fn virtual_pid() -> Option<u32> {
    let pid = known_pid()? as u32;
    (tasks::pid() == tasks::leader_pid()).then_some(pid)
}

/// The id of a process or thread (negative: of a group) as the kernel knows it; 0 and -1 have a meaning of
/// their own.
pub fn pid_in(pid: usize) -> usize {
    let pid = pid as i32;
    let Some(known) = known_pid().filter(|_| pid != 0 && pid != -1) else {
        return pid as usize;
    };
    let leader = tasks::leader_pid() as i32;
    if pid.unsigned_abs() == known.unsigned_abs() {
        return (leader * pid.signum()) as usize;
    }
    if pid == info().upper.ppid.load(Relaxed) as i32 {
        return PARENT.load(Relaxed) as usize;
    }
    if is_child(pid) {
        return pid as usize;
    }
    tid_in(pid as usize)
}

/// The id of a child or (negative) of a group that is waited for, as the kernel knows it. After a restart the kernel may give a
/// child the number that a thread of ours goes by, or that we do: nobody waits for those.
fn child_in(pid: usize) -> usize {
    match pid as i32 {
        ..0 => pid_in(pid),
        _ => pid,
    }
}

/// Has this process a child of this number?
fn is_child(pid: i32) -> bool {
    let which = libc::P_PID as usize;
    let how = (libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL) as usize;
    // SAFETY: only asks, and wants no answer but that there is one.
    unsafe { syscall6(libc::SYS_waitid as usize, which, pid as usize, 0, how, 0, 0) == 0 }
}

/// A kernel's pid as the application knows it.
pub fn pid_out(pid: isize) -> isize {
    match known_pid() {
        Some(known) if pid == tasks::leader_pid() as isize => known as isize,
        _ => pid,
    }
}

/// The parent as the application knows it.
fn parent(real: isize) -> isize {
    if restarted() && real == PARENT.load(Relaxed) as isize {
        return info().upper.ppid.load(Relaxed) as isize;
    }
    pid_out(real)
}

/// This process and its parent as the application knows them, if the kernel has other numbers.
pub fn known() -> Option<[u32; 2]> {
    let pid = virtual_pid()?;
    // SAFETY: getppid has no preconditions.
    let real = unsafe { syscall6(libc::SYS_getppid as usize, 0, 0, 0, 0, 0, 0) };
    Some([pid, parent(real) as u32])
}

/// Notes by which number the application knows its parent.
pub fn set_parent(known: u32) {
    info().upper.ppid.store(known, Relaxed);
}

/// A clock: those of a process or a thread have its id, inverted, above three bits.
pub fn clock_in(clock: usize) -> usize {
    const THREAD: i32 = 4;
    let id = clock as i32;
    let whose = !(id >> 3);
    // Two bits set: a descriptor's clock.
    if id >= 0 || id & 3 == 3 || whose == 0 {
        return clock;
    }
    let real = if id & THREAD != 0 {
        tid_in(whose as usize)
    } else {
        pid_in(whose as usize)
    };
    (!(real as i32) << 3 | id & 7) as usize
}

/// A thread has ended: its tid no longer means anything.
pub fn forget(real: u32) {
    for t in threads() {
        let _ = t.real_tid.compare_exchange(real, 0, Relaxed, Relaxed);
    }
}

/// Makes the call with ids translated.
///
/// # Safety
/// As for the system call.
pub unsafe fn call(r: &Regs) -> isize {
    let nr = r.rax as i64;
    // SAFETY: the arguments are the program's.
    unsafe {
        if paths::routed(nr) {
            return paths::call(r);
        }
        if !restarted() {
            return native(r);
        }
        let mut c = *r;
        let [first, second] = arguments(nr);
        if first {
            c.rdi = pid_in(r.rdi);
        }
        if second {
            c.rsi = pid_in(r.rsi);
        }
        match nr {
            libc::SYS_getpid => virtual_pid().map_or_else(|| native(r), |p| p as isize),
            libc::SYS_gettid | libc::SYS_set_tid_address => tid_out(native(r)),
            libc::SYS_getppid => parent(native(r)),
            libc::SYS_getpgrp | libc::SYS_getpgid | libc::SYS_getsid => pid_out(native(&c)),
            libc::SYS_wait4 => {
                c.rdi = child_in(r.rdi);
                native(&c)
            }
            libc::SYS_waitid => {
                if r.rdi == libc::P_PGID as usize {
                    c.rsi = pid_in(r.rsi);
                }
                native(&c)
            }
            libc::SYS_getpriority | libc::SYS_setpriority => who(c, libc::PRIO_PROCESS as usize),
            libc::SYS_ioprio_get | libc::SYS_ioprio_set => who(c, IOPRIO_WHO_PROCESS),
            libc::SYS_capget | libc::SYS_capset => capabilities(c),
            libc::SYS_fcntl => owner(c),
            libc::SYS_timer_create => timer(c),
            _ if has_clock(nr) => {
                c.rdi = clock_in(r.rdi);
                native(&c)
            }
            _ => native(&c),
        }
    }
}

/// A call whose first argument says what the second is: from `process` on, a process (or thread), a group, a user.
unsafe fn who(mut c: Regs, process: usize) -> isize {
    if c.rdi == process || c.rdi == process + 1 {
        c.rsi = pid_in(c.rsi);
    }
    // SAFETY: the caller's.
    unsafe { native(&c) }
}

/// `capget` and `capset`: the id is the second word of a header.
unsafe fn capabilities(mut c: Regs) -> isize {
    let at = c.rdi as *mut [u32; 2];
    if at.is_null() {
        // SAFETY: the caller's.
        return unsafe { native(&c) };
    }
    // SAFETY: the program's header; the kernel may answer in its first word.
    unsafe {
        let mut header = at.read_unaligned();
        header[1] = pid_in(header[1] as usize) as u32;
        c.rdi = &raw mut header as usize;
        let result = native(&c);
        at.cast::<u32>().write_unaligned(header[0]);
        result
    }
}

/// `fcntl`: whom a descriptor's signals go to.
unsafe fn owner(mut c: Regs) -> isize {
    let at = c.rdx as *mut Owner;
    let translated = |[kind, id]: Owner| match kind {
        F_OWNER_TID => [kind, tid_in(id as usize) as i32],
        _ => [kind, pid_in(id as usize) as i32],
    };
    // SAFETY: the argument is the program's, and a structure for the two calls that take one.
    unsafe {
        match c.rsi as i32 {
            F_SETOWN => {
                c.rdx = pid_in(c.rdx);
                native(&c)
            }
            F_GETOWN => pid_out(native(&c)),
            F_SETOWN_EX if !at.is_null() => {
                let real = translated(at.read_unaligned());
                c.rdx = &raw const real as usize;
                native(&c)
            }
            F_GETOWN_EX => {
                let result = native(&c);
                if result == 0 {
                    let [kind, id] = at.read_unaligned();
                    let known = match kind {
                        F_OWNER_TID => tid_out(id as isize),
                        _ => pid_out(id as isize),
                    };
                    at.write_unaligned([kind, known as i32]);
                }
                result
            }
            _ => native(&c),
        }
    }
}

/// `timer_create`: its clock, and a thread that gets its signal.
unsafe fn timer(mut c: Regs) -> isize {
    c.rdi = clock_in(c.rdi);
    let at = c.rsi as *const libc::sigevent;
    // SAFETY: the program's structure, or null; the copy outlives the call.
    unsafe {
        if at.is_null() {
            return native(&c);
        }
        let mut event = at.read_unaligned();
        if event.sigev_notify & libc::SIGEV_THREAD_ID != 0 {
            let tid = tid_in(event.sigev_notify_thread_id as usize);
            event.sigev_notify_thread_id = tid as i32;
        }
        c.rsi = &raw const event as usize;
        native(&c)
    }
}

/// After `rt_sigtimedwait`: a signal that this process sent itself names the pid that it knows.
///
/// # Safety
/// `at` is null or the address of a siginfo that the kernel has written.
pub unsafe fn sender_out(at: usize) {
    /// In 4-byte words: si_signo, si_errno, si_code, a gap, si_pid.
    const PID: usize = 4;
    if at == 0 || !restarted() {
        return;
    }
    let info = at as *mut libc::siginfo_t;
    // SAFETY: the caller's.
    unsafe {
        let code = (*info).si_code;
        if matches!(code, libc::SI_USER | libc::SI_QUEUE | libc::SI_TKILL) {
            let sender = info.cast::<i32>().add(PID);
            *sender = pid_out(*sender as isize) as i32;
        }
    }
}
