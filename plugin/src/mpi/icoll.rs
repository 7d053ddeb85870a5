//! Non-blocking collectives: entered when they are initiated, left when the request completes.

use super::abi::*;
use super::coll;
use super::front::{finish, put};
use super::lower::{self, Fail, Outcome, KINDS};
use super::model::comm::{self as comms, Pending};
use super::model::request::{self, Extra, Kind, Request};
use super::model::{datatype, lock, serial, Comm, Guard};
use super::{handle, ops, own};
use crate::gate::{self, Call, Inside};
use std::sync::atomic::{compiler_fence, Ordering::*};

/// Translates recorded arguments; arrays of datatypes are kept in `arrays`.
///
/// # Safety
/// The arguments must be what the function's specification says.
pub unsafe fn translate(
    index: usize,
    args: &[u64],
    arrays: &mut Vec<Vec<i32>>,
) -> Result<Vec<u64>, Fail> {
    let kinds = KINDS[index].as_bytes();
    let comm = kinds
        .iter()
        .position(|k| *k == b'C')
        .map_or(COMM_SELF, |i| args[i] as i32);
    let mut out = Vec::with_capacity(args.len() + 1);
    for (i, a) in args.iter().enumerate() {
        out.push(match kinds[i] {
            b'C' => handle::comm(*a as i32)?,
            b'D' => handle::datatype(*a as i32)?,
            b'O' => handle::op(*a as i32)?,
            b'd' => {
                let first = kinds[..i].iter().position(|k| *k == b'd');
                let n = match first {
                    None => handle::send_len(comm)?,
                    Some(_) => handle::recv_len(comm)?,
                };
                let list = handle::datatypes(*a as usize, n)?;
                // The lower half looks whether both are one.
                let same = first.is_some_and(|j| args[j] == *a) && arrays.last() == Some(&list);
                if !same {
                    arrays.push(list);
                }
                arrays.last().map_or(0, |v| v.as_ptr() as u64)
            }
            _ => *a,
        });
    }
    Ok(out)
}

/// Calls the lower half for a request that has its arguments recorded.
///
/// # Safety
/// The arguments must still hold.
pub unsafe fn issue(r: &Request) -> Outcome {
    let mut extra = r.extra.take().unwrap_or_default();
    extra.arrays.clear();
    let words = translate(r.function.get(), &extra.args, &mut extra.arrays);
    r.extra.set(Some(extra));
    let mut words = words?;
    words.push(r.lower.as_ptr() as u64);
    lower::call(r.function.get(), &words)
}

/// Which argument of a collective is the communicator.
pub fn comm_at(index: usize) -> usize {
    KINDS[index].find('C').unwrap_or(0)
}

/// Initiates a non-blocking collective.
///
/// # Safety
/// As the MPI standard says of the arguments.
pub unsafe fn start(index: usize, comm: i32, in_place: bool, args: &[u64], out: usize) -> i32 {
    let c = match comms::get(comm) {
        Ok(c) => c,
        Err(e) => return finish(comm, Err(e)),
    };
    let mut made = None;
    let outcome = enter(c, in_place, || {
        let (h, r) = request::make(&lock(), Kind::Coll, c, DATATYPE_NULL);
        made = Some((h, r));
        r.function.set(index);
        let mut extra = Box::new(Extra {
            args: args.to_vec(),
            ..Extra::default()
        });
        hold_types(index, args, c, &mut extra);
        r.extra.set(Some(extra));
        r
    });
    match (&outcome, made) {
        (Ok(SUCCESS), Some((h, _))) => put(out, h),
        (_, Some((_, r))) => request::release(&lock(), r),
        _ => {}
    }
    finish(comm, outcome)
}

/// Starts a persistent collective.
///
/// # Safety
/// As the MPI standard says of its arguments.
pub unsafe fn again(r: &'static Request) -> i32 {
    let Some(c) = r.comm.get().filter(|_| !r.active.get()) else {
        return finish(COMM_WORLD, Ok(ERR_REQUEST));
    };
    let extra = r.extra.take();
    let in_place = extra.as_ref().is_some_and(|e| e.in_place);
    r.extra.set(extra);
    r.serial.set(serial());
    let outcome = enter(c, in_place, || r);
    finish(c.handle.load(Relaxed), outcome)
}

