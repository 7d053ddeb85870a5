//! Paths that mean something else to the program: those in `/proc` that name this process, by the ids it knows, the link to
//! its program, and libraries for which there are fronts.

use super::entry::Regs;
use super::policy::native;
use super::{fronts, ids, tasks};
use crate::lhinfo;
use crate::say::Text;
use core::ffi::CStr;
use core::fmt::Write;

/// Longest path that is translated.
const LONGEST: usize = 256;

/// The argument that is a path to look at.
fn argument(nr: i64) -> Option<usize> {
    match nr {
        libc::SYS_readlink
        | libc::SYS_open
        | libc::SYS_stat
        | libc::SYS_access
        | libc::SYS_execve => Some(0),
        libc::SYS_readlinkat
        | libc::SYS_openat
        | libc::SYS_newfstatat
        | libc::SYS_statx
        | libc::SYS_faccessat
        | libc::SYS_faccessat2
        | libc::SYS_execveat => Some(1),
        _ => None,
    }
}

/// Whether the call takes a path that is looked at.
pub fn routed(nr: i64) -> bool {
    argument(nr).is_some()
}

/// Makes the call.
///
/// # Safety
/// As for the system call.
pub unsafe fn call(r: &Regs) -> isize {
    let nr = r.rax as i64;
    let mut c = *r;
    let path = match argument(nr) {
        Some(0) => &mut c.rdi,
        _ => &mut c.rsi,
    };
    // SAFETY: a path that can't be read is the kernel's to refuse; the rest is the program's.
    unsafe {
        if let Some(front) = fronts::instead(r) {
            *path = front;
            return native(&c);
        }
        if !begins(*path, b"/proc/") {
            return native(r);
        }
        if is_own_exe(CStr::from_ptr(*path as *const _).to_bytes()) {
            match nr {
                libc::SYS_readlink if r.rdx as i32 > 0 => return read_exe(r.rsi, r.rdx),
                libc::SYS_readlinkat if r.r10 as i32 > 0 => return read_exe(r.rdx, r.r10),
                // The link itself.
                libc::SYS_newfstatat if r.r10 as i32 & libc::AT_SYMLINK_NOFOLLOW != 0 => {
                    return native(r)
                }
                libc::SYS_statx if r.rdx as i32 & libc::AT_SYMLINK_NOFOLLOW != 0 => {
                    return native(r)
                }
                _ => {}
            }
        }
        let mut kept = None;
        *path = real(*path, &mut kept);
        native(&c)
    }
}

/// The path for the kernel: the program's and not the loader's, and with the kernel's ids. `kept` holds it where it is
/// not the one at `at`.
///
/// # Safety
/// `at` is null, or a string's address.
pub unsafe fn real(at: usize, kept: &mut Option<Text<LONGEST>>) -> usize {
    // SAFETY: the caller's; lhInfo is mapped before the router runs.
    unsafe {
        if !begins(at, b"/proc/") {
            return at;
        }
        let text = CStr::from_ptr(at as *const _).to_bytes();
        if is_own_exe(text) {
            return lhinfo::get().upper.exe.as_ptr() as usize;
        }
        *kept = translated(text);
        kept.as_ref()
            .map_or(at, |real| real.bytes().as_ptr() as usize)
    }
}

/// Whether the path begins so.
///
/// # Safety
/// `at` is null, or a string's address; reading stops at its first different byte.
pub unsafe fn begins(at: usize, with: &[u8]) -> bool {
    // The first page is never a string: the kernel refuses it.
    at >= crate::layout::PAGE
        && with
            .iter()
            .enumerate()
            // SAFETY: the caller's.
            .all(|(i, &b)| unsafe { ((at + i) as *const u8).read() } == b)
}

/// The number that a path's component is.
fn number(component: &[u8]) -> Option<usize> {
    let text = core::str::from_utf8(component).ok()?;
    text.parse().ok().filter(|_| text.as_bytes()[0] != b'+')
}

/// The path with real ids in the place of those that the application knows; `None` if there are none.
fn translated(path: &[u8]) -> Option<Text<LONGEST>> {
    if !ids::restarted() || path.len() + 32 > LONGEST {
        return None;
    }
    let mut real = Text::new();
    let mut changed = false;
    let mut parts = path.split(|&b| b == b'/').skip(1).enumerate().peekable();
    while let Some((i, part)) = parts.next() {
        let id = number(part).filter(|_| i == 1 || i == 3);
        let known = id.map(|id| {
            if i == 1 {
                ids::pid_in(id)
            } else {
                ids::tid_in(id)
            }
        });
        let done = match known {
            Some(known) if Some(known) != id => {
                changed = true;
                write!(real, "/{known}")
            }
            _ => write!(real, "/").and_then(|()| real.raw(part)),
        };
        done.ok()?;
        // `/proc/N/task/N`: no other fourth component is a thread.
        if i == 2 && part != b"task" {
            for (_, rest) in parts.by_ref() {
                write!(real, "/").and_then(|()| real.raw(rest)).ok()?;
            }
        }
    }
    write!(real, "\0").ok()?;
    changed.then_some(real)
}

/// Whether `path` names the link to the program that this process runs.
fn is_own_exe(path: &[u8]) -> bool {
    // SAFETY: lhInfo is mapped before the router runs.
    let named = unsafe { lhinfo::get() }.upper.exe[0] != 0;
    let whose = path
        .strip_prefix(b"/proc/")
        .and_then(|p| p.strip_suffix(b"/exe"));
    named
        && whose.is_some_and(|whose| {
            let own = |id: usize| {
                id == tasks::pid() as usize || ids::virtual_pid().is_some_and(|v| v as usize == id)
            };
            whose == b"self" || whose == b"thread-self" || number(whose).is_some_and(own)
        })
}

/// The program's path, as `readlink` gives it.
///
/// # Safety
/// The program gave a buffer of `size` bytes.
unsafe fn read_exe(buffer: usize, size: usize) -> isize {
    // SAFETY: lhInfo is mapped before the router runs.
    let exe = unsafe { &lhinfo::get().upper.exe };
    let end = exe.iter().position(|&b| b == 0).unwrap_or(exe.len());
    let len = end.min(size);
    // SAFETY: the caller's.
    unsafe { core::ptr::copy_nonoverlapping(exe.as_ptr(), buffer as *mut u8, len) };
    len as isize
}
