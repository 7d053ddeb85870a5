//! Routed calls through a patched copy of libc: ids after a restart, descriptors, code that enters late.

use super::entry::Regs;
use super::run_tests::{copy_of_libc, set_up, sys, CloneFn, ANON, RW};
use super::{ids, limits, maps, paths, policy};
use crate::layout::{owner, Owner};
use crate::{lhinfo, window};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// The pid and the parent that a restarted program knows.
const PID: u32 = 3_000_001;
const PARENT: u32 = 3_000_003;

/// A restart as far as lhInfo tells: this process is `PID`, its thread that runs the test `TID`.
struct Restarted;

const TID: u32 = 3_000_002;

impl Restarted {
    fn new() -> Self {
        // SAFETY: lhInfo is mapped.
        let info = unsafe { lhinfo::get() };
        ids::init();
        info.upper.pid.store(PID, SeqCst);
        info.upper.ppid.store(PARENT, SeqCst);
        info.threads[0].tid.store(TID, SeqCst);
        info.threads[0].real_tid.store(tid(), SeqCst);
        info.thread_count.store(1, SeqCst);
        info.upper.generation.store(1, SeqCst);
        Restarted
    }
}

impl Drop for Restarted {
    fn drop(&mut self) {
        // SAFETY: lhInfo is mapped.
        let info = unsafe { lhinfo::get() };
        info.upper.generation.store(0, SeqCst);
        info.upper.pid.store(0, SeqCst);
        info.thread_count.store(0, SeqCst);
    }
}

fn tid() -> u32 {
    sys(libc::SYS_gettid, [0; 6]) as u32
}

/// A routed call of a half. (Through patched code only calls that succeed could be made: libc's `errno` is not
/// there in the tests' copies of it.)
fn call(who: &Owner, nr: i64, a: &[usize]) -> isize {
    let mut all = [0; 6];
    all[..a.len()].copy_from_slice(a);
    let [rdi, rsi, rdx, r10, r8, r9] = all;
    let mut regs = Regs {
        rax: nr as usize,
        rdi,
        rsi,
        rdx,
        r10,
        r8,
        r9,
        rest: [0; 6],
        origin: 0,
        flags: 0,
        ret: 0,
    };
    // SAFETY: the tests' own calls.
    unsafe { policy::call(*who, &mut regs) }
}

#[test]
fn ids_are_translated_in_and_out() {
    let _turn = set_up();
    let who = Owner::Upper;
    let real_group = sys(libc::SYS_getpgrp, [0; 6]);
    let _restarted = Restarted::new();
    let (pid, tid) = (PID as usize, TID as usize);
    assert_eq!(call(&who, libc::SYS_getppid, &[]), PARENT as isize);
    let leads = real_group == std::process::id() as isize;
    let group = if leads { PID as isize } else { real_group };
    assert_eq!(call(&who, libc::SYS_getpgrp, &[]), group);
    assert_eq!(call(&who, libc::SYS_getpgid, &[pid]), group);
    assert!(call(&who, libc::SYS_getsid, &[pid]) >= 0);
    assert!(
        call(&who, libc::SYS_getsid, &[PARENT as usize]) >= 0,
        "the parent lives"
    );
    let mut words = [0usize; 64];
    let at = words.as_mut_ptr() as usize;
    assert!(call(&who, libc::SYS_sched_getaffinity, &[tid, 512, at]) > 0);
    assert_eq!(call(&who, libc::SYS_sched_setaffinity, &[tid, 512, at]), 0);
    assert!(call(&who, libc::SYS_sched_getscheduler, &[tid]) >= 0);
    assert_eq!(call(&who, libc::SYS_sched_getparam, &[tid, at]), 0);
    assert_eq!(call(&who, libc::SYS_sched_rr_get_interval, &[tid, at]), 0);
    assert_eq!(call(&who, libc::SYS_sched_getattr, &[tid, at, 56, 0]), 0);
    assert_eq!(call(&who, libc::SYS_get_robust_list, &[tid, at, at + 8]), 0);
    assert_eq!(call(&who, libc::SYS_prlimit64, &[pid, 7, 0, at]), 0);
    let own = sys(libc::SYS_getpriority, [0; 6]);
    assert_eq!(call(&who, libc::SYS_getpriority, &[0, tid]), own);
    let (from, mut to) = (7u64, 0u64);
    let (here, there) = ([&raw const from as usize, 8], [&raw mut to as usize, 8]);
    let iov = [there.as_ptr() as usize, 1, here.as_ptr() as usize, 1];
    let args = [pid, iov[0], iov[1], iov[2], iov[3], 0];
    assert_eq!(call(&who, libc::SYS_process_vm_readv, &args), 8);
    assert_eq!(unsafe_read(&to), 7);
    let fd = call(&who, libc::SYS_pidfd_open, &[pid, 0]);
    assert!(fd >= 0, "{fd}");
    sys(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]);
    let header = [0x2008_0522u32, PID];
    assert_eq!(
        call(&who, libc::SYS_capget, &[header.as_ptr() as usize, at]),
        0
    );
    assert_eq!(header[1], PID, "the program's own header is left alone");
    // Nobody has these.
    for nr in [libc::SYS_getpgid, libc::SYS_sched_getscheduler] {
        assert_eq!(call(&who, nr, &[3_999_999]), -libc::ESRCH as isize);
    }
}

