//! Programs that the upper half executes: they run without splitproc, with the launcher's connection.
//!
//! The MPI launcher's descriptor was moved at the start. What is executed learns its new number, as long as
//! it has the variable at all. Allocates nothing: a child that shares its parent's memory may be here.

use super::entry::Regs;
use super::{paths, tasks};
use crate::arch::{is_err, syscall6};
use crate::say::Text;
use core::ffi::CStr;
use core::fmt::Write;
use core::mem::MaybeUninit;

/// Most variables of an environment that is rewritten.
const MOST: usize = 1000;
/// The launcher's variable.
const VARIABLE: &[u8] = b"PMI_FD=";

/// `execve` and `execveat`.
///
/// # Safety
/// As for the system call.
pub unsafe fn call(r: &Regs) -> isize {
    let at = r.rax as i64 == libc::SYS_execveat;
    // SAFETY: the arguments are the program's.
    unsafe {
        if tasks::pid() == tasks::leader_pid() {
            tell(r, at);
        }
        let env = if at { r.r10 } else { r.rdx } as *const usize;
        match (variable(env), crate::fds::launcher()) {
            (Some(index), Some(fd)) => with_descriptor(r, at, env, index, fd),
            _ => paths::call(r),
        }
    }
}

/// Says that the process leaves splitproc, unless the call is going to fail: shells try one folder after another.
///
/// # Safety
/// As for the system call.
unsafe fn tell(r: &Regs, at: bool) {
    let (folder, path) = if at {
        (r.rdi, r.rsi)
    } else {
        (libc::AT_FDCWD as usize, r.rdi)
    };
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: a path that can't be read is refused by the kernel, and then not read here; `stat` is large enough
    // and was zero before.
    unsafe {
        let (access, x) = (libc::SYS_faccessat as usize, libc::X_OK as usize);
        if is_err(syscall6(access, folder, path, x, 0, 0, 0)) {
            return;
        }
        let (nr, to) = (libc::SYS_newfstatat as usize, stat.as_mut_ptr() as usize);
        if is_err(syscall6(nr, folder, path, to, 0, 0, 0))
            || stat.assume_init().st_mode & libc::S_IFMT != libc::S_IFREG
        {
            return;
        }
        let path = CStr::from_ptr(path as *const _).to_bytes();
        let path = core::str::from_utf8(path).unwrap_or("a program");
        crate::say!("{path} is executed without splitproc: it can't be checkpointed");
    }
}

/// Where the launcher's variable is in an environment that is not too long.
///
/// # Safety
/// `env` is null, or the address of a vector of strings that ends with a null.
unsafe fn variable(env: *const usize) -> Option<usize> {
    if env.is_null() {
        return None;
    }
    let mut found = None;
    for i in 0..=MOST {
        // SAFETY: the end has not been seen yet.
        let entry = unsafe { *env.add(i) };
        if entry == 0 {
            return found;
        }
        // SAFETY: an entry is a string.
        let text = unsafe { CStr::from_ptr(entry as *const _) };
        if text.to_bytes().starts_with(VARIABLE) {
            found = found.or(Some(i));
        }
    }
    None
}

/// Makes the call with the variable at `index` naming the launcher's descriptor.
///
/// # Safety
/// As for the system call; `env` is its environment.
#[inline(never)]
unsafe fn with_descriptor(r: &Regs, at: bool, env: *const usize, index: usize, fd: u32) -> isize {
    let mut text = Text::<32>::new();
    let written = text.raw(VARIABLE).and_then(|()| write!(text, "{fd}\0"));
    let mut vector = [0usize; MOST + 1];
    let mut i = 0;
    // SAFETY: `variable` has seen that the environment ends within the vector, which ends with a null itself.
    unsafe {
        while *env.add(i) != 0 {
            vector[i] = *env.add(i);
            i += 1;
        }
    }
    if written.is_ok() {
        vector[index] = text.bytes().as_ptr() as usize;
    }
    let mut c = *r;
    *(if at { &mut c.r10 } else { &mut c.rdx }) = vector.as_ptr() as usize;
    // SAFETY: the program's call, but for an environment that lives during it.
    unsafe { paths::call(&c) }
}
