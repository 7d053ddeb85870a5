//! Tests that run patched code for real: a copy of libc's text, mapped and patched as `ld.so` would
//! have it, whose system-call functions are then called.

use super::segment::map_exec;
use super::{init, limits};
use crate::arch::{is_err, syscall6};
use crate::layout::{owner, Owner};
use crate::{lhinfo, window};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, OnceLock};

/// lhInfo is one, so tests that use it take turns.
pub(crate) fn set_up() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    static READY: OnceLock<()> = OnceLock::new();
    let turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    READY.get_or_init(|| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: a fresh mapping at lhInfo's address.
        let at = unsafe {
            libc::mmap(
                lhinfo::ptr().cast(),
                lhinfo::LEN,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            )
        };
        assert_eq!(at, lhinfo::ptr().cast());
        init(1, true);
    });
    turn
}

pub(super) fn sys(nr: i64, a: [usize; 6]) -> isize {
    // SAFETY: the tests' own calls.
    unsafe { syscall6(nr as usize, a[0], a[1], a[2], a[3], a[4], a[5]) }
}

/// A patched copy of libc's text in a window.
pub(super) struct Copy {
    base: usize,
    patched: usize,
}

pub(super) fn copy_of_libc(who: Owner) -> Copy {
    let path = "/lib/x86_64-linux-gnu/libc.so.6";
    let bytes = std::fs::read(path).expect(path);
    let file = std::fs::File::open(path).expect(path);
    let u =
        |at: usize, n: usize| (0..n).fold(0usize, |v, i| v | usize::from(bytes[at + i]) << (8 * i));
    let text = (0..u(56, 2))
        .map(|i| 64 + 56 * i)
        .find(|&p| u(p, 4) == 1 && u(p + 4, 4) & 1 != 0)
        .expect("text");
    let (offset, vaddr, len) = (u(text + 8, 8), u(text + 16, 8), u(text + 32, 8));
    let fd = file.as_raw_fd();
    let (prot, flags) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE);
    // SAFETY: a fresh mapping, patched before it runs.
    unsafe {
        let at = window::map(who, len, prot as usize, flags as usize, fd as usize, offset);
        assert!(!is_err(at), "{at}");
        let start = std::time::Instant::now();
        let patched = map_exec(at as usize, len, fd, offset as u64, who, prot);
        eprintln!("{who:?}: {patched} sites patched in {:?}", start.elapsed());
        Copy {
            base: at as usize - vaddr,
            patched,
        }
    }
}

impl Copy {
    /// The address of a libc function in the copy.
    pub(super) fn get(&self, function: usize) -> usize {
        // SAFETY: dladdr fills the structure.
        let libc_base = unsafe {
            let mut info: libc::Dl_info = core::mem::zeroed();
            assert!(libc::dladdr(function as *const _, &mut info) != 0);
            info.dli_fbase as usize
        };
        self.base + function - libc_base
    }

    /// Makes a system call through the copy's generic `syscall()`.
    fn generic(&self, nr: i64, a: [usize; 6]) -> isize {
        type Generic = unsafe extern "C" fn(i64, usize, usize, usize, usize, usize, usize) -> isize;
        // SAFETY: it is libc's `syscall` function; where it succeeds it touches nothing but registers.
        unsafe {
            let f: Generic = core::mem::transmute(self.get(libc::syscall as *const () as usize));
            f(nr, a[0], a[1], a[2], a[3], a[4], a[5])
        }
    }
}

pub(super) const ANON: usize = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
pub(super) const RW: usize = (libc::PROT_READ | libc::PROT_WRITE) as usize;

