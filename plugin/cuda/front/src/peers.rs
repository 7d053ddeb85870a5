//! Devices that reach each other's memory.
//!
//! Device memory is mapped by the driver's virtual memory management, where each device is given access by itself: all that a
//! device has, and what it gets later. The driver's own switch is set as well, for what is not (variables, arrays).

use super::arena::Region;
use super::codes::*;
use super::driver::{check, inside, put};
use super::lower::{self, ix};
use super::memory::{Access, DEVICE, READ_WRITE};
use super::model::{self, Kind};
use super::{context, record};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Contexts that may reach another's memory, with the one that they may reach.
static PEERS: Mutex<Vec<[u64; 2]>> = Mutex::new(Vec::new());
/// Which device can reach which, as first seen.
static CAN: Mutex<BTreeMap<[i32; 2], i32>> = Mutex::new(BTreeMap::new());

fn peers() -> std::sync::MutexGuard<'static, Vec<[u64; 2]>> {
    PEERS.lock().unwrap_or_else(|e| e.into_inner())
}

/// Who may use a device's memory: the device, and those that reach it.
pub fn access(device: i32) -> Vec<Access> {
    let of = |context| context::device_of(context);
    let all = peers();
    let reaching = all.iter().filter(|p| of(p[1]) == Some(device));
    let mut devices: Vec<i32> = reaching.filter_map(|p| of(p[0])).collect();
    devices.push(device);
    devices.sort_unstable();
    devices.dedup();
    let access = |device| Access {
        location: [DEVICE, device],
        flags: READ_WRITE,
    };
    devices.into_iter().map(access).collect()
}

/// Lets a device use another's memory, or not any more.
unsafe fn allow(device: i32, of: i32, flags: u32) -> Result<(), i32> {
    let access = Access {
        location: [DEVICE, device],
        flags,
    };
    let regions: Vec<(u64, Region)> = {
        let model = model::lock();
        let all = model.arena.regions.iter().map(|(at, r)| (*at, *r));
        all.filter(|(_, r)| r.device == of).collect()
    };
    for (at, region) in regions {
        let args = [at, region.len, &raw const access as u64, 1];
        // SAFETY: a region that is mapped; inside the gate.
        check(unsafe { lower::must(ix::cuMemSetAccess, &args) })?;
    }
    Ok(())
}

/// The devices of the thread's context and of another one.
fn devices(peer: u64) -> Result<[i32; 2], i32> {
    let of = context::device_of(peer).ok_or(INVALID_CONTEXT)?;
    Ok([context::device()?, of])
}

pub unsafe fn cuCtxEnablePeerAccess(peer: u64, flags: i32) -> i32 {
    inside(|| unsafe {
        let [device, of] = devices(peer)?;
        context::ensure()?;
        let args = [record::handle(Kind::Context, peer)?, flags as u64];
        check(lower::must(ix::cuCtxEnablePeerAccess, &args))?;
        allow(device, of, READ_WRITE)?;
        peers().push([context::current(), peer]);
        Ok(())
    })
}

pub unsafe fn cuCtxDisablePeerAccess(peer: u64) -> i32 {
    inside(|| unsafe {
        let [device, of] = devices(peer)?;
        context::ensure()?;
        super::memory::synchronize()?;
        let args = [record::handle(Kind::Context, peer)?];
        check(lower::must(ix::cuCtxDisablePeerAccess, &args))?;
        peers().retain(|p| *p != [context::current(), peer]);
        if access(of).iter().all(|a| a.location[1] != device) {
            allow(device, of, 0)?;
        }
        Ok(())
    })
}

pub unsafe fn cuDeviceCanAccessPeer(out: u64, device: i32, peer: i32) -> i32 {
    inside(|| unsafe {
        let known = model::lock().devices.len() as i32;
        if !(0..known).contains(&device) || !(0..known).contains(&peer) {
            return Err(INVALID_DEVICE);
        }
        let mut all = CAN.lock().unwrap_or_else(|e| e.into_inner());
        let can = match all.get(&[device, peer]) {
            Some(can) => *can,
            None => {
                let mut can = 0_i32;
                let args = [&raw mut can as u64, device as u64, peer as u64];
                check(lower::must(ix::cuDeviceCanAccessPeer, &args))?;
                all.insert([device, peer], can);
                can
            }
        };
        put(out, can)
    })
}

/// A context ends.
pub fn purge(context: u64) {
    peers().retain(|p| !p.contains(&context));
}

/// Sets the driver's own switches again.
///
/// # Errors
/// The driver's.
///
/// # Safety
/// On the helper thread, in a fresh half with its contexts.
pub unsafe fn replay() -> Result<(), i32> {
    let all = peers().clone();
    for [from, to] in all {
        context::with(from, || unsafe {
            context::ensure()?;
            let args = [record::handle(Kind::Context, to)?, 0];
            check(lower::must(ix::cuCtxEnablePeerAccess, &args))
        })?;
    }
    Ok(())
}
