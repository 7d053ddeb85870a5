//! Whose rank a process belongs to, however it was executed.
//!
//! A rank's children are restarted with it, so the names of their images say whose they are. A forked child has its parent's
//! memory. One that executes a program may give it any environment, without a launcher's variables: so a variable is added
//! in DMTCP's event before an execution, which the new program's process takes out again before that begins.

use dmtcp_glue::abi::PreExec;
use std::ffi::CString;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// `RANK/SIZE/PID`: the rank, the size of its job, and the rank's process.
const NAME: &str = "SPLITPROC_KIN";

/// The rank, and above it the size: a child may be forked while the job is locked. 0: not known.
static PLACE: AtomicU64 = AtomicU64::new(0);
/// The rank's process, this one or an ancestor.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// The process starts: is it a rank's child?
pub fn begin() {
    let Ok(text) = std::env::var(NAME) else {
        return;
    };
    // The program has not begun, and DMTCP's own thread does not look at the environment meanwhile.
    std::env::remove_var(NAME);
    let mut numbers = text.split('/').map(|n| n.parse::<u32>().ok());
    let mut number = || numbers.next().flatten();
    if let (Some(rank), Some(size), Some(process)) = (number(), number(), number()) {
        set(rank, size, process);
    }
}

fn set(rank: u32, size: u32, process: u32) {
    PROCESS.store(process, Ordering::Relaxed);
    PLACE.store(u64::from(size) << 32 | u64::from(rank), Ordering::Relaxed);
}

/// This process has started MPI: it is a rank, if it is not a rank's child with an MPI job of its own.
pub fn becomes(rank: u32, size: u32) {
    if !child() {
        set(rank, size, std::process::id());
    }
}

/// The rank that this process is, or is a child of, and the size of its job, once that has started MPI.
pub fn rank_and_size() -> Option<(u32, u32)> {
    let place = PLACE.load(Ordering::Relaxed);
    (place != 0).then_some((place as u32, (place >> 32) as u32))
}

/// Is this process a child of a rank's, of any degree?
pub fn child() -> bool {
    rank_and_size().is_some() && PROCESS.load(Ordering::Relaxed) != std::process::id()
}

/// The process is about to execute another program, which is told.
///
/// # Safety
/// `exec` must be DMTCP's.
pub unsafe fn hand_on(exec: &PreExec) {
    let Some((rank, size)) = rank_and_size() else {
        return;
    };
    let process = PROCESS.load(Ordering::Relaxed);
    let Ok(text) = CString::new(format!("{NAME}={rank}/{size}/{process}")) else {
        return;
    };
    // SAFETY: DMTCP's copy of the environment has so much room, and ends with a null; the string is never freed.
    unsafe {
        let mut n = 0;
        while !(*exec.envp.add(n)).is_null() {
            n += 1;
        }
        if n + 1 < exec.max_env {
            *exec.envp.add(n) = text.into_raw();
            *exec.envp.add(n + 1) = core::ptr::null();
        }
    }
}
