//! Memory pools and stream-ordered memory, which are the model's own: memory is there at once, and given back when the
//! stream has come to where it was freed.

use super::codes::*;
use super::driver::{check, inside, put, refuse};
use super::lower::{self, ix};
use super::memory::DEVICE;
use super::model::{self, Kind};
use super::record::Record;
use super::{context, graph, memory, stream};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// One more than the greatest `CUmemPool_attribute` that is kept.
const ATTRIBUTES: usize = 9;
/// Attributes that are 64 bits: from this one on.
const WIDE: usize = 4;
/// Attributes that the application may set, by number.
const SETTABLE: [bool; ATTRIBUTES] = [false, true, true, true, true, false, true, false, true];

/// `CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT`, `_RESERVED_MEM_HIGH`, `_USED_MEM_CURRENT`, `_USED_MEM_HIGH`.
const RESERVED: usize = 5;
const MOST_RESERVED: usize = 6;
const USED: usize = 7;
const MOST_USED: usize = 8;

struct Pool {
    device: i32,
    /// The most that it may give at one time.
    limit: u64,
    attributes: [u64; ATTRIBUTES],
}

impl Pool {
    /// The most that there has been is no less than what there is.
    fn raise(&mut self) {
        for (most, now) in [(MOST_RESERVED, RESERVED), (MOST_USED, USED)] {
            self.attributes[most] = self.attributes[most].max(self.attributes[now]);
        }
    }
}

/// Memory that a pool has given.
struct Given {
    pool: u64,
    len: u64,
    /// The region of the arena that it is in, and that one's length: small pieces share one.
    region: (u64, u64),
    /// The program has freed it, in a stream that may not be there yet.
    freed: bool,
}

#[derive(Default)]
struct Pools {
    all: BTreeMap<u64, Pool>,
    /// By device: the default one, and the one in use.
    of_device: BTreeMap<i32, [u64; 2]>,
    /// Freed memory, with the lower event that says when.
    freed: Vec<(u64, u64)>,
    /// What is mapped of the pools' memory, by address.
    given: BTreeMap<u64, Given>,
}

impl Pools {
    /// Has a pool anything else in a region?
    fn shares(&self, pool: u64, region: (u64, u64)) -> bool {
        let mut inside = self.given.range(region.0..region.0 + region.1);
        inside.any(|(_, g)| g.pool == pool)
    }

    /// A pool has given memory.
    fn gave(&mut self, pool: u64, at: u64, len: u64, region: (u64, u64)) {
        let new = !self.shares(pool, region);
        if let Some(known) = self.all.get_mut(&pool) {
            known.attributes[USED] += len;
            known.attributes[RESERVED] += if new { region.1 } else { 0 };
            known.raise();
        }
        let given = Given {
            pool,
            len,
            region,
            freed: false,
        };
        self.given.insert(at, given);
    }

    /// The program has freed memory of a pool's.
    ///
    /// # Errors
    /// It has done so before.
    fn free(&mut self, at: u64) -> Result<(), i32> {
        let Some(given) = self.given.get_mut(&at) else {
            return Ok(());
        };
        if std::mem::replace(&mut given.freed, true) {
            return Err(INVALID_VALUE);
        }
        if let Some(known) = self.all.get_mut(&given.pool) {
            known.attributes[USED] -= given.len;
        }
        Ok(())
    }
}

/// The program frees memory, a pool's perhaps, at once.
///
/// # Errors
/// It has freed it in a stream before.
pub fn free_now(at: u64) -> Result<(), i32> {
    pools().free(at)
}

/// Memory is given back, a pool's perhaps.
pub fn gone(at: u64) {
    let mut pools = pools();
    // It may have been freed in a stream before.
    let _ = pools.free(at);
    let Some(given) = pools.given.remove(&at) else {
        return;
    };
    let shared = pools.shares(given.pool, given.region);
    if let Some(known) = pools.all.get_mut(&given.pool).filter(|_| !shared) {
        known.attributes[RESERVED] -= given.region.1;
    }
}

static POOLS: Mutex<Pools> = Mutex::new(Pools {
    all: BTreeMap::new(),
    of_device: BTreeMap::new(),
    freed: Vec::new(),
    given: BTreeMap::new(),
});

