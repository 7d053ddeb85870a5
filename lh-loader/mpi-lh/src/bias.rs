//! The MPI library's mutexes, biased to the one thread that calls it.
//!
//! The library runs at `MPI_THREAD_MULTIPLE`, for the plugin's helper must be able to call it while a thread of the
//! program is blocked in it, so each of its functions takes a lock. But nearly always one thread calls it, from one
//! checkpoint to the next. While the bias is on that thread, the owner, takes a mutex by a plain store: it marks the
//! mutex as held, then looks whether the bias is still on. Whoever takes the bias away changes the mode and makes all
//! threads pass a fence (`membarrier`), so either the owner sees the mode, or its mark is seen. Everybody else takes the
//! mutex itself first and then waits for the mark to go.
//!
//! The mark lies in the part of a mutex that libc uses in robust ones only. Mutexes of other kinds, and libraries that
//! hand theirs to anything but lock and unlock (as conditions do), are left alone.
//!
//! This code runs on upper-half threads, on the shared FS or on a borrowed TCB: it uses no TLS and allocates nothing.

use crate::got::Imports;
use core::ffi::{c_int, CStr};
use core::mem::transmute;
use core::sync::atomic::{compiler_fence, AtomicU32, AtomicUsize, Ordering::*};
use lh_loader::arch::syscall6;

/// All threads take the mutexes themselves.
const OFF: u32 = 0;
/// The owner's next call turns the bias on.
const WANTED: u32 = 1;
/// The owner takes mutexes by marking them.
const ON: u32 = 2;
/// The helper makes calls.
const PAUSED: u32 = 3;
/// Several threads of the program call the library. The owner may not know yet.
const ENDING: u32 = 4;
/// It knows: the bias will not be on again.
const NEVER: u32 = 5;

static MODE: AtomicU32 = AtomicU32::new(OFF);
/// The FS base of the owner, and of the helper.
static OWNER: AtomicUsize = AtomicUsize::new(0);
static HELPER: AtomicUsize = AtomicUsize::new(0);
/// libc's functions.
static LOCK: AtomicUsize = AtomicUsize::new(0);
static UNLOCK: AtomicUsize = AtomicUsize::new(0);

/// membarrier's commands, as in linux/membarrier.h.
const PRIVATE_EXPEDITED: usize = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: usize = 1 << 4;

/// How often a mark is looked at before the processor is offered to others.
const PATIENCE: u32 = 100;

/// What we know of a `pthread_mutex_t`.
#[repr(C)]
struct Mutex {
    lock: [u32; 4],
    /// 0: an ordinary one.
    kind: u32,
    spins: u32,
    /// Robust mutexes are in a list; in others this is free, and 0 from the start.
    mark: AtomicU32,
}

const _: () = assert!(size_of::<Mutex>() <= size_of::<libc::pthread_mutex_t>());

type Function = unsafe extern "C" fn(*mut Mutex) -> c_int;

/// The thread that runs, as its FS base names it.
#[inline(always)]
fn me() -> usize {
    let at: usize;
    // SAFETY: the TCB's first word is its own address.
    unsafe {
        core::arch::asm!("mov {0}, qword ptr fs:[0]", out(reg) at,
            options(nostack, pure, readonly, preserves_flags));
    }
    at
}

/// In the place of `pthread_mutex_lock`.
unsafe extern "C" fn lock(m: *mut Mutex) -> c_int {
    // SAFETY: the caller's mutex.
    let it = unsafe { &*m };
    if me() == OWNER.load(Relaxed) && it.kind == 0 {
        it.mark.store(1, Relaxed);
        compiler_fence(SeqCst);
        if MODE.load(Relaxed) == ON {
            return 0;
        }
        it.mark.store(0, Release);
    }
    // SAFETY: as above.
    unsafe { lock_slowly(m) }
}

/// In the place of `pthread_mutex_unlock`.
unsafe extern "C" fn unlock(m: *mut Mutex) -> c_int {
    // SAFETY: the caller's mutex, which it holds.
    let it = unsafe { &*m };
    if it.mark.load(Relaxed) != 0 && me() == OWNER.load(Relaxed) {
        it.mark.store(0, Release);
        return 0;
    }
    // SAFETY: libc's function.
    unsafe { transmute::<usize, Function>(UNLOCK.load(Relaxed))(m) }
}

#[cold]
#[inline(never)]
unsafe fn lock_slowly(m: *mut Mutex) -> c_int {
    let me = me();
    let mine = || {
        let known = OWNER.compare_exchange(0, me, SeqCst, SeqCst);
        known.is_ok() || known == Err(me)
    };
    match MODE.load(SeqCst) {
        WANTED if mine() => {
            // If it fails the helper has come first, or another thread.
            let _ = MODE.compare_exchange(WANTED, ON, SeqCst, SeqCst);
            // SAFETY: the caller's.
            return unsafe { lock(m) };
        }
        PAUSED if me == HELPER.load(SeqCst) => {}
        PAUSED | ENDING if mine() => {}
        OFF | NEVER => {}
        _ => {
            MODE.store(ENDING, SeqCst);
            membarrier(PRIVATE_EXPEDITED);
            MODE.store(NEVER, SeqCst);
        }
    }
    // SAFETY: libc's function, on the caller's mutex.
    let code = unsafe { transmute::<usize, Function>(LOCK.load(Relaxed))(m) };
    // SAFETY: as above.
    let mark = unsafe { &(*m).mark };
    let mut looks = 0u32;
    while code == 0 && me != OWNER.load(Relaxed) && mark.load(Acquire) != 0 {
        looks += 1;
        if looks.is_multiple_of(PATIENCE) {
            // SAFETY: no arguments.
            unsafe { syscall6(libc::SYS_sched_yield as usize, 0, 0, 0, 0, 0, 0) };
        }
        core::hint::spin_loop();
    }
    code
}

fn membarrier(command: usize) {
    let call = libc::SYS_membarrier as usize;
    // SAFETY: membarrier has no memory arguments.
    unsafe { syscall6(call, command, 0, 0, 0, 0, 0) };
}

/// The plugin's helper, which is the calling thread, will call the library (0); it will not any more (1): from now on the
/// program's thread does.
#[no_mangle]
extern "C" fn splitproc_bias(on: c_int) {
    let change = |from: &[u32], to| {
        for mode in from {
            let _ = MODE.compare_exchange(*mode, to, SeqCst, SeqCst);
        }
    };
    if on != 0 {
        return change(&[OFF, PAUSED], WANTED);
    }
    HELPER.store(me(), SeqCst);
    change(&[WANTED, ON], PAUSED);
    membarrier(PRIVATE_EXPEDITED);
}

/// Leads the calls of the library that a function lies in to our own.
///
/// # Safety
/// The library has been opened, and has not been called.
pub unsafe fn begin(function: usize) {
    let Some(imports) = Imports::of(function) else {
        return;
    };
    let strange: [&CStr; 4] = [
        c"pthread_mutex_trylock",
        c"pthread_mutex_timedlock",
        c"pthread_cond_wait",
        c"pthread_cond_timedwait",
    ];
    if strange.iter().any(|name| imports.has(name)) {
        return;
    }
    // SAFETY: libc has both, and ours do what they do.
    unsafe {
        for (name, real, ours) in [
            (c"pthread_mutex_lock", &LOCK, lock as Function),
            (c"pthread_mutex_unlock", &UNLOCK, unlock as Function),
        ] {
            real.store(
                libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) as usize,
                Relaxed,
            );
            imports.lead(name, ours as usize);
        }
    }
    membarrier(REGISTER_PRIVATE_EXPEDITED);
}
