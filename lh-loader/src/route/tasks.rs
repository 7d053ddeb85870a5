//! Threads and processes: which tasks belong to a lower half, and children on new stacks.
//!
//! While a task is being made, `lhinfo.clone_lock` is held with every signal blocked, so whoever reads
//! the registry under that lock sees every task of a lower half in it.

use super::entry::{splitproc_clone_with_stack, ChildFrame, Regs};
use super::policy::native;
use super::signals::set_mask;
use crate::arch::{is_err, syscall6};
use crate::futex;
use crate::layout::Owner;
use crate::lhinfo::{self, LOWER_MASK};
use core::mem::size_of;
use core::sync::atomic::{AtomicU32, Ordering::*};

/// The process that the router was set up in, and the one it is in after forks.
static LEADER: AtomicU32 = AtomicU32::new(0);
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Kinds of children on a new stack: another process; a thread of the upper or of a lower half.
const PROCESS: usize = 0;
const UPPER_THREAD: usize = 1;
const LOWER_THREAD: usize = 2;
/// Added to a thread's kind: it waits for the verdict on its tid.
const CHECKED: usize = 4;

/// The red zone that a stub steps over.
const RED_ZONE: usize = 128;
/// Most bytes of `clone_args` that are known: up to `cgroup`.
const CLONE_ARGS: usize = 88;

fn simple(nr: i64) -> u32 {
    // SAFETY: only calls without arguments or effects are made this way.
    unsafe { syscall6(nr as usize, 0, 0, 0, 0, 0, 0) as u32 }
}

/// The real process id.
pub fn pid() -> u32 {
    simple(libc::SYS_getpid)
}

/// The calling task's real id.
pub fn tid() -> u32 {
    simple(libc::SYS_gettid)
}

/// The process whose memory this is: not that of a child which shares it until it execs.
pub fn owner_pid() -> u32 {
    OWNER.load(Relaxed)
}

/// The process that the router was set up in: not a fork of it.
pub fn leader_pid() -> u32 {
    LEADER.load(Relaxed)
}

/// Notes the process.
pub fn init() {
    LEADER.store(pid(), Relaxed);
    OWNER.store(pid(), Relaxed);
}

fn info() -> &'static lhinfo::LhInfo {
    // SAFETY: lhInfo is mapped before the router runs.
    unsafe { lhinfo::get() }
}

/// Whether a task was born in a lower half.
pub fn registered(tid: u32) -> bool {
    info().lower_tasks.iter().any(|t| t.load(Acquire) == tid)
}

/// Whether the calling task was born in a lower half.
pub fn is_lower_task() -> bool {
    registered(tid())
}

fn register(tid: u32) -> bool {
    info()
        .lower_tasks
        .iter()
        .any(|t| t.compare_exchange(0, tid, AcqRel, Relaxed).is_ok())
}

fn unregister(tid: u32) {
    for t in &info().lower_tasks {
        if t.compare_exchange(tid, 0, AcqRel, Relaxed).is_ok() {
            return;
        }
    }
}

fn pause() {
    simple(libc::SYS_sched_yield);
}

fn lock() {
    futex::lock(&info().clone_lock);
}

fn unlock() {
    futex::unlock(&info().clone_lock);
}

/// After a restart: what becomes of the thread being made. Its tid, and in the highest bit whether another
/// thread goes by that number already; 0 once the thread has read it.
static VERDICT: AtomicU32 = AtomicU32::new(0);
const REJECTED: u32 = 1 << 31;
/// Threads that are made for one, when tids are taken.
const TRIES: usize = 1000;

/// In a restarted process: waits for the parent's verdict, and ends this thread without a trace if it was
/// made under a number that a thread of the application goes by (libc compares tids to tell who owns a lock).
fn await_verdict(tid: u32) {
    let verdict = loop {
        match VERDICT.load(Acquire) {
            v if v & !REJECTED == tid => break v,
            v => futex::wait(&VERDICT, v),
        }
    };
    VERDICT.store(0, Release);
    futex::wake(&VERDICT);
    if verdict & REJECTED != 0 {
        // The next one is made on the same stack: nothing may be cleared in it.
        loop {
            simple(libc::SYS_set_tid_address);
            simple(libc::SYS_exit);
        }
    }
}

/// The parent's side: whether the thread may stay. If not, it is gone afterwards.
fn pass_verdict(tid: u32) -> bool {
    let rejected = super::ids::taken(tid);
    let verdict = tid | if rejected { REJECTED } else { 0 };
    VERDICT.store(verdict, Release);
    futex::wake(&VERDICT);
    futex::wait_while(&VERDICT, verdict);
    let alive = || {
        // SAFETY: signal 0 is none.
        let sent = unsafe {
            let nr = libc::SYS_tgkill as usize;
            syscall6(nr, pid() as usize, tid as usize, 0, 0, 0, 0)
        };
        sent != -(libc::ESRCH as isize)
    };
    while rejected && alive() {
        pause();
    }
    !rejected
}

/// First thing that a child on a new stack does, before it goes on where its parent called.
pub extern "C" fn child_start(frame: &ChildFrame) {
    if frame.kind == PROCESS {
        return;
    }
    let tid = tid();
    if frame.kind & CHECKED != 0 {
        await_verdict(tid);
    }
    if frame.kind & !CHECKED == LOWER_THREAD && !registered(tid) {
        // Its parent holds the lock until it has registered it.
        lock();
        unlock();
    }
    set_mask(frame.mask);
}