fn pools() -> std::sync::MutexGuard<'static, Pools> {
    POOLS.lock().unwrap_or_else(|e| e.into_inner())
}

/// The pool that has given the memory at an address.
pub fn of(at: u64) -> Option<u64> {
    let pools = pools();
    let (base, given) = pools.given.range(..=at).next_back()?;
    (at < base + given.len && !given.freed).then_some(given.pool)
}

fn make(pools: &mut Pools, device: i32, limit: u64) -> u64 {
    // No lower object: a place in the order of making is all it has.
    let handle = model::lock().add(Kind::Pool, 0, 0, Record::default());
    let mut attributes = [0; ATTRIBUTES];
    attributes[1..WIDE].fill(1);
    let pool = Pool {
        device,
        limit,
        attributes,
    };
    pools.all.insert(handle, pool);
    handle
}

/// Is there a device of this number?
fn known_device(device: i32) -> Result<(), i32> {
    let n = model::lock().devices.len();
    let known = usize::try_from(device).is_ok_and(|d| d < n);
    known.then_some(()).ok_or(INVALID_DEVICE)
}

fn of_device(pools: &mut Pools, device: i32) -> Result<[u64; 2], i32> {
    known_device(device)?;
    if let Some(both) = pools.of_device.get(&device) {
        return Ok(*both);
    }
    let handle = make(pools, device, u64::MAX);
    pools.of_device.insert(device, [handle; 2]);
    Ok([handle; 2])
}

/// A context is about to end: what was freed in it has been given back.
pub fn purge(context: u64) {
    let of_another = |at: u64| {
        let model = model::lock();
        let memory = model.arena.live.get(&at);
        memory.is_some_and(|memory| memory.context != context)
    };
    pools().freed.retain(|(at, event)| {
        let stays = of_another(*at);
        if !stays {
            // SAFETY: a lower event of ours; inside the gate.
            unsafe { lower::must(ix::cuEventDestroy_v2, &[*event]) };
        }
        stays
    });
}

/// Gives memory back that streams are done with; all of it, when they are known to be.
///
/// # Errors
/// The driver's.
pub fn reap(all: bool) -> Result<(), i32> {
    let list = std::mem::take(&mut pools().freed);
    graph::relaxed(|| reap_these(list, all))
}

fn reap_these(list: Vec<(u64, u64)>, all: bool) -> Result<(), i32> {
    let mut waiting = Vec::new();
    for (at, event) in list {
        // SAFETY: a lower event of ours.
        let done = all || unsafe { lower::must(ix::cuEventQuery, &[event]) } == SUCCESS;
        if done {
            // SAFETY: as above.
            unsafe { lower::must(ix::cuEventDestroy_v2, &[event]) };
            memory::release(at)?;
        } else {
            waiting.push((at, event));
        }
    }
    pools().freed.append(&mut waiting);
    Ok(())
}

/// Memory of a pool, or of the one that the device has now.
fn allocate(len: u64, pool: Option<u64>, stream: u64) -> Result<u64, i32> {
    context::ensure()?;
    // SAFETY: looks the stream up; inside the gate, in a context.
    unsafe {
        stream::lower(stream)?;
        if graph::capturing(stream) {
            return graph::capture_allocation(stream, len);
        }
    }
    let device = context::device()?;
    let pool = match pool {
        Some(pool) => pool,
        None => of_device(&mut pools(), device)?[1],
    };
    if let Some(pool) = pools().all.get(&pool) {
        if pool.device != device {
            return Err(refuse("memory of another device's pool"));
        }
        if pool.attributes[USED].saturating_add(len) > pool.limit {
            return Err(OUT_OF_MEMORY);
        }
    }
    let at = obtain(len)?;
    let region = model::lock().arena.region_of(at);
    pools().gave(pool, at, len, region.ok_or(INVALID_VALUE)?);
    Ok(at)
}

/// Memory that is there at once; what streams free is waited for if there is too little.
///
/// # Errors
/// The code for the application.
pub fn obtain(len: u64) -> Result<u64, i32> {
    reap(false)?;
    match graph::relaxed(|| memory::allocate(len)) {
        Err(OUT_OF_MEMORY) if graph::open_captures() == 0 => {
            memory::synchronize()?;
            reap(true)?;
            memory::allocate(len)
        }
        other => other,
    }
}

