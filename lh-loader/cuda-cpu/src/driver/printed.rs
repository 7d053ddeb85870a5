//! What kernels print. A driver writes it where the program waits for them. Whoever has the program's own output takes it from here
//! instead, by what NVIDIA's driver has not got, and can keep it over a restart.

use super::{driver, lock, Driver};
use std::ffi::c_int;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering::*};

/// How many bytes are to be written now. Whoever takes them sets it to 0 at first.
#[no_mangle]
#[allow(non_upper_case_globals)]
pub static splitproc_cuda_due: AtomicUsize = AtomicUsize::new(NOBODY);
/// Nobody takes them: they are written here.
const NOBODY: usize = usize::MAX;

/// What has not been written yet.
#[derive(Default)]
pub struct Printed {
    /// The program has waited since.
    due: Vec<u8>,
    /// It has not.
    later: Vec<u8>,
}

impl Driver {
    /// A kernel prints.
    pub fn note_printed(&self, text: &[u8]) {
        lock(&self.printed).later.extend(text);
    }

    /// The program has waited for kernels: what they have printed is to be written.
    pub fn flush(&self) {
        let mut printed = lock(&self.printed);
        let text = std::mem::take(&mut printed.later);
        if text.is_empty() {
            return;
        }
        if splitproc_cuda_due.load(Acquire) != NOBODY {
            printed.due.extend(text);
            splitproc_cuda_due.store(printed.due.len(), Release);
            return;
        }
        drop(printed);
        let mut out = std::io::stdout().lock();
        // A program whose output is closed prints nowhere.
        let _ = out.write_all(&text).and_then(|()| out.flush());
    }
}

/// Takes up to `most` bytes that are due, or those that are not; gives how many.
///
/// # Safety
/// There must be place for so many at `at`.
#[no_mangle]
pub unsafe extern "C" fn splitproc_cuda_take(at: *mut u8, most: usize, due: c_int) -> usize {
    let Ok(driver) = driver() else { return 0 };
    let mut printed = lock(&driver.printed);
    let from = match due {
        0 => &mut printed.later,
        _ => &mut printed.due,
    };
    let n = from.len().min(most);
    // SAFETY: the caller's; there are at least so many.
    unsafe { at.copy_from_nonoverlapping(from.as_ptr(), n) };
    from.drain(..n);
    splitproc_cuda_due.store(printed.due.len(), Release);
    n
}

/// Gives bytes back that were taken, when no kernel has printed since.
///
/// # Safety
/// There must be so many at `at`.
#[no_mangle]
pub unsafe extern "C" fn splitproc_cuda_give(at: *const u8, len: usize, due: c_int) {
    let Ok(driver) = driver() else { return };
    let mut printed = lock(&driver.printed);
    // SAFETY: the caller's.
    let text = unsafe { std::slice::from_raw_parts(at, len) };
    match due {
        0 => printed.later.extend(text),
        _ => printed.due.extend(text),
    }
    splitproc_cuda_due.store(printed.due.len(), Release);
}
