//! Memory in the order of a stream, from pools. A pool is a count: all have the device's memory.

use super::memory::{Kind, ALIGN};
use super::physical::{Access, Location};
use super::work::Work;
use super::{
    all, api, device, get, lock, put, put_if, ready, refused, Driver, Error, Handle, Pointer,
};
use std::ffi::{c_int, c_uint, c_void};
use std::sync::{Arc, Mutex, OnceLock};

/// A pool.
#[derive(Default)]
pub struct Pool {
    /// By number of `CUmemPool_attribute`, from 1: what may be used again when, the threshold; then bytes reserved, their most, bytes
    /// used, their most.
    values: Mutex<[u64; 9]>,
}

const THRESHOLD: usize = 4;
const RESERVED: usize = 5;
const USED: usize = 7;

/// The device's pool, and the one that is used where none is named.
static DEFAULT: OnceLock<Handle> = OnceLock::new();
static CURRENT: Mutex<Option<Handle>> = Mutex::new(None);

impl Pool {
    fn new() -> Pool {
        let pool = Pool::default();
        lock(&pool.values)[1..=3].fill(1);
        pool
    }

    fn count(&self, size: i64) {
        let mut values = lock(&self.values);
        for at in [RESERVED, USED] {
            values[at] = values[at].saturating_add_signed(size);
            values[at + 1] = values[at + 1].max(values[at]);
        }
    }
}

fn default_pool(driver: &Driver) -> Handle {
    *DEFAULT.get_or_init(|| driver.pools.add(Arc::new(Pool::new())))
}

fn current_pool(driver: &Driver) -> Handle {
    lock(&CURRENT).unwrap_or_else(|| default_pool(driver))
}

/// Memory that is there from the call on: a stream's order can only make that later.
fn allocate(pool: Handle, size: usize, stream: Handle) -> Result<Pointer, Error> {
    let driver = ready()?;
    let stream = driver.stream(stream)?;
    if lock(&stream.part).is_some() {
        return Err(refused::say("cuMemAllocAsync in a stream that is captured"));
    }
    let of = driver.pools.get(pool)?;
    let at = driver
        .memory
        .allocate(Kind::Pooled(pool), size as u64, ALIGN)?;
    of.count(size as i64);
    Ok(at)
}

impl Driver {
    /// Takes back what a pool gave.
    pub fn free_pooled(&self, at: Pointer) {
        let region = self.memory.read().regions.get(&at).copied();
        let Some(region) = region else { return };
        if let Kind::Pooled(pool) = region.kind {
            if let Ok(pool) = self.pools.get(pool) {
                pool.count(-(region.size as i64));
            }
        }
        // It was looked at when it was given to the stream.
        let _ = self.memory.release(at, region.kind);
    }
}

api! {
    /// Memory in the order of a stream.
    fn cuMemAllocAsync(out: *mut Pointer, size: usize, stream: Handle) {
        get(out)?;
        put(out, allocate(current_pool(ready()?), size, stream)?)
    }

    /// The same from a pool.
    fn cuMemAllocFromPoolAsync(out: *mut Pointer, size: usize, pool: Handle, stream: Handle) {
        get(out)?;
        put(out, allocate(pool, size, stream)?)
    }

    /// Gives memory back in the order of a stream.
    fn cuMemFreeAsync(at: Pointer, stream: Handle) {
        let driver = ready()?;
        if at == 0 {
            return Ok(());
        }
        let kind = driver.memory.read().regions.get(&at).map(|r| r.kind);
        match kind {
            Some(Kind::Pooled(_) | Kind::Device) => driver.submit(stream, Work::Free(at)).map(|_| ()),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    /// A pool.
    fn cuMemPoolCreate(out: *mut Handle, properties: *const c_void) {
        let driver = ready()?;
        get(out)?;
        get(properties.cast::<u8>())?;
        put(out, driver.pools.add(Arc::new(Pool::new())))
    }

    /// Its end.
    fn cuMemPoolDestroy(pool: Handle) {
        let driver = ready()?;
        if pool == default_pool(driver) {
            return Err(Error::INVALID_VALUE);
        }
        let mut current = lock(&CURRENT);
        if *current == Some(pool) {
            *current = None;
        }
        driver.pools.remove(pool).map(|_| ())
    }

    /// Gives memory that nobody uses back: it has gone already.
    fn cuMemPoolTrimTo(pool: Handle, _keep: usize) {
        ready()?.pools.get(pool).map(|_| ())
    }

    /// How a pool is, or is to be.
    fn cuMemPoolSetAttribute(pool: Handle, which: c_uint, value: *const c_void) {
        let pool = ready()?.pools.get(pool)?;
        let mut values = lock(&pool.values);
        match which as usize {
            1..=3 => values[which as usize] = u64::from(*get(value.cast::<c_int>())? != 0),
            THRESHOLD => values[THRESHOLD] = *get(value.cast::<u64>())?,
            // The most so far can only be forgotten.
            high @ (6 | 8) if *get(value.cast::<u64>())? == 0 => values[high] = values[high - 1],
            _ => return Err(Error::INVALID_VALUE),
        }
        Ok(())
    }

    /// How a pool is.
    fn cuMemPoolGetAttribute(pool: Handle, which: c_uint, value: *mut c_void) {
        let pool = ready()?.pools.get(pool)?;
        let values = lock(&pool.values);
        match which as usize {
            1..=3 => put(value.cast::<c_int>(), values[which as usize] as c_int),
            4..=8 => put(value.cast::<u64>(), values[which as usize]),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    /// Who may use a pool's memory: the device.
    fn cuMemPoolSetAccess(pool: Handle, wanted: *const Access, n: usize) {
        ready()?.pools.get(pool)?;
        all(wanted, n).map(|_| ())
    }

    /// Who may use a pool's memory.
    fn cuMemPoolGetAccess(flags: *mut c_uint, pool: Handle, location: *const Location) {
        ready()?.pools.get(pool)?;
        get(location)?;
        put(flags, 3)
    }

    /// The device's pool.
    fn cuDeviceGetDefaultMemPool(out: *mut Handle, device: c_int) {
        device::check(device)?;
        put(out, default_pool(super::driver()?))
    }

    /// The pool that is used where none is named.
    fn cuDeviceGetMemPool(out: *mut Handle, device: c_int) {
        device::check(device)?;
        put(out, current_pool(super::driver()?))
    }

    /// The pool that is to be used.
    fn cuDeviceSetMemPool(device: c_int, pool: Handle) {
        device::check(device)?;
        super::driver()?.pools.get(pool)?;
        *lock(&CURRENT) = Some(pool);
        Ok(())
    }

    /// The pool of a location: there is one.
    fn cuMemGetDefaultMemPool(out: *mut Handle, location: *const Location, _kind: c_uint) {
        get(location)?;
        put_if(out, default_pool(ready()?));
        Ok(())
    }
}