#[test]
fn memory_of_each_half_is_in_its_window() {
    let _turn = set_up();
    for who in [Owner::Upper, Owner::Lower(1)] {
        let copy = copy_of_libc(who);
        assert!(copy.patched > 10);
        assert_eq!(
            copy.generic(libc::SYS_getpid, [0; 6]),
            std::process::id() as isize
        );
        type Mmap = unsafe extern "C" fn(usize, usize, i32, i32, i32, i64) -> usize;
        type Two = unsafe extern "C" fn(usize, usize) -> i32;
        // SAFETY: functions of libc with these signatures; memory is the test's own.
        unsafe {
            let mmap: Mmap = core::mem::transmute(copy.get(libc::mmap as *const () as usize));
            let munmap: Two = core::mem::transmute(copy.get(libc::munmap as *const () as usize));
            let a = mmap(0, 10000, RW as i32, ANON as i32, -1, 0);
            assert_eq!(owner(a), who);
            (a as *mut u8).write(1);
            let b = copy.generic(libc::SYS_mmap, [0, 4 << 20, RW, ANON, usize::MAX, 0]) as usize;
            assert_eq!(owner(b), who);
            assert_eq!(b % (2 << 20), 0);
            let may_move = libc::MREMAP_MAYMOVE as usize;
            let moved =
                copy.generic(libc::SYS_mremap, [a, 12288, 1 << 30, may_move, 0, 0]) as usize;
            assert_eq!(owner(moved), who);
            assert_eq!((moved as *const u8).read(), 1);
            assert_eq!(munmap(moved, 1 << 30), 0);
            assert_eq!(munmap(b, 4 << 20), 0);
            let again = mmap(0, 4096, RW as i32, ANON as i32, -1, 0);
            assert_eq!(owner(again), who);
            assert_eq!(munmap(again, 4096), 0);
        }
        let now = copy.generic(libc::SYS_brk, [0; 6]) as usize;
        assert_eq!(owner(now), who);
        assert_eq!(
            copy.generic(libc::SYS_brk, [now + 100_000, 0, 0, 0, 0, 0]) as usize,
            now + 100_000
        );
        // SAFETY: the break's new room.
        unsafe { ((now + 99_999) as *mut u8).write(7) };
        assert_eq!(
            copy.generic(libc::SYS_brk, [now, 0, 0, 0, 0, 0]) as usize,
            now
        );
        assert_eq!(
            copy.generic(libc::SYS_brk, [now + (2 << 30), 0, 0, 0, 0, 0]) as usize,
            now
        );
    }
}

#[test]
fn descriptors_of_a_lower_half_are_high() {
    let _turn = set_up();
    let copy = copy_of_libc(Owner::Lower(2));
    let event = copy.generic(
        libc::SYS_eventfd2,
        [0, libc::EFD_CLOEXEC as usize, 0, 0, 0, 0],
    );
    assert!(event >= limits::base() as isize, "{event}");
    assert_eq!(
        sys(
            libc::SYS_fcntl,
            [event as usize, libc::F_GETFD as usize, 0, 0, 0, 0]
        ),
        1
    );
    let mut pair = [0i32; 2];
    assert_eq!(
        copy.generic(libc::SYS_pipe2, [pair.as_mut_ptr() as usize, 0, 0, 0, 0, 0]),
        0
    );
    assert!(
        pair.iter().all(|&fd| fd as usize >= limits::base()),
        "{pair:?}"
    );
    assert_eq!(
        sys(
            libc::SYS_write,
            [pair[1] as usize, c"x".as_ptr() as usize, 1, 0, 0, 0]
        ),
        1
    );
    for fd in [event as usize, pair[0] as usize, pair[1] as usize] {
        assert_eq!(sys(libc::SYS_close, [fd, 0, 0, 0, 0, 0]), 0);
    }
}

pub(super) type CloneFn =
    unsafe extern "C" fn(extern "C" fn(usize) -> i32, usize, i32, usize, ...) -> i32;

static CHILD_TID: AtomicU32 = AtomicU32::new(0);
static CHILD_MASK: AtomicU64 = AtomicU64::new(0);
static CHILD_GO: AtomicU32 = AtomicU32::new(0);

extern "C" fn child(arg: usize) -> i32 {
    let mut mask = 0u64;
    sys(
        libc::SYS_rt_sigprocmask,
        [0, 0, &raw mut mask as usize, 8, 0, 0],
    );
    CHILD_MASK.store(mask, SeqCst);
    if arg == 1 {
        CHILD_TID.store(sys(libc::SYS_gettid, [0; 6]) as u32, SeqCst);
        while CHILD_GO.load(SeqCst) == 0 {
            sys(libc::SYS_sched_yield, [0; 6]);
        }
    }
    7
}

#[test]
fn threads_start_and_those_of_a_lower_half_are_known() {
    let _turn = set_up();
    // SAFETY: lhInfo is mapped.
    let info = unsafe { lhinfo::get() };
    for who in [Owner::Upper, Owner::Lower(1)] {
        let copy = copy_of_libc(who);
        CHILD_TID.store(0, SeqCst);
        CHILD_GO.store(0, SeqCst);
        static CLEARED: AtomicU32 = AtomicU32::new(0);
        CLEARED.store(1, SeqCst);
        let mut stack = vec![0u64; 8192];
        let top = (&raw mut stack[8190] as usize) & !15;
        let flags = libc::CLONE_VM
            | libc::CLONE_FS
            | libc::CLONE_FILES
            | libc::CLONE_SIGHAND
            | libc::CLONE_THREAD;
        let flags = flags | libc::CLONE_SYSVSEM | libc::CLONE_CHILD_CLEARTID;
        // SAFETY: the child runs `child` on its own stack, which outlives it.
        let tid = unsafe {
            let clone: CloneFn = core::mem::transmute(copy.get(libc::clone as *const () as usize));
            let none = 0usize;
            clone(child, top, flags, 1, none, none, CLEARED.as_ptr())
        };
        assert!(tid > 0, "{tid}");
        let known = || {
            info.lower_tasks
                .iter()
                .any(|t| t.load(SeqCst) == tid as u32)
        };
        assert_eq!(known(), who != Owner::Upper);
        assert_eq!(info.clone_lock.load(SeqCst), 0);
        while CHILD_TID.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(CHILD_TID.load(SeqCst), tid as u32);
        let all = CHILD_MASK.load(SeqCst) | 1 << 8 | 1 << 18;
        assert_eq!(all == !(3 << 31), who != Owner::Upper, "{all:x}");
        CHILD_GO.store(1, SeqCst);
        while CLEARED.load(SeqCst) != 0 {
            std::thread::yield_now();
        }
        assert!(!known());
    }
}

