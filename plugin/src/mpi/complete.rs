//! Completing requests: wait, test, cancel, free.

use super::abi::*;
use super::front::{finish, forward, put, put_empty, put_status};
use super::lower::{self, ix, must, Fail};
use super::model::request::{self, Kind, Request, COMPLETE};
use super::model::{lock, Guard};
use super::{composite, errs, icoll, partitioned, quick, status, sync};
use crate::block;
use crate::gate::{self, Call, Inside};
use std::sync::atomic::Ordering::Relaxed;

/// Takes note of what the lower half completed, for the application or for the cut's helper.
#[inline(always)]
pub fn settle(guard: &Guard, r: &'static Request, status: &mut Status, helper: bool) {
    let Some(c) = r.comm.get() else { return };
    let kind = r.kind.get();
    if matches!(kind, Kind::Coll | Kind::Idup | Kind::File) {
        icoll::complete(guard, r, c);
    } else if kind == Kind::Recv && r.peer.get() == PROC_NULL {
        // No message was sent for this one; MPICH leaves the status as it was.
        let source = PROC_NULL;
        *status = Status {
            source,
            ..Status::EMPTY
        };
    } else if status.cancelled() {
        if let (Kind::Send, Some(traffic)) = (kind, c.traffic(r.peer.get())) {
            traffic.unsend();
        }
    } else if matches!(kind, Kind::Recv | Kind::MatchedRecv) {
        if let Some(traffic) = c.traffic(status.source) {
            traffic.receive(helper);
        }
    }
}

/// Ends a completed request: a persistent one becomes inactive, another one is gone.
#[inline(always)]
fn close(guard: &Guard, handle: &mut i32, r: &'static Request) {
    r.done.set(false);
    if r.persistent.get() {
        sync::end(guard, r);
        r.active.set(false);
    } else {
        request::release(guard, r);
        *handle = REQUEST_NULL;
    }
}

/// Takes a request that is complete in the model; its code.
fn take(guard: &Guard, handle: &mut i32, r: &'static Request, out: &mut Status) -> i32 {
    *out = r.status.get();
    close(guard, handle, r);
    out.error
}

/// Waits for one request.
///
/// # Safety
/// As the MPI standard says of the request.
#[inline(always)]
pub unsafe fn wait_one(handle: &mut i32, out: &mut Status) -> i32 {
    if *handle == COMPLETE {
        return take_complete(handle, out);
    }
    let inside = gate::enter(Call::Reexecutable);
    if let Some(r) = request::get(*handle) {
        let guard = lock();
        if r.quick.get() && !r.done.get() && !r.waiting.get() {
            r.waiting.set(true);
            drop(guard);
            *out = Status::EMPTY;
            let args = [r.lower.as_ptr() as u64, &raw mut *out as u64];
            let outcome = lower::call(ix::Wait, &args);
            inside.set(Call::MustComplete);
            let guard = lock();
            r.waiting.set(false);
            if let Ok(code) = outcome {
                settle(&guard, r, out, false);
                request::release(&guard, r);
                *handle = REQUEST_NULL;
                return code;
            }
            drop(guard); // it is inside the gate itself, and leaves the thread there as it was
            inside.set(Call::Reexecutable);
        }
    }
    wait_slowly(handle, out, inside)
}

/// Takes a send that was complete when it was posted.
#[inline(always)]
fn take_complete(handle: &mut i32, out: &mut Status) -> i32 {
    *handle = REQUEST_NULL;
    *out = Status::EMPTY;
    SUCCESS
}

/// Waits for one request that another than the lower half may have completed.
unsafe fn wait_slowly(handle: &mut i32, out: &mut Status, inside: Inside) -> i32 {
    *out = Status::EMPTY;
    if *handle == REQUEST_NULL {
        return SUCCESS;
    }
    let Some(r) = request::get(*handle) else {
        return ERR_REQUEST;
    };
    if !r.active.get() {
        return SUCCESS;
    }
    if r.kind.get() == Kind::Generalized {
        drop(inside);
        return status::wait_generalized(handle, r, out);
    }
    wait_lower(handle, r, out, inside)
}

