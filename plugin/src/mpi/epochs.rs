//! Epochs. The lower half's window only ever has locks on it, so that all that is in flight can be completed at any
//! moment, by a flush: a checkpoint needs that.
//!
//! Fences and `MPI_Win_start` lock it for all ranks without a check, which costs no message (the window is *covered*).
//! A fence is a flush and a barrier; `MPI_Win_post` and `MPI_Win_complete` send empty messages on the window's own
//! communicator, which the model counts and drains as any others. Locks are the lower half's, and are
//! taken again in a restart; a thread that waits for one is saved as if it had not yet called.

use super::abi::*;
use super::coll;
use super::front::{again, finish, forward, local, put};
use super::lower::{self, ix, must, Fail, Outcome};
use super::model::lock;
use super::model::window::{self, epoch, target, Window};
use super::start::Message;
use super::{groups, p2p, probe};
use crate::gate::{self, Call, Inside};
use std::sync::atomic::{fence, Ordering::*};

/// Tags on the window's communicator.
const POSTED: i32 = 1;
const COMPLETED: i32 = 2;

const SYNC: Fail = Fail::Code(ERR_RMA_SYNC);

/// Makes sure that an operation on this rank is in an epoch.
///
/// # Errors
/// It is not.
///
/// # Safety
/// Inside the gate.
#[inline(always)]
pub unsafe fn admit(w: &Window, rank: i32) -> Result<(), Fail> {
    match w.access() {
        epoch::FENCE | epoch::LOCK_ALL => Ok(()),
        epoch::LOCK if w.target(rank) & target::LOCKED != 0 => Ok(()),
        epoch::START if w.target(rank) & target::STARTED != 0 => Ok(()),
        // What is no rank is the lower half's to refuse, or to ignore.
        _ if rank < 0 || rank as usize >= w.targets.len() => Ok(()),
        epoch::FENCED => first(w),
        _ => Err(SYNC),
    }
}

/// The first operation after a fence.
#[cold]
unsafe fn first(w: &Window) -> Result<(), Fail> {
    let _turn = w.turn();
    cover(w)?;
    if w.access() == epoch::FENCED {
        w.access.store(epoch::FENCE, Relaxed);
        w.exposure.store(epoch::FENCE, Relaxed);
    }
    Ok(())
}

fn checked(code: i32) -> Result<(), Fail> {
    match code {
        SUCCESS => Ok(()),
        code => Err(Fail::Code(code)),
    }
}

/// Has the lower half's window locked for all.
unsafe fn cover(w: &Window) -> Result<(), Fail> {
    if !w.covered.load(Relaxed) {
        checked(must(ix::Win_lock_all, &[MODE_NOCHECK as u64, w.low()]))?;
        w.covered.store(true, Relaxed);
    }
    Ok(())
}

/// Ends that: the application's own locks come, or none.
///
/// # Safety
/// Inside the gate, with the window's turn.
pub unsafe fn uncover(w: &Window) -> Result<(), Fail> {
    if w.covered.load(Relaxed) {
        checked(must(ix::Win_unlock_all, &[w.low()]))?;
        w.covered.store(false, Relaxed);
    }
    Ok(())
}

/// May an epoch be opened that ends what fences opened?
fn unused(epoch: u8) -> bool {
    matches!(epoch, epoch::NONE | epoch::FENCED)
}

/// Is no epoch open, so that the window can be freed?
pub fn idle(w: &Window) -> bool {
    unused(w.access()) && unused(w.exposure())
}

pub unsafe fn win_fence(assert: i32, win: i32) -> i32 {
    let w = match window::get(win) {
        Ok(w) => w,
        Err(e) => return finish(win, Err(e)),
    };
    let fenced = |e: u8| unused(e) || e == epoch::FENCE;
    if !fenced(w.access()) || !fenced(w.exposure()) {
        return finish(win, Err(SYNC));
    }
    let (inside, n) = coll::enter(w.comm, false, Call::MustComplete, true);
    let mut outcome = complete(w, assert);
    if outcome.is_ok() {
        outcome = reexecutable(&inside, || lower::call(ix::Barrier, &[w.comm.low()]));
        fence(SeqCst);
    }
    let next = match assert & MODE_NOSUCCEED {
        0 => epoch::FENCED,
        _ => epoch::NONE,
    };
    w.access.store(next, Relaxed);
    w.exposure.store(next, Relaxed);
    coll::leave(w.comm, n);
    drop(inside);
    finish(win, outcome)
}

