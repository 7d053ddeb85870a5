//! Devices, errors, versions and what else needs no memory.

use super::super::codes::*;
use super::super::driver::{self, check, put};
use super::super::{context, model};
use super::{initialise, leave_context, set_device, with_context, DEVICE};
use std::ffi::CStr;

/// The runtime's version: 13.0's for the program that came with it or with an older one.
const VERSION: i32 = 13000;

pub unsafe fn cudaGetLastError() -> u64 {
    super::take_last() as u64
}

pub unsafe fn cudaPeekAtLastError() -> u64 {
    super::last() as u64
}

/// What is said of an error that nobody knows.
const UNKNOWN_CODE: &CStr = c"unrecognized error code";

/// What the runtime knows of an error.
fn known(error: i32) -> Option<&'static Told> {
    told(error).filter(|t| !t.runtime.is_empty())
}

pub unsafe fn cudaGetErrorName(error: i32) -> u64 {
    known(error).map_or(UNKNOWN_CODE, |t| t.runtime).as_ptr() as u64
}

pub unsafe fn cudaGetErrorString(error: i32) -> u64 {
    known(error).map_or(UNKNOWN_CODE, |t| t.text).as_ptr() as u64
}

pub unsafe fn cudaDriverGetVersion(out: u64) -> i32 {
    unsafe { driver::cuDriverGetVersion(out) }
}

pub unsafe fn cudaRuntimeGetVersion(out: u64) -> i32 {
    driver::code(unsafe { put(out, VERSION) })
}

pub unsafe fn cudaRuntimeGetVersion_12(out: u64) -> i32 {
    /// Of the `libcudart.so.12` whose symbols the front has.
    const VERSION: i32 = 12090;
    driver::code(unsafe { put(out, VERSION) })
}

pub unsafe fn cudaGetDeviceCount(out: u64) -> i32 {
    match initialise() {
        Ok(()) => unsafe { driver::cuDeviceGetCount(out) },
        Err(code) => {
            // SAFETY: the program's place.
            let _ = unsafe { put(out, 0_i32) };
            code
        }
    }
}

pub unsafe fn cudaGetDevice(out: u64) -> i32 {
    driver::code(initialise().and_then(|()| unsafe { put(out, super::device()) }))
}

pub unsafe fn cudaSetDevice(device: i32) -> i32 {
    driver::code(set_device(device))
}

/// The primary context of another device.
fn peer(device: i32) -> Result<u64, i32> {
    let _inside = crate::plugin::enter(crate::plugin::Call::MustComplete);
    context::primary(device)
}

pub unsafe fn cudaDeviceEnablePeerAccess(device: i32, flags: i32) -> i32 {
    // SAFETY: a context.
    with_context(|| check(unsafe { driver::cuCtxEnablePeerAccess(peer(device)?, flags) }))
}

pub unsafe fn cudaDeviceDisablePeerAccess(device: i32) -> i32 {
    // SAFETY: a context.
    with_context(|| check(unsafe { driver::cuCtxDisablePeerAccess(peer(device)?) }))
}

pub unsafe fn cudaInitDevice(device: i32, flags: i32, which: i32) -> i32 {
    driver::code(initialise().and_then(|()| {
        // cudaInitDeviceFlagsAreValid
        if which & 1 != 0 {
            // SAFETY: numbers.
            check(unsafe { driver::cuDevicePrimaryCtxSetFlags_v2(device, flags) })?;
        }
        let _inside = crate::plugin::enter(crate::plugin::Call::MustComplete);
        context::primary(device).map(|_| ())
    }))
}

pub unsafe fn cudaSetDeviceFlags(flags: i32) -> i32 {
    driver::code(initialise().and_then(|()| {
        // SAFETY: numbers.
        check(unsafe { driver::cuDevicePrimaryCtxSetFlags_v2(super::device(), flags) })
    }))
}

