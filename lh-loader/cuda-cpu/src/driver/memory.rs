//! Memory of every kind, by address.

use super::device::MOST;
use super::other;
use super::space::Space;
use super::{api, context, cu, get, put, put_if, ready, Done, Error, Handle, Pointer};
use lh_loader::layout::{DEVICE_BASE, DEVICE_LEN};
use std::collections::BTreeMap;
use std::ffi::{c_int, c_uint};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The device's.
    Device,
    /// The device's, which the host uses too.
    Managed,
    /// The host's, from this driver.
    Host,
    /// The host's, which the program has registered.
    Registered,
    /// A variable of a module.
    Variable,
    /// The device's, to be mapped where the program wants it; nobody can use it here.
    Made,
    /// The device's, mapped where the program wants it.
    Mapped,
    /// The device's, given and taken in the order of a stream.
    Pooled(Handle),
}

impl Kind {
    /// How much of the device's memory a piece of this size takes.
    fn counted(self, size: u64) -> u64 {
        match self {
            Kind::Host | Kind::Registered => 0,
            _ => size,
        }
    }
}

/// A piece of memory.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// Where it begins.
    pub start: Pointer,
    /// Its size, as it was asked for.
    pub size: u64,
    /// What it is.
    pub kind: Kind,
    /// A number of its own.
    pub id: u64,
    /// The flags that it was made with; of mapped memory, how devices may use it: two bits for each.
    pub flags: c_uint,
    /// The device that has it, or had asked for it.
    pub device: c_int,
    /// The context that it ends with; 0: none.
    pub context: Handle,
}

/// All memory.
pub struct Memory {
    /// What each device has.
    total: u64,
    inner: RwLock<Inner>,
}

/// What is in use.
pub struct Inner {
    /// Pieces by address.
    pub regions: BTreeMap<Pointer, Region>,
    /// Bytes that are in use, by device.
    used: [u64; MOST],
    device: Space,
    managed: Space,
    host: Space,
    variables: Space,
    /// Ranges that were reserved at wanted addresses, and their sizes.
    pub reserved: BTreeMap<Pointer, u64>,
    /// For ranges wherever the device likes.
    pub anywhere: Space,
}

/// The device places memory in the upper half of its range of addresses; the lower half is for wanted addresses.
const OWN: u64 = (DEVICE_BASE + DEVICE_LEN / 2) as u64;
const TIB: u64 = 1 << 40;
/// What addresses of allocations are multiples of.
pub const ALIGN: u64 = 512;
/// The same for managed memory.
const MANAGED_ALIGN: u64 = 64 << 10;
/// The same for the host's.
const PAGE: u64 = 4096;
/// What the pitch of allocated rows is a multiple of.
const PITCH: usize = 512;
/// Flags of memory of the host: portable, mapped, write-combined.
const HOST_FLAGS: c_uint = 7;
/// Flags of registered memory: portable, mapped, of a device, only read.
const REGISTER_FLAGS: c_uint = 15;

impl Region {
    /// Its addresses.
    pub fn range(&self) -> Range<Pointer> {
        self.start..self.start + self.size
    }

    /// May any device use it?
    fn is_usable(&self) -> bool {
        self.kind != Kind::Made && (self.kind != Kind::Mapped || self.flags != 0)
    }
}

impl Inner {
    /// The piece that an address lies in.
    pub fn at(&self, address: Pointer) -> Option<&Region> {
        let (_, region) = self.regions.range(..=address).next_back()?;
        region.range().contains(&address).then_some(region)
    }

    /// Does anything lie in the range?
    pub fn any(&self, range: Range<Pointer>) -> bool {
        let last = self.regions.range(..range.end).next_back();
        last.is_some_and(|(_, r)| r.range().end > range.start)
    }

    /// Takes note of a piece.
    pub fn add(&mut self, device: c_int, start: Pointer, size: u64, kind: Kind, flags: c_uint) {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let id = IDS.fetch_add(1, Relaxed);
        let region = Region {
            start,
            size,
            kind,
            id,
            flags,
            device,
            context: context::current().unwrap_or(0),
        };
        self.regions.insert(start, region);
    }

