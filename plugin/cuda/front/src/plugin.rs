//! libsplitproc.so, which has the gate, the crossing and the host: what this library uses of it, and it of this one.

use crate::{contents, cut, forks, graph, lower, replay};
use core::ffi::{c_char, CStr};
use cuda_spec::joint::{heard, say, Core, Front, Function, Said};
use std::ptr::null;
use std::sync::atomic::{AtomicPtr, Ordering::*};
use std::time::Duration;

/// `ld.so` calls this before the program, or the library that needs this one, can call anything here.
#[used]
#[link_section = ".init_array"]
static INIT: extern "C" fn() = init;

static CORE: AtomicPtr<Core> = AtomicPtr::new(core::ptr::null_mut());

/// libsplitproc.so's function by which each library gets the other's.
type Join = extern "C" fn(&'static Front) -> &'static Core;

extern "C" fn init() {
    // SAFETY: the name is that of a function of this type, in a library that is built with this one.
    let join = unsafe {
        let found = libc::dlsym(libc::RTLD_DEFAULT, c"splitproc_cuda".as_ptr());
        core::mem::transmute::<*mut libc::c_void, Option<Join>>(found)
    };
    if let Some(join) = join {
        CORE.store(join(&FRONT) as *const Core as *mut Core, Release);
        forks::watch();
    }
}

#[inline(always)]
fn plugin() -> &'static Core {
    // SAFETY: what `init` stored stays.
    unsafe { CORE.load(Relaxed).as_ref() }.unwrap_or_else(|| alone())
}

#[cold]
#[inline(never)]
fn alone() -> ! {
    lh_loader::die!(
        127,
        "this is splitproc's front of CUDA, which works where libsplitproc.so is loaded: start the program by splitproc launch \
         or dmtcp_launch, or take the fronts' folder out of LD_LIBRARY_PATH"
    )
}

static FRONT: Front = Front {
    active,
    wait_at_most,
    wait_for_captures,
    open_captures,
    presuspend,
    stopped,
    resume,
    restart,
    noted,
};

extern "C" fn active() -> bool {
    lower::active()
}

extern "C" fn wait_at_most(seconds: u64) {
    cut::wait_at_most(seconds);
}

extern "C" fn wait_for_captures(milliseconds: u64) {
    graph::wait_for_captures(Duration::from_millis(milliseconds));
}

extern "C" fn open_captures() -> usize {
    graph::open_captures()
}

extern "C" fn presuspend() -> Said {
    say(cut::presuspend())
}

extern "C" fn stopped() {
    // SAFETY: the core says so.
    unsafe { contents::refresh() }
}

extern "C" fn resume() {
    cut::resume();
}

extern "C" fn restart() -> Said {
    say(replay::restart())
}

extern "C" fn noted(note: u32) -> *const c_char {
    lower::noted(note).map_or(null(), CStr::as_ptr)
}

/// What a checkpoint may do with a thread that is inside.
#[derive(Clone, Copy)]
pub enum Call {
    /// It must be waited for.
    MustComplete,
    /// It may be saved as if it had not called yet.
    Reexecutable,
}

/// A thread is inside the gate until this is dropped.
#[must_use]
pub struct Inside(u8);

/// Goes in; waits while the gate is closed. Nested calls always go in.
#[inline]
pub fn enter(call: Call) -> Inside {
    Inside((plugin().enter)(matches!(call, Call::Reexecutable)))
}

impl Inside {
    /// Is it in a call within another one?
    pub fn nested(&self) -> bool {
        self.0 != 0
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        (plugin().leave)(self.0);
    }
}

/// Lets threads in that wait at the closed gate.
pub fn admit() {
    (plugin().admit)();
}

/// Is one of them in a call that must complete?
pub fn has_guests() -> bool {
    (plugin().has_guests)()
}

/// The thread was saved inside this call and is now in a restarted process: every lower-half handle is new, and the call has
/// not happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restarted;

/// Calls a function of the half, which the thread's block notes.
///
/// # Errors
/// [`Restarted`], only inside a gate entered as re-executable: translate all handles and call again.
///
/// # Safety
/// It must be a function of that half that takes these arguments.
#[inline]
pub unsafe fn cross(note: u32, half: usize, f: usize, args: &[u64]) -> Result<u64, Restarted> {
    let mut value = 0;
    // SAFETY: the caller's; a place for the value.
    let done = unsafe { (plugin().cross)(note, half, f, args.as_ptr(), args.len(), &mut value) };
    done.then_some(value).ok_or(Restarted)
}

/// [`cross`] inside a gate entered as must-complete, where no restart can come.
///
/// # Safety
/// As [`cross`], and the gate must be entered so.
#[inline]
pub unsafe fn cross_must(note: u32, half: usize, f: usize, args: &[u64]) -> u64 {
    // SAFETY: the caller's.
    unsafe { (plugin().cross_must)(note, half, f, args.as_ptr(), args.len()) }
}

/// The index of CUDA's lower half.
pub fn half() -> Option<usize> {
    Some((plugin().half)()).filter(|half| *half != usize::MAX)
}

/// Looks a function of a lower half up; 0 if it has none of this name.
pub fn symbol(half: usize, name: &CStr) -> usize {
    // SAFETY: the half is there, and the name a C string.
    unsafe { (plugin().symbol)(half, name.as_ptr()) }
}

/// Restarts so far.
#[inline]
pub fn generation() -> u32 {
    (plugin().generation)()
}

/// Writes out what the program's streams hold.
pub fn flush() {
    (plugin().flush)();
}

/// Writes out what the program has printed on its standard output, unless another thread is at it.
pub fn flush_output() {
    (plugin().flush_output)();
}

/// Names device memory, as `lhinfo::Piece`s, that the host is to copy by itself while it writes the image. False: this host
/// saves what is in the process and nothing else.
///
/// # Errors
/// There is too little memory to copy it through; the message has the figures.
pub fn save_devices(pieces: &[u8]) -> Result<bool, String> {
    let mut does = false;
    // SAFETY: bytes that are there, and a place for the answer; what is said is heard once.
    unsafe {
        heard((plugin().save_devices)(
            pieces.as_ptr(),
            pieces.len(),
            &mut does,
        ))
    }?;
    Ok(does)
}

/// In a restart: has the host fill this device memory, the same that it saved.
///
/// # Errors
/// The image is damaged, or the driver refuses.
pub fn fill_devices(pieces: &[u8]) -> Result<(), String> {
    // SAFETY: bytes that are there; what is said is heard once.
    unsafe { heard((plugin().fill_devices)(pieces.as_ptr(), pieces.len())) }
}

/// Starts the thread that runs what a lower half's own threads call of the upper half, once.
pub fn serve() {
    (plugin().serve)();
}

/// Calls `function` as the upper half, whatever thread this is.
///
/// # Safety
/// `function` must take these words.
pub unsafe fn upper(function: Function, words: [u64; 6]) -> u64 {
    // SAFETY: the caller's; the words are read before it returns.
    unsafe { (plugin().upper)(function, &words) }
}
