//! The gate: while it is closed no thread begins a call into the model or a lower half.
//!
//! Entering stores the thread's state and loads the gate, with no fence: whoever closes the gate makes every
//! running thread pass one (`membarrier`), so either the closer sees the state or the thread sees the gate.
//!
//! The gate's word also says what else keeps calls from going the quick way, so that they look at this word and no other.

use crate::block::{self, Block, ADMITTED, ADMITTING, ENDING, MUST_COMPLETE, NOTHING, NOT_ASKED};
use crate::block::{OUTSIDE, REEXECUTABLE, WAITS, WAITS_FOR_STREAM, WANTED, WANTED_BY_STREAM};
use crate::{cancel, raw, registry, signal};
use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::{compiler_fence, AtomicU32, AtomicU8, Ordering};

/// What there is to heed on the way in: bits.
static GATE: AtomicU32 = AtomicU32::new(0);
/// It is closed.
const CLOSED: u32 = 1;
/// Somebody has been cancelled, see `cancel`.
pub const CANCELS: u32 = 2;
/// Calls of the MPI library go one by one, see `mpi::turn`.
pub const TURNS: u32 = 4;
/// Several threads use the model, see `mpi::model::lock`.
pub const SEVERAL: u32 = 8;
/// There are synchronous sends that are not complete, see `mpi::sync`.
pub const SYNC: u32 = 16;
/// There are drained messages, see `mpi::unexpected`.
pub const DRAINED: u32 = 32;
/// How often threads have been let in while it is closed: the bits from this one up.
const ADMISSION: u32 = 64;

/// membarrier's commands, as in linux/membarrier.h.
const PRIVATE_EXPEDITED: usize = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: usize = 1 << 4;

/// What a checkpoint may do with a thread that is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Call {
    /// It must be waited for.
    MustComplete = MUST_COMPLETE,
    /// It may be saved as if it had not called yet.
    Reexecutable = REEXECUTABLE,
    /// It ends, calls or not, and can't be saved any more.
    Ending = ENDING,
}

/// A thread is inside until this is dropped.
#[must_use]
pub struct Inside {
    before: u8,
}

/// Goes in; waits in the upper half while the gate is closed. Nested calls always go in; within one that must complete they
/// must, too.
#[inline(always)]
pub fn enter(call: Call) -> Inside {
    // SAFETY: the block is this thread's own; its state is atomic.
    let b = unsafe { &*block::mine() };
    let before = b.doing.state.load(Ordering::Relaxed);
    if before == MUST_COMPLETE {
        return Inside { before };
    }
    b.doing.state.store(call as u8, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    let mark = cancel::own_word().load(Ordering::Relaxed);
    if (GATE.load(Ordering::Relaxed) & CLOSED | (mark ^ 1)) != 0 {
        wait(call, before);
    }
    Inside { before }
}

/// Goes in, `DOING` this, if the thread is outside and known, there is nothing to wait for, nothing else to do, and nothing
/// of `HEEDED` holds. Goes out by [`leave`].
#[inline(always)]
pub fn enter_quickly<const DOING: u32, const HEEDED: u32>() -> bool {
    let b = block::mine();
    // SAFETY: the block is this thread's own.
    unsafe {
        if !block::is::<NOTHING>(b) {
            return false;
        }
        block::set::<DOING>(b);
        compiler_fence(Ordering::SeqCst);
        if !heeds::<HEEDED, { CLOSED | CANCELS }>() {
            return true;
        }
        block::set::<NOTHING>(b);
    }
    false
}

/// The same, to cross in place. Whether the thread may is asked once it is inside: before that there can have been a restart.
#[inline(always)]
pub fn enter_in_place<const DOING: u32, const HEEDED: u32>() -> bool {
    if !enter_quickly::<DOING, HEEDED>() {
        return false;
    }
    let b = block::mine();
    if crosses_in_place(b) {
        return true;
    }
    // SAFETY: the block is this thread's own.
    unsafe { block::set::<NOTHING>(b) };
    false
}

/// Has the MPI half adopted the thread on the shared way?
#[inline(always)]
fn crosses_in_place(b: *mut Block) -> bool {
    // SAFETY: one load of a word of the thread's own block.
    unsafe {
        asm!("cmp dword ptr [{b} + {at}], 0", "je {not}", b = in(reg) b, at = const offset_of!(Block, in_place),
             not = label { return false }, options(nostack, readonly));
    }
    true
}

/// Ends the outermost call, which gave `value`, of a thread that is known. It has no turn, or one that ends with this
/// (`mpi::turn`).
#[inline(always)]
pub fn leave<T>(value: T) -> T {
    compiler_fence(Ordering::SeqCst);
    // SAFETY: as in `enter`.
    unsafe { block::set::<NOTHING>(block::mine()) };
    compiler_fence(Ordering::SeqCst);
    if heeds::<CANCELS, 0>() {
        return leave_cancelled(value);
    }
    value
}

/// Somebody has been cancelled: perhaps the thread itself.
#[cold]
#[inline(never)]
fn leave_cancelled<T>(value: T) -> T {
    if cancel::own_word().load(Ordering::Relaxed) & cancel::CANCELLED != 0 {
        cancel::deliver();
    }
    value
}

/// Does any of this or that hold? For what is known beforehand, in as few instructions as there can be.
#[inline(always)]
pub fn heeds<const WHAT: u32, const ALSO: u32>() -> bool {
    // SAFETY: reads the word, of whose bits all that can be asked about are in its first byte.
    unsafe {
        asm!("test byte ptr [rip + {gate}], {what}", "jnz {holds}", gate = sym GATE, what = const WHAT | ALSO,
             holds = label { return true }, options(nostack, readonly));
    }
    false
}

/// From now on this holds, or does not. Who has to be sure that all threads heed it makes them pass a fence.
pub fn heed(what: u32, holds: bool) {
    if holds {
        GATE.fetch_or(what, Ordering::SeqCst);
    } else {
        GATE.fetch_and(!what, Ordering::SeqCst);
    }
}

/// The thread's own state.
#[inline(always)]
fn own_state() -> &'static AtomicU8 {
    // SAFETY: the block is the thread's own and stays as long as it runs; nothing but atomics is looked at.
    unsafe { &(*block::mine()).doing.state }
}

