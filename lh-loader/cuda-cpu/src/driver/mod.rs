//! The driver API of CUDA 13.0, as `cuda.h` declares it, on this device.
//!
//! | file | what |
//! |---|---|
//! | `errors`, `attributes` | tables: results and their texts, what the device is like |
//! | `device`, `context` | devices, contexts |
//! | `space`, `memory`, `pointer`, `physical` | where memory is, memory of every kind and its pointers, memory at wanted addresses |
//! | `copy`, `transfer` | copies and fills: what is done, and the calls |
//! | `module`, `function`, `launch` | code, kernels, launches |
//! | `stream`, `event`, `work` | order: what is given to a stream, and done |
//! | `pool`, `array`, `texture` | memory in stream order, arrays, textures and surfaces |
//! | `numbers` | numbers in memory that are waited for and written |
//! | `graph`, `nodes`, `capture` | graphs |
//! | `refused` | what is not there |
//! | `other` | the device as another one, for tests |
//! | `printed`, `touched` | what only this device has: for whoever writes what kernels print, or saves its memory |
//!
//! Every function has the C ABI and the name that the header's macros give it (`cuMemAlloc_v2`). Streams are also called 0 and
//! 1 (legacy) and 2 (per thread), so the `_ptsz` variants have no place here.

mod array;
mod attributes;
mod capture;
mod context;
mod copy;
mod device;
mod errors;
mod event;
mod function;
mod graph;
mod launch;
mod memory;
mod module;
mod nodes;
mod numbers;
mod other;
mod physical;
mod pointer;
mod pool;
mod printed;
mod refused;
mod space;
mod stream;
mod table;
mod texture;
mod touched;
mod transfer;
mod work;

pub use {
    array::*, capture::*, context::*, device::*, errors::*, event::*, function::*, graph::*,
    launch::*, memory::*, module::*, nodes::*, numbers::*, physical::*, pointer::*, pool::*,
    printed::*, refused::*, stream::*, texture::*, touched::*, transfer::*,
};

use crate::engine::Engine;
use crate::exec;
use std::ffi::{c_char, c_int, CStr};
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use table::Table;

/// What a call gives.
pub type Done = Result<(), Error>;
/// An object of the driver, as programs name it.
pub type Handle = u64;
/// `CUdeviceptr`.
pub type Pointer = u64;

/// Threads that do streams' work. A task may wait for one of another stream (a kernel for a flag, a host function for a
/// lock), so there are more than processors.
const WORKERS: usize = 16;

/// Everything the driver knows.
pub struct Driver {
    engine: Engine,
    memory: memory::Memory,
    contexts: Table<context::Context>,
    modules: Table<Arc<module::Module>>,
    functions: Table<Arc<function::Function>>,
    streams: Table<Arc<stream::Stream>>,
    events: Table<Arc<event::Event>>,
    arrays: Table<Arc<array::Array>>,
    /// Levels of arrays that have some.
    mipmapped: Table<Arc<[Handle]>>,
    textures: Mutex<texture::Objects>,
    pools: Table<Arc<pool::Pool>>,
    graphs: Table<graph::Shared>,
    nodes: Table<graph::NodeOf>,
    execs: Table<Arc<graph::Exec>>,
    launches: AtomicU64,
    printed: Mutex<printed::Printed>,
    processors: usize,
    /// How many devices there are.
    devices: c_int,
}

static DRIVER: OnceLock<Driver> = OnceLock::new();

/// The driver, once it is initialised.
fn driver() -> Result<&'static Driver, Error> {
    DRIVER.get().ok_or(Error::NOT_INITIALIZED)
}

/// The driver, for a call that needs a context that works.
fn ready() -> Result<&'static Driver, Error> {
    let driver = driver()?;
    context::check_fault()?;
    Ok(driver)
}

/// The driver, for a call that needs no context; the thread's has no fault if there is one.
fn ready_anywhere() -> Result<&'static Driver, Error> {
    let driver = driver()?;
    context::check_fault_if_any()?;
    Ok(driver)
}