/// What another process's call has written.
fn unsafe_read(at: &u64) -> u64 {
    // SAFETY: a reference is readable.
    unsafe { core::ptr::read_volatile(at) }
}

#[test]
fn owners_timers_and_clocks_name_their_thread() {
    let _turn = set_up();
    let who = Owner::Upper;
    let _restarted = Restarted::new();
    let mut pair = [0i32; 2];
    assert_eq!(
        sys(libc::SYS_pipe2, [pair.as_mut_ptr() as usize, 0, 0, 0, 0, 0]),
        0
    );
    let fd = pair[0] as usize;
    let own = |how: usize, arg: usize| call(&who, libc::SYS_fcntl, &[fd, how, arg]);
    assert_eq!(own(8, PID as usize), 0);
    assert_eq!(own(9, 0), PID as isize);
    assert_eq!(
        sys(libc::SYS_fcntl, [fd, 9, 0, 0, 0, 0]),
        std::process::id() as isize
    );
    let mut owner = [0i32, TID as i32];
    assert_eq!(own(15, owner.as_mut_ptr() as usize), 0);
    owner = [9; 2];
    assert_eq!(own(16, owner.as_mut_ptr() as usize), 0);
    assert_eq!(owner, [0, TID as i32]);
    for fd in pair {
        sys(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]);
    }
    // SAFETY: plain data, for which zeroes are valid.
    let mut event: libc::sigevent = unsafe { core::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = libc::SIGUSR1;
    event.sigev_notify_thread_id = TID as i32;
    let mut id = 0i32;
    // The thread's own CPU clock, as pthread_getcpuclockid makes it.
    let clock = (!(TID as i32) << 3 | 6) as usize;
    let args = [clock, &raw const event as usize, &raw mut id as usize];
    assert_eq!(call(&who, libc::SYS_timer_create, &args), 0);
    assert_eq!(event.sigev_notify_thread_id, TID as i32);
    sys(libc::SYS_timer_delete, [id as usize, 0, 0, 0, 0, 0]);
    assert_eq!(ids::clock_in(clock), (!(tid() as i32) << 3 | 6) as usize);
    // The process's, as clock_getcpuclockid makes it.
    let clock = (!(PID as i32) << 3 | 2) as usize;
    let mut time = [0usize; 2];
    let at = time.as_mut_ptr() as usize;
    for nr in [libc::SYS_clock_gettime, libc::SYS_clock_getres] {
        assert!(ids::routed(nr));
        assert_eq!(call(&who, nr, &[clock, at]), 0);
    }
    // A clock that is there can't be set; of one that is not the kernel says EINVAL.
    assert_eq!(
        call(&who, libc::SYS_clock_settime, &[clock, at]),
        -libc::EPERM as isize
    );
    let past = [0usize; 2];
    let until = [
        clock,
        libc::TIMER_ABSTIME as usize,
        past.as_ptr() as usize,
        0,
    ];
    assert_eq!(call(&who, libc::SYS_clock_nanosleep, &until), 0);
    for clock in [0usize, 1, 7, -6i32 as usize, -2i32 as usize, -5i32 as usize] {
        assert_eq!(ids::clock_in(clock), clock, "{}", clock as i32);
    }
}