#[test]
fn processes_are_made_and_waited_for() {
    let _turn = set_up();
    let copy = copy_of_libc(Owner::Upper);
    let wait = |pid: isize| {
        let mut status = 0i32;
        assert_eq!(
            copy.generic(
                libc::SYS_wait4,
                [pid as usize, &raw mut status as usize, 0, 0, 0, 0]
            ),
            pid
        );
        libc::WEXITSTATUS(status)
    };
    // As posix_spawn does it: shared memory, a stack of its own, the parent waits.
    let mut stack = vec![0u64; 8192];
    let top = (&raw mut stack[8190] as usize) & !15;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the child runs `child` on its own stack.
    let pid = unsafe {
        let clone: CloneFn = core::mem::transmute(copy.get(libc::clone as *const () as usize));
        clone(child, top, flags, 0)
    };
    assert_eq!(wait(pid as isize), 7);
    // Fork and vfork through the generic site: both become copies.
    for nr in [libc::SYS_fork, libc::SYS_vfork] {
        let pid = copy.generic(nr, [0; 6]);
        if pid == 0 {
            let me = copy.generic(libc::SYS_getpid, [0; 6]) == sys(libc::SYS_getpid, [0; 6]);
            sys(
                libc::SYS_exit_group,
                [if me { 9 } else { 1 }, 0, 0, 0, 0, 0],
            );
        }
        assert!(pid > 0, "{pid}");
        assert_eq!(wait(pid), 9);
    }
}

extern "C" fn exit_6() -> ! {
    sys(libc::SYS_exit_group, [6, 0, 0, 0, 0, 0]);
    unreachable!()
}

#[test]
fn clone3_starts_children_with_and_without_a_stack() {
    let _turn = set_up();
    let copy = copy_of_libc(Owner::Upper);
    let status_of = |pid: isize| {
        assert!(pid > 0, "{pid}");
        let mut status = 0i32;
        let at = &raw mut status as usize;
        assert_eq!(sys(libc::SYS_wait4, [pid as usize, at, 0, 0, 0, 0]), pid);
        assert!(libc::WIFEXITED(status), "{status:x}");
        libc::WEXITSTATUS(status)
    };
    let mut args = [0u64; 8];
    args[4] = libc::SIGCHLD as u64;
    let pid = copy.generic(libc::SYS_clone3, [args.as_ptr() as usize, 64, 0, 0, 0, 0]);
    if pid == 0 {
        sys(libc::SYS_exit_group, [5, 0, 0, 0, 0, 0]);
    }
    assert_eq!(status_of(pid), 5);
    // The child comes out of `syscall()` on its own stack, whose first word is where it returns to.
    let mut stack = vec![0u64; 8192];
    let top = (&raw mut stack[8000] as usize) & !15;
    let word = (top - stack.as_ptr() as usize) / 8;
    stack[word] = exit_6 as *const () as u64;
    args[0] = (libc::CLONE_VM | libc::CLONE_VFORK) as u64;
    args[5] = stack.as_ptr() as u64;
    args[6] = (word * 8) as u64;
    let given = args;
    let pid = copy.generic(libc::SYS_clone3, [args.as_ptr() as usize, 64, 0, 0, 0, 0]);
    assert_eq!(status_of(pid), 6);
    assert_eq!(args, given);
}

