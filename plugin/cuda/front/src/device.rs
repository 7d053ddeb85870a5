//! Devices, with what the program has first seen of them: it is the same after a restart elsewhere.

use super::codes::*;
use super::driver::{code, inside, put};
use super::forks;
use super::lower::{self, ix};
use super::model;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::sync::Mutex;

/// One more than the greatest number of an attribute.
const ATTRIBUTES: usize = 160;
/// `CU_DEVICE_ATTRIBUTE_*`.
const COMPUTE_CAPABILITY: [usize; 2] = [75, 76];

/// A device's primary context.
#[derive(Clone, Copy, Default)]
pub struct Primary {
    /// Its handle, once it has been retained.
    pub handle: u64,
    /// How often it is retained.
    pub references: u32,
    /// Its flags.
    pub flags: i32,
}

/// A device.
pub struct Device {
    /// Its primary context.
    pub primary: Primary,
    /// Its attributes; those that the driver does not know are left out.
    pub attributes: [Option<i32>; ATTRIBUTES],
    /// Its name.
    pub name: [u8; 256],
    /// Bytes of memory.
    pub memory: u64,
    /// `CUuuid`.
    pub uuid: [u8; 16],
    /// Its address on the bus.
    pub bus: [u8; 16],
}

impl Device {
    /// Its compute capability: 90 for 9.0.
    pub fn architecture(&self) -> u32 {
        let [major, minor] = COMPUTE_CAPABILITY.map(|a| self.attributes[a].unwrap_or(0));
        (10 * major + minor) as u32
    }
}

/// The architecture that all devices have.
pub fn architecture() -> u32 {
    let model = model::lock();
    let all = model.devices.iter().map(Device::architecture);
    all.min().unwrap_or(u32::MAX)
}

/// All devices, as the lower half has them.
///
/// # Safety
/// The lower half is initialised; inside the gate.
pub unsafe fn all() -> Vec<Device> {
    let mut count = 0_i32;
    // SAFETY: a place for a number.
    unsafe { lower::must(ix::cuDeviceGetCount, &[&raw mut count as u64]) };
    (0..count).map(|i| unsafe { one(i as u64) }).collect()
}

unsafe fn one(i: u64) -> Device {
    let mut device = Device {
        primary: Primary::default(),
        attributes: [None; ATTRIBUTES],
        name: [0; 256],
        memory: 0,
        uuid: [0; 16],
        bus: [0; 16],
    };
    // SAFETY: places for what is asked, and their lengths.
    unsafe {
        for (number, place) in device.attributes.iter_mut().enumerate().skip(1) {
            let mut value = 0_i32;
            let args = [&raw mut value as u64, number as u64, i];
            if lower::must(ix::cuDeviceGetAttribute, &args) == SUCCESS {
                *place = Some(value);
            }
        }
        let name = device.name.as_mut_ptr() as u64;
        lower::must(ix::cuDeviceGetName, &[name, 256, i]);
        lower::must(ix::cuDeviceTotalMem_v2, &[&raw mut device.memory as u64, i]);
        lower::must(
            ix::cuDeviceGetUuid_v2,
            &[device.uuid.as_mut_ptr() as u64, i],
        );
        let bus = device.bus.as_mut_ptr() as u64;
        lower::must(ix::cuDeviceGetPCIBusId, &[bus, 16, i]);
    }
    device
}

/// Asks the model about a device.
unsafe fn ask<T>(out: u64, device: i32, what: impl Fn(&Device) -> Option<T>) -> i32 {
    inside(|| {
        let model = model::lock();
        let known = model.devices.get(device as usize).ok_or(INVALID_DEVICE)?;
        // SAFETY: a place for the answer.
        unsafe { put(out, what(known).ok_or(INVALID_VALUE)?) }
    })
}

pub unsafe fn cuDeviceGetCount(out: u64) -> i32 {
    inside(|| unsafe { put(out, model::lock().devices.len() as i32) })
}

pub unsafe fn cuDeviceGet(out: u64, ordinal: i32) -> i32 {
    unsafe { ask(out, ordinal, |_| Some(ordinal)) }
}

pub unsafe fn cuDeviceGetAttribute(out: u64, attribute: i32, device: i32) -> i32 {
    let find = |d: &Device| *d.attributes.get(attribute as usize)?;
    unsafe { ask(out, device, find) }
}

pub unsafe fn cuDeviceTotalMem_v2(out: u64, device: i32) -> i32 {
    unsafe { ask(out, device, |d| Some(d.memory)) }
}

pub unsafe fn cuDeviceGetUuid_v2(out: u64, device: i32) -> i32 {
    unsafe { ask(out, device, |d| Some(d.uuid)) }
}

pub unsafe fn cuDeviceGetUuid(out: u64, device: i32) -> i32 {
    unsafe { cuDeviceGetUuid_v2(out, device) }
}

/// Gives text, with its end, to a place of this length.
unsafe fn text(out: u64, len: i32, device: i32, of: impl Fn(&Device) -> &[u8]) -> i32 {
    inside(|| unsafe {
        if out == 0 || len <= 0 {
            return Err(INVALID_VALUE);
        }
        let model = model::lock();
        let known = model.devices.get(device as usize).ok_or(INVALID_DEVICE)?;
        let text = of(known);
        let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
        let n = end.min(len as usize - 1);
        core::ptr::copy_nonoverlapping(text.as_ptr(), out as *mut u8, n);
        put(out + n as u64, 0_u8)
    })
}

pub unsafe fn cuDeviceGetName(out: u64, len: i32, device: i32) -> i32 {
    unsafe { text(out, len, device, |d| &d.name) }
}

