//! Devices: one, or as many as `SPLITPROC_CPU_DEVICES` says. All are the same processors; each has memory of its own.

use super::attributes::{attribute, number};
use super::{api, cu, driver, initialise, put, put_if, text, Done, Error};
use std::ffi::{c_char, c_int, c_uint, c_void};

/// CUDA 13.0.
const VERSION: c_int = 13_000;
const NAME: &[u8] = b"splitproc CPU device";
const UUID: [u8; 16] = *b"splitproc-cpu-0\0";
const BUS: &[u8] = b"0000:00:00.0";

/// `CUdevprop`.
#[repr(C)]
pub struct DeviceProperties {
    numbers: [c_int; 7],
    others: [c_int; 7],
}

/// The most devices.
pub const MOST: usize = 16;

/// How many devices there are to be.
pub fn wanted() -> c_int {
    let given = std::env::var("SPLITPROC_CPU_DEVICES").ok();
    let number = given.and_then(|n| n.parse().ok()).unwrap_or(1);
    number.clamp(1, MOST as c_int)
}

/// Refuses a device that is not there.
pub fn check(device: c_int) -> Done {
    match (0..driver()?.devices).contains(&device) {
        true => Ok(()),
        false => Err(Error::INVALID_DEVICE),
    }
}

/// Refuses two devices that are not two, or not there.
fn check_peers(device: c_int, peer: c_int) -> Done {
    check(device)?;
    check(peer)?;
    match device == peer {
        true => Err(Error::INVALID_DEVICE),
        false => Ok(()),
    }
}

/// A device's place on a bus that there is not.
fn bus(device: c_int) -> Vec<u8> {
    let mut place = BUS.to_vec();
    place[6] = b"0123456789abcdef"[device as usize];
    place
}

/// Copies a text, cut to the room there is.
///
/// # Safety
/// `len` bytes can be written at `to`.
unsafe fn copy_text(to: *mut c_char, len: c_int, from: &[u8]) -> Done {
    if to.is_null() || len <= 0 {
        return Err(Error::INVALID_VALUE);
    }
    let n = from.len().min(len as usize - 1);
    // SAFETY: the caller's; n and the NUL fit.
    unsafe {
        std::ptr::copy_nonoverlapping(from.as_ptr().cast(), to, n);
        to.add(n).write(0);
    }
    Ok(())
}

/// An attribute that is there.
fn known(wanted: c_int) -> Result<c_int, Error> {
    attribute(wanted, driver()?.processors).ok_or(Error::INVALID_VALUE)
}

