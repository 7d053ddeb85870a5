//! What libsplitproc.so and libsplitproc_cuda.so, which only programs that use CUDA load, call of each other. They are built
//! together, and each has a std of its own: what goes between them is as C has it.

use core::ffi::{c_char, CStr};

/// What libsplitproc.so calls of the front.
#[repr(C)]
pub struct Front {
    /// Has the program initialised CUDA?
    pub active: extern "C" fn() -> bool,
    /// Sets how many seconds a checkpoint waits for what streams do.
    pub wait_at_most: extern "C" fn(u64),
    /// Waits until no stream is captured, for so many milliseconds at the most.
    pub wait_for_captures: extern "C" fn(u64),
    /// How many streams are captured.
    pub open_captures: extern "C" fn() -> usize,
    /// The front's part of the cut.
    pub presuspend: extern "C" fn() -> Said,
    /// The program's threads are stopped, after the cut.
    pub stopped: extern "C" fn(),
    /// The program goes on.
    pub resume: extern "C" fn(),
    /// Makes everything again in a fresh half.
    pub restart: extern "C" fn() -> Said,
    /// The name of a function that a thread's block notes; null: it is none of CUDA's.
    pub noted: extern "C" fn(u32) -> *const c_char,
}

/// What the front calls of libsplitproc.so. Each is what the function of that name there is.
#[repr(C)]
pub struct Core {
    /// `gate::enter`: is the call re-executable? What was before, 0 outside, is given to `leave`.
    pub enter: extern "C" fn(bool) -> u8,
    /// Leaves the gate.
    pub leave: extern "C" fn(u8),
    /// `gate::admit_to_streams`.
    pub admit: extern "C" fn(),
    /// `gate::has_guests`.
    pub has_guests: extern "C" fn() -> bool,
    /// Restarts so far.
    pub generation: extern "C" fn() -> u32,
    /// `crossing::half_named` of this half; `usize::MAX`: there is none.
    pub half: extern "C" fn() -> usize,
    /// `crossing::sym`.
    pub symbol: unsafe extern "C" fn(usize, *const c_char) -> usize,
    /// `crossing::cross`: half, function, so many words. False: restarted. What was called is noted first.
    pub cross: unsafe extern "C" fn(u32, usize, usize, *const u64, usize, *mut u64) -> bool,
    /// `crossing::cross_must`.
    pub cross_must: unsafe extern "C" fn(u32, usize, usize, *const u64, usize) -> u64,
    /// `streams::flush`.
    pub flush: extern "C" fn(),
    /// `streams::flush_output`.
    pub flush_output: extern "C" fn(),
    /// `host::save_devices`: so many bytes, and whether the host does it.
    pub save_devices: unsafe extern "C" fn(*const u8, usize, *mut bool) -> Said,
    /// `host::fill_devices`.
    pub fill_devices: unsafe extern "C" fn(*const u8, usize) -> Said,
    /// `service::start`.
    pub serve: extern "C" fn(),
    /// `service::upper`.
    pub upper: unsafe extern "C" fn(Function, *const [u64; 6]) -> u64,
}

/// A function of the program: up to six words, one back.
pub type Function = unsafe extern "C" fn(u64, u64, u64, u64, u64, u64) -> u64;

/// Why something was not done, in memory of `malloc`; null: it was.
pub type Said = *mut c_char;

/// What was done, or why not.
pub fn say(done: Result<(), String>) -> Said {
    let Err(mut why) = done else {
        return core::ptr::null_mut();
    };
    why.push('\0');
    // SAFETY: the text ends with a NUL.
    unsafe { libc::strdup(why.as_ptr().cast()) }
}

/// What the other library has said.
///
/// # Errors
/// Why it was not done.
///
/// # Safety
/// It must be what [`say`] gave, and is freed.
pub unsafe fn heard(said: Said) -> Result<(), String> {
    if said.is_null() {
        return Ok(());
    }
    // SAFETY: a C string of `strdup`'s, which nobody else has.
    unsafe {
        let why = CStr::from_ptr(said).to_string_lossy().into_owned();
        libc::free(said.cast());
        Err(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_library_says_the_other_hears() {
        for said in [Ok(()), Err("no memory".to_owned())] {
            // SAFETY: it is what `say` gives.
            assert_eq!(unsafe { heard(say(said.clone())) }, said);
        }
    }
}
