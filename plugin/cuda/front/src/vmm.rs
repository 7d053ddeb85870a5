//! The program's own virtual memory management: ranges that it reserves, memory that it makes, and what it maps where.
//!
//! Ranges lie in the arena, so that they can be had again at a restart. What memory holds is saved where it is mapped. While a
//! checkpoint is taken, and until a restart is done, its device may use it there in all ways; memory that is mapped nowhere is
//! mapped at a place of ours.

use super::arena::GRANULE;
use super::codes::*;
use super::driver::{check, inside, put, refuse};
use super::lower::{self, ix};
use super::memory::{Access, DEVICE, READ_WRITE};
use super::{context, cut, model};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// `CUmemAllocationProp`, by words: type and kinds of handles, the location, nothing, flags.
type Properties = [u64; 4];

/// Memory that was made.
struct Made {
    size: u64,
    properties: Properties,
    lower: u64,
    /// Times that it is to be released.
    held: u32,
}

/// What is mapped at an address.
struct Mapped {
    len: u64,
    handle: u64,
    /// Who may use it: the last word for each location.
    access: Vec<Access>,
    /// It is ours, for a checkpoint.
    ours: bool,
    /// Its device may use it in all ways for a checkpoint, and else may not.
    lent: bool,
}

#[derive(Default)]
struct All {
    reserved: BTreeMap<u64, u64>,
    made: BTreeMap<u64, Made>,
    mapped: BTreeMap<u64, Mapped>,
    next: u64,
}

static ALL: Mutex<All> = Mutex::new(All {
    reserved: BTreeMap::new(),
    made: BTreeMap::new(),
    mapped: BTreeMap::new(),
    next: 0x1000,
});

fn lock() -> MutexGuard<'static, All> {
    ALL.lock().unwrap_or_else(|e| e.into_inner())
}

impl Made {
    fn location(&self) -> [i32; 2] {
        [self.properties[1] as i32, (self.properties[1] >> 32) as i32]
    }
}

impl Mapped {
    /// How its device may use it.
    fn access_of(&self, location: [i32; 2]) -> Access {
        let mut all = self.access.iter();
        let known = all.find(|a| a.location == location).copied();
        known.unwrap_or(Access { location, flags: 0 })
    }
}

/// In all ways.
fn all_ways(location: [i32; 2]) -> Access {
    Access {
        location,
        flags: READ_WRITE,
    }
}

fn whole(n: u64) -> bool {
    n > 0 && n.is_multiple_of(GRANULE)
}

/// Reserves a range in the lower half, at this address.
unsafe fn reserve_lower(at: u64, len: u64) -> Result<(), i32> {
    let mut got = 0_u64;
    // SAFETY: a place for an address, and numbers; inside the gate.
    unsafe {
        let args = [&raw mut got as u64, len, 0, at, 0];
        check(lower::must(ix::cuMemAddressReserve, &args))?;
        if got != at {
            lower::must(ix::cuMemAddressFree, &[got, len]);
            return Err(OUT_OF_MEMORY);
        }
    }
    Ok(())
}

unsafe fn make_lower(size: u64, properties: &Properties) -> Result<u64, i32> {
    let mut handle = 0_u64;
    // SAFETY: a place for a handle, and the structure; inside the gate.
    unsafe {
        let args = [&raw mut handle as u64, size, properties.as_ptr() as u64, 0];
        check(lower::must(ix::cuMemCreate, &args))?;
    }
    Ok(handle)
}

unsafe fn allow_lower(at: u64, len: u64, access: &[Access]) -> Result<(), i32> {
    if access.is_empty() {
        return Ok(());
    }
    let args = [at, len, access.as_ptr() as u64, access.len() as u64];
    // SAFETY: mapped memory, and the structures; inside the gate.
    check(unsafe { lower::must(ix::cuMemSetAccess, &args) })
}

impl All {
    unsafe fn reserve(&mut self, len: u64, align: u64, wanted: u64) -> Result<u64, i32> {
        let mut model = model::lock();
        let at = model.arena.reserve(len, align, wanted);
        let at = at.ok_or(OUT_OF_MEMORY)?;
        // SAFETY: the caller's.
        match unsafe { reserve_lower(at, len) } {
            Ok(()) => {
                self.reserved.insert(at, len);
                Ok(at)
            }
            Err(code) => {
                model.arena.give_back(at);
                Err(code)
            }
        }
    }