/// Changes what a checkpoint may do with the thread, which is inside.
#[inline(always)]
pub fn set(call: Call) {
    own_state().store(call as u8, Ordering::Relaxed);
}

/// The slow way in: the thread's first, or the gate is closed, or the thread has been cancelled.
#[cold]
#[inline(never)]
fn wait(call: Call, before: u8) {
    // Where there is no lower half nothing is stopped through the gate.
    if before != OUTSIDE || !raw::present() {
        return;
    }
    registry::register();
    // SAFETY: as in `enter`.
    let b = unsafe { &*block::mine() };
    loop {
        let seen = GATE.load(Ordering::SeqCst);
        if b.exempt != 0 || seen & CLOSED == 0 {
            break;
        }
        b.doing.state.store(OUTSIDE, Ordering::SeqCst);
        let asked = b.admission.load(Ordering::SeqCst);
        let waits = match asked {
            WANTED => Some(WAITS),
            WANTED_BY_STREAM => Some(WAITS_FOR_STREAM),
            _ => None,
        };
        if let Some(waits) = waits {
            b.admission.store(waits, Ordering::SeqCst);
        }
        raw::futex_wait(&GATE, seen, None);
        let admitted = waits.is_some_and(|waits| admitted(b, waits, asked));
        b.doing.state.store(call as u8, Ordering::SeqCst);
        if admitted {
            break;
        }
    }
    if cancel::own_word().load(Ordering::SeqCst) & cancel::CANCELLED != 0 {
        cancel::hold();
    }
}

/// The calling thread, inside and without a turn, has come out of a lower half's call that must not have happened if the
/// process is saved now. While the gate is closed it stays, as one outside; then it does `call`. False: there was a restart.
#[cold]
#[inline(never)]
pub fn stay(call: Call) -> bool {
    let before = signal::generation();
    wait(call, OUTSIDE);
    signal::generation() == before
}

/// Has the thread, which waited at the gate, been let in? If not, it goes back to what it asked for.
fn admitted(b: &Block, waits: u32, asked: u32) -> bool {
    let order = Ordering::SeqCst;
    loop {
        match (b.admission).compare_exchange(waits, asked, order, order) {
            Ok(_) => return false,
            Err(ADMITTED) => return true,
            Err(_) => core::hint::spin_loop(), // whoever lets it in is about to say so
        }
    }
}