/// Initialises the driver.
fn initialise() {
    DRIVER.get_or_init(|| {
        let driver = Driver {
            engine: Engine::new(WORKERS),
            memory: memory::Memory::new(device::wanted()),
            contexts: Table::default(),
            modules: Table::default(),
            functions: Table::default(),
            streams: Table::default(),
            events: Table::default(),
            arrays: Table::default(),
            mipmapped: Table::default(),
            textures: Mutex::default(),
            pools: Table::default(),
            graphs: Table::default(),
            nodes: Table::default(),
            execs: Table::default(),
            launches: AtomicU64::new(0),
            printed: Mutex::default(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            devices: device::wanted(),
        };
        driver.begin();
        driver
    });
}

/// Takes a lock; what a panicking thread left is still whole, as panics end the process.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Driver {
    /// A kernel was stopped: its context is of no use any more.
    fn stop(&self, fault: &exec::Fault, of: &context::Fault) {
        use exec::Fault::*;
        eprintln!("splitproc: CUDA on the CPU device: {fault}");
        let error = match fault {
            Address { .. } => Error::ILLEGAL_ADDRESS,
            Misaligned { .. } => Error::MISALIGNED_ADDRESS,
            Unknown { .. } => Error::ILLEGAL_INSTRUCTION,
            Trap { .. } => Error::LAUNCH_FAILED,
            Assert(_) => Error::ASSERT,
            Stack { .. } => Error::HARDWARE_STACK_ERROR,
            Deadlock { .. } => Error::LAUNCH_TIMEOUT,
        };
        of.set(error);
    }
}

impl exec::Device for Driver {
    fn region(&self, address: u64) -> Option<Range<u64>> {
        self.memory.reachable(address)
    }

    fn print(&self, text: &[u8]) {
        self.note_printed(text);
    }

    fn malloc(&self, size: u64) -> u64 {
        self.memory
            .allocate(memory::Kind::Device, size, 16)
            .unwrap_or(0)
    }

    fn free(&self, address: u64) {
        // A wrong address is the kernel's mistake, of which `free` says nothing.
        let _ = self.memory.release(address, memory::Kind::Device);
    }

    fn texture(&self, number: u64) -> Option<Arc<exec::Texture>> {
        self.texture_of(number)
    }

    fn processors(&self) -> usize {
        self.processors
    }
}

/// Gives a value to whoever asked for it.
///
/// # Safety
/// `at` must be null or a place for the value.
unsafe fn put<T>(at: *mut T, value: T) -> Done {
    if at.is_null() {
        return Err(Error::INVALID_VALUE);
    }
    // SAFETY: the caller's.
    unsafe { at.write(value) };
    Ok(())
}

/// The same for a value that need not be asked for.
///
/// # Safety
/// As `put`.
unsafe fn put_if<T>(at: *mut T, value: T) {
    if !at.is_null() {
        // SAFETY: the caller's.
        unsafe { at.write(value) };
    }
}

/// A value that the caller has.
///
/// # Safety
/// `at` must be null or a value's address.
unsafe fn get<'a, T>(at: *const T) -> Result<&'a T, Error> {
    // SAFETY: the caller's.
    unsafe { at.as_ref() }.ok_or(Error::INVALID_VALUE)
}

/// Values that the caller has.
///
/// # Safety
/// `at` must be null or the address of so many values.
unsafe fn all<'a, T>(at: *const T, n: usize) -> Result<&'a [T], Error> {
    match (at.is_null(), n) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Error::INVALID_VALUE),
        // SAFETY: the caller's.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(at, n) }),
    }
}

/// A text that the caller has.
///
/// # Safety
/// `at` must be null or a C string.
unsafe fn text<'a>(at: *const c_char) -> Result<&'a str, Error> {
    if at.is_null() {
        return Err(Error::INVALID_VALUE);
    }
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(at) }
        .to_str()
        .map_err(|_| Error::INVALID_VALUE)
}

/// A result as `api!` wants it.
fn cu(code: u32) -> Done {
    match code {
        0 => Ok(()),
        code => Err(Error(code)),
    }
}

/// Functions of the driver API: `fn name(arguments) { body }`, where the body gives a [`Done`].
macro_rules! api {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block)*) => {$(
        $(#[$meta])*
        ///
        /// # Safety
        /// Pointers must be good for what the CUDA driver API says of this function.
        #[no_mangle]
        #[allow(non_snake_case)]
        pub unsafe extern "C" fn $name($($arg: $ty),*) -> u32 {
            #[allow(clippy::redundant_closure_call)]
            let done: $crate::driver::Done = (|| $body)();
            $crate::driver::errors::code(done)
        }
    )*};
}
use api;
