//! Reading and writing files.
//!
//! Nothing of it is in flight when a process is saved. What blocks must complete, and so must what all ranks take part
//! in: the cut has them all come to it. A request is waited for, and its status kept. A split collective is the
//! blocking one in its first half, as MPI allows; the second gives the status.

use super::abi::*;
use super::files::{finish, together};
use super::front::{put, put_status};
use super::lower::{self, ix, must, Fail, KINDS, NAMES, NARROW};
use super::model::comm::Pending;
use super::model::file::{self, File};
use super::model::request::{self, Extra, Kind, Request};
use super::model::{lock, Guard};
use super::{coll, handle, icoll, inside};
use crate::gate::{self, Call};
use std::sync::atomic::Ordering::Relaxed;

/// Where a seek may begin. ROMIO looks at that on the first rank only, while the others wait for it in a barrier.
const WHENCE: [i32; 3] = [SEEK_SET, SEEK_CUR, SEEK_END];

/// Calls a function of the lower half, with the application's arguments and `more`.
unsafe fn call(f: &File, index: usize, args: &[u64], more: Option<u64>) -> Result<i32, Fail> {
    let index = permitted(f, narrow(index, args)?)?;
    if index == ix::File_seek_shared && !WHENCE.contains(&(args[2] as i32)) {
        return Err(Fail::Code(ERR_ARG));
    }
    let mut words = [0u64; 8];
    let n = args.len();
    for (i, (word, kind)) in args.iter().zip(KINDS[index].bytes()).enumerate() {
        words[i] = match kind {
            b'F' => f.low(),
            b'D' => handle::datatype(*word as i32)?,
            _ => *word,
        };
    }
    words[n] = more.unwrap_or_default();
    inside::about(f.comm.lower.load(Relaxed), 0, 0);
    Ok(must(index, &words[..n + usize::from(more.is_some())]))
}

/// Calls a function with all its arguments. A status is first one of ours: the library may fill in the count alone.
unsafe fn whole(f: &File, index: usize, args: &[u64]) -> Result<i32, Fail> {
    let (Some((at, args)), true) = (args.split_last(), access(NAMES[index])) else {
        return call(f, index, args, None);
    };
    let mut status = Status::EMPTY;
    let code = call(f, index, args, Some(&raw mut status as u64))?;
    if code == SUCCESS {
        put_status(*at as usize, status);
    }
    Ok(code)
}

/// Does a function read or write?
fn access(name: &str) -> bool {
    name.contains("read") || name.contains("write")
}

/// The function with an `int` for its count, which every library has, if the count is one.
fn narrow(index: usize, args: &[u64]) -> Result<usize, Fail> {
    let other = NARROW[index];
    let count = KINDS[index].find('D').map_or(0, |i| args[i - 1] as i64);
    if i32::try_from(count).is_ok() {
        Ok(other)
    } else if lower::has(index) {
        Ok(index)
    } else {
        Err(Fail::Code(ERR_COUNT))
    }
}

/// A sequential file has the shared position alone, and that only moves on.
fn permitted(f: &File, index: usize) -> Result<usize, Fail> {
    let name = NAMES[index];
    let access = access(name);
    let shared = name.contains("shared") || name.contains("ordered");
    let placed = name.contains("seek") || name.contains("get_position") || name.contains("byte");
    if f.amode & MODE_SEQUENTIAL != 0 && (placed || (access && !shared)) {
        return Err(Fail::Code(ERR_UNSUPPORTED_OPERATION));
    }
    if shared {
        f.shares.store(true, Relaxed);
    }
    Ok(index)
}

/// A call that concerns this rank alone.
///
/// # Safety
/// As the MPI standard says of the arguments, the first of which is the file.
pub unsafe fn alone(index: usize, args: &[u64]) -> i32 {
    let handle = args[0] as usize;
    let inside = gate::enter(Call::MustComplete);
    let outcome = file::get(handle).and_then(|f| whole(f, index, args));
    drop(inside);
    finish(handle, outcome)
}