/// As [`enter`], where somebody inside, perhaps of another rank, may wait for what this thread will do there: see [`admit`].
pub fn enter_wanted(call: Call) -> Inside {
    // SAFETY: as in `enter`.
    let admission = unsafe { &(*block::mine()).admission };
    admission.store(WANTED, Ordering::SeqCst);
    let inside = enter(call);
    admission.store(NOT_ASKED, Ordering::SeqCst);
    inside
}

/// As [`enter`], where a function that a stream has called may wait for this thread: see [`admit_to_streams`]. Until
/// [`leave_stream`] it can be told that it was let in.
pub fn enter_stream(call: Call) -> Inside {
    // SAFETY: as in `enter`.
    let b = unsafe { &*block::mine() };
    if b.doing.state.load(Ordering::Relaxed) == OUTSIDE {
        b.admission.store(WANTED_BY_STREAM, Ordering::Relaxed);
    }
    enter(call)
}

/// Ends what [`enter_stream`] began.
pub fn leave_stream(inside: Inside) {
    let outermost = !inside.nested();
    // First: as long as it is inside it is a guest, for [`has_guests`].
    drop(inside);
    if outermost {
        // SAFETY: as in `enter`.
        let admission = unsafe { &(*block::mine()).admission };
        admission.store(NOT_ASKED, Ordering::Relaxed);
    }
}

impl Inside {
    /// Is this a call within another one? Then it goes in whether the gate is closed or not.
    #[inline(always)]
    pub fn nested(&self) -> bool {
        self.before != OUTSIDE
    }

    /// Changes what a checkpoint may do with the thread, if that is not settled by the call that this one is within.
    #[inline(always)]
    pub fn set(&self, call: Call) {
        if self.before != MUST_COMPLETE {
            set(call);
        }
    }

    /// What [`Self::again`] takes, for a library that leaves by a call of its own.
    #[inline(always)]
    pub fn kept(self) -> u8 {
        core::mem::ManuallyDrop::new(self).before
    }

    /// What [`Self::kept`] was called on.
    #[inline(always)]
    pub fn again(before: u8) -> Self {
        Self { before }
    }
}

impl Drop for Inside {
    #[inline(always)]
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst);
        // A constant is stored, not what was read: the next call's read need not wait for this one's.
        if self.before == OUTSIDE {
            own_state().store(OUTSIDE, Ordering::Release);
        } else {
            back(self.before);
        }
        compiler_fence(Ordering::SeqCst);
        let mark = cancel::own_word().load(Ordering::Relaxed);
        if mark & cancel::CANCELLED != 0 {
            cancelled(self.before);
        }
    }
}

/// A nested call has ended.
#[cold]
#[inline(never)]
fn back(before: u8) {
    own_state().store(before, Ordering::Release);
}

/// A cancelled thread has come out of a call.
#[cold]
#[inline(never)]
fn cancelled(before: u8) {
    if before == OUTSIDE {
        cancel::deliver();
    }
}

/// Must be called once before [`close`] is used.
pub fn init() {
    // SAFETY: membarrier has no memory arguments.
    unsafe {
        raw::syscall(
            libc::SYS_membarrier,
            [REGISTER_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0],
        )
    };
}

/// Closes the gate: when this returns, every thread that is inside can be seen by [`busy`].
pub fn close() {
    heed(CLOSED, true);
    fence_all();
}

/// From now on nobody goes in quickly for a call of the MPI library, or people may again.
pub fn take_turns(on: bool) {
    heed(TURNS, on);
    if on {
        fence_all();
    }
}

/// Makes every running thread of the process pass a fence.
pub fn fence_all() {
    // SAFETY: membarrier has no memory arguments.
    unsafe { raw::syscall(libc::SYS_membarrier, [PRIVATE_EXPEDITED, 0, 0, 0, 0, 0]) };
}

/// Lets those in that wait at the closed gate and are wanted inside. They are inside when this returns, whether they run
/// already or not.
pub fn admit() {
    let_in(WAITS);
}

/// The same for those that a function which a stream has called may wait for.
pub fn admit_to_streams() {
    let_in(WAITS_FOR_STREAM);
}

