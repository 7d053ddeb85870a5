//! What the upper half believes to be: its pid, its tids, its program. After a restart they are not
//! the kernel's, and are translated both ways.

use super::entry::Regs;
use super::policy::native;
use super::tasks;
use crate::arch::is_err;
use crate::lhinfo::{self, LhInfo, Thread, MAX_THREADS};
use core::sync::atomic::Ordering::Relaxed;

/// Whether the call names or returns ids, or the program's path.
pub fn routed(nr: i64) -> bool {
    matches!(
        nr,
        libc::SYS_getpid
            | libc::SYS_gettid
            | libc::SYS_set_tid_address
            | libc::SYS_kill
            | libc::SYS_tkill
            | libc::SYS_tgkill
            | libc::SYS_rt_sigqueueinfo
            | libc::SYS_rt_tgsigqueueinfo
            | libc::SYS_wait4
            | libc::SYS_waitid
            | libc::SYS_readlink
            | libc::SYS_readlinkat
    )
}

fn info() -> &'static LhInfo {
    // SAFETY: lhInfo is mapped before the router runs.
    unsafe { lhinfo::get() }
}

/// The recorded threads of a process that was restarted; none in another.
fn threads() -> &'static [Thread] {
    let i = info();
    if i.upper.generation.load(Relaxed) == 0 {
        return &[];
    }
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
fn tid_in(tid: usize) -> usize {
    let tid = tid as i32;
    let known =
        |t: &&Thread| tid > 0 && t.tid.load(Relaxed) == tid as u32 && t.real_tid.load(Relaxed) != 0;
    threads()
        .iter()
        .find(known)
        .map_or(tid as usize, |t| t.real_tid.load(Relaxed) as usize)
}

/// The application's pid, if it is not the kernel's.
fn virtual_pid() -> Option<u32> {
    let upper = &info().upper;
    let pid = upper.pid.load(Relaxed);
    (upper.generation.load(Relaxed) > 0 && pid != 0 && tasks::pid() == tasks::leader_pid())
        .then_some(pid)
}

/// An application's pid argument (negative: a group) as the kernel knows it.
fn pid_in(pid: usize) -> usize {
    let pid = pid as i32;
    match virtual_pid() {
        Some(v) if pid == v as i32 => tasks::leader_pid() as usize,
        Some(v) if pid == -(v as i32) => -(tasks::leader_pid() as i32) as usize,
        _ => tid_in(pid as usize),
    }
}

/// A thread has ended: its tid no longer means anything.
pub fn forget(real: u32) {
    for t in threads() {
        let _ = t.real_tid.compare_exchange(real, 0, Relaxed, Relaxed);
    }
}

/// Whether `path` names the link to the program that this process runs.
unsafe fn is_own_exe(path: usize) -> bool {
    // SAFETY: a NUL-terminated string of the program's; reading stops at its first different byte.
    let byte = |i: usize| unsafe { ((path + i) as *const u8).read() };
    let starts = |at: usize, s: &[u8]| s.iter().enumerate().all(|(i, &b)| byte(at + i) == b);
    if path == 0 || !starts(0, b"/proc/") {
        return false;
    }
    let mut at = 6;
    if starts(at, b"self/") {
        at += 5;
    } else if starts(at, b"thread-self/") {
        at += 12;
    } else {
        let mut n = 0u32;
        while at < 17 && byte(at).is_ascii_digit() {
            n = n.wrapping_mul(10).wrapping_add(u32::from(byte(at) - b'0'));
            at += 1;
        }
        if n == 0 || byte(at) != b'/' || !(n == tasks::pid() || virtual_pid() == Some(n)) {
            return false;
        }
        at += 1;
    }
    starts(at, b"exe\0")
}

/// The program's path, as `readlink` gives it.
unsafe fn read_exe(buffer: usize, size: usize) -> isize {
    let exe = &info().upper.exe;
    let len = exe
        .iter()
        .position(|&b| b == 0)
        .unwrap_or(exe.len())
        .min(size);
    // SAFETY: the program gave a buffer of `size` bytes.
    unsafe { core::ptr::copy_nonoverlapping(exe.as_ptr(), buffer as *mut u8, len) };
    len as isize
}

/// Makes the call with ids translated.
///
/// # Safety
/// As for the system call.
pub unsafe fn call(r: &Regs) -> isize {
    let mut c = *r;
    let named = info().upper.exe[0] != 0;
    // SAFETY: the arguments are the program's.
    unsafe {
        match r.rax as i64 {
            libc::SYS_getpid => return virtual_pid().map_or_else(|| native(r), |p| p as isize),
            libc::SYS_gettid | libc::SYS_set_tid_address => return tid_out(native(r)),
            libc::SYS_readlink if named && r.rdx as i32 > 0 && is_own_exe(r.rdi) => {
                return read_exe(r.rsi, r.rdx)
            }
            libc::SYS_readlinkat if named && r.r10 as i32 > 0 && is_own_exe(r.rsi) => {
                return read_exe(r.rdx, r.r10)
            }
            libc::SYS_kill | libc::SYS_rt_sigqueueinfo => c.rdi = pid_in(r.rdi),
            libc::SYS_wait4 => c.rdi = pid_in(r.rdi),
            libc::SYS_waitid if r.rdi == libc::P_PID as usize => c.rsi = pid_in(r.rsi),
            libc::SYS_tkill => c.rdi = tid_in(r.rdi),
            libc::SYS_tgkill | libc::SYS_rt_tgsigqueueinfo => {
                c.rdi = pid_in(r.rdi);
                c.rsi = tid_in(r.rsi);
            }
            _ => {}
        }
        let result = native(&c);
        if r.rax as i64 == libc::SYS_wait4 && !is_err(result) {
            return tid_out(result);
        }
        result
    }
}
