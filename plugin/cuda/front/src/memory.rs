//! Device memory: mapped at the arena's addresses through the driver's virtual memory management.

use super::arena::{Plan, Region, GRANULE};
use super::codes::*;
use super::driver::{check, inside, put, Class};
use super::lower::{self, ix};
use super::model;
use super::{context, driver, graph, managed, peers, pool, vmm};
use std::sync::{Mutex, MutexGuard};

/// Alignment of rows of pitched memory.
const PITCH: u64 = 512;

/// `CUmemAllocationProp`: pinned memory of a device.
#[repr(C)]
#[derive(Default)]
struct Properties {
    kind: u32,
    handles: u32,
    location: [i32; 2],
    meta: u64,
    flags: [u32; 2],
}

/// `CUmemAccessDesc`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Access {
    /// Type and number.
    pub location: [i32; 2],
    /// `CU_MEM_ACCESS_FLAGS_*`.
    pub flags: u32,
}

/// `CU_MEM_LOCATION_TYPE_DEVICE`.
pub const DEVICE: i32 = 1;
/// `CU_MEM_ACCESS_FLAGS_PROT_READWRITE`.
pub const READ_WRITE: u32 = 3;

/// Maps memory at an address, for those who may use it.
///
/// # Errors
/// The driver's; nothing is left.
///
/// # Safety
/// Inside the gate, in a context; nothing of ours is there.
pub unsafe fn map(at: u64, region: &Region, access: &[Access]) -> Result<(), i32> {
    let len = region.len;
    let mut got = 0_u64;
    // SAFETY: places for results, and numbers.
    unsafe {
        let place = &raw mut got as u64;
        check(lower::must(
            ix::cuMemAddressReserve,
            &[place, len, 0, at, 0],
        ))?;
        if got != at {
            lower::must(ix::cuMemAddressFree, &[got, len]);
            driver::say_once(&format!(
                "the CUDA driver gives device addresses at {got:#x} where {at:#x} is wanted"
            ));
            return Err(OUT_OF_MEMORY);
        }
        let filled = fill(at, region, access);
        if filled.is_err() {
            lower::must(ix::cuMemAddressFree, &[at, len]);
        }
        filled
    }
}

unsafe fn fill(at: u64, region: &Region, access: &[Access]) -> Result<(), i32> {
    let len = region.len;
    let properties = Properties {
        kind: 1,
        location: [DEVICE, region.device],
        ..Properties::default()
    };
    let mut handle = 0_u64;
    // SAFETY: structures as cuda.h has them.
    unsafe {
        let args = [&raw mut handle as u64, len, &raw const properties as u64, 0];
        check(lower::must(ix::cuMemCreate, &args))?;
        let mapped = lower::must(ix::cuMemMap, &[at, len, 0, handle, 0]);
        // What is mapped stays until it is unmapped.
        lower::must(ix::cuMemRelease, &[handle]);
        check(mapped)?;
        let args = [at, len, access.as_ptr() as u64, access.len() as u64];
        let allowed = lower::must(ix::cuMemSetAccess, &args);
        if allowed != SUCCESS {
            lower::must(ix::cuMemUnmap, &[at, len]);
        }
        check(allowed)
    }
}

unsafe fn unmap(at: u64, region: &Region) -> Result<(), i32> {
    // SAFETY: a region that was mapped, and that nothing uses.
    unsafe {
        check(lower::must(ix::cuMemUnmap, &[at, region.len]))?;
        check(lower::must(ix::cuMemAddressFree, &[at, region.len]))
    }
}

/// Regions that a driver would not unmap in a context with a fault. The arena keeps their addresses free.
static LEFT: Mutex<Vec<(u64, Region)>> = Mutex::new(Vec::new());

/// It is locked after the model.
fn left() -> MutexGuard<'static, Vec<(u64, Region)>> {
    LEFT.lock().unwrap_or_else(|e| e.into_inner())
}

/// Unmaps what a fault has left, now that the context is gone.
pub fn unmap_left() {
    let mut model = model::lock();
    left().retain(|(at, region)| {
        // SAFETY: nothing has been there since; inside the gate.
        let done = unsafe { unmap(*at, region) };
        if done.is_ok() {
            model.arena.give_back(*at);
        }
        done.is_err()
    });
}

/// In a fresh half nothing is left.
pub fn forget_left() {
    let mut model = model::lock();
    for (at, _) in left().drain(..) {
        model.arena.give_back(at);
    }
}