/// Memory that is given back when a stream has come to this lower event; 0: now.
///
/// # Errors
/// The driver's.
pub fn retire(at: u64, event: u64) -> Result<(), i32> {
    match event {
        0 => graph::relaxed(|| memory::release(at)),
        _ => {
            pools().freed.push((at, event));
            Ok(())
        }
    }
}

unsafe fn allocate_for(out: u64, len: u64, pool: Option<u64>, stream: u64) -> i32 {
    inside(|| unsafe {
        if out == 0 {
            return Err(INVALID_VALUE);
        }
        put(out, allocate(len, pool, stream)?)
    })
}

pub unsafe fn cuMemAllocAsync(out: u64, len: u64, stream: u64) -> i32 {
    unsafe { allocate_for(out, len, None, stream) }
}

pub unsafe fn cuMemAllocFromPoolAsync(out: u64, len: u64, pool: u64, stream: u64) -> i32 {
    if !pools().all.contains_key(&pool) {
        return INVALID_VALUE;
    }
    unsafe { allocate_for(out, len, Some(pool), stream) }
}

pub unsafe fn cuMemFreeAsync(at: u64, stream: u64) -> i32 {
    inside(|| unsafe {
        if !model::lock().arena.live.contains_key(&at) {
            return Err(INVALID_VALUE);
        }
        context::ensure()?;
        if graph::capturing(stream) {
            return graph::capture_free(stream, at);
        }
        let stream = stream::lower(stream)?;
        if graph::free(at, Some(stream))? {
            return Ok(());
        }
        pools().free(at)?;
        let mut event = 0_u64;
        // CU_EVENT_DISABLE_TIMING
        check(lower::must(ix::cuEventCreate, &[&raw mut event as u64, 2]))?;
        check(lower::must(ix::cuEventRecord, &[event, stream]))?;
        pools().freed.push((at, event));
        reap(false)
    })
}

/// `CUmemPoolProps`, as far as it says anything.
#[repr(C)]
struct Properties {
    kind: i32,
    handles: i32,
    location: [i32; 2],
    security: u64,
    limit: u64,
}

/// `CU_MEM_ALLOCATION_TYPE_*` and `CU_MEM_LOCATION_TYPE_*`.
const PINNED: i32 = 1;
const MANAGED: i32 = 2;
const HOST: i32 = 2;
const HOST_NUMA_CURRENT: i32 = 4;

pub unsafe fn cuMemPoolCreate(out: u64, properties: u64) -> i32 {
    inside(|| unsafe {
        if out == 0 || properties == 0 {
            return Err(INVALID_VALUE);
        }
        let wanted = (properties as *const Properties).read();
        match (wanted.kind, wanted.location[0]) {
            (PINNED, DEVICE) => known_device(wanted.location[1])?,
            (PINNED, HOST..=HOST_NUMA_CURRENT) => {
                return Err(refuse("cuMemPoolCreate of the host's memory"));
            }
            (MANAGED, _) => return Err(refuse("cuMemPoolCreate of managed memory")),
            _ => return Err(INVALID_VALUE),
        }
        if wanted.handles != 0 {
            return Err(refuse("cuMemPoolCreate for other processes"));
        }
        let limit = match wanted.limit {
            0 => u64::MAX,
            limit => limit,
        };
        put(out, make(&mut pools(), wanted.location[1], limit))
    })
}

pub unsafe fn cuMemPoolDestroy(pool: u64) -> i32 {
    inside(|| {
        let mut pools = pools();
        if pools.of_device.values().any(|both| both[0] == pool) {
            return Err(INVALID_VALUE);
        }
        pools.all.remove(&pool).ok_or(INVALID_VALUE)?;
        for both in pools.of_device.values_mut().filter(|b| b[1] == pool) {
            both[1] = both[0];
        }
        model::lock().remove(Kind::Pool, pool);
        Ok(())
    })
}

pub unsafe fn cuMemPoolTrimTo(pool: u64, _keep: u64) -> i32 {
    inside(|| {
        if !pools().all.contains_key(&pool) {
            return Err(INVALID_VALUE);
        }
        context::ensure()?;
        reap(false)
    })
}

