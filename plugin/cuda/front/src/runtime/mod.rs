//! The runtime's exported functions, generated from `plugin/cuda/runtime.txt`, over the driver's.

pub mod arrays;
pub mod copy;
pub mod device;
pub mod fill;
pub mod graphs;
pub mod hand;
pub mod kernels;
pub mod memory;
pub mod properties;
pub mod register;

use super::codes::*;
use super::stream::per_thread;
use super::{context, driver, fault, lower};
use crate::plugin::{self, Call};
use std::cell::Cell;

include!(concat!(env!("OUT_DIR"), "/cuda_runtime.rs"));

/// `dim3`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dim3(pub i32, pub i32, pub i32);

/// `cudaExtent`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// In elements, or bytes.
    pub width: u64,
    /// In rows.
    pub height: u64,
    /// In planes.
    pub depth: u64,
}

/// `cudaPitchedPtr`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Pitched {
    /// Its address.
    pub at: u64,
    /// Bytes of a row.
    pub pitch: u64,
    /// Width in elements.
    pub width: u64,
    /// Height in rows.
    pub height: u64,
}

thread_local! {
    /// The thread's last error.
    static LAST: Cell<i32> = const { Cell::new(SUCCESS) };
    /// The device that the thread has chosen.
    static DEVICE: Cell<i32> = const { Cell::new(0) };
    /// How many resets of devices the thread knows of.
    static RESETS: Cell<u32> = const { Cell::new(0) };
}

/// Remembers an error for `cudaGetLastError`; that something is not ready is none.
pub fn remember(code: i32) -> i32 {
    if code != SUCCESS && code != NOT_READY {
        LAST.set(code);
    }
    code
}

/// The thread's last error, which is forgotten; a fault of its context is not.
pub fn take_last() -> i32 {
    match fault::of(context::current()) {
        SUCCESS => LAST.replace(SUCCESS),
        code => code,
    }
}

/// The thread's last error.
pub fn last() -> i32 {
    match fault::of(context::current()) {
        SUCCESS => LAST.get(),
        code => code,
    }
}

/// The thread's device.
pub fn device() -> i32 {
    match context::current() {
        0 => DEVICE.get(),
        current => context::device_of(current).unwrap_or_else(|| DEVICE.get()),
    }
}

/// Initialises the driver.
///
/// # Errors
/// The driver's.
pub fn initialise() -> Result<(), i32> {
    if lower::active() {
        return Ok(());
    }
    // SAFETY: flags.
    driver::check(unsafe { driver::cuInit(0) })
}

/// Makes a device the thread's.
///
/// # Errors
/// The driver's.
pub fn set_device(device: i32) -> Result<(), i32> {
    initialise()?;
    let _inside = plugin::enter(Call::MustComplete);
    let primary = context::primary(device)?;
    context::set_current(primary);
    DEVICE.set(device);
    Ok(())
}

/// Sees to it that the thread has a context.
///
/// # Errors
/// The driver's.
#[inline]
pub fn ready() -> Result<(), i32> {
    if RESETS.get() != context::resets() {
        again()?;
    }
    match context::current() {
        0 => set_device(DEVICE.get()),
        current => fault::check(current),
    }
}

/// Devices have been reset: the thread's may have to be begun again.
#[cold]
fn again() -> Result<(), i32> {
    RESETS.set(context::resets());
    let _inside = plugin::enter(Call::MustComplete);
    match context::unused(context::current()) {
        Some(device) => set_device(device),
        None => Ok(()),
    }
}

/// After a reset: the next call makes a context again; a fault that was the last error is over.
pub fn leave_context() {
    context::set_current(0);
    if fault::stays(LAST.get()) {
        LAST.set(SUCCESS);
    }
}

/// A driver's function as the runtime's.
#[inline]
pub fn through(f: impl FnOnce() -> i32) -> i32 {
    remember(match ready() {
        Ok(()) => f(),
        Err(code) => code,
    })
}

/// The same for a function made of several.
pub fn with_context(f: impl FnOnce() -> Result<(), i32>) -> i32 {
    driver::code(ready().and_then(|()| f()))
}

/// A question to the lower half that is no call of the program's.
///
/// # Errors
/// The driver's.
pub fn with_result<R>(f: impl FnOnce() -> Result<R, i32>) -> Result<R, i32> {
    ready()?;
    let _inside = plugin::enter(Call::MustComplete);
    context::ensure()?;
    f()
}

fn refuse(name: &str) -> i32 {
    remember(driver::refuse(name))
}