/// Completes what was begun since the last fence.
unsafe fn complete(w: &Window, assert: i32) -> Outcome {
    let _turn = w.turn();
    fence(SeqCst);
    if assert & MODE_NOSUCCEED != 0 {
        uncover(w)?;
    } else if w.access() == epoch::FENCE {
        return Ok(must(ix::Win_flush_all, &[w.low()]));
    }
    Ok(SUCCESS)
}

/// A call, within one that must complete, that a process may be saved in.
unsafe fn reexecutable(inside: &Inside, f: impl FnMut() -> Outcome) -> Outcome {
    inside.set(Call::Reexecutable);
    let outcome = again(f);
    inside.set(Call::MustComplete);
    outcome
}

/// Ranks in the window of a group's members.
fn members(w: &Window, group: i32) -> Result<Vec<i32>, Fail> {
    let place = |world: i32| w.comm.group.iter().position(|r| *r == world);
    groups::ranks(group)?
        .into_iter()
        .map(|world| place(world).map(|i| i as i32).ok_or(Fail::Code(ERR_GROUP)))
        .collect()
}

/// An empty message to or from a rank.
fn empty(peer: i32, tag: i32) -> Message {
    Message {
        buf: 0,
        n: 0,
        t: BYTE,
        peer,
        tag,
    }
}

/// Sends an empty message to each; outside the gate.
unsafe fn tell(w: &Window, ranks: &[i32], tag: i32) -> i32 {
    let comm = w.comm.handle.load(Relaxed);
    let tell = |r: &i32| p2p::send(ix::Send, empty(*r, tag), comm);
    ranks
        .iter()
        .map(tell)
        .find(|c| *c != SUCCESS)
        .unwrap_or(SUCCESS)
}

/// Receives an empty message.
unsafe fn hear(w: &Window, rank: i32, tag: i32) -> i32 {
    p2p::recv(empty(rank, tag), w.comm.handle.load(Relaxed), STATUS_IGNORE)
}

pub unsafe fn win_start(group: i32, assert: i32, win: i32) -> i32 {
    let mut opened = None;
    let code = local(win, || {
        let w = window::get(win)?;
        let ranks = members(w, group)?;
        let _turn = w.turn();
        if !unused(w.access()) {
            return Err(SYNC);
        }
        cover(w)?;
        for r in &ranks {
            w.targets[*r as usize].store(target::STARTED, Relaxed);
        }
        w.access.store(epoch::START, Relaxed);
        w.meta.get(&lock()).started = ranks.clone();
        opened = Some((w, ranks));
        Ok(())
    });
    let Some((w, ranks)) = opened.filter(|_| assert & MODE_NOCHECK == 0) else {
        return code;
    };
    let failed = ranks
        .iter()
        .map(|r| hear(w, *r, POSTED))
        .find(|c| *c != SUCCESS);
    fence(SeqCst);
    finish(win, Ok(failed.unwrap_or(SUCCESS)))
}

pub unsafe fn win_complete(win: i32) -> i32 {
    let mut closed = None;
    let code = local(win, || {
        let w = window::get(win)?;
        let _turn = w.turn();
        if w.access() != epoch::START {
            return Err(SYNC);
        }
        let ranks = w.meta.get(&lock()).started.clone();
        for r in &ranks {
            checked(must(ix::Win_flush, &[*r as u64, w.low()]))?;
            w.targets[*r as usize].store(0, Relaxed);
        }
        w.access.store(epoch::NONE, Relaxed);
        fence(SeqCst);
        closed = Some((w, ranks));
        Ok(())
    });
    match closed {
        Some((w, ranks)) => finish(win, Ok(tell(w, &ranks, COMPLETED))),
        None => code,
    }
}

