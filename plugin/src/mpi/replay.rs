//! Replay: the model's live objects are made again in a fresh lower half.

use super::abi::*;
use super::comms::{idup_issue, with_group};
use super::lower::{ix, must};
use super::model::request::{Kind, Request};
use super::model::{comm as comms, datatype, lock, request, Comm, Guard, WORLD_RANK, WORLD_SIZE};
use super::{cut, env, errs, icoll, ops, start, topos, types};
use std::sync::atomic::Ordering::*;

/// Tag of the communicators' rebuilding.
const TAG: u64 = 7001;

fn check(what: &str, code: i32) -> Result<(), String> {
    if code == SUCCESS {
        return Ok(());
    }
    Err(format!("{what} failed at restart: {}", errs::text(code)))
}

/// Rebuilds the lower half from the model, then lets the program go on.
pub fn restart() -> Result<(), String> {
    if env::active() {
        // SAFETY: the half is fresh, the gate closed, and this is the helper thread.
        unsafe { rebuild() }?;
    }
    cut::resume();
    Ok(())
}

unsafe fn rebuild() -> Result<(), String> {
    let (rank, size) =
        env::start_lower().map_err(|c| format!("MPI_Init failed at restart with code {c}"))?;
    let (old_rank, old_size) = (WORLD_RANK.load(Relaxed), WORLD_SIZE.load(Relaxed));
    if size != old_size {
        return Err(format!(
            "the job had {old_size} ranks and was restarted with {size}"
        ));
    }
    if rank != old_rank {
        return Err(format!(
            "the image of rank {old_rank} was restarted as rank {rank}"
        ));
    }
    env::connect(rank, size)?;
    let guard = lock();
    errs::replay(&guard);
    let (p, n) = *env::BSEND.get(&guard);
    if p != 0 {
        check(
            "MPI_Buffer_attach",
            must(ix::Buffer_attach, &[p as u64, n as u64]),
        )?;
    }
    ops::replay(&guard)?;
    for t in datatype::all(&guard) {
        let code = types::build(&t.contents, t.lower.as_ptr()).unwrap_or(ERR_TYPE);
        check("making a datatype", code)?;
        if t.committed.load(Relaxed) {
            check(
                "MPI_Type_commit",
                must(ix::Type_commit, &[t.lower.as_ptr() as u64]),
            )?;
        }
    }
    for c in comms::all(&guard) {
        if !c.predefined() {
            communicator(&guard, c)?;
        }
    }
    for (_, r) in request::all(&guard) {
        again(r)?;
    }
    Ok(())
}

/// An intracommunicator of a group.
unsafe fn of_group(ranks: &[i32], out: *mut i32) -> Result<(), String> {
    let made = with_group(ranks, |g| {
        Ok(must(
            ix::Comm_create_group,
            &[COMM_WORLD as u64, g, TAG, out as u64],
        ))
    });
    check("MPI_Comm_create_group", made.unwrap_or(ERR_COMM))
}

unsafe fn communicator(guard: &Guard, c: &Comm) -> Result<(), String> {
    if c.lower.swap(COMM_NULL, Relaxed) == COMM_NULL {
        return Ok(()); // an idup in flight: its request makes it
    }
    let place = c.lower.as_ptr();
    if let Some(remote) = &c.remote {
        let mut local = COMM_NULL;
        of_group(&c.group, &mut local)?;
        let leader = remote.first().copied().unwrap_or(0) as u64;
        let args = [
            local as u64,
            0,
            COMM_WORLD as u64,
            leader,
            TAG + 1,
            place as u64,
        ];
        check("MPI_Intercomm_create", must(ix::Intercomm_create, &args))?;
        must(ix::Comm_free, &[&mut local as *mut i32 as u64]);
    } else if let Some(t) = &c.meta.get(guard).topology {
        let mut plain = COMM_NULL;
        of_group(&c.group, &mut plain)?;
        check("making a topology", topos::build(t, plain, place as u64))?;
        must(ix::Comm_free, &[&mut plain as *mut i32 as u64]);
    } else {
        of_group(&c.group, place)?;
    }
    let lower = c.lower.load(Relaxed) as u64;
    check(
        "MPI_Comm_set_errhandler",
        must(ix::Comm_set_errhandler, &[lower, ERRORS_RETURN as u64]),
    )
}

/// Posts a request again. Sends are done: all that was sent has been received.
unsafe fn again(r: &'static Request) -> Result<(), String> {
    let pending = r.active.get() && !r.done.get();
    let outcome = match r.kind.get() {
        Kind::Generalized | Kind::MatchedRecv => return Ok(()),
        Kind::Send | Kind::Recv if r.persistent.get() => {
            let made = start::issue(r);
            if pending && r.kind.get() == Kind::Recv && matches!(made, Ok(SUCCESS)) {
                super::lower::call(ix::Start, &[r.lower.as_ptr() as u64])
            } else {
                made
            }
        }
        _ if !pending => return Ok(()),
        Kind::Recv => start::issue(r),
        Kind::Send => Ok(SUCCESS),
        Kind::Coll => icoll::issue(r),
        Kind::Idup => idup_issue(r),
    };
    if r.kind.get() == Kind::Send && pending {
        r.status.set(Status::EMPTY);
        r.done.set(true);
    }
    r.waiting.set(false);
    check("posting a request", outcome.unwrap_or(ERR_REQUEST))
}
