//! Managed memory: the driver chooses its addresses, which a restart asks for again, in order, and checks.

use super::codes::*;
use super::driver::{check, inside, put};
use super::lower::{self, ix};
use super::{context, model};

/// Managed memory.
#[derive(Clone, Copy)]
pub struct Managed {
    /// Its address.
    pub at: u64,
    /// Its length.
    pub len: u64,
    /// `CU_MEM_ATTACH_*`.
    pub flags: i32,
    /// The context that it was made in.
    pub context: u64,
}

impl Managed {
    /// Is this address in it?
    pub fn holds(&self, at: u64) -> bool {
        at >= self.at && at < self.at + self.len
    }
}

/// Asks the driver for managed memory.
///
/// # Errors
/// The driver's.
pub fn ask(len: u64, flags: i32) -> Result<u64, i32> {
    context::ensure()?;
    let mut at = 0_u64;
    // SAFETY: a place for the address, and numbers; inside the gate.
    let args = [&raw mut at as u64, len, flags as u64];
    check(unsafe { lower::must(ix::cuMemAllocManaged, &args) })?;
    Ok(at)
}

/// Gives managed memory back to the driver.
///
/// # Errors
/// The driver's.
pub fn give_back(at: u64) -> Result<(), i32> {
    // SAFETY: memory that the driver gave; inside the gate.
    check(unsafe { lower::must(ix::cuMemFree_v2, &[at]) })
}

pub unsafe fn cuMemAllocManaged(out: u64, len: u64, flags: i32) -> i32 {
    inside(|| unsafe {
        if out == 0 || len == 0 {
            return Err(INVALID_VALUE);
        }
        let at = ask(len, flags)?;
        model::lock().managed.push(Managed {
            at,
            len,
            flags,
            context: context::current(),
        });
        put(out, at)
    })
}

/// Frees memory if it is managed.
///
/// # Errors
/// The driver's.
pub fn free(at: u64) -> Result<bool, i32> {
    let place = |model: &model::Model| model.managed.iter().position(|m| m.at == at);
    if place(&model::lock()).is_none() {
        return Ok(false);
    }
    context::ensure()?;
    // It is out of the model before the driver can give its address to another thread.
    let (place, managed) = {
        let mut model = model::lock();
        let place = place(&model).ok_or(INVALID_VALUE)?;
        model.synchronous.remove(&at);
        (place, model.managed.remove(place))
    };
    give_back(at).inspect_err(|_| {
        let all = &mut model::lock().managed;
        all.insert(place.min(all.len()), managed);
    })?;
    Ok(true)
}
