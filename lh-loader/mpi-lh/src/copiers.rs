//! Threads of a CUDA half that copy device memory for the host, while the program's threads are stopped (see
//! `lhinfo::Copier`).
//!
//! Each has a pinned staging buffer and works on its own stream, the per-thread default one, so that copies run side by
//! side. What is there between a checkpoint's begin and its end is so many buffers, whatever the device holds.

use crate::{look, sys};
use core::ffi::{c_void, CStr};
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use lh_loader::futex;
use lh_loader::lhinfo::{
    Copier, Copiers, Half, COPIERS, COPIER_IDLE, COPIER_REPLY, COPY_BEGIN, COPY_END, COPY_READ,
    COPY_UNTOUCHED, COPY_WRITE, COPY_ZERO, STAGING,
};

/// A copier's stack: drivers go deep.
const STACK: usize = 1 << 20;

/// `CUDA_ERROR_INVALID_VALUE`, `CUDA_ERROR_OUT_OF_MEMORY` and `CUDA_ERROR_NOT_FOUND`.
const INVALID_VALUE: i32 = 1;
const OUT_OF_MEMORY: i32 = 2;
const NOT_FOUND: i32 = 500;
/// `CU_MEMHOSTALLOC_PORTABLE`: for all contexts.
const PORTABLE: u64 = 1;
/// `CU_STREAM_PER_THREAD`.
const OWN_STREAM: u64 = 2;

static ALL: Copiers = [const {
    Copier {
        state: AtomicU32::new(COPIER_IDLE),
        op: AtomicU32::new(0),
        context: AtomicU64::new(0),
        device: AtomicU64::new(0),
        len: AtomicU64::new(0),
        staging: AtomicUsize::new(0),
        result: AtomicI32::new(0),
    }
}; COPIERS];

/// Copiers whose threads are there.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Starts the first copier, and says in the half's entry where they are.
///
/// # Safety
/// `half` must be this half's entry, which nobody else reads now.
pub unsafe fn begin(half: *mut Half) {
    if start(1) {
        // SAFETY: the caller's.
        unsafe { (*half).copiers = (&raw const ALL) as usize };
    }
}

/// Sees to it that so many threads are there.
fn start(count: usize) -> bool {
    let had = THREADS.load(Ordering::Relaxed);
    for copier in ALL.iter().take(count).skip(had) {
        // SAFETY: this runs on a thread of the half's; the copier is static.
        let failed = unsafe {
            let mut attr: libc::pthread_attr_t = core::mem::zeroed();
            libc::pthread_attr_init(&mut attr);
            libc::pthread_attr_setstacksize(&mut attr, STACK);
            libc::pthread_attr_setdetachstate(&mut attr, libc::PTHREAD_CREATE_DETACHED);
            let mut thread: libc::pthread_t = 0;
            let argument = (&raw const *copier).cast_mut().cast();
            let code = libc::pthread_create(&mut thread, &attr, serve, argument);
            libc::pthread_attr_destroy(&mut attr);
            code != 0
        };
        if failed {
            return false;
        }
        THREADS.fetch_add(1, Ordering::Relaxed);
    }
    true
}

extern "C" fn serve(copier: *mut c_void) -> *mut c_void {
    // SAFETY: `start` passes one of the static copiers; all its fields are atomic.
    let copier = unsafe { &*copier.cast::<Copier>() };
    loop {
        match copier.state.load(Ordering::Acquire) {
            waiting @ (COPIER_IDLE | COPIER_REPLY) => futex::wait_while(&copier.state, waiting),
            _ => {
                let result = answer(copier).err().unwrap_or(0);
                copier.result.store(result, Ordering::Relaxed);
                sys::post(&copier.state, COPIER_REPLY);
            }
        }
    }
}

/// Calls a function of the driver's.
///
/// # Safety
/// It must take these words, and `name` be its name.
unsafe fn driver(name: &CStr, words: [u64; 4]) -> Result<(), i32> {
    type Function = unsafe extern "C" fn(u64, u64, u64, u64) -> i32;
    // SAFETY: the caller's; a function that takes fewer words leaves the others.
    unsafe {
        let at = look(name);
        if at.is_null() {
            return Err(NOT_FOUND);
        }
        let function: Function = core::mem::transmute(at);
        match function(words[0], words[1], words[2], words[3]) {
            0 => Ok(()),
            code => Err(code),
        }
    }
}

/// Has the driver's library a word to say about memory, which only our own CPU device has? `None`: no.
fn touched(at: u64, len: u64) -> Option<bool> {
    // SAFETY: the function takes an address and a length.
    match unsafe { driver(c"splitproc_cuda_touched", [at, len, 0, 0]) } {
        Ok(()) => Some(false),
        Err(NOT_FOUND) => None,
        Err(_) => Some(true),
    }
}

fn answer(copier: &Copier) -> Result<(), i32> {
    let word = |w: &AtomicU64| w.load(Ordering::Relaxed);
    let (device, len) = (word(&copier.device), word(&copier.len));
    let staging = copier.staging.load(Ordering::Relaxed) as u64;
    let op = copier.op.load(Ordering::Relaxed);
    // SAFETY: functions of the driver's with what they take: places for results are live, staging buffers are its own, and
    // it checks all addresses of devices.
    unsafe {
        if op != COPY_END {
            driver(c"cuCtxSetCurrent", [word(&copier.context), 0, 0, 0])?;
        }
        match op {
            COPY_BEGIN => {
                if !start(len as usize) {
                    return Err(OUT_OF_MEMORY);
                }
                if staging == 0 {
                    let mut made = 0_u64;
                    let place = &raw mut made as u64;
                    driver(c"cuMemHostAlloc", [place, STAGING as u64, PORTABLE, 0])?;
                    copier.staging.store(made as usize, Ordering::Relaxed);
                }
                return Ok(());
            }
            COPY_END if staging == 0 => return Ok(()),
            COPY_END => {
                copier.staging.store(0, Ordering::Relaxed);
                return driver(c"cuMemFreeHost", [staging, 0, 0, 0]);
            }
            COPY_READ | COPY_WRITE if len > STAGING as u64 || staging == 0 => {
                return Err(INVALID_VALUE);
            }
            COPY_READ if touched(device, len) == Some(false) => return Err(COPY_UNTOUCHED),
            COPY_READ => driver(c"cuMemcpyDtoHAsync_v2", [staging, device, len, OWN_STREAM])?,
            COPY_WRITE => driver(c"cuMemcpyHtoDAsync_v2", [device, staging, len, OWN_STREAM])?,
            // The CPU device's new memory is zero, and stays untouched.
            COPY_ZERO if touched(device, len) == Some(false) => return Ok(()),
            COPY_ZERO => driver(c"cuMemsetD8Async", [device, 0, len, OWN_STREAM])?,
            _ => return Err(INVALID_VALUE),
        }
        driver(c"cuStreamSynchronize", [OWN_STREAM, 0, 0, 0])
    }
}
