//! Waits with a time limit, which a checkpoint must not end and must not make longer.
//!
//! The parking signal interrupts what a thread waits in. Most calls begin again by themselves; these end
//! with EINTR whatever the signal's flags are, and an application that handles no signals does not expect
//! that. The park handler marks them ([`CUT_SHORT`]), and they are made again with the time that was left.

use super::entry::{kernel, Outcome, Regs};
use super::ids;
use super::policy::native;
use crate::arch::{syscall6, CUT_SHORT};
use crate::lhinfo;
use core::sync::atomic::Ordering::Relaxed;

const SECOND: usize = 1_000_000_000;

/// The upper half's calls that are routed for this.
pub fn routed(nr: i64) -> bool {
    matches!(
        nr,
        libc::SYS_poll
            | libc::SYS_epoll_wait
            | libc::SYS_nanosleep
            | libc::SYS_clock_nanosleep
            | libc::SYS_rt_sigtimedwait
            | libc::SYS_semtimedop
    )
}

/// Those, and what comes through the generic `syscall()`.
pub fn limited(nr: i64) -> bool {
    routed(nr) || nr == libc::SYS_futex
}

/// How a call is told how long to wait.
enum Limit {
    /// For ever, not at all, or until a point in time.
    None,
    /// Milliseconds in the argument of this number.
    Millis(usize),
    /// A `timespec` that the argument of this number points to.
    Span(usize),
    /// The same, and the kernel writes there what is left.
    Rest(usize),
}

fn limit(nr: i64, a: &[usize; 6]) -> Limit {
    let millis = |i: usize| match a[i] as i32 {
        1.. => Limit::Millis(i),
        _ => Limit::None,
    };
    let span = |i: usize| match a[i] {
        0 => Limit::None,
        _ => Limit::Span(i),
    };
    match nr {
        libc::SYS_poll => millis(2),
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait => millis(3),
        libc::SYS_epoll_pwait2 | libc::SYS_semtimedop => span(3),
        libc::SYS_nanosleep => span(0),
        libc::SYS_ppoll if a[2] != 0 => Limit::Rest(2),
        libc::SYS_pselect6 if a[4] != 0 => Limit::Rest(4),
        libc::SYS_rt_sigtimedwait => span(2),
        // Clocks 0 (real) and 1 (monotonic) run while the thread sleeps, as the clock below does.
        libc::SYS_clock_nanosleep if a[1] as i32 & libc::TIMER_ABSTIME == 0 && a[0] < 2 => span(2),
        libc::SYS_futex if a[1] as i32 & !libc::FUTEX_PRIVATE_FLAG == libc::FUTEX_WAIT => span(3),
        _ => Limit::None,
    }
}

/// CLOCK_MONOTONIC in nanoseconds.
fn now() -> usize {
    let mut time = [0usize; 2];
    let at = &raw mut time as usize;
    // SAFETY: the kernel writes two words.
    unsafe {
        syscall6(
            libc::SYS_clock_gettime as usize,
            libc::CLOCK_MONOTONIC as usize,
            at,
            0,
            0,
            0,
            0,
        )
    };
    time[0] * SECOND + time[1]
}

/// Makes the call, again and again if checkpoints cut it short, for no longer than it was to wait.
///
/// # Safety
/// As for the system call.
pub unsafe fn call(r: &Regs) -> isize {
    let mut r = *r;
    if r.rax as i64 == libc::SYS_clock_nanosleep {
        r.rdi = ids::clock_in(r.rdi);
    }
    let mut a = [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9];
    let limit = limit(r.rax as i64, &a);
    if let Limit::None = limit {
        // SAFETY: the caller's.
        return unsafe { native(&r) };
    }
    let rest = match r.rax as i64 {
        libc::SYS_nanosleep => r.rsi,
        libc::SYS_clock_nanosleep => r.r10,
        _ => match limit {
            Limit::Rest(i) => a[i],
            _ => 0,
        },
    };
    // SAFETY: lhInfo is mapped before the router runs.
    let life = || unsafe { lhinfo::get() }.upper.generation.load(Relaxed);
    let mut span = [0usize; 2];
    let mut left = None;
    let mut begin = now();
    loop {
        let born = life();
        // SAFETY: the caller's; `span` outlives the call.
        let Outcome { result, time: cut } = unsafe { kernel(&r, a) };
        if result != CUT_SHORT {
            core::hint::black_box(&span);
            return result;
        }
        // SAFETY: the kernel has read or written a `timespec` at each address that is read here.
        let had = left.unwrap_or_else(|| unsafe {
            match limit {
                Limit::Millis(i) => (a[i] as u32 as usize).saturating_mul(1_000_000),
                Limit::Span(i) | Limit::Rest(i) => nanoseconds(a[i]),
                Limit::None => 0,
            }
        });
        let at_cut = match rest {
            0 => had.saturating_sub(cut.saturating_sub(begin)),
            // SAFETY: as above: where it is given, the kernel wrote what is left.
            at => unsafe { nanoseconds(at) },
        };
        begin = now();
        // The time of the checkpoint counts; that between a checkpoint and a restart does not.
        let stopped = if life() == born {
            begin.saturating_sub(cut)
        } else {
            0
        };
        let now_left = at_cut.saturating_sub(stopped);
        left = Some(now_left);
        let new = [now_left / SECOND, now_left % SECOND];
        match limit {
            Limit::Millis(i) => a[i] = now_left.div_ceil(1_000_000),
            Limit::Span(i) => {
                span = new;
                a[i] = &raw const span as usize;
            }
            // SAFETY: the kernel has just written there.
            Limit::Rest(i) => unsafe { (a[i] as *mut [usize; 2]).write_unaligned(new) },
            Limit::None => {}
        }
    }
}

/// A `timespec` in nanoseconds.
///
/// # Safety
/// One must be there.
unsafe fn nanoseconds(at: usize) -> usize {
    // SAFETY: the caller's.
    let [seconds, rest] = unsafe { (at as *const [usize; 2]).read_unaligned() };
    seconds.saturating_mul(SECOND).saturating_add(rest)
}