pub unsafe fn cudaGetDeviceFlags(out: u64) -> i32 {
    driver::code(initialise().and_then(|()| {
        let mut active = 0_i32;
        let device = super::device();
        // SAFETY: the program's place, and ours.
        check(unsafe { driver::cuDevicePrimaryCtxGetState(device, out, &raw mut active as u64) })
    }))
}

pub unsafe fn cudaSetValidDevices(_list: u64, _n: i32) -> i32 {
    driver::refuse("cudaSetValidDevices")
}

pub unsafe fn cudaChooseDevice(out: u64, properties: u64) -> i32 {
    if properties == 0 {
        return INVALID_VALUE;
    }
    driver::code(initialise().and_then(|()| unsafe { put(out, 0_i32) }))
}

pub unsafe fn cudaDeviceReset() -> i32 {
    driver::code(initialise().and_then(|()| {
        let device = super::device();
        let active = model::lock()
            .devices
            .get(device as usize)
            .is_some_and(|d| d.primary.references > 0);
        if active {
            // SAFETY: a number.
            check(unsafe { driver::cuDevicePrimaryCtxReset_v2(device) })?;
        }
        DEVICE.set(device);
        leave_context();
        Ok(())
    }))
}

pub unsafe fn cudaDeviceGetAttribute(out: u64, attribute: i32, device: i32) -> i32 {
    driver::code(initialise().and_then(|()| {
        // SAFETY: the program's place. What a device has not got is 0.
        match unsafe { driver::cuDeviceGetAttribute(out, attribute, device) } {
            INVALID_VALUE if out != 0 && (1..160).contains(&attribute) => unsafe {
                put(out, 0_i32)
            },
            code => check(code),
        }
    }))
}

pub unsafe fn cudaDeviceGetTexture1DLinearMaxWidth(out: u64, _channels: u64, device: i32) -> i32 {
    /// `CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LINEAR_WIDTH`.
    const WIDTH: i32 = 69;
    let mut width = 0_i32;
    // SAFETY: a place for a number, and the program's.
    unsafe {
        match cudaDeviceGetAttribute(&raw mut width as u64, WIDTH, device) {
            SUCCESS => driver::code(put(out, width as u64)),
            code => code,
        }
    }
}

pub unsafe fn cudaEventCreate(out: u64) -> i32 {
    // SAFETY: the program's place.
    with_context(|| check(unsafe { driver::cuEventCreate(out, 0) }))
}

pub unsafe fn cudaStreamCreate(out: u64) -> i32 {
    // SAFETY: the program's place.
    with_context(|| check(unsafe { driver::cuStreamCreate(out, 0) }))
}

pub unsafe fn cudaGetExportTable(out: u64, id: u64) -> i32 {
    unsafe { driver::cuGetExportTable(out, id) }
}

unsafe fn entry(name: u64, out: u64, version: i32, flags: u64, status: u64) -> i32 {
    // A name that is not there is told by the status alone.
    match unsafe { driver::cuGetProcAddress_v2(name, out, version, flags, status) } {
        NOT_FOUND if status != 0 => SUCCESS,
        code => code,
    }
}

pub unsafe fn cudaGetDriverEntryPoint(name: u64, out: u64, flags: u64, status: u64) -> i32 {
    unsafe { entry(name, out, VERSION, flags, status) }
}

pub unsafe fn cudaGetDriverEntryPointByVersion(
    name: u64,
    out: u64,
    version: i32,
    flags: u64,
    status: u64,
) -> i32 {
    unsafe { entry(name, out, version, flags, status) }
}

pub unsafe fn __cudaGetProcAddress(
    name: u64,
    out: u64,
    version: i32,
    flags: u64,
    status: u64,
) -> i32 {
    unsafe { entry(name, out, version, flags, status) }
}

pub unsafe fn cudaProfilerStart() -> i32 {
    SUCCESS
}

pub unsafe fn cudaProfilerStop() -> i32 {
    SUCCESS
}