    fn space(&mut self, kind: Kind) -> (&mut Space, u64) {
        match kind {
            Kind::Managed => (&mut self.managed, MANAGED_ALIGN),
            Kind::Variable => (&mut self.variables, 16),
            Kind::Host | Kind::Registered => (&mut self.host, PAGE),
            Kind::Device | Kind::Made | Kind::Mapped | Kind::Pooled(_) => (&mut self.device, ALIGN),
        }
    }
}

impl Memory {
    /// Half of the machine's memory is the devices', or so many MiB each as the environment says.
    pub fn new(devices: c_int) -> Memory {
        let wish = std::env::var("SPLITPROC_CUDA_CPU_MEMORY").ok();
        let wish = wish
            .and_then(|mib| mib.parse::<u64>().ok())
            .map(|mib| mib << 20);
        // SAFETY: sysconf reads two numbers.
        let ram = unsafe {
            libc::sysconf(libc::_SC_PHYS_PAGES).max(0) as u64
                * libc::sysconf(libc::_SC_PAGESIZE).max(0) as u64
        };
        let total = wish.unwrap_or((ram / 2 / devices as u64).clamp(256 << 20, TIB));
        Memory {
            total: total.min(TIB) / PAGE * PAGE,
            inner: RwLock::new(Inner {
                regions: BTreeMap::new(),
                used: [0; MOST],
                device: Space::new(OWN, 2 * TIB),
                managed: Space::new(OWN + 2 * TIB + other::offset(), TIB - other::offset()),
                host: Space::new(OWN + 3 * TIB, TIB),
                variables: Space::new(OWN + 6 * TIB + other::offset(), TIB - other::offset()),
                reserved: BTreeMap::new(),
                anywhere: Space::new(OWN + 4 * TIB, 2 * TIB),
            }),
        }
    }
}

impl Memory {
    /// How much a device has.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What is there.
    pub fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(|e| e.into_inner())
    }

    /// What is there, to change it.
    pub fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(|e| e.into_inner())
    }

    /// Memory that kernels may use, around an address.
    pub fn reachable(&self, address: Pointer) -> Option<Range<Pointer>> {
        let inner = self.read();
        let region = inner.at(address)?;
        region.is_usable().then(|| region.range())
    }

    /// Counts bytes of the device's as used, if there are so many.
    fn count(&self, inner: &mut Inner, device: c_int, size: u64) -> Done {
        let used = &mut inner.used[device as usize];
        match self.total - *used >= size {
            true => *used += size,
            false => return Err(Error::OUT_OF_MEMORY),
        }
        Ok(())
    }

    /// Memory for this, on the device of the thread's context.
    pub fn allocate(&self, kind: Kind, size: u64, align: u64) -> Result<Pointer, Error> {
        self.allocate_on(context::of_thread().unwrap_or(0), kind, size, align, 0)
    }

    fn allocate_with(
        &self,
        kind: Kind,
        size: u64,
        align: u64,
        flags: c_uint,
    ) -> Result<Pointer, Error> {
        self.allocate_on(context::of_thread()?, kind, size, align, flags)
    }

    /// The same on this device.
    pub fn allocate_on(
        &self,
        device: c_int,
        kind: Kind,
        size: u64,
        align: u64,
        flags: c_uint,
    ) -> Result<Pointer, Error> {
        if size == 0 {
            return Err(Error::INVALID_VALUE);
        }
        if size > self.total {
            return Err(Error::OUT_OF_MEMORY);
        }
        let mut inner = self.write();
        let whole = size.next_multiple_of(ALIGN);
        let counted = kind.counted(whole);
        self.count(&mut inner, device, counted)?;
        let (space, own) = inner.space(kind);
        let Some(at) = space.take(whole, own.max(align)) else {
            inner.used[device as usize] -= counted;
            return Err(Error::OUT_OF_MEMORY);
        };
        inner.add(device, at, size, kind, flags);
        Ok(at)
    }

    /// Gives memory of a kind back.
    pub fn release(&self, at: Pointer, kind: Kind) -> Done {
        let mut inner = self.write();
        match inner.regions.get(&at) {
            Some(region) if region.kind == kind => {
                let whole = region.size.next_multiple_of(ALIGN);
                let device = region.device as usize;
                inner.regions.remove(&at);
                inner.used[device] -= kind.counted(whole);
                inner.space(kind).0.give(at, whole);
                Ok(())
            }
            _ => Err(Error::INVALID_VALUE),
        }
    }

    /// It ends with no context.
    pub fn outlives_contexts(&self, at: Pointer) {
        if let Some(region) = self.write().regions.get_mut(&at) {
            region.context = 0;
        }
    }

    /// Gives back what ends with a context: neither what pools have, nor what was made to be mapped.
    pub fn end_context(&self, context: Handle) {
        use Kind::{Device, Host, Managed, Registered};
        let ends = |r: &&Region| {
            r.context == context && matches!(r.kind, Device | Managed | Host | Registered)
        };
        let list: Vec<Region> = self.read().regions.values().filter(ends).copied().collect();
        for region in list {
            match region.kind {
                Registered => drop(self.write().regions.remove(&region.start)),
                // It was there just now, and whoever takes it back at this moment does the same.
                kind => drop(self.release(region.start, kind)),
            }
        }
    }

    /// Is it the host's memory that the driver knows nothing of?
    pub fn is_pageable(&self, address: Pointer) -> bool {
        self.read().at(address).is_none()
    }

    /// Refuses a range that is not all in one piece of memory, unless it is the host's own.
    pub fn check_device(&self, address: Pointer, size: u64) -> Done {
        let inner = self.read();
        let mut at = address;
        let end = address.checked_add(size).ok_or(Error::INVALID_VALUE)?;
        // Mapped pieces may lie side by side.
        while at < end {
            let region = inner
                .at(at)
                .filter(|r| r.is_usable())
                .ok_or(Error::INVALID_VALUE)?;
            if region.range().end < end && region.kind != Kind::Mapped {
                return Err(Error::INVALID_VALUE);
            }
            at = region.range().end;
        }
        Ok(())
    }
}

