//! Messages as packed bytes: the lower half's `MPI_Pack` and `MPI_Unpack`, for `MPI_BOTTOM` too, and for more bytes than an int
//! counts: those this process sends to itself.

use super::abi::*;
use super::front::{forward, put};
use super::lower::{ix, must, Fail, Outcome};
use super::model::datatype;
use super::{handle, large, sync};

/// Tag of what a process sends to itself on our own communicator.
const TAG: u64 = 32767;

/// A message from this process to itself: the buffer, count and datatype of each end.
unsafe fn through(sent: [u64; 3], received: [u64; 3]) -> i32 {
    let Some((comm, me)) = sync::ours() else {
        return ERR_COMM;
    };
    let ([buf, n, t], [to, m, u]) = (sent, received);
    let (me, ignore) = (me as u64, STATUS_IGNORE as u64);
    let args = [buf, n, t, me, TAG, to, m, u, me, TAG, comm, ignore];
    must(ix::Sendrecv, &args)
}

/// Calls `f` with a lower datatype of so many bytes.
///
/// # Safety
/// In a call that must complete.
pub unsafe fn of_bytes(n: usize, f: impl FnOnce(u64) -> i32) -> i32 {
    let mut t = DATATYPE_NULL;
    match large::contiguous(n as i64, BYTE, &mut t) {
        SUCCESS => {}
        code => return code,
    }
    let at = &raw mut t as u64;
    must(ix::Type_commit, &[at]);
    let code = f(t as u64);
    must(ix::Type_free, &[at]);
    code
}

/// More bytes than an int counts?
fn many(bytes: &[u8]) -> bool {
    i32::try_from(bytes.len()).is_err()
}

/// Calls `f` with a buffer that is not null, a count and a lower datatype, for the same places.
///
/// MPICH's pack and unpack take no null buffer, which is what `MPI_BOTTOM` is: the datatype's absolute addresses are
/// then made relative to another one.
unsafe fn anchored(buf: usize, n: i32, lower: u64, f: impl FnOnce(u64, u64, u64) -> i32) -> i32 {
    if buf != 0 {
        return f(buf as u64, n as u64, lower);
    }
    let anchor = 0i64;
    let base = &raw const anchor as i64;
    let away = -base;
    let mut moved = DATATYPE_NULL;
    let at = &raw mut moved as u64;
    let (lengths, displacements) = (&raw const n as u64, &raw const away as u64);
    let args = [1, lengths, displacements, lower, at];
    match must(ix::Type_create_hindexed, &args) {
        SUCCESS => {}
        code => return code,
    }
    must(ix::Type_commit, &[at]);
    let code = f(base as u64, 1, moved as u64);
    must(ix::Type_free, &[at]);
    code
}

/// Packs `n` elements of a lower datatype; the bytes are as many as they take.
///
/// # Safety
/// The buffer must hold them; in a call that must complete.
pub unsafe fn pack(buf: usize, n: i32, lower: u64, bytes: &mut [u8]) -> i32 {
    if many(bytes) {
        let to = bytes.as_mut_ptr() as u64;
        let sent = [buf as u64, n as u64, lower];
        return of_bytes(bytes.len(), |t| through(sent, [to, 1, t]));
    }
    let (out, len) = (bytes.as_mut_ptr() as u64, bytes.len() as u64);
    let mut position = 0i32;
    let position = &raw mut position as u64;
    anchored(buf, n, lower, |buf, n, lower| {
        let args = [buf, n, lower, out, len, position, COMM_SELF as u64];
        must(ix::Pack, &args)
    })
}

/// Unpacks `n` elements of a lower datatype.
///
/// # Safety
/// The buffer must hold them; in a call that must complete.
pub unsafe fn unpack(bytes: &[u8], buf: usize, n: i32, lower: u64) -> i32 {
    if many(bytes) {
        let from = bytes.as_ptr() as u64;
        let received = [buf as u64, n as u64, lower];
        return of_bytes(bytes.len(), |t| through([from, 1, t], received));
    }
    let (from, len) = (bytes.as_ptr() as u64, bytes.len() as u64);
    let mut position = 0i32;
    let position = &raw mut position as u64;
    anchored(buf, n, lower, |buf, n, lower| {
        let args = [from, len, position, buf, n, lower, COMM_SELF as u64];
        must(ix::Unpack, &args)
    })
}

