//! Kernels: what they are like, and how many blocks fit.

use super::attributes::{attribute, number};
use super::module::Module;
use super::{api, driver, lock, put, put_if, ready, refused, Error, Handle};
use crate::code::Code;
use std::ffi::{c_int, c_uint, CString};
use std::sync::{Arc, Mutex};

/// A kernel.
pub struct Function {
    /// Its module.
    pub module: Arc<Module>,
    /// Its number there.
    pub index: usize,
    /// Its name.
    pub name: CString,
    /// What can be set of it: see `ATTRIBUTES`.
    settings: Arc<Mutex<[c_int; ATTRIBUTES]>>,
}

/// `CUfunction_attribute`.
const ATTRIBUTES: usize = 16;
const DYNAMIC_SHARED: usize = 8;
/// Registers of a thread, as far as somebody asks: here there are as many as the kernel wants.
const REGISTERS: c_int = 32;
const VERSION: c_int = 90;
/// Attributes of the device that matter here.
const SHARED_OF_BLOCK: c_int = 97;
const SHARED_OF_PROCESSOR: c_int = 81;
const SHARED_RESERVED: c_int = 111;
const THREADS_OF_PROCESSOR: c_int = 39;
const BLOCKS_OF_PROCESSOR: c_int = 106;

fn of_device(which: c_int) -> c_int {
    attribute(which, 1).unwrap_or(0)
}

impl Function {
    /// A kernel of a module.
    pub fn new(module: &Arc<Module>, index: usize) -> Function {
        let name = CString::new(module.program.codes[index].name.as_str()).unwrap_or_default();
        let mut settings = [0; ATTRIBUTES];
        settings[DYNAMIC_SHARED] =
            of_device(number::MAX_SHARED_MEMORY_PER_BLOCK) - module.program.shared as c_int;
        settings[9] = -1;
        Function {
            module: module.clone(),
            index,
            name,
            settings: Arc::new(Mutex::new(settings)),
        }
    }

    /// The function as the device of the thread's context has it.
    pub fn here(self: &Arc<Self>) -> Result<Arc<Function>, Error> {
        let module = self.module.here()?;
        if Arc::ptr_eq(&module, &self.module) {
            return Ok(self.clone());
        }
        Ok(Arc::new(Function {
            module,
            index: self.index,
            name: self.name.clone(),
            settings: self.settings.clone(),
        }))
    }

    /// Its code.
    pub fn code(&self) -> &Code {
        &self.module.program.codes[self.index]
    }

    /// The most threads of a block.
    pub fn max_threads(&self) -> c_int {
        match self.code().max_threads {
            0 => of_device(number::MAX_THREADS_PER_BLOCK),
            most => most as c_int,
        }
    }

    /// The most shared memory that a launch may ask for.
    pub fn max_shared(&self) -> c_int {
        lock(&self.settings)[DYNAMIC_SHARED]
    }

    fn attribute(&self, which: usize) -> Result<c_int, Error> {
        let code = self.code();
        Ok(match which {
            0 => self.max_threads(),
            1 => self.module.program.shared as c_int,
            2 => 0,
            3 => code.frame.saturating_sub(code.parameters) as c_int,
            4 => REGISTERS,
            5 | 6 => VERSION,
            7 => 0,
            _ => *lock(&self.settings)
                .get(which)
                .ok_or(Error::INVALID_VALUE)?,
        })
    }

    fn set(&self, which: usize, value: c_int) -> Result<(), Error> {
        let most = of_device(SHARED_OF_BLOCK) - self.module.program.shared as c_int;
        match which {
            DYNAMIC_SHARED if (0..=most).contains(&value) => (),
            9 if (-1..=100).contains(&value) => (),
            // `CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH` and so on.
            11..=13 if value > 1 => return Err(refused::say("a kernel of clusters of blocks")),
            10..ATTRIBUTES => (),
            _ => return Err(Error::INVALID_VALUE),
        }
        lock(&self.settings)[which] = value;
        Ok(())
    }

    /// How many blocks of so many threads, with so much shared memory, run on a processor at one time.
    pub fn blocks(&self, threads: c_int, shared: usize) -> Result<c_int, Error> {
        if threads <= 0 {
            return Err(Error::INVALID_VALUE);
        }
        let shared = shared as c_int + self.module.program.shared as c_int;
        if threads > self.max_threads() || shared > of_device(SHARED_OF_BLOCK) {
            return Ok(0);
        }
        let warp = of_device(number::WARP_SIZE);
        let by_threads = of_device(THREADS_OF_PROCESSOR)
            / (threads as u32).next_multiple_of(warp as u32) as c_int;
        let by_shared = of_device(SHARED_OF_PROCESSOR) / (shared + of_device(SHARED_RESERVED));
        Ok(by_threads
            .min(by_shared)
            .min(of_device(BLOCKS_OF_PROCESSOR)))
    }
}

/// The function of a handle.
fn of(function: Handle) -> Result<Arc<Function>, Error> {
    ready()?.functions.get(function)
}