/// Waits in the lower half.
unsafe fn wait_lower(
    handle: &mut i32,
    r: &'static Request,
    out: &mut Status,
    mut inside: Inside,
) -> i32 {
    loop {
        let guard = lock();
        if r.done.get() {
            return take(&guard, handle, r, out);
        }
        if r.ack.get() != REQUEST_NULL || r.kind.get() == Kind::Model {
            drop(guard);
            inside.set(Call::MustComplete);
            let done = poll(r);
            drop(inside);
            if !done {
                std::thread::yield_now();
            }
            inside = gate::enter(Call::Reexecutable);
            continue;
        }
        if r.waiting.get() {
            drop(guard);
            std::thread::yield_now(); // the cut's helper is testing it
            continue;
        }
        r.waiting.set(true);
        drop(guard);
        let mut raw = Status::EMPTY;
        let outcome = lower::call(
            ix::Wait,
            &[r.lower.as_ptr() as u64, &mut raw as *mut Status as u64],
        );
        inside.set(Call::MustComplete);
        let outcome = icoll::may_be_complete(r, outcome, &inside);
        let guard = lock();
        r.waiting.set(false);
        if let Ok(code) = outcome {
            if r.order.get() == 0 {
                settle(&guard, r, &mut raw, false);
                close(&guard, handle, r);
                *out = raw;
                return code;
            }
            sync::completed(r, code);
            drop(guard);
            drop(inside);
            inside = gate::enter(Call::Reexecutable); // held here while a checkpoint is prepared
            continue;
        }
        // The replay posted it again, or found it complete.
        drop(guard);
        inside.set(Call::Reexecutable);
    }
}

/// Tests one request: its code if it is complete.
///
/// # Safety
/// As the MPI standard says of the request.
pub unsafe fn test_one(handle: &mut i32, out: &mut Status) -> Option<i32> {
    *out = Status::EMPTY;
    if *handle == REQUEST_NULL {
        return Some(SUCCESS);
    }
    if *handle == COMPLETE {
        return Some(take_complete(handle, out));
    }
    let _inside = gate::enter(Call::MustComplete);
    let Some(r) = request::get(*handle) else {
        return Some(ERR_REQUEST);
    };
    if !r.active.get() {
        return Some(SUCCESS);
    }
    if r.kind.get() == Kind::Generalized {
        return r
            .done
            .get()
            .then(|| status::take_generalized(handle, r, out));
    }
    if !r.done.get() {
        poll(r);
    }
    sync::ready(r).then(|| take(&lock(), handle, r, out))
}

/// Asks the lower half whether a request is complete; if so it is complete in the model.
///
/// The lower half may call an operator of the application's meanwhile, so the model's lock is not held: the
/// request is marked as one that a thread works on.
///
/// # Safety
/// Inside the gate, without the model's lock.
pub unsafe fn poll(r: &'static Request) -> bool {
    {
        let _guard = lock();
        if r.done.get() || !r.active.get() || r.waiting.get() {
            return r.done.get();
        }
        r.waiting.set(true);
    }
    let done = if r.kind.get() == Kind::Model {
        composite::step(r)
    } else if r.ack.get() == REQUEST_NULL {
        test_lower(r)
    } else {
        sync::answered(r)
    };
    let _guard = lock();
    r.waiting.set(false);
    if done {
        r.done.set(true);
    }
    done
}

/// [`poll`] for all requests of some kinds.
///
/// # Safety
/// As `poll`.
pub unsafe fn poll_all(wanted: impl Fn(Kind) -> bool) {
    let list = request::all(&lock());
    for (_, r) in list {
        if wanted(r.kind.get()) {
            poll(r);
        }
    }
}

/// Tests in the lower half.
unsafe fn test_lower(r: &'static Request) -> bool {
    let (mut flag, mut raw) = (0i32, Status::EMPTY);
    let place = &mut raw as *mut Status as u64;
    let code = must(
        ix::Test,
        &[r.lower.as_ptr() as u64, &mut flag as *mut i32 as u64, place],
    );
    if flag == 0 && code == SUCCESS {
        return false;
    }
    // SAFETY: the block is this thread's own.
    let helper = (*block::mine()).exempt != 0;
    settle(&lock(), r, &mut raw, helper);
    raw.error = code;
    r.status.set(raw);
    true
}

/// Is there nothing to wait for?
///
/// # Safety
/// The handle is the application's.
pub unsafe fn idle(handle: i32) -> bool {
    handle == REQUEST_NULL || request::get(handle).is_some_and(|r| !r.active.get())
}

fn comm_of(handle: i32) -> i32 {
    request::get(handle)
        .filter(|r| !matches!(r.kind.get(), Kind::Generalized | Kind::Rma | Kind::File))
        .and_then(|r| r.comm.get())
        .map_or(COMM_WORLD, |c| c.handle.load(Relaxed))
}

/// The communicator whose error handler will have a request's error. Afterwards the request is gone.
#[inline(always)]
pub fn blamed(handle: i32) -> i32 {
    match errs::of_requests() {
        true => comm_of(handle),
        false => COMM_WORLD,
    }
}

#[inline(always)]
pub unsafe fn wait(at: usize, status: usize) -> i32 {
    match quick::wait(at, status) {
        true => SUCCESS,
        false => wait_whatever(at, status),
    }
}