#[test]
fn after_a_restart_the_program_keeps_its_ids() {
    let _turn = set_up();
    let copy = copy_of_libc(Owner::Upper);
    // SAFETY: lhInfo is mapped.
    let info = unsafe { lhinfo::get() };
    let (pid, tid) = (std::process::id(), sys(libc::SYS_gettid, [0; 6]) as u32);
    info.upper.pid.store(3_000_001, SeqCst);
    info.threads[0].tid.store(3_000_002, SeqCst);
    info.threads[0].real_tid.store(tid, SeqCst);
    info.thread_count.store(1, SeqCst);
    assert_eq!(copy.generic(libc::SYS_getpid, [0; 6]), pid as isize);
    info.upper.generation.store(1, SeqCst);
    let got = [libc::SYS_getpid, libc::SYS_gettid].map(|nr| copy.generic(nr, [0; 6]));
    let killed = [
        copy.generic(libc::SYS_kill, [3_000_001, 0, 0, 0, 0, 0]),
        copy.generic(libc::SYS_tgkill, [3_000_001, 3_000_002, 0, 0, 0, 0]),
        copy.generic(libc::SYS_tkill, [3_000_002, 0, 0, 0, 0, 0]),
    ];
    info.upper.generation.store(0, SeqCst);
    info.upper.pid.store(0, SeqCst);
    info.thread_count.store(0, SeqCst);
    assert_eq!(got, [3_000_001, 3_000_002]);
    assert_eq!(killed, [0; 3]);
}

#[test]
fn a_lower_half_installs_no_handler_and_the_upper_keeps_its_own() {
    let _turn = set_up();
    let kernel = || {
        let mut a = [0u64; 4];
        sys(
            libc::SYS_rt_sigaction,
            [libc::SIGUSR2 as usize, 0, a.as_mut_ptr() as usize, 8, 0, 0],
        );
        a
    };
    let set = |copy: &Copy, handler: u64| {
        let new = [handler, libc::SA_RESTART as u64, 0, 0];
        let mut old = [9u64; 4];
        let (new, out) = (new.as_ptr() as usize, old.as_mut_ptr() as usize);
        assert_eq!(
            copy.generic(
                libc::SYS_rt_sigaction,
                [libc::SIGUSR2 as usize, new, out, 8, 0, 0]
            ),
            0
        );
        assert_eq!(old[3], 0);
        old[0]
    };
    let before = kernel();
    let lower = copy_of_libc(Owner::Lower(1));
    assert_eq!((set(&lower, 0x1234), set(&lower, 0x5678)), (0, 0x1234));
    assert_eq!(kernel(), before);
    let upper = copy_of_libc(Owner::Upper);
    // SAFETY: lhInfo is mapped.
    let info = unsafe { lhinfo::get() };
    info.upper.signal_trampoline.store(0x9999, SeqCst);
    assert_eq!((set(&upper, 0xabcd), set(&upper, 0xdcba)), (0, 0xabcd));
    assert_eq!(kernel()[0], 0x9999);
    assert!(kernel()[1] & libc::SA_SIGINFO as u64 != 0);
    // The trampoline begins with the parking signal blocked, and the program does not see that.
    assert_eq!(kernel()[3], 1 << (lhinfo::PARK_SIGNAL - 1));
    assert_eq!(set(&upper, 0), 0xdcba);
    assert_eq!(kernel()[0], 0);
    info.upper.signal_trampoline.store(0, SeqCst);
    // The parking signal cannot be blocked from there.
    let (all, mut got, mut was) = (!0u64, 0u64, 0u64);
    let nr = libc::SYS_rt_sigprocmask;
    let (all_at, was_at) = (&raw const all as usize, &raw mut was as usize);
    upper.generic(nr, [libc::SIG_SETMASK as usize, all_at, was_at, 8, 0, 0]);
    sys(nr, [0, 0, &raw mut got as usize, 8, 0, 0]);
    sys(nr, [libc::SIG_SETMASK as usize, was_at, 0, 8, 0, 0]);
    assert_eq!(got >> (lhinfo::PARK_SIGNAL - 1) & 1, 0);
    assert_eq!(got & 1, 1);
}

#[test]
fn the_program_s_path_is_what_lhinfo_says() {
    let _turn = set_up();
    let copy = copy_of_libc(Owner::Upper);
    // SAFETY: tests take turns, and only this one writes there.
    unsafe {
        (&raw mut (*lhinfo::ptr()).upper.exe)
            .cast::<[u8; 5]>()
            .write(*b"/app\0")
    };
    let own = format!("/proc/{}/exe\0", std::process::id());
    for path in ["/proc/self/exe\0", own.as_str()] {
        let mut out = [0u8; 64];
        let n = copy.generic(
            libc::SYS_readlink,
            [
                path.as_ptr() as usize,
                out.as_mut_ptr() as usize,
                64,
                0,
                0,
                0,
            ],
        );
        assert_eq!(&out[..n as usize], b"/app");
    }
    let mut out = [0u8; 64];
    let link = c"/proc/self/cwd".as_ptr() as usize;
    let n = copy.generic(
        libc::SYS_readlink,
        [link, out.as_mut_ptr() as usize, 64, 0, 0, 0],
    );
    assert!(n > 0 && &out[..n as usize] != b"/app");
    // SAFETY: as above.
    unsafe { (&raw mut (*lhinfo::ptr()).upper.exe).cast::<u8>().write(0) };
}
