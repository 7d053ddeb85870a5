//! Whose turn it is to call an MPI library that only one thread at a time may call.
//!
//! A program that does not ask for `MPI_THREAD_MULTIPLE` has one thread in MPI at a time, and so has the library, started at
//! `MPI_THREAD_SERIALIZED`, where its functions take no locks. But while a checkpoint is prepared the helper and the
//! assistant call it too, also when the program's thread is blocked inside. So there is a lock of ours about the library,
//! and the library's own progress function, through which a blocked thread goes again and again, is led to a place where
//! who holds the lock lets others go first ([`give_way`]): as the library itself does with its lock at
//! `MPI_THREAD_MULTIPLE`.
//!
//! From one checkpoint to the next the program's thread takes no lock. It marks its block, then looks whether the lock is
//! in use. Whoever brings it into use makes all threads pass a fence (`membarrier`), so either the thread sees that, or its
//! mark is seen; then it is waited until the thread has come out or given way.
//!
//! A library whose progress function is not to be found is started at `MPI_THREAD_MULTIPLE`, and its own locks do
//! (`lh_loader::bias` makes them cheaper).

use super::lower::NAMES;
use crate::block::{self, Block, HOLDS, MARKED, OUT};
use crate::{crossing, gate, raw, registry};
use std::sync::atomic::{compiler_fence, AtomicBool, AtomicU32, AtomicU8, Ordering::*};
use std::time::{Duration, Instant};

/// Is the lock in use?
static IN_USE: AtomicU32 = AtomicU32::new(0);
/// Has this library one caller at a time?
static SERIALIZED: AtomicBool = AtomicBool::new(false);
/// The program asked for several threads when the library had been started for one.
static SEVERAL: AtomicBool = AtomicBool::new(false);
/// There is an assistant, who may be inside.
static ASSISTED: AtomicBool = AtomicBool::new(false);
/// The lock: the number that the next one gets who wants it, and the number of the one who has it. First come, first served.
static NEXT: AtomicU32 = AtomicU32::new(0);
static SERVED: AtomicU32 = AtomicU32::new(0);

/// So often the lock is looked at before the processor is offered to others, and so often it is offered before one sleeps.
const LOOKS: u32 = 100;
const OFFERS: u32 = 1000;
const SLEEP: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 50_000,
};
/// After so long is said who is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A fresh library will be started in the lower half, and nobody is inside. True: with one caller at a time, for that is
/// all the program `asked` for, and the half has led the progress function to us.
///
/// # Safety
/// No thread of the program calls the library meanwhile.
pub unsafe fn begin(half: usize, asked_for_one: bool) -> bool {
    let lead = crossing::sym(half, c"splitproc_turn");
    let words = [IN_USE.as_ptr() as u64, give_way as *const () as u64];
    // SAFETY: the half's function takes these, and both stay where they are.
    let one = asked_for_one
        && lead != 0
        && unsafe { crossing::cross_must(half, lead, &words) } as i32 != 0;
    SERIALIZED.store(one, SeqCst);
    use_lock(one && SEVERAL.load(SeqCst));
    NEXT.store(0, SeqCst);
    SERVED.store(0, SeqCst);
    // After a restart: threads that were inside are to call again.
    registry::each(|b| turn(b).store(OUT, SeqCst));
    one
}

/// Tells those who go in by their turn, by the gate, and who goes round in the library.
fn use_lock(on: bool) {
    IN_USE.store(u32::from(on), SeqCst);
    gate::take_turns(on);
}

/// Has this library one caller at a time?
pub fn is_serialized() -> bool {
    SERIALIZED.load(SeqCst)
}

/// The library has several callers at a time after all, and locks of its own.
pub fn needless() {
    SERIALIZED.store(false, SeqCst);
    use_lock(false);
}

/// The program will call from several threads at a time.
pub fn several() {
    SEVERAL.store(true, SeqCst);
    lock_is_used();
}

/// The helper will call the library.
pub fn lock_is_used() {
    if SERIALIZED.load(SeqCst) {
        use_lock(true);
    }
}

/// The helper will not any more. If the assistant still may, the lock stays in use until the next checkpoint.
pub fn lock_is_left() {
    if !ASSISTED.load(SeqCst) && !SEVERAL.load(SeqCst) {
        use_lock(false);
    }
}

/// The calling thread begins to assist the helper, or ends it.
pub fn assist(on: bool) {
    ASSISTED.store(on, SeqCst);
}

