//! What kernels print. It becomes part of the program's own output, at the place where the program waits for it, and a checkpoint
//! in between does not bring it out early: it is kept, and goes back to the half that the program goes on over.
//!
//! NVIDIA's driver writes it by itself. There the program's output goes first.

use super::lower;
use crate::plugin::{self, Call};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::*};
use std::sync::Mutex;

/// What only our own CPU device has: how many bytes are due; `size_t (char *, size_t most, int due)`;
/// `void (const char *, size_t, int due)`.
static DUE: AtomicPtr<AtomicUsize> = AtomicPtr::new(core::ptr::null_mut());
static TAKE: AtomicUsize = AtomicUsize::new(0);
static GIVE: AtomicUsize = AtomicUsize::new(0);

/// At a cut: what is due, and what is not.
static KEPT: Mutex<[Vec<u8>; 2]> = Mutex::new([Vec::new(), Vec::new()]);

extern "C" {
    static stdout: *mut libc::FILE;
}

/// Looks the functions up; from now on the device writes nothing itself.
pub fn resolve(half: usize) {
    let all = [
        c"splitproc_cuda_due",
        c"splitproc_cuda_take",
        c"splitproc_cuda_give",
    ];
    let [due, take, give] = all.map(|name| plugin::symbol(half, name));
    DUE.store(due as *mut AtomicUsize, Relaxed);
    TAKE.store(take, Relaxed);
    GIVE.store(give, Relaxed);
    // SAFETY: the device's word, which stays as long as it does.
    if let Some(due) = unsafe { DUE.load(Relaxed).as_ref() } {
        due.store(0, Release);
    }
}

/// Is anything due? Inside the gate, for a restart brings another word.
#[inline]
pub fn due() -> bool {
    // SAFETY: as in `resolve`.
    unsafe { DUE.load(Relaxed).as_ref() }.is_some_and(|due| due.load(Acquire) != 0)
}

/// Takes what is due, or what is not; inside the gate.
fn take(which: bool) -> Vec<u8> {
    let mut all = Vec::new();
    let mut part = [0_u8; 4096];
    let function = TAKE.load(Relaxed);
    if function == 0 {
        return all;
    }
    loop {
        let args = [part.as_mut_ptr() as u64, part.len() as u64, which.into()];
        // SAFETY: the function has this type; the part is so long.
        let n = unsafe { lower::own(function, &args) } as usize;
        all.extend(&part[..n]);
        if n < part.len() {
            return all;
        }
    }
}

fn write(text: &[u8]) {
    // SAFETY: bytes that are there, and the C library's stream.
    unsafe {
        libc::fwrite(text.as_ptr().cast(), 1, text.len(), stdout);
        libc::fflush(stdout);
    }
}

/// The program has come out of a call after which something was due. It is written outside the gate, for it may have to wait for
/// a reader.
#[cold]
pub fn out() {
    let inside = plugin::enter(Call::MustComplete);
    if inside.nested() {
        return;
    }
    let text = take(true);
    drop(inside);
    write(&text);
}

/// A wait begins in which the driver may write: after what the program has printed.
pub fn begin_wait() {
    if TAKE.load(Relaxed) == 0 {
        plugin::flush_output();
    }
}

/// Keeps what is there, when no kernel runs any more and the gate is closed.
pub fn keep() {
    begin_wait();
    *KEPT.lock().unwrap_or_else(|e| e.into_inner()) = [true, false].map(take);
}

/// Gives it back, to this half or to a fresh one.
pub fn give_back() {
    let mut kept = KEPT.lock().unwrap_or_else(|e| e.into_inner());
    let give = GIVE.load(Relaxed);
    for (text, which) in kept.iter_mut().zip([true, false]) {
        let text = std::mem::take(text);
        if text.is_empty() {
            continue;
        }
        let args = [text.as_ptr() as u64, text.len() as u64, which.into()];
        match give {
            // Another kind of device.
            0 => write(&text),
            // SAFETY: the function has this type; the text is so long.
            _ => _ = unsafe { lower::own(give, &args) },
        }
    }
}