pub unsafe fn win_post(group: i32, assert: i32, win: i32) -> i32 {
    let mut opened = None;
    let code = local(win, || {
        let w = window::get(win)?;
        let ranks = members(w, group)?;
        let _turn = w.turn();
        if !unused(w.exposure()) {
            return Err(SYNC);
        }
        fence(SeqCst);
        w.exposure.store(epoch::POST, Relaxed);
        w.meta.get(&lock()).posted = ranks.iter().map(|r| (*r, false)).collect();
        opened = Some((w, ranks));
        Ok(())
    });
    match opened.filter(|_| assert & MODE_NOCHECK == 0) {
        Some((w, ranks)) => finish(win, Ok(tell(w, &ranks, POSTED))),
        None => code,
    }
}

/// The ranks that have not said yet that their accesses are complete.
fn accessing(win: i32) -> Result<(&'static Window, Vec<i32>), Fail> {
    let w = window::get(win)?;
    if w.exposure() != epoch::POST {
        return Err(SYNC);
    }
    let guard = lock();
    let posted = w.meta.get(&guard).posted.iter();
    Ok((w, posted.filter(|p| !p.1).map(|p| p.0).collect()))
}

/// Waits for what one of them says.
unsafe fn finished(w: &Window, rank: i32) -> i32 {
    let code = hear(w, rank, COMPLETED);
    for p in &mut w.meta.get(&lock()).posted {
        p.1 |= p.0 == rank;
    }
    code
}

/// All have said it.
fn close_exposure(w: &Window) {
    fence(SeqCst);
    w.exposure.store(epoch::NONE, Relaxed);
}

pub unsafe fn win_wait(win: i32) -> i32 {
    let (w, ranks) = match accessing(win) {
        Ok(found) => found,
        Err(e) => return finish(win, Err(e)),
    };
    for r in ranks {
        let code = finished(w, r);
        if code != SUCCESS {
            return finish(win, Ok(code));
        }
    }
    close_exposure(w);
    SUCCESS
}

pub unsafe fn win_test(win: i32, flag: usize) -> i32 {
    let (w, ranks) = match accessing(win) {
        Ok(found) => found,
        Err(e) => return finish(win, Err(e)),
    };
    let mut open = false;
    for r in ranks {
        let comm = w.comm.handle.load(Relaxed);
        let mut said = 0i32;
        let code = probe::iprobe(r, COMPLETED, comm, &raw mut said as usize, STATUS_IGNORE);
        let code = match (code, said) {
            (SUCCESS, 0) => SUCCESS,
            (SUCCESS, _) => finished(w, r),
            (code, _) => code,
        };
        if code != SUCCESS {
            return finish(win, Ok(code));
        }
        open |= said == 0;
    }
    if !open {
        close_exposure(w);
    }
    put(flag, !open as i32);
    SUCCESS
}

pub unsafe fn win_lock(kind: i32, rank: i32, assert: i32, win: i32) -> i32 {
    let bit = match kind {
        LOCK_SHARED => target::SHARED,
        LOCK_EXCLUSIVE => target::EXCLUSIVE,
        _ => return finish(win, Err(Fail::Code(ERR_LOCKTYPE))),
    };
    let inside = gate::enter(Call::MustComplete);
    let outcome = window::get(win).and_then(|w| {
        let Some(place) = w.targets.get(rank as usize) else {
            return match rank {
                PROC_NULL => Ok(SUCCESS),
                _ => Err(Fail::Code(ERR_RANK)),
            };
        };
        let turn = w.turn();
        let free = w.access() == epoch::LOCK && place.load(Relaxed) == 0;
        if !free && !unused(w.access()) {
            return Err(SYNC);
        }
        uncover(w)?;
        w.access.store(epoch::LOCK, Relaxed);
        place.store(target::WANTED, Relaxed);
        w.locks.fetch_add(1, Relaxed);
        drop(turn);
        let outcome = reexecutable(&inside, || {
            let args = [kind as u64, rank as u64, assert as u64, w.low()];
            lower::call(ix::Win_lock, &args)
        });
        if let Ok(SUCCESS) = outcome {
            let unchecked = if assert & MODE_NOCHECK != 0 {
                target::NOCHECK
            } else {
                0
            };
            place.store(bit | unchecked, Relaxed);
        } else {
            unlocked(w, rank);
        }
        outcome
    });
    drop(inside);
    finish(win, outcome)
}