api! {
    /// Begins.
    fn cuInit(flags: c_uint) {
        if flags != 0 {
            return Err(Error::INVALID_VALUE);
        }
        initialise();
        Ok(())
    }

    /// The version that this driver speaks.
    fn cuDriverGetVersion(version: *mut c_int) {
        put(version, VERSION)
    }

    /// A device by number.
    fn cuDeviceGet(device: *mut c_int, ordinal: c_int) {
        check(ordinal)?;
        put(device, ordinal)
    }

    /// How many there are.
    fn cuDeviceGetCount(count: *mut c_int) {
        put(count, driver()?.devices)
    }

    /// Its name.
    fn cuDeviceGetName(name: *mut c_char, len: c_int, device: c_int) {
        check(device)?;
        copy_text(name, len, super::other::name().map_or(NAME, str::as_bytes))
    }

    /// Its identity.
    fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int) {
        check(device)?;
        let mut own = UUID;
        own[14] += device as u8;
        put(uuid, own)
    }

    /// Its identity, as before CUDA 13.
    fn cuDeviceGetUuid(uuid: *mut [u8; 16], device: c_int) {
        cu(cuDeviceGetUuid_v2(uuid, device))
    }

    /// Another identity, which only another system has.
    fn cuDeviceGetLuid(_luid: *mut c_char, _mask: *mut c_uint, device: c_int) {
        check(device)?;
        Err(Error::NOT_SUPPORTED)
    }

    /// Its memory.
    fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) {
        check(device)?;
        put(bytes, driver()?.memory.total() as usize)
    }

    /// What it is like.
    fn cuDeviceGetAttribute(value: *mut c_int, wanted: c_int, device: c_int) {
        let found = known(wanted)?;
        check(device)?;
        put(value, found)
    }

    /// What it is like, the old way.
    fn cuDeviceGetProperties(properties: *mut DeviceProperties, device: c_int) {
        check(device)?;
        put(properties, DeviceProperties {
            numbers: [
                known(number::MAX_THREADS_PER_BLOCK)?, known(2)?, known(3)?, known(4)?, known(5)?, known(6)?, known(7)?,
            ],
            others: [
                known(number::MAX_SHARED_MEMORY_PER_BLOCK)?,
                known(number::TOTAL_CONSTANT_MEMORY)?,
                known(number::WARP_SIZE)?,
                known(number::MAX_PITCH)?,
                known(number::MAX_REGISTERS_PER_BLOCK)?,
                known(number::CLOCK_RATE)?,
                known(number::TEXTURE_ALIGNMENT)?,
            ],
        })
    }

    /// Its compute capability.
    fn cuDeviceComputeCapability(major: *mut c_int, minor: *mut c_int, device: c_int) {
        check(device)?;
        let capability = super::other::capability();
        put(major, capability[0])?;
        put(minor, capability[1])
    }

    /// How wide a texture of linear memory may be.
    fn cuDeviceGetTexture1DLinearMaxWidth(width: *mut usize, _format: c_uint, _channels: c_uint, device: c_int) {
        check(device)?;
        put(width, 1 << 28)
    }

    /// A device by its place.
    fn cuDeviceGetByPCIBusId(device: *mut c_int, place: *const c_char) {
        let place = text(place)?.as_bytes();
        let found = (0..driver()?.devices).find(|d| bus(*d) == place);
        put(device, found.ok_or(Error::INVALID_DEVICE)?)
    }

    /// Its place.
    fn cuDeviceGetPCIBusId(place: *mut c_char, len: c_int, device: c_int) {
        check(device)?;
        copy_text(place, len, &bus(device))
    }

    /// Can it share out its processors among contexts?
    fn cuDeviceGetExecAffinitySupport(supported: *mut c_int, _kind: c_uint, device: c_int) {
        check(device)?;
        put(supported, 0)
    }

    /// Can it reach another's memory? It is all the host's.
    fn cuDeviceCanAccessPeer(can: *mut c_int, device: c_int, peer: c_int) {
        check(device)?;
        check(peer)?;
        put(can, (device != peer).into())
    }

    /// What it is like to reach another's memory: rank, access, atomics, arrays.
    fn cuDeviceGetP2PAttribute(value: *mut c_int, attribute: c_uint, device: c_int, peer: c_int) {
        check_peers(device, peer)?;
        match attribute {
            1 | 5 => put(value, 0),
            2..=4 => put(value, 1),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    /// A function's address by name and version: there is one version of each.
    fn cuGetProcAddress_v2(name: *const c_char, found: *mut *mut c_void, version: c_int, _flags: u64, status: *mut c_int) {
        let name = text(name)?;
        if found.is_null() || version > VERSION {
            return Err(Error::INVALID_VALUE);
        }
        let mut versions = ["_v4", "_v3", "_v2", "WithFlags", ""].iter();
        let look = |suffix: &&str| {
            let symbol = std::ffi::CString::new(format!("{name}{suffix}")).ok()?;
            let at = libc::dlsym(libc::RTLD_DEFAULT, symbol.as_ptr());
            (!at.is_null()).then_some(at)
        };
        let at = versions.find_map(look);
        put_if(status, c_int::from(at.is_none()));
        put(found, at.unwrap_or(std::ptr::null_mut()))?;
        at.map(|_| ()).ok_or(Error::NOT_FOUND)
    }
}