/// The bytes of `n` elements, and a call's count and datatype for them.
unsafe fn sized(n: i64, t: i32, comm: i32, f: impl FnOnce(usize, i32, u64) -> Outcome) -> i32 {
    large::narrow(n, t, comm, |n, t| {
        forward(comm, || {
            let bytes = datatype::sizes(t)?.size * i64::from(n);
            f(bytes.max(0) as usize, n, handle::datatype(t)?)
        })
    })
}

/// A part of a buffer from a position on, which moves past it; it must have room for it.
unsafe fn part<'a>(
    buf: usize,
    room: i64,
    position: usize,
    bytes: usize,
) -> Result<&'a mut [u8], Fail> {
    let at = *(position as *const i64);
    let end = at + bytes as i64;
    if end > room {
        return Err(Fail::Code(ERR_ARG));
    }
    put(position, end);
    Ok(super::front::slice_mut(buf + at as usize, bytes))
}

pub unsafe fn pack_c(
    buf: usize,
    n: i64,
    t: i32,
    out: usize,
    room: i64,
    position: usize,
    comm: i32,
) -> i32 {
    sized(n, t, comm, |bytes, n, lower| {
        Ok(pack(buf, n, lower, part(out, room, position, bytes)?))
    })
}

pub unsafe fn unpack_c(
    from: usize,
    room: i64,
    position: usize,
    buf: usize,
    n: i64,
    t: i32,
    comm: i32,
) -> i32 {
    sized(n, t, comm, |bytes, n, lower| {
        Ok(unpack(part(from, room, position, bytes)?, buf, n, lower))
    })
}

pub unsafe fn pack_size_c(n: i64, t: i32, comm: i32, out: usize) -> i32 {
    forward(comm, || {
        if let Ok(n) = i32::try_from(n) {
            let mut size = 0i32;
            let args = [
                n as u64,
                handle::datatype(t)?,
                handle::comm(comm)?,
                &raw mut size as u64,
            ];
            let code = must(ix::Pack_size, &args);
            if code != SUCCESS || size >= 0 {
                put(out, i64::from(size));
                return Ok(code);
            }
        }
        put(out, datatype::sizes(t)?.size * n);
        Ok(SUCCESS)
    })
}

/// Does something with all elements, no more at a time than an int counts: how many, and how far from the first.
unsafe fn in_turns(n: i64, t: i32, mut f: impl FnMut(i32, usize, u64) -> i32) -> i32 {
    const STEP: i64 = 1 << 30;
    forward(COMM_WORLD, || {
        let extent = datatype::sizes(t)?.extent;
        let lower = handle::datatype(t)?;
        let mut done = 0;
        loop {
            let now = (n - done).min(STEP) as i32;
            let code = f(now, (done * extent) as usize, lower);
            done += i64::from(now);
            if code != SUCCESS || done >= n {
                return Ok(code);
            }
        }
    })
}

pub unsafe fn pack_external_c(
    name: usize,
    buf: usize,
    n: i64,
    t: i32,
    out: usize,
    room: i64,
    position: usize,
) -> i32 {
    in_turns(n, t, |n, far, lower| {
        let from = buf.wrapping_add(far) as u64;
        let args = [
            name as u64,
            from,
            n as u64,
            lower,
            out as u64,
            room as u64,
            position as u64,
        ];
        must(ix::Pack_external, &args)
    })
}

pub unsafe fn unpack_external_c(
    name: usize,
    from: usize,
    room: i64,
    position: usize,
    buf: usize,
    n: i64,
    t: i32,
) -> i32 {
    in_turns(n, t, |n, far, lower| {
        let to = buf.wrapping_add(far) as u64;
        let args = [
            name as u64,
            from as u64,
            room as u64,
            position as u64,
            to,
            n as u64,
            lower,
        ];
        must(ix::Unpack_external, &args)
    })
}

pub unsafe fn pack_external_size_c(name: usize, n: i64, t: i32, out: usize) -> i32 {
    let mut all = 0i64;
    let code = in_turns(n, t, |n, _, lower| {
        let mut size = 0i64;
        let args = [name as u64, n as u64, lower, &raw mut size as u64];
        let code = must(ix::Pack_external_size, &args);
        all += size;
        code
    });
    put(out, all);
    code
}