/// Whatever the request and the state of things.
#[inline(never)]
unsafe fn wait_whatever(at: usize, status: usize) -> i32 {
    let handle = &mut *(at as *mut i32);
    let (before, blamed) = (*handle, blamed(*handle));
    let mut own = Status::EMPTY;
    let code = wait_one(handle, &mut own);
    put_status(status, own);
    if code != SUCCESS {
        return finish(
            if before == *handle {
                comm_of(before)
            } else {
                blamed
            },
            Ok(code),
        );
    }
    SUCCESS
}

#[inline(always)]
pub unsafe fn test(at: usize, flag: usize, status: usize) -> i32 {
    match quick::test(at, flag, status) {
        true => SUCCESS,
        false => test_whatever(at, flag, status),
    }
}

/// Whatever the request and the state of things.
#[inline(never)]
unsafe fn test_whatever(at: usize, flag: usize, status: usize) -> i32 {
    let handle = &mut *(at as *mut i32);
    let (blamed, mut own) = (blamed(*handle), Status::EMPTY);
    match test_one(handle, &mut own) {
        None => {
            put(flag, 0);
            SUCCESS
        }
        Some(code) => {
            put(flag, 1);
            put_status(status, own);
            finish(blamed, Ok(code))
        }
    }
}

pub unsafe fn request_free(at: usize) -> i32 {
    forward(COMM_WORLD, || {
        let handle = &mut *(at as *mut i32);
        if *handle == COMPLETE {
            *handle = REQUEST_NULL;
            return Ok(SUCCESS);
        }
        let r = request::get(*handle).ok_or(Fail::Code(ERR_REQUEST))?;
        sweep();
        let guard = lock();
        if r.active.get() && !r.done.get() && r.kind.get() != Kind::Generalized {
            r.freed.set(true);
            r.weigh();
            request::FREED.fetch_add(1, Relaxed); // it still has to be counted when it completes
        } else {
            if r.kind.get() == Kind::Generalized {
                status::free(r);
            }
            free_rest(&guard, *handle, r);
            request::release(&guard, r);
        }
        *handle = REQUEST_NULL;
        Ok(SUCCESS)
    })
}

/// Frees what there is beside the model of a request that is not active: a persistent send or receive of the lower
/// half's, one side of a partitioned message.
unsafe fn free_rest(guard: &Guard, handle: i32, r: &Request) {
    if r.kind.get() == Kind::Model {
        partitioned::gone(guard, handle, r);
    }
    if r.persistent.get() && matches!(r.kind.get(), Kind::Send | Kind::Recv) {
        must(ix::Request_free, &[r.lower.as_ptr() as u64]);
    }
}

/// Ends requests that were freed while active and are complete now.
///
/// # Safety
/// As `poll`.
pub unsafe fn sweep() {
    if request::FREED.load(Relaxed) == 0 {
        return;
    }
    let list = request::freed(&lock());
    for (h, r) in list {
        if poll(r) {
            let guard = lock();
            free_rest(&guard, h, r);
            request::release(&guard, r);
        }
    }
}

pub unsafe fn request_get_status(handle: i32, flag: usize, status: usize) -> i32 {
    forward(COMM_WORLD, || {
        put(flag, 1);
        if handle == REQUEST_NULL || handle == COMPLETE {
            put_empty(status);
            return Ok(SUCCESS);
        }
        let r = request::get(handle).ok_or(Fail::Code(ERR_REQUEST))?;
        if !r.active.get() {
            put_empty(status);
            return Ok(SUCCESS);
        }
        let done = r.done.get() || (r.kind.get() != Kind::Generalized && poll(r));
        if !done || !sync::ready(r) {
            put(flag, 0);
            return Ok(SUCCESS);
        }
        let mut own = r.status.get();
        if r.kind.get() == Kind::Generalized {
            status::query_request(r, &mut own);
        }
        put_status(status, own);
        Ok(SUCCESS)
    })
}

pub unsafe fn cancel(at: usize) -> i32 {
    forward(COMM_WORLD, || {
        if *(at as *const i32) == COMPLETE {
            return Ok(SUCCESS);
        }
        let r = request::get(*(at as *const i32)).ok_or(Fail::Code(ERR_REQUEST))?;
        if r.kind.get() == Kind::Generalized {
            return Ok(status::cancel(r));
        }
        if r.kind.get() == Kind::Model {
            return Ok(composite::cancel(r));
        }
        let _guard = lock();
        if r.done.get() || !r.active.get() || r.ack.get() != REQUEST_NULL {
            return Ok(SUCCESS);
        }
        // From now on its status says what became of it.
        r.quick.set(false);
        lower::call(ix::Cancel, &[r.lower.as_ptr() as u64])
    })
}