    unsafe fn free(&mut self, at: u64) -> Result<(), i32> {
        let len = *self.reserved.get(&at).ok_or(INVALID_VALUE)?;
        if self.mapped.range(at..at + len).next().is_some() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: a range that was reserved.
        check(unsafe { lower::must(ix::cuMemAddressFree, &[at, len]) })?;
        self.reserved.remove(&at);
        model::lock().arena.give_back(at);
        Ok(())
    }

    unsafe fn map(&mut self, at: u64, len: u64, handle: u64, ours: bool) -> Result<(), i32> {
        let made = self.made.get(&handle).ok_or(INVALID_VALUE)?;
        let inside = self.reserved.range(..=at).next_back();
        if inside.is_none_or(|(base, room)| at + len > base + room) {
            return Err(INVALID_VALUE);
        }
        // SAFETY: numbers and a lower handle; inside the gate.
        check(unsafe { lower::must(ix::cuMemMap, &[at, len, 0, made.lower, 0]) })?;
        let mapped = Mapped {
            len,
            handle,
            access: Vec::new(),
            ours,
            lent: false,
        };
        self.mapped.insert(at, mapped);
        Ok(())
    }

    /// Unmaps whole mappings.
    unsafe fn unmap(&mut self, at: u64, len: u64) -> Result<(), i32> {
        let list = self.mapped.range(at..at.saturating_add(len));
        let list: Vec<(u64, u64, u64)> = list.map(|(at, m)| (*at, m.len, m.handle)).collect();
        if list.iter().map(|(_, len, _)| len).sum::<u64>() != len {
            return Err(INVALID_VALUE);
        }
        // SAFETY: a range that is mapped; inside the gate.
        check(unsafe { lower::must(ix::cuMemUnmap, &[at, len]) })?;
        for (at, _, handle) in list {
            self.mapped.remove(&at);
            self.end_if_unused(handle);
        }
        Ok(())
    }

    /// Lets memory go that is neither to be released nor mapped.
    fn end_if_unused(&mut self, handle: u64) {
        let mapped = self.mapped.values().any(|m| m.handle == handle);
        if self.made.get(&handle).is_some_and(|m| m.held == 0) && !mapped {
            if let Some(made) = self.made.remove(&handle) {
                // SAFETY: a lower handle that nobody has any more.
                unsafe { lower::must(ix::cuMemRelease, &[made.lower]) };
            }
        }
    }

    /// Where all of this memory is, and can be read and written now.
    unsafe fn lend(&mut self, handle: u64) -> Result<Option<u64>, i32> {
        let made = self.made.get(&handle).ok_or(INVALID_HANDLE)?;
        let (size, location) = (made.size, made.location());
        let whole = |m: &Mapped| m.handle == handle && m.len == size;
        let usable = |m: &Mapped| m.access_of(location).flags == READ_WRITE;
        let mut all: Vec<_> = self.mapped.iter_mut().filter(|(_, m)| whole(m)).collect();
        all.sort_by_key(|(_, m)| !usable(m));
        let Some((at, mapped)) = all.into_iter().next() else {
            return Ok(None);
        };
        if !usable(mapped) {
            // SAFETY: mapped memory, in a context of its device; the caller's.
            unsafe { allow_lower(*at, size, &[all_ways(location)]) }?;
            mapped.lent = true;
        }
        Ok(Some(*at))
    }
}

pub unsafe fn cuMemAddressReserve(out: u64, len: u64, align: u64, wanted: u64, flags: u64) -> i32 {
    inside(|| unsafe {
        if out == 0 || !whole(len) || flags != 0 || !(align == 0 || align.is_power_of_two()) {
            return Err(INVALID_VALUE);
        }
        context::ensure()?;
        put(out, lock().reserve(len, align.max(GRANULE), wanted)?)
    })
}

pub unsafe fn cuMemAddressFree(at: u64, len: u64) -> i32 {
    inside(|| {
        context::ensure()?;
        let mut all = lock();
        if all.reserved.get(&at) != Some(&len) {
            return Err(INVALID_VALUE);
        }
        // SAFETY: inside the gate.
        unsafe { all.free(at) }
    })
}