/// Enters the next collective of a communicator and begins it in the lower half.
unsafe fn enter(
    c: &'static Comm,
    in_place: bool,
    request: impl FnOnce() -> &'static Request,
) -> Outcome {
    let (_inside, n) = coll::enter(c, in_place, Call::MustComplete, false);
    let r = request();
    let mut extra = r.extra.take().unwrap_or_default();
    extra.sequence = n;
    let own = ops::own(extra.op);
    r.extra.set(Some(extra));
    c.meta.get(&lock()).pending.push(Pending {
        sequence: n,
        must: in_place || own,
        function: r.function.get(),
        own,
    });
    own::note_rounding();
    if own {
        own::begins();
    }
    let outcome = issue(r);
    if let Ok(SUCCESS) = outcome {
        r.active.set(true);
    } else {
        let guard = lock();
        let left = c.left.load(Relaxed);
        complete(&guard, r, c);
        if coll::take_back_if_refused(c, n, &outcome) {
            c.left.store(left, Relaxed);
        }
    }
    outcome
}

/// Holds what a collective's arguments name until its request is gone: `extra` has them already.
///
/// # Safety
/// As the MPI standard says of the arguments.
pub unsafe fn hold_types(index: usize, args: &[u64], c: &Comm, extra: &mut Extra) {
    for (i, k) in KINDS[index].bytes().enumerate().take(args.len()) {
        if k == b'D' {
            extra.types.push(args[i] as i32);
        } else if k == b'O' {
            extra.op = args[i] as i32;
            ops::hold(extra.op);
        } else if k == b'd' && args[i] != 0 && args[i] as usize != IN_PLACE {
            let first = !KINDS[index][..i].contains('d');
            let h = c.handle.load(Relaxed);
            let n = if first {
                handle::send_len(h)
            } else {
                handle::recv_len(h)
            }
            .unwrap_or(0);
            let list = std::slice::from_raw_parts(args[i] as *const i32, n);
            extra.types.extend_from_slice(list);
            // The application's array may be gone when the collective is begun again: after a restart, or persistent.
            let before =
                (0..i).find(|j| args[*j] == args[i] && KINDS[index].as_bytes()[*j] == b'd');
            extra.args[i] = match before {
                Some(j) => extra.args[j],
                None => {
                    extra.ints.push(list.to_vec());
                    extra.ints.last().map_or(0, |l| l.as_ptr() as u64)
                }
            };
        }
    }
    for t in &extra.types {
        datatype::hold(*t);
    }
}

/// What a wait for a request has come to. A collective that comes after the cut may not be complete while the gate is closed:
/// see `coll::depart`. The thread must complete before it is looked at the gate, so either this is seen where it is waited for
/// such threads, or the closed gate is seen here.
#[inline(always)]
pub fn may_be_complete(r: &'static Request, outcome: Outcome, inside: &Inside) -> Outcome {
    compiler_fence(SeqCst);
    match gate::closed() && !inside.nested() {
        true => stay(r, outcome),
        false => outcome,
    }
}

#[cold]
#[inline(never)]
fn stay(r: &'static Request, outcome: Outcome) -> Outcome {
    let Some(c) = r.comm.get() else {
        return outcome;
    };
    let guard = lock();
    let extra = r.extra.take();
    let n = extra.as_ref().map_or(0, |e| e.sequence);
    r.extra.set(extra);
    drop(guard);
    let collective = matches!(r.kind.get(), Kind::Coll | Kind::Idup) && outcome.is_ok();
    if collective && coll::beyond(c, n) && !gate::stay(Call::MustComplete) {
        return Err(Fail::Restarted);
    }
    outcome
}

/// A request's collective is complete: this member has left it.
pub fn complete(guard: &Guard, r: &'static Request, c: &'static Comm) {
    let Some(mut extra) = r.extra.take() else {
        return;
    };
    let n = extra.sequence;
    c.meta.get(guard).pending.retain(|p| p.sequence != n);
    c.left.fetch_max(n, Relaxed);
    if ops::own(extra.op) {
        own::ends();
    }
    if let Some(new) = extra.comm.take() {
        super::comms::idup_done(guard, new);
    }
    r.extra.set(Some(extra));
}
