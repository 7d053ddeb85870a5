//! Completing the first of many requests, or some of them.

use super::abi::*;
use super::complete::{blamed, idle, test_one};
use super::front::{finish, put, put_status, slice};
use super::model::request::{self, Kind, Request, COMPLETE};
use super::together::{put_at, put_error, Failed};

/// What a look finds: the first that is complete, with its code and whose error handler has that, or `None`; `Err` if none is
/// active.
type Found = Result<Option<(usize, i32, i32)>, ()>;

/// One look at the requests from number `from` on.
unsafe fn any(from: usize, n: i32, at: usize, own: &mut Status) -> Found {
    let mut active = false;
    for i in from..slice::<i32>(at, n).len() {
        let h = (at + 4 * i) as *mut i32;
        if !idle(*h) {
            active = true;
            let blamed = blamed(*h);
            if let Some(code) = test_one(&mut *h, own) {
                return Ok(Some((i, code, blamed)));
            }
        }
    }
    if active {
        Ok(None)
    } else {
        Err(())
    }
}

/// Is it a send that is known to be complete?
fn sent(handle: i32) -> bool {
    let send = |r: &Request| r.kind.get() == Kind::Send && r.active.get() && r.done.get();
    handle == COMPLETE || request::get(handle).is_some_and(send)
}

pub unsafe fn waitany(n: i32, at: usize, index: usize, status: usize) -> i32 {
    // What is complete before it looks at what has come comes first, as in MPICH: there are programs in which the status
    // of a receive has to overwrite that of a send.
    let first = slice::<i32>(at, n).iter().position(|h| sent(*h));
    let mut from = first.unwrap_or(0);
    let mut own = Status::EMPTY;
    loop {
        let found = any(from, n, at, &mut own);
        if !matches!(found, Ok(None)) {
            return tell(found, own, index, status);
        }
        from = 0;
    }
}

pub unsafe fn testany(n: i32, at: usize, index: usize, flag: usize, status: usize) -> i32 {
    let mut own = Status::EMPTY;
    let found = any(0, n, at, &mut own);
    put(flag, !matches!(found, Ok(None)) as i32);
    tell(found, own, index, status)
}

/// Tells the application what a look has found, with its status.
unsafe fn tell(found: Found, own: Status, index: usize, status: usize) -> i32 {
    let (i, own, code, blamed) = match found {
        Ok(None) => {
            put(index, UNDEFINED);
            return SUCCESS;
        }
        Err(()) => (UNDEFINED, Status::EMPTY, SUCCESS, COMM_WORLD),
        Ok(Some((i, code, blamed))) => (i as i32, own, code, blamed),
    };
    put(index, i);
    put_status(status, own);
    finish(blamed, Ok(code))
}

pub unsafe fn waitsome(n: i32, at: usize, count: usize, indices: usize, statuses: usize) -> i32 {
    loop {
        let code = testsome(n, at, count, indices, statuses);
        if *(count as *const i32) != 0 || code != SUCCESS {
            return code;
        }
    }
}

pub unsafe fn testsome(n: i32, at: usize, count: usize, indices: usize, statuses: usize) -> i32 {
    let (mut done, mut active, mut codes) = (0usize, false, Vec::new());
    let mut failed = Failed::default();
    for i in 0..slice::<i32>(at, n).len() {
        let h = (at + 4 * i) as *mut i32;
        if idle(*h) {
            continue;
        }
        active = true;
        let (blamed, mut own) = (blamed(*h), Status::EMPTY);
        if let Some(code) = test_one(&mut *h, &mut own) {
            failed.note(i, code, blamed);
            put(indices + 4 * done, i as i32);
            put_at(statuses, done, own);
            codes.push(code);
            done += 1;
        }
    }
    put(count, if active { done as i32 } else { UNDEFINED });
    if failed.any() {
        for (i, code) in codes.iter().enumerate() {
            put_error(statuses, i, *code);
        }
    }
    failed.finish()
}
