//! Translation of the application's handles to the lower half's.

use super::abi::*;
use super::lower::Fail;
use super::model::{comm as comms, datatype as types, objects};
use std::sync::atomic::Ordering::Relaxed;

/// A communicator.
#[inline(always)]
pub fn comm(handle: i32) -> Result<u64, Fail> {
    if handle & KIND_MASK == 0x4400_0000 {
        return Ok(handle as u64);
    }
    comms::get(handle).map(|c| c.lower.load(Relaxed) as u64)
}

/// A datatype.
#[inline(always)]
pub fn datatype(handle: i32) -> Result<u64, Fail> {
    if handle & KIND_MASK != V_DATATYPE {
        return Ok(handle as u64); // predefined or wrong: the lower half says which
    }
    types::get(handle)
        .map(|t| t.lower.load(Relaxed) as u64)
        .ok_or(Fail::Code(ERR_TYPE))
}

/// An operator.
#[inline(always)]
pub fn op(handle: i32) -> Result<u64, Fail> {
    if handle & KIND_MASK != V_OP {
        return Ok(handle as u64);
    }
    let op = objects::OPS
        .get(handle & INDEX_MASK)
        .ok_or(Fail::Code(ERR_OP))?;
    Ok(op.lower.load(Relaxed) as u64)
}

/// An array of datatypes.
///
/// # Safety
/// `at` must be null, or point to `n` handles.
pub unsafe fn datatypes(at: usize, n: usize) -> Result<Vec<i32>, Fail> {
    if at == 0 || at == IN_PLACE {
        return Ok(Vec::new());
    }
    let list = std::slice::from_raw_parts(at as *const i32, n);
    list.iter()
        .map(|t| datatype(*t).map(|t| t as i32))
        .collect()
}

/// Number of blocks that this process sends in an all-to-all on a communicator.
pub fn send_len(handle: i32) -> Result<usize, Fail> {
    degree(handle, 1)
}

/// Number of blocks that it receives.
pub fn recv_len(handle: i32) -> Result<usize, Fail> {
    degree(handle, 0)
}

fn degree(handle: i32, side: usize) -> Result<usize, Fail> {
    let c = comms::get(handle)?;
    Ok(super::topos::degrees(c).map_or(c.peers().len(), |d| d[side]))
}