/// A clone's arguments, in whichever form they came.
struct Request {
    /// Number and arguments for the kernel.
    call: [usize; 6],
    /// Flags.
    flags: u64,
    /// The new stack's lowest address (0 if not known) and top (0: no new stack).
    stack: (usize, usize),
    /// `clone3`'s structure.
    args: [u64; CLONE_ARGS / 8],
}

impl Request {
    /// Reads the call's arguments; `None` for what is passed on as it is.
    unsafe fn read(r: &Regs) -> Option<Self> {
        let mut q = Request {
            call: [r.rax, r.rdi, r.rsi, r.rdx, r.r10, r.r8],
            flags: 0,
            stack: (0, 0),
            args: [0; 11],
        };
        match r.rax as i64 {
            libc::SYS_clone => {
                q.flags = r.rdi as u64;
                q.stack = (0, r.rsi);
            }
            libc::SYS_clone3 => {
                if r.rsi < 64 || r.rsi > CLONE_ARGS {
                    return None;
                }
                // SAFETY: the program says that so many bytes are there; they fit.
                unsafe {
                    core::ptr::copy_nonoverlapping(
                        r.rdi as *const u8,
                        q.args.as_mut_ptr().cast::<u8>(),
                        r.rsi,
                    );
                }
                q.flags = q.args[0];
                let (low, size) = (q.args[5] as usize, q.args[6] as usize);
                q.stack = (low, if low == 0 { 0 } else { low.checked_add(size)? });
            }
            _ => q.call[0] = libc::SYS_fork as usize,
        }
        Some(q)
    }

    /// Puts flags and, on a new stack, its pointer back into the kernel's arguments.
    fn finish(&mut self, sp: usize) {
        if self.call[0] == libc::SYS_clone3 as usize {
            self.args[0] = self.flags;
            if sp != 0 {
                self.args[6] = (sp - self.stack.0) as u64;
            }
            self.call[1] = self.args.as_ptr() as usize;
        } else if self.call[0] == libc::SYS_clone as usize {
            self.call[1] = self.flags as usize;
            if sp != 0 {
                self.call[2] = sp;
            }
        }
    }
}

/// `clone`, `clone3`, `fork` and `vfork`.
///
/// # Safety
/// As for the system call.
pub unsafe fn clone(owner: Owner, r: &Regs) -> isize {
    // SAFETY: the arguments are the program's.
    let Some(mut q) = (unsafe { Request::read(r) }) else {
        // SAFETY: what is passed on fails in the kernel, or starts no child on this stack.
        return unsafe { native(r) };
    };
    if q.stack.1 == 0 {
        return fork(q);
    }
    let sp = q.stack.1.wrapping_sub(RED_ZONE + size_of::<ChildFrame>());
    if sp < q.stack.0 || sp > q.stack.1 {
        return -(libc::EINVAL as isize);
    }
    let lower = matches!(owner, Owner::Lower(_));
    let kind = match (q.flags & libc::CLONE_THREAD as u64 != 0, lower) {
        (false, _) => PROCESS,
        (true, false) => UPPER_THREAD,
        (true, true) => LOWER_THREAD,
    };
    let mask = if kind == PROCESS { 0 } else { set_mask(!0) };
    let child_mask = if kind == LOWER_THREAD {
        LOWER_MASK
    } else {
        mask
    };
    // Said once, for a restart may set in at any moment.
    let checked = kind != PROCESS && super::ids::restarted();
    let frame = ChildFrame {
        kind: if checked { kind | CHECKED } else { kind },
        mask: child_mask,
        regs: Regs { rax: 0, ..*r },
    };
    if kind != PROCESS {
        lock();
    }
    let mut tid = -(libc::EAGAIN as isize);
    for _ in 0..TRIES {
        // SAFETY: the stack below its top is the child's, which does not run yet. It finds its frame at its
        // stack pointer and never comes back to this one.
        tid = unsafe {
            (sp as *mut ChildFrame).write_unaligned(frame);
            q.finish(sp);
            splitproc_clone_with_stack(&q.call)
        };
        if !checked || is_err(tid) || pass_verdict(tid as u32) {
            break;
        }
        tid = -(libc::EAGAIN as isize);
    }
    if kind != PROCESS {
        if kind == LOWER_THREAD && !is_err(tid) {
            while !register(tid as u32) {
                pause();
            }
        }
        unlock();
        set_mask(mask);
    }
    tid
}

/// A child on the same stack: a copy of the process. One that would share this memory (vfork) gets a
/// copy as well, for both would go on through the frames of this one stack.
fn fork(mut q: Request) -> isize {
    if q.flags & libc::CLONE_VFORK as u64 != 0 {
        q.flags &= !((libc::CLONE_VM | libc::CLONE_VFORK) as u64);
    }
    q.finish(0);
    let mask = set_mask(!0);
    lock();
    let [nr, a, b, c, d, e] = q.call;
    // SAFETY: the child has its own copy of this stack.
    let result = unsafe { syscall6(nr, a, b, c, d, e, 0) };
    if result == 0 {
        OWNER.store(pid(), Relaxed);
        for t in &info().lower_tasks {
            t.store(0, Relaxed);
        }
    }
    unlock();
    set_mask(mask);
    result
}

/// `exit` of one task.
///
/// # Safety
/// As for the system call.
pub unsafe fn exit(owner: Owner, r: &Regs) -> isize {
    let tid = tid();
    if matches!(owner, Owner::Lower(_)) {
        set_mask(!0);
        unregister(tid);
    } else {
        super::ids::forget(tid);
    }
    // SAFETY: the program ends this task.
    unsafe { native(r) }
}