/// The managed piece that a range lies in.
pub fn managed(at: Pointer, size: usize) -> Done {
    let memory = ready()?.memory.read();
    let region = memory
        .at(at)
        .filter(|r| r.kind == Kind::Managed)
        .ok_or(Error::INVALID_VALUE)?;
    match at.checked_add(size as u64) {
        Some(end) if size > 0 && end <= region.range().end.next_multiple_of(PAGE) => Ok(()),
        _ => Err(Error::INVALID_VALUE),
    }
}

/// A piece of the host's memory that is known here.
fn on_host(at: Pointer) -> Result<Region, Error> {
    let memory = ready()?.memory.read();
    let found = memory
        .at(at)
        .filter(|r| matches!(r.kind, Kind::Host | Kind::Registered | Kind::Managed));
    found.copied().ok_or(Error::INVALID_VALUE)
}

api! {
    /// How much memory is free, and how much there is.
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        let memory = &ready()?.memory;
        let used = memory.read().used[context::of_thread()? as usize];
        put_if(free, (memory.total - used) as usize);
        put_if(total, memory.total as usize);
        Ok(())
    }

    /// Memory.
    fn cuMemAlloc_v2(out: *mut Pointer, size: usize) {
        let driver = ready()?;
        driver.refuse_capture()?;
        get(out)?;
        put(out, driver.memory.allocate(Kind::Device, size as u64, ALIGN)?)
    }

    /// Memory for rows.
    fn cuMemAllocPitch_v2(out: *mut Pointer, pitch: *mut usize, width: usize, height: usize, element: c_uint) {
        let driver = ready()?;
        driver.refuse_capture()?;
        if !matches!(element, 4 | 8 | 16) || width == 0 || height == 0 || out.is_null() {
            return Err(Error::INVALID_VALUE);
        }
        let row = width.checked_next_multiple_of(PITCH).ok_or(Error::OUT_OF_MEMORY)?;
        let size = row.checked_mul(height).ok_or(Error::OUT_OF_MEMORY)?;
        put(pitch, row)?;
        put(out, driver.memory.allocate(Kind::Device, size as u64, ALIGN)?)
    }

    /// Takes memory back, when all that may use it is done.
    fn cuMemFree_v2(at: Pointer) {
        let driver = ready()?;
        driver.refuse_capture()?;
        if at == 0 {
            return Ok(());
        }
        driver.wait_all();
        let kind = driver.memory.read().regions.get(&at).map(|r| r.kind);
        match kind {
            Some(kind @ (Kind::Device | Kind::Managed | Kind::Pooled(_))) => driver.memory.release(at, kind),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    /// The allocation that an address lies in.
    fn cuMemGetAddressRange_v2(start: *mut Pointer, size: *mut usize, at: Pointer) {
        let memory = ready()?.memory.read();
        let region = memory.at(at).ok_or(Error::NOT_FOUND)?;
        put_if(start, region.start);
        put_if(size, region.size as usize);
        Ok(())
    }

    /// Memory of the host.
    fn cuMemAllocHost_v2(out: *mut Pointer, size: usize) {
        let driver = ready()?;
        driver.refuse_capture()?;
        get(out)?;
        put(out, driver.memory.allocate(Kind::Host, size as u64, PAGE)?)
    }

    /// Memory of the host.
    fn cuMemHostAlloc(out: *mut Pointer, size: usize, flags: c_uint) {
        let driver = ready()?;
        driver.refuse_capture()?;
        get(out)?;
        if flags & !HOST_FLAGS != 0 {
            return Err(Error::INVALID_VALUE);
        }
        put(out, driver.memory.allocate_with(Kind::Host, size as u64, PAGE, flags)?)
    }

    /// Takes it back.
    fn cuMemFreeHost(at: Pointer) {
        let driver = ready()?;
        driver.refuse_capture()?;
        if at == 0 {
            return Ok(());
        }
        driver.wait_all();
        driver.memory.release(at, Kind::Host)
    }

    /// Where the device sees memory of the host: where the host does.
    fn cuMemHostGetDevicePointer_v2(out: *mut Pointer, at: Pointer, flags: c_uint) {
        on_host(at)?;
        if flags != 0 {
            return Err(Error::INVALID_VALUE);
        }
        put(out, at)
    }

    /// The flags that it was made with.
    fn cuMemHostGetFlags(flags: *mut c_uint, at: Pointer) {
        put(flags, on_host(at)?.flags)
    }

    /// Makes memory of the program's known.
    fn cuMemHostRegister_v2(at: Pointer, size: usize, flags: c_uint) {
        let driver = ready()?;
        driver.refuse_capture()?;
        let end = at.checked_add(size as u64).ok_or(Error::INVALID_VALUE)?;
        if at == 0 || size == 0 || flags & !REGISTER_FLAGS != 0 {
            return Err(Error::INVALID_VALUE);
        }
        let mut memory = driver.memory.write();
        if memory.any(at..end) {
            return Err(Error::HOST_MEMORY_ALREADY_REGISTERED);
        }
        memory.add(context::of_thread()?, at, size as u64, Kind::Registered, flags);
        Ok(())
    }

    /// Forgets it.
    fn cuMemHostUnregister(at: Pointer) {
        let driver = ready()?;
        driver.refuse_capture()?;
        driver.wait_all();
        let mut memory = driver.memory.write();
        match memory.regions.get(&at) {
            Some(region) if region.kind == Kind::Registered => {
                memory.regions.remove(&at);
                Ok(())
            }
            _ => Err(Error::HOST_MEMORY_NOT_REGISTERED),
        }
    }

    /// Memory that host and device use.
    fn cuMemAllocManaged(out: *mut Pointer, size: usize, flags: c_uint) {
        let driver = ready()?;
        driver.refuse_capture()?;
        get(out)?;
        if !matches!(flags, 1 | 2) {
            return Err(Error::INVALID_VALUE);
        }
        put(out, driver.memory.allocate_with(Kind::Managed, size as u64, MANAGED_ALIGN, flags)?)
    }

    /// A hint, of which nothing is to be made here.
    fn cuMemAdvise_v2(at: Pointer, size: usize, advice: c_uint, _location: u64) {
        managed(at, size)?;
        match advice {
            1..=6 => Ok(()),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    /// The same, as before CUDA 13.
    fn cuMemAdvise(at: Pointer, size: usize, advice: c_uint, _device: c_int) {
        cu(cuMemAdvise_v2(at, size, advice, 0))
    }
}
