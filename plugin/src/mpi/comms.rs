//! Communicators: made by the lower half, described by the model.

use super::abi::*;
use super::coll;
use super::front::{again, finish, local, put, query};
use super::lower::{self, ix, must, Fail, Outcome};
use super::model::objects::{Info, INFOS};
use super::model::request::{self, Extra, Kind};
use super::model::{comm as comms, ghosts, lock, Comm, Guard, Locked};
use super::{attrs, bsend, complete, env, errs, groups, infos};
use crate::gate::{Call, Inside};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering::Relaxed;

/// `MPI_COMM_TYPE_HW_UNGUIDED`.
const HW_UNGUIDED: i32 = 3;

/// World ranks of a lower group, which is freed.
unsafe fn ranks_of(mut group: i32) -> Vec<i32> {
    let (mut n, mut world) = (0i32, 0i32);
    must(ix::Group_size, &[group as u64, &mut n as *mut i32 as u64]);
    must(
        ix::Comm_group,
        &[COMM_WORLD as u64, &mut world as *mut i32 as u64],
    );
    let mine: Vec<i32> = (0..n).collect();
    let mut out = vec![0i32; n as usize];
    must(
        ix::Group_translate_ranks,
        &[
            group as u64,
            n as u64,
            mine.as_ptr() as u64,
            world as u64,
            out.as_mut_ptr() as u64,
        ],
    );
    must(ix::Group_free, &[&mut world as *mut i32 as u64]);
    must(ix::Group_free, &[&mut group as *mut i32 as u64]);
    out
}

/// Runs something with a lower group of these world ranks.
///
/// # Safety
/// MPI is started in the lower half.
pub unsafe fn with_group(ranks: &[i32], f: impl FnOnce(u64) -> Outcome) -> Outcome {
    let (mut world, mut group) = (0i32, 0i32);
    must(
        ix::Comm_group,
        &[COMM_WORLD as u64, &mut world as *mut i32 as u64],
    );
    let at = &mut group as *mut i32 as u64;
    let made = must(
        ix::Group_incl,
        &[world as u64, ranks.len() as u64, ranks.as_ptr() as u64, at],
    );
    must(ix::Group_free, &[&mut world as *mut i32 as u64]);
    if made != SUCCESS {
        return Ok(made);
    }
    let outcome = f(group as u64);
    if matches!(outcome, Err(Fail::Restarted)) {
        return outcome; // the group was the old half's
    }
    if group != GROUP_EMPTY {
        must(ix::Group_free, &[at]);
    }
    outcome
}

/// Describes a communicator that the lower half made. One that was made by its members alone has a mark that tells it from
/// others which are made at the same time.
///
/// # Safety
/// `lower` must be a communicator of the lower half.
pub unsafe fn adopt(parent: &Comm, lower: i32, apart: Option<u64>) -> &'static Comm {
    errs::returned(lower);
    let (mut inter, mut group, mut rank) = (0i32, 0i32, 0i32);
    must(
        ix::Comm_test_inter,
        &[lower as u64, &mut inter as *mut i32 as u64],
    );
    must(
        ix::Comm_group,
        &[lower as u64, &mut group as *mut i32 as u64],
    );
    must(ix::Comm_rank, &[lower as u64, &mut rank as *mut i32 as u64]);
    let own = ranks_of(group);
    let remote = (inter != 0).then(|| {
        must(
            ix::Comm_remote_group,
            &[lower as u64, &mut group as *mut i32 as u64],
        );
        ranks_of(group)
    });
    let guard = lock();
    // The two sides of a new intercommunicator have different parents.
    let common = (!(apart.is_some() && inter != 0)).then_some(parent);
    let id = comms::new_id(&guard, common, apart, &own, remote.as_deref());
    let fresh = Comm::new(lower, rank, own, remote, id).under(common);
    let (_, c) = comms::register(&guard, fresh);
    errs::inherit(&guard, parent, c);
    c
}