/// Allocates memory on the device of the thread's context.
///
/// # Errors
/// The code for the application.
pub fn allocate(len: u64) -> Result<u64, i32> {
    if len == 0 {
        return Err(INVALID_VALUE);
    }
    context::ensure()?;
    let (device, context) = (context::device()?, context::current());
    let access = peers::access(device);
    let mut model = model::lock();
    let plan = model.arena.plan(len, device).ok_or(OUT_OF_MEMORY)?;
    if let Plan::New(at, region) = &plan {
        // SAFETY: the arena says that nothing is there; inside the gate.
        unsafe { map(*at, region, &access) }?;
    }
    Ok(model.arena.add(plan, len, context))
}

/// Frees memory that nothing uses any more.
///
/// # Errors
/// There is none at this address.
pub fn release(at: u64) -> Result<(), i32> {
    if !model::lock().arena.live.contains_key(&at) {
        return Err(INVALID_VALUE);
    }
    // Before another pool can have the address.
    pool::gone(at);
    let mut model = model::lock();
    model.synchronous.remove(&at);
    if let Some((base, region)) = model.arena.remove(at) {
        // SAFETY: the arena says that it is empty.
        if unsafe { unmap(base, &region) }.is_err() {
            left().push((base, region));
            model.arena.reserve(region.len, GRANULE, base);
        }
    }
    Ok(())
}

/// Frees all of a context's memory.
pub fn free_all(context: u64) {
    let of = |model: &model::Model| -> Vec<u64> {
        let all = model.arena.live.iter();
        all.filter(|(_, a)| a.context == context)
            .map(|(at, _)| *at)
            .collect()
    };
    let list = of(&model::lock());
    if !list.is_empty() {
        context::with(context, || {
            let _ = synchronize();
        });
    }
    for at in list {
        let _ = release(at);
    }
}

/// Waits for the context's work, as freeing memory does.
///
/// # Errors
/// The driver's.
pub fn synchronize() -> Result<(), i32> {
    context::ensure()?;
    // SAFETY: no arguments; inside the gate.
    check(unsafe { lower::must(ix::cuCtxSynchronize, &[]) })
}

pub unsafe fn cuMemAlloc_v2(out: u64, len: u64) -> i32 {
    inside(|| unsafe {
        if out == 0 {
            return Err(INVALID_VALUE);
        }
        may_allocate()?;
        put(out, allocate(len)?)
    })
}

/// Memory for the program itself: not while a capture forbids it.
fn may_allocate() -> Result<(), i32> {
    context::ensure()?;
    graph::forbid()
}

pub unsafe fn cuMemAllocPitch_v2(
    out: u64,
    pitch: u64,
    width: u64,
    height: u64,
    element: i32,
) -> i32 {
    inside(|| unsafe {
        if out == 0 || pitch == 0 || width == 0 || height == 0 || ![4, 8, 16].contains(&element) {
            return Err(INVALID_VALUE);
        }
        let row = width.checked_next_multiple_of(PITCH).ok_or(INVALID_VALUE)?;
        let len = row.checked_mul(height).ok_or(OUT_OF_MEMORY)?;
        may_allocate()?;
        put(out, allocate(len)?)?;
        put(pitch, row)
    })
}

pub unsafe fn cuMemFree_v2(at: u64) -> i32 {
    inside(|| {
        if at == 0 {
            return Ok(());
        }
        if managed::free(at)? {
            return Ok(());
        }
        let context = {
            let model = model::lock();
            model.arena.live.get(&at).ok_or(INVALID_VALUE)?.context
        };
        context::with(context, synchronize)?;
        pool::free_now(at)?;
        // SAFETY: inside the gate; nothing has work any more.
        match unsafe { graph::free(at, None) }? {
            true => Ok(()),
            false => release(at),
        }
    })
}

pub unsafe fn cuMemGetInfo_v2(free: u64, total: u64) -> i32 {
    inside(|| unsafe { driver::forward(ix::cuMemGetInfo_v2, Class::Forward, &[free, total]) })
}

pub unsafe fn cuMemGetAddressRange_v2(base: u64, len: u64, at: u64) -> i32 {
    inside(|| unsafe {
        let (start, size) = range(at).ok_or(NOT_FOUND)?;
        if base != 0 {
            put(base, start)?;
        }
        if len != 0 {
            put(len, size)?;
        }
        Ok(())
    })
}

/// Where the memory that an address is in begins, and how long it is.
fn range(at: u64) -> Option<(u64, u64)> {
    let found = {
        let model = model::lock();
        let of_arena = model.arena.find(at).map(|(base, a)| (base, a.len));
        let of_managed = || model.managed.iter().find(|m| m.holds(at));
        of_arena.or_else(|| of_managed().map(|m| (m.at, m.len)))
    };
    found.or_else(|| vmm::mapping(at).map(|(base, len, _)| (base, len)))
}

