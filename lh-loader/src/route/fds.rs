//! Descriptors of lower halves live above [`limits::base`], so a descriptor's owner is its number.

use super::entry::Regs;
use super::limits::{self, roomy};
use super::{policy::native, tasks};
use crate::arch::{is_err, syscall6};

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
            | libc::SYS_dup2
            | libc::SYS_dup3
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
            | libc::SYS_pidfd_getfd
            | libc::SYS_fanotify_init
            | libc::SYS_open_by_handle_at
            | libc::SYS_open_tree
            | libc::SYS_fsopen
            | libc::SYS_fspick
            | libc::SYS_fsmount
            | libc::SYS_memfd_secret
            | libc::SYS_landlock_create_ruleset
            | libc::SYS_mq_open
            | libc::SYS_bpf
            | libc::SYS_seccomp
            | libc::SYS_recvmsg
            | libc::SYS_recvmmsg
    )
}

/// `close_range` of the program: of its own descriptors. What it forks may close the halves' as well.
///
/// # Safety
/// As for the system call.
pub unsafe fn close_range(r: &Regs) -> isize {
    let mut c = *r;
    let first_of_ours = limits::base();
    if tasks::pid() == tasks::leader_pid() {
        if r.rdi as u32 as usize >= first_of_ours && r.rdi as u32 <= r.rsi as u32 {
            return 0;
        }
        c.rsi = (r.rsi as u32 as usize).min(first_of_ours - 1);
    }
    // SAFETY: the caller's.
    unsafe { native(&c) }
}

/// Commands of `bpf` that make a descriptor: maps, programs, links, BTF, iterators, tokens, and those
/// already there, by path or id.
const BPF_FDS: [usize; 13] = [0, 5, 7, 13, 14, 17, 18, 19, 28, 30, 32, 33, 36];
/// Commands of `fcntl` that make a descriptor.
const DUPLICATE: [i32; 2] = [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC];
/// No number is free below the limit.
const FULL: isize = -(libc::EMFILE as isize);
/// `SECCOMP_SET_MODE_FILTER` and its flag that asks for a listener.
const SECCOMP_FILTER: usize = 1;
const SECCOMP_LISTENER: usize = 8;
/// `SCM_PIDFD`, which the libc crate does not name.
const SCM_PIDFD: i32 = 4;
/// `struct mmsghdr`: a message header, a length and a gap.
const MMSGHDR: usize = 64;

/// Moves a fresh descriptor up; where the hard limit leaves no room, it stays.
unsafe fn up(fd: isize) -> isize {
    if is_err(fd) || fd as usize >= limits::base() {
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
        let (from, how) = (fd as usize, how as usize);
        let moved = roomy(|| syscall6(fcntl, from, how, limits::base(), 0, 0, 0));
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
        if matches!(r.rax as i64, libc::SYS_accept | libc::SYS_accept4) {
            let waited = await_connection(r.rdi);
            if is_err(waited) {
                return waited;
            }
        }
        let result = match r.rax as i64 {
            libc::SYS_dup2 | libc::SYS_dup3 => return roomy(|| native(r)),
            libc::SYS_fcntl if DUPLICATE.contains(&(r.rsi as i32)) => {
                let mut high = *r;
                high.rdx = r.rdx.max(limits::base());
                return roomy(|| native(&high));
            }
            libc::SYS_accept | libc::SYS_accept4 | libc::SYS_recvmsg | libc::SYS_recvmmsg => {
                native(r)
            }
            // The program may have all of its own numbers in use.
            _ => match native(r) {
                FULL => roomy(|| native(r)),
                result => result,
            },
        };
        if is_err(result) {
            return result;
        }
        let pair = match r.rax as i64 {
            libc::SYS_pipe | libc::SYS_pipe2 => r.rdi,
            libc::SYS_socketpair => r.r10,
            libc::SYS_fcntl => return result,
            // A descriptor that was given is changed in place.
            libc::SYS_signalfd | libc::SYS_signalfd4 if r.rdi as i32 >= 0 => return result,
            libc::SYS_bpf if !BPF_FDS.contains(&r.rdi) => return result,
            libc::SYS_seccomp if r.rdi != SECCOMP_FILTER || r.rsi & SECCOMP_LISTENER == 0 => {
                return result
            }
            libc::SYS_recvmsg => {
                received(r.rsi);
                return result;
            }
            libc::SYS_recvmmsg => {
                (0..result as usize).for_each(|i| received(r.rsi + i * MMSGHDR));
                return result;
            }
            _ => return up(result),
        } as *mut i32;
        for i in 0..2 {
            let fd = pair.add(i);
            fd.write(up(fd.read() as isize) as i32);
        }
        result
    }
}

/// Waits until `accept` on this socket does not: the kernel takes a number for the connection before it waits for
/// one, and that number, the lowest that is free, would be missing from the application's.
///
/// # Safety
/// As for the system call.
unsafe fn await_connection(fd: usize) -> isize {
    let mut socket = libc::pollfd {
        fd: fd as i32,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: asks for flags; the kernel writes to a live structure.
    unsafe {
        let flags = syscall6(
            libc::SYS_fcntl as usize,
            fd,
            libc::F_GETFL as usize,
            0,
            0,
            0,
            0,
        );
        if is_err(flags) || flags & libc::O_NONBLOCK as isize != 0 {
            return 0;
        }
        let at = &raw mut socket as usize;
        // ppoll without a limit or a mask.
        syscall6(libc::SYS_ppoll as usize, at, 1, 0, 0, 8, 0)
    }
}

/// Moves the descriptors that came with a message; their numbers are changed where they lie.
///
/// # Safety
/// `at` is the address of a `struct msghdr` that the kernel has filled.
unsafe fn received(at: usize) {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    // SAFETY: the kernel has written `msg_controllen` bytes of control messages, each with its length.
    unsafe {
        let message = (at as *const libc::msghdr).read_unaligned();
        let mut next = message.msg_control as usize;
        let end = next + message.msg_controllen;
        while next != 0 && next + HEADER <= end {
            let control = (next as *const libc::cmsghdr).read_unaligned();
            if control.cmsg_len < HEADER {
                return;
            }
            let rights = matches!(control.cmsg_type, libc::SCM_RIGHTS | SCM_PIDFD);
            if control.cmsg_level == libc::SOL_SOCKET && rights {
                let fds = (next + HEADER) as *mut i32;
                for i in 0..(control.cmsg_len.min(end - next) - HEADER) / 4 {
                    let fd = fds.add(i);
                    fd.write_unaligned(up(fd.read_unaligned() as isize) as i32);
                }
            }
            next += control.cmsg_len.next_multiple_of(8);
        }
    }
}
