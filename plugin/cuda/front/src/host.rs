//! Host memory that devices reach: it is the upper half's, registered with the driver, and saved like all of it.

use super::codes::*;
use super::driver::{check, inside, put, Class};
use super::lower::{self, ix};
use super::{context, driver, model};

/// Host memory that the device knows.
#[derive(Clone, Copy)]
pub struct Pinned {
    /// Its length.
    pub len: u64,
    /// The flags that it was registered with.
    pub flags: i32,
    /// The flags that the application gave.
    pub given: i32,
    /// The context that it was registered in.
    pub context: u64,
    /// It was allocated by us.
    pub ours: bool,
    /// The address that devices know it by.
    pub device: u64,
}

/// `CU_MEMHOSTALLOC_*`.
const GIVEN: i32 = 7;
/// `CU_MEMHOSTREGISTER_PORTABLE` and `_DEVICEMAP`.
const REGISTER: i32 = 1 | 2;

/// Tells the driver of host memory; gives the device's address.
///
/// # Errors
/// The driver's.
///
/// # Safety
/// The memory must be there and stay.
pub unsafe fn register(at: u64, len: u64, flags: i32) -> Result<u64, i32> {
    // SAFETY: the caller's.
    unsafe {
        context::ensure()?;
        check(lower::must(
            ix::cuMemHostRegister_v2,
            &[at, len, flags as u64],
        ))?;
        let mut device = 0_u64;
        let args = [&raw mut device as u64, at, 0];
        match lower::must(ix::cuMemHostGetDevicePointer_v2, &args) {
            SUCCESS => Ok(device),
            _ => Ok(0), // not mapped
        }
    }
}

unsafe fn allocate(out: u64, len: u64, given: i32) -> Result<(), i32> {
    if out == 0 || len == 0 || given & !GIVEN != 0 {
        return Err(INVALID_VALUE);
    }
    let room = len.checked_next_multiple_of(4096).ok_or(OUT_OF_MEMORY)?;
    // SAFETY: a new mapping, registered, and unmapped if that fails.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let at = libc::mmap(core::ptr::null_mut(), room as usize, prot, flags, -1, 0);
        if at == libc::MAP_FAILED {
            return Err(OUT_OF_MEMORY);
        }
        match register(at as u64, room, REGISTER) {
            Ok(device) => {
                let pinned = Pinned {
                    len,
                    flags: REGISTER,
                    given,
                    context: context::current(),
                    ours: true,
                    device,
                };
                model::lock().pinned.insert(at as u64, pinned);
                put(out, at as u64)
            }
            Err(code) => {
                libc::munmap(at, room as usize);
                Err(code)
            }
        }
    }
}

pub unsafe fn cuMemHostAlloc(out: u64, len: u64, flags: i32) -> i32 {
    inside(|| unsafe { allocate(out, len, flags) })
}

pub unsafe fn cuMemAllocHost_v2(out: u64, len: u64) -> i32 {
    inside(|| unsafe { allocate(out, len, 0) })
}

/// Ends a registration.
unsafe fn unregister(at: u64, ours: bool) -> Result<(), i32> {
    let wrong = if ours {
        INVALID_VALUE
    } else {
        HOST_MEMORY_NOT_REGISTERED
    };
    let pinned = {
        let model = model::lock();
        let found = model.pinned.get(&at).copied();
        found.filter(|p| p.ours == ours).ok_or(wrong)?
    };
    // SAFETY: it was registered.
    unsafe {
        super::memory::synchronize()?;
        check(lower::must(ix::cuMemHostUnregister, &[at]))?;
        model::lock().pinned.remove(&at);
        if ours {
            let room = pinned.len.next_multiple_of(4096);
            libc::munmap(at as *mut _, room as usize);
        }
    }
    Ok(())
}

/// A context has ended, and with it what it had registered; what it had allocated is gone.
pub fn purge(context: u64) {
    let mut model = model::lock();
    model.pinned.retain(|at, p| {
        let stays = p.context != context;
        if !stays && p.ours {
            let room = p.len.next_multiple_of(4096);
            // SAFETY: memory of ours, which the program may use no more.
            unsafe { libc::munmap(*at as *mut _, room as usize) };
        }
        stays
    });
}

pub unsafe fn cuMemFreeHost(at: u64) -> i32 {
    inside(|| unsafe { unregister(at, true) })
}

pub unsafe fn cuMemHostUnregister(at: u64) -> i32 {
    inside(|| unsafe { unregister(at, false) })
}

pub unsafe fn cuMemHostRegister_v2(at: u64, len: u64, flags: i32) -> i32 {
    inside(|| unsafe {
        if at == 0 || len == 0 {
            return Err(INVALID_VALUE);
        }
        let device = register(at, len, flags)?;
        let pinned = Pinned {
            len,
            flags,
            given: flags,
            context: context::current(),
            ours: false,
            device,
        };
        model::lock().pinned.insert(at, pinned);
        Ok(())
    })
}

pub unsafe fn cuMemHostGetDevicePointer_v2(out: u64, at: u64, flags: i32) -> i32 {
    inside(|| unsafe {
        let args = [out, at, flags as u64];
        driver::forward(ix::cuMemHostGetDevicePointer_v2, Class::Forward, &args)
    })
}

pub unsafe fn cuMemHostGetFlags(out: u64, at: u64) -> i32 {
    inside(|| unsafe {
        let model = model::lock();
        let found = model.pinned.range(..=at).next_back();
        let inside = found.filter(|(base, p)| at < **base + p.len);
        put(out, inside.ok_or(INVALID_VALUE)?.1.given)
    })
}
