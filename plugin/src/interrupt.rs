//! What a signal of ours does to the system call that it interrupts: nothing that the application sees.
//!
//! Runs in signal handlers: no TLS but the switch block, no allocation. The kernel restarts most calls by
//! itself after a handler with SA_RESTART; some end with EINTR all the same. Those are made again: where the
//! call was routed the loader does it, with the time that is left (`CUT_SHORT`), else the instruction
//! pointer goes back; for those that have done a part of their work see `rest`. A call that a handler of the application's has interrupted keeps its EINTR.

use crate::{block, raw, rest};
use lh_loader::arch::CUT_SHORT;
use lh_loader::layout::{owner, Owner, PAGE};

const RIP: usize = libc::REG_RIP as usize;
const RSP: usize = libc::REG_RSP as usize;
const RAX: usize = libc::REG_RAX as usize;
const RCX: usize = libc::REG_RCX as usize;

/// So long after a handler of the application's an EINTR at the same place may still be that handler's.
const FRESH: usize = 100_000_000;

/// `mov $number,%eax; syscall`, which is how libc makes system calls.
const SITE: usize = 7;

/// Calls that end with EINTR and have then done nothing, so that they can be made again where they are.
fn repeatable(nr: u32) -> bool {
    matches!(
        i64::from(nr),
        libc::SYS_read
            | libc::SYS_readv
            | libc::SYS_write
            | libc::SYS_writev
            | libc::SYS_recvfrom
            | libc::SYS_recvmsg
            | libc::SYS_recvmmsg
            | libc::SYS_sendto
            | libc::SYS_sendmsg
            | libc::SYS_accept
            | libc::SYS_accept4
            | libc::SYS_poll
            | libc::SYS_ppoll
            | libc::SYS_select
            | libc::SYS_pselect6
            | libc::SYS_epoll_wait
            | libc::SYS_epoll_pwait
            | libc::SYS_epoll_pwait2
            | libc::SYS_nanosleep
            | libc::SYS_clock_nanosleep
            | libc::SYS_pause
            | libc::SYS_rt_sigsuspend
            | libc::SYS_rt_sigtimedwait
            | libc::SYS_futex
            | libc::SYS_msgrcv
            | libc::SYS_msgsnd
            | libc::SYS_semop
            | libc::SYS_semtimedop
            | libc::SYS_mq_timedreceive
            | libc::SYS_mq_timedsend
            | libc::SYS_io_getevents
            | libc::SYS_wait4
            | libc::SYS_waitid
            | libc::SYS_flock
            | libc::SYS_fcntl
            | libc::SYS_openat
    )
}

/// Where a call ended with EINTR: the instruction behind it and the stack pointer.
unsafe fn ended(context: *const libc::ucontext_t) -> Option<(usize, usize)> {
    // SAFETY: the kernel's context; behind a page's first bytes the same page holds the bytes before.
    unsafe {
        let g = &(*context).uc_mcontext.gregs;
        let rip = g[RIP] as usize;
        let at_call = g[RAX] == -i64::from(libc::EINTR)
            && rip % PAGE >= SITE
            && *((rip - 2) as *const [u8; 2]) == [0x0f, 0x05];
        at_call.then_some((rip, g[RSP] as usize))
    }
}

fn now() -> usize {
    let mut time = [0usize; 2];
    let at = &raw mut time as usize;
    // SAFETY: the kernel writes two words.
    unsafe {
        raw::syscall(
            libc::SYS_clock_gettime,
            [libc::CLOCK_MONOTONIC as usize, at, 0, 0, 0, 0],
        )
    };
    time[0] * 1_000_000_000 + time[1]
}

/// A handler of the application's has run: if it ended a call, that one is not made again.
///
/// # Safety
/// `context` is what the kernel passed to the handler.
pub unsafe fn note(context: *const libc::ucontext_t) {
    // SAFETY: the caller's; the block is this thread's own.
    unsafe {
        let cut = || rest::cut(context).map(|(rip, rsp, _)| (rip, rsp));
        if let Some((rip, rsp)) = ended(context).or_else(cut) {
            (*block::current()).interrupted = [rip, rsp, now()];
        }
    }
}

/// A handler of ours has run: the call that it ended is made again.
///
/// # Safety
/// `context` is what the kernel passed to the handler, which is about to return or to be saved.
pub unsafe fn mend(context: *mut libc::ucontext_t) {
    // SAFETY: the caller's; the registers are written back when the handler returns. Behind a page's first
    // bytes the same page holds the site's.
    unsafe {
        let now = now();
        let is_noted = |rip, rsp| {
            let [noted_rip, noted_rsp, when] = (*block::current()).interrupted;
            (rip, rsp) == (noted_rip, noted_rsp) && now.saturating_sub(when) < FRESH
        };
        if let Some((rip, rsp, number)) = rest::cut(context) {
            if !is_noted(rip, rsp) {
                rest::go_on(context, number);
            }
            return;
        }
        let Some((rip, rsp)) = ended(context) else {
            return;
        };
        if is_noted(rip, rsp) {
            return;
        }
        let g = &mut (*context).uc_mcontext.gregs;
        if owner(rip) == Owner::Loader {
            g[RAX] = CUT_SHORT as i64;
            g[RCX] = now as i64;
            return;
        }
        let [mov, number @ ..] = *((rip - SITE) as *const [u8; 5]);
        let number = u32::from_le_bytes(number);
        if mov == 0xb8 && repeatable(number) {
            g[RAX] = i64::from(number);
            g[RIP] = (rip - 2) as i64;
        }
    }
}
