//! Messages as packed bytes: the lower half's `MPI_Pack` and `MPI_Unpack`, for `MPI_BOTTOM` too.

use super::abi::*;
use super::lower::{ix, must};

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
    let (from, len) = (bytes.as_ptr() as u64, bytes.len() as u64);
    let mut position = 0i32;
    let position = &raw mut position as u64;
    anchored(buf, n, lower, |buf, n, lower| {
        let args = [from, len, position, buf, n, lower, COMM_SELF as u64];
        must(ix::Unpack, &args)
    })
}