pub unsafe fn cuMemPoolGetAttribute(pool: u64, attribute: i32, out: u64) -> i32 {
    inside(|| unsafe {
        let pools = pools();
        let known = pools.all.get(&pool).ok_or(INVALID_VALUE)?;
        let i = attribute as usize;
        let value = *known.attributes.get(i).ok_or(INVALID_VALUE)?;
        if i < WIDE {
            put(out, value as i32)
        } else {
            put(out, value)
        }
    })
}

pub unsafe fn cuMemPoolSetAttribute(pool: u64, attribute: i32, value: u64) -> i32 {
    inside(|| unsafe {
        let mut pools = pools();
        let known = pools.all.get_mut(&pool).ok_or(INVALID_VALUE)?;
        let i = attribute as usize;
        if value == 0 || !SETTABLE.get(i).copied().unwrap_or(false) {
            return Err(INVALID_VALUE);
        }
        let value = match i < WIDE {
            true => (value as *const i32).read() as u64,
            false => (value as *const u64).read(),
        };
        // The most that there was can be forgotten, no more.
        known.attributes[i] = match (i, value) {
            (MOST_RESERVED | MOST_USED, 0) => 0,
            (MOST_RESERVED | MOST_USED, _) => return Err(INVALID_VALUE),
            _ => value,
        };
        known.raise();
        Ok(())
    })
}

/// `CUmemLocation` or `CUmemAccessDesc`: type and number come first.
unsafe fn location(at: u64) -> Result<[i32; 2], i32> {
    if at == 0 {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the caller's.
    Ok(unsafe { (at as *const [i32; 2]).read() })
}

pub unsafe fn cuMemPoolGetAccess(out: u64, pool: u64, at: u64) -> i32 {
    inside(|| unsafe {
        let pools = pools();
        let known = pools.all.get(&pool).ok_or(INVALID_VALUE)?;
        let own = location(at)? == [1, known.device];
        put(out, if own { 3 } else { 0 })
    })
}

pub unsafe fn cuMemPoolSetAccess(pool: u64, list: u64, n: u64) -> i32 {
    for i in 0..n {
        // SAFETY: there are so many descriptions, of 12 bytes.
        let own = unsafe { location(list + 12 * i) };
        let known = pools().all.get(&pool).map(|p| [1, p.device]);
        if own.ok() != known {
            return refuse("cuMemPoolSetAccess for other devices");
        }
    }
    SUCCESS
}

fn get(out: u64, device: i32, which: usize) -> i32 {
    inside(|| {
        let both = of_device(&mut pools(), device)?;
        // SAFETY: a place for a handle.
        unsafe { put(out, both[which]) }
    })
}

pub unsafe fn cuDeviceGetDefaultMemPool(out: u64, device: i32) -> i32 {
    get(out, device, 0)
}

pub unsafe fn cuDeviceGetMemPool(out: u64, device: i32) -> i32 {
    get(out, device, 1)
}

pub unsafe fn cuDeviceSetMemPool(device: i32, pool: u64) -> i32 {
    inside(|| {
        let mut pools = pools();
        of_device(&mut pools, device)?;
        if pools.all.get(&pool).ok_or(INVALID_VALUE)?.device != device {
            return Err(INVALID_VALUE);
        }
        if let Some(both) = pools.of_device.get_mut(&device) {
            both[1] = pool;
        }
        Ok(())
    })
}

pub unsafe fn cuMemGetDefaultMemPool(out: u64, at: u64, kind: i32) -> i32 {
    // SAFETY: a location.
    match unsafe { location(at) } {
        Ok([DEVICE, device]) if kind == PINNED => get(out, device, 0),
        _ => refuse("a memory pool that is not a device's"),
    }
}

pub unsafe fn cuMemGetMemPool(out: u64, at: u64, kind: i32) -> i32 {
    // SAFETY: a location.
    match unsafe { location(at) } {
        Ok([DEVICE, device]) if kind == PINNED => get(out, device, 1),
        _ => refuse("a memory pool that is not a device's"),
    }
}

pub unsafe fn cuMemSetMemPool(at: u64, kind: i32, pool: u64) -> i32 {
    // SAFETY: a location.
    match unsafe { location(at) } {
        Ok([DEVICE, device]) if kind == PINNED => unsafe { cuDeviceSetMemPool(device, pool) },
        _ => refuse("a memory pool that is not a device's"),
    }
}