pub unsafe fn cuMemCreate(out: u64, size: u64, properties: u64, flags: u64) -> i32 {
    inside(|| unsafe {
        if out == 0 || properties == 0 || !whole(size) || flags != 0 {
            return Err(INVALID_VALUE);
        }
        let properties = (properties as *const Properties).read();
        if properties[0] >> 32 != 0 {
            return Err(refuse(
                "cuMemCreate of memory that other processes can have",
            ));
        }
        if properties[1] as i32 != DEVICE {
            return Err(refuse("cuMemCreate of memory that is not a device's"));
        }
        context::ensure()?;
        let mut all = lock();
        let made = Made {
            size,
            properties,
            lower: make_lower(size, &properties)?,
            held: 1,
        };
        all.next += 16;
        let handle = all.next;
        all.made.insert(handle, made);
        put(out, handle)
    })
}

pub unsafe fn cuMemRelease(handle: u64) -> i32 {
    inside(|| {
        let mut all = lock();
        let made = all.made.get_mut(&handle).filter(|m| m.held > 0);
        made.ok_or(INVALID_VALUE)?.held -= 1;
        context::ensure()?;
        all.end_if_unused(handle);
        Ok(())
    })
}

pub unsafe fn cuMemMap(at: u64, len: u64, offset: u64, handle: u64, flags: u64) -> i32 {
    inside(|| unsafe {
        let mut all = lock();
        let made = all.made.get(&handle).filter(|m| m.held > 0);
        let size = made.ok_or(INVALID_VALUE)?.size;
        if !whole(len) || !at.is_multiple_of(GRANULE) || offset != 0 || flags != 0 || len > size {
            return Err(INVALID_VALUE);
        }
        context::ensure()?;
        all.map(at, len, handle, false)
    })
}

pub unsafe fn cuMemUnmap(at: u64, len: u64) -> i32 {
    inside(|| unsafe {
        context::ensure()?;
        lock().unmap(at, len)
    })
}

pub unsafe fn cuMemSetAccess(at: u64, len: u64, wanted: u64, n: u64) -> i32 {
    inside(|| unsafe {
        if wanted == 0 || n == 0 || len == 0 {
            return Err(INVALID_VALUE);
        }
        let wanted = core::slice::from_raw_parts(wanted as *const Access, n as usize);
        context::ensure()?;
        let mut all = lock();
        allow_lower(at, len, wanted)?;
        let end = at.saturating_add(len);
        for (_, mapped) in all.mapped.range_mut(at..end) {
            for one in wanted {
                mapped.access.retain(|a| a.location != one.location);
                mapped.access.push(*one);
            }
        }
        Ok(())
    })
}

pub unsafe fn cuMemGetAllocationPropertiesFromHandle(out: u64, handle: u64) -> i32 {
    inside(|| unsafe {
        let all = lock();
        put(out, all.made.get(&handle).ok_or(INVALID_VALUE)?.properties)
    })
}

pub unsafe fn cuMemRetainAllocationHandle(out: u64, at: u64) -> i32 {
    inside(|| unsafe {
        let mut all = lock();
        let (base, mapped) = all.mapped.range(..=at).next_back().ok_or(INVALID_VALUE)?;
        let handle = mapped.handle;
        if at >= base + mapped.len {
            return Err(INVALID_VALUE);
        }
        put(out, handle)?;
        if let Some(made) = all.made.get_mut(&handle) {
            made.held += 1;
        }
        Ok(())
    })
}

/// Is all of a range mapped?
pub fn covers(at: u64, end: u64) -> bool {
    let all = lock();
    let mut reached = at;
    while reached < end {
        let before = all.mapped.range(..=reached).next_back();
        match before.map(|(base, m)| base + m.len) {
            Some(next) if next > reached => reached = next,
            _ => return false,
        }
    }
    true
}

/// The mapping that an address is in: where it begins, its length, its device.
pub fn mapping(at: u64) -> Option<(u64, u64, i32)> {
    let all = lock();
    let (base, mapped) = all.mapped.range(..=at).next_back()?;
    let [_, device] = all.made.get(&mapped.handle)?.location();
    (at < base + mapped.len).then_some((*base, mapped.len, device))
}

/// The context in which a device's memory can be reached.
fn context_of(device: i32) -> Result<u64, i32> {
    let all = cut::contexts();
    let found = all.iter().find(|(d, _)| *d == device);
    found.map(|(_, handle)| *handle).ok_or(INVALID_CONTEXT)
}