/// A collective that makes a communicator.
///
/// # Safety
/// As the MPI standard says of the call.
pub unsafe fn create(
    comm: i32,
    out: usize,
    mut call: impl FnMut(&Comm, u64, &Inside) -> Outcome,
    after: impl FnOnce(&Guard, &'static Comm, &'static Comm),
) -> i32 {
    let c = match comms::get(comm) {
        Ok(c) => c,
        Err(e) => return finish(comm, Err(e)),
    };
    let (inside, n) = coll::enter(c, false, Call::Reexecutable, true);
    let mut new = COMM_NULL;
    let outcome = again(|| call(c, &mut new as *mut i32 as u64, &inside));
    inside.set(Call::MustComplete);
    if let Ok(SUCCESS) = outcome {
        if !env::multiple() {
            ghosts::passed(&lock(), c);
        }
        put(
            out,
            if new == COMM_NULL {
                COMM_NULL
            } else {
                made(c, new, None, after)
            },
        );
    }
    coll::end(c, n, &outcome);
    drop(inside);
    finish(comm, outcome)
}

unsafe fn made(
    c: &'static Comm,
    new: i32,
    apart: Option<u64>,
    after: impl FnOnce(&Guard, &'static Comm, &'static Comm),
) -> i32 {
    let child = adopt(c, new, apart);
    after(&lock(), c, child);
    child.handle.load(Relaxed)
}

/// What a duplicate has of its original beside attributes: no hints, as of MPI 4.
fn copy_topology(guard: &Guard, from: &Comm, to: &Comm) {
    to.meta.get(guard).topology = from.meta.get(guard).topology.clone();
}

/// Duplicates a communicator, but for its attributes.
///
/// # Safety
/// As `MPI_Comm_dup`.
pub unsafe fn dup(comm: i32, out: usize) -> i32 {
    let call = |c: &Comm, at, _: &Inside| lower::call(ix::Comm_dup, &[c.low(), at]);
    create(comm, out, call, copy_topology)
}

pub unsafe fn comm_dup(comm: i32, out: usize) -> i32 {
    match dup(comm, out) {
        SUCCESS => attrs::copy_all(comm, out),
        code => code,
    }
}

pub unsafe fn comm_dup_with_info(comm: i32, info: i32, out: usize) -> i32 {
    match dup(comm, out) {
        SUCCESS => {
            comm_set_info(*(out as *const i32), info);
            attrs::copy_all(comm, out)
        }
        code => code,
    }
}

pub unsafe fn comm_idup(comm: i32, out: usize, request: usize) -> i32 {
    let c = match comms::get(comm) {
        Ok(c) => c,
        Err(e) => return finish(comm, Err(e)),
    };
    let (inside, n) = coll::enter(c, false, Call::MustComplete, false);
    let outcome = (|| -> Outcome {
        let guard = lock();
        let id = comms::new_id(&guard, Some(c), None, &c.group, c.remote.as_deref());
        let fresh = Comm::new(COMM_NULL, c.rank, c.group.clone(), c.remote.clone(), id);
        let fresh = fresh.under(Some(c));
        let (h, new) = comms::register(&guard, fresh);
        errs::inherit(&guard, c, new);
        copy_topology(&guard, c, new);
        c.meta.get(&guard).pending.push(comms::Pending {
            sequence: n,
            must: false,
            function: ix::Comm_idup,
            own: false,
        });
        let (rh, r) = request::make(&guard, Kind::Idup, c, DATATYPE_NULL);
        r.function.set(ix::Comm_idup);
        r.extra.set(Some(Box::new(Extra {
            sequence: n,
            comm: Some(new),
            ..Extra::default()
        })));
        new.hold(&guard); // for the request, in which the lower half stores its handle
        drop(guard);
        put(out, h);
        put(request, rh);
        let outcome = idup_issue(r);
        r.active.set(true);
        outcome
    })();
    drop(inside);
    if !matches!(outcome, Ok(SUCCESS)) {
        return finish(comm, outcome);
    }
    let code = attrs::copy_all(comm, out);
    if code != SUCCESS {
        complete::request_free(request);
    }
    code
}