pub unsafe fn cuDeviceGetPCIBusId(out: u64, len: i32, device: i32) -> i32 {
    unsafe { text(out, len, device, |d| &d.bus) }
}

/// Domain, bus, device and function of an address on the bus: what is not said is 0.
fn on_bus(address: &str) -> Option<[u32; 4]> {
    let (place, function) = address.split_once('.').unwrap_or((address, "0"));
    let parts: Vec<&str> = place.split(':').collect();
    let all = match parts[..] {
        [domain, bus, device] => [domain, bus, device, function],
        [bus, device] => ["0", bus, device, function],
        _ => return None,
    };
    let numbers = all.map(|part| u32::from_str_radix(part, 16).ok());
    let [Some(a), Some(b), Some(c), Some(d)] = numbers else {
        return None;
    };
    Some([a, b, c, d])
}

/// As they were first seen: the program may have kept an address.
pub unsafe fn cuDeviceGetByPCIBusId(out: u64, address: u64) -> i32 {
    inside(|| unsafe {
        if address == 0 {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the program's C string.
        let wanted = CStr::from_ptr(address as *const _).to_string_lossy();
        let wanted = on_bus(wanted.trim()).ok_or(INVALID_VALUE)?;
        let is_there = |d: &Device| {
            let address = CStr::from_bytes_until_nul(&d.bus).ok()?;
            Some(on_bus(&address.to_string_lossy())? == wanted)
        };
        let found = {
            let model = model::lock();
            let mut all = model.devices.iter();
            all.position(|d| is_there(d) == Some(true))
        };
        put(out, found.ok_or(INVALID_DEVICE)? as i32)
    })
}

pub unsafe fn cuDeviceComputeCapability(major: u64, minor: u64, device: i32) -> i32 {
    let [a, b] = COMPUTE_CAPABILITY;
    match unsafe { ask(major, device, |d| d.attributes[a]) } {
        SUCCESS => unsafe { ask(minor, device, |d| d.attributes[b]) },
        code => code,
    }
}

pub unsafe fn cuDeviceGetProperties(out: u64, device: i32) -> i32 {
    /// The attributes that `CUdevprop` is made of, in its order.
    const FIELDS: [usize; 14] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
    let field = |d: &Device, i: usize| d.attributes[i].unwrap_or(0);
    unsafe { ask(out, device, |d| Some(FIELDS.map(|i| field(d, i)))) }
}

pub unsafe fn cuDriverGetVersion(out: u64) -> i32 {
    /// As first seen; 0: not yet.
    static VERSION: Mutex<i32> = Mutex::new(0);
    let _inside = crate::plugin::enter(crate::plugin::Call::MustComplete);
    if !lower::has(ix::cuDriverGetVersion) && !lower::resolve() {
        return super::driver::code(unsafe { put(out, 0) });
    }
    let mut version = VERSION.lock().unwrap_or_else(|e| e.into_inner());
    if *version == 0 {
        // SAFETY: a place for a number.
        unsafe { lower::must(ix::cuDriverGetVersion, &[&raw mut *version as u64]) };
    }
    super::driver::code(unsafe { put(out, *version) })
}

/// The text of an error that is newer than our table: what the driver says, kept in the upper half.
unsafe fn says(index: usize, error: i32, out: u64) -> i32 {
    static TEXTS: Mutex<BTreeMap<(usize, i32), CString>> = Mutex::new(BTreeMap::new());
    if forks::forked() {
        return INVALID_VALUE;
    }
    let _inside = crate::plugin::enter(crate::plugin::Call::MustComplete);
    if out == 0 || (!lower::has(index) && !lower::resolve()) {
        return INVALID_VALUE;
    }
    let mut texts = TEXTS.lock().unwrap_or_else(|e| e.into_inner());
    if let std::collections::btree_map::Entry::Vacant(free) = texts.entry((index, error)) {
        let mut at = 0_u64;
        // SAFETY: a place for a pointer; what it points to is a C string.
        unsafe {
            let code = lower::must(index, &[error as u64, &raw mut at as u64]);
            if code != SUCCESS || at == 0 {
                (out as *mut u64).write(0);
                return INVALID_VALUE;
            }
            free.insert(CStr::from_ptr(at as *const _).into());
        }
    }
    // A text stays where it is.
    let text = texts[&(index, error)].as_ptr() as u64;
    super::driver::code(unsafe { put(out, text) })
}

pub unsafe fn cuGetErrorName(error: i32, out: u64) -> i32 {
    match told(error).filter(|t| !t.driver.is_empty()) {
        // SAFETY: the program's place.
        Some(known) => code(unsafe { put(out, known.driver.as_ptr() as u64) }),
        None => unsafe { says(ix::cuGetErrorName, error, out) },
    }
}

pub unsafe fn cuGetErrorString(error: i32, out: u64) -> i32 {
    match told(error).filter(|t| !t.driver.is_empty()) {
        // SAFETY: the program's place.
        Some(known) => code(unsafe { put(out, known.text.as_ptr() as u64) }),
        None => unsafe { says(ix::cuGetErrorString, error, out) },
    }
}

#[cfg(test)]
mod tests {
    use super::on_bus;

    #[test]
    fn addresses_on_the_bus_are_read_in_all_forms() {
        for address in ["0000:3B:0a.0", "0:3b:A", "3b:0a.0", "00000000:3b:0A"] {
            assert_eq!(on_bus(address), Some([0, 0x3b, 0xa, 0]), "{address}");
        }
        assert_eq!(on_bus("1:2:3.4"), Some([1, 2, 3, 4]));
        for address in ["", "3b", "x:3b:0a.0", "1:2:3:4"] {
            assert_eq!(on_bus(address), None, "{address}");
        }
    }
}
