//! Memory at wanted addresses: a range is reserved, memory is made, and mapped there.
//!
//! Memory that is mapped nowhere lies in the device's own range, and its pages move with it (`mremap`): it can be mapped at
//! one place at a time.

use super::memory::{Kind, Region};
use super::space::map;
use super::table::fresh;
use super::{
    all, api, device, get, lock, put, put_if, ready, ready_anywhere, refused, Done, Error, Handle,
    Pointer,
};
use lh_loader::layout::{DEVICE_BASE, DEVICE_LEN};
use std::collections::BTreeMap;
use std::ffi::{c_int, c_uint, c_void};
use std::sync::Mutex;

/// What sizes and addresses are multiples of.
const GRANULARITY: u64 = 2 << 20;
/// `CU_MEM_LOCATION_TYPE_DEVICE`.
const DEVICE: c_int = 1;
/// `CU_MEM_ALLOCATION_TYPE_PINNED`.
const PINNED: c_uint = 1;

/// `CUmemLocation`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    kind: c_int,
    id: c_int,
}

/// `CUmemAllocationProp`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Properties {
    kind: c_uint,
    handles: c_uint,
    location: Location,
    win32: *const c_void,
    flags: [u8; 8],
}

/// `CUmemAccessDesc`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Access {
    location: Location,
    flags: c_uint,
}

/// Memory that was made.
struct Physical {
    /// Where it lies while it is mapped nowhere.
    home: Pointer,
    /// On this device.
    device: c_int,
    size: u64,
    mapped: Option<Pointer>,
    /// Times that it is to be released.
    held: u32,
}

#[derive(Default)]
struct All {
    made: BTreeMap<Handle, Physical>,
}

static ALL: Mutex<All> = Mutex::new(All {
    made: BTreeMap::new(),
});

impl Properties {
    fn check(&self) -> Done {
        if self.kind != PINNED || self.location.kind != DEVICE {
            return Err(Error::INVALID_VALUE);
        }
        device::check(self.location.id)?;
        match self.handles {
            0 => Ok(()),
            _ => Err(refused::say(
                "cuMemCreate of memory that other processes can have",
            )),
        }
    }
}

/// Where the flags of a device are in those of mapped memory.
fn shift(device: c_int) -> c_int {
    2 * device
}

/// How a device may use mapped memory: not at all (0), for reading (1), in all ways (3).
pub fn allowed(region: &Region, device: c_int) -> c_uint {
    region.flags >> shift(device) & 3
}

fn whole(n: u64) -> bool {
    n > 0 && n.is_multiple_of(GRANULARITY)
}

/// Moves pages.
fn move_pages(from: Pointer, to: Pointer, size: u64) -> Done {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: `from` is memory of the device's, `to` is reserved for it.
    let at = unsafe {
        libc::mremap(
            from as *mut c_void,
            size as usize,
            size as usize,
            flags,
            to as *mut c_void,
        )
    };
    match at as u64 == to {
        true => Ok(()),
        false => Err(Error::OUT_OF_MEMORY),
    }
}

impl All {
    /// The memory that is mapped from here on.
    fn mapped_at(&mut self, at: Pointer) -> Option<(&Handle, &mut Physical)> {
        self.made.iter_mut().find(|(_, p)| p.mapped == Some(at))
    }

    /// Ends memory that is neither held nor mapped.
    fn end_if_unused(&mut self, handle: Handle) -> Done {
        match self.made.get(&handle) {
            Some(p) if p.held == 0 && p.mapped.is_none() => {
                let home = p.home;
                self.made.remove(&handle);
                ready_anywhere()?.memory.release(home, Kind::Made)
            }
            _ => Ok(()),
        }
    }
}

