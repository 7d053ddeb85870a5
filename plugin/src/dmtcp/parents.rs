//! A child is stopped after the processes that wait for it.
//!
//! DMTCP stops each process on its own. A rank may wait for a child, and other ranks for that rank, in a collective that
//! nobody may be stopped in: were the child stopped first, the cut would wait for ever. So a process with lower halves
//! shows the number of the last checkpoint that it was ready for, in the name of DMTCP's thread, and a process without
//! looks at its ancestors before it is stopped. Names pass an execution, and need no connection that may be busy.
//!
//! `/proc` is read by system calls of our own: DMTCP's functions take its numbers for processes, not the kernel's.

use super::door;
use crate::symbols;
use dmtcp_glue::abi::{self, ComputationId, GetComputationId};
use lh_loader::arch::{is_err, syscall6};
use std::ffi::CString;
use std::sync::atomic::{AtomicU32, Ordering};

/// What the name begins with.
const NAME: &str = "splitproc.";
/// Where a directory entry has its length, and its name.
const LENGTH: usize = 16;
const TEXT: usize = 19;

/// The last checkpoint that this process was ready for.
static READY: AtomicU32 = AtomicU32::new(0);

/// The number of the checkpoint that has been asked for.
pub fn wanted() -> u32 {
    let get = symbols::find(abi::COMPUTATION_ID);
    // SAFETY: the function has this type.
    let id = get.map(|get| unsafe { core::mem::transmute::<usize, GetComputationId>(get)() });
    id.map_or(0, |id: ComputationId| id.generation)
}

/// This process, which has lower halves, may be stopped for the checkpoint that has been asked for.
pub fn ready() {
    READY.store(wanted(), Ordering::Relaxed);
    show();
}

/// Names the calling thread, DMTCP's.
pub fn show() {
    let name = CString::new(format!("{NAME}{}", READY.load(Ordering::Relaxed))).unwrap_or_default();
    let nr = libc::SYS_prctl as usize;
    // SAFETY: the kernel reads the name.
    unsafe {
        let name = name.as_ptr() as usize;
        syscall6(nr, libc::PR_SET_NAME as usize, name, 0, 0, 0, 0)
    };
}

/// Waits until all ancestors that have lower halves may be stopped.
pub fn wait() {
    let wanted = wanted();
    while !all_ready(wanted) {
        door::pause();
    }
}

fn all_ready(wanted: u32) -> bool {
    let mut process = "self".to_string();
    while let Some(parent) = parent(&process).filter(|p| *p > 1) {
        process = parent.to_string();
        let ready = tasks(&process).find_map(|task| {
            let name = contents(&format!("/proc/{process}/task/{task}/comm"));
            name.trim_end().strip_prefix(NAME)?.parse::<u32>().ok()
        });
        if ready.is_some_and(|ready| ready < wanted) {
            return false;
        }
    }
    true
}

fn parent(process: &str) -> Option<u32> {
    let status = contents(&format!("/proc/{process}/status"));
    let line = status.lines().find_map(|l| l.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

fn tasks(process: &str) -> impl Iterator<Item = String> {
    let entries = bytes(&format!("/proc/{process}/task"), libc::SYS_getdents64);
    let mut at = 0;
    std::iter::from_fn(move || {
        let entry = entries.get(at..)?;
        at += usize::from(u16::from_ne_bytes([
            *entry.get(LENGTH)?,
            *entry.get(LENGTH + 1)?,
        ]));
        let name = entry.get(TEXT..)?.split(|b| *b == 0).next()?;
        Some(String::from_utf8_lossy(name).into_owned())
    })
}

fn contents(path: &str) -> String {
    String::from_utf8_lossy(&bytes(path, libc::SYS_read)).into_owned()
}

/// All that a file's `read` or a directory's `getdents64` gives.
fn bytes(path: &str, read: libc::c_long) -> Vec<u8> {
    let path = CString::new(path).unwrap_or_default();
    let mut all = Vec::new();
    let mut part = [0u8; 4096];
    // SAFETY: the path ends with a NUL, the kernel writes at most what the buffer takes, and the descriptor is ours.
    unsafe {
        let (open, path) = (libc::SYS_open as usize, path.as_ptr() as usize);
        let fd = syscall6(open, path, libc::O_CLOEXEC as usize, 0, 0, 0, 0);
        if is_err(fd) {
            return all;
        }
        loop {
            let (at, len) = (part.as_mut_ptr() as usize, part.len());
            let n = syscall6(read as usize, fd as usize, at, len, 0, 0, 0);
            if n <= 0 {
                break;
            }
            all.extend_from_slice(&part[..n as usize]);
        }
        syscall6(libc::SYS_close as usize, fd as usize, 0, 0, 0, 0, 0);
    }
    all
}
