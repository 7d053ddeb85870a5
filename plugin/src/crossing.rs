//! The crossing: calls from the upper half into a lower half, and callbacks out of one.
//!
//! *Shared FS*: the thread keeps its TCB; only the DTV pointer (`fs:8`) is the half's while it is inside.
//! *Borrowed TCB*: the thread runs with its donor's FS base; see `tcb`. Which way it is is the half's property
//! (see `adopt`), and the ways nest. Between the two switches no upper-half code runs but signal handlers, which
//! `signal` wraps.

use crate::block::{self, Block};
use crate::{adopt, raw, tcb, ways};
use core::arch::asm;
use core::sync::atomic::{compiler_fence, AtomicUsize, Ordering};
use lh_loader::lhinfo;
use std::ffi::CStr;

/// The thread was saved inside this call and is now in a restarted process: every lower-half handle is
/// new, and the call has not happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restarted;

/// Goes in by the given entry; see `ways` for the registers.
macro_rules! call_by {
    ($entry:path, $f:expr, $place:expr, $args:expr) => {{
        let args: &[u64] = $args;
        let register = |i: usize| args.get(i).copied().unwrap_or(0);
        let (value, restarted): (u64, u64);
        asm!(
            "call {entry}",
            entry = sym $entry,
            in("r10") $f,
            in("r11") $place,
            in("rdi") register(0),
            in("rsi") register(1),
            inout("rdx") register(2) => restarted,
            in("rcx") register(3),
            in("r8") register(4),
            in("r9") register(5),
            inout("r14") args.as_ptr().wrapping_add(6) => _,
            inout("r15") args.len().saturating_sub(6) => _,
            out("r12") _,
            out("r13") _,
            lateout("rax") value,
            clobber_abi("C"),
        );
        if restarted == 0 { Ok(value) } else { Err(Restarted) }
    }};
}

/// Calls `f` in lower half `half`. Integer and pointer arguments only.
///
/// # Errors
/// [`Restarted`], only inside a gate entered as re-executable: translate all handles and call again.
///
/// # Safety
/// `f` must be a function of that half that takes these arguments.
#[inline(always)]
pub unsafe fn cross(half: usize, f: usize, args: &[u64]) -> Result<u64, Restarted> {
    let b = block::mine();
    // SAFETY: the block is this thread's own, and the thread is adopted on the shared way; the caller vouches
    // for `f` and its arguments.
    unsafe {
        if (*b).dtv[half] == 0 {
            return cross_otherwise(half, f, args);
        }
        let slot = block::offset() + core::mem::offset_of!(Block, dtv) + 8 * half;
        call_by!(ways::splitproc_cross_shared, f, slot, args)
    }
}

/// Crosses on a borrowed TCB, or for the first time.
///
/// # Safety
/// As [`cross`].
#[inline(never)]
unsafe fn cross_otherwise(half: usize, f: usize, args: &[u64]) -> Result<u64, Restarted> {
    let b = block::mine();
    // SAFETY: as in `cross`; a TCB in `lent` is a parked donor's, lent to this thread alone.
    unsafe {
        if (*b).lent[half] == 0 {
            adopt::adopt(half);
            return cross(half, f, args);
        }
        let tcb = (*b).lent[half];
        if tcb::has_wrfsbase() {
            call_by!(ways::splitproc_cross_wrfsbase, f, tcb, args)
        } else {
            call_by!(ways::splitproc_cross_prctl, f, tcb, args)
        }
    }
}

/// Runs `body` as the upper half, on a thread that a lower half has called back.
///
/// On a thread that is not inside a crossing this is a plain call.
pub fn upper<R>(body: impl FnOnce() -> R) -> R {
    let b = block::current();
    if b.is_null() {
        lh_loader::die!(
            70,
            "a lower half called the program back on a thread of its own, which is not supported"
        );
    }
    // SAFETY: the block is this thread's own. Each crossing made by `body` leaves the fields as it found them,
    // but for the DTVs themselves, which are read back.
    unsafe {
        let (call, slot) = ((*b).call, (*b).slot);
        if call == 0 {
            return body();
        }
        let place = tcb::current();
        let half_dtv = ((*b).fs.wrapping_add(slot)) as *mut usize;
        if slot == 0 {
            tcb::go((*b).fs);
        } else {
            *half_dtv = tcb::swap_dtv((*b).upper_dtv);
        }
        compiler_fence(Ordering::SeqCst);
        (*b).call = 0;
        let result = outlined(body);
        (*b).upper_dtv = tcb::dtv();
        (*b).slot = slot;
        compiler_fence(Ordering::SeqCst);
        (*b).call = call;
        compiler_fence(Ordering::SeqCst);
        if slot == 0 {
            tcb::go(place);
        } else {
            tcb::swap_dtv(*half_dtv);
        }
        result
    }
}

/// A function of its own: what it computes from FS is not computed before FS has changed.
#[inline(never)]
fn outlined<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// The index of the MPI lower half; `usize::MAX` if there is none.
pub fn mpi_half() -> usize {
    static INDEX: AtomicUsize = AtomicUsize::new(usize::MAX);
    let known = INDEX.load(Ordering::Relaxed);
    if known != usize::MAX || !raw::present() {
        return known;
    }
    // SAFETY: lhInfo is present; names are set before the upper half starts.
    let info = unsafe { lhinfo::get() };
    let found = (0..info.half_count as usize).find(|&i| info.halves[i].name.starts_with(b"mpi\0"));
    INDEX.store(found.unwrap_or(usize::MAX), Ordering::Relaxed);
    found.unwrap_or(usize::MAX)
}

/// Looks a function of a lower half up; 0 if it has none of this name.
pub fn sym(half: usize, name: &CStr) -> usize {
    // SAFETY: the half is ready; its entry takes a C string.
    unsafe {
        let f = lhinfo::get().halves[half].dlsym;
        cross(half, f, &[name.as_ptr() as u64]).map_or(0, |p| p as usize)
    }
}
