//! What the launcher gave this process: an environment, and a descriptor (PMI_FD).
//!
//! At a restart both are the new launcher's. DMTCP keeps its environment in a file behind a descriptor of its own;
//! the descriptor's number may be one that the application had, so it is moved away before DMTCP brings the
//! application's back. The application goes on with the environment that it had.

use crate::symbols;
use core::ffi::{c_char, c_int};
use lh_loader::arch::{is_err, syscall6};
use lh_loader::layout::LOWER_FD_BASE;
use std::ffi::{CStr, CString};
use std::sync::Mutex;

const PMI_FD: &[u8] = b"PMI_FD=";

extern "C" {
    static environ: *const *const c_char;
}

/// The new launcher's environment, from the beginning of a restart.
static ARRIVED: Mutex<Vec<CString>> = Mutex::new(Vec::new());

/// This process's own environment.
pub fn variables() -> Vec<CString> {
    // SAFETY: nobody changes the environment while DMTCP starts or runs its events; it ends with a null.
    unsafe {
        (0..)
            .map(|i| *environ.add(i))
            .take_while(|p| !p.is_null())
            .map(|p| CStr::from_ptr(p).to_owned())
            .collect()
    }
}

/// What the lower halves are started with: the launcher's environment.
pub fn environment() -> Vec<CString> {
    let arrived = ARRIVED.lock().unwrap_or_else(|e| e.into_inner());
    if arrived.is_empty() {
        variables()
    } else {
        arrived.clone()
    }
}

/// A restart begins: reads the new environment and moves PMI_FD out of the application's way.
pub fn arrive() {
    let mut new = read();
    for variable in &mut new {
        let fd = variable.to_bytes().strip_prefix(PMI_FD);
        let fd = fd.and_then(|fd| std::str::from_utf8(fd).ok()?.parse().ok());
        if let Some(fd) = fd {
            let text = format!("PMI_FD={}", moved(fd));
            *variable = CString::new(text).unwrap_or_default();
        }
    }
    *ARRIVED.lock().unwrap_or_else(|e| e.into_inner()) = new;
}

fn moved(fd: usize) -> usize {
    let call = |nr: libc::c_long, a: usize, b: usize, c: usize| {
        // SAFETY: fcntl and close on a number that the launcher named.
        unsafe { syscall6(nr as usize, a, b, c, 0, 0, 0) }
    };
    let new = call(
        libc::SYS_fcntl,
        fd,
        libc::F_DUPFD as usize,
        LOWER_FD_BASE as usize,
    );
    if is_err(new) {
        return fd;
    }
    call(libc::SYS_close, fd, 0, 0);
    new as usize
}

/// The environment that `dmtcp_restart` was given.
fn read() -> Vec<CString> {
    let Some(number) = symbols::find(c"dmtcp_protected_environ_fd") else {
        return Vec::new();
    };
    // SAFETY: the function has this type.
    let fd = unsafe { core::mem::transmute::<usize, extern "C" fn() -> c_int>(number)() };
    let mut bytes = Vec::new();
    let mut part = [0u8; 4096];
    loop {
        let (at, len) = (part.as_mut_ptr() as usize, part.len());
        // SAFETY: the kernel writes at most `len` bytes to `part`.
        let n = unsafe {
            let nr = libc::SYS_pread64 as usize;
            syscall6(nr, fd as usize, at, len, bytes.len(), 0, 0)
        };
        if n <= 0 {
            break;
        }
        bytes.extend_from_slice(&part[..n as usize]);
    }
    let entries = bytes.split(|b| *b == 0).filter(|e| !e.is_empty());
    entries.filter_map(|e| CString::new(e).ok()).collect()
}