/// Unmaps what begins here; gives its size.
fn unmap(all: &mut All, at: Pointer) -> Result<u64, Error> {
    let (handle, physical) = all.mapped_at(at).ok_or(Error::INVALID_VALUE)?;
    let (handle, size) = (*handle, physical.size);
    move_pages(at, physical.home, size)?;
    map(at, size, false);
    physical.mapped = None;
    ready_anywhere()?.memory.write().regions.remove(&at);
    all.end_if_unused(handle)?;
    Ok(size)
}

api! {
    /// Reserves a range, at the wanted address if that is free.
    fn cuMemAddressReserve(out: *mut Pointer, size: usize, align: usize, wanted: Pointer, flags: u64) {
        let driver = ready()?;
        get(out)?;
        let size = size as u64;
        if !whole(size) || flags != 0 || !(align == 0 || align.is_power_of_two()) {
            return Err(Error::INVALID_VALUE);
        }
        let align = (align as u64).max(GRANULARITY);
        let mut memory = driver.memory.write();
        let range = wanted..wanted.saturating_add(size);
        let lower_half = DEVICE_BASE as u64..(DEVICE_BASE + DEVICE_LEN / 2) as u64;
        let free = memory.reserved.range(..range.end).next_back().is_none_or(|(at, size)| at + size <= wanted);
        let mut at = 0;
        if wanted.is_multiple_of(align) && free && lower_half.contains(&wanted) && range.end <= lower_half.end {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
            // NOREPLACE covers nothing that is mapped.
            if libc::mmap(wanted as *mut c_void, size as usize, libc::PROT_NONE, flags, -1, 0) as u64 == wanted {
                at = wanted;
            }
        }
        if at == 0 {
            at = memory.anywhere.take(size, align).ok_or(Error::OUT_OF_MEMORY)?;
            map(at, size, false);
        }
        memory.reserved.insert(at, size);
        put(out, at)
    }

    /// Gives a range back.
    fn cuMemAddressFree(at: Pointer, size: usize) {
        let driver = ready_anywhere()?;
        let size = size as u64;
        let mut memory = driver.memory.write();
        if memory.reserved.get(&at) != Some(&size) || memory.any(at..at + size) {
            return Err(Error::INVALID_VALUE);
        }
        memory.reserved.remove(&at);
        match memory.anywhere.has(at) {
            true => memory.anywhere.give(at, size),
            false => drop(libc::munmap(at as *mut c_void, size as usize)),
        }
        Ok(())
    }

    /// Makes memory.
    fn cuMemCreate(out: *mut Handle, size: usize, properties: *const Properties, flags: u64) {
        let driver = ready()?;
        get(out)?;
        let properties = get(properties)?;
        properties.check()?;
        let (size, device) = (size as u64, properties.location.id);
        if !whole(size) || flags != 0 {
            return Err(Error::INVALID_VALUE);
        }
        let home = driver.memory.allocate_on(device, Kind::Made, size, GRANULARITY, 0)?;
        let mut all = lock(&ALL);
        let handle = fresh();
        all.made.insert(handle, Physical { home, device, size, mapped: None, held: 1 });
        put(out, handle)
    }

    /// Ends it, as soon as it is not mapped.
    fn cuMemRelease(handle: Handle) {
        ready_anywhere()?;
        let mut all = lock(&ALL);
        let physical = all.made.get_mut(&handle).filter(|p| p.held > 0).ok_or(Error::INVALID_VALUE)?;
        physical.held -= 1;
        all.end_if_unused(handle)
    }

    /// Maps it.
    fn cuMemMap(at: Pointer, size: usize, offset: usize, handle: Handle, flags: u64) {
        let driver = ready()?;
        let size = size as u64;
        let mut all = lock(&ALL);
        let physical = all.made.get_mut(&handle).filter(|p| p.held > 0).ok_or(Error::INVALID_VALUE)?;
        if !whole(size) || !at.is_multiple_of(GRANULARITY) || offset != 0 || flags != 0 {
            return Err(Error::INVALID_VALUE);
        }
        if physical.mapped.is_some() || size != physical.size {
            return Err(refused::say("cuMemMap of a part, or of what is mapped already"));
        }
        let mut memory = driver.memory.write();
        let inside = memory.reserved.range(..=at).next_back().is_some_and(|(start, len)| at + size <= start + len);
        if !inside || memory.any(at..at + size) {
            return Err(Error::INVALID_VALUE);
        }
        move_pages(physical.home, at, size)?;
        physical.mapped = Some(at);
        memory.add(physical.device, at, size, Kind::Mapped, 0);
        Ok(())
    }

    /// Unmaps what lies in a range: whole mappings.
    fn cuMemUnmap(at: Pointer, size: usize) {
        let driver = ready_anywhere()?;
        driver.wait_all();
        let mut all = lock(&ALL);
        let (mut next, end) = (at, at.checked_add(size as u64).ok_or(Error::INVALID_VALUE)?);
        // All or nothing.
        while next < end {
            next += all.mapped_at(next).ok_or(Error::INVALID_VALUE)?.1.size;
        }
        if next != end || size == 0 {
            return Err(Error::INVALID_VALUE);
        }
        next = at;
        while next < end {
            next += unmap(&mut all, next)?;
        }
        Ok(())
    }

    /// Says who may use what is mapped in a range.
    fn cuMemSetAccess(at: Pointer, size: usize, wanted: *const Access, n: usize) {
        let driver = ready()?;
        let mut memory = driver.memory.write();
        let end = at.checked_add(size as u64).filter(|end| *end > at).ok_or(Error::INVALID_VALUE)?;
        let wanted = all(wanted, n)?;
        let known = |l: &Location| l.kind == DEVICE && device::check(l.id).is_ok();
        if wanted.iter().any(|w| !known(&w.location) || !matches!(w.flags, 0 | 1 | 3)) {
            return Err(Error::INVALID_VALUE);
        }
        let mut next = at;
        while next < end {
            let region = memory.at(next).filter(|r| r.kind == Kind::Mapped).ok_or(Error::INVALID_VALUE)?;
            next = region.range().end;
        }
        for (_, region) in memory.regions.range_mut(..end).rev().take_while(|(_, r)| r.range().end > at) {
            for access in wanted {
                let shift = shift(access.location.id);
                region.flags = region.flags & !(3 << shift) | access.flags << shift;
            }
        }
        Ok(())
    }

    /// Who may use it.
    fn cuMemGetAccess(flags: *mut u64, location: *const Location, at: Pointer) {
        let memory = ready()?.memory.read();
        let device = get(location)?.id;
        device::check(device)?;
        let region = memory.at(at).filter(|r| r.kind == Kind::Mapped).ok_or(Error::INVALID_VALUE)?;
        put(flags, allowed(region, device).into())
    }

    /// What sizes are to be multiples of.
    fn cuMemGetAllocationGranularity(granularity: *mut usize, properties: *const Properties, _which: c_uint) {
        ready()?;
        get(properties)?.check()?;
        put(granularity, GRANULARITY as usize)
    }

    /// What memory was made of.
    fn cuMemGetAllocationPropertiesFromHandle(properties: *mut Properties, handle: Handle) {
        ready()?;
        let device = lock(&ALL).made.get(&handle).map(|p| p.device);
        let location = Location { kind: DEVICE, id: device.ok_or(Error::INVALID_VALUE)? };
        put(properties, Properties { kind: PINNED, handles: 0, location, win32: std::ptr::null(), flags: [0; 8] })
    }

    /// The memory that is mapped here; it is to be released once more.
    fn cuMemRetainAllocationHandle(out: *mut Handle, at: Pointer) {
        let start = ready()?.memory.read().at(at).map(|r| r.start).ok_or(Error::INVALID_VALUE)?;
        let mut all = lock(&ALL);
        let (handle, physical) = all.mapped_at(start).ok_or(Error::INVALID_VALUE)?;
        physical.held += 1;
        put_if(out, *handle);
        Ok(())
    }
}
