//! Communicators that their members make by themselves, without the other members of a parent.
//!
//! Nothing counts such a creation as one of a communicator's collectives, so it is made the first collective of the new
//! communicator, which the model has before the lower half has. Members who wait there for one that is late are saved
//! as if they had not called, if nobody has left it; and a cut waits for them if somebody has.

use super::abi::*;
use super::coll;
use super::comms::{adopt, with_group};
use super::front::{again, finish, forward_wanted, put};
use super::lower::{self, ix, must, Fail, Outcome};
use super::model::{comm as comms, lock, Comm, WORLD_RANK};
use super::{errs, groups, inside};
use crate::gate::{Call, Inside};
use std::sync::atomic::Ordering::Relaxed;

/// Makes a communicator of these world ranks; none for who is not among them. The mark tells it from others of the same
/// group that are made at the same time; `over` gives the lower half's parent.
///
/// # Safety
/// As `MPI_Comm_create_group`.
pub unsafe fn make(
    parent: &Comm,
    over: impl Fn() -> u64,
    ranks: &[i32],
    mark: u64,
    tag: u64,
) -> Result<Option<&'static Comm>, Fail> {
    let me = WORLD_RANK.load(Relaxed);
    let Some(rank) = ranks.iter().position(|r| *r == me) else {
        return Ok(None);
    };
    let new = {
        let guard = lock();
        let id = comms::new_id(&guard, Some(parent), Some(mark), ranks, None);
        let fresh = Comm::new(COMM_NULL, rank as i32, ranks.to_vec(), None, id);
        let (_, new) = comms::register(&guard, fresh.under(Some(parent)));
        errs::inherit(&guard, parent, new);
        new
    };
    let (inside, n) = coll::enter(new, false, Call::MustComplete, true);
    let mut lower = COMM_NULL;
    let at = &raw mut lower as u64;
    let outcome = again(|| of_group(over(), ranks, tag, at, Some(&inside)));
    let done = matches!(outcome, Ok(SUCCESS)) && lower != COMM_NULL;
    if done {
        errs::returned(lower);
        new.lower.store(lower, Relaxed);
    }
    coll::end(new, n, &outcome);
    drop(inside);
    if done {
        return Ok(Some(new));
    }
    new.release(&lock());
    match outcome {
        Ok(SUCCESS) => Ok(None),
        Ok(code) => Err(Fail::Code(code)),
        Err(e) => Err(e),
    }
}

/// The lower half's `MPI_Comm_create_group`, for these world ranks. Only the call itself may be made again: what is around
/// it has to be done once.
///
/// # Safety
/// As that; in a call that must complete.
pub unsafe fn of_group(
    parent: u64,
    ranks: &[i32],
    tag: u64,
    out: u64,
    inside: Option<&Inside>,
) -> Outcome {
    // MPICH 4.0 reads the parent's group without a look whether there is one: that has it made.
    let mut own = 0i32;
    let at = &raw mut own as u64;
    must(ix::Comm_group, &[parent, at]);
    must(ix::Group_free, &[at]);
    let may = |call| {
        if let Some(inside) = inside {
            inside.set(call);
        }
    };
    with_group(ranks, |g| {
        may(Call::Reexecutable);
        let outcome = lower::call(ix::Comm_create_group, &[parent, g, tag, out]);
        may(Call::MustComplete);
        outcome
    })
}

pub unsafe fn comm_create_group(comm: i32, group: i32, tag: i32, out: usize) -> i32 {
    let made = (|| {
        let c = comms::get(comm)?;
        let ranks = groups::ranks(group)?;
        let new = make(c, || c.low(), &ranks, tag as u64, tag as u64)?;
        put(out, new.map_or(COMM_NULL, |c| c.handle.load(Relaxed)));
        Ok(SUCCESS)
    })();
    finish(comm, made)
}

pub unsafe fn intercomm_create(
    comm: i32,
    leader: i32,
    peer: i32,
    remote: i32,
    tag: i32,
    out: usize,
) -> i32 {
    // Before the gate is passed: see `inside::leading`.
    inside::function(ix::Intercomm_create);
    forward_wanted(comm, || {
        let c = comms::get(comm)?;
        // Only the leader's peer communicator means anything.
        let peer = comms::get(peer).map_or(COMM_NULL as u64, Comm::low);
        let mut new = COMM_NULL;
        let at = &raw mut new as u64;
        let args = [c.low(), leader as u64, peer, remote as u64, tag as u64, at];
        let outcome = lower::call(ix::Intercomm_create, &args);
        if let Ok(SUCCESS) = outcome {
            let new = match new {
                COMM_NULL => COMM_NULL,
                new => adopt(c, new, Some(0)).handle.load(Relaxed),
            };
            put(out, new);
        }
        outcome
    })
}
