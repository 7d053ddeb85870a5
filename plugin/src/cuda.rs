//! The CUDA front, which is a library of its own (`plugin/cuda/front`): its code is in the images of programs that use it, and in
//! no others. It is there once it has called `splitproc_cuda`.

use crate::gate::{self, Call, Inside};
use crate::{block, crossing, exports, host, service, streams};
use core::ffi::{c_char, CStr};
use cuda_spec::joint::{heard, say, Core, Front, Function, Said};
use std::sync::atomic::{AtomicPtr, Ordering::*};
use std::time::Duration;

static FRONT: AtomicPtr<Front> = AtomicPtr::new(core::ptr::null_mut());

/// The front is loaded, and stays.
#[no_mangle]
pub extern "C" fn splitproc_cuda(front: &'static Front) -> &'static Core {
    FRONT.store(front as *const Front as *mut Front, Release);
    &CORE
}

fn front() -> Option<&'static Front> {
    // SAFETY: what was stored is static.
    unsafe { FRONT.load(Acquire).as_ref() }
}

/// Has the program initialised CUDA?
pub fn active() -> bool {
    front().is_some_and(|f| (f.active)())
}

/// Sets how long a checkpoint waits for what streams do, in seconds.
pub fn wait_at_most(seconds: u64) {
    if let Some(f) = front() {
        (f.wait_at_most)(seconds);
    }
}

/// Waits until no stream is captured, for so long at the most.
pub fn wait_for_captures(limit: Duration) {
    if let Some(f) = front() {
        (f.wait_for_captures)(limit.as_millis() as u64);
    }
}

/// How many streams are captured.
pub fn open_captures() -> usize {
    front().map_or(0, |f| (f.open_captures)())
}

/// Prepares what devices hold to be saved. On an error the program just goes on.
///
/// # Errors
/// Why it can't be now.
pub fn presuspend() -> Result<(), String> {
    // SAFETY: what the front says is heard once.
    front().map_or(Ok(()), |f| unsafe { heard((f.presuspend)()) })
}

/// The program's threads are stopped, for a host that stops them after the cut: what they wrote since is saved too.
pub fn stopped() {
    if let Some(f) = front() {
        (f.stopped)();
    }
}

/// The program goes on.
pub fn resume() {
    if let Some(f) = front() {
        (f.resume)();
    }
}

/// Makes all that the program had again, in a fresh half.
///
/// # Errors
/// What could not be made again.
pub fn restart() -> Result<(), String> {
    // SAFETY: what the front says is heard once.
    front().map_or(Ok(()), |f| unsafe { heard((f.restart)()) })
}

/// The name of a function that a thread's block notes.
pub fn noted(note: u32) -> Option<&'static str> {
    let name = (front()?.noted)(note);
    // SAFETY: a name is static, and a C string.
    (!name.is_null())
        .then(|| unsafe { CStr::from_ptr(name) })?
        .to_str()
        .ok()
}

static CORE: Core = Core {
    enter,
    leave,
    admit,
    has_guests,
    generation: exports::splitproc_generation,
    half,
    symbol,
    cross,
    cross_must,
    flush,
    flush_output,
    save_devices,
    fill_devices,
    serve,
    upper,
};

extern "C" fn enter(reexecutable: bool) -> u8 {
    let call = match reexecutable {
        true => Call::Reexecutable,
        false => Call::MustComplete,
    };
    gate::enter_stream(call).kept()
}

extern "C" fn leave(before: u8) {
    gate::leave_stream(Inside::again(before));
}

extern "C" fn admit() {
    gate::admit_to_streams();
}

extern "C" fn has_guests() -> bool {
    gate::has_guests()
}

extern "C" fn half() -> usize {
    crossing::half_named(b"cuda").unwrap_or(usize::MAX)
}

unsafe extern "C" fn symbol(half: usize, name: *const c_char) -> usize {
    // SAFETY: the front gives a C string.
    crossing::sym(half, unsafe { CStr::from_ptr(name) })
}

/// What the thread calls next.
fn note(function: u32) {
    // SAFETY: the block is this thread's own.
    unsafe { (*block::mine()).function.store(function, Relaxed) };
}

unsafe extern "C" fn cross(
    function: u32,
    half: usize,
    f: usize,
    args: *const u64,
    count: usize,
    value: *mut u64,
) -> bool {
    note(function);
    // SAFETY: the front gives so many words that the function takes, and a place for what it returns.
    unsafe {
        let done = crossing::cross(half, f, core::slice::from_raw_parts(args, count));
        done.map(|v| value.write(v)).is_ok()
    }
}

unsafe extern "C" fn cross_must(
    function: u32,
    half: usize,
    f: usize,
    args: *const u64,
    count: usize,
) -> u64 {
    note(function);
    // SAFETY: as in `cross`.
    unsafe { crossing::cross_must(half, f, core::slice::from_raw_parts(args, count)) }
}

extern "C" fn flush() {
    streams::flush();
}

extern "C" fn flush_output() {
    streams::flush_output();
}

unsafe extern "C" fn save_devices(pieces: *const u8, len: usize, does: *mut bool) -> Said {
    // SAFETY: the front gives so many bytes, and a place for the answer.
    unsafe {
        let saved = host::save_devices(core::slice::from_raw_parts(pieces, len));
        say(saved.map(|d| does.write(d)).map_err(|e| e.message))
    }
}

unsafe extern "C" fn fill_devices(pieces: *const u8, len: usize) -> Said {
    // SAFETY: as in `save_devices`.
    let pieces = unsafe { core::slice::from_raw_parts(pieces, len) };
    say(host::fill_devices(pieces).map_err(|e| e.message))
}

extern "C" fn serve() {
    service::start();
}

unsafe extern "C" fn upper(function: Function, words: *const [u64; 6]) -> u64 {
    // SAFETY: the front vouches for the function and its words.
    unsafe { service::upper(function, *words) }
}