pub unsafe fn comm_idup_with_info(comm: i32, info: i32, out: usize, request: usize) -> i32 {
    match comm_idup(comm, out, request) {
        SUCCESS => comm_set_info(*(out as *const i32), info),
        code => code,
    }
}

/// Issues, or after a restart issues again, a non-blocking duplication.
///
/// # Safety
/// The request must be one.
pub unsafe fn idup_issue(r: &request::Request) -> Outcome {
    let extra = r.extra.take();
    let new = extra.as_ref().and_then(|e| e.comm);
    r.extra.set(extra);
    let (Some(c), Some(new)) = (r.comm.get(), new) else {
        return Err(Fail::Code(ERR_REQUEST));
    };
    lower::call(
        ix::Comm_idup,
        &[c.low(), new.lower.as_ptr() as u64, r.lower.as_ptr() as u64],
    )
}

/// A non-blocking duplication is complete.
pub fn idup_done(guard: &Guard, new: &Comm) {
    // SAFETY: the lower half has filled in the new communicator's handle.
    unsafe { errs::returned(new.lower.load(Relaxed)) };
    new.release(guard);
}

pub unsafe fn comm_split(comm: i32, color: i32, key: i32, out: usize) -> i32 {
    create(
        comm,
        out,
        |c, at, _| lower::call(ix::Comm_split, &[c.low(), color as u64, key as u64, at]),
        |_, _, _| {},
    )
}

pub unsafe fn comm_split_type(comm: i32, kind: i32, key: i32, info: i32, out: usize) -> i32 {
    let pairs = match infos::given(info) {
        Ok(pairs) => pairs,
        Err(e) => return finish(comm, Err(e)),
    };
    let mut found = None;
    let code = create(
        comm,
        out,
        |c, at, inside| {
            inside.set(Call::MustComplete);
            let lower = infos::to_lower(pairs.as_deref());
            inside.set(Call::Reexecutable);
            let args = [c.low(), kind as u64, key as u64, lower as u64, at];
            let outcome = lower::call(ix::Comm_split_type, &args);
            inside.set(Call::MustComplete);
            // After a restart the info object was the old half's.
            if outcome.is_ok() && lower != INFO_NULL {
                found = Some(infos::take_lower(lower));
            }
            inside.set(Call::Reexecutable);
            outcome
        },
        |guard, _, new| take_hints(guard, new, pairs.as_deref().unwrap_or_default()),
    );
    // By what resource it was split, if the caller left that to the library.
    if let (SUCCESS, HW_UNGUIDED, Some(list)) = (code, kind, found) {
        infos::replace(info, list);
    }
    code
}

pub unsafe fn comm_create(comm: i32, group: i32, out: usize) -> i32 {
    let ranks = match groups::ranks(group) {
        Ok(r) => r,
        Err(e) => return finish(comm, Err(e)),
    };
    create(
        comm,
        out,
        |c, at, inside| {
            // Only the call itself may be made again: what is around it has to be done once.
            inside.set(Call::MustComplete);
            let outcome = with_group(&ranks, |g| {
                inside.set(Call::Reexecutable);
                let outcome = lower::call(ix::Comm_create, &[c.low(), g, at]);
                inside.set(Call::MustComplete);
                outcome
            });
            inside.set(Call::Reexecutable);
            outcome
        },
        |_, _, _| {},
    )
}

pub unsafe fn intercomm_merge(comm: i32, high: i32, out: usize) -> i32 {
    create(
        comm,
        out,
        |c, at, _| lower::call(ix::Intercomm_merge, &[c.low(), high as u64, at]),
        |_, _, _| {},
    )
}

pub unsafe fn comm_free(at: usize) -> i32 {
    let comm = *(at as *const i32);
    if let Ok(c) = comms::get(comm) {
        bsend::end(bsend::Owner::Comm(c));
    }
    let code = attrs::delete_all(comm);
    if code != SUCCESS {
        return code;
    }
    local(comm, || {
        let c = comms::get(comm)?;
        if c.predefined() {
            return Err(Fail::Code(ERR_COMM));
        }
        let guard = lock();
        let handler = std::mem::replace(&mut c.meta.get(&guard).errhandler, ERRORS_ARE_FATAL);
        errs::release(&guard, handler);
        c.release(&guard);
        put(at, COMM_NULL);
        Ok(())
    })
}