/// Everything that is to be saved: where it can be reached, its length, and a context. What can't be reached is mapped.
///
/// # Errors
/// The driver's.
pub fn spans() -> Result<Vec<(u64, u64, u64)>, i32> {
    let mut all = lock();
    let list: Vec<(u64, u64, [i32; 2])> = {
        let made = all.made.iter();
        made.map(|(h, m)| (*h, m.size, m.location())).collect()
    };
    let mut spans = Vec::new();
    for (handle, len, location) in list {
        let of = context_of(location[1])?;
        // SAFETY: on the helper thread, with the gate closed.
        let at = context::with(of, || unsafe {
            context::ensure()?;
            match all.lend(handle)? {
                Some(at) => Ok(at),
                None => all.reach(handle, len, location),
            }
        })?;
        spans.push((at, len, of));
    }
    Ok(spans)
}

impl All {
    /// Maps memory at a place of ours.
    unsafe fn reach(&mut self, handle: u64, len: u64, location: [i32; 2]) -> Result<u64, i32> {
        let access = [all_ways(location)];
        // SAFETY: the caller's.
        unsafe {
            let at = self.reserve(len, GRANULE, 0)?;
            if let Err(code) = self.map(at, len, handle, true) {
                self.free(at)?;
                return Err(code);
            }
            allow_lower(at, len, &access)?;
            if let Some(mapped) = self.mapped.get_mut(&at) {
                mapped.access = access.to_vec();
            }
            Ok(at)
        }
    }
}

/// The checkpoint is over, or the restart: what was mapped for it is unmapped, what was lent is given back.
pub fn resume() {
    let mut all = lock();
    let all = &mut *all;
    for (at, mapped) in all.mapped.iter_mut().filter(|(_, m)| m.lent) {
        let Some(location) = all.made.get(&mapped.handle).map(Made::location) else {
            continue;
        };
        let access = [mapped.access_of(location)];
        let given_back = context_of(location[1]).and_then(|of| {
            context::with(of, || {
                context::ensure()?;
                // SAFETY: mapped memory; on the helper thread, with the gate closed.
                unsafe { allow_lower(*at, mapped.len, &access) }
            })
        });
        mapped.lent = given_back.is_err();
    }
    let ours = all.mapped.iter().filter(|(_, m)| m.ours);
    let ours: Vec<(u64, u64, u64)> = ours.map(|(at, m)| (*at, m.len, m.handle)).collect();
    for (at, len, handle) in ours {
        let device = all.made.get(&handle).map_or(0, |m| m.location()[1]);
        let _ = context_of(device).and_then(|of| {
            context::with(of, || {
                context::ensure()?;
                // SAFETY: on the helper thread, with the gate closed: nothing uses it.
                unsafe {
                    all.unmap(at, len)?;
                    all.free(at)
                }
            })
        });
    }
}

/// How much of a device's memory the program has made.
pub fn total(device: i32) -> u64 {
    let all = lock();
    let of = all.made.values().filter(|m| m.location()[1] == device);
    of.map(|m| m.size).sum()
}

/// Makes all of it again.
///
/// # Errors
/// The driver's.
///
/// # Safety
/// On the helper thread, in a fresh half with its contexts.
pub unsafe fn replay() -> Result<(), i32> {
    let mut all = lock();
    let all = &mut *all;
    let any = cut::contexts().first().map_or(0, |(_, handle)| *handle);
    // SAFETY: what the model says was there; numbers and lower handles.
    context::with(any, || unsafe {
        if all.reserved.is_empty() && all.made.is_empty() {
            return Ok(());
        }
        context::ensure()?;
        for (at, len) in &all.reserved {
            reserve_lower(*at, *len)?;
        }
        for made in all.made.values_mut() {
            made.lower = make_lower(made.size, &made.properties)?;
        }
        for (at, mapped) in &all.mapped {
            let made = all.made.get(&mapped.handle).ok_or(INVALID_HANDLE)?;
            let args = [*at, mapped.len, 0, made.lower, 0];
            check(lower::must(ix::cuMemMap, &args))?;
            allow_lower(*at, mapped.len, &mapped.access)?;
            if mapped.lent {
                allow_lower(*at, mapped.len, &[all_ways(made.location())])?;
            }
        }
        Ok(())
    })
}