/// A call that all ranks make.
///
/// # Safety
/// As `alone`.
pub unsafe fn collective(index: usize, args: &[u64]) -> i32 {
    together(args[0] as usize, |f| whole(f, index, args))
}

/// A non-blocking call of this rank or, if `all`, of all.
///
/// # Safety
/// As `alone`.
pub unsafe fn start(index: usize, all: bool, args: &[u64], out: usize) -> i32 {
    let handle = args[0] as usize;
    let f = match file::get(handle) {
        Ok(f) => f,
        Err(e) => return finish(handle, Err(e)),
    };
    let (inside, n) = if all {
        coll::enter(f.comm, true, Call::MustComplete, false)
    } else {
        (gate::enter(Call::MustComplete), 0)
    };
    let guard = lock();
    let datatype = args[args.len() - 1] as i32;
    let (h, r) = request::make(&guard, Kind::File, f.comm, datatype);
    r.function.set(index);
    if all {
        f.comm.meta.get(&guard).pending.push(Pending {
            sequence: n,
            must: true,
            function: index,
            own: false,
        });
        let sequence = n;
        r.extra.set(Some(Box::new(Extra {
            sequence,
            ..Extra::default()
        })));
    }
    drop(guard);
    let outcome = match lower::file_requests_are_safe() {
        true => call(f, index, args, Some(r.lower.as_ptr() as u64)),
        false => at_once(f, index, args, r),
    };
    if let Ok(SUCCESS) = outcome {
        r.active.set(true);
        put(out, h);
    } else {
        let guard = lock();
        icoll::complete(&guard, r, f.comm);
        request::release(&guard, r);
    }
    drop(inside);
    finish(handle, outcome)
}

/// Reads or writes before the request is given out. This rank does its part alone, as Open MPI does in all non-blocking
/// calls: the others need not have come.
unsafe fn at_once(
    f: &'static File,
    index: usize,
    args: &[u64],
    r: &'static Request,
) -> Result<i32, Fail> {
    let blocking = NAMES[index].replace("_i", "_").replace("_all", "");
    let index = NAMES.iter().position(|name| *name == blocking);
    let index = index.ok_or(Fail::Code(ERR_UNSUPPORTED_OPERATION))?;
    let mut status = Status::EMPTY;
    let code = call(f, index, args, Some(&raw mut status as u64))?;
    if code == SUCCESS {
        r.complete_at_once(status);
        icoll::complete(&lock(), r, f.comm);
    }
    Ok(code)
}

/// The first half of a split collective; `index` is the blocking function.
///
/// # Safety
/// As `alone`.
pub unsafe fn begin(index: usize, args: &[u64]) -> i32 {
    together(args[0] as usize, |f| {
        if f.state.get(&lock()).split.is_some() {
            return Err(Fail::Code(ERR_IO));
        }
        let mut status = Status::default();
        let code = call(f, index, args, Some(&mut status as *mut Status as u64))?;
        if code == SUCCESS {
            f.state.get(&lock()).split = Some(status);
        }
        Ok(code)
    })
}

/// The second half.
///
/// # Safety
/// As `alone`; `status` is to be ignored or a place for one.
pub unsafe fn end(handle: usize, _buffer: usize, status: usize) -> i32 {
    let inside = gate::enter(Call::MustComplete);
    let outcome = file::get(handle).and_then(|f| {
        let split = f.state.get(&lock()).split.take();
        put_status(status, split.ok_or(Fail::Code(ERR_IO))?);
        Ok(SUCCESS)
    });
    drop(inside);
    finish(handle, outcome)
}

/// A request that a checkpoint has to wait for, in words.
pub fn in_flight(guard: &Guard) -> Option<String> {
    let open = |r: &Request| r.kind.get() == Kind::File && r.active.get() && !r.done.get();
    let all = request::all(guard);
    let (_, r) = all.iter().find(|(_, r)| open(r))?;
    let path = r.comm.get().map(|c| c.meta.get(guard).name.clone());
    Some(format!(
        "rank {} has an MPI_{} of {} in flight",
        super::model::WORLD_RANK.load(Relaxed),
        NAMES[r.function.get()],
        path.unwrap_or_default().display()
    ))
}