fn let_in(waits: u32) {
    let order = Ordering::SeqCst;
    registry::each(|b| {
        // SAFETY: the block is in the registry; its words are atomic, and its thread wrote `ending` before it waited.
        let (b, ending) = unsafe { (&*b, (&raw const (*b).ending).read_volatile()) };
        if (b.admission)
            .compare_exchange(waits, ADMITTING, order, order)
            .is_ok()
        {
            let state = if ending == 0 { MUST_COMPLETE } else { ENDING };
            b.doing.state.store(state, order);
            b.admission.store(ADMITTED, order);
        }
    });
    GATE.fetch_add(ADMISSION, order);
    raw::futex_wake(&GATE);
}

/// Is somebody inside whom [`admit_to_streams`] has let in, and who has to come out before the process can be saved?
pub fn has_guests() -> bool {
    let mut found = false;
    each_inside(|b, state, call| {
        // SAFETY: the block is in the registry; the word is atomic.
        let admission = unsafe { (*b).admission.load(Ordering::SeqCst) };
        found |= admission == ADMITTED && (state == MUST_COMPLETE || call == 0);
    });
    found
}

/// Opens the gate.
pub fn open() {
    GATE.fetch_and(ADMISSION - 1 - CLOSED, Ordering::SeqCst);
    raw::futex_wake(&GATE);
}

/// Is the gate closed?
#[inline(always)]
pub fn closed() -> bool {
    heeds::<CLOSED, 0>()
}

/// Calls `f` for every other thread that is inside, with its block, its state and the crossing it is in (0:
/// none, it runs the front's own code). The threads can't end meanwhile.
pub fn each_inside(mut f: impl FnMut(*mut Block, u8, usize)) {
    let own = block::mine();
    registry::each(|b| {
        // SAFETY: the block is in the registry; `call` is one word that its thread writes.
        let (state, call) = unsafe {
            (
                (*b).doing.state.load(Ordering::SeqCst),
                (&raw const (*b).call).read_volatile(),
            )
        };
        if b != own && state != OUTSIDE {
            f(b, state, call);
        }
    });
}

/// What `describe` says of a thread that has to come out before the process can be saved, if there is one.
pub fn busy<T>(describe: impl Fn(*mut Block) -> T) -> Option<T> {
    let mut found = None;
    each_inside(|b, state, call| {
        // SAFETY: the block is in the registry; its thread writes this word once.
        let ending = unsafe { (&raw const (*b).ending).read_volatile() } != 0;
        if (state == MUST_COMPLETE || call == 0 || ending) && found.is_none() {
            found = Some(describe(b));
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{doing, OUT};

    const CALLS: u32 = doing(MUST_COMPLETE, OUT, 0);

    /// A thread that is not known to the fresh halves, though it looked as if it did nothing before a restart, does not cross
    /// in place.
    #[test]
    fn who_crosses_in_place() {
        let b = block::mine();
        // SAFETY: the block is this thread's own, which calls no lower half.
        let (is, set) = unsafe {
            (
                || block::is::<NOTHING>(b),
                |n| (*b).in_place.store(n, Ordering::Relaxed),
            )
        };
        unsafe { block::set::<NOTHING>(b) };
        set(0);
        assert!(!enter_in_place::<CALLS, 0>() && is());
        set(1);
        assert!(enter_in_place::<CALLS, 0>() && !is());
        leave(());
        assert!(is());
        set(0);
    }

    /// What is called within a call that must complete must complete.
    #[test]
    fn nested_in_what_must_complete() {
        let state = || own_state().load(Ordering::Relaxed);
        let outer = enter(Call::MustComplete);
        let inner = enter(Call::Reexecutable);
        assert_eq!(state(), MUST_COMPLETE);
        inner.set(Call::Reexecutable);
        assert_eq!(state(), MUST_COMPLETE);
        drop(inner);
        assert_eq!(state(), MUST_COMPLETE);
        drop(outer);
        assert_eq!(state(), OUTSIDE);
        let inner = (enter(Call::Reexecutable), enter(Call::Reexecutable));
        assert_eq!(state(), REEXECUTABLE);
        drop(inner.1);
        drop(inner.0);
        assert_eq!(state(), OUTSIDE);
    }
}