#[test]
fn paths_in_proc_follow_the_ids() {
    let _turn = set_up();
    let who = Owner::Upper;
    let _restarted = Restarted::new();
    assert!(paths::routed(libc::SYS_openat));
    let open = |path: &str| {
        let path = format!("{path}\0");
        let args = [libc::AT_FDCWD as usize, path.as_ptr() as usize, 0];
        let fd = call(&who, libc::SYS_openat, &args);
        if fd >= 0 {
            sys(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]);
        }
        fd >= 0
    };
    assert!(open(&format!("/proc/{PID}/maps")));
    assert!(open(&format!("/proc/{PID}/task/{TID}/comm")));
    assert!(open(&format!("/proc/self/task/{TID}/comm")));
    assert!(open("/proc/self/maps") && open("/proc/meminfo") && open("/proc/sys/kernel/pid_max"));
    assert!(!open("/proc/3999999/maps"));
    assert!(!open(&format!("/proc/self/fd/{TID}")));
}

extern "C" fn ends(_: usize) -> i32 {
    0
}

#[test]
fn a_thread_is_not_made_under_a_number_that_another_goes_by() {
    let _turn = set_up();
    for who in [Owner::Upper, Owner::Lower(1)] {
        let copy = copy_of_libc(who);
        // SAFETY: lhInfo is mapped.
        let info = unsafe { lhinfo::get() };
        let mut stack = vec![0u64; 8192];
        let top = (&raw mut stack[8190] as usize) & !15;
        static CLEARED: AtomicU32 = AtomicU32::new(0);
        let flags = libc::CLONE_VM
            | libc::CLONE_FS
            | libc::CLONE_FILES
            | libc::CLONE_SIGHAND
            | libc::CLONE_THREAD
            | libc::CLONE_SYSVSEM
            | libc::CLONE_CHILD_CLEARTID;
        let make = || {
            CLEARED.store(1, SeqCst);
            // SAFETY: the child runs `ends` on its own stack, which outlives it.
            let tid = unsafe {
                let clone: CloneFn =
                    core::mem::transmute(copy.get(libc::clone as *const () as usize));
                clone(ends, top, flags, 0, 0usize, 0usize, CLEARED.as_ptr())
            };
            assert!(tid > 0, "{tid}");
            while CLEARED.load(SeqCst) != 0 {
                std::thread::yield_now();
            }
            tid as u32
        };
        let last = make();
        let _restarted = Restarted::new();
        // Every other number that the kernel gives next belongs to a thread of the application.
        let some = &info.threads[1..=60];
        for (i, thread) in (0u32..).zip(some) {
            thread.tid.store(last + 1 + 2 * i, SeqCst);
            thread.real_tid.store(3_500_000 + i, SeqCst);
        }
        info.thread_count.store(61, SeqCst);
        for _ in 0..10 {
            let tid = make();
            assert!(!ids::taken(tid), "{tid} after {last}");
        }
        let made: Vec<u32> = some.iter().map(|t| t.tid.load(SeqCst)).collect();
        assert!(made.iter().all(|&t| ids::taken(t)));
        for thread in some {
            thread.tid.store(0, SeqCst);
            thread.real_tid.store(0, SeqCst);
        }
    }
}

#[test]
fn descriptors_that_come_with_a_message_are_moved() {
    let _turn = set_up();
    let who = Owner::Lower(1);
    let mut pair = [0i32; 2];
    // SAFETY: a pair of sockets, and messages with one descriptor; all memory outlives the calls.
    unsafe {
        assert_eq!(
            libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, pair.as_mut_ptr()),
            0
        );
        let null = std::fs::File::open("/dev/null").expect("/dev/null");
        let mut byte = [7u8];
        let mut iov = libc::iovec {
            iov_base: byte.as_mut_ptr().cast(),
            iov_len: 1,
        };
        let mut room = [0usize; 16];
        let mut message: libc::msghdr = core::mem::zeroed();
        message.msg_iov = &mut iov;
        message.msg_iovlen = 1;
        message.msg_control = room.as_mut_ptr().cast();
        message.msg_controllen = 24;
        let control = libc::CMSG_FIRSTHDR(&message);
        (*control).cmsg_level = libc::SOL_SOCKET;
        (*control).cmsg_type = libc::SCM_RIGHTS;
        (*control).cmsg_len = 20;
        libc::CMSG_DATA(control)
            .cast::<i32>()
            .write(null.as_raw_fd());
        for many in [false, true] {
            message.msg_controllen = 24;
            libc::CMSG_DATA(control)
                .cast::<i32>()
                .write(null.as_raw_fd());
            assert_eq!(libc::sendmsg(pair[0], &message, 0), 1);
            message.msg_controllen = size_of_val(&room);
            let mut vector: [libc::mmsghdr; 2] = core::mem::zeroed();
            vector[0].msg_hdr = message;
            let fd = pair[1] as usize;
            let got = if many {
                call(
                    &who,
                    libc::SYS_recvmmsg,
                    &[fd, vector.as_ptr() as usize, 1, 0, 0],
                )
            } else {
                call(&who, libc::SYS_recvmsg, &[fd, &raw mut message as usize, 0])
            };
            assert_eq!(got, 1);
            let came = libc::CMSG_DATA(control).cast::<i32>().read();
            assert!(came as usize >= limits::base(), "{came}");
            assert!(libc::fcntl(came, libc::F_GETFD) >= 0);
            libc::close(came);
        }
        assert_eq!(pair.map(|fd| libc::close(fd)), [0, 0]);
    }
}

