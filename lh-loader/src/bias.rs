//! The MPI library's mutexes, biased to the one thread that calls it.
//!
//! The library runs at `MPI_THREAD_MULTIPLE`, for the plugin's helper must be able to call it while a thread of the
//! program is blocked in it, so each of its functions takes a lock. But nearly always one thread calls it, from one
//! checkpoint to the next. While the bias is on that thread, the owner, takes a mutex by a plain store: it marks the
//! mutex as held, then looks whether the bias is still on. Whoever takes the bias away changes the mode and makes all
//! threads pass a fence (`membarrier`), so either the owner sees the mode, or its mark is seen. Everybody else takes the
//! mutex itself first and then waits for the mark to go.
//!
//! The mark lies in the part of a mutex that libc uses in robust ones only. Mutexes of other kinds are left alone.
//!
//! This code runs on upper-half threads, on the shared FS or on a borrowed TCB: it uses no TLS and allocates nothing.

use crate::arch::syscall6;
use core::ffi::c_int;
use core::mem::transmute;
use core::sync::atomic::{compiler_fence, AtomicU32, AtomicUsize, Ordering::*};

/// The library is being started, by one thread, which takes the mutexes themselves.
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
/// The FS base of the owner, and of the helper; at first, of the thread that starts the library.
static OWNER: AtomicUsize = AtomicUsize::new(0);
static HELPER: AtomicUsize = AtomicUsize::new(0);
/// That of a thread that makes calls beside the helper; 0: there is none.
static ASSISTANT: AtomicUsize = AtomicUsize::new(0);
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
pub struct Mutex {
    lock: [u32; 4],
    /// 0: an ordinary one.
    kind: u32,
    spins: u32,
    /// Robust mutexes are in a list; in others this is free, and 0 from the start.
    mark: AtomicU32,
}

const _: () = assert!(size_of::<Mutex>() <= size_of::<libc::pthread_mutex_t>());