/// A lock is given back; the last one ends the epoch.
fn unlocked(w: &Window, rank: i32) {
    let _turn = w.turn();
    w.targets[rank as usize].store(0, Relaxed);
    if w.locks.fetch_sub(1, Relaxed) == 1 {
        w.access.store(epoch::NONE, Relaxed);
    }
}

pub unsafe fn win_unlock(rank: i32, win: i32) -> i32 {
    forward(win, || {
        let w = window::get(win)?;
        if rank == PROC_NULL {
            return Ok(SUCCESS);
        }
        if w.access() != epoch::LOCK || w.target(rank) & target::LOCKED == 0 {
            return Err(SYNC);
        }
        let code = must(ix::Win_unlock, &[rank as u64, w.low()]);
        unlocked(w, rank);
        Ok(code)
    })
}

pub unsafe fn win_lock_all(assert: i32, win: i32) -> i32 {
    let inside = gate::enter(Call::MustComplete);
    let outcome = window::get(win).and_then(|w| {
        let turn = w.turn();
        if !unused(w.access()) {
            return Err(SYNC);
        }
        uncover(w)?;
        drop(turn);
        let outcome = reexecutable(&inside, || {
            lower::call(ix::Win_lock_all, &[assert as u64, w.low()])
        });
        if let Ok(SUCCESS) = outcome {
            w.all.store(assert, Relaxed);
            w.access.store(epoch::LOCK_ALL, Relaxed);
        }
        outcome
    });
    drop(inside);
    finish(win, outcome)
}

pub unsafe fn win_unlock_all(win: i32) -> i32 {
    forward(win, || {
        let w = window::get(win)?;
        let _turn = w.turn();
        if w.access() != epoch::LOCK_ALL {
            return Err(SYNC);
        }
        let code = must(ix::Win_unlock_all, &[w.low()]);
        w.access.store(epoch::NONE, Relaxed);
        Ok(code)
    })
}

/// A flush of one rank.
unsafe fn flush(index: usize, rank: i32, win: i32) -> i32 {
    forward(win, || {
        let w = window::get(win)?;
        match w.access() {
            _ if rank == PROC_NULL => return Ok(SUCCESS),
            epoch::LOCK_ALL => {}
            epoch::LOCK if w.target(rank) & target::LOCKED != 0 => {}
            _ => return Err(SYNC),
        }
        Ok(must(index, &[rank as u64, w.low()]))
    })
}

/// A flush of all ranks.
unsafe fn flush_all(index: usize, win: i32) -> i32 {
    forward(win, || {
        let w = window::get(win)?;
        match w.access() {
            epoch::LOCK | epoch::LOCK_ALL => Ok(must(index, &[w.low()])),
            _ => Err(SYNC),
        }
    })
}

pub unsafe fn win_flush(rank: i32, win: i32) -> i32 {
    flush(ix::Win_flush, rank, win)
}

pub unsafe fn win_flush_local(rank: i32, win: i32) -> i32 {
    flush(ix::Win_flush_local, rank, win)
}

pub unsafe fn win_flush_all(win: i32) -> i32 {
    flush_all(ix::Win_flush_all, win)
}

pub unsafe fn win_flush_local_all(win: i32) -> i32 {
    flush_all(ix::Win_flush_local_all, win)
}

pub unsafe fn win_sync(win: i32) -> i32 {
    fence(SeqCst);
    forward(win, || {
        let w = window::get(win)?;
        match w.access() {
            epoch::LOCK | epoch::LOCK_ALL => Ok(must(ix::Win_sync, &[w.low()])),
            _ => Ok(SUCCESS),
        }
    })
}
