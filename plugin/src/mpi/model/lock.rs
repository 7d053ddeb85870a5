//! The model's lock: free for a program with one MPI thread, a spin lock otherwise.
//!
//! A program that did not ask for `MPI_THREAD_MULTIPLE` calls MPI from one thread at a time, so its
//! lock is two plain stores, or none on the quick way, where its block says what it does anyway. While a cut is taken the plugin's helper works on the model too: it
//! biases the lock the other way (`share`), issues a process-wide barrier, and waits until the
//! owner is out of its critical section.
//!
//! A thread that takes it while it has it would wait for itself for ever; or, where it costs no more than stores, give it
//! back too early, which a cut alone would notice. Both end the program at once, with the two places in the source.

use super::super::turn;
use crate::block::{self, Block};
use crate::gate::{self, SEVERAL};
use crate::registry;
use std::cell::UnsafeCell;
use std::ops::Deref;
use std::panic::Location;
use std::ptr::null_mut;
use std::sync::atomic::{compiler_fence, AtomicBool, AtomicPtr, Ordering::*};

/// A place in the source; null: the lock is free.
type Place = AtomicPtr<Location<'static>>;

/// It stays so between checkpoints.
static KEPT: AtomicBool = AtomicBool::new(false);
/// Where the one thread has taken it.
static HELD: Place = AtomicPtr::new(null_mut());
/// The thread that has it when several use the model, by its block; null: it is free.
static OWNER: AtomicPtr<Block> = AtomicPtr::new(null_mut());
/// Where that thread has taken it.
static TAKEN: Place = AtomicPtr::new(null_mut());

/// The right to change the model.
pub struct Guard {
    spin: bool,
    /// A process is not saved while a thread has the lock.
    _inside: Option<gate::Inside>,
}

/// Takes the lock.
#[inline(always)]
#[track_caller]
pub fn lock() -> Guard {
    let here = Location::caller();
    if !shared() {
        let held = HELD.load(Relaxed);
        if !held.is_null() {
            twice(held);
        }
        HELD.store(here as *const _ as *mut _, Relaxed);
        compiler_fence(SeqCst);
        if !shared() {
            return Guard {
                spin: false,
                _inside: None,
            };
        }
        HELD.store(null_mut(), Release);
    }
    spin(here)
}

/// The lock is taken where its owner has it already, since `held`.
#[cold]
#[inline(never)]
#[track_caller]
fn twice(held: *mut Location<'static>) -> ! {
    // SAFETY: `lock` has stored nothing but null and places that are there for ever.
    let since = unsafe { held.as_ref() }.map(|at| format!(" (at {at})"));
    panic!(
        "splitproc: the model's lock is taken by a thread that has it{}",
        since.unwrap_or_default()
    );
}

/// The right to change the model, and the certainty that nobody else reads or changes it.
pub struct Alone(());

impl Deref for Alone {
    type Target = Guard;

    #[inline(always)]
    fn deref(&self) -> &Guard {
        static GUARD: Guard = Guard {
            spin: false,
            _inside: None,
        };
        &GUARD
    }
}

/// The right for a thread whose block says that it has the model (`Doing::model`), for as long as that says so; `None` if
/// several threads use the model.
///
/// Whoever shares the model makes all threads pass a fence, so either the thread sees that here, or what its block says is
/// seen, and it is waited for.
///
/// # Safety
/// The calling thread's block must say so, and nothing may be kept for longer.
#[inline(always)]
pub unsafe fn alone() -> Option<Alone> {
    compiler_fence(SeqCst);
    (!shared()).then_some(Alone(()))
}

/// The same for a thread that has come through the gate heeding [`SEVERAL`].
///
/// # Safety
/// As [`alone`].
#[inline(always)]
pub unsafe fn alone_by_the_gate() -> Alone {
    Alone(())
}

#[cold]
#[track_caller]
fn spin(here: &'static Location<'static>) -> Guard {
    let inside = gate::enter(gate::Call::MustComplete);
    let me = block::mine();
    let mut tries = 0u32;
    while let Err(owner) = OWNER.compare_exchange_weak(null_mut(), me, Acquire, Relaxed) {
        if owner == me {
            twice(TAKEN.load(Relaxed));
        }
        tries += 1;
        if tries.is_multiple_of(64) {
            // The library has called the program back, whose thread has the library; who has the lock may want that.
            turn::give_way_if_wanted();
            std::thread::yield_now();
        }
        std::hint::spin_loop();
    }
    TAKEN.store(here as *const _ as *mut _, Relaxed);
    Guard {
        spin: true,
        _inside: Some(inside),
    }
}

impl Drop for Guard {
    #[inline(always)]
    fn drop(&mut self) {
        if self.spin {
            OWNER.store(null_mut(), Release);
        } else {
            HELD.store(null_mut(), Release);
        }
    }
}

/// The program's threads will use the model from now on.
pub fn share_for_good() {
    KEPT.store(true, SeqCst);
    share();
}

/// Several threads will use the model from now on.
pub fn share() {
    gate::heed(SEVERAL, true);
    gate::fence_all();
    while !HELD.load(Acquire).is_null() || in_use() {
        std::thread::yield_now();
    }
}

/// Has a thread the model to itself without having locked it?
fn in_use() -> bool {
    let mut found = false;
    // SAFETY: the block is in the registry; the byte is atomic.
    registry::each(|b| found |= unsafe { (*b).doing.model.load(Acquire) } != 0);
    found
}

/// One thread again, if the program has no more in MPI; only with the gate closed.
pub fn unshare() {
    gate::heed(SEVERAL, KEPT.load(SeqCst));
}

/// True if several threads may use the model.
#[inline(always)]
pub fn shared() -> bool {
    gate::heeds::<SEVERAL, 0>()
}

/// Data that is only touched under the model's lock.
pub struct Locked<T>(UnsafeCell<T>);

// SAFETY: access needs a `Guard`, of which there is one at a time.
unsafe impl<T: Send> Sync for Locked<T> {}

impl<T> Locked<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Locked(UnsafeCell::new(value))
    }

    /// The value, for as long as the lock is held.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub fn get<'a>(&'a self, _guard: &'a Guard) -> &'a mut T {
        // SAFETY: the guard is the only one, and callers keep one reference at a time.
        unsafe { &mut *self.0.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::lock;
    use crate::gate::{self, SEVERAL};

    /// A second taking, and where the first was, however the lock is taken. One test: there is one lock.
    #[test]
    fn taken_twice() {
        for several in [false, true] {
            gate::heed(SEVERAL, several);
            let again = std::panic::catch_unwind(|| {
                let _first = lock();
                let _second = lock();
            });
            let said = again.expect_err("a second taking goes through");
            let said = said.downcast_ref::<String>().expect("words");
            assert!(
                said.contains("taken by a thread that has it (at "),
                "{said}"
            );
            assert!(said.contains("model/lock.rs:"), "{said}");
            drop(lock());
        }
        gate::heed(SEVERAL, false);
    }
}