/// A block's byte.
fn turn(b: *mut Block) -> &'static AtomicU8 {
    // SAFETY: the caller's block is its own, or in the registry; the byte is atomic.
    unsafe { &(*b).doing.turn }
}

/// A thread has its turn until this is given to [`leave`]: false for a call within another.
#[must_use]
pub struct Turn(bool);

/// Waits for the calling thread's turn.
#[inline(always)]
pub fn enter() -> Turn {
    let own = turn(block::mine());
    if own.load(Relaxed) != OUT {
        return Turn(false);
    }
    own.store(MARKED, Relaxed);
    compiler_fence(SeqCst);
    if IN_USE.load(Relaxed) != 0 {
        enter_slowly();
    }
    Turn(true)
}

/// The turn is over.
#[inline(always)]
pub fn leave(outermost: Turn) {
    if outermost.0 {
        end();
    }
}

/// The calling thread's turn is over, at once after a call: who waits for a mark may hold the model's lock.
#[inline(always)]
pub fn end() {
    if marked() {
        turn(block::mine()).store(OUT, Release);
    } else {
        leave_slowly();
    }
}

/// The same for a turn that began at the gate (`gate::enter_in_place`): the mark stays, if the thread still has it, and
/// is to be taken away by the next store of what the thread does.
#[inline(always)]
pub fn end_but_for_mark() {
    if !marked() {
        leave_slowly();
    }
}

/// Has the calling thread its turn by a mark?
#[inline(always)]
pub fn marked() -> bool {
    turn(block::mine()).load(Relaxed) == MARKED
}

#[cold]
#[inline(never)]
fn enter_slowly() {
    let own = turn(block::mine());
    own.store(OUT, SeqCst);
    lock();
    own.store(HOLDS, Relaxed);
    // SAFETY: the block is this thread's own.
    let exempt = unsafe { (*block::mine()).exempt } != 0;
    if exempt || SEVERAL.load(SeqCst) {
        wait_for_marks();
    }
}

/// Waits until the program's thread, if it is inside without the lock, has come out or given way.
fn wait_for_marks() {
    let (begin, mut told) = (Instant::now(), false);
    loop {
        let mut inside = None;
        registry::each(|b| {
            if turn(b).load(SeqCst) == MARKED {
                // SAFETY: the block is in the registry; the word is atomic.
                inside = Some(unsafe { (*b).function.load(Relaxed) });
            }
        });
        let Some(function) = inside else { return };
        if !told && begin.elapsed() > PATIENCE {
            told = true;
            let name = NAMES.get(function as usize).unwrap_or(&"?");
            eprintln!("splitproc: the checkpoint waits for a thread in MPI_{name}, which lets nobody else call MPI");
        }
        std::thread::yield_now();
    }
}

#[cold]
#[inline(never)]
fn leave_slowly() {
    // After a restart the thread has nothing: its call did not happen.
    if turn(block::mine()).swap(OUT, Release) == HOLDS {
        unlock();
    }
}

/// The library has called the program back, which waits for something that another thread has: that one may want a turn.
pub fn give_way_if_wanted() {
    if IN_USE.load(SeqCst) != 0 {
        give_way();
    }
}

/// The library is about to look what has arrived, or has called the program back, and nothing of it is half done: others
/// may call it. On the calling thread's TCB, or on a borrowed one: no TLS here.
extern "C" fn give_way() {
    let b = block::current();
    if b.is_null() {
        return;
    }
    let own = turn(b);
    match own.load(Relaxed) {
        MARKED => {
            own.store(OUT, SeqCst);
            lock();
            own.store(HOLDS, Relaxed);
        }
        HOLDS if NEXT.load(Relaxed) != SERVED.load(Relaxed).wrapping_add(1) => {
            unlock();
            lock();
        }
        _ => {}
    }
}

fn lock() {
    let mine = NEXT.fetch_add(1, SeqCst);
    let mut looks = 0u32;
    while SERVED.load(SeqCst) != mine {
        looks = looks.saturating_add(1);
        if looks > LOOKS * OFFERS {
            // SAFETY: the time is read only.
            unsafe {
                raw::syscall(
                    libc::SYS_nanosleep,
                    [&SLEEP as *const libc::timespec as usize, 0, 0, 0, 0, 0],
                )
            };
        } else if looks.is_multiple_of(LOOKS) {
            // SAFETY: no arguments.
            unsafe { raw::syscall(libc::SYS_sched_yield, [0; 6]) };
        }
        std::hint::spin_loop();
    }
}

fn unlock() {
    SERVED.fetch_add(1, SeqCst);
}