/// Where an allocation of the program's begins.
fn allocation(at: u64) -> Option<u64> {
    let model = model::lock();
    let of_managed = || Some(model.managed.iter().find(|m| m.holds(at))?.at);
    model.arena.find(at).map(|a| a.0).or_else(of_managed)
}

/// Attributes of `cuPointerGetAttribute` that the model answers.
const CONTEXT: i32 = 1;
const SYNCHRONOUS: i32 = 6;
const RANGE_START: i32 = 11;
const RANGE_SIZE: i32 = 12;
const POOL: i32 = 17;

/// The context of the memory at an address, if the model knows it.
pub fn context_of(at: u64) -> Option<u64> {
    let model = model::lock();
    let of_arena = model.arena.find(at).map(|(_, a)| a.context);
    let of_managed = || Some(model.managed.iter().find(|m| m.holds(at))?.context);
    let of_global = || Some(model.globals.iter().find(|g| g.holds(at))?.context);
    let known = of_arena.or_else(of_managed).or_else(of_global);
    known.or_else(|| {
        let (base, p) = model.pinned.range(..=at).next_back()?;
        (at < base + p.len).then_some(p.context)
    })
}

pub unsafe fn cuPointerGetAttribute(out: u64, attribute: i32, at: u64) -> i32 {
    inside(|| unsafe {
        match attribute {
            CONTEXT => put(out, context_of(at).ok_or(INVALID_VALUE)?),
            RANGE_START if range(at).is_some() => put(out, range(at).map_or(0, |r| r.0)),
            RANGE_SIZE if range(at).is_some() => put(out, range(at).map_or(0, |r| r.1)),
            POOL => put(out, pool::of(at).unwrap_or(0)),
            SYNCHRONOUS if allocation(at).is_some() => {
                let base = allocation(at).unwrap_or(0);
                put(out, model::lock().synchronous.contains(&base))
            }
            _ => {
                let args = [out, attribute as u64, at];
                driver::forward(ix::cuPointerGetAttribute, Class::Forward, &args)
            }
        }
    })
}

pub unsafe fn cuPointerSetAttribute(value: u64, attribute: i32, at: u64) -> i32 {
    inside(|| unsafe {
        let args = [value, attribute as u64, at];
        driver::forward(ix::cuPointerSetAttribute, Class::Forward, &args)?;
        if let (SYNCHRONOUS, Some(base)) = (attribute, allocation(at)) {
            // SAFETY: the program's number, which was just read.
            let wanted = (value as *const u32).read() != 0;
            let all = &mut model::lock().synchronous;
            match wanted {
                true => all.insert(base),
                false => all.remove(&base),
            };
        }
        Ok(())
    })
}

/// What the program wants of its memory is told a fresh driver.
///
/// # Errors
/// The driver's.
///
/// # Safety
/// On the helper thread, with all memory there.
pub unsafe fn replay_attributes() -> Result<(), i32> {
    let all = model::lock().synchronous.clone();
    for base in all
        .into_iter()
        .filter(|base| allocation(*base) == Some(*base))
    {
        let wanted = 1_u32;
        let of = context_of(base).unwrap_or(0);
        context::with(of, || {
            context::ensure()?;
            let args = [&raw const wanted as u64, SYNCHRONOUS as u64, base];
            // SAFETY: a number, and memory that is there.
            check(unsafe { lower::must(ix::cuPointerSetAttribute, &args) })
        })?;
    }
    Ok(())
}

/// What an attribute of a pointer says where there is nothing to say: as many bytes of 0, and no device.
fn nothing(attribute: i32) -> &'static [u8] {
    match attribute {
        CONTEXT | 3 | 4 | 7 | RANGE_START | RANGE_SIZE | 14 | POOL | 18..=20 => &[0; 8],
        5 => &[0; 16],              // tokens
        9 => &[254, 255, 255, 255], // CU_DEVICE_INVALID
        2 | 16 => &[0; 4],
        _ => &[0],
    }
}

pub unsafe fn cuPointerGetAttributes(n: i32, attributes: u64, data: u64, at: u64) -> i32 {
    if attributes == 0 || data == 0 {
        return INVALID_VALUE;
    }
    for i in 0..n as usize {
        // SAFETY: there are so many of both, and places for what they say.
        unsafe {
            let attribute = *(attributes as *const i32).add(i);
            let place = *(data as *const u64).add(i);
            if place == 0 {
                return INVALID_VALUE;
            }
            if cuPointerGetAttribute(place, attribute, at) != SUCCESS {
                let none = nothing(attribute);
                core::ptr::copy_nonoverlapping(none.as_ptr(), place as *mut u8, none.len());
            }
        }
    }
    SUCCESS
}