#[test]
fn every_call_that_makes_a_descriptor_moves_it() {
    let _turn = set_up();
    let who = Owner::Lower(1);
    let me = std::process::id() as usize;
    let name = c"splitproc".as_ptr() as usize;
    let here = c"/".as_ptr() as usize;
    let mask = 0u64;
    let mask = &raw const mask as usize;
    let calls: [(i64, &[usize]); 9] = [
        (libc::SYS_memfd_create, &[name, 0]),
        (libc::SYS_pidfd_open, &[me, 0]),
        (libc::SYS_signalfd4, &[usize::MAX, mask, 8, 0]),
        (libc::SYS_timerfd_create, &[1, 0]),
        (libc::SYS_inotify_init1, &[0]),
        (libc::SYS_epoll_create1, &[0]),
        (libc::SYS_fcntl, &[0, 0, 3]),
        (libc::SYS_dup, &[0]),
        (libc::SYS_open_tree, &[libc::AT_FDCWD as usize, here, 0]),
    ];
    for (nr, args) in calls {
        let fd = call(&who, nr, args);
        if fd == -libc::ENOSYS as isize || fd == -libc::EPERM as isize {
            continue;
        }
        assert!(fd >= limits::base() as isize, "call {nr}: {fd}");
        sys(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]);
    }
}

#[test]
fn code_that_mprotect_makes_executable_is_patched() {
    let _turn = set_up();
    let who = Owner::Upper;
    let file = std::fs::File::open("/lib/x86_64-linux-gnu/libc.so.6").expect("libc");
    let len = file.metadata().expect("libc").len() as usize;
    let (read, private) = (libc::PROT_READ as usize, libc::MAP_PRIVATE as usize);
    let fd = file.as_raw_fd() as usize;
    // SAFETY: a fresh mapping in which nothing runs.
    let at = unsafe { window::map(Owner::Upper, len, read, private, fd, 0) } as usize;
    assert_eq!(owner(at), Owner::Upper);
    // SAFETY: the mapping is as long as the file.
    let text = || unsafe { core::slice::from_raw_parts(at as *const u8, len) }.to_vec();
    let before = text();
    let args = [at, len, read | libc::PROT_EXEC as usize];
    assert_eq!(call(&who, libc::SYS_mprotect, &args), 0);
    let after = text();
    let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    assert!(changed > 500, "{changed} bytes");
    // The second time there is nothing to do, nor for memory without a file.
    assert_eq!(call(&who, libc::SYS_mprotect, &args), 0);
    assert_eq!(text(), after);
    assert_eq!(call(&who, libc::SYS_munmap, &[at, len]), 0);
    assert_eq!(
        call(&who, libc::SYS_mprotect, &args),
        -libc::ENOMEM as isize
    );
}

#[test]
fn a_detached_segment_s_range_is_used_again() {
    let _turn = set_up();
    let who = Owner::Lower(3);
    let id = sys(libc::SYS_shmget, [0, 3 << 20, 0o600, 0, 0, 0]) as usize;
    let at = call(&who, libc::SYS_shmat, &[id, 0, 0]) as usize;
    assert_eq!(owner(at), Owner::Lower(3));
    assert!(maps::find(at).is_some());
    assert_eq!(call(&who, libc::SYS_shmdt, &[at]), 0);
    let again = call(&who, libc::SYS_mmap, &[0, 3 << 20, RW, ANON, usize::MAX, 0]) as usize;
    sys(libc::SYS_shmctl, [id, libc::IPC_RMID as usize, 0, 0, 0, 0]);
    assert_eq!(again, at);
    assert_eq!(call(&who, libc::SYS_munmap, &[again, 3 << 20]), 0);
}