/// What takes a mutex, or gives it back.
pub type Function = unsafe extern "C" fn(*mut Mutex) -> c_int;

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
///
/// # Safety
/// As for that function.
pub unsafe extern "C" fn lock(m: *mut Mutex) -> c_int {
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
///
/// # Safety
/// As for that function.
pub unsafe extern "C" fn unlock(m: *mut Mutex) -> c_int {
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
    let first = |who: &AtomicUsize| {
        let known = who.compare_exchange(0, me, SeqCst, SeqCst);
        known.is_ok() || known == Err(me)
    };
    let mine = || first(&OWNER);
    match MODE.load(SeqCst) {
        WANTED if mine() => {
            // If it fails the helper has come first, or another thread.
            let _ = MODE.compare_exchange(WANTED, ON, SeqCst, SeqCst);
            // SAFETY: the caller's.
            return unsafe { lock(m) };
        }
        // A thread of the library's own is none that the bias could ever be on.
        OFF if first(&HELPER) => {}
        PAUSED if [&HELPER, &ASSISTANT].map(|t| t.load(SeqCst)).contains(&me) => {}
        PAUSED | ENDING if mine() => {}
        NEVER => {}
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

/// Did the kernel do it?
fn membarrier(command: usize) -> bool {
    let call = libc::SYS_membarrier as usize;
    // SAFETY: membarrier has no memory arguments.
    unsafe { syscall6(call, command, 0, 0, 0, 0, 0) == 0 }
}

/// Sets libc's functions, before ours are called. False: this kernel, or a filter of system calls, has no fence for us, so
/// ours must not be called.
pub fn begin(real_lock: usize, real_unlock: usize) -> bool {
    LOCK.store(real_lock, Relaxed);
    UNLOCK.store(real_unlock, Relaxed);
    membarrier(REGISTER_PRIVATE_EXPEDITED)
}

/// From now on a thread of the program calls the library, and the helper does not. While there is an assistant, who may
/// be inside and has taken the mutex itself, the bias stays off, until the helper has come and gone again.
pub fn want() {
    if ASSISTANT.load(SeqCst) == 0 {
        change(&[OFF, PAUSED], WANTED);
    }
}

/// The calling thread, the helper, will call the library.
pub fn pause() {
    HELPER.store(me(), SeqCst);
    change(&[WANTED, ON], PAUSED);
    membarrier(PRIVATE_EXPEDITED);
}

/// The calling thread will call the library while the helper does, or will not any more.
pub fn assist(on: bool) {
    ASSISTANT.store(if on { me() } else { 0 }, SeqCst);
}

fn change(from: &[u32], to: u32) {
    for mode in from {
        let _ = MODE.compare_exchange(*mode, to, SeqCst, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::UnsafeCell;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    /// What the mutex guards: two numbers that are one.
    struct Shared {
        mutex: UnsafeCell<libc::pthread_mutex_t>,
        numbers: UnsafeCell<[u64; 2]>,
        torn: AtomicBool,
        end: AtomicBool,
    }

    // SAFETY: the numbers are changed under the mutex.
    unsafe impl Sync for Shared {}

    impl Shared {
        fn add(&self) {
            // SAFETY: as above; they are read as they are in memory.
            unsafe {
                assert_eq!(lock(self.mutex.get().cast()), 0);
                let [a, b] = [0, 1].map(|i| (self.numbers.get() as *mut u64).add(i));
                let (before, other) = (a.read_volatile(), b.read_volatile());
                self.torn.fetch_or(before != other, Relaxed);
                a.write_volatile(before + 1);
                b.write_volatile(other + 1);
                assert_eq!(unlock(self.mutex.get().cast()), 0);
            }
        }
    }

    /// The owner goes on all the time; the helper comes and goes, now and then with an assistant; then other threads come.
    #[test]
    fn one_at_a_time() {
        const TURNS: u64 = 300;
        const ASSISTED: u64 = 10;
        const STAYS: u64 = 2_000;
        const OTHERS: u64 = 2;
        const MANY: u64 = 20_000;
        let shared = &Shared {
            mutex: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
            numbers: UnsafeCell::new([0; 2]),
            torn: AtomicBool::new(false),
            end: AtomicBool::new(false),
        };
        let functions = [libc::pthread_mutex_lock, libc::pthread_mutex_unlock];
        let [real_lock, real_unlock] = functions.map(|f| f as *const () as usize);
        assert!(begin(real_lock, real_unlock));
        want();
        let seen = thread::scope(|s| {
            let owner = s.spawn(|| {
                let mut n = 0;
                while !shared.end.load(Relaxed) {
                    shared.add();
                    n += 1;
                }
                n
            });
            while OWNER.load(SeqCst) == 0 {
                thread::yield_now();
            }
            let mut on = 0;
            for turn in 0..TURNS {
                pause();
                shared.add();
                if turn % ASSISTED == 0 {
                    let assistant = s.spawn(|| {
                        assist(true);
                        (0..STAYS).for_each(|_| shared.add());
                        // The helper has given up by now, at times.
                        assist(false);
                    });
                    if turn % (2 * ASSISTED) == 0 {
                        while ASSISTANT.load(SeqCst) == 0 && !assistant.is_finished() {
                            thread::yield_now();
                        }
                        want();
                    }
                    assistant.join().unwrap();
                }
                want();
                for _ in 0..turn % 7 {
                    thread::yield_now();
                }
                on += u64::from(MODE.load(SeqCst) == ON);
            }
            let kept = MODE.load(SeqCst) != NEVER;
            let others: Vec<_> = (0..OTHERS)
                .map(|_| s.spawn(|| (0..MANY).for_each(|_| shared.add())))
                .collect();
            others.into_iter().for_each(|t| t.join().unwrap());
            shared.end.store(true, Relaxed);
            let ended = MODE.load(SeqCst) == NEVER;
            (owner.join().unwrap(), on, kept, ended)
        });
        // SAFETY: nobody else is left.
        let numbers = unsafe { *shared.numbers.get() };
        assert_eq!(
            numbers,
            [seen.0 + TURNS + TURNS / ASSISTED * STAYS + OTHERS * MANY; 2]
        );
        assert!(!shared.torn.load(Relaxed), "two were inside at once");
        assert!(seen.1 > 0, "the bias was never on");
        assert!(seen.2, "helper or assistant ended it");
        assert!(seen.3, "others did not end it");
    }
}
