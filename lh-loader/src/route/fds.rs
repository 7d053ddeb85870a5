//! Descriptors of lower halves live above [`LOWER_FD_BASE`], so a descriptor's owner is its number.

use super::entry::Regs;
use super::policy::native;
use crate::arch::{is_err, syscall6};
use crate::layout::LOWER_FD_BASE;

/// Whether the call makes descriptors.
pub fn routed(nr: i64) -> bool {
    matches!(
        nr,
        libc::SYS_open
            | libc::SYS_creat
            | libc::SYS_openat
            | libc::SYS_openat2
            | libc::SYS_socket
            | libc::SYS_accept
            | libc::SYS_accept4
            | libc::SYS_dup
            | libc::SYS_fcntl
            | libc::SYS_pipe
            | libc::SYS_pipe2
            | libc::SYS_socketpair
            | libc::SYS_epoll_create
            | libc::SYS_epoll_create1
            | libc::SYS_eventfd
            | libc::SYS_eventfd2
            | libc::SYS_timerfd_create
            | libc::SYS_signalfd
            | libc::SYS_signalfd4
            | libc::SYS_inotify_init
            | libc::SYS_inotify_init1
            | libc::SYS_memfd_create
            | libc::SYS_userfaultfd
            | libc::SYS_perf_event_open
            | libc::SYS_pidfd_open
            | libc::SYS_io_uring_setup
    )
}

/// Moves a fresh descriptor up; where the limits leave no room, it stays.
unsafe fn up(fd: isize) -> isize {
    if is_err(fd) || fd >= LOWER_FD_BASE as isize {
        return fd;
    }
    let fcntl = libc::SYS_fcntl as usize;
    // SAFETY: duplicates and closes a descriptor that this call has just made.
    unsafe {
        let flags = syscall6(fcntl, fd as usize, libc::F_GETFD as usize, 0, 0, 0, 0);
        let close_on_exec = flags & libc::FD_CLOEXEC as isize != 0;
        let how = if close_on_exec {
            libc::F_DUPFD_CLOEXEC
        } else {
            libc::F_DUPFD
        };
        let moved = syscall6(
            fcntl,
            fd as usize,
            how as usize,
            LOWER_FD_BASE as usize,
            0,
            0,
            0,
        );
        if is_err(moved) {
            return fd;
        }
        syscall6(libc::SYS_close as usize, fd as usize, 0, 0, 0, 0, 0);
        moved
    }
}

/// Makes the call and moves what it returns.
///
/// # Safety
/// As for the system call.
pub unsafe fn call(r: &Regs) -> isize {
    // SAFETY: the caller's; the pair's address is the program's, and the kernel has just written there.
    unsafe {
        let result = native(r);
        if is_err(result) {
            return result;
        }
        let pair = match r.rax as i64 {
            libc::SYS_pipe | libc::SYS_pipe2 => r.rdi,
            libc::SYS_socketpair => r.r10,
            libc::SYS_fcntl if !matches!(r.rsi as i32, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) => {
                return result
            }
            // A descriptor that was given is changed in place.
            libc::SYS_signalfd | libc::SYS_signalfd4 if r.rdi as i32 >= 0 => return result,
            _ => return up(result),
        } as *mut i32;
        for i in 0..2 {
            let fd = pair.add(i);
            fd.write(up(fd.read() as isize) as i32);
        }
        result
    }
}