/// `CUoccupancyB2DSize`: shared memory for blocks of so many threads.
type SharedFor = unsafe extern "C" fn(c_int) -> usize;

/// The size of blocks that fills a processor best, and how many blocks fill the device.
fn best(
    function: &Function,
    shared: impl Fn(c_int) -> usize,
    limit: c_int,
) -> Result<(c_int, c_int), Error> {
    let most = if limit > 0 {
        limit.min(function.max_threads())
    } else {
        function.max_threads()
    };
    let warp = of_device(number::WARP_SIZE);
    let mut found = (0, 0, 0);
    for threads in (1..=most / warp).rev().map(|n| n * warp) {
        let blocks = function.blocks(threads, shared(threads))?;
        if blocks * threads > found.0 {
            found = (blocks * threads, threads, blocks);
        }
    }
    Ok((found.1, found.2 * driver()?.processors as c_int))
}

api! {
    /// What a kernel is like.
    fn cuFuncGetAttribute(value: *mut c_int, which: c_uint, function: Handle) {
        put(value, of(function)?.attribute(which as usize)?)
    }

    /// What can be set of it.
    fn cuFuncSetAttribute(function: Handle, which: c_uint, value: c_int) {
        of(function)?.set(which as usize, value)
    }

    /// What a kernel is like.
    fn cuKernelGetAttribute(value: *mut c_int, which: c_uint, kernel: Handle, device: c_int) {
        super::device::check(device)?;
        put(value, of(kernel)?.attribute(which as usize)?)
    }

    /// What can be set of it.
    fn cuKernelSetAttribute(which: c_uint, value: c_int, kernel: Handle, device: c_int) {
        super::device::check(device)?;
        of(kernel)?.set(which as usize, value)
    }

    /// A wish about the caches.
    fn cuFuncSetCacheConfig(function: Handle, _config: c_uint) {
        of(function).map(|_| ())
    }

    /// A wish about the caches.
    fn cuKernelSetCacheConfig(kernel: Handle, _config: c_uint, device: c_int) {
        super::device::check(device)?;
        of(kernel).map(|_| ())
    }

    /// A wish about shared memory's banks.
    fn cuFuncSetSharedMemConfig(function: Handle, _config: c_uint) {
        of(function).map(|_| ())
    }

    /// Where a parameter lies, and its size.
    fn cuFuncGetParamInfo(function: Handle, which: usize, offset: *mut usize, size: *mut usize) {
        let function = of(function)?;
        let (at, bytes) = *function.code().layout.get(which).ok_or(Error::INVALID_VALUE)?;
        put(offset, at)?;
        put_if(size, bytes);
        Ok(())
    }

    /// Where a parameter lies, and its size.
    fn cuKernelGetParamInfo(kernel: Handle, which: usize, offset: *mut usize, size: *mut usize) {
        let function = of(kernel)?;
        let (at, bytes) = *function.code().layout.get(which).ok_or(Error::INVALID_VALUE)?;
        put(offset, at)?;
        put_if(size, bytes);
        Ok(())
    }

    /// How many blocks run on a processor.
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks: *mut c_int, function: Handle, threads: c_int, shared: usize) {
        put(blocks, of(function)?.blocks(threads, shared)?)
    }

    /// How many blocks run on a processor.
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks: *mut c_int, function: Handle, threads: c_int, shared: usize, flags: c_uint) {
        if flags > 1 {
            return Err(Error::INVALID_VALUE);
        }
        put(blocks, of(function)?.blocks(threads, shared)?)
    }

    /// What fills the device.
    fn cuOccupancyMaxPotentialBlockSize(grid: *mut c_int, block: *mut c_int, function: Handle, shared_for: Option<SharedFor>, shared: usize, limit: c_int) {
        let found = best(&*of(function)?, |n| shared_for.map_or(shared, |f| f(n)), limit)?;
        put(grid, found.1)?;
        put(block, found.0)
    }

    /// What fills the device.
    fn cuOccupancyMaxPotentialBlockSizeWithFlags(grid: *mut c_int, block: *mut c_int, function: Handle, shared_for: Option<SharedFor>, shared: usize, limit: c_int, flags: c_uint) {
        if flags > 1 {
            return Err(Error::INVALID_VALUE);
        }
        let found = best(&*of(function)?, |n| shared_for.map_or(shared, |f| f(n)), limit)?;
        put(grid, found.1)?;
        put(block, found.0)
    }

    /// Shared memory that a block may have, where so many run on a processor.
    fn cuOccupancyAvailableDynamicSMemPerBlock(size: *mut usize, function: Handle, blocks: c_int, threads: c_int) {
        let function = of(function)?;
        if blocks <= 0 || threads <= 0 {
            return Err(Error::INVALID_VALUE);
        }
        let each = of_device(SHARED_OF_PROCESSOR) / blocks - of_device(SHARED_RESERVED);
        let own = function.module.program.shared as c_int;
        put(size, (each.min(of_device(SHARED_OF_BLOCK)) - own).max(0) as usize)
    }
}