pub unsafe fn comm_disconnect(at: usize) -> i32 {
    comm_free(at)
}

#[inline(always)]
pub unsafe fn comm_rank(comm: i32, out: usize) -> i32 {
    query(comm, || comms::get(comm).map(|c| put(out, c.rank)))
}

#[inline(always)]
pub unsafe fn comm_size(comm: i32, out: usize) -> i32 {
    query(comm, || {
        comms::get(comm).map(|c| put(out, c.group.len() as i32))
    })
}

pub unsafe fn comm_remote_size(comm: i32, out: usize) -> i32 {
    query(comm, || {
        let c = comms::get(comm)?;
        let remote = c.remote.as_ref().ok_or(Fail::Code(ERR_COMM))?;
        put(out, remote.len() as i32);
        Ok(())
    })
}

pub unsafe fn comm_test_inter(comm: i32, out: usize) -> i32 {
    query(comm, || {
        comms::get(comm).map(|c| put(out, c.remote.is_some() as i32))
    })
}

pub unsafe fn comm_group(comm: i32, out: usize) -> i32 {
    local(comm, || {
        put(out, groups::register(comms::get(comm)?.group.clone()));
        Ok(())
    })
}

pub unsafe fn comm_remote_group(comm: i32, out: usize) -> i32 {
    local(comm, || {
        let remote = comms::get(comm)?
            .remote
            .clone()
            .ok_or(Fail::Code(ERR_COMM))?;
        put(out, groups::register(remote));
        Ok(())
    })
}

pub unsafe fn comm_compare(first: i32, second: i32, out: usize) -> i32 {
    query(first, || {
        let (a, b) = (comms::get(first)?, comms::get(second)?);
        let own = groups::compare(&a.group, &b.group);
        let remote = match (&a.remote, &b.remote) {
            (None, None) => IDENT,
            (Some(x), Some(y)) => groups::compare(x, y),
            _ => UNEQUAL,
        };
        let worst = own.max(remote);
        put(
            out,
            if first == second {
                IDENT
            } else {
                worst.max(CONGRUENT)
            },
        );
        Ok(())
    })
}

pub unsafe fn comm_set_name(comm: i32, name: usize) -> i32 {
    local(comm, || {
        let c = comms::get(comm)?;
        c.meta.get(&lock()).name = super::infos::text(name, MAX_OBJECT_NAME - 1);
        Ok(())
    })
}

pub unsafe fn comm_get_name(comm: i32, out: usize, len: usize) -> i32 {
    local(comm, || {
        let c = comms::get(comm)?;
        super::infos::put_text(out, len, &c.meta.get(&lock()).name);
        Ok(())
    })
}

/// Adds MPI's own hints to those that a communicator has; others are not known.
fn take_hints(guard: &Guard, c: &Comm, given: &[(OsString, OsString)]) {
    let hints = &mut c.meta.get(guard).info;
    for (key, value) in given
        .iter()
        .filter(|(k, _)| k.as_bytes().starts_with(b"mpi_"))
    {
        hints.retain(|(k, _)| k != key);
        hints.push((key.clone(), value.clone()));
    }
}

pub unsafe fn comm_set_info(comm: i32, info: i32) -> i32 {
    local(comm, || {
        let c = comms::get(comm)?;
        let given = infos::given(info)?.unwrap_or_default();
        take_hints(&lock(), c, &given);
        Ok(())
    })
}

pub unsafe fn comm_get_info(comm: i32, out: usize) -> i32 {
    local(comm, || {
        let c = comms::get(comm)?;
        let guard = lock();
        let pairs = Locked::new(c.meta.get(&guard).info.clone());
        put(out, V_INFO | INFOS.add(&guard, Info { pairs }));
        Ok(())
    })
}
